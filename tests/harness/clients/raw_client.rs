//! A connection without a client library, for messages that no client library sends. The server
//! passes them on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::roles::Role;
use crate::servers::nats::Nats;
use crate::wait::EVENT_TIMEOUT;

/// A raw connection as a user of `nats.conf`. Its methods block.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

/// A message as raw bytes.
#[derive(Debug, Clone, Copy)]
pub struct RawMessage<'m> {
    pub subject: &'m [u8],
    pub reply: Option<&'m [u8]>,
    /// The header block, or `None` for a message without headers.
    pub block: Option<&'m [u8]>,
    pub payload: &'m [u8],
}

impl RawMessage<'_> {
    /// Encodes the message as the client's side of the protocol.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let verb = if self.block.is_some() {
            "HPUB "
        } else {
            "PUB "
        };
        bytes.extend_from_slice(verb.as_bytes());
        bytes.extend_from_slice(self.subject);
        bytes.push(b' ');
        if let Some(reply) = self.reply {
            bytes.extend_from_slice(reply);
            bytes.push(b' ');
        }
        let block = self.block.unwrap_or_default();
        if self.block.is_some() {
            bytes.extend_from_slice(format!("{} ", block.len()).as_bytes());
        }
        bytes.extend_from_slice(format!("{}\r\n", block.len() + self.payload.len()).as_bytes());
        bytes.extend_from_slice(block);
        bytes.extend_from_slice(self.payload);
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

impl RawClient {
    pub fn connect(nats: &Nats, role: Role) -> Result<Self> {
        let login = json!({ "user": role.user(), "pass": nats.password(role), "name": "mallory",
            "headers": true, "verbose": false, "no_responders": true });
        Self::connect_with(&nats.url(), &login)
    }

    /// Connects with this login, the JSON of the message `CONNECT`.
    pub fn connect_with(url: &str, login: &Value) -> Result<Self> {
        let stream = TcpStream::connect(url.replace("nats://", "")).context("connect")?;
        stream.set_read_timeout(Some(EVENT_TIMEOUT))?;
        let lines = BufReader::new(stream.try_clone()?);
        let mut client = Self { stream, lines };
        client.send(format!("CONNECT {login}\r\n").as_bytes())?;
        client.flush()?;
        Ok(client)
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .write_all(bytes)
            .context("the connection is closed")
    }

    /// Waits until the server has processed everything that was sent. Skips messages.
    ///
    /// # Errors
    /// If the server reports an error or closes the connection.
    pub fn flush(&mut self) -> Result<()> {
        self.send(b"PING\r\n")?;
        loop {
            let line = self.read_line()?;
            ensure!(!line.starts_with("-ERR"), "{line}");
            if line.starts_with("PONG") {
                return Ok(());
            }
        }
    }

    /// Subscribes to a subject.
    pub fn subscribe(&mut self, subject: &str) -> Result<()> {
        self.send(format!("SUB {subject} 1\r\n").as_bytes())?;
        self.flush()
    }

    /// Waits for the next message of a subscription, and returns its subject and payload.
    pub fn next_message(&mut self) -> Result<(String, Vec<u8>)> {
        loop {
            let line = self.read_line()?;
            ensure!(!line.starts_with("-ERR"), "{line}");
            // `MSG subject sid length`, or `HMSG subject sid header total`.
            let fields: Vec<&str> = line.split_whitespace().collect();
            let header = match fields.first() {
                Some(&"MSG") => 0,
                Some(&"HMSG") => fields[fields.len() - 2].parse()?,
                Some(&"PING") => {
                    self.send(b"PONG\r\n")?;
                    continue;
                }
                _ => continue,
            };
            let total: usize = fields[fields.len() - 1].parse()?;
            let mut message = vec![0; total + 2];
            self.lines.read_exact(&mut message)?;
            return Ok((fields[1].to_owned(), message[header..total].to_vec()));
        }
    }

    fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line).context("no reply")? == 0 {
            bail!("the server closed the connection");
        }
        Ok(line)
    }
}
