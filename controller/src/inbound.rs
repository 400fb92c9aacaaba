//! Inbound: one task for each endpoint, which reads requests and hands them to the engine. It never
//! waits for anything but the next message, so that no subscription falls behind: when the engine's
//! inbox has no room, the answer is `overloaded`. What is beyond a host's share is dropped before it is read, and
//! not answered, so that it costs next to nothing: an agent in order never comes to that, and would ask again.

use std::pin::pin;
use std::sync::Arc;

use async_nats::service::{Request, endpoint::Endpoint as Requests};
use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use scuttle_core::{Input, Reply};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{ErrorCode, OperationId, Refusal};
use scuttle_telemetry::Span;
use uuid::Uuid;

use crate::audit::{Asked, Audit};
use crate::connection::Connected;
use crate::encoder::Encoder;
use crate::endpoint::{self, Endpoint, Rejected};
use crate::inbox::{Full, Gone, Inbox, Room};
use crate::outbound;
use crate::shutdown::{End, Term};
use crate::spans;
use crate::tally::{About, Cause, Source, Tally};

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
    /// Its span, where it is traced.
    pub span: Option<Box<Span>>,
    /// Which operation it reports on.
    pub operation: Option<OperationId>,
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
    pub term: Term,
}

/// Serves one endpoint: until the term ends through the engine, after it by saying why it ended.
pub async fn serve(endpoint: Endpoint, mut requests: Requests, inbound: Inbound) {
    let Inbound {
        client,
        mut connected,
        inbox,
        audit,
        tally,
        mut term,
    } = inbound;
    let mut inbox = Some(inbox);
    let mut encoder = Encoder::new(REFUSALS);
    loop {
        let request = tokio::select! {
            biased;
            () = term.ended(), if inbox.is_some() => {
                inbox = None;
                continue;
            }
            request = requests.next() => request,
        };
        let Some(request) = request else { return };
        let Err(refused) = submit(endpoint, request, inbox.as_ref(), (&tally, &term)) else {
            continue;
        };
        let Refused {
            request,
            asked,
            mut span,
            refusal,
        } = *refused;
        let reply = Reply::Refused(refusal);
        tally.answers.count(endpoint, &reply);
        if let Some(span) = &mut span {
            spans::answered(span, asked.as_deref(), &reply, None);
        }
        audit.tell(asked.as_deref().map(|asked| (asked, &reply)), &tally);
        let mut answer = pin!(outbound::reply(
            &client,
            &mut encoder,
            &tally,
            (endpoint, request),
            None,
            &reply
        ));
        loop {
            tokio::select! {
                biased;
                () = &mut answer => break,
                // Whoever waited asks again.
                () = connected.lost() => break,
                // The engine ends when nobody holds its inbox, also while the server takes nothing.
                () = term.ended(), if inbox.is_some() => inbox = None,
            }
        }
    }
}

/// A request that did not come to the engine.
struct Refused {
    request: Request,
    asked: Option<Box<Asked>>,
    span: Option<Box<Span>>,
    refusal: Refusal,
}

/// Hands a request to the engine, or gives it back with the reason why not. Drops a report beyond its host's share.
fn submit(
    endpoint: Endpoint,
    mut request: Request,
    inbox: Option<&Inbox<Box<Requester>>>,
    (tally, term): (&Tally, &Term),
) -> Result<(), Box<Refused>> {
    let length = request.message.payload.len();
    let source = Source::Endpoint(endpoint);
    let refuse = |request: Request, (asked, span), refusal| {
        Err(Box::new(Refused {
            request,
            asked,
            span,
            refusal,
        }))
    };
    // Whose report it is, as its subject has it.
    let counted = |request: &Request, Rejected { cause, refusal }: Rejected| {
        let about = About::host(endpoint.channel(), &request.message.subject);
        tally.count_about(&about, source, cause, length, &refusal.message);
        refusal
    };
    let mut room = None;
    if let Some((inbox, channel)) = inbox.zip(endpoint.channel()) {
        match report_room(inbox, channel, &request.message, (tally, source)) {
            Ok(taken) => room = Some(taken),
            Err(Full::Share) => return Ok(()),
            Err(Full::Room) => {
                let refusal = counted(&request, overloaded());
                return refuse(request, (None, None), refusal);
            }
        }
    }
    let mut read = endpoint.read(&request.message, Uuid::now_v7);
    let asked = Asked::of(endpoint, &request.message, read.as_ref().ok());
    let span = spans::begin(endpoint, &request.message, asked.as_deref(), &mut read);
    let Some(inbox) = inbox else {
        return refuse(request, (asked, span), over(term));
    };
    let input = match read {
        Ok(input) => input,
        Err(why) => {
            let refusal = counted(&request, why);
            return refuse(request, (asked, span), refusal);
        }
    };
    let operation = match &input {
        Input::Result { result, .. } => Some(result.operation_id),
        _ => None,
    };
    // They are read, and would keep much memory waiting.
    request.message.payload = Bytes::new();
    request.message.headers = None;
    let Some(room) = room.or_else(|| inbox.room(&input, length)) else {
        let refusal = counted(&request, overloaded());
        return refuse(request, (asked, span), refusal);
    };
    let requester = Requester {
        request: Some((endpoint, request)),
        asked,
        span,
        operation,
        _room: room,
    };
    match inbox.send(input, Box::new(requester)) {
        Err((requester, Gone)) => match requester.request {
            Some((_, request)) => refuse(request, (requester.asked, requester.span), over(term)),
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
        mut term,
        ..
    } = inbound;
    loop {
        let message = tokio::select! {
            biased;
            () = term.ended() => return,
            message = messages.next() => message,
        };
        let Some(message) = message else { return };
        let length = message.payload.len();
        let source = Source::Progress;
        let room = match report_room(&inbox, AgentChannel::Progress, &message, (&tally, source)) {
            Ok(room) => Ok(room),
            Err(Full::Share) => continue,
            Err(Full::Room) => Err(overloaded()),
        };
        let taken = room.and_then(|room| {
            let input = endpoint::read_progress(&message)?;
            let requester = Requester {
                request: None,
                asked: None,
                span: None,
                operation: None,
                _room: room,
            };
            // An engine that is gone needs no hints.
            let _ = inbox.send(input, Box::new(requester));
            Ok(())
        });
        if let Err(Rejected { cause, refusal }) = taken {
            let about = About::host(Some(AgentChannel::Progress), &message.subject);
            tally.count_about(&about, source, cause, length, &refusal.message);
        }
    }
}

/// Room for a report, by its subject alone. What is beyond its host's share is counted here, and the host named once:
/// its credentials are what an operator takes away.
fn report_room<R>(
    inbox: &Inbox<R>,
    channel: AgentChannel,
    message: &Message,
    (tally, source): (&Tally, Source),
) -> Result<Room, Full> {
    let host = channel.host_text(&message.subject).unwrap_or_default();
    let length = message.payload.len();
    let room = inbox.report_room(host, length);
    if matches!(room, Err(Full::Share)) {
        let about = About::host(Some(channel), &message.subject);
        let what = "the host sends too much, which is dropped unread";
        tally.count_about(&about, source, Cause::Share, length, what);
    }
    room
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

/// What is said of whatever comes when the term has ended.
fn over(term: &Term) -> Refusal {
    term.end().unwrap_or(End::Shutdown).refusal()
}
