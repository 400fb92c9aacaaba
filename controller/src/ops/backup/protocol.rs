//! The protocol of the controller's backup socket: a greeting with the store's format, one frame
//! for each stored value, and a final frame with the number of values. The client sends nothing.

use std::io::{self, Read, Write};

use crate::store::snapshot::Table;

/// The start of the greeting, before the store's format. The last byte is the version of the
/// protocol.
const GREETING: [u8; 8] = *b"scuttle\x01";

const END: u8 = 0;
const REJECTED: u8 = u8::MAX;

/// The maximum size of a value in bytes. The largest actual value is one batch of the engine, which
/// is far smaller.
const MAX_VALUE_SIZE: u32 = 1 << 30;

/// One of the frames that follow the greeting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A stored value of a table. [`read_frame`] stores the bytes of the value in a buffer.
    Value(Table),
    /// The end of the backup, with the number of values.
    End(u64),
    /// The reason why the controller rejected or aborted the backup.
    Rejected(String),
}

pub(crate) fn write_greeting(out: &mut impl Write, format: u32) -> io::Result<()> {
    out.write_all(&GREETING)?;
    out.write_all(&format.to_le_bytes())
}

/// Reads the greeting and returns the format of the controller's store. Fails if the version of the
/// protocol differs.
pub(crate) fn read_greeting(from: &mut impl Read) -> io::Result<u32> {
    if bytes::<8>(from)? != GREETING {
        return Err(invalid(
            "the controller uses a different version of the backup protocol",
        ));
    }
    bytes(from).map(u32::from_le_bytes)
}

pub(crate) fn write_value(out: &mut impl Write, table: Table, value: &[u8]) -> io::Result<()> {
    let tag = Table::ALL.iter().position(|one| *one == table).unwrap_or(0) + 1;
    write_tagged(out, u8::try_from(tag).map_err(io::Error::other)?, value)
}

pub(crate) fn write_end(out: &mut impl Write, values: u64) -> io::Result<()> {
    out.write_all(&[END])?;
    out.write_all(&values.to_le_bytes())?;
    out.flush()
}

pub(crate) fn write_rejection(out: &mut impl Write, reason: &str) -> io::Result<()> {
    write_tagged(out, REJECTED, reason.as_bytes())?;
    out.flush()
}

fn write_tagged(out: &mut impl Write, tag: u8, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&[tag])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(bytes)
}

/// Reads the next frame. Stores the bytes of a value in `buffer`.
pub(crate) fn read_frame(from: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Frame> {
    let [tag] = bytes(from)?;
    if tag == END {
        return bytes(from).map(u64::from_le_bytes).map(Frame::End);
    }
    let length = u32::from_le_bytes(bytes(from)?);
    if length > MAX_VALUE_SIZE {
        return Err(invalid("a value exceeds the maximum size"));
    }
    buffer.clear();
    if from.take(length.into()).read_to_end(buffer)? < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if tag == REJECTED {
        return Ok(Frame::Rejected(
            String::from_utf8_lossy(buffer).into_owned(),
        ));
    }
    let table = Table::ALL.get(usize::from(tag) - 1);
    table
        .map(|table| Frame::Value(*table))
        .ok_or_else(|| invalid("an unknown table"))
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
    fn every_frame_that_is_written_can_be_read() {
        let mut wire = Vec::new();
        write_greeting(&mut wire, 3).expect("written");
        for (number, table) in Table::ALL.into_iter().enumerate() {
            write_value(&mut wire, table, &vec![7; number * 1000]).expect("written");
        }
        write_rejection(&mut wire, "busy").expect("written");
        write_end(&mut wire, 6).expect("written");

        let from = &mut wire.as_slice();
        let mut buffer = Vec::new();
        assert_eq!(read_greeting(from).expect("a greeting"), 3);
        for (number, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(
                read_frame(from, &mut buffer).expect("a frame"),
                Frame::Value(table)
            );
            assert_eq!(buffer, vec![7; number * 1000]);
        }
        let rejected = Frame::Rejected("busy".to_owned());
        assert_eq!(read_frame(from, &mut buffer).expect("a frame"), rejected);
        assert_eq!(
            read_frame(from, &mut buffer).expect("a frame"),
            Frame::End(6)
        );
        let cut = read_frame(from, &mut buffer).expect_err("nothing more");
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn invalid_bytes_are_rejected() {
        let mut buffer = Vec::new();
        for (wire, kind) in [
            (&[3, 4, 0, 0, 0, 1][..], io::ErrorKind::UnexpectedEof),
            (&[3, 255, 255, 255, 255, 1], io::ErrorKind::InvalidData),
            (&[7, 0, 0, 0, 0], io::ErrorKind::InvalidData),
        ] {
            let error = read_frame(&mut &*wire, &mut buffer).expect_err("rejected");
            assert_eq!(error.kind(), kind, "{wire:?}");
        }
        let error = read_greeting(&mut &b"scuttle\x02\x03\0\0\0"[..]).expect_err("rejected");
        assert!(error.to_string().contains("a different version"), "{error}");
    }
}
