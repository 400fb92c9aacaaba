//! A minimal HTTP client for the HTTP endpoints of a controller and of a nats-server.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::openmetrics::Exposition;
use crate::wait::{wait_until, with_timeout};

/// The HTTP endpoint of a controller or a nats-server.
#[derive(Debug, Clone)]
pub struct Http {
    /// The host and port, as in `127.0.0.1:8222`.
    pub address: String,
}

impl Http {
    /// The text before the address in a controller's log line. Controllers with and without the web
    /// page log the same text.
    pub(crate) const LOG_PREFIX: &str = " at http://";

    /// Returns the endpoint at the last address that a controller has logged in `log`, or `None` if
    /// there is no address.
    pub fn from_log(log: &str) -> Option<Self> {
        let (_, address) = log.rsplit_once(Self::LOG_PREFIX)?;
        let (address, _) = address.split_once('/')?;
        let address = address.to_owned();
        Some(Self { address })
    }

    /// Sends a request such as `GET /metrics` without a body, and returns the whole response.
    pub async fn send(&self, request: &str) -> Result<String> {
        self.exchange(&format!("{request} HTTP/1.1")).await
    }

    /// Requests `path` and returns the body of the response.
    ///
    /// # Errors
    /// If the endpoint does not respond with status 200.
    pub async fn get(&self, path: &str) -> Result<String> {
        // With HTTP/1.0, the body is never chunked.
        let response = self.exchange(&format!("GET {path} HTTP/1.0")).await?;
        let (head, body) = response.split_once("\r\n\r\n").context("a body")?;
        ensure!(head.contains(" 200 "), "{path}: {response}");
        Ok(body.to_owned())
    }

    async fn exchange(&self, line: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let request = format!("{line}\r\nhost: scuttle\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        with_timeout("the response", stream.read_to_string(&mut response)).await??;
        Ok(response)
    }

    /// Waits until the response for `path` contains all of `texts`.
    pub async fn wait_for_texts(&self, path: &str, texts: &[&str]) -> Result<()> {
        let request = format!("GET {path}");
        let has_all = |response: &String| texts.iter().all(|text| response.contains(text));
        wait_until("the response", || self.send(&request), has_all).await?;
        Ok(())
    }

    /// Reads the controller's metrics.
    ///
    /// # Errors
    /// If the response has another status or content type, or its body is not valid `OpenMetrics`.
    pub async fn scrape(&self) -> Result<Exposition> {
        let response = self.send("GET /metrics").await?;
        let (head, body) = response.split_once("\r\n\r\n").context("a body")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
        ensure!(head.contains(kind), "{head}");
        Exposition::parse(body)
    }
}
