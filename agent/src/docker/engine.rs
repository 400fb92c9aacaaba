//! The Engine's API, as far as a teardown and an inventory need it: every call has a limit, and every error says whether
//! the Engine was away or said no. What the calls are for is decided in `teardown` and `watch`.

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

/// The oldest API that is spoken: Docker 20.10's.
const OLDEST: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 41,
};
/// How long a call may take that only looks.
const LOOK: Duration = Duration::from_secs(10);
/// How long a call may take that removes: a busy Engine unmounts and deletes for a while.
const REMOVE: Duration = Duration::from_mins(1);
/// The client's own limit, which is to be above all of ours, in seconds.
const NEVER: u64 = 86_400;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    /// It is not there, or we may not speak to it.
    #[error(
        "cannot reach the Docker Engine at unix://{}: {cause}; start it, or check --docker and that this user may use the socket", .socket.display()
    )]
    Away {
        /// Its socket.
        socket: PathBuf,
        /// What happened.
        cause: String,
    },
    /// It does not speak our language.
    #[error(
        "the Docker Engine at unix://{} speaks API {found}; {OLDEST} (Docker 20.10) or newer is needed: upgrade it", .socket.display()
    )]
    TooOld {
        /// Its socket.
        socket: PathBuf,
        /// What it speaks.
        found: ClientVersion,
    },
    /// It refused.
    #[error("cannot {action}: {message}")]
    Refused {
        /// What was tried.
        action: String,
        /// The HTTP status; 0 for an answer that cannot be read.
        status: u16,
        /// In the Engine's words.
        message: String,
    },
}

impl EngineError {
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// There is no such container, network, volume or image.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// It is used by others.
    pub(super) fn is_in_use(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    pub(super) fn has_active_endpoints(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("active endpoints"))
    }
}

/// An Engine that has answered. Clones are as good; each call makes a connection of its own.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    docker: Docker,
    socket: PathBuf,
}

impl Engine {
    /// Finds the newest API that both sides speak.
    pub(super) async fn connect(socket: &Path) -> Result<Self, EngineError> {
        let docker =
            Docker::connect_with_unix(&socket.to_string_lossy(), NEVER, API_DEFAULT_VERSION)
                .map_err(|cause| error(socket, "connect", cause))?;
        let action = || "ask for the Engine's version".to_owned();
        let docker = limited(socket, LOOK, action, docker.negotiate_version()).await?;
        let found = docker.client_version();
        if found < OLDEST {
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

    /// The API that is spoken.
    pub(super) fn version(&self) -> ClientVersion {
        self.docker.client_version()
    }

    /// All containers that have this label (`key` or `key=value`), running or not.
    pub(super) async fn containers(
        &self,
        label: &str,
    ) -> Result<Vec<ContainerSummary>, EngineError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters);
        let listed = self.docker.list_containers(Some(options.build()));
        self.call(LOOK, || "list containers".to_owned(), listed)
            .await
    }

    /// What happens to containers and networks from now on. It ends when the Engine does.
    pub(super) fn events(&self) -> impl Stream<Item = Result<EventMessage, Cause>> + Send + use<> {
        let filters = HashMap::from([("type", vec!["container", "network"])]);
        let options = EventsOptionsBuilder::new().filters(&filters);
        self.docker.events(Some(options.build()))
    }

    /// The error of an event stream that has ended.
    pub(super) fn stream_error(&self, cause: Option<Cause>) -> EngineError {
        let ended = || "the stream of its events ended".to_owned();
        EngineError::Away {
            socket: self.socket.clone(),
            cause: cause.map_or_else(ended, |cause| chain(&cause)),
        }
    }

    /// Stops a container, and kills it when `grace` has passed. A stopped one stays so, whatever its restart policy.
    pub(super) async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let stopped = self.docker.stop_container(id, Some(options));
        self.call(grace + REMOVE, || format!("stop container {id}"), stopped)
            .await
    }

    /// Removes a container, running or not, and its anonymous volumes.
    pub(super) async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
        let removed = self.docker.remove_container(id, Some(options.build()));
        self.call(REMOVE, || format!("remove container {id}"), removed)
            .await
    }

    /// The networks of all Compose projects, or those of this name.
    pub(super) async fn networks(&self, filter: (&str, &str)) -> Result<Vec<Network>, EngineError> {
        let filters = HashMap::from([(filter.0, vec![filter.1])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let listed = self.docker.list_networks(Some(options));
        self.call(LOOK, || "list networks".to_owned(), listed).await
    }

    pub(super) async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        let removed = self.docker.remove_network(id);
        self.call(REMOVE, || format!("remove network {id}"), removed)
            .await
    }

    /// The names of the containers that have an endpoint in a network.
    pub(super) async fn endpoints(&self, network: &str) -> Result<Vec<String>, EngineError> {
        let looked = self.docker.inspect_network(network, None);
        let network = self
            .call(LOOK, || format!("look at network {network}"), looked)
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
        self.call(REMOVE, || format!("remove volume {name}"), removed)
            .await
    }

    pub(super) async fn remove_image(&self, id: &str) -> Result<(), EngineError> {
        let removed = self
            .docker
            .remove_image(id, None::<RemoveImageOptions>, None);
        self.call(REMOVE, || format!("remove image {id}"), removed)
            .await
            .map(|_| ())
    }

    async fn call<T>(
        &self,
        limit: Duration,
        action: impl FnOnce() -> String,
        answer: impl Future<Output = Result<T, Cause>>,
    ) -> Result<T, EngineError> {
        limited(&self.socket, limit, action, answer).await
    }
}

async fn limited<T>(
    socket: &Path,
    limit: Duration,
    action: impl FnOnce() -> String,
    answer: impl Future<Output = Result<T, Cause>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(cause)) => Err(error(socket, &action(), cause)),
        Err(_) => Err(EngineError::Away {
            socket: socket.to_owned(),
            cause: format!("no answer within {} s", limit.as_secs()),
        }),
    }
}

fn error(socket: &Path, action: &str, cause: Cause) -> EngineError {
    let away = |cause| EngineError::Away {
        socket: socket.to_owned(),
        cause,
    };
    let refused = |status, message| EngineError::Refused {
        action: action.to_owned(),
        status,
        message,
    };
    match cause {
        Cause::DockerResponseServerError {
            status_code,
            message,
        } => refused(status_code, message),
        Cause::SocketNotFoundError(_) => away("there is no such socket".to_owned()),
        Cause::IOError { .. }
        | Cause::HyperResponseError { .. }
        | Cause::HyperLegacyError { .. }
        | Cause::RequestTimeoutError => away(chain(&cause)),
        other => refused(0, chain(&other)),
    }
}

/// The innermost reason, which says most: `Permission denied (os error 13)`.
fn chain(error: &dyn Error) -> String {
    let mut text = String::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        text.clear();
        let _ = write!(text, "{error}");
        cause = error.source();
    }
    text
}
