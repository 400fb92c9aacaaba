//! Enrols the simulated hosts, as an operator would.

use std::time::Duration;

use crate::fleet::say;
use async_nats::Client;
use futures_util::{TryStreamExt, stream};
use scuttle_schemas::hosts::{EnrollAccepted, EnrollRequest};
use scuttle_schemas::{ErrorCode, ErrorReply, ErrorReplyBody, HostId, Labels, read, subjects};

/// The most enrolments that wait for their answer at the same time.
const CONCURRENT: usize = 64;
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// The wait before asking again.
const AGAIN: Duration = Duration::from_millis(500);

/// Why a host could not be enrolled, and asking again does not help.
#[derive(Debug, thiserror::Error)]
#[error("cannot enrol host {host}: {}; decommission the host that has its name or id, or use another --host-prefix", refusal.message)]
pub struct EnrollError {
    host: HostId,
    refusal: ErrorReply,
}

/// Enrols all hosts, each under its id as its name; those that are enrolled already stay so. Asks until the controller
/// answers.
///
/// # Errors
/// The controller refuses a host for good.
pub async fn enroll(client: &Client, hosts: &[HostId]) -> Result<(), EnrollError> {
    let mut waiting = false;
    loop {
        match ask(client, &hosts[0]).await? {
            Answer::Enrolled => break,
            Answer::NotNow(why) if !waiting => {
                waiting = true;
                say(&format!(
                    "waiting for the controller to enrol {}: {why}",
                    hosts[0]
                ));
            }
            Answer::NotNow(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
    stream::iter(hosts[1..].iter().map(Ok))
        .try_for_each_concurrent(CONCURRENT, async |host| {
            while let Answer::NotNow(_) = ask(client, host).await? {
                tokio::time::sleep(AGAIN).await;
            }
            Ok(())
        })
        .await
}

enum Answer {
    Enrolled,
    NotNow(String),
}

async fn ask(client: &Client, host: &HostId) -> Result<Answer, EnrollError> {
    let request = EnrollRequest {
        // A host's id is always a valid name.
        name: host
            .as_str()
            .parse()
            .expect("a host_uuid keeps the rule of names"),
        address: None,
        labels: Labels::default(),
        host_uuid: Some(host.clone()),
    };
    let payload = serde_json::to_vec(&request).expect("a request is plain data");
    let asked = client.request(subjects::HOSTS_ENROLL, payload.into());
    let message = match tokio::time::timeout(ANSWER, asked).await {
        Err(_) => return Ok(Answer::NotNow("it does not answer".to_owned())),
        Ok(Err(error)) => return Ok(Answer::NotNow(error.to_string())),
        Ok(Ok(message)) => message,
    };
    let Err(unreadable) = read::<EnrollAccepted>("enrolment's answer", &message.payload) else {
        return Ok(Answer::Enrolled);
    };
    match read::<ErrorReplyBody>("refusal", &message.payload) {
        Ok(ErrorReplyBody { error: refusal, .. }) => match refusal.code {
            ErrorCode::Overloaded
            | ErrorCode::StorageFailed
            | ErrorCode::ShuttingDown
            | ErrorCode::NotLeader => Ok(Answer::NotNow(refusal.message)),
            _ => Err(EnrollError {
                host: host.clone(),
                refusal,
            }),
        },
        Err(_) => Ok(Answer::NotNow(unreadable.to_string())),
    }
}
