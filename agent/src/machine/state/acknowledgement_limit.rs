//! The rate limit of acknowledgements. A controller drops reports above its own limit for each host
//! (1,024 per second), and thousands of acknowledgements at once must not crowd out heartbeats and
//! results.

/// The maximum number of acknowledgements in one second. A command beyond this limit is not
/// acknowledged. The controller sends it again, and the agent acknowledges it then.
const MAX_PER_SECOND: u32 = 512;

/// Counts the acknowledgements in the current second.
#[derive(Debug, Default)]
pub(crate) struct AcknowledgementLimit {
    /// The start of the current second, in milliseconds on the monotonic clock.
    second_started_at: u64,
    sent: u32,
}

impl AcknowledgementLimit {
    /// Returns whether another acknowledgement may be sent now, and counts it.
    pub(crate) fn try_send(&mut self, monotonic_ms: u64) -> bool {
        if monotonic_ms.saturating_sub(self.second_started_at) >= 1_000 {
            *self = Self {
                second_started_at: monotonic_ms,
                sent: 0,
            };
        }
        self.sent += 1;
        self.sent <= MAX_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::{AcknowledgementLimit, MAX_PER_SECOND};

    #[test]
    fn acknowledgements_above_the_limit_wait_for_the_next_second() {
        let mut limit = AcknowledgementLimit::default();
        for now in [5_000, 6_000] {
            let allowed = (0..2 * MAX_PER_SECOND).filter(|_| limit.try_send(now));
            assert_eq!(allowed.count(), MAX_PER_SECOND as usize);
            assert!(!limit.try_send(now + 999));
        }
    }
}
