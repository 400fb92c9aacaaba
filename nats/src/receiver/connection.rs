//! The life of a receiving connection: subscribes, delivers, and connects again after each loss.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use async_nats::ServerAddr;
use rand::RngExt;
use rand::seq::SliceRandom;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::connect_config::ConnectConfig;
use crate::error::ConnectConfigError;
use crate::receiver::frame::{Delivery, Frame};
use crate::receiver::link::Link;

/// The delay after a round in which no server could be reached. The delay doubles after each round.
/// The first round after a loss starts at once.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// The maximum delay between two rounds.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);

/// The interval at which the server is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// The number of pings without a reply after which the connection counts as lost.
const MAX_PENDING_PINGS: u32 = 2;

/// The maximum time for the messages that are on their way when the connection is drained.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// An event of a receiving connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The connection is established, for the first time or `again` after a loss.
    Connected { again: bool },
    /// The connection is lost and is restored automatically.
    Disconnected { cause: String },
    /// A round of attempts to connect has failed, with the cause of the last attempt.
    Unreachable { cause: String },
    /// The server reported an error.
    ServerError { error: String },
    /// A message was lost, because the tasks that take the messages are too slow.
    MessageLost,
}

/// The subscriptions of a connection that is not started yet.
#[derive(Debug, Default)]
pub struct Subscriptions(Vec<Subscription>);

#[derive(Debug)]
struct Subscription {
    subject: String,
    sender: mpsc::Sender<Delivery>,
}

impl Subscriptions {
    /// Adds a subscription to each of these subjects. Returns the channel of their messages, which
    /// holds up to `capacity` messages. Messages beyond that are lost.
    pub fn add(
        &mut self,
        subjects: impl IntoIterator<Item = String>,
        capacity: usize,
    ) -> mpsc::Receiver<Delivery> {
        let (sender, messages) = mpsc::channel(capacity);
        let subscriptions = subjects.into_iter().map(|subject| Subscription {
            subject,
            sender: sender.clone(),
        });
        self.0.extend(subscriptions);
        messages
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A receiving connection. If this handle is dropped, the connection is drained.
#[derive(Debug)]
pub struct Receiver {
    up: watch::Receiver<bool>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Starts to connect in the background as the client `name`. Calls `on_event` at each event.
    ///
    /// # Errors
    /// If a server address in `config` is not valid.
    pub fn start(
        config: ConnectConfig,
        name: String,
        subscriptions: Subscriptions,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, ConnectConfigError> {
        let servers = config.server_addresses()?;
        let (up_sender, up) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let task = Task {
            config,
            name,
            servers,
            subscriptions: subscriptions.0,
            up: up_sender,
            on_event: Box::new(on_event),
        };
        Ok(Self {
            up,
            stop,
            task: tokio::spawn(task.run(stopped)),
        })
    }

    /// Returns the state of the connection: whether it is up and its subscriptions are active.
    pub fn state(&self) -> watch::Receiver<bool> {
        self.up.clone()
    }

    /// Unsubscribes, delivers the messages that are on their way, and closes the channels.
    pub async fn drain(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

struct Task {
    config: ConnectConfig,
    name: String,
    /// The configured servers, and those that a server has announced.
    servers: Vec<ServerAddr>,
    subscriptions: Vec<Subscription>,
    up: watch::Sender<bool>,
    on_event: Box<dyn Fn(Event) + Send + Sync>,
}

impl Task {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut delay = MIN_RETRY_DELAY;
        let mut again = false;
        loop {
            let connected = tokio::select! {
                connected = self.connect() => connected,
                _ = &mut stopped => return,
            };
            let mut link = match connected {
                Ok(link) => link,
                Err(error) => {
                    let cause = error.to_string();
                    (self.on_event)(Event::Unreachable { cause });
                    tokio::select! {
                        () = sleep(delay.mul_f64(rand::rng().random_range(0.5..=1.0))) => {}
                        _ = &mut stopped => return,
                    }
                    delay = (delay * 2).min(MAX_RETRY_DELAY);
                    continue;
                }
            };
            delay = MIN_RETRY_DELAY;
            self.up.send_replace(true);
            (self.on_event)(Event::Connected { again });
            again = true;
            let lost = tokio::select! {
                lost = self.receive(&mut link) => lost,
                _ = &mut stopped => {
                    let _ = timeout(DRAIN_TIMEOUT, self.drain(&mut link)).await;
                    return;
                }
            };
            self.up.send_replace(false);
            let cause = lost.to_string();
            (self.on_event)(Event::Disconnected { cause });
        }
    }

    /// Tries to connect to each server once, in random order, and subscribes. When this returns,
    /// the subscriptions are active.
    async fn connect(&mut self) -> io::Result<Link> {
        let mut servers = self.servers.clone();
        servers.shuffle(&mut rand::rng());
        let mut last_error = io::Error::other("no server is configured");
        for server in servers {
            match self.connect_to(&server).await {
                Ok(link) => return Ok(link),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    async fn connect_to(&mut self, server: &ServerAddr) -> io::Result<Link> {
        let (mut link, info) = Link::connect(&self.config, server, &self.name).await?;
        for url in &info.connect_urls {
            if let Ok(announced) = url.parse::<ServerAddr>()
                && !self.servers.contains(&announced)
            {
                self.servers.push(announced);
            }
        }
        let mut lines = String::new();
        for (number, subscription) in self.subscriptions.iter().enumerate() {
            let _ = write!(lines, "SUB {} {number}\r\n", subscription.subject);
        }
        lines.push_str("PING\r\n");
        link.send(&lines).await?;
        let subscribed = async {
            loop {
                match link.next_frame().await? {
                    Frame::Pong => return Ok::<_, io::Error>(()),
                    frame => self.handle(&mut link, frame).await?,
                }
            }
        };
        timeout(PING_INTERVAL, subscribed).await??;
        Ok(link)
    }

    /// Delivers messages until the connection is lost. Returns the cause.
    async fn receive(&self, link: &mut Link) -> io::Error {
        let mut pings = interval(PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        let mut pending_pings = 0;
        loop {
            let handled = tokio::select! {
                biased;
                _ = pings.tick() => {
                    pending_pings += 1;
                    if pending_pings > MAX_PENDING_PINGS {
                        return io::Error::new(io::ErrorKind::TimedOut, "the server does not reply");
                    }
                    link.send("PING\r\n").await
                }
                frame = link.next_frame() => {
                    pending_pings = 0;
                    match frame {
                        Ok(frame) => self.handle(link, frame).await,
                        Err(error) => Err(error),
                    }
                }
            };
            if let Err(error) = handled {
                return error;
            }
        }
    }

    /// Unsubscribes, and delivers all messages that the server sent before that.
    async fn drain(&self, link: &mut Link) -> io::Result<()> {
        let mut lines = String::new();
        for number in 0..self.subscriptions.len() {
            let _ = write!(lines, "UNSUB {number}\r\n");
        }
        lines.push_str("PING\r\n");
        link.send(&lines).await?;
        loop {
            match link.next_frame().await? {
                Frame::Pong => return Ok(()),
                frame => self.handle(link, frame).await?,
            }
        }
    }

    async fn handle(&self, link: &mut Link, frame: Frame) -> io::Result<()> {
        match frame {
            Frame::Message {
                subscription,
                delivery,
            } => {
                if let Some(Subscription { sender, .. }) = self.subscriptions.get(subscription)
                    && let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(delivery)
                {
                    (self.on_event)(Event::MessageLost);
                }
            }
            Frame::Ping => link.send("PONG\r\n").await?,
            Frame::Error(error) => (self.on_event)(Event::ServerError { error }),
            Frame::Info(_) | Frame::Pong | Frame::Ok => {}
        }
        Ok(())
    }
}
