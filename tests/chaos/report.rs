//! The output of a run: a progress line every few seconds, and the summary at the end.
//!
//! Output that cannot be written is not an error: the run continues.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use scuttle_schemas::operations::OperationRecord;
use scuttle_tests::clients::client::to_wire_name;
use scuttle_tests::wait::lock;

use crate::counters::Counters;
use crate::faults::fault_injector::FaultInjector;
use crate::observers::broadcast_recorder::BroadcastRecorder;

/// The time between two progress lines.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// The summary's rows for counters, in order. Each pair has a counter's name and the text of its
/// row.
const ROWS: [(&str, &str); 26] = [
    ("requests", "teardowns requested"),
    ("accepted", "of these accepted, new operation"),
    ("repeated", "of these accepted, existing operation"),
    ("shard not found", "of these rejected: decky does not exist"),
    ("requests unanswered", "requests without a reply, resent"),
    ("asked to wait", "rejected for now, resent"),
    ("keys repeated", "requests repeated with the same key"),
    ("retries", "retries of failed teardowns"),
    ("cancelled", "cancels accepted"),
    ("not cancellable", "cancels rejected: started or ended"),
    ("controller killed", "kill -9 of a controller"),
    ("nats-server killed", "kill -9 of a nats-server"),
    ("host groups killed", "kill -9 of a process of hosts"),
    ("data lost", "of these with the data directory erased"),
    ("restarted", "restarts"),
    ("controller stopped", "SIGSTOP of a controller"),
    ("nats-server stopped", "SIGSTOP of a nats-server"),
    ("host groups stopped", "SIGSTOP of a process of hosts"),
    ("disconnects", "connections closed"),
    ("delays", "connections delayed"),
    ("stalls", "connections stalled"),
    ("partitions", "network partitions"),
    ("disks filled", "disks of a nats-server filled"),
    ("no leader", "faults skipped: no leader or no small disk"),
    ("skipped", "faults skipped: target already faulty"),
    ("lists unanswered", "lists without a reply"),
];

/// Prints a line to standard output and ignores errors.
pub(crate) fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints a progress line every [`PROGRESS_INTERVAL`]. Never returns.
pub(crate) async fn print_progress(counters: &Counters, recorder: &BroadcastRecorder) {
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    let started_at = ticks.tick().await;
    loop {
        ticks.tick().await;
        let sum =
            |names: [&'static str; 3]| names.map(|name| counters.get(name)).iter().sum::<u64>();
        let recording = lock(&recorder.recording).messages;
        print_line(&format!(
            "{:>4} s  accepted {} (repeated {}, unanswered {})  cancelled {}  kills {}  stops {}  disconnects {}  slow {}  stalls {}  partitions {}  broadcasts {recording}",
            started_at.elapsed().as_secs(),
            counters.get("accepted"),
            counters.get("repeated"),
            counters.get("requests unanswered"),
            counters.get("cancelled"),
            sum([
                "controller killed",
                "nats-server killed",
                "host groups killed"
            ]),
            sum([
                "controller stopped",
                "nats-server stopped",
                "host groups stopped"
            ]),
            counters.get("disconnects"),
            counters.get("delays"),
            counters.get("stalls"),
            counters.get("partitions"),
        ));
    }
}

/// Everything that the summary of a run prints.
pub(crate) struct Summary<'a> {
    pub(crate) injector: &'a FaultInjector,
    pub(crate) operations: &'a [OperationRecord],
    pub(crate) recorders: &'a [BroadcastRecorder],
    pub(crate) redeployed: usize,
    pub(crate) removed: usize,
    pub(crate) resumed: usize,
    pub(crate) listings: usize,
    pub(crate) unregistered: usize,
    /// The number of times that a controller became leader.
    pub(crate) terms: usize,
    /// The number of times that a leader stepped down because the journal rejected its append:
    /// another controller had appended first.
    pub(crate) deposed: usize,
    pub(crate) losses: &'a [String],
}

impl Summary<'_> {
    pub(crate) fn print(&self) {
        print_line("");
        for (counted, meaning) in ROWS {
            print_row(meaning, self.injector.counters.get(counted));
        }
        print_row("deckies removed on the hosts", self.removed);
        print_row("deckies redeployed", self.redeployed);
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
            print_row(&format!("broadcasts received, {name}"), recording.messages);
            print_row(&format!("gaps, {name}"), recording.gaps);
            print_row(&format!("messages missed, {name}"), recording.missed);
            print_row(
                &format!("messages of an earlier leader, {name}"),
                recording.late,
            );
        }
        print_row("lists that the view requested", self.listings);
        print_row(
            "failures of deckies not yet in the record",
            self.unregistered,
        );
        print_row("terms of leaders", self.terms);
        print_row("of these ended by a rejected append", self.deposed);
        let availability = &self.injector.availability;
        print_downtimes("to the next leader's reply", &availability.times_to_reply());
        print_downtimes("to the next list", &availability.times_to_list());
        print_downtimes(
            "to the next acceptance",
            &availability.times_to_acceptance(),
        );
        print_row("losses", self.losses.len());
    }
}

/// Prints the median and the maximum of these sorted times, counted from the kill of a leader.
/// Prints nothing if there are no times.
fn print_downtimes(until: &str, times: &[Duration]) {
    let Some(worst) = times.last() else { return };
    let name = |which: &str| format!("{which} of {} kills, {until}, ms", times.len());
    print_row(&name("median"), times[times.len() / 2].as_millis());
    print_row(&name("worst"), worst.as_millis());
}

fn print_row(meaning: &str, count: impl std::fmt::Display) {
    print_line(&format!("  {meaning:<48} {count:>8}"));
}
