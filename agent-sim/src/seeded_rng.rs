//! Random decisions that depend only on the seed and on the subject of the decision, not on the
//! order in which decisions are made.

use std::ops::RangeInclusive;

/// A stateless random number generator, which holds only the seed of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeededRng(pub u64);

impl SeededRng {
    /// Returns the pseudorandom number for a decision. `about` names the subject of the decision,
    /// such as a host. `count` distinguishes repetitions of the same decision.
    pub fn draw(self, decision: &str, about: &[&str], count: u64) -> u64 {
        let words = std::iter::once(decision).chain(about.iter().copied());
        let bytes = words.flat_map(|word| word.bytes().chain([0xff]));
        let mixed = bytes.fold(mix(self.0), |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        mix(mixed ^ mix(count))
    }

    /// Returns true with probability `rate` (0 to 1).
    pub fn happens(self, rate: f64, decision: &str, about: &[&str], count: u64) -> bool {
        // A float between 0 and 1 has 53 significant bits.
        let drawn = (self.draw(decision, about, count) >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < rate
    }

    /// Returns a pseudorandom number in `range` for a decision.
    pub fn draw_in(
        self,
        range: &RangeInclusive<u64>,
        decision: &str,
        about: &[&str],
        count: u64,
    ) -> u64 {
        let width = (range.end() - range.start()).saturating_add(1);
        range.start() + self.draw(decision, about, count) % width
    }

    /// Returns a pseudorandom choice from `choices`, which must not be empty.
    pub fn choose<'a, T: ?Sized>(self, choices: &[&'a T], decision: &str, about: &[&str]) -> &'a T {
        choices[(self.draw(decision, about, 0) % choices.len() as u64) as usize]
    }
}

/// Returns the output of one `SplitMix64` step from the state `number`.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::SeededRng;

    #[test]
    fn the_same_decision_has_the_same_outcome_and_rates_hold() {
        let rng = SeededRng(1);
        assert_eq!(
            rng.draw("fail", &["a", "b"], 3),
            rng.draw("fail", &["a", "b"], 3)
        );
        assert_ne!(
            rng.draw("fail", &["ab"], 3),
            rng.draw("fail", &["a", "b"], 3)
        );
        assert_ne!(
            rng.draw("fail", &["a"], 3),
            SeededRng(2).draw("fail", &["a"], 3)
        );
        let yes = (0..10_000)
            .filter(|n| rng.happens(0.1, "fail", &["a"], *n))
            .count();
        assert!((900..1100).contains(&yes), "{yes}");
        assert!(!rng.happens(0.0, "fail", &["a"], 0) && rng.happens(1.0, "fail", &["a"], 0));
        assert!((0..1000).all(|n| (5..=7).contains(&rng.draw_in(&(5..=7), "x", &[], n))));
    }
}
