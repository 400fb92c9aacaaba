//! How long to wait before trying again: backoff and jitter from a seed.

/// Numbers that look random and follow from a seed (`SplitMix64`).
#[derive(Debug, Clone)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).checked_rem(bound).unwrap_or(0)
    }

    /// The wait before attempt number `attempt` + 1: `first_ms` doubled with every attempt, at most
    /// `most_ms`, of which up to half is taken off at random.
    pub(super) fn backoff(&mut self, attempt: u32, first_ms: u64, most_ms: u64) -> u64 {
        let full = first_ms
            .saturating_mul(1_u64 << attempt.saturating_sub(1).min(32))
            .min(most_ms);
        full.saturating_sub(self.below(full / 2 + 1))
            .max(first_ms.min(most_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::Jitter;

    #[test]
    fn backoff_grows_from_the_first_wait_to_the_longest() {
        let mut jitter = Jitter::new(7);
        for attempt in 1..100 {
            let wait = jitter.backoff(attempt, 500, 30_000);
            let full = (500_u64 << (attempt - 1).min(20)).min(30_000);
            assert!(
                (500..=full).contains(&wait) && wait >= full / 2,
                "attempt {attempt}: {wait}"
            );
        }
        assert_eq!(jitter.below(0), 0);
    }

    #[test]
    fn the_seed_decides() {
        let numbers = |seed| {
            let mut jitter = Jitter::new(seed);
            (0..8).map(|_| jitter.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
    }
}
