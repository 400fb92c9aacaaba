//! One connection to one server: the handshake, and the frames in both directions.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_nats::rustls::ClientConfig;
use async_nats::rustls::pki_types::ServerName;
use async_nats::{ConnectInfo, Protocol, ServerAddr, ServerInfo};
use bytes::BytesMut;
use data_encoding::BASE64URL_NOPAD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::connect_config::ConnectConfig;
use crate::credentials::{Credentials, SignedUser};
use crate::receiver::frame::{Frame, take_frame};

/// The maximum time for connecting to one server and logging in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The number of bytes that are read at a time. For longer messages, the buffer grows.
///
/// A task reads up to 128 times before the tasks that take the messages run. At this size, 128
/// reads are 2 MiB, or a few milliseconds of work. A larger buffer could overflow a subscription. A
/// smaller buffer would be slow for large messages.
const READ_BUFFER_SIZE: usize = 16 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An established connection.
pub(super) struct Link {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
}

impl Link {
    /// Connects to a server and logs in. Returns the connection and the server's information.
    ///
    /// # Errors
    /// If the server cannot be reached, rejects the login, or does not speak the NATS protocol.
    pub(super) async fn connect(
        config: &ConnectConfig,
        address: &ServerAddr,
        name: &str,
    ) -> io::Result<(Self, Box<ServerInfo>)> {
        let connecting = Self::try_connect(config, address, name);
        timeout(CONNECT_TIMEOUT, connecting).await?
    }

    async fn try_connect(
        config: &ConnectConfig,
        address: &ServerAddr,
        name: &str,
    ) -> io::Result<(Self, Box<ServerInfo>)> {
        let tls = config.tls_client_config().map_err(io::Error::other)?;
        let tcp = TcpStream::connect((address.host(), address.port())).await?;
        tcp.set_nodelay(true)?;
        let mut link = Self {
            stream: Box::new(tcp),
            buffer: BytesMut::new(),
        };
        let Frame::Info(info) = link.next_frame().await? else {
            return Err(unexpected("the server does not speak the NATS protocol"));
        };
        if tls.is_some() || info.tls_required {
            let tls = match tls {
                Some(tls) => tls,
                None => config.system_tls_config().map_err(io::Error::other)?,
            };
            link = link.secure(tls, address).await?;
        }
        let user = match &config.credentials {
            Credentials::File(path) => Some(SignedUser::read(path).map_err(io::Error::other)?),
            _ => None,
        };
        let connect = login(config, user.as_ref(), name, &info)?;
        let connect = serde_json::to_string(&connect)?;
        link.send(&format!("CONNECT {connect}\r\nPING\r\n")).await?;
        loop {
            match link.next_frame().await? {
                Frame::Pong => return Ok((link, info)),
                Frame::Error(error) => return Err(io::Error::other(error)),
                _ => {}
            }
        }
    }

    async fn secure(self, tls: ClientConfig, address: &ServerAddr) -> io::Result<Self> {
        let name = ServerName::try_from(address.host().to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(tls));
        let stream = connector.connect(name, self.stream).await?;
        Ok(Self {
            stream: Box::new(stream),
            buffer: BytesMut::new(),
        })
    }

    /// Waits for the next frame. If the future is dropped, no byte is lost.
    ///
    /// # Errors
    /// If the connection is closed or broken, or the bytes are not of the NATS protocol.
    pub(super) async fn next_frame(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer)? {
                return Ok(frame);
            }
            if self.buffer.capacity() - self.buffer.len() < READ_BUFFER_SIZE / 4 {
                self.buffer.reserve(READ_BUFFER_SIZE);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
    }

    /// Writes protocol lines.
    ///
    /// # Errors
    /// If the connection is broken.
    pub(super) async fn send(&mut self, lines: &str) -> io::Result<()> {
        self.stream.write_all(lines.as_bytes()).await?;
        self.stream.flush().await
    }
}

/// Builds the message with which the client logs in.
fn login(
    config: &ConnectConfig,
    user: Option<&SignedUser>,
    name: &str,
    info: &ServerInfo,
) -> io::Result<ConnectInfo> {
    let password = match &config.credentials {
        Credentials::Password { user, password } => Some((user, password)),
        Credentials::Anonymous | Credentials::File(_) => None,
    };
    let sign = |user: &SignedUser| {
        let signature = user.key.sign(info.nonce.as_bytes());
        let signature = signature.map_err(io::Error::other)?;
        Ok::<_, io::Error>(BASE64URL_NOPAD.encode(&signature))
    };
    Ok(ConnectInfo {
        verbose: false,
        pedantic: false,
        user_jwt: user.map(|user| user.jwt.clone()),
        nkey: None,
        signature: user.map(sign).transpose()?,
        name: Some(name.to_owned()),
        echo: true,
        lang: "rust".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: Protocol::Dynamic,
        tls_required: config.tls.is_required(),
        user: password.map(|(user, _)| user.clone()),
        pass: password.map(|(_, password)| password.expose().to_owned()),
        auth_token: None,
        headers: true,
        no_responders: true,
    })
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
