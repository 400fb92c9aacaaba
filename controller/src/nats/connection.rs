//! The connections on which the controller sends, and uses JetStream: how they are established,
//! restored after each loss, and observed. They subscribe only to the inboxes of controllers, so
//! only controllers can publish to them. `receivers` has the connections on which others send.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use rand::RngExt;
use scuttle_nats::{ConnectConfig, ConnectConfigError, hint, outage};
use scuttle_schemas::{subjects, truncate_chars};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::observability::counters::{Cause, Counters, Ignored, Source};

/// The name of every connection of a controller, which the NATS server shows.
pub const CLIENT_NAME: &str = "scuttle-controller";

/// The delay after the first failed attempt to connect. The delay doubles after each attempt.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// The maximum delay between two attempts to connect.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);

/// The interval at which the server is pinged. Two pings without a reply end the connection.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// The number of bytes that the client reads at a time. For longer messages, the client grows its
/// buffer.
///
/// The client reads up to 128 times before the tasks that take the messages run. At this size, 128
/// reads are 2 MiB, or a few milliseconds of work. A larger buffer could overflow a subscription. A
/// smaller buffer would be slow for large messages.
const READ_BUFFER_SIZE: u16 = 16 << 10;

/// The maximum number of messages of one subscription that wait in the client for the task that
/// takes them. The client loses messages beyond this number, and they get no reply.
///
/// The number is therefore the most that the client can read before the task runs: 2 MiB of the
/// shortest messages from a host whose id is a UUID. The task takes all of them before the client
/// reads more, and within microseconds rejects those beyond the controller's capacity.
const SUBSCRIPTION_CAPACITY: usize = 32_768;

/// The maximum number of messages that wait in the client until they are written to the connection.
/// When this many wait, senders block.
const SEND_CAPACITY: usize = 2048;

/// The maximum length of a logged server error, in characters. An error may quote a subject that a
/// client chose.
pub(super) const MAX_LOGGED_ERROR: usize = 256;

/// The state of the connection to the NATS server: up or down.
#[derive(Debug, Clone)]
pub struct Connected(watch::Receiver<bool>);

impl Connected {
    pub fn new(up: watch::Receiver<bool>) -> Self {
        Self(up)
    }

    pub fn is_up(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the connection is down or the client has ended. Returns immediately if either is
    /// already the case.
    pub async fn lost(&mut self) {
        if self.0.wait_for(|connected| !connected).await.is_err() {
            // The client has ended, and nothing can be sent.
        }
    }
}

/// Connects to the NATS server, and retries until an attempt succeeds. Logs the error of an attempt
/// if it differs from the last logged error.
pub async fn connect(access: &ConnectConfig, counters: &Arc<Counters>) -> (Client, Connected) {
    let (up, connected) = watch::channel(true);
    let mut logged = String::new();
    let mut delay = MIN_RETRY_DELAY;
    loop {
        match attempt(access, up.clone(), counters.clone()).await {
            Ok(client) => {
                let server = client.server_info();
                info!("connected to {} (NATS {})", access.url, server.version);
                return (client, Connected(connected));
            }
            Err(reason) if reason != logged => {
                warn!("waiting for the NATS server at {}: {reason}", access.url);
                logged = reason;
            }
            Err(_) => {}
        }
        tokio::time::sleep(add_jitter(delay)).await;
        delay = (delay * 2).min(MAX_RETRY_DELAY);
    }
}

/// Makes one attempt to connect.
///
/// # Errors
/// If the configuration is invalid, or if the server cannot be reached or rejects the connection.
/// The error states the reason and the remedy.
pub async fn connect_once(access: &ConnectConfig) -> Result<Client, String> {
    attempt(access, watch::Sender::new(true), Arc::default()).await
}

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
    let access = access.clone();
    Ok(options
        .name(CLIENT_NAME)
        .custom_inbox_prefix(subjects::CONTROLLER_INBOX_PREFIX)
        .ping_interval(PING_INTERVAL)
        .read_buffer_capacity(READ_BUFFER_SIZE)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .client_capacity(SEND_CAPACITY)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(5);
            add_jitter((MIN_RETRY_DELAY * 2_u32.pow(doublings)).min(MAX_RETRY_DELAY))
        })
        .event_callback(move |event| {
            let (up, counters, access) = (up.clone(), counters.clone(), access.clone());
            async move {
                let was_up = *up.borrow();
                log_event(&event, &up, &counters);
                if was_up && !*up.borrow() {
                    tokio::spawn(log_outage(access, up.subscribe()));
                }
            }
        }))
}

fn log_event(event: &Event, up: &watch::Sender<bool>, counters: &Counters) {
    let count = |cause, what: &dyn std::fmt::Display| {
        let what = what.to_string();
        let what = truncate_chars(&what, MAX_LOGGED_ERROR);
        counters.count_ignored(&Ignored::new(Source::Connection, cause, 0), what);
    };
    match event {
        Event::Connected => {
            // The first connection is logged by `connect`.
            if !up.send_replace(true) {
                counters.count_reconnect();
                info!("reconnected to the NATS server");
            }
        }
        Event::Disconnected => {
            up.send_replace(false);
            warn!("lost the NATS server: reconnecting until it is back");
        }
        Event::SlowConsumer(_) => count(
            Cause::MessagesLost,
            &"messages arrived faster than they were read, and some were lost",
        ),
        // A denied permission shows nowhere else.
        Event::ServerError(error) => count(Cause::ServerError, error),
        Event::ClientError(error) => count(Cause::ServerError, error),
        Event::LameDuckMode => info!("the NATS server is about to stop (lame duck mode)"),
        Event::Draining | Event::Closed => {}
    }
}

/// Logs why the connection is not restored, until it is.
async fn log_outage(access: ConnectConfig, mut up: watch::Receiver<bool>) {
    let log = |cause: &str| warn!("cannot reconnect to {}: {cause}", access.url);
    tokio::select! {
        // Also ends if the client has ended.
        _ = up.wait_for(|up| *up) => {}
        () = outage::log_causes(&access, log) => {}
    }
}

/// Returns a random duration between half of `delay` and `delay`, so that many clients do not
/// reconnect at the same moment.
fn add_jitter(delay: Duration) -> Duration {
    delay.mul_f64(rand::rng().random_range(0.5..=1.0))
}
