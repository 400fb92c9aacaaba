//! The connection to the NATS server: waited for at the start, kept through restarts, and known to be
//! up or down.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use rand::RngExt;
use scuttle_nats::{ConnectConfig, ConnectConfigError, hint};
use scuttle_schemas::{subjects, truncate_chars};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::observability::counters::{Cause, Counters, Source};

/// The first and the longest pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often the server is asked whether it is still there: two lost answers end the connection.
const PING: Duration = Duration::from_secs(10);

/// How many bytes are read at a time. (The client makes room for longer messages by itself.) It reads up to 128 times
/// before the tasks run that take what was read: 2 MiB, a few milliseconds' work. More at a time would be more messages
/// than a subscription holds, less would be slow with large ones.
const READ: u16 = 16 << 10;

/// The most messages of one subject that wait in the client until its task takes them. What comes beyond that is
/// lost without an answer, whoever sent it. So it is as many as are read before the task runs: 2 MiB of the
/// shortest that a host with a UUID for a name can send. The task takes them all before more is read, and what it has
/// no room for takes it some microseconds.
const SUBSCRIPTION: usize = 32_768;

/// The most messages that wait in the client until they are written to the connection: then the senders wait.
const OUTGOING: usize = 2048;

/// The most characters of a complaint that are logged: it may quote a subject, which may be anything.
const MAX_COMPLAINT: usize = 256;

/// Whether the server is connected.
#[derive(Debug, Clone)]
pub struct Connected(watch::Receiver<bool>);

impl Connected {
    /// Whether the connection is up.
    pub fn is_up(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns while the connection is down, or as soon as it is.
    pub async fn lost(&mut self) {
        if self.0.wait_for(|connected| !connected).await.is_err() {
            // The client is gone, and with it everybody who could be sent to.
        }
    }
}

/// Connects, however long that takes; says why it waits, once for each reason.
pub async fn connect(access: &ConnectConfig, counters: &Arc<Counters>) -> (Client, Connected) {
    let (up, connected) = watch::channel(true);
    let mut told = String::new();
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt(access, up.clone(), counters.clone()).await {
            Ok(client) => {
                let server = client.server_info();
                info!("connected to {} (NATS {})", access.url, server.version);
                return (client, Connected(connected));
            }
            Err(reason) if reason != told => {
                warn!("waiting for the NATS server at {}: {reason}", access.url);
                told = reason;
            }
            Err(_) => {}
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Connects, or says why that is not possible now.
///
/// # Errors
/// That, and what to do.
pub async fn once(access: &ConnectConfig) -> Result<Client, String> {
    attempt(access, watch::Sender::new(true), Arc::default()).await
}

/// Tries once.
async fn attempt(
    access: &ConnectConfig,
    up: watch::Sender<bool>,
    counters: Arc<Counters>,
) -> Result<Client, String> {
    let options =
        options(access, up, counters).and_then(|options| Ok((options, access.server_addresses()?)));
    let (options, servers) = options.map_err(|error| error.to_string())?;
    let connected = options.connect(servers).await;
    connected.map_err(|error| format!("{error}; {}", hint(&error)))
}

fn options(
    access: &ConnectConfig,
    up: watch::Sender<bool>,
    counters: Arc<Counters>,
) -> Result<ConnectOptions, ConnectConfigError> {
    let options = access.connect_options()?;
    Ok(options
        .name("scuttle-controller")
        .custom_inbox_prefix(subjects::CONTROLLER_INBOX_PREFIX)
        .ping_interval(PING)
        .read_buffer_capacity(READ)
        .subscription_capacity(SUBSCRIPTION)
        .client_capacity(OUTGOING)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(5);
            jittered((FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE))
        })
        .event_callback(move |event| {
            let (up, counters) = (up.clone(), counters.clone());
            async move { note(&event, &up, &counters) }
        }))
}

fn note(event: &Event, up: &watch::Sender<bool>, counters: &Counters) {
    let count = |cause, what: &dyn std::fmt::Display| {
        // Others choose the subjects that a complaint is about.
        let what = truncate_chars(&what.to_string(), MAX_COMPLAINT).replace(char::is_control, " ");
        counters.count(Source::Connection, cause, 0, what);
    };
    match event {
        Event::Connected => {
            // The first time is told by who waited for it.
            if !up.send_replace(true) {
                counters.reconnected();
                info!("the NATS server is connected");
            }
        }
        Event::Disconnected => {
            up.send_replace(false);
            warn!("the NATS server is away: reconnecting until it is back");
        }
        Event::SlowConsumer(_) => {
            count(Cause::MessagesLost, &"they came faster than they were read")
        }
        // A refused permission shows nowhere else.
        Event::ServerError(error) => count(Cause::ServerError, error),
        Event::ClientError(error) => count(Cause::ServerError, error),
        Event::LameDuckMode => info!("the NATS server is about to stop"),
        Event::Draining | Event::Closed => {}
    }
}

/// Between half of a pause and all of it, so that many clients do not come back at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}
