//! The framing of batches in stream messages. A batch is one message, or several if it exceeds the
//! maximum message size.
//!
//! A two-byte header precedes each part: flags for the first and the last part, and the format. A
//! leader that dies in the middle of a batch leaves an incomplete batch. Readers discard the
//! incomplete batch when the next leader's batch starts.

use bytes::{BufMut, Bytes, BytesMut};

use crate::store::format_3::{FORMAT_3, upgrade_batch};
use crate::store::format_version::FORMAT;

const FIRST: u8 = 1;
const LAST: u8 = 2;

/// The length of each part's header, in bytes.
const HEADER_LEN: usize = 2;

/// The reason why a message is not a valid part of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingError {
    #[error("not a message of Scuttle")]
    Unknown,
    #[error("the first part of its batch is missing")]
    MissingFirstPart,
    #[error("a batch of format 3 cannot be decoded")]
    Undecodable,
    #[error(
        "the message has format {0}, and this controller reads format {FORMAT}: run the version of Scuttle that wrote it"
    )]
    Format(u8),
}

/// Splits a batch, which must not be empty, into messages of at most `max_len` bytes.
pub(crate) fn split_batch(batch: &[u8], max_len: usize) -> impl ExactSizeIterator<Item = Bytes> {
    let pieces = batch.chunks(max_len - HEADER_LEN);
    let last = pieces.len() - 1;
    pieces.enumerate().map(move |(number, piece)| {
        let first = if number == 0 { FIRST } else { 0 };
        let flags = first | if number == last { LAST } else { 0 };
        let mut part = BytesMut::with_capacity(piece.len() + HEADER_LEN);
        part.put_u8(flags);
        part.put_u8(FORMAT as u8);
        part.put_slice(piece);
        part.freeze()
    })
}

/// The state of assembling batches from messages.
#[derive(Debug, Default)]
pub(crate) struct BatchAssembler {
    /// The received parts of an incomplete batch. `None` between two batches.
    parts: Option<BytesMut>,
}

impl BatchAssembler {
    /// Takes the next message and returns the batch that it completes, if any, in the current
    /// format.
    pub(crate) fn push(&mut self, message: &Bytes) -> Result<Option<Bytes>, FramingError> {
        let ([flags, format], piece) = message.split_first_chunk().ok_or(FramingError::Unknown)?;
        if flags & !(FIRST | LAST) != 0 {
            return Err(FramingError::Unknown);
        }
        let format = u32::from(*format);
        if format != FORMAT && format != FORMAT_3 {
            return Err(FramingError::Format(message[1]));
        }
        let batch = if *flags == FIRST | LAST {
            self.parts = None;
            message.slice(HEADER_LEN..)
        } else {
            if flags & FIRST != 0 {
                self.parts = Some(BytesMut::new());
            }
            let parts = self.parts.as_mut().ok_or(FramingError::MissingFirstPart)?;
            parts.extend_from_slice(piece);
            if flags & LAST == 0 {
                return Ok(None);
            }
            self.parts.take().unwrap_or_default().freeze()
        };
        // A controller of an earlier version may lead while the others are upgraded.
        let batch = match format {
            FORMAT_3 => upgrade_batch(&batch)
                .map_err(|_| FramingError::Undecodable)?
                .into(),
            _ => batch,
        };
        Ok(Some(batch))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{BatchAssembler, FIRST, FramingError, LAST, split_batch};

    fn parts(batch: &[u8], max_len: usize) -> Vec<Bytes> {
        split_batch(batch, max_len).collect()
    }

    #[test]
    fn a_split_batch_is_assembled_again() {
        for (length, most, messages) in [(1, 3, 1), (3, 5, 1), (4, 5, 2), (9, 5, 3), (10, 5, 4)] {
            let batch: Vec<u8> = (0..length).collect();
            let parts = parts(&batch, most);
            assert_eq!(
                parts.len(),
                messages,
                "{length} bytes in messages of {most}"
            );
            assert!(parts.iter().all(|part| part.len() <= most));
            let mut assembler = BatchAssembler::default();
            let whole: Vec<_> = parts.iter().map(|part| assembler.push(part)).collect();
            let (last, before) = whole.split_last().expect("there is one");
            assert!(before.iter().all(|part| part == &Ok(None)));
            assert_eq!(last, &Ok(Some(Bytes::from(batch))));
        }
    }

    #[test]
    fn an_incomplete_batch_of_a_dead_leader_is_discarded() {
        let (old, new) = (parts(b"abcdef", 5), parts(b"uvwxyz", 5));
        let mut assembler = BatchAssembler::default();
        assert_eq!(assembler.push(&old[0]), Ok(None));
        assert_eq!(assembler.push(&new[0]), Ok(None));
        assert_eq!(
            assembler.push(&new[1]),
            Ok(Some(Bytes::from_static(b"uvwxyz")))
        );
        assert_eq!(assembler.push(&old[0]), Ok(None));
        let short = parts(b"q", 5);
        assert_eq!(
            assembler.push(&short[0]),
            Ok(Some(Bytes::from_static(b"q")))
        );
    }

    #[test]
    fn an_invalid_message_is_rejected() {
        let mut assembler = BatchAssembler::default();
        assert_eq!(
            assembler.push(&parts(b"abcdef", 5)[1]),
            Err(FramingError::MissingFirstPart)
        );
        for message in ["", "3", "45", "{}"] {
            let message = Bytes::from(message);
            assert_eq!(assembler.push(&message), Err(FramingError::Unknown));
        }
        let message = Bytes::from_static(&[FIRST | LAST, 0xff, 1]);
        assert_eq!(assembler.push(&message), Err(FramingError::Format(0xff)));
    }

    /// The removal of the shard `a/d`, which has the same bytes in both formats.
    #[test]
    fn a_batch_of_format_3_is_read() {
        let batch = b"\x01\x03\x01a\x01d";
        let old = |part: Bytes| Bytes::from([&[part[0], 3], &part[2..]].concat());
        let mut assembler = BatchAssembler::default();
        for max_len in [5, 100] {
            let read = parts(batch, max_len).into_iter();
            let read: Vec<_> = read.map(|part| assembler.push(&old(part))).collect();
            assert_eq!(read.last(), Some(&Ok(Some(Bytes::from_static(batch)))));
        }
        let damaged = old(parts(b"\x01\x09", 100).remove(0));
        assert_eq!(assembler.push(&damaged), Err(FramingError::Undecodable));
    }
}
