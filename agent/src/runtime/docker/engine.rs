//! The calls to the Docker Engine API that the agent makes. Every call except the event stream has
//! a timeout. Every error says whether the Engine was unreachable, is too old, or rejected the
//! call.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::errors::Error as Cause;
use bollard::models::{ContainerSummary, EventMessage, Network};
use bollard::query_parameters::{
    EventsOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptions, RemoveVolumeOptions,
    StopContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use futures_util::Stream;

/// The oldest supported API version, that of Docker 20.10.
const MIN_API_VERSION: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 41,
};
/// The timeout of a call that changes nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of a call that removes an object. A busy Engine needs time to unmount and delete.
const REMOVE_TIMEOUT: Duration = Duration::from_mins(1);
/// The timeout of the client in seconds. It must be longer than all other timeouts in this module.
const CLIENT_TIMEOUT_S: u64 = 86_400;

/// The reason why a call to the Docker Engine failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    /// The Engine is not running or does not respond, or this user may not use its socket.
    #[error(
        "cannot reach the Docker Engine at unix://{}: {cause}; start it, or check --docker and that this user may use the socket", .socket.display()
    )]
    Unreachable { socket: PathBuf, cause: String },
    #[error(
        "the Docker Engine at unix://{} has API version {found}, but {MIN_API_VERSION} (Docker 20.10) or newer is required; upgrade Docker", .socket.display()
    )]
    TooOld {
        socket: PathBuf,
        found: ClientVersion,
    },
    #[error("cannot {action}: {message}")]
    Rejected {
        action: String,
        /// The HTTP status, or 0 for a response that cannot be parsed.
        status: u16,
        message: String,
    },
}

impl EngineError {
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Returns true if the container, network, volume or image of the call does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Rejected { status: 404, .. })
    }

    /// Returns true if the volume or image could not be removed because a container uses it.
    pub(super) fn is_in_use(&self) -> bool {
        matches!(self, Self::Rejected { status: 409, .. })
    }

    pub(super) fn has_active_endpoints(&self) -> bool {
        matches!(self, Self::Rejected { message, .. } if message.contains("active endpoints"))
    }
}

/// A client of a Docker Engine that was reachable when the client was created. Each call opens a
/// separate connection.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    docker: Docker,
    socket: PathBuf,
}

impl Engine {
    /// Connects to the Engine, and negotiates the newest API version that both sides support. Fails
    /// if this version is below `MIN_API_VERSION`.
    pub(super) async fn connect(socket: &Path) -> Result<Self, EngineError> {
        let docker = Docker::connect_with_unix(
            &socket.to_string_lossy(),
            CLIENT_TIMEOUT_S,
            API_DEFAULT_VERSION,
        )
        .map_err(|cause| to_error(socket, "connect", cause))?;
        let action = || "get the version of the Engine".to_owned();
        let docker =
            call_with_timeout(socket, READ_TIMEOUT, action, docker.negotiate_version()).await?;
        let found = docker.client_version();
        if found < MIN_API_VERSION {
            return Err(EngineError::TooOld {
                socket: socket.to_owned(),
                found,
            });
        }
        Ok(Self {
            docker,
            socket: socket.to_owned(),
        })
    }

    pub(super) fn api_version(&self) -> ClientVersion {
        self.docker.client_version()
    }

    /// Lists all containers that have a label (`key` or `key=value`), including stopped ones.
    pub(super) async fn list_containers(
        &self,
        label: &str,
    ) -> Result<Vec<ContainerSummary>, EngineError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters);
        let listed = self.docker.list_containers(Some(options.build()));
        self.call(READ_TIMEOUT, || "list containers".to_owned(), listed)
            .await
    }

    /// Streams the events of containers and networks, until the Engine stops.
    pub(super) fn watch_events(
        &self,
    ) -> impl Stream<Item = Result<EventMessage, Cause>> + Send + use<> {
        let filters = HashMap::from([("type", vec!["container", "network"])]);
        let options = EventsOptionsBuilder::new().filters(&filters);
        self.docker.events(Some(options.build()))
    }

    /// Returns the error for an event stream that has ended, because of `cause` or without an
    /// error.
    pub(super) fn to_stream_error(&self, cause: Option<Cause>) -> EngineError {
        let ended = || "the event stream ended".to_owned();
        EngineError::Unreachable {
            socket: self.socket.clone(),
            cause: cause.map_or_else(ended, |cause| innermost_cause(&cause)),
        }
    }

    /// Stops a container, and kills it if it has not stopped within `grace`. The Engine does not
    /// restart a container that was stopped this way, whatever its restart policy.
    pub(super) async fn stop_container(
        &self,
        id: &str,
        grace: Duration,
    ) -> Result<(), EngineError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let stopped = self.docker.stop_container(id, Some(options));
        self.call(
            grace + REMOVE_TIMEOUT,
            || format!("stop container {id}"),
            stopped,
        )
        .await
    }

    /// Removes a container, even if it is running, and its anonymous volumes.
    pub(super) async fn remove_container(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
        let removed = self.docker.remove_container(id, Some(options.build()));
        self.call(REMOVE_TIMEOUT, || format!("remove container {id}"), removed)
            .await
    }

    /// Lists the networks whose property `filter`, such as `label` or `name`, matches `value`.
    pub(super) async fn list_networks(
        &self,
        filter: &str,
        value: &str,
    ) -> Result<Vec<Network>, EngineError> {
        let filters = HashMap::from([(filter, vec![value])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let listed = self.docker.list_networks(Some(options));
        self.call(READ_TIMEOUT, || "list networks".to_owned(), listed)
            .await
    }

    pub(super) async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        let removed = self.docker.remove_network(id);
        self.call(REMOVE_TIMEOUT, || format!("remove network {id}"), removed)
            .await
    }

    /// Lists the names of the containers that have an endpoint in a network, sorted.
    pub(super) async fn list_endpoints(&self, network: &str) -> Result<Vec<String>, EngineError> {
        let inspected = self.docker.inspect_network(network, None);
        let network = self
            .call(
                READ_TIMEOUT,
                || format!("inspect network {network}"),
                inspected,
            )
            .await?;
        let containers = network.containers.unwrap_or_default().into_iter();
        let mut names: Vec<_> = containers
            .map(|(id, endpoint)| endpoint.name.unwrap_or(id))
            .collect();
        names.sort();
        Ok(names)
    }

    pub(super) async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let removed = self.docker.remove_volume(name, None::<RemoveVolumeOptions>);
        self.call(REMOVE_TIMEOUT, || format!("remove volume {name}"), removed)
            .await
    }

    pub(super) async fn remove_image(&self, id: &str) -> Result<(), EngineError> {
        let removed = self
            .docker
            .remove_image(id, None::<RemoveImageOptions>, None);
        self.call(REMOVE_TIMEOUT, || format!("remove image {id}"), removed)
            .await
            .map(|_| ())
    }

    async fn call<T>(
        &self,
        timeout: Duration,
        action: impl FnOnce() -> String,
        response: impl Future<Output = Result<T, Cause>>,
    ) -> Result<T, EngineError> {
        call_with_timeout(&self.socket, timeout, action, response).await
    }
}

async fn call_with_timeout<T>(
    socket: &Path,
    timeout: Duration,
    action: impl FnOnce() -> String,
    response: impl Future<Output = Result<T, Cause>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(timeout, response).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(cause)) => Err(to_error(socket, &action(), cause)),
        Err(_) => Err(EngineError::Unreachable {
            socket: socket.to_owned(),
            cause: format!("no response within {} s", timeout.as_secs()),
        }),
    }
}

fn to_error(socket: &Path, action: &str, cause: Cause) -> EngineError {
    let unreachable = |cause| EngineError::Unreachable {
        socket: socket.to_owned(),
        cause,
    };
    let rejected = |status, message| EngineError::Rejected {
        action: action.to_owned(),
        status,
        message,
    };
    match cause {
        Cause::DockerResponseServerError {
            status_code,
            message,
        } => rejected(status_code, message),
        Cause::SocketNotFoundError(_) => unreachable("the socket does not exist".to_owned()),
        Cause::IOError { .. }
        | Cause::HyperResponseError { .. }
        | Cause::HyperLegacyError { .. }
        | Cause::RequestTimeoutError => unreachable(innermost_cause(&cause)),
        other => rejected(0, innermost_cause(&other)),
    }
}

/// Returns the text of the innermost cause, which is the most specific one, such as
/// `Permission denied (os error 13)`.
fn innermost_cause(error: &dyn Error) -> String {
    let mut text = String::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        text.clear();
        let _ = write!(text, "{error}");
        cause = error.source();
    }
    text
}
