//! `swarm.shards.list`, `swarm.hosts.list`, `swarm.operations.list` and `swarm.operations.get`.

use std::ops::Bound;

use scuttle_schemas::ErrorReply;
use scuttle_schemas::hosts::{HostRecord, HostsList, HostsListRequest};
use scuttle_schemas::operations::{OperationsList, OperationsListRequest};
use scuttle_schemas::shards::{ShardsList, ShardsListRequest};

use crate::broadcast::size_bounds::{ANSWER_BYTES, Bounded};
use crate::partitions::cursor;
use crate::record::rows::OperationRow;
use crate::state::State;

/// The most rows that one page looks at. With a filter that few rows pass, a page may be short, or
/// empty, while its `next` is set: no request holds up the others for long.
const ROWS_PER_PAGE: usize = 20_000;

impl State {
    pub(crate) fn list_shards(
        &self,
        request: &ShardsListRequest,
    ) -> Result<ShardsList, ErrorReply> {
        let after = request.after.as_deref().map(cursor::shard).transpose()?;
        let from = match (&after, &request.host_uuid) {
            (Some((host, _)), Some(only)) if host < only => Bound::Included(only),
            (Some((host, _)), _) => Bound::Included(host),
            (None, Some(only)) => Bound::Included(only),
            (None, None) => Bound::Unbounded,
        };
        let rows = self
            .hosts
            .range::<scuttle_schemas::HostId, _>((from, Bound::Unbounded))
            .take_while(|(id, _)| request.host_uuid.as_ref().is_none_or(|only| *id == only))
            .flat_map(|(id, host)| {
                let first = match &after {
                    Some((last_host, last_decky)) if last_host == id => Bound::Excluded(last_decky),
                    _ => Bound::Unbounded,
                };
                let shards = host
                    .shards
                    .range::<scuttle_schemas::DeckyId, _>((first, Bound::Unbounded));
                shards.map(move |(_, shard)| (host, shard))
            });

        let mut shards = Vec::new();
        let mut room = ANSWER_BYTES;
        let mut last = None;
        let mut next = None;
        for (looked_at, (host, shard)) in rows.enumerate() {
            let wanted = request.state.is_none_or(|state| shard.row.state == state);
            let full = shards.len() == request.limit.get() || looked_at == ROWS_PER_PAGE;
            if full || wanted && !shard.row.fits(&mut room) {
                next = last;
                break;
            }
            if wanted {
                shards.push(shard.record(&host.row, host.seen));
            }
            last = Some((&shard.row.host, &shard.row.decky));
        }
        let next = next.map(|(host, decky)| cursor::after_shard(host, decky));
        Ok(ShardsList {
            revision: self.meta.revisions.shards,
            shards,
            next,
        })
    }

    pub(crate) fn list_hosts(&self, request: &HostsListRequest) -> Result<HostsList, ErrorReply> {
        let after = request.after.as_deref().map(cursor::host).transpose()?;
        let only = request.host_uuid.as_ref();
        let from = match (&after, only) {
            (Some(after), Some(only)) if after < only => Bound::Included(only),
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(only)) => Bound::Included(only),
            (None, None) => Bound::Unbounded,
        };
        let rows = self
            .hosts
            .range::<scuttle_schemas::HostId, _>((from, Bound::Unbounded))
            .take_while(|(id, _)| only.is_none_or(|only| *id == only));
        let mut hosts: Vec<HostRecord> = Vec::new();
        let mut room = ANSWER_BYTES;
        let mut next = None;
        for host in rows.map(|(_, host)| host.record()) {
            if hosts.len() == request.limit.get() || !host.fits(&mut room) {
                next = hosts.last();
                break;
            }
            hosts.push(host);
        }
        let next = next.map(|last| cursor::after_host(&last.host_uuid));
        Ok(HostsList {
            revision: self.meta.revisions.hosts,
            hosts,
            next,
        })
    }

    pub(crate) fn list_operations(
        &self,
        request: &OperationsListRequest,
    ) -> Result<OperationsList, ErrorReply> {
        let after = request
            .after
            .as_deref()
            .map(cursor::operation)
            .transpose()?;
        let range = (
            Bound::Unbounded,
            after.map_or(Bound::Unbounded, Bound::Excluded),
        );
        let page = |rows: &mut dyn Iterator<Item = &OperationRow>| {
            let mut operations = Vec::new();
            let mut room = ANSWER_BYTES;
            let (mut last, mut next) = (None, None);
            for (looked_at, row) in rows.enumerate() {
                let wanted = request.state.is_none_or(|state| row.state == state);
                let record = wanted.then(|| row.record(self.waiting_for(row)));
                let full = operations.len() == request.limit.get() || looked_at == ROWS_PER_PAGE;
                if full
                    || record
                        .as_ref()
                        .is_some_and(|record| !record.fits(&mut room))
                {
                    next = last.map(cursor::after_operation);
                    break;
                }
                operations.extend(record);
                last = Some(row.id);
            }
            OperationsList {
                revision: self.meta.revisions.operations,
                operations,
                next,
            }
        };
        Ok(match &request.host_uuid {
            None => page(&mut self.operations.range(range).rev().map(|(_, row)| &**row)),
            Some(host) => {
                let ids = self
                    .hosts
                    .get(host)
                    .into_iter()
                    .flat_map(|host| host.operations.range(range).rev());
                page(&mut ids.filter_map(|id| self.operations.get(id).map(|row| &**row)))
            }
        })
    }
}
