//! Exponential backoff with jitter that is derived from a seed.

/// A generator of pseudorandom numbers from a seed (`SplitMix64`).
#[derive(Debug, Clone)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number below `bound`, or 0 if `bound` is 0.
    pub(super) fn draw_below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).checked_rem(bound).unwrap_or(0)
    }

    /// Returns the delay in milliseconds after failed attempt number `attempt`, counted from 1. The
    /// delay starts at `min_ms` and doubles with every attempt up to `max_ms`. A random amount of
    /// up to half of the delay is subtracted, but the result is at least the smaller of the two
    /// bounds.
    pub(super) fn draw_delay(&mut self, attempt: u32, min_ms: u64, max_ms: u64) -> u64 {
        let full = min_ms
            .saturating_mul(1_u64 << attempt.saturating_sub(1).min(32))
            .min(max_ms);
        full.saturating_sub(self.draw_below(full / 2 + 1))
            .max(min_ms.min(max_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::Jitter;

    #[test]
    fn the_delay_grows_from_the_minimum_to_the_maximum() {
        let mut jitter = Jitter::new(7);
        for attempt in 1..100 {
            let delay = jitter.draw_delay(attempt, 500, 30_000);
            let full = (500_u64 << (attempt - 1).min(20)).min(30_000);
            assert!(
                (500..=full).contains(&delay) && delay >= full / 2,
                "attempt {attempt}: {delay}"
            );
        }
        assert_eq!(jitter.draw_below(0), 0);
    }

    #[test]
    fn the_numbers_depend_only_on_the_seed() {
        let numbers = |seed| {
            let mut jitter = Jitter::new(seed);
            (0..8).map(|_| jitter.draw_below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
    }
}
