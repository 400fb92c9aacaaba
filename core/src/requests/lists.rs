//! `swarm.shards.list`, `swarm.hosts.list` and `swarm.operations.list`: one page of records.

use std::ops::Bound;

use scuttle_schemas::hosts::{HostRecord, HostsList, HostsListRequest};
use scuttle_schemas::operations::{OperationsList, OperationsListRequest};
use scuttle_schemas::shards::{ShardsList, ShardsListRequest};
use scuttle_schemas::{DeckyId, ErrorReply, HostId};

use crate::broadcast::size_bounds::{SizeBound, shorten_notes};
use crate::partitions::cursor;
use crate::record::rows::OperationRow;
use crate::state::State;

/// The maximum number of rows that are scanned for one page, so that no request delays the others
/// for long. If few rows match a filter, a page may be short or empty even if its `next` is set.
const MAX_SCANNED_ROWS: usize = 20_000;

impl State {
    pub(crate) fn list_shards(
        &self,
        request: &ShardsListRequest,
    ) -> Result<ShardsList, ErrorReply> {
        let after = request.after.as_deref();
        let after = after.map(cursor::decode_shard).transpose()?;
        let only = request.host_uuid.as_ref();
        let from = match (&after, only) {
            (Some((host, _)), Some(only)) if host < only => Bound::Included(only),
            (Some((host, _)), _) => Bound::Included(host),
            (None, Some(only)) => Bound::Included(only),
            (None, None) => Bound::Unbounded,
        };
        let rows = self
            .hosts
            .range::<HostId, _>((from, Bound::Unbounded))
            .take_while(|(id, _)| only.is_none_or(|only| *id == only))
            .flat_map(|(id, host)| {
                let first = match &after {
                    Some((last_host, last_decky)) if last_host == id => Bound::Excluded(last_decky),
                    _ => Bound::Unbounded,
                };
                let shards = host.shards.range::<DeckyId, _>((first, Bound::Unbounded));
                shards.map(move |(_, shard)| (host, shard))
            });

        let mut shards = Vec::new();
        let mut free_bytes = self.batch.limits.reply_bytes();
        let mut last_scanned = None;
        let mut next = None;
        for (scanned, (host, shard)) in rows.enumerate() {
            let matches = request.state.is_none_or(|state| shard.row.state == state);
            let is_full = shards.len() == request.limit.get() || scanned == MAX_SCANNED_ROWS;
            if is_full || matches && !shard.row.try_reserve(&mut free_bytes) {
                next = last_scanned;
                break;
            }
            if matches {
                shards.push(shard.to_record(&host.row, host.inventory_seen_at));
            }
            last_scanned = Some((&shard.row.host, &shard.row.decky));
        }
        Ok(ShardsList {
            revision: self.meta.revisions.shards,
            shards,
            next: next.map(|(host, decky)| cursor::encode_shard(host, decky)),
        })
    }

    pub(crate) fn list_hosts(&self, request: &HostsListRequest) -> Result<HostsList, ErrorReply> {
        let after = request.after.as_deref();
        let after = after.map(cursor::decode_host).transpose()?;
        let only = request.host_uuid.as_ref();
        let from = match (&after, only) {
            (Some(after), Some(only)) if after < only => Bound::Included(only),
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(only)) => Bound::Included(only),
            (None, None) => Bound::Unbounded,
        };
        let rows = self
            .hosts
            .range::<HostId, _>((from, Bound::Unbounded))
            .take_while(|(id, _)| only.is_none_or(|only| *id == only));
        let mut hosts: Vec<HostRecord> = Vec::new();
        let mut free_bytes = self.batch.limits.reply_bytes();
        let mut next = None;
        let max_bytes = free_bytes;
        let records = rows.map(|(_, host)| shorten_notes(host.to_record(), max_bytes));
        for host in records {
            if hosts.len() == request.limit.get() || !host.try_reserve(&mut free_bytes) {
                next = hosts.last();
                break;
            }
            hosts.push(host);
        }
        let next = next.map(|last| cursor::encode_host(&last.host_uuid));
        Ok(HostsList {
            revision: self.meta.revisions.hosts,
            hosts,
            next,
        })
    }

    /// Returns one page of the operations, newest first.
    pub(crate) fn list_operations(
        &self,
        request: &OperationsListRequest,
    ) -> Result<OperationsList, ErrorReply> {
        let after = request.after.as_deref();
        let after = after.map(cursor::decode_operation).transpose()?;
        let before = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (Bound::Unbounded, before);
        let build_page = |rows: &mut dyn Iterator<Item = &OperationRow>| {
            let mut operations = Vec::new();
            let mut free_bytes = self.batch.limits.reply_bytes();
            let (mut last_scanned, mut next) = (None, None);
            for (scanned, row) in rows.enumerate() {
                let matches = request.state.is_none_or(|state| row.state == state);
                let record = matches.then(|| self.operation_record(row));
                let is_full =
                    operations.len() == request.limit.get() || scanned == MAX_SCANNED_ROWS;
                let fits = |record| SizeBound::try_reserve(record, &mut free_bytes);
                if is_full || !record.as_ref().is_none_or(fits) {
                    next = last_scanned.map(cursor::encode_operation);
                    break;
                }
                operations.extend(record);
                last_scanned = Some(row.id);
            }
            OperationsList {
                revision: self.meta.revisions.operations,
                operations,
                next,
            }
        };
        Ok(match &request.host_uuid {
            None => {
                let operations = self.operations.range(range).rev();
                build_page(&mut operations.map(|(_, row)| &**row))
            }
            Some(host) => {
                let host = self.hosts.get(host).into_iter();
                let ids = host.flat_map(|host| host.operations.range(range).rev());
                build_page(&mut ids.filter_map(|id| self.operations.get(id).map(|row| &**row)))
            }
        })
    }
}
