//! HTTP of a controller, or of a nats-server, as a client that knows no more than the address.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::openmetrics::Exposition;
use crate::programs::process::Process;
use crate::wait::{until, within};

/// Where a controller or a nats-server answers HTTP.
#[derive(Debug, Clone)]
pub struct Http {
    /// Host and port.
    pub address: String,
}

impl Http {
    /// Where this controller says that it listens.
    ///
    /// # Errors
    /// It does not listen.
    pub async fn of(controller: &mut Process) -> Result<Self> {
        // With the page or without.
        let line = controller.line(" at http://").await?;
        Self::told(&line).context("an address")
    }

    /// The last address that a controller has told in this much of its log.
    pub fn told(log: &str) -> Option<Self> {
        let (_, address) = log.rsplit_once(" at http://")?;
        let (address, _) = address.split_once('/')?;
        let address = address.to_owned();
        Some(Self { address })
    }

    /// The answer to a request, whole.
    ///
    /// # Errors
    /// There is none.
    pub async fn ask(&self, request: &str) -> Result<String> {
        self.exchange(&format!("{request} HTTP/1.1")).await
    }

    /// What a path is answered with, if the answer is 200.
    ///
    /// # Errors
    /// There is none, or another.
    pub async fn body(&self, path: &str) -> Result<String> {
        // Before 1.1 a body is of one piece.
        let answer = self.exchange(&format!("GET {path} HTTP/1.0")).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("a body")?;
        ensure!(head.contains(" 200 "), "{path}: {answer}");
        Ok(body.to_owned())
    }

    async fn exchange(&self, line: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let request = format!("{line}\r\nhost: scuttle\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await??;
        Ok(answer)
    }

    /// Waits until a path is answered with these words.
    ///
    /// # Errors
    /// It never is.
    pub async fn says(&self, path: &str, words: &[&str]) -> Result<()> {
        let request = format!("GET {path}");
        let all = |answer: &String| words.iter().all(|word| answer.contains(word));
        until("the answer", || self.ask(&request), all).await?;
        Ok(())
    }

    /// The controller in numbers, checked to be what they claim to be.
    ///
    /// # Errors
    /// They are not there, or are no `OpenMetrics`.
    pub async fn metrics(&self) -> Result<Exposition> {
        let answer = self.ask("GET /metrics").await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("a body")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
        ensure!(head.contains(kind), "{head}");
        Exposition::read(body)
    }
}
