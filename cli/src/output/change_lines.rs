//! Changes to the records of a live view as JSON, one event per line.

use crate::client::live_view::{LiveView, Update};
use crate::failure::Failure;
use crate::output::format::write_json_line;
use crate::output::json_types::Event;

/// Writes each changed record of an update as a JSON event. Writes nothing for a problem, because a
/// problem makes the view stale, which the caller reports.
pub(crate) fn write_json_changes(view: &LiveView, update: &Update) -> Result<(), Failure> {
    match update {
        Update::Hosts(changes) => {
            let revision = view.hosts.revision();
            let updated = changes.updated.iter().filter_map(|key| view.hosts.get(key));
            updated
                .map(|host| Event::Host { revision, host })
                .try_for_each(|event| write_json_line(&event))
        }
        Update::Shards(changes) => {
            let revision = view.shards.revision();
            for key in &changes.updated {
                if let Some(shard) = view.shards.get(key) {
                    let revision = shard.revision;
                    write_json_line(&Event::Shard { revision, shard })?;
                }
            }
            for (host_uuid, decky_id) in &changes.removed {
                write_json_line(&Event::ShardRemoved {
                    revision,
                    host_uuid,
                    decky_id,
                })?;
            }
            Ok(())
        }
        Update::Operations(changes) => {
            let revision = view.operations.revision();
            for key in &changes.updated {
                if let Some(operation) = view.operations.get(key) {
                    write_json_line(&Event::Operation {
                        revision,
                        operation,
                    })?;
                }
            }
            for operation_id in &changes.removed {
                write_json_line(&Event::OperationRemoved {
                    revision,
                    operation_id: *operation_id,
                })?;
            }
            Ok(())
        }
        Update::Problem(_) | Update::ListingFailed(_) | Update::Nothing => Ok(()),
    }
}
