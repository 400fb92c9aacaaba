//! A batch in the messages of a stream: one, or several where it is larger than a message may be.
//!
//! Two bytes before each part: whether it is the first and whether it is the last, and the format of what is in it. A leader that
//! dies amid a batch leaves the first parts of it, which count for nothing: the next leader's batch begins anew.

use bytes::{BufMut, Bytes, BytesMut};

use crate::store::FORMAT;

const FIRST: u8 = 1;
const LAST: u8 = 2;

/// Bytes before each part.
const HEAD: usize = 2;

/// A message that cannot be where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingError {
    #[error("it is not of Scuttle's making")]
    Unknown,
    #[error("the beginning of its batch is missing")]
    NoBeginning,
    #[error(
        "it has format {0}, and this controller reads format {FORMAT}: run the version of Scuttle that wrote it"
    )]
    Format(u8),
}

/// The messages that a batch is, each with at most `most` bytes.
pub(crate) fn split_batch(batch: &[u8], most: usize) -> impl ExactSizeIterator<Item = Bytes> {
    let pieces = batch.chunks(most - HEAD);
    let last = pieces.len() - 1;
    pieces.enumerate().map(move |(number, piece)| {
        let first = if number == 0 { FIRST } else { 0 };
        let flags = first | if number == last { LAST } else { 0 };
        let mut part = BytesMut::with_capacity(piece.len() + HEAD);
        part.put_u8(flags);
        part.put_u8(FORMAT as u8);
        part.put_slice(piece);
        part.freeze()
    })
}

/// Puts batches together again.
#[derive(Debug, Default)]
pub(crate) struct BatchAssembler {
    /// The parts so far of a batch that is not whole.
    parts: Option<BytesMut>,
}

impl BatchAssembler {
    /// Takes the next message; gives the batch that it ends.
    pub(crate) fn take(&mut self, message: &Bytes) -> Result<Option<Bytes>, FramingError> {
        let ([flags, format], piece) = message.split_first_chunk().ok_or(FramingError::Unknown)?;
        if flags & !(FIRST | LAST) != 0 {
            return Err(FramingError::Unknown);
        }
        if u32::from(*format) != FORMAT {
            return Err(FramingError::Format(*format));
        }
        if *flags == FIRST | LAST {
            self.parts = None;
            return Ok(Some(message.slice(HEAD..)));
        }
        if flags & FIRST != 0 {
            self.parts = Some(BytesMut::new());
        }
        let parts = self.parts.as_mut().ok_or(FramingError::NoBeginning)?;
        parts.extend_from_slice(piece);
        if flags & LAST == 0 {
            return Ok(None);
        }
        Ok(self.parts.take().map(BytesMut::freeze))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{BatchAssembler, FIRST, FramingError, LAST, split_batch};

    fn parts(batch: &[u8], most: usize) -> Vec<Bytes> {
        split_batch(batch, most).collect()
    }

    #[test]
    fn a_batch_comes_back_whole() {
        for (length, most, messages) in [(1, 3, 1), (3, 5, 1), (4, 5, 2), (9, 5, 3), (10, 5, 4)] {
            let batch: Vec<u8> = (0..length).collect();
            let parts = parts(&batch, most);
            assert_eq!(
                parts.len(),
                messages,
                "{length} bytes in messages of {most}"
            );
            assert!(parts.iter().all(|part| part.len() <= most));
            let mut joined = BatchAssembler::default();
            let whole: Vec<_> = parts.iter().map(|part| joined.take(part)).collect();
            let (last, before) = whole.split_last().expect("there is one");
            assert!(before.iter().all(|part| part == &Ok(None)));
            assert_eq!(last, &Ok(Some(Bytes::from(batch))));
        }
    }

    #[test]
    fn what_a_dead_leader_began_counts_for_nothing() {
        let (old, new) = (parts(b"abcdef", 5), parts(b"uvwxyz", 5));
        let mut joined = BatchAssembler::default();
        assert_eq!(joined.take(&old[0]), Ok(None));
        assert_eq!(joined.take(&new[0]), Ok(None));
        assert_eq!(
            joined.take(&new[1]),
            Ok(Some(Bytes::from_static(b"uvwxyz")))
        );
        assert_eq!(joined.take(&old[0]), Ok(None));
        let short = parts(b"q", 5);
        assert_eq!(joined.take(&short[0]), Ok(Some(Bytes::from_static(b"q"))));
    }

    #[test]
    fn what_is_out_of_place_is_refused() {
        let mut joined = BatchAssembler::default();
        assert_eq!(
            joined.take(&parts(b"abcdef", 5)[1]),
            Err(FramingError::NoBeginning)
        );
        for message in ["", "3", "45", "{}"] {
            let message = Bytes::from(message);
            assert_eq!(joined.take(&message), Err(FramingError::Unknown));
        }
        let message = Bytes::from_static(&[FIRST | LAST, 0xff, 1]);
        assert_eq!(joined.take(&message), Err(FramingError::Format(0xff)));
    }
}
