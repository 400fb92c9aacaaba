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
use scuttle_schemas::hosts::EnrollAccepted;
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{ErrorCode, ErrorReply, OperationId};
use scuttle_telemetry::Span;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::admission::capacity::{Full, Gone, Inbox, Room};
use crate::leadership::term::{StopReason, Term};
use crate::nats::connection::Connected;
use crate::observability::audit::{Audit, AuditSubject};
use crate::observability::counters::{About, Cause, Counters, Source};
use crate::observability::spans;
use crate::outbound::encoder::Encoder;
use crate::outbound::publisher;
use crate::partition::assignment::PartitionAssignment;
use crate::partition::name_registry::{Claim, Enrolling, Names};
use crate::request::endpoint::{self, Endpoint, Rejected};

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
    pub asked: Option<Box<AuditSubject>>,
    /// Its span, where it is traced.
    pub span: Option<Box<Span>>,
    /// Which operation it reports on.
    pub operation: Option<OperationId>,
    _room: Room,
    _enrolling: Option<Enrolling>,
}

impl Requester {
    /// Nobody waits for an answer.
    fn nobody(room: Room) -> Self {
        Self {
            request: None,
            asked: None,
            span: None,
            operation: None,
            _room: room,
            _enrolling: None,
        }
    }
}

/// What all tasks share.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// The engine's inbox, which ends when nobody has this any more. Boxed, since thousands may wait.
    pub inbox: Inbox<Box<Requester>>,
    /// What else they need.
    pub desk: Desk,
}

/// What is needed to look at requests, and to answer those that do not come to the engine.
#[derive(Debug, Clone)]
pub struct Desk {
    /// For refusals.
    pub client: Client,
    /// Whether they can be sent.
    pub connected: Connected,
    /// What is refused is written here, where it asked for a change.
    pub audit: Audit,
    /// What is refused is counted here.
    pub counters: Arc<Counters>,
    /// When to stop.
    pub term: Term,
    /// Which hosts are its own.
    pub assignment: PartitionAssignment,
    /// Where the hosts' names are claimed, if others have hosts, too.
    pub names: Option<Names>,
}

/// Serves one endpoint: until the term ends through the engine, after it by saying why it ended.
pub async fn serve(endpoint: Endpoint, mut requests: Requests, inbound: Inbound) {
    let Inbound { inbox, mut desk } = inbound;
    let (mut term, mut inbox) = (desk.term.clone(), Some(inbox));
    let mut encoder = Encoder::new(REFUSALS);
    let mut claims = JoinSet::new();
    loop {
        let request = tokio::select! {
            biased;
            () = term.ended(), if inbox.is_some() => {
                inbox = None;
                continue;
            }
            request = requests.next() => request,
            Some(_) = claims.join_next() => continue,
        };
        let Some(request) = request else { break };
        match submit(endpoint, request, inbox.as_ref(), &desk) {
            Submitted::Done => {}
            Submitted::Unclaimed(heard, inbox) => {
                claims.spawn(claim(endpoint, *heard, inbox, desk.clone()));
            }
            Submitted::Unheard(unheard) => {
                let unheard = (endpoint, *unheard);
                desk.answer(&mut encoder, unheard, &mut inbox).await;
            }
        }
    }
    claims.join_all().await;
}

/// A request, read.
struct Heard {
    request: Request,
    asked: Option<Box<AuditSubject>>,
    span: Option<Box<Span>>,
    input: Input,
    room: Room,
}

/// A request that did not come to the engine, and its answer.
struct Unheard {
    request: Request,
    asked: Option<Box<AuditSubject>>,
    span: Option<Box<Span>>,
    reply: Reply,
}

/// What became of a request.
enum Submitted {
    /// The engine has it, or nobody answers it here.
    Done,
    /// It is to be answered without the engine.
    Unheard(Box<Unheard>),
    /// The name that it gives a host is to be claimed first.
    Unclaimed(Box<Heard>, Inbox<Box<Requester>>),
}

impl Desk {
    /// Answers what did not come to the engine; lets go of its inbox when the term ends.
    async fn answer(
        &mut self,
        encoder: &mut Encoder,
        (endpoint, unheard): (Endpoint, Unheard),
        inbox: &mut Option<Inbox<Box<Requester>>>,
    ) {
        let Unheard {
            request,
            asked,
            mut span,
            reply,
        } = unheard;
        let counters = &self.counters;
        if publisher::is_counted(&request) {
            counters.answers.count(endpoint, &reply);
        }
        if let Some(span) = &mut span {
            spans::finish_request(span, asked.as_deref(), &reply, None);
        }
        self.audit
            .record_replies(asked.as_deref().map(|asked| (asked, &reply)), counters);
        let (client, asked) = (&self.client, (endpoint, request));
        let mut answer = pin!(publisher::reply(
            client, encoder, counters, asked, None, &reply
        ));
        loop {
            tokio::select! {
                biased;
                () = &mut answer => break,
                // Whoever waited asks again.
                () = self.connected.lost() => break,
                // The engine ends when nobody holds its inbox, also while the server takes nothing.
                () = self.term.ended(), if inbox.is_some() => *inbox = None,
            }
        }
    }
}

/// Hands a request to the engine, or says what else is to be done with it. Drops a report beyond its host's share, and what another
/// partition's leader takes.
fn submit(
    endpoint: Endpoint,
    mut request: Request,
    inbox: Option<&Inbox<Box<Requester>>>,
    desk: &Desk,
) -> Submitted {
    let (counters, term, assignment) = (&desk.counters, &desk.term, desk.assignment);
    let length = request.message.payload.len();
    let source = Source::Endpoint(endpoint);
    let refuse = |request: Request, (asked, span), refusal| {
        Submitted::Unheard(Box::new(Unheard {
            request,
            asked,
            span,
            reply: Reply::Rejected(refusal),
        }))
    };
    // Whose report it is, as its subject has it.
    let counted = |request: &Request, Rejected { cause, refusal }: Rejected| {
        let about = About::host(endpoint.channel(), &request.message.subject);
        counters.count_about(&about, source, cause, length, &refusal.message);
        refusal
    };
    if let Some(channel) = endpoint.channel()
        && !assignment.owns_subject(channel, &request.message.subject)
    {
        return Submitted::Done;
    }
    let mut room = None;
    if let Some((inbox, channel)) = inbox.zip(endpoint.channel()) {
        match report_room(inbox, channel, &request.message, (counters, source)) {
            Ok(taken) => room = Some(taken),
            Err(Full::Share) => return Submitted::Done,
            Err(Full::Room) => {
                let refusal = counted(&request, overloaded());
                return refuse(request, (None, None), refusal);
            }
        }
    }
    let unread = match endpoint {
        Endpoint::Teardown => assignment.owns_payload(&request.message.payload),
        // Whose report it is, its subject has said.
        _ => endpoint.channel().map(|_| true),
    };
    if unread == Some(false) {
        return Submitted::Done;
    }
    let mut read = endpoint.read(&request.message, Uuid::now_v7);
    if unread.is_none() && !assignment.owns_request(&read) {
        return Submitted::Done;
    }
    let asked = AuditSubject::new(endpoint, &request.message, read.as_ref().ok());
    let span = spans::start_request(endpoint, &request.message, asked.as_deref(), &mut read);
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
    // They are read, and would keep much memory waiting.
    request.message.payload = Bytes::new();
    request.message.headers = None;
    let Some(room) = room.or_else(|| inbox.room(&input, length)) else {
        let refusal = counted(&request, overloaded());
        return refuse(request, (asked, span), refusal);
    };
    if let (Some(names), Input::HostsList(list)) = (&desk.names, &input)
        && let Some(refusal) = list
            .host_uuid
            .as_ref()
            .and_then(|host| names.is_unsaid(host))
    {
        return refuse(request, (asked, span), refusal);
    }
    let heard = Heard {
        request,
        asked,
        span,
        input: assignment.make_linearizable(input),
        room,
    };
    if desk.names.is_some() && matches!(heard.input, Input::Enroll { .. }) {
        return Submitted::Unclaimed(Box::new(heard), inbox.clone());
    }
    match hand(endpoint, heard, None, inbox, term) {
        Ok(()) => Submitted::Done,
        Err(unheard) => Submitted::Unheard(unheard),
    }
}

/// Hands a request to the engine, or gives it back if that is gone.
fn hand(
    endpoint: Endpoint,
    heard: Heard,
    enrolling: Option<Enrolling>,
    inbox: &Inbox<Box<Requester>>,
    term: &Term,
) -> Result<(), Box<Unheard>> {
    let operation = match &heard.input {
        Input::Result { result, .. } => Some(result.operation_id),
        _ => None,
    };
    let requester = Requester {
        request: Some((endpoint, heard.request)),
        asked: heard.asked,
        span: heard.span,
        operation,
        _room: heard.room,
        _enrolling: enrolling,
    };
    let sent = inbox.send(heard.input, Box::new(requester));
    sent.or_else(|(requester, Gone)| match requester.request {
        Some((_, request)) => Err(Box::new(Unheard {
            request,
            asked: requester.asked,
            span: requester.span,
            reply: Reply::Rejected(over(term)),
        })),
        None => Ok(()),
    })
}

/// Claims the name of a host that is to be enrolled; then hands it to the engine.
async fn claim(endpoint: Endpoint, mut heard: Heard, inbox: Inbox<Box<Requester>>, mut desk: Desk) {
    let (names, assignment, mut term) = (desk.names.clone(), desk.assignment, desk.term.clone());
    let mut encoder = Encoder::new(REFUSALS);
    let claimed = async {
        let (Some(names), Input::Enroll { request, host }) = (names, &mut heard.input) else {
            return Ok(None);
        };
        if request.host_uuid.is_none() {
            *host = assignment.new_host_id();
        }
        names.claim(request, host.clone()).await.map(Some)
    };
    let claimed = tokio::select! {
        biased;
        () = term.ended() => Err(over(&term)),
        claimed = claimed => claimed,
    };
    let reply = match claimed {
        Ok(Some(Claim::Held(host))) => Reply::Enroll(EnrollAccepted {
            accepted: true,
            host: *host,
            repeated: true,
        }),
        Ok(claim) => {
            let enrolling = claim.and_then(Claim::granted);
            if let Err(unheard) = hand(endpoint, heard, enrolling, &inbox, &term) {
                let unheard = (endpoint, *unheard);
                desk.answer(&mut encoder, unheard, &mut Some(inbox)).await;
            }
            return;
        }
        Err(refusal) => Reply::Rejected(refusal),
    };
    let unheard = Unheard {
        request: heard.request,
        asked: heard.asked,
        span: heard.span,
        reply,
    };
    let unheard = (endpoint, unheard);
    desk.answer(&mut encoder, unheard, &mut Some(inbox)).await;
}

/// Takes in what the leaders of other partitions tell. What finds no room is dropped: a subscriber lists anew where a revision is
/// missing.
pub async fn told(messages: Subscriber, inbound: Inbound) {
    let Inbound { inbox, desk } = inbound;
    let (of, counters) = (desk.assignment.of, desk.counters);
    until_over(messages, desk.term, |message| {
        let length = message.payload.len();
        let taken = endpoint::decode_relay(&message, of).and_then(|input| {
            let room = inbox.room(&input, length).ok_or_else(overloaded)?;
            // An engine that is gone tells nobody.
            let _ = inbox.send(input, Box::new(Requester::nobody(room)));
            Ok(())
        });
        if let Err(Rejected { cause, refusal }) = taken {
            counters.count(Source::Relays, cause, length, &refusal.message);
        }
    })
    .await;
}

/// Takes in what agents publish on their progress subjects. What cannot be read, or comes while there is no
/// room, is dropped: progress is a hint, the result counts.
pub async fn progress(messages: Subscriber, inbound: Inbound) {
    let Inbound { inbox, desk } = inbound;
    let (assignment, counters) = (desk.assignment, desk.counters);
    until_over(messages, desk.term, |message| {
        if !assignment.owns_subject(AgentChannel::Progress, &message.subject) {
            return;
        }
        let length = message.payload.len();
        let source = Source::Progress;
        let room = match report_room(
            &inbox,
            AgentChannel::Progress,
            &message,
            (&counters, source),
        ) {
            Ok(room) => Ok(room),
            Err(Full::Share) => return,
            Err(Full::Room) => Err(overloaded()),
        };
        let taken = room.and_then(|room| {
            let input = endpoint::decode_progress(&message)?;
            // An engine that is gone needs no hints.
            let _ = inbox.send(input, Box::new(Requester::nobody(room)));
            Ok(())
        });
        if let Err(Rejected { cause, refusal }) = taken {
            let about = About::host(Some(AgentChannel::Progress), &message.subject);
            counters.count_about(&about, source, cause, length, &refusal.message);
        }
    })
    .await;
}

/// Takes what is published, which nobody answers, until the term ends.
async fn until_over(mut messages: Subscriber, mut term: Term, mut take: impl FnMut(Message)) {
    loop {
        tokio::select! {
            biased;
            () = term.ended() => return,
            message = messages.next() => match message {
                Some(message) => take(message),
                None => return,
            },
        }
    }
}

/// Room for a report, by its subject alone. What is beyond its host's share is counted here, and the host named once:
/// its credentials are what an operator takes away.
fn report_room<R>(
    inbox: &Inbox<R>,
    channel: AgentChannel,
    message: &Message,
    (counters, source): (&Counters, Source),
) -> Result<Room, Full> {
    let host = channel.host_token(&message.subject).unwrap_or_default();
    let length = message.payload.len();
    let room = inbox.report_room(host, length);
    if matches!(room, Err(Full::Share)) {
        let about = About::host(Some(channel), &message.subject);
        let what = "the host sends too much, which is dropped unread";
        counters.count_about(&about, source, Cause::RateLimited, length, what);
    }
    room
}

pub(crate) fn overloaded() -> Rejected {
    Rejected {
        cause: Cause::Overloaded,
        refusal: later("too much is waiting already: nothing was stored"),
    }
}

/// It is not done now, and may be asked for again soon.
pub(crate) fn later(why: impl Into<String>) -> ErrorReply {
    ErrorReply {
        retry_after_ms: Some(RETRY_AFTER_MS),
        ..ErrorReply::new(ErrorCode::Overloaded, why)
    }
}

/// What is said of whatever comes when the term has ended.
fn over(term: &Term) -> ErrorReply {
    term.end().unwrap_or(StopReason::Shutdown).refusal()
}
