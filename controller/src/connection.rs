//! The connection to the NATS server: waited for at the start, kept through restarts, and known to be
//! up or down.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use rand::RngExt;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::{Config, NatsLogin};

/// The first and the longest pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often the server is asked whether it is still there: two lost answers end the connection.
const PING: Duration = Duration::from_secs(10);

/// Whether the server is connected.
#[derive(Debug, Clone)]
pub struct Connected(watch::Receiver<bool>);

impl Connected {
    /// Returns while the connection is down, or as soon as it is.
    pub async fn lost(&mut self) {
        if self.0.wait_for(|connected| !connected).await.is_err() {
            // The client is gone, and with it everybody who could be sent to.
        }
    }
}

/// Connects, however long that takes; says why it waits, once for each reason.
pub async fn connect(config: &Config) -> (Client, Connected) {
    let (up, connected) = watch::channel(true);
    let mut told = String::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let attempt = match options(config, up.clone()) {
            Ok(options) => options
                .connect(&config.nats_url)
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error),
        };
        match attempt {
            Ok(client) => {
                let server = client.server_info();
                info!("connected to {} (NATS {})", config.nats_url, server.version);
                return (client, Connected(connected));
            }
            Err(reason) if reason != told => {
                warn!(
                    "waiting for the NATS server at {}: {reason}",
                    config.nats_url
                );
                told = reason;
            }
            Err(_) => {}
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn options(config: &Config, up: watch::Sender<bool>) -> Result<ConnectOptions, String> {
    let options = ConnectOptions::new()
        .name("scuttle-controller")
        .ping_interval(PING)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(5);
            jittered((FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE))
        })
        .event_callback(move |event| {
            let up = up.clone();
            async move { note(&event, &up) }
        });
    match &config.nats_login {
        NatsLogin::Anonymous => Ok(options),
        NatsLogin::Password { user, password } => {
            Ok(options.user_and_password(user.clone(), password.expose().to_owned()))
        }
        NatsLogin::Creds(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                format!("cannot read the credentials {}: {error}", path.display())
            })?;
            options
                .credentials(&text)
                .map_err(|error| format!("{} holds no NATS credentials: {error}", path.display()))
        }
    }
}

fn note(event: &Event, up: &watch::Sender<bool>) {
    match event {
        Event::Connected => {
            up.send_replace(true);
            info!("the NATS server is connected");
        }
        Event::Disconnected => {
            up.send_replace(false);
            warn!("the NATS server is away: reconnecting until it is back");
        }
        Event::SlowConsumer(subscription) => {
            warn!(
                subscription,
                "messages were lost: they came faster than they were read"
            );
        }
        // A refused permission shows nowhere else.
        Event::ServerError(error) => warn!("the NATS server says: {error}"),
        Event::ClientError(error) => warn!("NATS client: {error}"),
        Event::LameDuckMode => info!("the NATS server is about to stop"),
        Event::Draining | Event::Closed => {}
    }
}

/// Between half of a pause and all of it, so that many clients do not come back at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}
