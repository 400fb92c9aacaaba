//! A host's inventory, as far as this process knows it, and the assembly of an inventory from its
//! pages.
//!
//! `reports::inventory` applies a complete inventory to the record.

use std::collections::{BTreeMap, BTreeSet};

use scuttle_schemas::agents::{Heartbeat, ReportedShard};
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, MAX_DECKIES_PER_HOST, OperationId};

use crate::record::rows::ReportId;

/// The state of a host's inventory, as far as this process knows it.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// Whether this process has applied a full inventory of the host.
    pub(crate) has_applied: bool,
    /// The report that contained the last applied inventory.
    pub(crate) applied_report: Option<ReportId>,
    /// The open operations that were accepted after the last applied inventory, which therefore
    /// proves nothing about them. Timestamps cannot replace this set, because an old inventory
    /// would look new if the clock was set back.
    pub(crate) operations_accepted_since: BTreeSet<OperationId>,
    /// Whether the agent must send a new inventory even if this process has already applied one.
    pub(crate) is_requested: bool,
    pages: Option<Pages>,
}

/// The pages of one inventory that have arrived so far, with at most `MAX_DECKIES_PER_HOST` deckies
/// in total.
#[derive(Debug)]
struct Pages {
    report: ReportId,
    total: u32,
    received: BTreeMap<u32, Vec<ReportedShard>>,
}

impl Inventory {
    /// Returns whether a full inventory was applied after the operation was accepted.
    pub(crate) fn is_newer_than(&self, operation: OperationId) -> bool {
        self.has_applied && !self.operations_accepted_since.contains(&operation)
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
    ) -> Result<Option<Vec<ReportedShard>>, ErrorReply> {
        let Some(shards) = heartbeat.shards else {
            return Ok(None);
        };
        let complete = if heartbeat.pages == 1 {
            shards
        } else {
            let earlier = self
                .pages
                .take()
                .filter(|pages| pages.report == report && pages.total == heartbeat.pages);
            let mut pages = earlier.unwrap_or(Pages {
                report,
                total: heartbeat.pages,
                received: BTreeMap::new(),
            });
            pages.received.insert(heartbeat.page, shards);
            let deckies: usize = pages.received.values().map(Vec::len).sum();
            if deckies <= MAX_DECKIES_PER_HOST && pages.received.len() < pages.total as usize {
                self.pages = Some(pages);
                return Ok(None);
            }
            pages.received.into_values().flatten().collect()
        };
        let distinct: BTreeSet<&DeckyId> = complete.iter().map(|shard| &shard.decky_id).collect();
        if complete.len() > MAX_DECKIES_PER_HOST || distinct.len() < complete.len() {
            self.is_requested = true;
            return Err(ErrorReply::new(
                ErrorCode::BadRequest,
                format!("an inventory lists at most {MAX_DECKIES_PER_HOST} deckies, each once"),
            ));
        }
        Ok(Some(complete))
    }
}
