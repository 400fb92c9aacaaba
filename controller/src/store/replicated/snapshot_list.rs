//! The list of a partition's snapshots in the object store. Snapshots are made and transferred in
//! `snapshot_exchange`.

use std::collections::HashMap;
use std::fmt::Display;

use async_nats::jetstream::Context;
use async_nats::jetstream::object_store::{ObjectMetadata, ObjectStore};
use futures_util::TryStreamExt;
use scuttle_schemas::subjects;

use crate::nats::stream_lookup::find_stream;
use crate::store::replicated::shared_journal::SnapshotInfo;

/// The key under which the metadata of a snapshot holds [`SnapshotInfo::recovered_at`].
const RECOVERED_AT: &str = "scuttle-recovered-at";

/// A snapshot in the object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredSnapshot {
    pub(crate) info: SnapshotInfo,
    pub(crate) name: String,
    /// The size in bytes.
    pub(crate) size: u64,
}

/// Returns the name and metadata under which a snapshot is stored.
pub(crate) fn object_metadata(prefix: &str, info: SnapshotInfo) -> ObjectMetadata {
    let recovered_at = info.recovered_at.to_string();
    ObjectMetadata {
        name: format!("{prefix}{:020}", info.sequence),
        metadata: HashMap::from([(RECOVERED_AT.to_owned(), recovered_at)]),
        ..ObjectMetadata::default()
    }
}

/// Lists the snapshots whose names start with `prefix`, the newest last.
pub(crate) async fn list_snapshots(
    objects: &ObjectStore,
    prefix: &str,
) -> Result<Vec<StoredSnapshot>, String> {
    let text = |error: &dyn Display| error.to_string();
    let listed = objects.list().await.map_err(|error| text(&error))?;
    let all = listed.try_collect::<Vec<_>>().await;
    let read = all.map_err(|error| text(&error))?.into_iter();
    let read = read.filter_map(|object| {
        let sequence = object.name.strip_prefix(prefix)?.parse().ok()?;
        let recovered_at = object.metadata.get(RECOVERED_AT);
        let recovered_at = recovered_at.and_then(|text| text.parse().ok()).unwrap_or(0);
        Some(StoredSnapshot {
            info: SnapshotInfo {
                sequence,
                recovered_at,
            },
            size: object.size as u64,
            name: object.name,
        })
    });
    let mut snapshots: Vec<_> = read.collect();
    snapshots.sort_by_key(|snapshot| snapshot.info.sequence);
    Ok(snapshots)
}

/// Returns the newest snapshot whose name starts with `prefix`. Returns `None` if there is no such
/// snapshot, or no object store.
pub(crate) async fn find_newest(
    context: &Context,
    prefix: &str,
) -> Result<Option<SnapshotInfo>, String> {
    let bucket = subjects::SNAPSHOTS_BUCKET;
    let stream = find_stream(context, &format!("OBJ_{bucket}")).await;
    if stream.map_err(|error| error.to_string())?.is_none() {
        return Ok(None);
    }
    let objects = context.get_object_store(bucket).await;
    let objects = objects.map_err(|error| error.to_string())?;
    let newest = list_snapshots(&objects, prefix).await?.pop();
    Ok(newest.map(|newest| newest.info))
}
