//! Checks, while a controller serves, which other controllers answer. A conflict is only reported,
//! because a controller that serves keeps serving.

use std::time::Duration;

use async_nats::Client;
use tracing::{error, info};

use crate::leadership::term::Term;
use crate::observability::health::Health;
use crate::peers::instance::{Instance, ServingState};
use crate::peers::query::ask;

/// The interval at which a controller asks which other controllers answer.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Asks periodically, until the term ends, and reports each change in the log and in `health`.
pub async fn watch_for_conflicts(own: Instance, client: Client, health: Health, term: Term) {
    let watching = async {
        let mut reported = None;
        loop {
            let answers = ask(&client).await;
            let conflict = describe_conflict(&own, &answers);
            // If this controller did not receive its own answer, others may be missing too.
            let is_complete = answers.iter().any(|answer| answer.id == own.id);
            if conflict != reported && (conflict.is_some() || is_complete) {
                if let Some(conflict) = &conflict {
                    error!(
                        "{conflict}; this controller {}: stop the controller that is not needed (docs/operations.md)",
                        own.describe_record()
                    );
                } else {
                    info!("the conflict with another controller has ended");
                }
                health.set_conflict(conflict.clone());
                reported = conflict;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = term.ended() => {}
    }
    health.set_conflict(None);
}

/// Describes the conflicting controllers that serve or have refused to serve. Returns `None` if
/// no controller conflicts.
fn describe_conflict(own: &Instance, answers: &[Instance]) -> Option<String> {
    let conflicting = answers
        .iter()
        .filter(|other| own.conflicts_with(other) && other.state != ServingState::Starting);
    let mut texts = conflicting.map(|other| match other.state {
        ServingState::Refused => format!("{other} (refused to serve)"),
        ServingState::Serving | ServingState::Starting => other.to_string(),
    });
    let first = texts.next()?;
    let all = texts.fold(first, |all, text| format!("{all}; {text}"));
    Some(format!(
        "a conflicting controller answers for this swarm: {all}"
    ))
}
