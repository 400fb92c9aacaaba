//! LeaseBucket on a real nats-server: one holder at a time, by the holder's own clock.

use std::time::Duration;

use async_nats::Client;
use scuttle_controller::leadership::lease::{Lease, LeaseBucket, LeaseGuard};
use scuttle_tests::servers::nats_server::NatsServer;
use scuttle_tests::{TestResult, wait_until};
use tempfile::TempDir;

const KEY: &str = "leader.0";
const TTL: Duration = Duration::from_millis(400);

struct Bus {
    url: String,
    _server: NatsServer,
    _dir: TempDir,
}

impl Bus {
    async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let server = NatsServer::start_without_accounts(dir.path()).await?;
        let url = server.url();
        Ok(Self {
            url,
            _server: server,
            _dir: dir,
        })
    }

    /// As one more controller sees the leases.
    async fn leases(&self) -> anyhow::Result<(Client, LeaseBucket)> {
        self.leases_of(TTL).await
    }

    async fn leases_of(&self, ttl: Duration) -> anyhow::Result<(Client, LeaseBucket)> {
        let client = async_nats::connect(&self.url).await?;
        let leases = LeaseBucket::open(client.clone(), "leases", 1, ttl).await?;
        Ok((client, leases))
    }
}

/// Takes it as soon as nobody else has it.
async fn taken(leases: &LeaseBucket) -> anyhow::Result<Lease> {
    let take = || leases.try_acquire(KEY);
    let taken = wait_until("the lease is free", take, Option::is_some).await?;
    Ok(taken.expect("it was taken"))
}

/// Whether it is given to nobody else as long as it is held; answers when it is given.
async fn next_after(held: &LeaseGuard, leases: &LeaseBucket) -> anyhow::Result<Lease> {
    let next = taken(leases).await?;
    assert!(!held.is_valid(), "two hold it");
    Ok(next)
}

#[tokio::test]
async fn one_of_many_takes_it() -> TestResult {
    let bus = Bus::start().await?;
    let mut taken = Vec::new();
    for _ in 0..5 {
        let (_, leases) = bus.leases().await?;
        taken.extend(leases.try_acquire(KEY).await?);
    }
    assert_eq!(taken.len(), 1);
    assert!(taken[0].guard().is_valid());
    Ok(())
}

#[tokio::test]
async fn it_ends_by_itself_and_first_for_its_holder() -> TestResult {
    let bus = Bus::start().await?;
    let ((_, one), (_, other)) = (bus.leases().await?, bus.leases().await?);
    let lease = taken(&one).await?;
    next_after(&lease.guard(), &other).await?;
    Ok(())
}

#[tokio::test]
async fn it_is_kept_until_it_is_released() -> TestResult {
    // A busy machine may take a second for an fsync, and is no reason to lose it.
    let ttl = 10 * TTL;
    let bus = Bus::start().await?;
    let ((_, one), (_, other)) = (bus.leases_of(ttl).await?, bus.leases_of(ttl).await?);
    let mut lease = taken(&one).await?;
    let held = lease.guard();
    // Longer than it would last by itself.
    let kept = tokio::time::timeout(2 * ttl, lease.keep_renewing()).await;
    assert!(kept.is_err() && held.is_valid(), "it was lost");
    assert!(other.try_acquire(KEY).await?.is_none(), "two hold it");
    lease.release().await;
    assert!(!held.is_valid());
    assert!(
        other.try_acquire(KEY).await?.is_some(),
        "it was not given back"
    );
    Ok(())
}

#[tokio::test]
async fn who_was_asleep_has_lost_it_and_takes_nothing_from_the_next() -> TestResult {
    let bus = Bus::start().await?;
    let ((_, one), (_, other)) = (bus.leases().await?, bus.leases().await?);
    let mut asleep = taken(&one).await?;
    let next = next_after(&asleep.guard(), &other).await?;
    asleep.keep_renewing().await;
    assert!(!asleep.guard().is_valid());
    asleep.release().await;
    assert!(next.guard().is_valid());
    assert!(
        one.try_acquire(KEY).await?.is_none(),
        "it was taken from the next"
    );
    Ok(())
}

#[tokio::test]
async fn who_cannot_renew_it_loses_it() -> TestResult {
    let bus = Bus::start().await?;
    let (_, leases) = bus.leases().await?;
    let mut lease = taken(&leases).await?;
    drop(bus);
    lease.keep_renewing().await;
    assert!(!lease.guard().is_valid());
    Ok(())
}
