//! Inbound: one task for each endpoint, which reads requests and hands them to the engine. It never
//! waits for anything but the next message, so that no subscription falls behind: when the engine's
//! inbox has no room, the answer is `overloaded`.

use std::pin::pin;
use std::sync::Arc;

use async_nats::service::{Request, endpoint::Endpoint as Requests};
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use scuttle_core::Reply;
use scuttle_schemas::{ErrorCode, Refusal};
use uuid::Uuid;

use crate::audit::{Asked, Audit};
use crate::connection::Connected;
use crate::encoder::Encoder;
use crate::endpoint::{self, Endpoint, Rejected};
use crate::inbox::{Gone, Inbox, Room};
use crate::outbound;
use crate::shutdown::Shutdown;
use crate::tally::{Cause, Source, Tally};

/// When an overloaded controller may be asked again, in milliseconds: a full inbox is worked off
/// within this.
const RETRY_AFTER_MS: u64 = 500;

/// Bytes of refusals that are encoded into one piece of memory: there are few, and they are short.
const REFUSALS: usize = 4 << 10;

/// Whom an input comes from, and the room that it takes up until this is dropped.
#[derive(Debug)]
pub struct Requester {
    /// Who waits for the answer; nobody, where an agent only publishes.
    pub request: Option<(Endpoint, Request)>,
    /// What its line in the audit log needs, where it asks for a change.
    pub asked: Option<Box<Asked>>,
    _room: Room,
}

/// What all tasks share.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// For refusals.
    pub client: Client,
    /// Whether they can be sent.
    pub connected: Connected,
    /// The engine's inbox. Boxed, since thousands may wait.
    pub inbox: Inbox<Box<Requester>>,
    /// What is refused is written here, where it asked for a change.
    pub audit: Audit,
    /// What is refused is counted here.
    pub tally: Arc<Tally>,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Serves one endpoint: until the shutdown through the engine, after it with `shutting_down`.
pub async fn serve(endpoint: Endpoint, mut requests: Requests, inbound: Inbound) {
    let Inbound {
        client,
        mut connected,
        inbox,
        audit,
        tally,
        mut shutdown,
    } = inbound;
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
        let Err(refused) = submit(endpoint, request, inbox.as_ref(), &tally) else {
            continue;
        };
        let Refused {
            request,
            asked,
            refusal,
        } = *refused;
        let reply = Reply::Refused(refusal);
        audit.tell(asked.as_deref().map(|asked| (asked, &reply)), &tally);
        let mut answer = pin!(outbound::reply(
            &client,
            &mut encoder,
            &tally,
            (endpoint, request),
            &reply
        ));
        loop {
            tokio::select! {
                biased;
                () = &mut answer => break,
                // Whoever waited asks again.
                () = connected.lost() => break,
                // The engine ends when nobody holds its inbox, also while the server takes nothing.
                () = shutdown.begun(), if inbox.is_some() => inbox = None,
            }
        }
    }
}

/// A request that did not come to the engine.
struct Refused {
    request: Request,
    asked: Option<Box<Asked>>,
    refusal: Refusal,
}

/// Hands a request to the engine, or gives it back with the reason why not.
fn submit(
    endpoint: Endpoint,
    mut request: Request,
    inbox: Option<&Inbox<Box<Requester>>>,
    tally: &Tally,
) -> Result<(), Box<Refused>> {
    let length = request.message.payload.len();
    let read = endpoint.read(&request.message, Uuid::now_v7);
    let asked = Asked::of(endpoint, &request.message, read.as_ref().ok());
    let refuse = |request, asked, refusal| {
        Err(Box::new(Refused {
            request,
            asked,
            refusal,
        }))
    };
    let Some(inbox) = inbox else {
        return refuse(request, asked, shutting_down());
    };
    let counted = |Rejected { cause, refusal }: Rejected| {
        tally.count(Source::Endpoint(endpoint), cause, length, &refusal.message);
        refusal
    };
    let input = match read {
        Ok(input) => input,
        Err(why) => return refuse(request, asked, counted(why)),
    };
    // They are read, and would keep much memory waiting.
    request.message.payload = Bytes::new();
    request.message.headers = None;
    let Some(room) = inbox.room(&input, length) else {
        return refuse(request, asked, counted(overloaded()));
    };
    let requester = Requester {
        request: Some((endpoint, request)),
        asked,
        _room: room,
    };
    match inbox.send(input, Box::new(requester)) {
        Err((requester, Gone)) => match requester.request {
            Some((_, request)) => refuse(request, requester.asked, shutting_down()),
            None => Ok(()),
        },
        Ok(()) => Ok(()),
    }
}

/// Takes in what agents publish on their progress subjects. What cannot be read, or comes while there is no
/// room, is dropped: progress is a hint, the result counts.
pub async fn progress(mut messages: Subscriber, inbound: Inbound) {
    let Inbound {
        inbox,
        tally,
        mut shutdown,
        ..
    } = inbound;
    loop {
        let message = tokio::select! {
            biased;
            () = shutdown.begun() => return,
            message = messages.next() => message,
        };
        let Some(message) = message else { return };
        let length = message.payload.len();
        let taken = endpoint::read_progress(&message).and_then(|input| {
            let room = inbox.room(&input, length).ok_or_else(overloaded)?;
            let requester = Requester {
                request: None,
                asked: None,
                _room: room,
            };
            // An engine that is gone needs no hints.
            let _ = inbox.send(input, Box::new(requester));
            Ok(())
        });
        if let Err(Rejected { cause, refusal }) = taken {
            tally.count(Source::Progress, cause, length, &refusal.message);
        }
    }
}

fn overloaded() -> Rejected {
    let refusal = Refusal {
        retry_after_ms: Some(RETRY_AFTER_MS),
        ..Refusal::new(
            ErrorCode::Overloaded,
            "too much is waiting already: nothing was stored",
        )
    };
    Rejected {
        cause: Cause::Overloaded,
        refusal,
    }
}

fn shutting_down() -> Refusal {
    Refusal::new(
        ErrorCode::ShuttingDown,
        "the controller is stopping: ask again, its next start answers",
    )
}
