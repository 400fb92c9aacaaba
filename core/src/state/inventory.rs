//! Inventories: how pages become a whole one.

use std::collections::{BTreeMap, BTreeSet};

use scuttle_schemas::agents::{Heartbeat, ReportedShard};
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, MAX_DECKIES_PER_HOST, OperationId};

use crate::record::rows::ReportId;

/// What this process knows of a host's inventory.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// This process has applied a whole one.
    pub(crate) applied: bool,
    /// The report that the applied one came with.
    pub(crate) report: Option<ReportId>,
    /// The operations that were accepted since: of them it proves nothing. (No clock says so: one that
    /// jumps back would call an old inventory new.)
    pub(crate) accepted_since: BTreeSet<OperationId>,
    /// A new one is needed, whatever was applied before.
    pub(crate) wanted: bool,
    pages: Option<Pages>,
}

/// The pages of one inventory that have come so far: at most `MAX_DECKIES_PER_HOST` deckies in all.
#[derive(Debug)]
struct Pages {
    report: ReportId,
    of: u32,
    come: BTreeMap<u32, Vec<ReportedShard>>,
}

impl Inventory {
    /// Whether a whole one came since an open operation was accepted.
    pub(crate) fn is_newer_than(&self, operation: OperationId) -> bool {
        self.applied && !self.accepted_since.contains(&operation)
    }

    /// Drops pages of a report older than this one: their inventory will not be whole.
    pub(crate) fn drop_pages_before(&mut self, report: ReportId) {
        if self.pages.take_if(|pages| pages.report < report).is_some() {
            self.wanted = true;
        }
    }

    /// Takes one page in. Returns the inventory once it is whole.
    pub(crate) fn take_page(
        &mut self,
        report: ReportId,
        heartbeat: Heartbeat,
    ) -> Result<Option<Vec<ReportedShard>>, ErrorReply> {
        let Some(shards) = heartbeat.shards else {
            return Ok(None);
        };
        let whole = if heartbeat.pages == 1 {
            shards
        } else {
            let kept = self
                .pages
                .take()
                .filter(|pages| pages.report == report && pages.of == heartbeat.pages);
            let mut pages = kept.unwrap_or(Pages {
                report,
                of: heartbeat.pages,
                come: BTreeMap::new(),
            });
            pages.come.insert(heartbeat.page, shards);
            let deckies: usize = pages.come.values().map(Vec::len).sum();
            if deckies <= MAX_DECKIES_PER_HOST && pages.come.len() < pages.of as usize {
                self.pages = Some(pages);
                return Ok(None);
            }
            pages.come.into_values().flatten().collect()
        };
        let distinct: BTreeSet<&DeckyId> = whole.iter().map(|shard| &shard.decky_id).collect();
        if whole.len() > MAX_DECKIES_PER_HOST || distinct.len() < whole.len() {
            self.wanted = true;
            return Err(ErrorReply::new(
                ErrorCode::BadRequest,
                format!("an inventory lists at most {MAX_DECKIES_PER_HOST} deckies, each once"),
            ));
        }
        Ok(Some(whole))
    }
}
