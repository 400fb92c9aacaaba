//! A controller that answers service discovery, but serves no requests.

use async_nats::Client;
use scuttle_nats::{ConnectConfig, ConnectConfigError};
use tokio::task::JoinHandle;

use crate::nats::connection::Connected;
use crate::nats::receivers::GroupSubscriptions;
use crate::observability::audit::Audit;
use crate::observability::metrics::Metrics;
use crate::outbound::replier::Replier;
use crate::peers::instance::Instance;
use crate::request::discovery::Service;

/// The connections of a controller that does not serve yet.
#[derive(Debug, Clone, Copy)]
pub struct Connections<'a> {
    /// The connection on which the controller sends.
    pub client: &'a Client,
    /// Whether the connection of `client` is up.
    pub connected: &'a Connected,
    /// The settings of the connections on which the controller receives.
    pub access: &'a ConnectConfig,
    pub audit: &'a Audit,
    pub metrics: &'a Metrics,
}

/// The task that answers service discovery. Dropping this value ends the task.
#[derive(Debug)]
pub struct Presence(JoinHandle<()>);

impl Presence {
    /// Starts to answer for `own`. Returns when other controllers can find this controller.
    ///
    /// # Errors
    /// If a server address is not valid.
    pub async fn start(
        own: &Instance,
        connections: Connections<'_>,
    ) -> Result<Self, ConnectConfigError> {
        let counters = connections.metrics.counters();
        let service = Service::new(own.id, counters.clone(), own.metadata());
        let mut subscriptions = GroupSubscriptions::default();
        let requests = service.subscribe(&mut subscriptions);
        let receivers = subscriptions.start(connections.access, counters)?;
        receivers.wait_until_up().await;
        let replier = Replier::new(
            connections.client.clone(),
            connections.connected.clone(),
            connections.audit.clone(),
            counters.clone(),
        );
        Ok(Self(tokio::spawn(async move {
            // Kept until the task ends, which ends the subscriptions.
            let _receivers = receivers;
            service.serve(requests, replier).await;
        })))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.abort();
    }
}
