//! What is printed: a line every few seconds, and the table at the end. A terminal that nobody reads is no error.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use scuttle_schemas::operations::OperationRecord;
use scuttle_tests::clients::client::to_wire_name;
use scuttle_tests::wait::lock;

use crate::counters::Counters;
use crate::faults::fault_injector::FaultInjector;
use crate::observers::broadcast_recorder::BroadcastRecorder;

/// Between two lines.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// The rows of the table that are plain counts, in their order: what is counted, and what it means.
const ROWS: [(&str, &str); 26] = [
    ("requests", "teardowns asked for"),
    ("accepted", "of these accepted, a new operation"),
    ("repeated", "accepted, the operation that was there"),
    ("shard not found", "refused: the decky was gone"),
    (
        "requests unanswered",
        "requests without an answer, sent again",
    ),
    ("asked to wait", "answered: ask again later"),
    (
        "keys repeated",
        "answered requests sent again under their key",
    ),
    ("retries", "retries of failed teardowns"),
    ("cancelled", "cancellations accepted"),
    (
        "not cancellable",
        "cancellations refused: started_at or over",
    ),
    ("controller killed", "kill -9 of a controller"),
    ("nats-server killed", "kill -9 of a nats-server"),
    ("host groups killed", "kill -9 of a process of hosts"),
    (
        "data lost",
        "of these, data directories of controllers lost",
    ),
    ("started again", "starts on the same files"),
    ("controller stopped", "SIGSTOP of a controller"),
    ("nats-server stopped", "SIGSTOP of a nats-server"),
    ("host groups stopped", "SIGSTOP of a process of hosts"),
    ("cuts", "connections cut"),
    ("delays", "connections delayed"),
    ("stalls", "connections stalled"),
    ("partitions", "partitions"),
    ("disks filled", "disks of a nats-server filled"),
    ("no leader", "faults skipped: nobody to meet them"),
    ("skipped", "faults skipped: another one was still on"),
    ("lists unanswered", "lists without an answer"),
];

/// Prints a line.
pub(crate) fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A line every few seconds, for ever.
pub(crate) async fn print_progress(counters: &Counters, recorder: &BroadcastRecorder) {
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    let started_at = ticks.tick().await;
    loop {
        ticks.tick().await;
        let kills = |who: [&'static str; 3]| who.map(|who| counters.get(who)).iter().sum::<u64>();
        let recording = lock(&recorder.recording).messages;
        print_line(&format!(
            "{:>4} s  accepted {} (repeated {}, unanswered {})  cancelled {}  kills {}  stops {}  cuts {}  slow {}  stalls {}  partitions {}  broadcasts {recording}",
            started_at.elapsed().as_secs(),
            counters.get("accepted"),
            counters.get("repeated"),
            counters.get("requests unanswered"),
            counters.get("cancelled"),
            kills([
                "controller killed",
                "nats-server killed",
                "host groups killed"
            ]),
            kills([
                "controller stopped",
                "nats-server stopped",
                "host groups stopped"
            ]),
            counters.get("cuts"),
            counters.get("delays"),
            counters.get("stalls"),
            counters.get("partitions"),
        ));
    }
}

/// The table of a whole run.
pub(crate) struct Summary<'a> {
    pub(crate) injector: &'a FaultInjector,
    pub(crate) operations: &'a [OperationRecord],
    pub(crate) recorders: &'a [BroadcastRecorder],
    pub(crate) redeployed: usize,
    pub(crate) removed: usize,
    pub(crate) resumed: usize,
    pub(crate) listings: usize,
    pub(crate) unregistered: usize,
    /// How often a controller of several led, and was told by the servers that another had written since.
    pub(crate) terms: usize,
    pub(crate) deposed: usize,
    pub(crate) losses: &'a [String],
}

impl Summary<'_> {
    /// Prints it.
    pub(crate) fn print(&self) {
        print_line("");
        for (counted, meaning) in ROWS {
            print_row(meaning, self.injector.counters.get(counted));
        }
        print_row("deckies removed on the hosts", self.removed);
        print_row("deckies deployed anew", self.redeployed);
        print_row("teardowns resumed after a crash", self.resumed);
        let mut states: BTreeMap<String, usize> = BTreeMap::new();
        for operation in self.operations {
            *states.entry(to_wire_name(&operation.state)).or_default() += 1;
        }
        for (state, count) in &states {
            print_row(&format!("operations that are {state}"), count);
        }
        for recorder in self.recorders {
            let recording = lock(&recorder.recording);
            let name = recorder.name;
            print_row(&format!("broadcasts, {name}"), recording.messages);
            print_row(&format!("gaps, {name}"), recording.gaps);
            print_row(&format!("messages missed, {name}"), recording.missed);
            print_row(
                &format!("messages of an earlier leader, {name}"),
                recording.late,
            );
        }
        print_row("listings that kept the view whole", self.listings);
        print_row(
            "failures of deckies not yet on the record",
            self.unregistered,
        );
        print_row("terms of leaders", self.terms);
        print_row("of these ended by a refused append", self.deposed);
        let availability = &self.injector.availability;
        print_downtimes(
            "to the next leader's answer",
            &availability.times_to_reply(),
        );
        print_downtimes("to the next list", &availability.times_to_list());
        print_downtimes(
            "to the next acceptance",
            &availability.times_to_acceptance(),
        );
        print_row("losses", self.losses.len());
    }
}

/// From the kills of a leader on.
fn print_downtimes(until: &str, times: &[Duration]) {
    let Some(worst) = times.last() else { return };
    let name = |which: &str| format!("{which} of {} kills, {until}, ms", times.len());
    print_row(&name("median"), times[times.len() / 2].as_millis());
    print_row(&name("worst"), worst.as_millis());
}

fn print_row(meaning: &str, count: impl std::fmt::Display) {
    print_line(&format!("  {meaning:<48} {count:>8}"));
}
