//! Checks that the NATS server lets this program's user act for its host.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Event;
use scuttle_nats::{ConnectConfig, Credentials};
use scuttle_schemas::HostId;
use scuttle_schemas::subjects::AgentChannel;

/// The time after which the client has passed on all errors that the server sent before its last
/// reply.
const EVENT_DELAY: Duration = Duration::from_millis(100);

/// The error of a user that may not act for the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{login} cannot act for host {host}: the NATS server denies a subscription to {subject}; correct --host-uuid, or give the credentials that `scuttle enroll` created for this host"
)]
pub struct PermissionDenied {
    host: HostId,
    /// A description of the user.
    login: String,
    subject: String,
}

/// Connects and subscribes to the commands of `host`.
///
/// # Errors
/// If the server denies the subscription. A server that cannot be reached is no error.
pub async fn check_permissions(
    config: &ConnectConfig,
    host: &HostId,
) -> Result<(), PermissionDenied> {
    let subject = AgentChannel::Commands.subject(host);
    if is_subscription_denied(config, &subject).await != Some(true) {
        return Ok(());
    }
    Err(PermissionDenied {
        host: host.clone(),
        login: describe_login(&config.credentials),
        subject,
    })
}

/// Returns `None` if the server cannot be reached.
async fn is_subscription_denied(config: &ConnectConfig, subject: &str) -> Option<bool> {
    let denied: Arc<Mutex<bool>> = Arc::default();
    let observed = denied.clone();
    let quoted = format!("\"{subject}\"");
    let options = config.connect_options().ok()?;
    let options = options.event_callback(move |event| {
        if let Event::ServerError(error) = event {
            let error = error.to_string();
            if error.to_lowercase().contains("permissions violation") && error.contains(&quoted) {
                *observed.lock().unwrap_or_else(PoisonError::into_inner) = true;
            }
        }
        async {}
    });
    let client = options
        .connect(config.server_addresses().ok()?)
        .await
        .ok()?;
    let _subscriber = client.subscribe(subject.to_owned()).await.ok()?;
    client.flush().await.ok()?;
    tokio::time::sleep(EVENT_DELAY).await;
    Some(*denied.lock().unwrap_or_else(PoisonError::into_inner))
}

fn describe_login(credentials: &Credentials) -> String {
    match (credentials, credentials.user()) {
        (Credentials::File(path), Some(user)) => {
            format!("{user}, the user of the credentials in {},", path.display())
        }
        (_, Some(user)) => format!("the user {user}"),
        (_, None) => "the anonymous user".to_owned(),
    }
}
