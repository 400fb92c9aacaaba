//! Heartbeats: their schedule, their content, and the handling of their replies.
//!
//! The sequence numbers of reports must follow the order in which the agent observed their
//! contents. Reading the inventory takes time. If a result gets its sequence number during a read,
//! the read is therefore discarded and repeated. If results keep arriving, the repeats end when the
//! timeout of the first read expires, and a heartbeat without inventory is sent. A host whose
//! teardowns end continuously therefore stays online.
//!
//! Soon after each result, a heartbeat with the full inventory follows, even if the controller has
//! already accepted the same inventory. A result does not mention a decky that was deployed during
//! the teardown. Without the heartbeat, such a decky would be missing from the record until the
//! next change.

use std::ops::RangeInclusive;

use scuttle_schemas::agents::{Heartbeat, HeartbeatAccepted, HeartbeatType, MAX_NOTES, MAX_PAGES};
use scuttle_schemas::{BootId, ErrorCode, ErrorReply, MAX_DECKIES_PER_HOST, Text};

use super::boot::{boot_at, later_boot};
use super::effect::{Effect, Step};
use super::event::AgentEvent;
use super::input::{HeartbeatPage, Now, RequestFailure};
use super::message_sizes::{
    fitting_notes, max_heartbeat_bytes, serialized_bytes, split_into_pages,
};
use super::state::Machine;
use super::state::heartbeat_state::{HeartbeatContent, HeartbeatInFlight, InventoryReading};
use crate::ledger::Entry;
use crate::runtime::{Inventory, RuntimeError};

/// The delay between a change of the inventory and its report, in milliseconds per page of the last
/// heartbeat. Changes during the delay are reported together.
const DEBOUNCE_MS: u64 = 250;
/// The upper bound of the random delay before the first heartbeat of a connection, in milliseconds.
/// The delay spreads the heartbeats of agents that reconnect together.
const CONNECT_SPREAD_MS: u64 = 250;
/// The bounds of the timeout for the reply to a heartbeat, in milliseconds. Within these bounds,
/// the timeout equals the heartbeat interval.
const REPLY_TIMEOUT_MS: RangeInclusive<u64> = 1_000..=5_000;
/// The addition to the reply timeout for each page of the heartbeat, in milliseconds.
const REPLY_TIMEOUT_PER_PAGE_MS: u64 = 100;
/// The timeout for reading the inventory, including repeated reads, in milliseconds. When it
/// expires, a heartbeat without inventory is sent.
const READ_TIMEOUT_MS: u64 = 5_000;
/// The reasons for a heartbeat without inventory after the timeout.
const NO_RESPONSE: &str = "the runtime does not respond";
const RESULTS_DURING_READ: &str = "teardowns ended during every read of the inventory";
/// The bounds of the delay after a heartbeat that was not accepted, in milliseconds.
const MIN_RETRY_DELAY_MS: u64 = 500;
const MAX_RETRY_DELAY_MS: u64 = 30_000;
/// The maximum delay between the first stale heartbeat of a boot and the next, in milliseconds.
const STALE_REPEAT_MS: u64 = 1_000;
/// The number of consecutive heartbeats without a usable reply after which the agent considers the
/// controller silent. The controller marks a host offline after as many missed heartbeats.
const SILENT_AFTER: u32 = 3;

impl Machine {
    pub(super) fn schedule_first_heartbeat(&mut self, now: Now) {
        self.heartbeats.failures = 0;
        self.heartbeats.due = now.monotonic_ms + self.jitter.draw_below(CONNECT_SPREAD_MS);
    }

    pub(super) fn handle_inventory_changed(&mut self, now: Now) {
        let heartbeats = &mut self.heartbeats;
        if heartbeats.failures == 0 {
            let soon = now
                .monotonic_ms
                .saturating_add(DEBOUNCE_MS * heartbeats.pages.max(1));
            heartbeats.due = heartbeats.due.min(soon);
        }
    }

    pub(super) fn send_heartbeat_if_due(&mut self, now: Now, step: &mut Step) {
        let at = now.monotonic_ms;
        if let Some(in_flight) = &self.heartbeats.in_flight {
            if at < in_flight.deadline {
                return;
            }
            self.heartbeats.in_flight = None;
            self.handle_no_reply(now, None, step);
        }
        match &mut self.heartbeats.reading {
            Some(reading) if !reading.timed_out && reading.deadline <= at => {
                reading.timed_out = true;
                let reason = if reading.repeated {
                    RESULTS_DURING_READ
                } else {
                    NO_RESPONSE
                };
                let content = self.report_unreadable(reason, step);
                self.send_heartbeat(now, content, step);
            }
            Some(reading) if reading.timed_out && self.heartbeats.due <= at => {
                self.schedule_next_heartbeat(now);
                let content = self.report_unreadable(NO_RESPONSE, step);
                self.send_heartbeat(now, content, step);
            }
            None if self.heartbeats.due <= at => {
                let deadline = at.saturating_add(READ_TIMEOUT_MS);
                self.start_inventory_read(now, deadline, false, step);
            }
            Some(_) | None => {}
        }
    }

    fn start_inventory_read(&mut self, now: Now, deadline: u64, repeated: bool, step: &mut Step) {
        self.schedule_next_heartbeat(now);
        self.heartbeats.reading = Some(InventoryReading {
            sequence: self.sequence,
            deadline,
            repeated,
            timed_out: false,
        });
        step.effects.push(Effect::ReadInventory);
    }

    /// Schedules the next regular heartbeat. A random part of up to a tenth of the interval is
    /// subtracted, so that agents that started together drift apart.
    fn schedule_next_heartbeat(&mut self, now: Now) {
        let interval = u64::from(self.config.interval_ms);
        let delay = interval - self.jitter.draw_below(interval / 10);
        self.heartbeats.due = now.monotonic_ms.saturating_add(delay);
    }

    pub(super) fn handle_inventory_read(
        &mut self,
        now: Now,
        inventory: Result<Inventory, RuntimeError>,
        step: &mut Step,
    ) {
        let Some(reading) = self.heartbeats.reading.take() else {
            return;
        };
        if reading.timed_out {
            self.heartbeats.due = now.monotonic_ms;
        } else if !self.connected || self.heartbeats.in_flight.is_some() {
            // The connection was lost during the read. The next due heartbeat reads again.
        } else if reading.sequence != self.sequence {
            self.start_inventory_read(now, reading.deadline, true, step);
        } else {
            let content = self.choose_content(inventory, step);
            self.send_heartbeat(now, content, step);
        }
    }

    fn choose_content(
        &mut self,
        inventory: Result<Inventory, RuntimeError>,
        step: &mut Step,
    ) -> HeartbeatContent {
        let inventory = match inventory {
            Ok(inventory) if inventory.shards.len() <= MAX_DECKIES_PER_HOST => inventory,
            Ok(inventory) => {
                let count = inventory.shards.len();
                let reason = format!(
                    "the host has {count} deckies, at most {MAX_DECKIES_PER_HOST} are allowed"
                );
                return self.report_unreadable(&reason, step);
            }
            Err(RuntimeError(reason)) => return self.report_unreadable(&reason, step),
        };
        self.heartbeats.logged.unreadable = None;
        let Inventory { shards, notes } = inventory;
        self.heartbeats.notes = notes;
        if self.heartbeats.accepted.as_ref() == Some(&shards) {
            HeartbeatContent::Unchanged
        } else {
            HeartbeatContent::Full(shards)
        }
    }

    fn report_unreadable(&mut self, reason: &str, step: &mut Step) -> HeartbeatContent {
        if self.heartbeats.logged.unreadable.as_deref() != Some(reason) {
            self.heartbeats.logged.unreadable = Some(reason.to_owned());
            step.emit(AgentEvent::InventoryUnreadable(reason.to_owned()));
        }
        HeartbeatContent::Unreadable(Text::from(reason))
    }

    fn send_heartbeat(&mut self, now: Now, mut content: HeartbeatContent, step: &mut Step) {
        let mut heartbeat = Heartbeat {
            kind: HeartbeatType,
            host_uuid: self.config.host.clone(),
            agent_version: self.config.version.clone(),
            boot_id: self.config.boot_id,
            sequence: self.next_sequence(),
            sent_at: Some(now.wall),
            interval_ms: self.config.interval_ms,
            page: MAX_PAGES,
            pages: MAX_PAGES,
            shards: Some(Vec::new()),
            inventory_error: None,
            notes: Vec::new(),
        };
        let max_bytes = max_heartbeat_bytes(self.max_payload);
        let notes = self.heartbeats.agent_note.iter();
        let notes = notes.chain(self.heartbeats.notes.iter()).take(MAX_NOTES);
        let mut notes = fitting_notes(notes, max_bytes / 2);
        let mut shards = vec![None];
        if let HeartbeatContent::Full(inventory) = &content {
            let page_bytes = max_bytes.saturating_sub(serialized_bytes(&heartbeat));
            let first_bytes = page_bytes.saturating_sub(serialized_bytes(&notes));
            let pages = split_into_pages(inventory, first_bytes, page_bytes);
            shards = pages.into_iter().map(Some).collect();
        }
        if shards.len() > MAX_PAGES as usize {
            let reason = format!(
                "the inventory is too large to send in {MAX_PAGES} messages of {max_bytes} bytes: \
                 set a larger max_payload in the NATS server's configuration"
            );
            content = self.report_unreadable(&reason, step);
            shards = vec![None];
        }
        if let HeartbeatContent::Unreadable(reason) = &content {
            heartbeat.inventory_error = Some(reason.clone());
        }
        let (sequence, pages) = (heartbeat.sequence, shards.len() as u32);
        if matches!(content, HeartbeatContent::Full(_)) {
            // Until the reply arrives, it is unknown which inventory the controller has.
            self.heartbeats.accepted = None;
        }
        for (page, shards) in (1..).zip(shards) {
            step.effects.push(Effect::RequestHeartbeat(Heartbeat {
                page,
                pages,
                shards,
                notes: std::mem::take(&mut notes),
                ..heartbeat.clone()
            }));
        }
        self.heartbeats.pages = pages.into();
        self.heartbeats.in_flight = Some(HeartbeatInFlight {
            sequence,
            pages,
            accepted_pages: 0,
            deadline: now.monotonic_ms
                + u64::from(self.config.interval_ms)
                    .clamp(*REPLY_TIMEOUT_MS.start(), *REPLY_TIMEOUT_MS.end())
                + REPLY_TIMEOUT_PER_PAGE_MS * u64::from(pages),
            content,
        });
    }

    pub(super) fn handle_heartbeat_reply(
        &mut self,
        now: Now,
        request: HeartbeatPage,
        reply: Result<HeartbeatAccepted, RequestFailure>,
        step: &mut Step,
    ) {
        let Some(in_flight) = &mut self.heartbeats.in_flight else {
            return;
        };
        let HeartbeatPage { sequence, page } = request;
        if in_flight.sequence != sequence || !(1..=in_flight.pages).contains(&page) {
            return;
        }
        match reply {
            Ok(reply @ HeartbeatAccepted { accepted: true, .. }) => {
                in_flight.accepted_pages |= 1 << (page - 1);
                if in_flight.accepted_pages.count_ones() == in_flight.pages
                    && let Some(heartbeat) = self.heartbeats.in_flight.take()
                {
                    self.handle_heartbeat_accepted(now, heartbeat, reply, step);
                }
            }
            Err(RequestFailure::Rejected(error)) => {
                self.heartbeats.in_flight = None;
                self.handle_heartbeat_rejected(now, error, step);
            }
            Ok(_) | Err(RequestFailure::NoResponders | RequestFailure::InvalidReply) => {
                self.heartbeats.in_flight = None;
                self.handle_no_reply(now, None, step);
            }
        }
    }

    fn handle_heartbeat_accepted(
        &mut self,
        now: Now,
        heartbeat: HeartbeatInFlight,
        reply: HeartbeatAccepted,
        step: &mut Step,
    ) {
        self.heartbeats.failures = 0;
        self.heartbeats.logged.rejected = None;
        if std::mem::take(&mut self.heartbeats.logged.silent) {
            self.results.schedule_all(now);
            step.emit(AgentEvent::ControllerBack);
        }
        let overtaken = heartbeat.sequence < self.heartbeats.last_result;
        if reply.stale {
            self.heartbeats.accepted = None;
            match reply.other_agent {
                Some(other) if other.silent => self.replace_boot(now, other.boot_id, step),
                _ if !overtaken => self.note_stale(now, step),
                _ => {}
            }
            return;
        }
        let has_other = reply.other_agent.is_some();
        if has_other && !self.heartbeats.logged.other_agent {
            step.emit(AgentEvent::OtherAgentReports);
        }
        self.heartbeats.logged.other_agent = has_other;
        let inventory = matches!(heartbeat.content, HeartbeatContent::Full(_));
        step.emit(AgentEvent::HeartbeatAccepted { inventory });
        if reply.send_inventory {
            self.heartbeats.accepted = None;
            if matches!(heartbeat.content, HeartbeatContent::Unchanged) {
                self.heartbeats.due = now.monotonic_ms;
            }
        } else if let (HeartbeatContent::Full(shards), false) = (heartbeat.content, overtaken) {
            self.heartbeats.accepted = Some(shards);
        }
    }

    /// Reports a stale heartbeat once per boot. The next heartbeat then follows soon, because the
    /// controller needs it to distinguish a second agent from a late message.
    fn note_stale(&mut self, now: Now, step: &mut Step) {
        if !std::mem::replace(&mut self.heartbeats.logged.stale, true) {
            step.emit(AgentEvent::ReportsStale);
            let soon = now.monotonic_ms.saturating_add(STALE_REPEAT_MS);
            self.heartbeats.due = self.heartbeats.due.min(soon);
        }
    }

    /// Continues with a new boot id, because the agent of the boot `silent`, whose reports made
    /// those of this agent stale, no longer reports. The sequence numbers continue.
    fn replace_boot(&mut self, now: Now, silent: BootId, step: &mut Step) {
        let before = self.config.boot_id;
        let boot_id = later_boot(boot_at(now.wall, before), Some(before.max(silent)));
        self.config.boot_id = boot_id;
        step.writes.push(Entry::Boot { boot_id });
        step.emit(AgentEvent::BootReplaced { silent });
        self.heartbeats.logged.stale = false;
        self.heartbeats.due = now.monotonic_ms;
    }

    fn handle_heartbeat_rejected(&mut self, now: Now, error: ErrorReply, step: &mut Step) {
        if !matches!(
            error.code,
            ErrorCode::HostNotFound | ErrorCode::HostDecommissioned
        ) {
            return self.handle_no_reply(now, error.retry_after_ms, step);
        }
        let max = MAX_RETRY_DELAY_MS.max(self.config.interval_ms.into());
        self.back_off(now, self.config.interval_ms.into(), max, None);
        if self.heartbeats.logged.rejected != Some(error.code) {
            self.heartbeats.logged.rejected = Some(error.code);
            step.emit(AgentEvent::HostRejected {
                code: error.code,
                message: error.message,
            });
        }
    }

    /// Handles a missing or unusable reply, or a rejection that may be temporary. The controller
    /// may return at any moment, and it marks hosts without heartbeats offline. The delay until the
    /// next heartbeat is therefore at most the heartbeat interval, unless `retry_after_ms` is
    /// longer.
    fn handle_no_reply(&mut self, now: Now, retry_after_ms: Option<u64>, step: &mut Step) {
        let max = MAX_RETRY_DELAY_MS.min(self.config.interval_ms.into());
        self.back_off(now, MIN_RETRY_DELAY_MS, max, retry_after_ms);
        if self.heartbeats.failures >= SILENT_AFTER
            && !std::mem::replace(&mut self.heartbeats.logged.silent, true)
        {
            step.emit(AgentEvent::ControllerSilent);
        }
    }

    fn back_off(&mut self, now: Now, min_ms: u64, max_ms: u64, retry_after_ms: Option<u64>) {
        self.heartbeats.failures = self.heartbeats.failures.saturating_add(1);
        let delay = self
            .jitter
            .draw_delay(self.heartbeats.failures, min_ms, max_ms);
        let delay = delay.max(retry_after_ms.unwrap_or(0).min(MAX_RETRY_DELAY_MS));
        self.heartbeats.due = now.monotonic_ms.saturating_add(delay);
    }
}
