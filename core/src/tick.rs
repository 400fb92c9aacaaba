//! Time: what is due, in order of when. Commands are sent again, deadlines pass, hosts fall silent,
//! and a silent broadcast subject repeats its last revision.

use scuttle_schemas::agents::{AgentCommand, TeardownCommand};
use scuttle_schemas::hosts::{HostStatus, HostsUpdated, HostsUpdatedType};
use scuttle_schemas::operations::{OperationState, OperationsUpdated, OperationsUpdatedType};
use scuttle_schemas::shards::{ShardsUpdated, ShardsUpdatedType};
use scuttle_schemas::{HostId, OperationId, Timestamp};

use crate::backoff;
use crate::census::Seen;
use crate::rows::OperationRow;
use crate::state::{Host, State, is_open};
use crate::step::Effect;

/// A broadcast subject that was silent for so long repeats its last revision, in milliseconds.
const BEACON_MS: i64 = 5_000;

/// A host is offline after so many intervals without a heartbeat.
const MISSED_INTERVALS: i64 = 3;

/// The most timers that one `Tick` serves; what is left is still due at the next one. As many as there are requests in a
/// batch under load, so that ten thousand commands that are due again take half of the time at the most.
const TIMERS_PER_TICK: usize = 64;

/// What waits for a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// An open operation's next attempt or deadline.
    Operation(OperationId),
    /// A host whose heartbeats are expected.
    Liveness(HostId),
}

/// When each broadcast subject last had a message.
#[derive(Debug, Default)]
pub(crate) struct Beacons {
    shards: Timestamp,
    hosts: Timestamp,
    operations: Timestamp,
}

impl Beacons {
    pub(crate) fn shards_told(&mut self, now: Timestamp) {
        self.shards = now;
    }

    pub(crate) fn hosts_told(&mut self, now: Timestamp) {
        self.hosts = now;
    }

    pub(crate) fn operations_told(&mut self, now: Timestamp) {
        self.operations = now;
    }

    /// The clock shows less than it did.
    pub(crate) fn set_back(&mut self, now: Timestamp) {
        for told in [&mut self.shards, &mut self.hosts, &mut self.operations] {
            *told = now.min(*told);
        }
    }

    fn next(&self) -> Timestamp {
        self.shards
            .min(self.hosts)
            .min(self.operations)
            .plus_millis(BEACON_MS)
    }
}

impl Host {
    /// When this host counts as offline, if nothing is heard until then.
    fn silent_at(&self) -> Option<Timestamp> {
        let patience = i64::from(self.row.interval_ms) * MISSED_INTERVALS;
        self.heard.map(|heard| heard.plus_millis(patience))
    }
}

impl State {
    /// When the next `Tick` is wanted.
    pub fn next_deadline(&self) -> Timestamp {
        let timer = self.timers.first().map(|(at, _)| *at);
        let others = [timer, self.retires_at()].into_iter().flatten();
        others.fold(self.beacons.next(), Timestamp::min)
    }

    /// The first step of a process: a new epoch, and patience anew with every host that was online.
    /// Open operations need nothing: they are the outbox, and `Tick` sends what is due.
    pub(crate) fn start(&mut self, now: Timestamp) {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        self.meta.epoch = millis.max(self.meta.epoch + 1);
        self.batch.meta = true;
        self.beacons = Beacons {
            shards: now,
            hosts: now,
            operations: now,
        };
        // What the replay came by happened to the process before.
        self.census.seen = Seen::default();
        let online: Vec<HostId> = (self.hosts.values())
            .filter(|host| host.row.status == HostStatus::Online)
            .map(|host| host.row.host.clone())
            .collect();
        for host in online {
            self.hear(now, &host);
        }
    }

    /// Notes that a host's agent was heard, or is expected to be from now on.
    pub(crate) fn hear(&mut self, now: Timestamp, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.heard = Some(now);
        let Some(at) = host.silent_at() else { return };
        // A timer that comes too early finds that out by itself, so most heartbeats set none.
        if host.watched.is_none_or(|watched| at < watched) {
            self.watch(at, id);
        }
    }

    fn watch(&mut self, at: Timestamp, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        if let Some(before) = host.watched.replace(at) {
            self.timers.remove(&(before, Timer::Liveness(id.clone())));
        }
        self.timers.insert((at, Timer::Liveness(id.clone())));
    }

    pub(crate) fn tick(&mut self, now: Timestamp) {
        for _ in 0..TIMERS_PER_TICK {
            let Some((at, timer)) = self.timers.first().cloned() else {
                break;
            };
            if at > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Operation(id) => self.wake_operation(now, id),
                Timer::Liveness(host) => self.check_liveness(now, &host),
            }
        }
        self.repeat_revisions(now);
    }

    fn wake_operation(&mut self, now: Timestamp, id: OperationId) {
        match self.operations.get(&id) {
            Some(row) if is_open(row.state) && row.deadline <= now => self.expire(now, id),
            Some(row) if is_open(row.state) => self.send_command(now, id),
            Some(row) if row.state == OperationState::Cancelled => {
                let row = OperationRow::clone(row);
                self.withdraw(now, row);
            }
            _ => {}
        }
    }

    /// Sends an open operation's command again.
    pub(crate) fn send_command(&mut self, now: Timestamp, id: OperationId) {
        let Some(row) = self.operations.get(&id) else {
            return;
        };
        let mut row = OperationRow::clone(row);
        self.command(now, &mut row);
        self.put_operation(row);
    }

    /// Sends a command, and notes in the row when it is sent again.
    pub(crate) fn command(&mut self, now: Timestamp, row: &mut OperationRow) {
        row.attempts += 1;
        self.census.seen.retries += u64::from(row.attempts > 1);
        row.unanswered += 1;
        row.next_attempt_at = now.plus_millis(backoff::delay_ms(row.id, row.unanswered));
        let command = TeardownCommand {
            operation_id: row.id,
            host_uuid: row.host.clone(),
            decky_id: row.decky.clone(),
            attempt: row.attempts,
            controller_epoch: self.meta.epoch,
            not_after: row.deadline,
        };
        self.batch.effects.push(Effect::Command {
            host: row.host.clone(),
            command: AgentCommand::Teardown(command),
            trace: row.trace.clone(),
        });
    }

    /// Sends the commands of all of a host's open operations, oldest first: its agent is back, or has
    /// restarted.
    pub(crate) fn send_all_commands(&mut self, now: Timestamp, host: &HostId) {
        let open: Vec<OperationId> = match self.hosts.get(host) {
            Some(host) => host.open.iter().copied().collect(),
            None => return,
        };
        for id in open {
            let Some(row) = self.operations.get(&id) else {
                continue;
            };
            let mut row = OperationRow::clone(row);
            row.unanswered = 0;
            self.command(now, &mut row);
            self.put_operation(row);
        }
    }

    fn check_liveness(&mut self, now: Timestamp, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.watched = None;
        match host.silent_at() {
            Some(at) if at > now => self.watch(at, id),
            Some(_) => {
                host.heard = None;
                let mut row = host.row.clone();
                row.status = HostStatus::Offline;
                self.put_host(row);
            }
            None => {}
        }
    }

    fn repeat_revisions(&mut self, now: Timestamp) {
        let due = |told: Timestamp| told.plus_millis(BEACON_MS) <= now;
        let revisions = self.meta.revisions;
        if due(self.beacons.shards) {
            let message = ShardsUpdated {
                kind: ShardsUpdatedType,
                revision: revisions.shards,
                at: now,
                operation_id: None,
                updated: Vec::new(),
                removed: Vec::new(),
            };
            self.batch
                .effects
                .push(Effect::ShardsUpdated(message, None));
            self.beacons.shards_told(now);
        }
        if due(self.beacons.hosts) {
            let (kind, revision) = (HostsUpdatedType, revisions.hosts);
            let message = HostsUpdated {
                kind,
                revision,
                at: now,
                updated: Vec::new(),
            };
            self.batch.effects.push(Effect::HostsUpdated(message));
            self.beacons.hosts_told(now);
        }
        if due(self.beacons.operations) {
            let (kind, revision) = (OperationsUpdatedType, revisions.operations);
            let message = OperationsUpdated {
                kind,
                revision,
                at: now,
                updated: Vec::new(),
            };
            self.batch
                .effects
                .push(Effect::OperationsUpdated(message, None));
            self.beacons.operations_told(now);
        }
    }
}
