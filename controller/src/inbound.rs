//! Inbound: one task for each endpoint, which reads requests and hands them to the engine. It never
//! waits for anything but the next message, so that no subscription falls behind: when the engine's
//! inbox is full, the answer is `overloaded`.

use std::sync::mpsc::{SyncSender, TrySendError};

use async_nats::service::{Request, endpoint::Endpoint as Requests};
use async_nats::{Client, Subscriber};
use futures_util::StreamExt;
use scuttle_core::Reply;
use scuttle_schemas::{ErrorCode, Refusal};
use tracing::debug;
use uuid::Uuid;

use crate::encoder::Encoder;
use crate::endpoint::{self, Endpoint};
use crate::engine::Job;
use crate::outbound;
use crate::shutdown::Shutdown;

/// When an overloaded controller may be asked again, in milliseconds: a full inbox is worked off
/// within this.
const RETRY_AFTER_MS: u64 = 500;

/// Bytes of refusals that are encoded into one piece of memory: there are few, and they are short.
const REFUSALS: usize = 4 << 10;

/// A request on its way to the engine; boxed, since thousands may wait.
pub type Inbox = SyncSender<Job<Box<Request>>>;

/// Serves one endpoint: until the shutdown through the engine, after it with `shutting_down`.
pub async fn serve(
    endpoint: Endpoint,
    mut requests: Requests,
    client: Client,
    inbox: Inbox,
    mut shutdown: Shutdown,
) {
    let mut inbox = Some(inbox);
    let mut encoder = Encoder::new(REFUSALS);
    loop {
        let request = tokio::select! {
            biased;
            () = shutdown.begun(), if inbox.is_some() => {
                inbox = None;
                continue;
            }
            request = requests.next() => request,
        };
        let Some(request) = request else { return };
        if let Err((request, refusal)) = submit(endpoint, Box::new(request), inbox.as_ref()) {
            let message = &request.message;
            let (subject, length) = (message.subject.as_str(), message.payload.len());
            debug!(subject, length, code = ?refusal.code, "refused: {}", refusal.message);
            outbound::reply(&client, &mut encoder, *request, &Reply::Refused(refusal)).await;
        }
    }
}

/// Hands a request to the engine, or gives it back with the reason why not.
fn submit(
    endpoint: Endpoint,
    request: Box<Request>,
    inbox: Option<&Inbox>,
) -> Result<(), (Box<Request>, Refusal)> {
    let Some(inbox) = inbox else {
        return Err((request, shutting_down()));
    };
    let input = match endpoint.read(&request.message, Uuid::now_v7) {
        Ok(input) => input,
        Err(refusal) => return Err((request, refusal)),
    };
    match inbox.try_send(Job {
        input,
        requester: Some(request),
    }) {
        Err(TrySendError::Full(Job {
            requester: Some(request),
            ..
        })) => Err((request, overloaded())),
        Err(TrySendError::Disconnected(Job {
            requester: Some(request),
            ..
        })) => Err((request, shutting_down())),
        _ => Ok(()),
    }
}

/// Takes in what agents publish on their progress subjects. What cannot be read, or comes while the
/// inbox is full, is dropped: progress is a hint, the result counts.
pub async fn progress(mut messages: Subscriber, inbox: Inbox, mut shutdown: Shutdown) {
    loop {
        let message = tokio::select! {
            biased;
            () = shutdown.begun() => return,
            message = messages.next() => message,
        };
        let Some(message) = message else { return };
        match endpoint::read_progress(&message) {
            Ok(input) => drop(inbox.try_send(Job {
                input,
                requester: None,
            })),
            Err(refusal) => {
                let (subject, length) = (message.subject.as_str(), message.payload.len());
                debug!(subject, length, "ignored: {}", refusal.message);
            }
        }
    }
}

fn overloaded() -> Refusal {
    Refusal {
        retry_after_ms: Some(RETRY_AFTER_MS),
        ..Refusal::new(
            ErrorCode::Overloaded,
            "too much is waiting already: nothing was stored",
        )
    }
}

fn shutting_down() -> Refusal {
    Refusal::new(
        ErrorCode::ShuttingDown,
        "the controller is stopping: ask again, its next start answers",
    )
}
