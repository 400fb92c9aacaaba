//! When a heartbeat is due, what it carries, and what its answer means.
//!
//! The order of numbers must be the order of observations. Reading the inventory takes time, so a read
//! during which a result was numbered is thrown away and done again; and after a result a heartbeat soon carries
//! the whole inventory, whatever was accepted before: what the result did not mention, because it was deployed
//! meanwhile, is not to be missing from the record for longer.

use scuttle_schemas::agents::{
    Heartbeat, HeartbeatAccepted, HeartbeatType, MAX_PAGES, ReportedShard,
};
use scuttle_schemas::{ErrorCode, ErrorReply, MAX_DECKIES_PER_HOST, MAX_HEARTBEAT_BYTES, Text};

use super::{Effect, Machine, Note, Now, Step, Unanswered};
use crate::runtime::{Inventory, RuntimeError};

/// How long changes are gathered before they are told, in milliseconds (for each page of an inventory).
const DEBOUNCE_MS: u64 = 250;
/// How far the first heartbeats after connecting are spread, in milliseconds: many agents come back together.
const CONNECT_SPREAD_MS: u64 = 250;
/// How long an answer may take, in milliseconds: the interval, within these bounds, and more for each page.
const ANSWER_MS: std::ops::RangeInclusive<u64> = 1_000..=5_000;
const ANSWER_PAGE_MS: u64 = 100;
/// How long the runtime may take to read its inventory before a heartbeat goes without, in milliseconds.
const READ_MS: u64 = 5_000;
/// The first wait after a heartbeat that was not accepted, and the longest, in milliseconds.
const FIRST_WAIT_MS: u64 = 500;
const LONGEST_WAIT_MS: u64 = 30_000;
/// How many heartbeats in a row go unanswered before the controller counts as silent: as many as it takes for it to
/// count the host as offline.
const SILENT_AFTER: u32 = 3;
/// What a heartbeat takes beside its shards, generously, in bytes.
const FRAME_BYTES: usize = 4096;

/// The state of the heartbeats of one boot.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    due: u64,
    reading: Option<Reading>,
    outstanding: Option<Outstanding>,
    /// What the controller has accepted last of this boot.
    accepted: Option<Inventory>,
    /// The number of this boot's latest result.
    last_result: u64,
    /// How many heartbeats in a row were not accepted.
    failures: u32,
    pages: u64,
    told: Told,
}

#[derive(Debug)]
struct Reading {
    /// The number of the last report when it began.
    sequence: u64,
    deadline: u64,
    late: bool,
}

#[derive(Debug)]
struct Outstanding {
    sequence: u64,
    pages: u32,
    answered: u128,
    deadline: u64,
    content: Content,
}

/// What a heartbeat says of the inventory.
#[derive(Debug, Clone)]
enum Content {
    Whole(Inventory),
    Unchanged,
    Unreadable(Text),
}

/// What was logged, so that it is not logged again.
#[derive(Debug, Default)]
struct Told {
    stale: bool,
    refused: Option<ErrorCode>,
    silent: bool,
    unreadable: Option<String>,
}

impl Heartbeats {
    pub(super) fn forget_outstanding(&mut self) {
        self.outstanding = None;
    }

    /// What the controller makes of a result may differ from an inventory read before it.
    pub(super) fn result_numbered(&mut self, sequence: u64) {
        self.last_result = sequence;
        self.accepted = None;
    }

    pub(super) fn next_deadline(&self) -> u64 {
        match (&self.outstanding, &self.reading) {
            (Some(outstanding), _) => outstanding.deadline,
            (None, Some(reading)) if !reading.late => reading.deadline,
            (None, _) => self.due,
        }
    }
}

impl Machine {
    pub(super) fn heartbeat_after_connecting(&mut self, now: Now) {
        self.heartbeats.failures = 0;
        self.heartbeats.due = now.monotonic_ms + self.jitter.below(CONNECT_SPREAD_MS);
    }

    pub(super) fn inventory_changed(&mut self, now: Now) {
        let heartbeats = &mut self.heartbeats;
        if heartbeats.failures == 0 {
            let soon = now
                .monotonic_ms
                .saturating_add(DEBOUNCE_MS * heartbeats.pages.max(1));
            heartbeats.due = heartbeats.due.min(soon);
        }
    }

    pub(super) fn heartbeat_if_due(&mut self, now: Now, step: &mut Step) {
        let at = now.monotonic_ms;
        if let Some(outstanding) = &self.heartbeats.outstanding {
            if at < outstanding.deadline {
                return;
            }
            self.heartbeats.outstanding = None;
            self.controller_silent(now, None, step);
        }
        match &mut self.heartbeats.reading {
            Some(reading) if !reading.late && reading.deadline <= at => {
                reading.late = true;
                let content = self.unreadable("the runtime does not answer", step);
                self.send_heartbeat(now, content, step);
            }
            Some(reading) if reading.late && self.heartbeats.due <= at => {
                self.schedule(now);
                let content = self.unreadable("the runtime does not answer", step);
                self.send_heartbeat(now, content, step);
            }
            None if self.heartbeats.due <= at => self.read_inventory(now, step),
            Some(_) | None => {}
        }
    }

    fn read_inventory(&mut self, now: Now, step: &mut Step) {
        self.schedule(now);
        self.heartbeats.reading = Some(Reading {
            sequence: self.sequence,
            deadline: now.monotonic_ms.saturating_add(READ_MS),
            late: false,
        });
        step.effects.push(Effect::ReadInventory);
    }

    /// The next regular heartbeat: a little early at random, so that agents that were started together drift apart.
    fn schedule(&mut self, now: Now) {
        let interval = u64::from(self.config.interval_ms);
        let wait = interval - self.jitter.below(interval / 10);
        self.heartbeats.due = now.monotonic_ms.saturating_add(wait);
    }

    pub(super) fn inventory_read(
        &mut self,
        now: Now,
        inventory: Result<Inventory, RuntimeError>,
        step: &mut Step,
    ) {
        let Some(reading) = self.heartbeats.reading.take() else {
            return;
        };
        if reading.late {
            self.heartbeats.due = now.monotonic_ms;
        } else if !self.connected || self.heartbeats.outstanding.is_some() {
            // The connection was lost in between: what is due is read anew.
        } else if reading.sequence != self.sequence {
            self.read_inventory(now, step);
        } else {
            let content = self.content(inventory, step);
            self.send_heartbeat(now, content, step);
        }
    }

    fn content(&mut self, inventory: Result<Inventory, RuntimeError>, step: &mut Step) -> Content {
        let inventory = match inventory {
            Ok(inventory) if inventory.len() <= MAX_DECKIES_PER_HOST => inventory,
            Ok(inventory) => {
                let many = inventory.len();
                let why = format!("{many} deckies are more than {MAX_DECKIES_PER_HOST}");
                return self.unreadable(&why, step);
            }
            Err(RuntimeError(why)) => return self.unreadable(&why, step),
        };
        self.heartbeats.told.unreadable = None;
        if self.heartbeats.accepted.as_ref() == Some(&inventory) {
            Content::Unchanged
        } else {
            Content::Whole(inventory)
        }
    }

    fn unreadable(&mut self, why: &str, step: &mut Step) -> Content {
        if self.heartbeats.told.unreadable.as_deref() != Some(why) {
            self.heartbeats.told.unreadable = Some(why.to_owned());
            step.note(Note::InventoryUnreadable(why.to_owned()));
        }
        Content::Unreadable(Text::from(why))
    }

    fn send_heartbeat(&mut self, now: Now, mut content: Content, step: &mut Step) {
        let mut shards: Vec<_> = match &content {
            Content::Whole(inventory) => pages(inventory).into_iter().map(Some).collect(),
            Content::Unchanged | Content::Unreadable(_) => vec![None],
        };
        if shards.len() > MAX_PAGES as usize {
            content = self.unreadable("the inventory is too large to be sent", step);
            shards = vec![None];
        }
        let inventory_error = match &content {
            Content::Unreadable(why) => Some(why.clone()),
            Content::Whole(_) | Content::Unchanged => None,
        };
        let pages = shards.len() as u32;
        let sequence = self.numbered();
        if matches!(content, Content::Whole(_)) {
            // Until it is answered, it is not known which inventory the controller has.
            self.heartbeats.accepted = None;
        }
        for (page, shards) in (1..).zip(shards) {
            step.effects.push(Effect::RequestHeartbeat(Heartbeat {
                kind: HeartbeatType,
                host_uuid: self.config.host.clone(),
                agent_version: self.config.version.clone(),
                boot_id: self.config.boot_id,
                sequence,
                interval_ms: self.config.interval_ms,
                page,
                pages,
                shards,
                inventory_error: inventory_error.clone(),
            }));
        }
        self.heartbeats.pages = pages.into();
        self.heartbeats.outstanding = Some(Outstanding {
            sequence,
            pages,
            answered: 0,
            deadline: now.monotonic_ms
                + u64::from(self.config.interval_ms).clamp(*ANSWER_MS.start(), *ANSWER_MS.end())
                + ANSWER_PAGE_MS * u64::from(pages),
            content,
        });
    }

    pub(super) fn heartbeat_answered(
        &mut self,
        now: Now,
        (sequence, page): (u64, u32),
        answer: Result<HeartbeatAccepted, Unanswered>,
        step: &mut Step,
    ) {
        let Some(outstanding) = &mut self.heartbeats.outstanding else {
            return;
        };
        if outstanding.sequence != sequence || !(1..=outstanding.pages).contains(&page) {
            return;
        }
        match answer {
            Ok(answer @ HeartbeatAccepted { accepted: true, .. }) => {
                outstanding.answered |= 1 << (page - 1);
                if outstanding.answered.count_ones() == outstanding.pages
                    && let Some(outstanding) = self.heartbeats.outstanding.take()
                {
                    self.heartbeat_accepted(now, outstanding, answer, step);
                }
            }
            Err(Unanswered::Refused(refusal)) => {
                self.heartbeats.outstanding = None;
                self.refused(now, refusal, step);
            }
            Ok(_) | Err(Unanswered::NoResponders | Unanswered::Unreadable) => {
                self.heartbeats.outstanding = None;
                self.controller_silent(now, None, step);
            }
        }
    }

    fn heartbeat_accepted(
        &mut self,
        now: Now,
        outstanding: Outstanding,
        answer: HeartbeatAccepted,
        step: &mut Step,
    ) {
        self.heartbeats.failures = 0;
        self.heartbeats.told.refused = None;
        if std::mem::take(&mut self.heartbeats.told.silent) {
            self.results.all_due(now);
            step.note(Note::ControllerBack);
        }
        let overtaken = outstanding.sequence < self.heartbeats.last_result;
        if answer.stale {
            self.heartbeats.accepted = None;
            if !overtaken && !std::mem::replace(&mut self.heartbeats.told.stale, true) {
                step.note(Note::Stale);
            }
            return;
        }
        let inventory = matches!(outstanding.content, Content::Whole(_));
        step.note(Note::HeartbeatAccepted { inventory });
        if answer.send_inventory {
            self.heartbeats.accepted = None;
            if matches!(outstanding.content, Content::Unchanged) {
                self.heartbeats.due = now.monotonic_ms;
            }
        } else if let (Content::Whole(inventory), false) = (outstanding.content, overtaken) {
            self.heartbeats.accepted = Some(inventory);
        }
    }

    fn refused(&mut self, now: Now, refusal: ErrorReply, step: &mut Step) {
        if !matches!(
            refusal.code,
            ErrorCode::HostNotFound | ErrorCode::HostDecommissioned
        ) {
            return self.controller_silent(now, refusal.retry_after_ms, step);
        }
        let longest = LONGEST_WAIT_MS.max(self.config.interval_ms.into());
        self.back_off(now, self.config.interval_ms.into(), longest, None);
        if self.heartbeats.told.refused != Some(refusal.code) {
            self.heartbeats.told.refused = Some(refusal.code);
            step.note(Note::HostRefused {
                code: refusal.code,
                message: refusal.message,
            });
        }
    }

    /// No answer, or none to rely on. The controller may be back any moment, and takes a host that is not
    /// heard for offline: so no wait is longer than the interval.
    fn controller_silent(&mut self, now: Now, retry_after_ms: Option<u64>, step: &mut Step) {
        let longest = LONGEST_WAIT_MS.min(self.config.interval_ms.into());
        self.back_off(now, FIRST_WAIT_MS, longest, retry_after_ms);
        if self.heartbeats.failures >= SILENT_AFTER
            && !std::mem::replace(&mut self.heartbeats.told.silent, true)
        {
            step.note(Note::ControllerSilent);
        }
    }

    fn back_off(&mut self, now: Now, first: u64, longest: u64, least: Option<u64>) {
        self.heartbeats.failures = self.heartbeats.failures.saturating_add(1);
        let wait = self
            .jitter
            .backoff(self.heartbeats.failures, first, longest);
        let wait = wait.max(least.unwrap_or(0).min(LONGEST_WAIT_MS));
        self.heartbeats.due = now.monotonic_ms.saturating_add(wait);
    }
}

/// The inventory in pages of at most `MAX_HEARTBEAT_BYTES`, at least one.
fn pages(inventory: &[ReportedShard]) -> Vec<Vec<ReportedShard>> {
    const ROOM: usize = MAX_HEARTBEAT_BYTES - FRAME_BYTES;
    let mut pages = vec![];
    let (mut page, mut room) = (vec![], ROOM);
    for shard in inventory {
        let bytes = serde_json::to_vec(shard).map_or(0, |text| text.len()) + 1;
        if bytes > room {
            pages.push(std::mem::take(&mut page));
            room = ROOM;
        }
        room = room.saturating_sub(bytes);
        page.push(shard.clone());
    }
    pages.push(page);
    pages
}
