//! Messages become bytes, in memory that is used again once they are sent.
//!
//! A message is freed by another thread than made it, after some milliseconds. An allocator gives such
//! memory back to the system and takes it anew, which cost a tenth of what an accept costs.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

/// Encodes messages one after the other into a piece of memory. When it is full, another is taken up,
/// whose messages have mostly been sent meanwhile.
#[derive(Debug)]
pub struct Encoder {
    piece: usize,
    filling: BytesMut,
    full: BytesMut,
}

impl Encoder {
    /// Encodes into pieces of so many bytes. A message larger than a quarter of that may have to make
    /// itself room.
    pub fn new(piece: usize) -> Self {
        Self {
            piece,
            filling: BytesMut::new(),
            full: BytesMut::new(),
        }
    }

    /// A message's JSON.
    pub fn encode(&mut self, message: &impl Serialize) -> Bytes {
        if self.filling.capacity() < self.piece / 4 {
            std::mem::swap(&mut self.filling, &mut self.full);
            if !self.filling.try_reclaim(self.piece) {
                self.filling = BytesMut::with_capacity(self.piece);
            }
        }
        // Everything that is sent is made of strings, numbers and lists, which always have a JSON form.
        serde_json::to_writer((&mut self.filling).writer(), message)
            .expect("a wire message has a JSON form");
        self.filling.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::Encoder;

    const PIECE: usize = 1000;

    #[test]
    fn a_message_stays_as_it_was_while_the_memory_is_used_again() {
        let mut encoder = Encoder::new(PIECE);
        let text = "x".repeat(PIECE / 8);
        let kept = encoder.encode(&"kept");
        for _ in 0..100 {
            assert_eq!(encoder.encode(&text).len(), text.len() + 2);
        }
        assert_eq!(encoder.encode(&"x".repeat(2 * PIECE)).len(), 2 * PIECE + 2);
        assert_eq!(&*kept, br#""kept""#);
    }
}
