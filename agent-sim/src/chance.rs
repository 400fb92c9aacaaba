//! Whether and how much: every decision follows from the seed and from what it is about, not from when it is asked.

use std::ops::RangeInclusive;

/// The seed of a whole simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chance(pub u64);

impl Chance {
    /// The number that belongs to this question.
    pub fn draw(self, question: &str, about: &[&str], count: u64) -> u64 {
        let words = std::iter::once(question).chain(about.iter().copied());
        let bytes = words.flat_map(|word| word.bytes().chain([0xff]));
        let mixed = bytes.fold(mix(self.0), |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        mix(mixed ^ mix(count))
    }

    /// Whether it happens, at this rate (0 to 1).
    pub fn happens(self, rate: f64, question: &str, about: &[&str], count: u64) -> bool {
        // 53 bits: what a float between 0 and 1 can tell apart.
        let drawn = (self.draw(question, about, count) >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < rate
    }

    /// A number of the range.
    pub fn within(
        self,
        range: &RangeInclusive<u64>,
        question: &str,
        about: &[&str],
        count: u64,
    ) -> u64 {
        let width = (range.end() - range.start()).saturating_add(1);
        range.start() + self.draw(question, about, count) % width
    }

    /// One of the choices, which are not none.
    pub fn choose<'a, T: ?Sized>(self, choices: &[&'a T], question: &str, about: &[&str]) -> &'a T {
        choices[(self.draw(question, about, 0) % choices.len() as u64) as usize]
    }
}

/// The finish of `SplitMix64`.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Chance;

    #[test]
    fn the_same_question_has_the_same_answer_and_rates_hold() {
        let chance = Chance(1);
        assert_eq!(
            chance.draw("fail", &["a", "b"], 3),
            chance.draw("fail", &["a", "b"], 3)
        );
        assert_ne!(
            chance.draw("fail", &["ab"], 3),
            chance.draw("fail", &["a", "b"], 3)
        );
        assert_ne!(
            chance.draw("fail", &["a"], 3),
            Chance(2).draw("fail", &["a"], 3)
        );
        let yes = (0..10_000)
            .filter(|n| chance.happens(0.1, "fail", &["a"], *n))
            .count();
        assert!((900..1100).contains(&yes), "{yes}");
        assert!(!chance.happens(0.0, "fail", &["a"], 0) && chance.happens(1.0, "fail", &["a"], 0));
        assert!((0..1000).all(|n| (5..=7).contains(&chance.within(&(5..=7), "x", &[], n))));
    }
}
