//! What is printed: a line every few seconds, and the table at the end. A terminal that nobody reads is no error.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use scuttle_schemas::operations::OperationRecord;
use scuttle_tests::clients::client::to_wire_name;
use scuttle_tests::wait::lock;

use crate::tally::Tally;
use crate::trouble::Trouble;
use crate::witness::Witness;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(5);

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
    ("not cancellable", "cancellations refused: begun or over"),
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
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A line every few seconds, for ever.
pub(crate) async fn live(tally: &Tally, witness: &Witness) {
    let mut ticks = tokio::time::interval(EVERY);
    let begun = ticks.tick().await;
    loop {
        ticks.tick().await;
        let kills = |who: [&'static str; 3]| who.map(|who| tally.of(who)).iter().sum::<u64>();
        let heard = lock(&witness.heard).messages;
        say(&format!(
            "{:>4} s  accepted {} (repeated {}, unanswered {})  cancelled {}  kills {}  stops {}  cuts {}  slow {}  stalls {}  partitions {}  broadcasts {heard}",
            begun.elapsed().as_secs(),
            tally.of("accepted"),
            tally.of("repeated"),
            tally.of("requests unanswered"),
            tally.of("cancelled"),
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
            tally.of("cuts"),
            tally.of("delays"),
            tally.of("stalls"),
            tally.of("partitions"),
        ));
    }
}

/// The table of a whole run.
pub(crate) struct Table<'a> {
    pub(crate) trouble: &'a Trouble,
    pub(crate) operations: &'a [OperationRecord],
    pub(crate) witnesses: &'a [Witness],
    pub(crate) redeployed: usize,
    pub(crate) removed: usize,
    pub(crate) resumed: usize,
    pub(crate) listings: usize,
    pub(crate) unregistered: usize,
    /// How often a controller of several led, and was told by the servers that another had written since.
    pub(crate) terms: usize,
    pub(crate) refused: usize,
    pub(crate) losses: &'a [String],
}

impl Table<'_> {
    /// Prints it.
    pub(crate) fn print(&self) {
        say("");
        for (counted, meaning) in ROWS {
            row(meaning, self.trouble.tally.of(counted));
        }
        row("deckies removed on the hosts", self.removed);
        row("deckies deployed anew", self.redeployed);
        row("teardowns resumed after a crash", self.resumed);
        let mut states: BTreeMap<String, usize> = BTreeMap::new();
        for operation in self.operations {
            *states.entry(to_wire_name(&operation.state)).or_default() += 1;
        }
        for (state, count) in &states {
            row(&format!("operations that are {state}"), count);
        }
        for witness in self.witnesses {
            let heard = lock(&witness.heard);
            let name = witness.name;
            row(&format!("broadcasts, {name}"), heard.messages);
            row(&format!("gaps, {name}"), heard.gaps);
            row(&format!("messages missed, {name}"), heard.missed);
            row(
                &format!("messages of an earlier leader, {name}"),
                heard.late,
            );
        }
        row("listings that kept the view whole", self.listings);
        row(
            "failures of deckies not yet on the record",
            self.unregistered,
        );
        row("terms of leaders", self.terms);
        row("of these ended by a refused append", self.refused);
        let service = &self.trouble.service;
        without_service("to the next leader's answer", &service.to_answers());
        without_service("to the next list", &service.to_lists());
        without_service("to the next acceptance", &service.to_acceptances());
        row("losses", self.losses.len());
    }
}

/// From the kills of a leader on.
fn without_service(until: &str, times: &[Duration]) {
    let Some(worst) = times.last() else { return };
    let name = |which: &str| format!("{which} of {} kills, {until}, ms", times.len());
    row(&name("median"), times[times.len() / 2].as_millis());
    row(&name("worst"), worst.as_millis());
}

fn row(meaning: &str, count: impl std::fmt::Display) {
    say(&format!("  {meaning:<48} {count:>8}"));
}
