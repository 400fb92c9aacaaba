//! The calls to the Docker Engine API, except those for evidence. Every call except the event
//! stream has a timeout. Every error says whether the Engine was unreachable, is too old, rejected
//! the call, or did not finish the call in time.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::errors::Error as Cause;
use bollard::models::{
    ContainerUpdateBody, EventMessage, ImageInspect, Network, RestartPolicy,
    RestartPolicyNameEnum as RestartPolicyName,
};
use bollard::query_parameters::{
    EventsOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptions, RemoveVolumeOptions,
    StopContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use futures_util::Stream;
use serde_json::Value;

use super::container::{ListedContainer, UnreadableContainer, decode_entry};
use super::raw_get;

/// The oldest supported API version, that of Docker 20.10.
const MIN_API_VERSION: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 41,
};
/// The timeout of a call that changes nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of a ping. A healthy Engine answers a ping even while other calls hang.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// The time after the grace period in which the Engine kills a container and notices its end.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);
/// An event stream starts with the events of this duration before its start.
const EVENT_OVERLAP: Duration = Duration::from_secs(1);
/// The maximum number of ids in one request, which keeps the URL below the limits of HTTP servers.
const MAX_IDS: usize = 64;
/// The timeout of a call that removes an object. A busy Engine needs time to unmount and delete.
const REMOVE_TIMEOUT: Duration = Duration::from_mins(1);
/// The timeout of the client in seconds. It must be longer than all other timeouts in this module.
const CLIENT_TIMEOUT_S: u64 = 86_400;

/// The reason why a call to the Docker Engine failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
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
    /// The Engine responds to pings, but did not finish this call in time.
    #[error("cannot {action}: no response within {seconds} s, although the Engine responds")]
    TimedOut { action: String, seconds: u64 },
}

impl EngineError {
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Returns true if the container, network, volume or image of the call does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Rejected { status: 404, .. })
    }

    /// Returns true if the volume or image could not be removed because a container uses it.
    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self, Self::Rejected { status: 409, .. })
    }

    /// Returns true if only this call hangs: the Engine responds to pings.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }

    /// Returns true if the container could not be removed because its removal is already in
    /// progress.
    pub(crate) fn is_removal_in_progress(&self) -> bool {
        matches!(self, Self::Rejected { status: 409, message, .. } if message.contains("already in progress"))
    }

    pub(crate) fn has_active_endpoints(&self) -> bool {
        matches!(self, Self::Rejected { message, .. } if message.contains("active endpoints"))
    }
}

/// A client of a Docker Engine that was reachable when the client was created. Each call opens a
/// separate connection.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    docker: Docker,
    socket: PathBuf,
}

impl Engine {
    /// Connects to the Engine, and negotiates the newest API version that both sides support. Fails
    /// if this version is below `MIN_API_VERSION`.
    pub(crate) async fn connect(socket: &Path) -> Result<Self, EngineError> {
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

    /// Returns the API client.
    pub(crate) fn client(&self) -> &Docker {
        &self.docker
    }

    pub(crate) fn api_version(&self) -> ClientVersion {
        self.docker.client_version()
    }

    /// Lists the containers with a label (`key` or `key=value`), including stopped ones.
    pub(crate) async fn list_containers(&self, label: &str) -> Result<Listing, EngineError> {
        self.list_filtered("label", &[label]).await
    }

    /// Lists the containers with one of these ids, including stopped ones.
    pub(crate) async fn list_containers_by_id(&self, ids: &[&str]) -> Result<Listing, EngineError> {
        let mut listing = Listing::default();
        for ids in ids.chunks(MAX_IDS) {
            let part = self.list_filtered("id", ids).await?;
            listing.containers.extend(part.containers);
            listing.unreadable.extend(part.unreadable);
        }
        Ok(listing)
    }

    /// Lists the containers that were created from an image, or from an image that is based on it.
    pub(crate) async fn list_containers_by_image(&self, id: &str) -> Result<Listing, EngineError> {
        self.list_filtered("ancestor", &[id]).await
    }

    async fn list_filtered(&self, key: &str, values: &[&str]) -> Result<Listing, EngineError> {
        let version = self.docker.client_version();
        let filters = raw_get::encode_filters(key, values);
        let target = format!("/v{version}/containers/json?all=true&{filters}");
        let listed = async {
            let listed = raw_get::get_json(&self.socket, &target).await?;
            Ok(serde_json::from_value(listed)?)
        };
        let listed = self
            .call(READ_TIMEOUT, || "list containers".to_owned(), listed)
            .await?;
        Ok(Listing::decode(listed))
    }

    /// Returns the settings of a container that matter for its stop.
    pub(crate) async fn inspect_stop(&self, id: &str) -> Result<StopSettings, EngineError> {
        let version = self.docker.client_version();
        let target = format!("/v{version}/containers/{id}/json");
        let inspected = raw_get::get_json(&self.socket, &target);
        let action = || format!("inspect container {id}");
        let inspected = self.call(READ_TIMEOUT, action, inspected).await?;
        Ok(StopSettings::decode(&inspected))
    }

    /// Sets the restart policy of a container to `no`, so that the Engine never starts the
    /// container again by itself.
    pub(crate) async fn disable_restart(&self, id: &str) -> Result<(), EngineError> {
        let update = ContainerUpdateBody {
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyName::NO),
                maximum_retry_count: None,
            }),
            ..ContainerUpdateBody::default()
        };
        let updated = self.docker.update_container(id, update);
        let action = || format!("set the restart policy of container {id} to no");
        self.call(READ_TIMEOUT, action, updated).await
    }

    /// Streams the events of containers and networks since shortly before the call, until the
    /// Engine stops.
    pub(crate) fn watch_events(
        &self,
    ) -> impl Stream<Item = Result<EventMessage, Cause>> + Send + use<> {
        let filters = HashMap::from([("type", vec!["container", "network"])]);
        // The stream starts when it is first polled. Without `since`, the events until then would
        // be lost.
        let since = SystemTime::now() - EVENT_OVERLAP;
        let since = since
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let options = EventsOptionsBuilder::new()
            .since(&since.to_string())
            .filters(&filters);
        self.docker.events(Some(options.build()))
    }

    /// Returns the error for an event stream that has ended, because of `cause` or without an
    /// error.
    pub(crate) fn to_stream_error(&self, cause: Option<Cause>) -> EngineError {
        let ended = || "the event stream ended".to_owned();
        EngineError::Unreachable {
            socket: self.socket.clone(),
            cause: cause.map_or_else(ended, |cause| innermost_cause(&cause)),
        }
    }

    /// Stops a container, and kills it after `grace`.
    pub(crate) async fn stop_container(
        &self,
        id: &str,
        grace: Duration,
    ) -> Result<(), EngineError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let stopped = self.docker.stop_container(id, Some(options));
        let action = || format!("stop container {id}");
        self.call(grace + KILL_TIMEOUT, action, stopped).await
    }

    /// Removes a container, even if it is running, and its anonymous volumes.
    pub(crate) async fn remove_container(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
        let removed = self.docker.remove_container(id, Some(options.build()));
        self.call(REMOVE_TIMEOUT, || format!("remove container {id}"), removed)
            .await
    }

    /// Lists the networks whose property `filter`, such as `label` or `name`, matches `value`.
    pub(crate) async fn list_networks(
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

    pub(crate) async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        let removed = self.docker.remove_network(id);
        self.call(REMOVE_TIMEOUT, || format!("remove network {id}"), removed)
            .await
    }

    /// Lists the names of the containers that have an endpoint in a network, sorted.
    pub(crate) async fn list_endpoints(&self, network: &str) -> Result<Vec<String>, EngineError> {
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

    /// Lists the names of the volumes with a label (`key=value`).
    pub(crate) async fn list_volumes(&self, label: &str) -> Result<Vec<String>, EngineError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let listed = self.docker.list_volumes(Some(options));
        let action = || "list volumes".to_owned();
        let listed = self.call(READ_TIMEOUT, action, listed).await?;
        let volumes = listed.volumes.unwrap_or_default();
        Ok(volumes.into_iter().map(|volume| volume.name).collect())
    }

    pub(crate) async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let removed = self.docker.remove_volume(name, None::<RemoveVolumeOptions>);
        self.call(REMOVE_TIMEOUT, || format!("remove volume {name}"), removed)
            .await
    }

    /// Returns the tags and digests of an image.
    pub(crate) async fn inspect_image(&self, image: &str) -> Result<ImageInspect, EngineError> {
        let inspected = self.docker.inspect_image(image);
        let action = || format!("inspect image {image}");
        self.call(READ_TIMEOUT, action, inspected).await
    }

    /// Removes an image by tag, digest or id. The Engine deletes the image with its last tag.
    pub(crate) async fn remove_image(&self, image: &str) -> Result<(), EngineError> {
        let removed = self
            .docker
            .remove_image(image, None::<RemoveImageOptions>, None);
        let action = || format!("remove image {image}");
        self.call(REMOVE_TIMEOUT, action, removed).await.map(|_| ())
    }

    /// Calls the Engine with a timeout. After a timeout, a ping decides whether the Engine or only
    /// this call hangs.
    async fn call<T>(
        &self,
        timeout: Duration,
        action: impl FnOnce() -> String,
        response: impl Future<Output = Result<T, Cause>>,
    ) -> Result<T, EngineError> {
        match tokio::time::timeout(timeout, response).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(cause)) => Err(to_error(&self.socket, &action(), cause)),
            Err(_) => {
                self.ping().await?;
                Err(EngineError::TimedOut {
                    action: action(),
                    seconds: timeout.as_secs(),
                })
            }
        }
    }

    /// Checks that the Engine responds.
    pub(crate) async fn ping(&self) -> Result<(), EngineError> {
        let action = || "ping the Engine".to_owned();
        let ping = self.docker.ping();
        let _ = call_with_timeout(&self.socket, PING_TIMEOUT, action, ping).await?;
        Ok(())
    }
}

/// The containers of a listing.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) containers: Vec<ListedContainer>,
    pub(crate) unreadable: Vec<UnreadableContainer>,
}

impl Listing {
    fn decode(listed: Vec<Value>) -> Self {
        let mut listing = Self::default();
        for entry in listed {
            match decode_entry(entry) {
                Ok(container) => listing.containers.push(container),
                Err(unreadable) => listing.unreadable.push(unreadable),
            }
        }
        listing
    }
}

/// The settings of a container that matter for its stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StopSettings {
    /// Whether the Engine may start the container again by itself.
    pub(crate) restarts: bool,
    /// The container's `stop_grace_period`. `None` if it has none.
    pub(crate) grace: Option<Duration>,
}

impl StopSettings {
    fn decode(inspected: &Value) -> Self {
        let policy = inspected.pointer("/HostConfig/RestartPolicy/Name");
        let policy = policy.and_then(Value::as_str).unwrap_or_default();
        let grace = inspected.pointer("/Config/StopTimeout");
        Self {
            restarts: !["", "no"].contains(&policy),
            grace: grace.and_then(Value::as_u64).map(Duration::from_secs),
        }
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
