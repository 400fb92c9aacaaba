//! The pseudo-random number generator (`SplitMix64`). Every random choice of the simulation uses
//! this generator, so that a seed always gives the same run.

use scuttle_schemas::Timestamp;
use uuid::Uuid;

#[derive(Debug, Clone)]
pub(crate) struct SeededRng(u64);

impl SeededRng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x5eed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`, or 0 if `bound` is 0.
    pub(crate) fn pick_below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// Returns a number from `min` to `max`, both included.
    pub(crate) fn pick_between(&mut self, min: u64, max: u64) -> u64 {
        min + self.pick_below(max - min + 1)
    }

    /// Returns true with a probability of `per_mille` in 1,000.
    pub(crate) fn roll_per_mille(&mut self, per_mille: u64) -> bool {
        self.pick_below(1000) < per_mille
    }

    /// Returns a random item, or `None` if `items` is empty.
    pub(crate) fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.pick_below(items.len() as u64) as usize)
    }
}

impl SeededRng {
    /// Returns a `UUIDv7` for this time and stores it in `last`. Even if the clock was set back,
    /// the UUID sorts after the previous value of `last`, the previous UUID of the same process.
    pub(crate) fn next_uuid_v7(&mut self, at: Timestamp, last: &mut u128) -> Uuid {
        let millis = u128::from(at.as_millis().cast_unsigned());
        let random = u128::from(self.next_u64() >> 2);
        let fresh = (millis << 80) | (7 << 76) | (2 << 62) | random;
        // The 12 bits after the milliseconds serve as a counter.
        *last = fresh.max(*last + (1 << 64));
        Uuid::from_u128(*last)
    }
}
