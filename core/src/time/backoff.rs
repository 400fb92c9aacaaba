//! How long to wait until a command is sent again: exponential, 1 s to 60 s, with jitter.
//!
//! The jitter comes from the operation's id, so that the same input always gives the same delay and
//! ten thousand operations do not wake at once.

use scuttle_schemas::OperationId;

const FIRST_MS: u64 = 1_000;
/// The longest wait.
pub(crate) const LAST_MS: u64 = 60_000;

/// Milliseconds from the `attempt`th unanswered send (from 1) to the next one.
pub(crate) fn delay_ms(operation: OperationId, attempt: u32) -> i64 {
    let ceiling = FIRST_MS
        .saturating_mul(1 << attempt.clamp(1, 16))
        .min(LAST_MS);
    let floor = (ceiling / 2).max(FIRST_MS);
    let spread = ceiling - floor;
    (floor + hash(operation, attempt) % (spread + 1)).cast_signed()
}

/// `SplitMix64`'s finalizer over the id and the attempt.
fn hash(operation: OperationId, attempt: u32) -> u64 {
    let (high, low) = operation.0.as_u64_pair();
    let mut bits =
        high ^ low.rotate_left(31) ^ u64::from(attempt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::OperationId;

    use super::delay_ms;

    #[test]
    fn delays_grow_from_one_second_to_sixty_and_differ() {
        for seed in 0..1000_u128 {
            let id = OperationId(uuid::Uuid::from_u128(seed << 64 | seed));
            for attempt in 1..40 {
                let delay = delay_ms(id, attempt);
                let ceiling = (1000_i64 << attempt.min(16)).min(60_000);
                assert!(
                    (1000..=ceiling).contains(&delay),
                    "attempt {attempt}: {delay} ms"
                );
                assert!(delay >= ceiling / 2, "attempt {attempt}: {delay} ms");
            }
        }
        let delays: std::collections::BTreeSet<_> = (0..100_u128)
            .map(|id| delay_ms(OperationId(uuid::Uuid::from_u128(id)), 8))
            .collect();
        assert!(
            delays.len() > 90,
            "the jitter spreads: {} of 100 differ",
            delays.len()
        );
    }
}
