//! The exchange of snapshots between controllers on a real nats-server. After a snapshot, the
//! journal can be trimmed. A deposed leader that continues during the exchange does no harm.

use std::path::Path;

use scuttle_controller::partition::assignment::PartitionAssignment;
use scuttle_controller::store::replicated::rows::export_rows;
use scuttle_controller::store::replicated::shared_journal::SnapshotInfo;
use scuttle_controller::store::snapshot_exchange::{SnapshotExchange, SnapshotExchangeError};
use scuttle_controller::store::{
    JournalError, JournalStream, ReplicatedStore, Snapshots, Store, StoreError,
};
use scuttle_core::{Change, Meta};
use scuttle_schemas::subjects;
use scuttle_tests::TestResult;
use scuttle_tests::servers::nats_server::NatsServer;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

/// A nats-server, with a journal, an exchange of snapshots and a directory for all stores.
struct Bus {
    stream: JournalStream,
    peers: SnapshotExchange,
    dir: TempDir,
    _server: NatsServer,
}

impl Bus {
    async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let server = NatsServer::start_without_accounts(dir.path()).await?;
        let stream = JournalStream {
            client: async_nats::connect(server.url()).await?,
            name: "journal".to_owned(),
            subject: "journal".to_owned(),
            replicas: 1,
            assignment: PartitionAssignment::WHOLE,
        };
        Ok(Self {
            peers: SnapshotExchange::open(stream.clone()).await?,
            stream,
            dir,
            _server: server,
        })
    }

    /// Opens the store `name`, whose rows are in a separate directory, and loads it. Returns the
    /// store and its content.
    async fn open_store(&self, name: &str) -> Result<(ReplicatedStore, Vec<Change>), StoreError> {
        let (dir, stream) = (self.dir.path().join(name), self.stream.clone());
        let opening = spawn_blocking(move || {
            let mut store = ReplicatedStore::open(&dir, Handle::current(), stream)?;
            let mut changes = Vec::new();
            store.load(&mut |change| {
                changes.push(change);
                Ok(())
            })?;
            Ok((store, changes))
        });
        opening.await.expect("it does not panic")
    }

    async fn delete_stream(&self) -> TestResult {
        let context = async_nats::jetstream::new(self.stream.client.clone());
        context.delete_stream(&self.stream.name).await?;
        Ok(())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

fn snapshot_at(sequence: u64) -> SnapshotInfo {
    SnapshotInfo {
        sequence,
        recovered_at: 0,
    }
}

fn meta(epoch: u64) -> Change {
    Change::Meta(Meta {
        epoch,
        ..Meta::default()
    })
}

/// Appends one batch for each epoch, then moves all of them to the rows.
async fn grow(mut store: ReplicatedStore, epochs: std::ops::Range<u64>) -> ReplicatedStore {
    let growing = spawn_blocking(move || {
        for epoch in epochs {
            store.append(&[meta(epoch)]).expect("an append");
        }
        store.checkpoint(usize::MAX).expect("a checkpoint");
        store
    });
    growing.await.expect("it does not panic")
}

async fn trim(bus: &Bus, dir: &Path, rows: &Snapshots) -> Result<(), SnapshotExchangeError> {
    bus.peers.trim_if_long(dir, rows, 0).await
}

#[tokio::test]
async fn a_store_without_rows_downloads_them_when_the_journal_was_trimmed() -> TestResult {
    let bus = Bus::start().await?;
    let (store, _) = bus.open_store("leader").await?;
    let store = grow(store, 1..20).await;
    trim(&bus, &bus.path("leader"), &store.snapshots()).await?;
    let store = grow(store, 20..25).await;

    let rejection = bus.open_store("new").await.map(drop);
    assert!(
        matches!(
            rejection,
            Err(StoreError::Journal(JournalError::Trimmed { .. }))
        ),
        "{rejection:?}"
    );
    bus.peers.install_newest(&bus.path("new")).await?;
    let (new, changes) = bus.open_store("new").await?;
    let expected: Vec<_> = (19..25).map(meta).collect();
    assert_eq!(changes, expected);
    // The store can append after that.
    drop(store);
    grow(new, 25..26).await;
    assert_eq!(bus.open_store("leader").await?.1, [meta(24), meta(25)]);
    Ok(())
}

#[tokio::test]
async fn a_deposed_leader_that_wakes_up_removes_nothing() -> TestResult {
    let bus = Bus::start().await?;
    let (old, _) = bus.open_store("old").await?;
    let old = grow(old, 1..10).await;
    let (new, _) = bus.open_store("new").await?;
    let new = grow(new, 10..20).await;
    trim(&bus, &bus.path("new"), &new.snapshots()).await?;
    // The state before the exchange: the rows of this store end within the trimmed part of the
    // journal.
    bus.peers
        .upload(&bus.path("old").join("scuttle.redb"), snapshot_at(9))
        .await?;
    trim(&bus, &bus.path("old"), &old.snapshots()).await?;

    bus.peers.install_newest(&bus.path("third")).await?;
    assert_eq!(bus.open_store("third").await?.1, [meta(19)]);
    grow(new, 20..22).await;
    assert_eq!(
        bus.open_store("third").await?.1,
        [meta(19), meta(20), meta(21)]
    );
    Ok(())
}

/// Returns the error with which the store `name` cannot be loaded because the journal lacks
/// accepted changes.
async fn expect_loss(bus: &Bus, name: &str) -> JournalError {
    match bus.open_store(name).await.map(drop) {
        Err(StoreError::Journal(error)) if error.is_loss() => error,
        other => panic!("the store {name} was loaded: {other:?}"),
    }
}

#[tokio::test]
async fn a_deleted_stream_is_not_created_again_while_rows_or_a_snapshot_have_its_content()
-> TestResult {
    let bus = Bus::start().await?;
    let (store, _) = bus.open_store("leader").await?;
    let store = grow(store, 1..20).await;
    trim(&bus, &bus.path("leader"), &store.snapshots()).await?;
    assert_eq!(bus.peers.newest().await?, Some(snapshot_at(19)));
    drop(store);
    bus.delete_stream().await?;
    for name in ["leader", "new"] {
        let error = expect_loss(&bus, name).await;
        assert!(matches!(error, JournalError::Missing { .. }), "{error}");
    }
    Ok(())
}
#[tokio::test]
async fn rows_that_were_never_written_also_show_that_the_stream_was_replaced() -> TestResult {
    let bus = Bus::start().await?;
    let (mut store, _) = bus.open_store("leader").await?;
    let appending = spawn_blocking(move || store.append(&[meta(1)]).map(drop));
    appending.await??;
    bus.delete_stream().await?;
    let error = expect_loss(&bus, "leader").await;
    assert!(matches!(error, JournalError::Missing { .. }), "{error}");
    // A controller without rows starts a new swarm with an empty stream.
    assert_eq!(bus.open_store("new").await?.1, []);
    let error = expect_loss(&bus, "leader").await;
    assert!(matches!(error, JournalError::Replaced { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_purged_journal_is_a_loss_for_every_store() -> TestResult {
    let bus = Bus::start().await?;
    let (store, _) = bus.open_store("leader").await?;
    drop(grow(store, 1..20).await);
    drop(bus.open_store("follower").await?);
    let context = async_nats::jetstream::new(bus.stream.client.clone());
    let stream = context.get_stream(&bus.stream.name).await?;
    stream.purge().await?;
    for name in ["leader", "follower", "new"] {
        let error = expect_loss(&bus, name).await;
        assert!(matches!(error, JournalError::Purged { .. }), "{error}");
    }
    Ok(())
}

/// A leader that has trimmed the journal uploads a new snapshot after the object store was deleted.
#[tokio::test]
async fn a_deleted_object_store_gets_a_new_snapshot() -> TestResult {
    let bus = Bus::start().await?;
    let (store, _) = bus.open_store("leader").await?;
    let store = grow(store, 1..20).await;
    trim(&bus, &bus.path("leader"), &store.snapshots()).await?;
    let store = grow(store, 20..22).await;
    let context = async_nats::jetstream::new(bus.stream.client.clone());
    let deleted = context.delete_object_store(subjects::SNAPSHOTS_BUCKET);
    deleted.await?;
    let rows = store.snapshots();
    let dir = bus.path("leader");
    bus.peers.trim_if_long(&dir, &rows, u64::MAX).await?;
    assert_eq!(bus.peers.newest().await?, Some(snapshot_at(21)));
    bus.peers.install_newest(&bus.path("new")).await?;
    assert_eq!(bus.open_store("new").await?.1, [meta(21)]);
    Ok(())
}

/// A leader that is deposed while it uploads a snapshot reopens its rows immediately. The thread
/// that is still reading the snapshot then gets an error.
#[tokio::test]
async fn an_upload_in_progress_does_not_lock_the_rows() -> TestResult {
    let bus = Bus::start().await?;
    let (store, _) = bus.open_store("leader").await?;
    let store = grow(store, 1..10).await;
    let snapshot = store.snapshots().take()?;
    drop(store);
    let (again, changes) = bus.open_store("leader").await?;
    assert_eq!(changes, [meta(9)]);
    assert!(export_rows(&snapshot, &bus.path("leader")).is_err());
    drop(again);
    Ok(())
}

#[tokio::test]
async fn the_error_for_a_missing_snapshot_says_what_to_do() -> TestResult {
    let bus = Bus::start().await?;
    let error = bus.peers.install_newest(&bus.path("new")).await;
    let error = error.expect_err("there is no snapshot").to_string();
    assert!(error.contains("restore a backup"), "{error}");
    Ok(())
}
