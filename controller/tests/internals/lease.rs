//! Leases on a real nats-server: at any time, at most one process holds a lease according to its
//! own clock.

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

    /// Opens the lease bucket through a separate connection, as another controller would.
    async fn open_bucket(&self) -> anyhow::Result<(Client, LeaseBucket)> {
        self.open_bucket_with_ttl(TTL).await
    }

    async fn open_bucket_with_ttl(&self, ttl: Duration) -> anyhow::Result<(Client, LeaseBucket)> {
        let client = async_nats::connect(&self.url).await?;
        let leases = LeaseBucket::open(client.clone(), "leases", 1, ttl).await?;
        Ok((client, leases))
    }
}

/// Waits until the lease is free, and acquires it.
async fn acquire(leases: &LeaseBucket) -> anyhow::Result<Lease> {
    let take = || leases.try_acquire(KEY);
    let taken = wait_until("the lease is free", take, Option::is_some).await?;
    Ok(taken.expect("the lease was acquired"))
}

/// Waits until the lease is free, acquires it, and checks that the previous lease, `held`, has
/// expired by then.
async fn acquire_after(held: &LeaseGuard, leases: &LeaseBucket) -> anyhow::Result<Lease> {
    let next = acquire(leases).await?;
    assert!(!held.is_valid(), "two controllers hold the lease");
    Ok(next)
}

#[tokio::test]
async fn only_one_of_many_controllers_acquires_the_lease() -> TestResult {
    let bus = Bus::start().await?;
    let mut taken = Vec::new();
    for _ in 0..5 {
        let (_, leases) = bus.open_bucket().await?;
        taken.extend(leases.try_acquire(KEY).await?);
    }
    assert_eq!(taken.len(), 1);
    assert!(taken[0].guard().is_valid());
    Ok(())
}

#[tokio::test]
async fn a_lease_expires_for_its_holder_before_others_can_acquire_it() -> TestResult {
    let bus = Bus::start().await?;
    let ((_, one), (_, other)) = (bus.open_bucket().await?, bus.open_bucket().await?);
    let lease = acquire(&one).await?;
    acquire_after(&lease.guard(), &other).await?;
    Ok(())
}

#[tokio::test]
async fn a_lease_is_renewed_until_it_is_released() -> TestResult {
    // An fsync may take a second on a busy machine, which must not lose the lease.
    let ttl = 10 * TTL;
    let bus = Bus::start().await?;
    let ((_, one), (_, other)) = (
        bus.open_bucket_with_ttl(ttl).await?,
        bus.open_bucket_with_ttl(ttl).await?,
    );
    let mut lease = acquire(&one).await?;
    let held = lease.guard();
    // Longer than the lease lasts without a renewal.
    let kept = tokio::time::timeout(2 * ttl, lease.keep_renewing()).await;
    assert!(kept.is_err() && held.is_valid(), "the lease was lost");
    assert!(
        other.try_acquire(KEY).await?.is_none(),
        "two controllers hold the lease"
    );
    lease.release().await;
    assert!(!held.is_valid());
    assert!(
        other.try_acquire(KEY).await?.is_some(),
        "it was not given back"
    );
    Ok(())
}

#[tokio::test]
async fn a_holder_that_was_asleep_has_lost_the_lease_and_does_not_disturb_the_next() -> TestResult {
    let bus = Bus::start().await?;
    let ((_, one), (_, other)) = (bus.open_bucket().await?, bus.open_bucket().await?);
    let mut asleep = acquire(&one).await?;
    let next = acquire_after(&asleep.guard(), &other).await?;
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
async fn a_holder_that_cannot_renew_the_lease_loses_it() -> TestResult {
    let bus = Bus::start().await?;
    let (_, leases) = bus.open_bucket().await?;
    let mut lease = acquire(&leases).await?;
    drop(bus);
    lease.keep_renewing().await;
    assert!(!lease.guard().is_valid());
    Ok(())
}
