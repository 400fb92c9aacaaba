//! The delay until a command is resent. It grows exponentially from 1 s to 60 s, with jitter.
//!
//! The jitter is computed from the operation's id. So the same input always gives the same delay,
//! but ten thousand operations do not become due at the same time.

use scuttle_schemas::OperationId;

const MIN_DELAY_MS: u64 = 1_000;
/// The maximum delay, in milliseconds.
pub(crate) const MAX_DELAY_MS: u64 = 60_000;

/// Returns the delay in milliseconds until the next send, if the agent has not reacted to `attempt`
/// sends (at least 1).
pub(crate) fn retry_delay_ms(operation: OperationId, attempt: u32) -> i64 {
    let ceiling = MIN_DELAY_MS
        .saturating_mul(1 << attempt.clamp(1, 16))
        .min(MAX_DELAY_MS);
    let floor = (ceiling / 2).max(MIN_DELAY_MS);
    let spread = ceiling - floor;
    (floor + hash_attempt(operation, attempt) % (spread + 1)).cast_signed()
}

/// Hashes the id and the attempt with the finalizer of `SplitMix64`.
fn hash_attempt(operation: OperationId, attempt: u32) -> u64 {
    let (high, low) = operation.0.as_u64_pair();
    let mut bits =
        high ^ low.rotate_left(31) ^ u64::from(attempt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use scuttle_schemas::OperationId;

    use super::retry_delay_ms;

    #[test]
    fn retry_delays_grow_from_one_second_to_sixty_with_jitter() {
        for seed in 0..1000_u128 {
            let id = OperationId(uuid::Uuid::from_u128(seed << 64 | seed));
            for attempt in 1..40 {
                let delay = retry_delay_ms(id, attempt);
                let ceiling = (1000_i64 << attempt.min(16)).min(60_000);
                assert!(
                    (1000..=ceiling).contains(&delay),
                    "attempt {attempt}: {delay} ms"
                );
                assert!(delay >= ceiling / 2, "attempt {attempt}: {delay} ms");
            }
        }
        let delays: BTreeSet<_> = (0..100_u128)
            .map(|id| retry_delay_ms(OperationId(uuid::Uuid::from_u128(id)), 8))
            .collect();
        assert!(
            delays.len() > 90,
            "the jitter spreads the delays: only {} of 100 differ",
            delays.len()
        );
    }
}
