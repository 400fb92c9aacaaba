//! The rule by which a controller decides whether a journal still contains everything that is known
//! to have been in it. If not, no controller may serve from it until an operator decides.

use crate::store::format_version::KnownStream;
use crate::store::journal_error::JournalError;
use crate::store::replicated::shared_journal::{JournalState, SnapshotInfo};

/// The facts about a journal that a controller has in memory or in its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The stream, or `None` if nothing is known about it.
    pub(super) stream: Option<KnownStream>,
    /// The sequence of the last message that the controller has read or written.
    pub(super) last: u64,
    /// The sequence of the last message that a snapshot contained before the state of the journal
    /// was requested. A later snapshot may contain messages that this state lacks.
    pub(super) in_snapshot: u64,
}

/// Checks that a journal contains every message that is known to have existed, except trimmed
/// messages that a snapshot contains. Returns the facts to remember.
///
/// `snapshot` is the newest snapshot. It must be looked up after the state `found` was requested,
/// because a leader may trim the journal at any time. If the start of the journal has not changed
/// since the last check, `snapshot` may be `None` even though snapshots exist.
pub(super) fn check_complete(
    name: &str,
    known: Known,
    found: JournalState,
    snapshot: Option<SnapshotInfo>,
) -> Result<KnownStream, JournalError> {
    let stream = name.to_owned();
    let before = known.stream.unwrap_or(KnownStream {
        id: found.id,
        first: 1,
        recovered_at: snapshot.map_or(0, |snapshot| snapshot.recovered_at),
    });
    let is_other = found.id != before.id
        || snapshot.is_some_and(|snapshot| snapshot.recovered_at != before.recovered_at);
    if is_other {
        return Err(JournalError::Replaced {
            stream,
            known: known.last,
            last: found.last,
        });
    }
    let known_last = known.last.max(known.in_snapshot);
    if found.last < known_last {
        return Err(JournalError::Lost {
            stream,
            last: found.last,
            known: known_last,
        });
    }
    let trimmed = snapshot.map_or(0, |snapshot| snapshot.sequence);
    if found.first > before.first.max(trimmed + 1) {
        return Err(JournalError::Purged {
            stream,
            first: found.first,
            known: known.last,
        });
    }
    Ok(KnownStream {
        first: before.first.max(found.first),
        ..before
    })
}

#[cfg(test)]
mod tests {
    use super::{Known, check_complete};
    use crate::store::format_version::{KnownStream, StreamId};
    use crate::store::journal_error::JournalError;
    use crate::store::replicated::shared_journal::{JournalState, SnapshotInfo};

    const STREAM: KnownStream = KnownStream {
        id: StreamId(7),
        first: 5,
        recovered_at: 0,
    };
    const KNOWN: Known = Known {
        stream: Some(STREAM),
        last: 20,
        in_snapshot: 0,
    };
    const NOTHING: Known = Known {
        stream: None,
        last: 0,
        in_snapshot: 0,
    };

    fn journal(first: u64, last: u64) -> JournalState {
        let id = STREAM.id;
        JournalState { id, first, last }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the rule takes an option")]
    fn snapshot(sequence: u64) -> Option<SnapshotInfo> {
        Some(SnapshotInfo {
            sequence,
            recovered_at: 0,
        })
    }

    fn check(
        known: Known,
        found: JournalState,
        snapshot: Option<SnapshotInfo>,
    ) -> Result<KnownStream, JournalError> {
        check_complete("journal", known, found, snapshot)
    }

    #[test]
    fn an_unchanged_a_grown_and_a_trimmed_journal_are_complete() {
        assert_eq!(check(KNOWN, journal(5, 20), None).ok(), Some(STREAM));
        assert_eq!(check(KNOWN, journal(5, 30), None).ok(), Some(STREAM));
        let trimmed = check(KNOWN, journal(16, 20), snapshot(15));
        assert_eq!(trimmed.map(|known| known.first).ok(), Some(16));
        // The rows end before the trimmed messages. They are replaced by the snapshot.
        assert!(check(KNOWN, journal(26, 30), snapshot(25)).is_ok());
    }

    #[test]
    fn a_new_controller_accepts_a_new_journal_and_one_that_a_snapshot_completes() {
        assert!(check(NOTHING, journal(1, 0), None).is_ok());
        assert!(check(NOTHING, journal(1, 9), None).is_ok());
        assert!(check(NOTHING, journal(6, 9), snapshot(5)).is_ok());
    }

    #[test]
    fn a_stream_that_was_created_again_is_another_one() {
        for last in [0, 20, 30] {
            let again = JournalState {
                id: StreamId(8),
                ..journal(5, last)
            };
            let error = check(KNOWN, again, None).expect_err("another stream");
            assert!(matches!(error, JournalError::Replaced { .. }), "{error}");
        }
    }

    #[test]
    fn a_recovered_record_is_another_one() {
        let recovered = Some(SnapshotInfo {
            sequence: 19,
            recovered_at: 1,
        });
        let error = check(KNOWN, journal(20, 20), recovered).expect_err("it was recovered");
        assert!(matches!(error, JournalError::Replaced { .. }), "{error}");
        assert!(check(NOTHING, journal(20, 20), recovered).is_ok());
    }

    #[test]
    fn a_journal_that_ends_before_known_messages_has_lost_them() {
        let in_snapshot = Known {
            in_snapshot: 15,
            ..NOTHING
        };
        for (known, found, snapshot) in [
            (KNOWN, journal(5, 19), None),
            (KNOWN, journal(5, 4), None),
            (in_snapshot, journal(1, 0), snapshot(15)),
        ] {
            let error = check(known, found, snapshot).expect_err("messages are lost");
            assert!(matches!(error, JournalError::Lost { .. }), "{error}");
        }
    }

    #[test]
    fn a_snapshot_that_is_made_during_the_check_may_be_newer_than_the_state() {
        assert!(check(KNOWN, journal(5, 20), snapshot(25)).is_ok());
        let in_snapshot = Known {
            in_snapshot: 15,
            ..KNOWN
        };
        assert!(check(in_snapshot, journal(19, 20), snapshot(18)).is_ok());
    }

    #[test]
    fn a_purge_without_a_snapshot_is_a_loss_even_if_the_rows_have_everything() {
        for (known, found, snapshot) in [
            (KNOWN, journal(21, 20), None),
            (KNOWN, journal(21, 20), snapshot(15)),
            (KNOWN, journal(6, 20), None),
            (NOTHING, journal(6, 20), None),
            (NOTHING, journal(6, 20), snapshot(4)),
        ] {
            let error = check(known, found, snapshot).expect_err("messages are missing");
            assert!(matches!(error, JournalError::Purged { .. }), "{error}");
        }
    }
}
