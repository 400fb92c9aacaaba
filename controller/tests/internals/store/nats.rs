//! Tests of the guarantees that only the store with a stream as its journal has. All tests share a
//! nats-server, and each uses separate streams.

use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use async_nats::Client;
use async_nats::jetstream::message::PublishMessage;
use scuttle_controller::partition::assignment::PartitionAssignment;
use scuttle_controller::store::{
    JournalError, JournalStream, RedbStore, ReplicatedStore, Store, StoreError,
};
use scuttle_core::Change;
use scuttle_tests::servers::nats_server::NatsServer;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::rows::{host, meta, shard};
use super::rows::{load, rows_of};

/// A nats-server and a connection to it.
struct Bus {
    runtime: Runtime,
    client: Client,
    _server: NatsServer,
    _dir: TempDir,
}

/// The nats-server that the tests share. Statics are never dropped, so this holds only a weak
/// reference: the server stops when the last test that uses it ends.
static BUS: Mutex<Weak<Bus>> = Mutex::new(Weak::new());

impl Bus {
    fn shared() -> Arc<Self> {
        let mut shared = BUS.lock().expect("no test panics while it holds the lock");
        if let Some(bus) = shared.upgrade() {
            return bus;
        }
        let bus = Arc::new(Self::start());
        *shared = Arc::downgrade(&bus);
        bus
    }

    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (server, client) = runtime.block_on(async {
            let server = NatsServer::start_without_accounts(dir.path())
                .await
                .expect("a nats-server");
            let client = async_nats::connect(server.url()).await;
            let client = client.expect("the server accepts clients");
            (server, client)
        });
        Self {
            runtime,
            client,
            _server: server,
            _dir: dir,
        }
    }
}

/// A new stream on the shared server, for one test.
pub(crate) struct Name {
    bus: Arc<Bus>,
    stream: String,
    subject: String,
}

impl Name {
    pub(crate) fn new() -> Self {
        let id = Uuid::now_v7().simple();
        Self {
            bus: Bus::shared(),
            stream: format!("journal-{id}"),
            subject: format!("journal.{id}"),
        }
    }

    /// Returns the number of messages in the stream.
    fn messages(&self) -> u64 {
        self.bus.runtime.block_on(async {
            let context = async_nats::jetstream::new(self.bus.client.clone());
            let stream = context.get_stream(&self.stream).await;
            stream
                .expect("the stream exists")
                .cached_info()
                .state
                .messages
        })
    }
}

/// Opens and loads the store whose journal is the stream `name` and whose rows are in `dir`.
pub(crate) fn open(dir: &Path, name: &Name) -> Result<ReplicatedStore, StoreError> {
    let stream = JournalStream {
        client: name.bus.client.clone(),
        name: name.stream.clone(),
        subject: name.subject.clone(),
        replicas: 1,
        assignment: PartitionAssignment::WHOLE,
    };
    let runtime = name.bus.runtime.handle().clone();
    let mut store = ReplicatedStore::open(dir, runtime, stream)?;
    store.load(&mut |_| Ok(()))?;
    Ok(store)
}

fn create_dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn a_superseded_store_cannot_append() {
    let (name, dirs) = (Name::new(), [create_dir(), create_dir()]);
    let mut old = open(dirs[0].path(), &name).expect("the store opens");
    old.append(&[host("a", 1)]).expect("an append");
    let mut new = open(dirs[1].path(), &name).expect("the store opens");
    new.append(&[host("a", 2)]).expect("an append");

    for _ in 0..2 {
        let error = old
            .append(&[host("a", 3)])
            .expect_err("the store was superseded");
        assert!(
            matches!(error, StoreError::Journal(JournalError::Superseded { .. })),
            "{error}"
        );
    }
    assert_eq!(load(&mut new), [host("a", 1), host("a", 2)]);
    new.append(&[host("a", 4)])
        .expect("the other store can append");
    // The rejected batch is nowhere, and a store that loads again can append.
    drop(old);
    let mut old = open(dirs[0].path(), &name).expect("the store opens");
    assert_eq!(load(&mut old), [host("a", 1), host("a", 2), host("a", 4)]);
    old.append(&[host("a", 5)]).expect("an append");
    new.append(&[host("a", 6)])
        .expect_err("this store was superseded");
}

/// Creates a batch that is large enough that the journal stores it as several messages.
fn large_batch(name: &Name) -> Vec<Change> {
    let most = name.bus.client.server_info().max_payload;
    let deckies = 0..most / 20;
    deckies
        .map(|number| shard("a", &format!("d{number}"), 1))
        .collect()
}

/// Another store has written to the stream in place of the batch's first message. The batch's
/// second message expects the first one before it, so the server rejects the second message as
/// well.
#[test]
fn a_superseded_batch_of_several_messages_leaves_nothing_behind() {
    let (name, dirs) = (Name::new(), [create_dir(), create_dir(), create_dir()]);
    let mut old = open(dirs[0].path(), &name).expect("the store opens");
    old.append(&[host("a", 1)]).expect("an append");
    let mut new = open(dirs[1].path(), &name).expect("the store opens");
    new.append(&[host("a", 2)]).expect("an append");
    let error = old
        .append(&large_batch(&name))
        .expect_err("the store was superseded");
    assert!(
        matches!(error, StoreError::Journal(JournalError::Superseded { .. })),
        "{error}"
    );
    new.append(&[host("a", 3)])
        .expect("the other store can append");
    let mut third = open(dirs[2].path(), &name).expect("the store opens");
    assert_eq!(load(&mut third), [host("a", 1), host("a", 2), host("a", 3)]);
}

#[test]
fn a_batch_of_several_messages_is_one_batch() {
    let (name, dir) = (Name::new(), create_dir());
    let mut store = open(dir.path(), &name).expect("the store opens");
    let batches = [vec![host("a", 1)], large_batch(&name), vec![meta(1)]];
    for batch in &batches {
        store.append(batch).expect("an append");
    }
    assert!(
        name.messages() > batches.len() as u64,
        "the batches have too few messages"
    );
    drop(store);
    let mut store = open(dir.path(), &name).expect("the store opens");
    assert!(load(&mut store) == batches.concat(), "other changes");
    let left = store.checkpoint(2).expect("a checkpoint");
    assert_eq!(left, 1, "part of a batch was moved");
    let rows = rows_of(load(&mut store));
    drop(store);
    let mut store = open(dir.path(), &name).expect("the store opens");
    assert!(rows_of(load(&mut store)) == rows, "the rows differ");
    assert_eq!(store.journal_len(), 1);
}

impl Name {
    /// Publishes a message on the journal's subject as another program would. `expected` is the
    /// sequence that a controller would state.
    fn publish(&self, payload: &'static str, expected: Option<u64>) {
        self.bus.runtime.block_on(async {
            let context = async_nats::jetstream::new(self.bus.client.clone());
            let mut message = PublishMessage::build().payload(payload.into());
            if let Some(expected) = expected {
                message = message.expected_last_sequence(expected);
            }
            let sent = context.send_publish(self.subject.clone(), message).await;
            sent.expect("a publish").await.expect("it is stored");
        });
    }
}

#[test]
fn a_foreign_message_is_skipped_by_the_writer_and_by_readers() {
    let (name, dirs) = (Name::new(), [create_dir(), create_dir()]);
    let mut store = open(dirs[0].path(), &name).expect("the store opens");
    store.append(&[host("a", 1)]).expect("an append");
    for payload in ["", "{}", "\u{3}\u{4}\u{0}"] {
        name.publish(payload, None);
    }
    store
        .append(&[host("a", 2)])
        .expect("the append is repeated");
    assert_eq!(store.foreign_messages(), 3);
    let mut other = open(dirs[1].path(), &name).expect("the store opens");
    assert_eq!(load(&mut other), [host("a", 1), host("a", 2)]);
    assert_eq!(other.foreign_messages(), 6, "each load counts them");
    // Between the parts of a batch, another message belongs to no batch.
    store.append(&large_batch(&name)).expect("an append");
    name.publish("x", None);
    other
        .append(&[host("a", 3)])
        .expect_err("it has not read the batch");
}

/// A message that states the sequence that it expects was written by a controller. It is not
/// skipped, because it may hold accepted changes.
#[test]
fn a_damaged_message_of_a_controller_is_not_skipped() {
    let (name, dir) = (Name::new(), create_dir());
    let mut store = open(dir.path(), &name).expect("the store opens");
    store.append(&[host("a", 1)]).expect("an append");
    name.publish("damaged", Some(1));
    drop(store);
    let error = open(dir.path(), &name)
        .map(drop)
        .expect_err("it is damaged");
    assert!(
        matches!(
            error,
            StoreError::Journal(JournalError::Damaged { sequence: 2, .. })
        ),
        "{error}"
    );
}

#[test]
fn rows_belong_to_one_journal() {
    let (name, other, dir) = (Name::new(), Name::new(), create_dir());
    let mut store = open(dir.path(), &name).expect("the store opens");
    store.append(&[host("a", 1)]).expect("an append");
    store.checkpoint(1).expect("a checkpoint");
    drop(store);
    let of_stream = format!("belong to the stream {}", name.stream);
    for rejection in [
        RedbStore::open(dir.path()).map(drop),
        open(dir.path(), &other).map(drop),
    ] {
        let error = rejection.expect_err("another journal").to_string();
        assert!(error.contains(&of_stream), "{error}");
    }
    let dir = create_dir();
    let mut store = RedbStore::open(dir.path()).expect("the store opens");
    store.append(&[meta(1)]).expect("an append");
    drop(store);
    let error = open(dir.path(), &other)
        .map(drop)
        .expect_err("another journal")
        .to_string();
    assert!(
        error.contains("belong to a journal in the file itself"),
        "{error}"
    );
}
