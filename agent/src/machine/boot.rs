//! The ids of boots. A later boot of an agent must have an id that sorts after every earlier one.

use scuttle_schemas::{BootId, Timestamp};
use uuid::Uuid;

/// The position of the lowest bit of the timestamp in a `UUIDv7`.
const TIMESTAMP_BIT: u32 = 80;

/// Returns `fresh` if it sorts after `last`. Otherwise, the host's clock has jumped back or is
/// behind that of another agent, and the result is an id one millisecond after `last`, with the
/// random part of `fresh`.
pub(super) fn later_boot(fresh: BootId, last: Option<BootId>) -> BootId {
    match last {
        Some(last) if fresh <= last => {
            let millis = (last.0.as_u128() >> TIMESTAMP_BIT).wrapping_add(1);
            with_millis(millis, fresh)
        }
        _ => fresh,
    }
}

/// Returns the id of a boot that starts at `wall`, with the random part of `boot`.
pub(super) fn boot_at(wall: Timestamp, boot: BootId) -> BootId {
    let millis = u128::try_from(wall.as_millis()).unwrap_or(0);
    with_millis(millis, boot)
}

fn with_millis(millis: u128, boot: BootId) -> BootId {
    let rest = boot.0.as_u128() & ((1 << TIMESTAMP_BIT) - 1);
    BootId(Uuid::from_u128(millis << TIMESTAMP_BIT | rest))
}
