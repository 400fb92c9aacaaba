//! Converts a log from the format of the Engine's API to text: one line for each entry, with its
//! time and its stream.

use std::io::{BufRead, Write};

/// The length of the header of a frame: the stream, three zeros, and the length of the payload.
const HEADER_BYTES: usize = 8;
/// The first byte of a frame: standard output or standard error.
const STREAMS: [u8; 2] = [1, 2];

/// The reason why a copy ended early.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CopyFailure {
    /// The source failed or has an unknown format.
    Source(String),
    /// The target accepts no more data.
    Target,
}

/// Copies a log whose entries begin with their times. The log of a terminal is a single stream
/// without frames, which is copied unchanged. `None` means that it is unknown whether the container
/// has a terminal; the first byte then decides.
pub(super) fn copy_log(
    mut source: impl BufRead,
    is_terminal: Option<bool>,
    target: &mut impl Write,
) -> Result<(), CopyFailure> {
    let is_terminal = match is_terminal {
        Some(is_terminal) => is_terminal,
        None => (fill(&mut source)?.first()).is_some_and(|first| !STREAMS.contains(first)),
    };
    if is_terminal {
        return copy_all(&mut source, target);
    }
    // Whether the last entry of standard output and of standard error had no end of line, because
    // the Engine splits long lines.
    let mut is_continued = [false; 2];
    while let Some((stream, length)) = read_header(&mut source)? {
        let tag: &[u8] = match (stream, is_continued[stream]) {
            (0, false) => b"stdout ",
            (0, true) => b"stdout+ ",
            (_, false) => b"stderr ",
            (_, true) => b"stderr+ ",
        };
        let is_whole = copy_entry(&mut source, length, tag, target)?;
        is_continued[stream] = !is_whole;
    }
    Ok(())
}

/// Copies one entry of `left` bytes as a line, with `tag` after its time. Returns whether the entry
/// had an end of line.
fn copy_entry(
    source: &mut impl BufRead,
    mut left: usize,
    tag: &[u8],
    target: &mut impl Write,
) -> Result<bool, CopyFailure> {
    let mut has_tag = false;
    let mut last = b'\n';
    while left > 0 {
        let data = fill(source)?;
        if data.is_empty() {
            return Err(CopyFailure::Source(
                "the log ends within an entry".to_owned(),
            ));
        }
        let data = &data[..data.len().min(left)];
        let space = data
            .iter()
            .position(|byte| *byte == b' ')
            .filter(|_| !has_tag);
        let part = space.map_or(data, |space| &data[..=space]);
        write(target, part)?;
        if space.is_some() {
            write(target, tag)?;
            has_tag = true;
        }
        last = part[part.len() - 1];
        let count = part.len();
        source.consume(count);
        left -= count;
    }
    if last != b'\n' {
        write(target, b"\n")?;
    }
    Ok(last == b'\n')
}

/// Returns 0 for standard output or 1 for standard error, and the length of the entry. Returns
/// `None` at the end of the log.
fn read_header(source: &mut impl BufRead) -> Result<Option<(usize, usize)>, CopyFailure> {
    if fill(source)?.is_empty() {
        return Ok(None);
    }
    let mut header = [0; HEADER_BYTES];
    let read = source.read_exact(&mut header);
    read.map_err(|error| CopyFailure::Source(error.to_string()))?;
    let [stream, _, _, _, length @ ..] = header;
    let length = u32::from_be_bytes(length) as usize;
    match stream {
        1 => Ok(Some((0, length))),
        2 => Ok(Some((1, length))),
        other => Err(CopyFailure::Source(format!(
            "the log has an unknown stream {other}"
        ))),
    }
}

fn copy_all(source: &mut impl BufRead, target: &mut impl Write) -> Result<(), CopyFailure> {
    loop {
        let data = fill(source)?;
        if data.is_empty() {
            return Ok(());
        }
        write(target, data)?;
        let count = data.len();
        source.consume(count);
    }
}

fn fill(source: &mut impl BufRead) -> Result<&[u8], CopyFailure> {
    let filled = source.fill_buf();
    filled.map_err(|error| CopyFailure::Source(error.to_string()))
}

fn write(target: &mut impl Write, data: &[u8]) -> Result<(), CopyFailure> {
    target.write_all(data).map_err(|_| CopyFailure::Target)
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::{CopyFailure, copy_log};

    /// Returns a frame of the Engine's format.
    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend((text.len() as u32).to_be_bytes());
        frame.extend(text.as_bytes());
        frame
    }

    /// Copies a log from a source that returns `step` bytes at a time.
    fn copy(
        log: &[u8],
        is_terminal: Option<bool>,
        step: usize,
    ) -> (String, Result<(), CopyFailure>) {
        let mut text = Vec::new();
        let source = BufReader::with_capacity(step, log);
        let copied = copy_log(source, is_terminal, &mut text);
        (String::from_utf8(text).expect("UTF-8"), copied)
    }

    #[test]
    fn each_entry_is_a_line_with_its_time_and_stream() {
        let log = [
            frame(1, "T1 hello world\n"),
            frame(2, "T2 oops\n"),
            frame(1, "T3 a long "),
            frame(2, "T4 between\n"),
            frame(1, "T5 line\n"),
            frame(1, "T6 \n"),
        ]
        .concat();
        let expected = "T1 stdout hello world\nT2 stderr oops\nT3 stdout a long \n\
                        T4 stderr between\nT5 stdout+ line\nT6 stdout \n";
        for step in [1, 2, 3, 7, 1000] {
            for is_terminal in [Some(false), None] {
                let (text, copied) = copy(&log, is_terminal, step);
                assert_eq!((text.as_str(), copied), (expected, Ok(())), "{step}");
            }
        }
    }

    #[test]
    fn the_log_of_a_terminal_is_copied_as_it_is() {
        let log = "T1 $ ls\r\nT2 \x01\x02";
        for is_terminal in [Some(true), None] {
            let (text, copied) = copy(log.as_bytes(), is_terminal, 3);
            assert_eq!((text.as_str(), copied), (log, Ok(())));
        }
    }

    #[test]
    fn a_log_that_breaks_off_or_has_another_format_is_a_failure_of_the_source() {
        let whole = frame(1, "T1 hello\n");
        for broken in [&whole[..3], &whole[..12], b"plain text, no frames"] {
            let (_, copied) = copy(broken, Some(false), 100);
            assert!(matches!(copied, Err(CopyFailure::Source(_))), "{copied:?}");
        }
        assert_eq!(copy(b"", None, 100), (String::new(), Ok(())));
    }
}
