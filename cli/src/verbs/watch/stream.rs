//! For programs: everything that there is, then each change, one JSON object a line; or what there is now, as one document.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::ask::Bus;
use crate::failure::Failure;
use crate::live::{Heard, Live};
use crate::look;
use crate::output::{Format, line};
use crate::outputs::{Event, Snapshot};

/// How often it is looked whether anything is still heard.
const LOOK: Duration = Duration::from_secs(1);

/// Writes until it is ended.
pub(crate) async fn run(bus: &Bus) -> Result<(), Failure> {
    let mut live = Live::open(bus).await?;
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut complete, mut stale) = (false, false);
    loop {
        tokio::select! {
            heard = live.next() => write(&live, &heard)?,
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        if live.is_complete() && !complete {
            complete = true;
            line(&Event::Complete { at: look::now() })?;
        }
        match live.stale() {
            Some(reason) if !stale => {
                stale = true;
                eprintln!("scuttle: {reason}");
                let since = look::now();
                line(&Event::Stale { since, reason })?;
            }
            None if stale => {
                stale = false;
                line(&Event::Complete { at: look::now() })?;
            }
            _ => {}
        }
    }
}

/// Writes what there is now, once.
pub(crate) async fn once(bus: &Bus) -> Result<(), Failure> {
    let mut live = Live::open(bus).await?;
    while !live.is_complete() {
        if let Heard::Trouble(trouble) = live.next().await {
            eprintln!("scuttle: {trouble}");
        }
    }
    let snapshot = Snapshot {
        at: look::now(),
        hosts: live.hosts.iter().map(|(_, host)| host).collect(),
        shards: live.shards.iter().map(|(_, shard)| shard).collect(),
        operations: live.operations.iter().map(|(_, one)| one).collect(),
    };
    Format::Json.one(&snapshot, String::new)
}

fn write(live: &Live, heard: &Heard) -> Result<(), Failure> {
    match heard {
        Heard::Hosts(changes) => {
            let revision = live.hosts.revision();
            let updated = changes.updated.iter().filter_map(|key| live.hosts.get(key));
            updated
                .map(|host| Event::Host { revision, host })
                .try_for_each(|event| line(&event))
        }
        Heard::Shards(changes) => {
            let revision = live.shards.revision();
            for key in &changes.updated {
                if let Some(shard) = live.shards.get(key) {
                    let revision = shard.revision;
                    line(&Event::Shard { revision, shard })?;
                }
            }
            for (host_uuid, decky_id) in &changes.removed {
                line(&Event::ShardRemoved {
                    revision,
                    host_uuid,
                    decky_id,
                })?;
            }
            Ok(())
        }
        Heard::Operations(changes) => {
            let revision = live.operations.revision();
            for key in &changes.updated {
                if let Some(operation) = live.operations.get(key) {
                    line(&Event::Operation {
                        revision,
                        operation,
                    })?;
                }
            }
            for operation_id in &changes.removed {
                line(&Event::OperationRemoved {
                    revision,
                    operation_id: *operation_id,
                })?;
            }
            Ok(())
        }
        // Said by what follows from it: `stale`.
        Heard::Trouble(_) | Heard::Nothing => Ok(()),
    }
}
