//! The format of the ledger file: each line is a JSON array `["<checksum>",<content>]`. The reader
//! distinguishes damage from an append that a crash interrupted. This module does no I/O.

use scuttle_schemas::HostId;
use serde::{Deserialize, Serialize};

use super::entry::Entry;

/// The version of the format that this program writes and reads.
pub(super) const FORMAT: u32 = 1;

/// The content of the first line of a ledger file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// The version of the format. The name of this field marks the file as a ledger of Scuttle's
    /// agent.
    pub(super) scuttle_agent_ledger: u32,
    pub(super) host_uuid: HostId,
}

/// Returns the line for `content`, including the line end.
pub(super) fn write<T: Serialize + ?Sized>(content: &T) -> Result<Vec<u8>, serde_json::Error> {
    let content = serde_json::to_vec(content)?;
    let mut line = format!("[\"{:016x}\",", checksum(&content)).into_bytes();
    line.extend_from_slice(&content);
    line.extend_from_slice(b"]\n");
    Ok(line)
}

/// Returns the content of a line, or `None` if its checksum is wrong. `line` excludes the line end.
fn check_line(line: &[u8]) -> Option<&[u8]> {
    let (sum, rest) = line.strip_prefix(b"[\"")?.split_at_checked(16)?;
    let content = rest.strip_prefix(b"\",")?.strip_suffix(b"]")?;
    (sum == format!("{:016x}", checksum(content)).as_bytes()).then_some(content)
}

/// Returns the 64-bit FNV-1a hash. It detects incomplete writes and flipped bits, not forgery.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The decoded content of a ledger file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) header: Header,
    /// The entries in order, or none if the header names another format.
    pub(super) entries: Vec<Entry>,
    /// The number of valid bytes at the start of the file. If the format is known, only an
    /// incomplete append can follow these bytes.
    pub(super) valid_bytes: usize,
}

/// The first line that is not what this program writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) line: usize,
    pub(super) what: &'static str,
}

/// Decodes the content of a ledger file. Ignores an append that a crash interrupted, because such
/// an append was never synced and no other action depended on it. An interrupted append:
///
/// - has no line end, or contains zeros where the file grew before its data was written, and
/// - is not followed by a valid line.
///
/// # Errors
/// If any other content is invalid.
pub(super) fn read(bytes: &[u8]) -> Result<Content, Damage> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let header: Header = first
        .strip_suffix(b"\n")
        .and_then(check_line)
        .and_then(|text| serde_json::from_slice(text).ok())
        .ok_or(Damage {
            line: 1,
            what: "it is not the first line of a ledger",
        })?;
    let mut valid_bytes = first.len();
    let mut entries = Vec::new();
    if header.scuttle_agent_ledger != FORMAT {
        return Ok(Content {
            header,
            entries,
            valid_bytes,
        });
    }
    for (number, line) in (2..).zip(lines) {
        let Some(text) = line.strip_suffix(b"\n").and_then(check_line) else {
            return if is_incomplete_append(&bytes[valid_bytes..]) {
                Ok(Content {
                    header,
                    entries,
                    valid_bytes,
                })
            } else {
                Err(Damage {
                    line: number,
                    what: "its checksum is wrong",
                })
            };
        };
        entries.extend(
            serde_json::from_slice::<Vec<Entry>>(text).map_err(|_| Damage {
                line: number,
                what: "it contains an entry that this program does not know",
            })?,
        );
        valid_bytes += line.len();
    }
    Ok(Content {
        header,
        entries,
        valid_bytes,
    })
}

/// Returns whether `tail` is the remainder of an append that a crash interrupted. Each append is
/// one line, so its remainder has no line end, unless it contains zeros. The remainder contains no
/// valid line.
fn is_incomplete_append(tail: &[u8]) -> bool {
    let is_valid = |line: &[u8]| line.strip_suffix(b"\n").and_then(check_line).is_some();
    (!tail.contains(&b'\n') || tail.contains(&0))
        && !tail.split_inclusive(|byte| *byte == b'\n').any(is_valid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Content, Damage, Entry, FORMAT, Header, read, write};

    fn file() -> (Vec<u8>, Vec<Entry>, usize) {
        let header = Header {
            scuttle_agent_ledger: FORMAT,
            host_uuid: "worker-a".parse().expect("valid"),
        };
        let entries: Vec<Entry> = (1..4)
            .map(|controller_epoch| Entry::Epoch { controller_epoch })
            .collect();
        let mut bytes = write(&header).expect("written");
        let mut last = 0;
        for entry in &entries {
            last = bytes.len();
            bytes.extend(write(std::slice::from_ref(entry)).expect("written"));
        }
        (bytes, entries, last)
    }

    fn entries(bytes: &[u8]) -> Result<(usize, Vec<Entry>), Damage> {
        read(bytes).map(
            |Content {
                 entries,
                 valid_bytes,
                 ..
             }| (valid_bytes, entries),
        )
    }

    #[test]
    fn a_file_cut_within_its_last_line_loses_only_that_line() {
        let (bytes, written, last) = file();
        assert_eq!(entries(&bytes), Ok((bytes.len(), written.clone())));
        for end in last..bytes.len() {
            assert_eq!(
                entries(&bytes[..end]),
                Ok((last, written[..2].to_vec())),
                "cut at {end}"
            );
            let mut zeros = bytes.clone();
            zeros[end..].fill(0);
            assert_eq!(
                entries(&zeros),
                Ok((last, written[..2].to_vec())),
                "zeros from {end}"
            );
        }
    }

    #[test]
    fn a_flipped_bit_before_the_last_line_end_is_damage() {
        let (bytes, ..) = file();
        // The last line end distinguishes an incomplete append from a valid line, so it is not
        // flipped.
        for position in 0..bytes.len() - 1 {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[position] ^= 1 << bit;
                let last_line_lost = flipped[position] == 0;
                assert!(
                    entries(&flipped).is_err() || last_line_lost,
                    "bit {bit} of byte {position}"
                );
            }
        }
    }

    #[test]
    fn a_file_of_another_program_is_damage_at_line_1() {
        for other in [
            &b""[..],
            b"hello\n",
            b"{}\n",
            b"[\"0000000000000000\",{}]\n",
        ] {
            assert_eq!(entries(other).expect_err("rejected").line, 1);
        }
    }

    proptest! {
        /// Flipped bits in one byte are reported as damage. At the end of the file, they may
        /// instead look like an incomplete append, and so remove the last entry. They never change
        /// an entry.
        #[test]
        fn a_damaged_byte_never_changes_an_entry(at in any::<prop::sample::Index>(), mask in 1..=255_u8) {
            let (mut bytes, written, _) = file();
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            if let Ok((_, entries)) = entries(&bytes) {
                prop_assert_eq!(&entries[..], &written[..written.len() - 1]);
            }
        }

        /// A file that was cut at any point, or filled with zeros from there, contains the entries
        /// before that point and no others.
        #[test]
        fn a_lost_end_never_changes_an_entry(end in any::<prop::sample::Index>(), zeros: bool) {
            let (mut bytes, written, last) = file();
            let end = end.index(bytes.len() + 1);
            if zeros {
                bytes[end..].fill(0);
            } else {
                bytes.truncate(end);
            }
            if let Ok((valid_bytes, entries)) = entries(&bytes) {
                prop_assert!(valid_bytes <= end);
                prop_assert!(written.starts_with(&entries), "{entries:?}");
                prop_assert!(end < last || entries.len() + 1 >= written.len());
            }
        }

        #[test]
        fn arbitrary_bytes_are_damage(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(entries(&bytes).expect_err("rejected").line, 1);
        }
    }
}
