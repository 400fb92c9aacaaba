//! Checks, before a controller serves, which other controllers answer.

use scuttle_nats::ConnectConfigError;
use scuttle_schemas::subjects::CONTROLLER_PING;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::observability::health::Health;
use crate::peers::instance::{Decision, Instance, ServingState, decide};
use crate::peers::presence::{Connections, Presence};
use crate::peers::query::ask;

/// The maximum number of queries. The query is repeated if a conflicting controller starts at the
/// same time, so that the other controller has time to decide.
const MAX_QUERIES: usize = 6;

/// Asks which other controllers answer, and decides whether this controller may serve. Returns the
/// presence to keep until this controller serves.
///
/// A controller that may not serve stays refused until the process shuts down, even if the other
/// controller stops: with its own record, this controller would show another swarm. Returns `None`
/// after the shutdown.
///
/// # Errors
/// If a server address is not valid.
pub async fn wait_until_allowed(
    own: &Instance,
    connections: Connections<'_>,
    health: &Health,
    shutdown: &CancellationToken,
) -> Result<Option<Presence>, ConnectConfigError> {
    let asking = async {
        let presence = Presence::start(own, connections).await?;
        let other = find_conflict(own, connections).await;
        let Some(other) = other else {
            return Ok(presence);
        };
        let reason = format!("refused to serve: {other} serves this swarm, or is about to");
        error!(
            "{reason}; this controller {}: stop the controller that is not needed, and then restart this one (docs/operations.md)",
            own.describe_record()
        );
        health.set_refused(reason);
        drop(presence);
        let _refused = Presence::start(&own.with_state(ServingState::Refused), connections).await?;
        std::future::pending().await
    };
    tokio::select! {
        allowed = asking => allowed.map(Some),
        () = shutdown.cancelled() => Ok(None),
    }
}

/// Returns the controller because of which this controller must not serve, or `None`.
async fn find_conflict(own: &Instance, connections: Connections<'_>) -> Option<Instance> {
    let mut is_heard = false;
    for question in 1..=MAX_QUERIES {
        let answers = ask(connections.client).await;
        is_heard |= answers.iter().any(|answer| answer.id == own.id);
        match decide(own, &answers) {
            Decision::Refuse(other) => return Some(other),
            // A lost connection or a denied permission: ask once more.
            Decision::Serve if !is_heard && question == 1 => {}
            Decision::Serve => break,
            Decision::AskAgain => {}
        }
    }
    if !is_heard {
        warn!(
            "cannot ask which other controllers serve this swarm: the controller's user needs the permission to publish on {CONTROLLER_PING}, as in nats.conf"
        );
    }
    None
}
