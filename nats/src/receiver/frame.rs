//! Parses the server's side of the NATS protocol. What the server writes itself must be valid. What
//! a publisher chose, such as the header block, may be anything.

use std::io;
use std::ops::Range;

use async_nats::{Message, ServerInfo, Subject};
use bytes::BytesMut;
use memchr::memmem;

use crate::receiver::headers::{MalformedMessage, parse_headers};

/// The maximum length of a line from the server. A line with the server's information is the
/// longest.
const MAX_LINE: usize = 1 << 20;

/// A message of one subscription.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message. It has no headers if they are malformed, and no reply subject if that is
    /// malformed. Bytes of the subject that are not UTF-8 are replaced.
    pub message: Message,
    /// The reason why the message is malformed. `None` for a well-formed message.
    pub malformed: Option<MalformedMessage>,
}

/// One operation of the server.
#[derive(Debug)]
pub(super) enum Frame {
    Info(Box<ServerInfo>),
    Message {
        subscription: usize,
        delivery: Delivery,
    },
    Ping,
    Pong,
    Ok,
    Error(String),
}

/// Takes the next frame from `buffer`. Returns `None` if the frame is not complete, and then
/// reserves the space that it needs.
///
/// # Errors
/// If the bytes are not of the NATS protocol.
pub(super) fn take_frame(buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
    let Some(end) = memmem::find(buffer, b"\r\n") else {
        return if buffer.len() > MAX_LINE {
            Err(invalid("a line is too long"))
        } else {
            Ok(None)
        };
    };
    let line = &buffer[..end];
    if line.starts_with(b"MSG ") || line.starts_with(b"HMSG ") {
        return take_message(buffer, end);
    }
    let frame = if line.starts_with(b"INFO ") {
        let info = serde_json::from_slice(&line[5..]).map_err(|_| invalid("INFO is not valid"))?;
        Frame::Info(Box::new(info))
    } else if line.starts_with(b"PING") {
        Frame::Ping
    } else if line.starts_with(b"PONG") {
        Frame::Pong
    } else if line.starts_with(b"+OK") {
        Frame::Ok
    } else if let Some(error) = line.strip_prefix(b"-ERR ") {
        let error = String::from_utf8_lossy(error);
        Frame::Error(error.trim_matches('\'').to_owned())
    } else {
        return Err(invalid("an operation is unknown"));
    };
    drop(buffer.split_to(end + 2));
    Ok(Some(frame))
}

/// The first line of a message: `MSG subject sid [reply] length`, or `HMSG subject sid [reply]
/// header-length length`. The ranges are positions in the line.
struct MessageLine {
    subject: Range<usize>,
    subscription: usize,
    reply: Option<Range<usize>>,
    header_length: usize,
    /// The length of the header block and the payload together.
    length: usize,
}

impl MessageLine {
    fn parse(line: &[u8]) -> io::Result<Self> {
        // A publisher chooses the reply subject, so it may contain every byte that does not end a
        // field for the server.
        let mut fields = Vec::with_capacity(6);
        let mut start = 0;
        for field in line.split(|byte| matches!(byte, b' ' | b'\t')) {
            if !field.is_empty() {
                fields.push(start..start + field.len());
            }
            start += field.len() + 1;
        }
        let number = |field: &Range<usize>| {
            let text = std::str::from_utf8(&line[field.clone()]).ok();
            let number = text.and_then(|text| text.parse::<usize>().ok());
            number.ok_or_else(|| invalid("a length or subscription is not a number"))
        };
        let (reply, header, length) = match (&fields[..], line[0] == b'H') {
            ([_, _, _, length], false) => (None, None, length),
            ([_, _, _, reply, length], false) => (Some(reply), None, length),
            ([_, _, _, header, length], true) => (None, Some(header), length),
            ([_, _, _, reply, header, length], true) => (Some(reply), Some(header), length),
            _ => return Err(invalid("a message has an invalid number of fields")),
        };
        let parsed = Self {
            subject: fields[1].clone(),
            subscription: number(&fields[2])?,
            reply: reply.cloned(),
            header_length: header.map_or(Ok(0), number)?,
            length: number(length)?,
        };
        if parsed.header_length > parsed.length {
            return Err(invalid("a header block is longer than its message"));
        }
        Ok(parsed)
    }
}

/// Takes a message, whose first line ends at `line_end`.
fn take_message(buffer: &mut BytesMut, line_end: usize) -> io::Result<Option<Frame>> {
    let line = MessageLine::parse(&buffer[..line_end])?;
    let total = line_end + 2 + line.length + 2;
    if buffer.len() < total {
        buffer.reserve(total - buffer.len());
        return Ok(None);
    }
    let bytes = buffer.split_to(total).freeze();
    let mut malformed = None;
    let subject = Subject::from_utf8(bytes.slice(line.subject.clone()));
    let subject = subject.unwrap_or_else(|_| {
        malformed = Some(MalformedMessage::Subject);
        String::from_utf8_lossy(&bytes[line.subject])
            .as_ref()
            .into()
    });
    let reply = line.reply.and_then(|reply| {
        let reply = Subject::from_utf8(bytes.slice(reply));
        if reply.is_err() {
            malformed = Some(MalformedMessage::Reply);
        }
        reply.ok()
    });
    let body = line_end + 2;
    let payload = body + line.header_length;
    let headers = match line.header_length {
        0 => None,
        _ => match parse_headers(&bytes[body..payload]) {
            Ok(headers) => Some(headers),
            Err(reason) => {
                malformed = Some(reason);
                None
            }
        },
    };
    let message = Message {
        length: subject.len() + reply.as_ref().map_or(0, |reply| reply.len()) + line.length,
        subject,
        reply,
        payload: bytes.slice(payload..body + line.length),
        headers,
        status: None,
        description: None,
    };
    Ok(Some(Frame::Message {
        subscription: line.subscription,
        delivery: Delivery { message, malformed },
    }))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderValue;
    use bytes::BytesMut;

    use super::{Delivery, Frame, take_frame};
    use crate::receiver::headers::MalformedMessage;

    fn take_delivery(bytes: &[u8]) -> Delivery {
        let mut buffer = BytesMut::from(bytes);
        let frame = take_frame(&mut buffer).expect("valid");
        let Some(Frame::Message {
            subscription: 7,
            delivery,
        }) = frame
        else {
            panic!("not a message of subscription 7: {frame:?}");
        };
        assert!(buffer.is_empty(), "the frame is taken as a whole");
        delivery
    }

    #[test]
    fn a_message_is_parsed_with_and_without_reply_and_headers() {
        let plain = take_delivery(b"MSG a.b 7 2\r\n{}\r\n");
        assert_eq!(plain.message.subject.as_str(), "a.b");
        assert_eq!(
            (&plain.message.reply, &plain.message.headers),
            (&None, &None)
        );
        assert_eq!(&plain.message.payload[..], b"{}");
        let replied = take_delivery(b"MSG  a.b\t7 _INBOX.x  0\r\n\r\n");
        assert_eq!(replied.message.reply.as_deref(), Some("_INBOX.x"));
        let full = take_delivery(b"HMSG a 7 r 18 20\r\nNATS/1.0\r\nx: y\r\n\r\n{}\r\n");
        let headers = full.message.headers.expect("headers");
        assert_eq!(headers.get("x").map(HeaderValue::as_str), Some("y"));
        assert_eq!(&full.message.payload[..], b"{}");
        assert_eq!(full.malformed, None);
    }

    #[test]
    fn a_malformed_message_does_not_affect_the_next_one() {
        for (bytes, reason) in [
            (
                &b"HMSG a 7 4 6\r\n\r\n\r\n{}\r\n"[..],
                MalformedMessage::Version,
            ),
            (b"MSG a 7 _INBOX.\xff 2\r\n{}\r\n", MalformedMessage::Reply),
            (b"MSG \xff 7 2\r\n{}\r\n", MalformedMessage::Subject),
        ] {
            let delivery = take_delivery(bytes);
            assert_eq!(delivery.malformed, Some(reason));
            assert_eq!(&delivery.message.payload[..], b"{}");
        }
        // Unicode spaces do not separate fields.
        let spaces = take_delivery("MSG a 7 b\u{a0}\u{2028}c 0\r\n\r\n".as_bytes());
        assert_eq!(spaces.message.reply.as_deref(), Some("b\u{a0}\u{2028}c"));
    }

    #[test]
    fn an_incomplete_frame_stays_in_the_buffer() {
        let whole = b"HMSG a 7 12 14\r\nNATS/1.0\r\n\r\n{}\r\nPING\r\n";
        let message = whole.len() - b"PING\r\n".len();
        for length in 0..message {
            let mut buffer = BytesMut::from(&whole[..length]);
            assert!(
                take_frame(&mut buffer).expect("valid").is_none(),
                "{length}"
            );
            assert_eq!(buffer.len(), length);
        }
        let mut buffer = BytesMut::from(&whole[..]);
        assert!(matches!(
            take_frame(&mut buffer),
            Ok(Some(Frame::Message { .. }))
        ));
        assert!(matches!(take_frame(&mut buffer), Ok(Some(Frame::Ping))));
    }

    #[test]
    fn other_bytes_than_the_protocol_are_an_error() {
        for bytes in [
            "what\r\n",
            "MSG a 7\r\n",
            "MSG a x 2\r\n",
            "HMSG a 7 3 2\r\n",
        ] {
            let mut buffer = BytesMut::from(bytes);
            take_frame(&mut buffer).expect_err(bytes);
        }
        let mut buffer = BytesMut::from(&b"-ERR 'Slow \xff'\r\n"[..]);
        let frame = take_frame(&mut buffer).expect("valid");
        assert!(
            matches!(&frame, Some(Frame::Error(text)) if text.starts_with("Slow")),
            "{frame:?}"
        );
    }
}
