//! What goes through the controller's socket: a greeting with the store's format, then a frame for each stored value, and
//! at the end how many there were. Whoever connects asks for nothing else, and says nothing.

use std::io::{self, Read, Write};

use crate::store::Table;

/// How a controller greets; the last byte is the version of what follows.
const GREETING: [u8; 8] = *b"scuttle\x01";

const END: u8 = 0;
const REFUSED: u8 = u8::MAX;

/// A stored value is one batch of the engine at the most, which is far below this. More is not one of ours.
const LONGEST: u32 = 1 << 30;

/// What comes after the greeting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A stored value, whose bytes are in the buffer.
    Value(Table),
    /// There are no more; there were so many.
    End(u64),
    /// There will be no more, and why.
    Refused(String),
}

pub(crate) fn greet(out: &mut impl Write, format: u32) -> io::Result<()> {
    out.write_all(&GREETING)?;
    out.write_all(&format.to_le_bytes())
}

/// Reads the greeting; gives the format of the controller's store.
pub(crate) fn read_greeting(from: &mut impl Read) -> io::Result<u32> {
    if bytes::<8>(from)? != GREETING {
        return Err(invalid("the controller speaks another version of this"));
    }
    bytes(from).map(u32::from_le_bytes)
}

pub(crate) fn value(out: &mut impl Write, table: Table, value: &[u8]) -> io::Result<()> {
    let tag = Table::ALL.iter().position(|one| *one == table).unwrap_or(0) + 1;
    text(out, u8::try_from(tag).map_err(io::Error::other)?, value)
}

pub(crate) fn end(out: &mut impl Write, values: u64) -> io::Result<()> {
    out.write_all(&[END])?;
    out.write_all(&values.to_le_bytes())?;
    out.flush()
}

pub(crate) fn refuse(out: &mut impl Write, why: &str) -> io::Result<()> {
    text(out, REFUSED, why.as_bytes())?;
    out.flush()
}

fn text(out: &mut impl Write, tag: u8, text: &[u8]) -> io::Result<()> {
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    out.write_all(&[tag])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(text)
}

/// Reads the next frame; a value's bytes come to `buffer`.
pub(crate) fn read(from: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Frame> {
    let [tag] = bytes(from)?;
    if tag == END {
        return bytes(from).map(u64::from_le_bytes).map(Frame::End);
    }
    let length = u32::from_le_bytes(bytes(from)?);
    if length > LONGEST {
        return Err(invalid("a value is longer than any can be"));
    }
    buffer.clear();
    if from.take(length.into()).read_to_end(buffer)? < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if tag == REFUSED {
        return Ok(Frame::Refused(String::from_utf8_lossy(buffer).into_owned()));
    }
    let table = Table::ALL.get(usize::from(tag) - 1);
    table
        .map(|table| Frame::Value(*table))
        .ok_or_else(|| invalid("an unknown kind of value"))
}

fn bytes<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map(|()| bytes)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut wire = Vec::new();
        greet(&mut wire, 3).expect("written");
        for (number, table) in Table::ALL.into_iter().enumerate() {
            value(&mut wire, table, &vec![7; number * 1000]).expect("written");
        }
        refuse(&mut wire, "busy").expect("written");
        end(&mut wire, 6).expect("written");

        let from = &mut wire.as_slice();
        let mut buffer = Vec::new();
        assert_eq!(read_greeting(from).expect("a greeting"), 3);
        for (number, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(
                read(from, &mut buffer).expect("a frame"),
                Frame::Value(table)
            );
            assert_eq!(buffer, vec![7; number * 1000]);
        }
        let refused = Frame::Refused("busy".to_owned());
        assert_eq!(read(from, &mut buffer).expect("a frame"), refused);
        assert_eq!(read(from, &mut buffer).expect("a frame"), Frame::End(6));
        let cut = read(from, &mut buffer).expect_err("nothing more");
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let mut buffer = Vec::new();
        for (wire, kind) in [
            (&[3, 4, 0, 0, 0, 1][..], io::ErrorKind::UnexpectedEof),
            (&[3, 255, 255, 255, 255, 1], io::ErrorKind::InvalidData),
            (&[7, 0, 0, 0, 0], io::ErrorKind::InvalidData),
        ] {
            let error = read(&mut &*wire, &mut buffer).expect_err("refused");
            assert_eq!(error.kind(), kind, "{wire:?}");
        }
        let error = read_greeting(&mut &b"scuttle\x02\x03\0\0\0"[..]).expect_err("refused");
        assert!(error.to_string().contains("another version"), "{error}");
    }
}
