//! Enrolls the simulated hosts, as an operator would.

use std::time::Duration;

use async_nats::Client;
use futures_util::{TryStreamExt, stream};
use scuttle_schemas::hosts::{EnrollAccepted, EnrollRequest};
use scuttle_schemas::{ErrorCode, ErrorReply, ErrorReplyBody, HostId, read, subjects};

use crate::output::print_line;

/// The maximum number of concurrent enrollments.
const MAX_CONCURRENT: usize = 64;
/// The maximum time to wait for the reply to an enrollment.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The delay before an enrollment is retried.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// A rejected enrollment that a retry cannot fix, such as an enrollment under a name that another
/// host already has.
#[derive(Debug, thiserror::Error)]
#[error("cannot enroll host {host}: {}; decommission the host that has its name or id, or use another --host-prefix", error.message)]
pub struct EnrollError {
    host: HostId,
    error: ErrorReply,
}

/// Enrolls all hosts, each with its id as its name. Does not change hosts that are already
/// enrolled. Retries until the controller has accepted every host. `hosts` must not be empty.
///
/// # Errors
/// If the controller rejects a host for a reason that a retry does not fix.
pub async fn enroll_hosts(client: &Client, hosts: &[HostId]) -> Result<(), EnrollError> {
    let mut waiting = false;
    loop {
        match try_enroll(client, &hosts[0]).await? {
            Outcome::Enrolled => break,
            Outcome::Retry(reason) if !waiting => {
                waiting = true;
                print_line(&format!(
                    "waiting for the controller to enroll {}: {reason}",
                    hosts[0]
                ));
            }
            Outcome::Retry(_) => {}
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
    stream::iter(hosts[1..].iter().map(Ok))
        .try_for_each_concurrent(MAX_CONCURRENT, async |host| {
            while let Outcome::Retry(_) = try_enroll(client, host).await? {
                tokio::time::sleep(RETRY_DELAY).await;
            }
            Ok(())
        })
        .await
}

enum Outcome {
    Enrolled,
    Retry(String),
}

async fn try_enroll(client: &Client, host: &HostId) -> Result<Outcome, EnrollError> {
    let enrollment = EnrollRequest {
        name: host
            .as_str()
            .parse()
            .expect("every host_uuid is a valid name"),
        address: None,
        labels: None,
        host_uuid: Some(host.clone()),
    };
    let payload = serde_json::to_vec(&enrollment).expect("the request can be serialized");
    let request = client.request(subjects::HOSTS_ENROLL, payload.into());
    let message = match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Err(_) => return Ok(Outcome::Retry("no reply".to_owned())),
        Ok(Err(error)) => return Ok(Outcome::Retry(error.to_string())),
        Ok(Ok(message)) => message,
    };
    let Err(unreadable) = read::<EnrollAccepted>("enrollment reply", &message.payload) else {
        return Ok(Outcome::Enrolled);
    };
    match read::<ErrorReplyBody>("error reply", &message.payload) {
        Ok(ErrorReplyBody { error, .. }) => match error.code {
            ErrorCode::Overloaded
            | ErrorCode::StorageFailed
            | ErrorCode::ShuttingDown
            | ErrorCode::NotLeader => Ok(Outcome::Retry(error.message)),
            _ => Err(EnrollError {
                host: host.clone(),
                error,
            }),
        },
        Err(_) => Ok(Outcome::Retry(unreadable.to_string())),
    }
}
