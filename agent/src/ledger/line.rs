//! The ledger file's lines: each a JSON array `["<checksum>",<content>]`, and a reader that tells a torn
//! tail from damage. No files here.

use scuttle_schemas::HostId;
use serde::{Deserialize, Serialize};

use super::Entry;

/// The version of the format that this program writes and reads.
pub(super) const FORMAT: u32 = 1;

/// The first line's content.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// Marks the file as a ledger of Scuttle's agent.
    pub(super) scuttle_agent_ledger: u32,
    /// Whose it is.
    pub(super) host_uuid: HostId,
}

/// One line, with its end.
pub(super) fn write<T: Serialize + ?Sized>(content: &T) -> Result<Vec<u8>, serde_json::Error> {
    let content = serde_json::to_vec(content)?;
    let mut line = format!("[\"{:016x}\",", checksum(&content)).into_bytes();
    line.extend_from_slice(&content);
    line.extend_from_slice(b"]\n");
    Ok(line)
}

/// The content of a line without its end, if its checksum is right.
fn content(line: &[u8]) -> Option<&[u8]> {
    let (sum, rest) = line.strip_prefix(b"[\"")?.split_at_checked(16)?;
    let content = rest.strip_prefix(b"\",")?.strip_suffix(b"]")?;
    (sum == format!("{:016x}", checksum(content)).as_bytes()).then_some(content)
}

/// FNV-1a, 64 bits: against torn writes and flipped bits, not against forgers.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What a ledger file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) header: Header,
    /// None when the header's format is another.
    pub(super) entries: Vec<Entry>,
    /// How many bytes are good; what follows is the torn last append.
    pub(super) good: usize,
}

/// A line that is not what was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) line: usize,
    pub(super) what: &'static str,
}

/// Reads a whole file. An append that a crash cut short was never synced, so nothing was done because of
/// it: it has no end of line, or holds zeros where the file had grown before its data came, and no
/// good line follows it. Anything else that is wrong is damage.
pub(super) fn read(bytes: &[u8]) -> Result<Content, Damage> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let header: Header = first
        .strip_suffix(b"\n")
        .and_then(content)
        .and_then(|text| serde_json::from_slice(text).ok())
        .ok_or(Damage {
            line: 1,
            what: "it is not the first line of a ledger",
        })?;
    let mut good = first.len();
    let mut entries = Vec::new();
    if header.scuttle_agent_ledger != FORMAT {
        return Ok(Content {
            header,
            entries,
            good,
        });
    }
    for (number, line) in (2..).zip(lines) {
        let Some(text) = line.strip_suffix(b"\n").and_then(content) else {
            return if torn(&bytes[good..]) {
                Ok(Content {
                    header,
                    entries,
                    good,
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
                what: "it holds an entry that this program does not know",
            })?,
        );
        good += line.len();
    }
    Ok(Content {
        header,
        entries,
        good,
    })
}

/// One append is one line, so what a crash left of it has no end of line, unless zeros stand in it.
fn torn(tail: &[u8]) -> bool {
    let whole = |line: &[u8]| line.strip_suffix(b"\n").and_then(content).is_some();
    (!tail.contains(&b'\n') || tail.contains(&0))
        && !tail.split_inclusive(|byte| *byte == b'\n').any(whole)
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
        read(bytes).map(|Content { entries, good, .. }| (good, entries))
    }

    #[test]
    fn a_file_cut_anywhere_in_its_last_line_loses_that_line_alone() {
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
    fn a_flipped_bit_before_the_tail_is_damage() {
        let (bytes, ..) = file();
        // The last line's end decides between torn and whole, so it is left alone.
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
    fn another_programs_file_is_damage_at_line_1() {
        for other in [
            &b""[..],
            b"hello\n",
            b"{}\n",
            b"[\"0000000000000000\",{}]\n",
        ] {
            assert_eq!(entries(other).expect_err("refused").line, 1);
        }
    }

    proptest! {
        /// Flipped bits of one byte make damage, or, at the very end, what a crash leaves: never other entries,
        /// and never fewer without the last.
        #[test]
        fn a_damaged_byte_makes_no_other_entries(at in any::<prop::sample::Index>(), mask in 1..=255_u8) {
            let (mut bytes, written, _) = file();
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            if let Ok((_, entries)) = entries(&bytes) {
                prop_assert_eq!(&entries[..], &written[..written.len() - 1]);
            }
        }

        /// A file that was cut or filled with zeros anywhere has the entries up to there, and no others.
        #[test]
        fn a_lost_end_makes_no_other_entries(end in any::<prop::sample::Index>(), zeros: bool) {
            let (mut bytes, written, last) = file();
            let end = end.index(bytes.len() + 1);
            if zeros {
                bytes[end..].fill(0);
            } else {
                bytes.truncate(end);
            }
            if let Ok((good, entries)) = entries(&bytes) {
                prop_assert!(good <= end);
                prop_assert!(written.starts_with(&entries), "{entries:?}");
                prop_assert!(end < last || entries.len() + 1 >= written.len());
            }
        }

        #[test]
        fn any_bytes_are_damage(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(entries(&bytes).expect_err("refused").line, 1);
        }
    }
}
