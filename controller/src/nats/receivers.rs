//! The connections on which a leader receives the messages of clients, agents and other leaders:
//! one for each group of senders, so that no group can delay the messages of another. The leader
//! sends on another connection, to which only controllers can publish.

use std::sync::Arc;

use scuttle_nats::receiver::Delivery;
use scuttle_nats::receiver::connection::{Event, Receiver, Subscriptions};
use scuttle_nats::{ConnectConfig, ConnectConfigError};
use scuttle_schemas::truncate_chars;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::nats::connection::{CLIENT_NAME, Connected, MAX_LOGGED_ERROR};
use crate::observability::counters::{Cause, Counters, Ignored, Source};

/// The maximum number of messages of one subscription that wait for the task that takes them.
/// Messages beyond this number are lost, and get no reply.
///
/// A connection reads at most 2 MiB before the task runs. That is at most this number of messages,
/// if they are the shortest ones from a host whose id is a UUID. The task then takes all of them
/// before the connection reads more. It rejects those beyond the controller's capacity within
/// microseconds.
const SUBSCRIPTION_CAPACITY: usize = 32_768;

/// The messages of one subscription.
pub type Messages = mpsc::Receiver<Delivery>;

/// A group of senders, whose messages arrive on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Operators and viewers that read, or discover the service.
    Reads,
    /// Operators that change something.
    Changes,
    /// Agents.
    Reports,
    /// The leaders of other partitions.
    Peers,
}

impl Group {
    const ALL: [Self; 4] = [Self::Reads, Self::Changes, Self::Reports, Self::Peers];

    /// Returns the name of the group in the log.
    fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Changes => "changes",
            Self::Reports => "reports",
            Self::Peers => "peers",
        }
    }
}

/// The subscriptions of all groups, before their connections are started.
#[derive(Debug, Default)]
pub struct GroupSubscriptions([Subscriptions; Group::ALL.len()]);

impl GroupSubscriptions {
    /// Adds a subscription to each of these subjects, and returns their messages.
    pub fn add(&mut self, group: Group, subjects: impl IntoIterator<Item = String>) -> Messages {
        self.0[group as usize].add(subjects, SUBSCRIPTION_CAPACITY)
    }

    /// Starts the connection of each group that has a subscription.
    ///
    /// # Errors
    /// If a server address in `access` is not valid.
    pub fn start(
        self,
        access: &ConnectConfig,
        counters: &Arc<Counters>,
    ) -> Result<Receivers, ConnectConfigError> {
        let groups = Group::ALL.into_iter().zip(self.0);
        let groups = groups.filter(|(_, subscriptions)| !subscriptions.is_empty());
        let start = |(group, subscriptions): (Group, Subscriptions)| {
            let name = CLIENT_NAME.to_owned();
            let (access, counters) = (access.clone(), counters.clone());
            let on_event = move |event| log_event(group, &event, &counters);
            Receiver::start(access, name, subscriptions, on_event)
        };
        groups.map(start).collect::<Result<_, _>>().map(Receivers)
    }
}

/// The connections of all groups.
#[derive(Debug)]
pub struct Receivers(Vec<Receiver>);

impl Receivers {
    /// Waits until every connection is up and its subscriptions are active.
    pub async fn wait_until_up(&self) {
        for receiver in &self.0 {
            // Fails only if the connection was drained.
            let _ = receiver.state().wait_for(|up| *up).await;
        }
    }

    /// Returns the state of each connection.
    pub fn states(&self) -> impl Iterator<Item = Connected> {
        self.0
            .iter()
            .map(|receiver| Connected::new(receiver.state()))
    }

    /// Unsubscribes on every connection, and delivers the messages that are on their way.
    pub async fn drain(self) {
        futures_util::future::join_all(self.0.into_iter().map(Receiver::drain)).await;
    }
}

fn log_event(group: Group, event: &Event, counters: &Counters) {
    let connection = group.name();
    let count = |cause, detail: &str| {
        let ignored = Ignored::new(Source::Connection, cause, 0);
        counters.count_ignored(&ignored, truncate_chars(detail, MAX_LOGGED_ERROR));
    };
    match event {
        Event::Connected { again: false } => {}
        // The metric counts the reconnections of the connection on which the controller sends.
        Event::Connected { again: true } => info!(connection, "reconnected to the NATS server"),
        Event::Disconnected { cause } => {
            warn!(
                connection,
                "lost the NATS server ({cause}): reconnecting until it is back"
            );
        }
        Event::Unreachable { cause } => count(Cause::ServerError, cause),
        Event::ServerError { error } => count(Cause::ServerError, error),
        Event::MessageLost => count(
            Cause::MessagesLost,
            "messages arrived faster than they were read, and some were lost",
        ),
    }
}
