//! `set-replicas`: changes the number of servers that keep a copy of the journals and buckets, with
//! a login that may update streams. A controller's own login is not allowed to, because a program
//! that can change the limits or subjects of its journal can destroy the journal by mistake.

use std::fmt;
use std::time::Duration;

use async_nats::jetstream;
use scuttle_nats::ConnectConfig;
use scuttle_schemas::{PartitionCount, subjects};
use tokio::runtime::Handle;

use crate::nats::connection;
use crate::nats::stream_lookup::find_stream;

/// The timeout of a request. The servers move the data after their reply.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetReplicas {
    pub nats: ConnectConfig,
    /// The new number of replicas.
    pub replicas: usize,
    pub partitions: PartitionCount,
}

/// The streams that were changed.
#[derive(Debug)]
pub struct ChangedReplicas {
    replicas: usize,
    streams: Vec<String>,
}

/// The reason why the number of replicas was not changed for every stream.
#[derive(Debug, thiserror::Error)]
pub enum SetReplicasError {
    #[error("cannot connect to the NATS servers: {0}")]
    Connect(String),
    #[error(
        "cannot look up the stream {stream}: {cause}; use a login that may publish on $JS.API.STREAM.INFO.{stream} and $JS.API.STREAM.UPDATE.{stream}, and check that enough servers are running (docs/operations.md)"
    )]
    Lookup { stream: String, cause: String },
    #[error(
        "cannot change the stream {stream}: {cause}; use a login that may publish on $JS.API.STREAM.UPDATE.{stream}, and check that enough servers are running (docs/operations.md)"
    )]
    Update { stream: String, cause: String },
    #[error(
        "there is no journal on the NATS servers, so nothing was changed: check --nats-url and the account of the login"
    )]
    NoStream,
}

impl fmt::Display for ChangedReplicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replicas, streams } = self;
        let streams = streams.join(", ");
        write!(
            f,
            "set {replicas} replicas for {streams}; start the controllers with --replicas {replicas}"
        )
    }
}

impl SetReplicas {
    /// Changes the number of replicas of every journal and bucket that exists. Can be repeated.
    /// Controllers may be running. Blocks, so it must not be called on a thread of the async
    /// runtime.
    ///
    /// # Errors
    /// If the login may not update streams, or the servers reject a request or do not reply.
    pub fn run(&self) -> Result<ChangedReplicas, SetReplicasError> {
        Handle::current().block_on(self.change_all())
    }

    async fn change_all(&self) -> Result<ChangedReplicas, SetReplicasError> {
        let client = connection::connect_once(&self.nats).await;
        let mut context = jetstream::new(client.map_err(SetReplicasError::Connect)?);
        context.set_timeout(REQUEST_TIMEOUT);
        let mut streams = Vec::new();
        for name in subjects::controller_stream_names(self.partitions) {
            let found = find_stream(&context, &name).await;
            let found = found.map_err(|error| SetReplicasError::Lookup {
                stream: name.clone(),
                cause: error.to_string(),
            })?;
            let Some(found) = found else {
                continue;
            };
            let mut config = found.cached_info().config.clone();
            config.num_replicas = self.replicas;
            let updated = context.update_stream(config).await;
            updated.map_err(|error| SetReplicasError::Update {
                stream: name.clone(),
                cause: error.to_string(),
            })?;
            streams.push(name);
        }
        if streams.is_empty() {
            return Err(SetReplicasError::NoStream);
        }
        Ok(ChangedReplicas {
            replicas: self.replicas,
            streams,
        })
    }
}
