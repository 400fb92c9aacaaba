//! Parses the header block of a message. Unlike the parser of the client library, this parser has a
//! result for every input: a publisher chooses these bytes, and the server does not check them.

use async_nats::{HeaderMap, HeaderName};

/// The maximum number of headers of one message. Scuttle uses four.
const MAX_HEADERS: usize = 64;

/// The only first line that a message from a publisher may have. A status after the version is
/// reserved for the server.
const VERSION_LINE: &[u8] = b"NATS/1.0";

/// The reason why a message is malformed, although its payload was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedMessage {
    #[error("the header block does not start with the line NATS/1.0")]
    Version,
    #[error("a header line does not end with CR LF, or contains a bare CR or LF")]
    LineEnd,
    #[error("a header line has no colon")]
    NoColon,
    #[error("the name of a header is empty, or contains characters other than printable ASCII")]
    Name,
    #[error("the value of a header is not UTF-8")]
    Value,
    #[error("there are more than {MAX_HEADERS} headers")]
    TooMany,
    #[error("the subject is not UTF-8")]
    Subject,
    #[error("the reply subject is not UTF-8")]
    Reply,
}

/// Parses a header block: the version line, the headers, and empty lines, each ended by CR LF.
///
/// # Errors
/// If the block has another form. The server recognizes lines that end in CR LF only, so a block
/// that this parser accepts means the same to the server.
pub(super) fn parse_headers(block: &[u8]) -> Result<HeaderMap, MalformedMessage> {
    let mut lines = Lines(block);
    let version = lines.next().ok_or(MalformedMessage::Version)?;
    let version = version.map_err(|_| MalformedMessage::Version)?;
    if version.trim_ascii_end() != VERSION_LINE {
        return Err(MalformedMessage::Version);
    }
    let mut headers = HeaderMap::new();
    let mut count = 0;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            continue;
        }
        count += 1;
        if count > MAX_HEADERS {
            return Err(MalformedMessage::TooMany);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or(MalformedMessage::NoColon)?);
        let name = parse_name(name)?;
        let value = std::str::from_utf8(&value[1..]).map_err(|_| MalformedMessage::Value)?;
        headers.append(name, value.trim());
    }
    Ok(headers)
}

fn parse_name(name: &[u8]) -> Result<HeaderName, MalformedMessage> {
    let is_token = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    let name = std::str::from_utf8(name).ok().filter(|_| is_token);
    let name = name.and_then(|name| HeaderName::try_from(name).ok());
    name.ok_or(MalformedMessage::Name)
}

/// The lines of a header block, without their ends.
struct Lines<'b>(&'b [u8]);

impl<'b> Iterator for Lines<'b> {
    type Item = Result<&'b [u8], MalformedMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let end = self.0.iter().position(is_line_end);
        let line = end.and_then(|end| {
            let (line, rest) = self.0.split_at(end);
            self.0 = rest.strip_prefix(b"\r\n")?;
            Some(line)
        });
        Some(line.ok_or(MalformedMessage::LineEnd))
    }
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderValue;

    use super::{MalformedMessage, parse_headers};

    fn check(block: &[u8], expected: MalformedMessage) {
        let text = String::from_utf8_lossy(block);
        assert_eq!(parse_headers(block), Err(expected), "{text:?}");
    }

    #[test]
    fn every_malformed_header_block_has_a_reason() {
        use MalformedMessage::{LineEnd, Name, NoColon, TooMany, Value, Version};
        check(b"", Version);
        check(b"\r\n\r\n", Version);
        check(b"X: y\r\n\r\n", Version);
        check(b"HTTP/1.1\r\nx: y\r\n\r\n", Version);
        check(b"NATS/1.0", Version);
        check(b"NATS/1.0 abc\r\n\r\n", Version);
        check(b"NATS/1.0 99999 huge\r\n\r\n", Version);
        check(b"NATS/1.0\r\nx: \xff\xfe\r\n\r\n", Value);
        check(b"NATS/1.0\r\nno colon\r\n\r\n", NoColon);
        check(b"NATS/1.0\r\nx : y\r\n\r\n", Name);
        check(b"NATS/1.0\r\n: y\r\n\r\n", Name);
        check("NATS/1.0\r\nx\u{e9}: y\r\n\r\n".as_bytes(), Name);
        check(b"NATS/1.0\r\n\x00: y\r\n\r\n", Name);
        check(b"NATS/1.0\r\nx: a\rb\r\n\r\n", LineEnd);
        check(b"NATS/1.0\r\nx: a\nb: c\r\n\r\n", LineEnd);
        check(b"NATS/1.0\r\nx: a", LineEnd);
        check(b"NATS/1.0\r\nx: a\r\n folded\r\n\r\n", NoColon);
        let many = format!("NATS/1.0\r\n{}\r\n", "a:\r\n".repeat(65));
        check(many.as_bytes(), TooMany);
    }

    #[test]
    fn a_valid_header_block_is_parsed() {
        let block = "NATS/1.0\r\nx:  a: \u{e9} \r\nx:b\r\nempty:\r\n\r\n";
        let headers = parse_headers(block.as_bytes()).expect("valid");
        let values: Vec<_> = headers.get_all("x").map(HeaderValue::as_str).collect();
        assert_eq!(values, ["a: \u{e9}", "b"]);
        assert_eq!(headers.get("empty").map(HeaderValue::as_str), Some(""));
        assert!(
            parse_headers(b"NATS/1.0\r\n\r\n")
                .expect("valid")
                .is_empty()
        );
    }
}
