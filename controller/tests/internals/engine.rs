//! The contract of the engine: nothing is sent before it is durable. The tests use a store in
//! memory that fails on demand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use scuttle_controller::engine::{self, CommittedBatch, Engine, Job};
use scuttle_controller::leadership::term::StepDown;
use scuttle_controller::store::{Fault, MemoryStore, Store, StoreError};
use scuttle_core::{Input, Reply, TeardownArgs};
use scuttle_schemas::hosts::{EnrollRequest, HostsListRequest};
use scuttle_schemas::{ErrorCode, HostId, OperationId, Timestamp};
use tokio::sync::mpsc::{Receiver, channel};

type Requester = u32;

struct RunningEngine {
    jobs: SyncSender<Job<Requester>>,
    outbox: Receiver<Vec<CommittedBatch<Requester>>>,
    replies: VecDeque<(Requester, Reply)>,
    thread: JoinHandle<Result<(), StoreError>>,
}

fn start(disk: &MemoryStore) -> RunningEngine {
    let (jobs_sender, jobs) = sync_channel(16);
    let (outbox_sender, outbox) = channel(16);
    let mut store = disk.clone();
    let thread = std::thread::spawn(move || {
        let state = engine::load(&mut store)?;
        let now = || Timestamp::from_millis(1_795_425_109_000);
        let engine = Engine {
            state,
            store,
            jobs,
            outbox: outbox_sender,
            stats: Arc::default(),
            step_down: StepDown::default(),
            now,
            max_payload: Box::new(|| 1 << 20),
        };
        engine.run()
    });
    RunningEngine {
        jobs: jobs_sender,
        outbox,
        replies: VecDeque::new(),
        thread,
    }
}

impl RunningEngine {
    fn send(&self, requester: Requester, input: Input) {
        let job = Job {
            input,
            context: Some(requester),
        };
        self.jobs.send(job).expect("the engine runs");
    }

    /// Returns the next reply and its requester, or `None` if the engine has ended.
    fn reply(&mut self) -> Option<(Requester, Reply)> {
        while self.replies.is_empty() {
            let batches = self.outbox.blocking_recv()?;
            self.replies
                .extend(batches.into_iter().flat_map(|batch| batch.replies));
        }
        self.replies.pop_front()
    }

    /// Stops the engine as a shutdown does, by dropping the sender of jobs.
    fn stop(self) -> Result<(), StoreError> {
        drop(self.jobs);
        self.thread.join().expect("the engine does not panic")
    }
}

fn enroll(name: &str) -> Input {
    Input::Enroll {
        request: EnrollRequest {
            name: name.parse().expect("valid"),
            address: None,
            labels: None,
            host_uuid: None,
        },
        host: name.parse::<HostId>().expect("valid"),
    }
}

fn hosts(disk: &MemoryStore) -> Vec<String> {
    let mut engine = start(disk);
    engine.send(0, Input::HostsList(HostsListRequest::default()));
    let Some((0, Reply::Hosts(list))) = engine.reply() else {
        panic!("a list gets a reply")
    };
    engine.stop().expect("stops");
    list.hosts
        .iter()
        .map(|host| host.name.to_string())
        .collect()
}

#[test]
fn a_change_whose_reply_was_sent_survives_a_restart() {
    let disk = MemoryStore::default();
    let mut engine = start(&disk);
    engine.send(7, enroll("worker-a"));
    let reply = engine.reply();
    assert!(matches!(reply, Some((7, Reply::Enroll(_)))), "{reply:?}");
    // Dropped instead of stopped, so that no checkpoint is made.
    drop(engine);
    assert_eq!(hosts(&disk), ["worker-a"]);
}

/// Tests both a failed batch that is on disk and one that is not.
#[test]
fn a_commit_that_failed_is_answered_with_storage_failed() {
    for (fault, stored) in [
        (Fault::Lost, vec!["worker-a"]),
        (Fault::Kept, vec!["worker-a", "worker-b"]),
    ] {
        let disk = MemoryStore::default();
        let mut engine = start(&disk);
        engine.send(1, enroll("worker-a"));
        engine.reply().expect("a reply");
        disk.fail_next(fault);
        engine.send(2, enroll("worker-b"));
        let (requester, reply) = engine.reply().expect("a reply");
        assert!(
            matches!(&reply, Reply::Rejected(error) if error.code == ErrorCode::StorageFailed),
            "{fault:?}: {reply:?}"
        );
        assert_eq!(requester, 2);
        // A request that arrives before the intake ends is rejected, too.
        engine.send(3, enroll("worker-c"));
        let (closed, _) = sync_channel(1);
        engine.jobs = closed;
        let (requester, reply) = engine.reply().expect("a reply");
        assert!(
            matches!(&reply, Reply::Rejected(error) if error.code == ErrorCode::StorageFailed),
            "{fault:?}: {reply:?}"
        );
        assert_eq!(requester, 3);
        let error = engine
            .stop()
            .expect_err("a commit that failed ends the engine");
        assert!(error.to_string().contains("append failed"), "{error}");
        assert_eq!(hosts(&disk), stored, "{fault:?}");
    }
}

#[test]
fn a_stop_replies_to_all_waiting_requests_and_leaves_no_journal() {
    let disk = MemoryStore::default();
    let mut engine = start(&disk);
    for requester in 0..10 {
        engine.send(requester, enroll(&format!("worker-{requester}")));
    }
    let (closed, _) = sync_channel(1);
    engine.jobs = closed;
    let replied: Vec<_> = std::iter::from_fn(|| engine.reply())
        .map(|(requester, _)| requester)
        .collect();
    assert_eq!(replied, (0..10).collect::<Vec<_>>());
    engine.stop().expect("stops");
    assert_eq!(disk.journal_len(), 0);
}

#[test]
fn a_rejected_request_writes_nothing() {
    let disk = MemoryStore::default();
    let mut engine = start(&disk);
    engine.send(1, enroll("worker-a"));
    engine.reply().expect("a reply");
    let written = disk.journal_len();
    let request = scuttle_schemas::read("teardown request", br#"{"host_uuid":"nowhere"}"#);
    engine.send(
        2,
        Input::Teardown(TeardownArgs {
            request: request.expect("valid"),
            operation_id: OperationId(uuid::Uuid::now_v7()),
            requested_by: "alice".to_owned(),
            key: None,
            trace: None,
        }),
    );
    let Some((2, Reply::Rejected(refusal))) = engine.reply() else {
        panic!("the request is rejected")
    };
    assert_eq!(refusal.code, ErrorCode::HostNotFound);
    assert_eq!(disk.journal_len(), written);
}
