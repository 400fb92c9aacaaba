//! Checks that the NATS server gives this program's user the permissions of a controller.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Event;
use scuttle_nats::ConnectConfig;
use scuttle_schemas::subjects::{self, AgentChannel};

use crate::nats::connection::CLIENT_NAME;
use crate::request::endpoint::Endpoint;

/// The time after which the client has passed on all errors that the server sent before its last
/// reply.
const EVENT_DELAY: Duration = Duration::from_millis(100);

/// The role that the permissions of a user show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Operator,
    Viewer,
    /// An agent, or a user that has no permissions of Scuttle.
    AgentOrOther,
}

impl Role {
    fn describe(self) -> &'static str {
        match self {
            Self::Operator => "an operator",
            Self::Viewer => "a viewer",
            Self::AgentOrOther => "an agent or of another program",
        }
    }
}

/// Connects and tries the permissions of a controller. Returns the reason why this user cannot be a
/// controller, or `None` if the user can, or if the server cannot be reached.
pub async fn find_missing_permissions(access: &ConnectConfig) -> Option<String> {
    let (options, servers) = (
        access.connect_options().ok()?,
        access.server_addresses().ok()?,
    );
    let errors: Arc<Mutex<Vec<String>>> = Arc::default();
    let collected = errors.clone();
    let options = options.name(CLIENT_NAME).event_callback(move |event| {
        if let Event::ServerError(error) = event {
            let mut errors = collected.lock().unwrap_or_else(PoisonError::into_inner);
            errors.push(error.to_string());
        }
        async {}
    });
    let client = options.connect(servers).await.ok()?;
    for subject in required_subjects() {
        // The server reads both commands at once, so no request is lost to this subscription.
        let mut subscriber = client.subscribe(subject).await.ok()?;
        subscriber.unsubscribe().await.ok()?;
    }
    for subject in [subjects::SERVER_INFO, subjects::CONTROLLER_PING] {
        client.publish(subject, "".into()).await.ok()?;
    }
    client.flush().await.ok()?;
    tokio::time::sleep(EVENT_DELAY).await;
    let errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
    let user = access.credentials.user();
    describe_missing(user.as_deref().unwrap_or("the anonymous user"), &errors)
}

/// Returns the subjects to which every controller subscribes.
fn required_subjects() -> impl Iterator<Item = String> {
    let progress = AgentChannel::Progress.wildcard_subject();
    let endpoints = Endpoint::ALL.into_iter().map(Endpoint::subject);
    endpoints.chain([progress])
}

/// Returns the reason why `user` cannot be a controller, or `None` if the server has denied no
/// required subscription. `errors` are the server's errors.
fn describe_missing(user: &str, errors: &[String]) -> Option<String> {
    let is_denied = |subject: &str| {
        let quoted = format!("\"{subject}\"");
        let denials = errors.iter().filter(|error| is_denial(error));
        denials.into_iter().any(|error| error.contains(&quoted))
    };
    let mut denied = required_subjects().filter(|subject| is_denied(subject));
    let first = denied.next()?;
    let others = denied.count();
    if others + 1 < required_subjects().count() {
        let others = if others == 0 {
            String::new()
        } else {
            format!(" and {others} more")
        };
        return Some(format!(
            "{user} lacks permissions of a controller: the NATS server denies subscriptions to {first}{others}; give {user} the permissions of the controller in nats.conf"
        ));
    }
    let role = match (
        is_denied(subjects::SERVER_INFO),
        is_denied(subjects::CONTROLLER_PING),
    ) {
        (false, _) => Role::Operator,
        (true, false) => Role::Viewer,
        (true, true) => Role::AgentOrOther,
    };
    Some(format!(
        "{user} has the permissions of {}, not of a controller; give the controller's credentials (--creds FILE, or SCUTTLE_NATS_USER and SCUTTLE_NATS_PASSWORD)",
        role.describe()
    ))
}

fn is_denial(error: &str) -> bool {
    error.to_lowercase().contains("permissions violation")
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::subjects;

    use super::{describe_missing, required_subjects};

    fn denials<'s>(subjects: impl IntoIterator<Item = &'s str>) -> Vec<String> {
        let denial =
            |subject| format!("nats: Permissions Violation for Subscription to \"{subject}\"");
        subjects.into_iter().map(denial).collect()
    }

    #[test]
    fn the_denied_subjects_show_the_role_of_the_credentials() {
        let required: Vec<_> = required_subjects().collect();
        let all = || required.iter().map(String::as_str);
        for (publishes, role) in [
            (&[][..], "an operator"),
            (&[subjects::SERVER_INFO], "a viewer"),
            (
                &[subjects::SERVER_INFO, subjects::CONTROLLER_PING],
                "an agent",
            ),
        ] {
            let errors = denials(all().chain(publishes.iter().copied()));
            let reason = describe_missing("vera", &errors).expect("permissions are missing");
            assert!(
                reason.starts_with("vera has") && reason.contains(role),
                "{reason}"
            );
        }
    }

    #[test]
    fn a_user_with_some_permissions_of_a_controller_is_not_one() {
        let reason = describe_missing("c", &denials([subjects::TEARDOWN])).expect("denied");
        assert!(
            reason.contains(&format!("subscriptions to {};", subjects::TEARDOWN)),
            "{reason}"
        );
    }

    #[test]
    fn a_controller_of_an_earlier_version_and_another_error_are_accepted() {
        let errors = denials([subjects::CONTROLLER_PING, subjects::SERVER_INFO]);
        assert_eq!(describe_missing("c", &errors), None);
        let other = [format!("\"{}\" is slow", subjects::TEARDOWN)];
        assert_eq!(describe_missing("c", &other), None);
    }
}
