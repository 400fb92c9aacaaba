//! A host's inventory, as far as this process knows it, and the assembly of an inventory from its
//! pages.
//!
//! `reports::inventory` applies a complete inventory to the record.

use std::collections::{BTreeMap, BTreeSet};

use scuttle_schemas::agents::{Heartbeat, ReportedShard};
use scuttle_schemas::{
    DeckyId, ErrorCode, ErrorReply, MAX_DECKIES_PER_HOST, OperationId, Timestamp,
};

use crate::record::rows::ReportId;

/// The state of a host's inventory, as far as this process knows it.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// Whether this process has applied a full inventory of the host.
    pub(crate) has_applied: bool,
    /// The report that contained the last applied inventory.
    pub(crate) applied_report: Option<ReportId>,
    /// The open operations that were accepted after the first page of the last applied inventory
    /// arrived. The inventory proves nothing about them. Timestamps cannot replace this set,
    /// because an old inventory would look new if the clock was set back.
    operations_accepted_since: BTreeSet<OperationId>,
    /// Whether the agent must send a new inventory even if this process has already applied one.
    pub(crate) is_requested: bool,
    /// The time at which the next shard may have to leave the record, because inventories have not
    /// listed it for `UNREPORTED_RETENTION_MS` or the host has too many shards. `None` until an
    /// inventory was applied.
    pub(crate) removal_due_at: Option<Timestamp>,
    pages: Option<Pages>,
}

/// The time in milliseconds after which a shard that inventories do not list leaves the record: 24
/// hours.
pub(crate) const UNREPORTED_RETENTION_MS: i64 = 24 * 3_600_000;

/// The pages of one inventory that have arrived so far, with at most `MAX_DECKIES_PER_HOST` deckies
/// in total.
#[derive(Debug)]
struct Pages {
    report: ReportId,
    total: u32,
    received: BTreeMap<u32, Vec<ReportedShard>>,
    /// The open operations that were accepted after the first page arrived.
    operations_accepted_since: BTreeSet<OperationId>,
}

/// A complete inventory.
#[derive(Debug)]
pub(crate) struct CompleteInventory {
    pub(crate) shards: Vec<ReportedShard>,
    /// The open operations that were accepted after the first page arrived.
    operations_accepted_since: BTreeSet<OperationId>,
}

impl Inventory {
    /// Returns whether a full inventory was applied whose first page arrived after the operation
    /// was accepted.
    pub(crate) fn is_newer_than(&self, operation: OperationId) -> bool {
        self.has_applied && !self.operations_accepted_since.contains(&operation)
    }

    /// Returns whether an open operation was accepted that the last applied inventory proves
    /// nothing about.
    pub(crate) fn is_older_than_an_operation(&self) -> bool {
        !self.operations_accepted_since.is_empty()
    }

    /// Records that an operation was accepted.
    pub(crate) fn record_accepted(&mut self, operation: OperationId) {
        self.operations_accepted_since.insert(operation);
        if let Some(pages) = &mut self.pages {
            pages.operations_accepted_since.insert(operation);
        }
    }

    /// Records that an operation has ended.
    pub(crate) fn record_ended(&mut self, operation: OperationId) {
        self.operations_accepted_since.remove(&operation);
        if let Some(pages) = &mut self.pages {
            pages.operations_accepted_since.remove(&operation);
        }
    }

    /// Records that a complete inventory is applied. Returns its deckies.
    pub(crate) fn record_applied(&mut self, inventory: CompleteInventory) -> Vec<ReportedShard> {
        self.has_applied = true;
        self.is_requested = false;
        self.operations_accepted_since = inventory.operations_accepted_since;
        inventory.shards
    }

    /// Records that the agent no longer reports a shard since `now`.
    pub(crate) fn record_unreported(&mut self, now: Timestamp) {
        let expires_at = now.plus_millis(UNREPORTED_RETENTION_MS);
        let due_at = self.removal_due_at.unwrap_or(expires_at);
        self.removal_due_at = Some(due_at.min(expires_at));
    }

    /// Returns whether a shard may have to leave the record now.
    pub(crate) fn is_removal_due(&self, now: Timestamp) -> bool {
        self.has_applied && self.removal_due_at.is_some_and(|at| at <= now)
    }

    /// Returns the report whose inventory has arrived in part.
    pub(crate) fn arriving_report(&self) -> Option<ReportId> {
        self.pages.as_ref().map(|pages| pages.report)
    }

    /// Drops the pages of a report that is older than `report`, because the rest of that inventory
    /// will not arrive. Requests a new inventory if any pages were dropped.
    pub(crate) fn drop_pages_before(&mut self, report: ReportId) {
        if self.pages.take_if(|pages| pages.report < report).is_some() {
            self.is_requested = true;
        }
    }

    /// Adds one page of an inventory. Returns the complete inventory once no page is missing.
    ///
    /// Rejects the page and requests a new inventory if the inventory has too many deckies, or
    /// lists a decky twice.
    pub(crate) fn add_page(
        &mut self,
        report: ReportId,
        heartbeat: Heartbeat,
    ) -> Result<Option<CompleteInventory>, ErrorReply> {
        let Some(shards) = heartbeat.shards else {
            return Ok(None);
        };
        let complete = if heartbeat.pages == 1 {
            CompleteInventory {
                shards,
                operations_accepted_since: BTreeSet::new(),
            }
        } else {
            let earlier = self
                .pages
                .take()
                .filter(|pages| pages.report == report && pages.total == heartbeat.pages);
            let mut pages = earlier.unwrap_or(Pages {
                report,
                total: heartbeat.pages,
                received: BTreeMap::new(),
                operations_accepted_since: BTreeSet::new(),
            });
            pages.received.insert(heartbeat.page, shards);
            let deckies: usize = pages.received.values().map(Vec::len).sum();
            if deckies <= MAX_DECKIES_PER_HOST && pages.received.len() < pages.total as usize {
                self.pages = Some(pages);
                return Ok(None);
            }
            CompleteInventory {
                shards: pages.received.into_values().flatten().collect(),
                operations_accepted_since: pages.operations_accepted_since,
            }
        };
        let shards = &complete.shards;
        let distinct: BTreeSet<&DeckyId> = shards.iter().map(|shard| &shard.decky_id).collect();
        if shards.len() > MAX_DECKIES_PER_HOST || distinct.len() < shards.len() {
            self.is_requested = true;
            return Err(ErrorReply::new(
                ErrorCode::BadRequest,
                format!("an inventory lists at most {MAX_DECKIES_PER_HOST} deckies, each once"),
            ));
        }
        Ok(Some(complete))
    }
}
