//! The path of a request to the engine, in six stages:
//!
//! 1. `classify`: does the subject or the raw payload already show whether the request belongs to
//!    this partition?
//! 2. `rate_limit`: is the reporting host within its rate limit, and is there capacity for its
//!    report?
//! 3. `decode`: what does the request contain?
//! 4. `route`: does the decoded request belong to this partition?
//! 5. `admit`: is there capacity for the request?
//! 6. `enqueue`: hand the input to the engine.
//!
//! A stage that does not pass the request on returns a [`Rejection`]. No stage waits, so that no
//! subscription falls behind. Requests that the first two stages drop cost next to nothing, because
//! they are not decoded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

use async_nats::Message;
use scuttle_core::{Input, Reply};
use scuttle_nats::receiver::{Delivery, MalformedMessage};
use scuttle_schemas::{HostId, subjects};
use uuid::Uuid;

use crate::admission::capacity::{AdmissionError, Capacity, Permit};
use crate::admission::quarantine::Quarantine;
use crate::engine::Job;
use crate::leadership::term::Term;
use crate::observability::counters::{Cause, Counters, Ignored, Source};
use crate::partition::assignment::PartitionAssignment;
use crate::partition::name_registry::NameRegistry;
use crate::request::context::RequestContext;
use crate::request::decode::{RequestHead, malformed, parse_host};
use crate::request::endpoint::Endpoint;
use crate::request::rejection::{Rejection, term_ended};

/// A sender for the engine's queue. The engine ends when every sender is dropped. Contexts are
/// boxed to keep the entries of the queue small, because thousands may wait.
pub type JobSender = SyncSender<Job<Box<RequestContext>>>;

/// The resources of the stages, shared by all subscriptions of a leader.
#[derive(Debug, Clone)]
pub struct Intake {
    pub capacity: Capacity,
    pub counters: Arc<Counters>,
    /// The hosts whose reports are dropped.
    pub quarantine: Quarantine,
    /// Whether any request so far came from another account. Always false on a server without
    /// accounts.
    pub from_accounts: Arc<AtomicBool>,
    /// The leader's term. After it has ended, every request is rejected.
    pub term: Term,
    /// The assignment that determines which hosts belong to this partition.
    pub assignment: PartitionAssignment,
    /// The registry in which host names are claimed. `None` if this partition is the only one.
    pub names: Option<NameRegistry>,
}

/// The stages of one endpoint.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub endpoint: Endpoint,
    pub intake: Intake,
    /// The engine's queue. `None` after the term has ended.
    pub jobs: Option<JobSender>,
}

/// The result of [`Pipeline::submit`].
#[derive(Debug)]
pub enum Submitted {
    /// A request that was handed to the engine or dropped. Nothing is left to do.
    Done,
    /// A reply that the caller must send. The engine has not received the request.
    Reply(Box<RequestContext>, Reply),
    /// A request to enroll or rename a host. The caller must claim the host's name before the input
    /// goes to the engine.
    NeedsNameClaim(Box<RequestContext>, Input),
}

/// The result of stage 1, `classify`.
struct Classified<'m> {
    /// The token of the subject that names the reporting host. `None` if the endpoint takes no
    /// reports.
    host: Option<&'m str>,
    /// Whether the request is known to belong to this partition. If not, stage 4, `route`, decides.
    is_owned: bool,
}

impl Pipeline {
    /// Runs a request through all stages.
    pub fn submit(&self, delivery: Delivery) -> Submitted {
        let Delivery {
            mut message,
            malformed,
        } = delivery;
        let source = Source::Endpoint(self.endpoint);
        let mut context = RequestContext::new(source);
        let outcome = match self.run_stages(&message, malformed, &mut context) {
            Err(Rejection::Drop) => return Submitted::Done,
            Err(Rejection::Reply { cause, error }) => Err((cause, error)),
            Ok(input) => Ok(input),
        };
        // The payload and headers have been decoded, and would take much memory while the request
        // waits.
        let payload_len = std::mem::take(&mut message.payload).len();
        message.headers = None;
        if let Err((Some(cause), error)) = &outcome {
            let ignored = Ignored::new(source, *cause, payload_len)
                .with_subject(self.endpoint.channel(), &message.subject);
            self.intake.counters.count_ignored(&ignored, &error.message);
        }
        context.request = Some(message);
        let context = Box::new(context);
        match outcome {
            Ok(input) => self.claim_or_enqueue(context, input),
            Err((_, error)) => Submitted::Reply(context, Reply::Rejected(error)),
        }
    }

    /// Runs stages 1 to 5, which decide whether a request may go to the engine.
    fn run_stages(
        &self,
        message: &Message,
        malformed: Option<MalformedMessage>,
        context: &mut RequestContext,
    ) -> Result<Input, Rejection> {
        let classified = self.classify(message)?;
        context.permit = self.rate_limit(message, &classified)?;
        if malformed.is_some() {
            (self.intake).suspect_host(classified.host, self.jobs.as_ref());
        }
        let from_accounts = self.intake.note_account(message);
        let mut head = RequestHead::new(self.endpoint, message, classified.host, from_accounts);
        let mut input = self.decode(&mut head, malformed, &classified, context)?;
        self.route(&mut head, &classified, context, &mut input)?;
        self.admit(message, context, &input)?;
        Ok(input)
    }

    /// Stage 1. Drops a request if its subject or raw payload already shows that it belongs to
    /// another partition.
    fn classify<'m>(&self, message: &'m Message) -> Result<Classified<'m>, Rejection> {
        let assignment = self.intake.assignment;
        let host = parse_host(self.endpoint, message);
        let is_owned = match self.endpoint {
            Endpoint::AgentHeartbeat | Endpoint::AgentResults => {
                Some(assignment.owns_subject_host(host))
            }
            Endpoint::Teardown => assignment.owns_payload(&message.payload),
            Endpoint::TeardownHost => {
                let target = subjects::host_teardown_token(&message.subject);
                Some(assignment.owns_subject_host(target))
            }
            _ => None,
        };
        match is_owned {
            Some(false) => Err(Rejection::Drop),
            is_owned => Ok(Classified {
                host,
                is_owned: is_owned.is_some(),
            }),
        }
    }

    /// Stage 2. Takes a permit for a report, so that reports beyond the capacity are not decoded.
    /// Drops a report from a host that is over its rate limit. Returns `None` for other requests,
    /// and after the term has ended.
    fn rate_limit(
        &self,
        message: &Message,
        classified: &Classified<'_>,
    ) -> Result<Option<Permit>, Rejection> {
        if self.endpoint.channel().is_none() || self.jobs.is_none() {
            return Ok(None);
        }
        let source = Source::Endpoint(self.endpoint);
        let report = Report {
            source,
            host: classified.host,
            message,
        };
        self.intake.admit_report(&report).map(Some)
    }

    /// Stage 3. Decodes the request. If the partition of an undecodable request is unknown, the
    /// first partition rejects the request, and all other partitions drop it.
    fn decode(
        &self,
        head: &mut RequestHead<'_>,
        malformed_by: Option<MalformedMessage>,
        classified: &Classified<'_>,
        context: &mut RequestContext,
    ) -> Result<Input, Rejection> {
        let decoded = match malformed_by {
            Some(reason) => Err(malformed(reason)),
            None => head.decode(Uuid::now_v7),
        };
        decoded.map_err(|error| {
            // A request that cannot be decoded names no host, and belongs to the first partition.
            if !classified.is_owned && !self.intake.assignment.is_first() {
                return Rejection::Drop;
            }
            context.describe(head, None);
            // After the term has ended, every request gets the same error.
            let open = self.require_open().map(|_| error.into());
            open.unwrap_or_else(|ended| ended)
        })
    }

    /// Stage 4. Drops a request of another partition, and describes any other request in its
    /// context.
    fn route(
        &self,
        head: &mut RequestHead<'_>,
        classified: &Classified<'_>,
        context: &mut RequestContext,
        input: &mut Input,
    ) -> Result<(), Rejection> {
        if !classified.is_owned && !self.intake.assignment.owns_input(input) {
            return Err(Rejection::Drop);
        }
        context.describe(head, Some(input));
        Ok(())
    }

    /// Stage 5. Takes a permit for a request that has none yet.
    fn admit(
        &self,
        message: &Message,
        context: &mut RequestContext,
        input: &Input,
    ) -> Result<(), Rejection> {
        self.require_open()?;
        if context.permit.is_none() {
            let permit = self.intake.capacity.admit(input, message.payload.len());
            context.permit = Some(permit.map_err(|_| Rejection::overloaded())?);
        }
        Ok(())
    }

    /// Runs stage 6, with two exceptions if there are several partitions:
    ///
    /// - A request to enroll or rename a host first needs a claim on the host's name, which is left
    ///   to the caller.
    /// - A list request for a host that is being enrolled or renamed is rejected.
    fn claim_or_enqueue(&self, context: Box<RequestContext>, input: Input) -> Submitted {
        if let Some(names) = &self.intake.names {
            if let Input::HostsList(list) = &input
                && let Some(error) =
                    (list.host_uuid.as_ref()).and_then(|host| names.reject_while_claiming(host))
            {
                return Submitted::Reply(context, Reply::Rejected(error));
            }
            if gives_name(&input) {
                return Submitted::NeedsNameClaim(context, input);
            }
        }
        self.submit_claimed(context, input)
    }

    /// Runs stage 6 for a request that needs no claim on a host's name, or already has the claim.
    pub(super) fn submit_claimed(&self, context: Box<RequestContext>, input: Input) -> Submitted {
        let mut waiting = Some(context);
        match (self.enqueue(&mut waiting, input), waiting) {
            (Err(Rejection::Reply { error, .. }), Some(context)) => {
                Submitted::Reply(context, Reply::Rejected(error))
            }
            _ => Submitted::Done,
        }
    }

    /// Stage 6. Hands the input and its context to the engine. Leaves the context in place if the
    /// term or the engine has ended.
    fn enqueue(
        &self,
        context: &mut Option<Box<RequestContext>>,
        input: Input,
    ) -> Result<(), Rejection> {
        let jobs = self.require_open()?;
        if let (Some(context), Input::Result { result, .. }) = (context.as_mut(), &input) {
            context.operation_id = Some(result.operation_id);
        }
        let job = Job {
            input: self.intake.assignment.make_linearizable(input),
            context: context.take(),
        };
        jobs.try_send(job).map_err(|unsent| {
            // Never full: the queue is as long as there are permits.
            let (TrySendError::Disconnected(job) | TrySendError::Full(job)) = unsent;
            *context = job.context;
            Rejection::from(term_ended(&self.intake.term))
        })
    }

    /// Returns the engine's queue, or the rejection for a request that arrives after the term has
    /// ended.
    fn require_open(&self) -> Result<&JobSender, Rejection> {
        let ended = || term_ended(&self.intake.term).into();
        self.jobs.as_ref().ok_or_else(ended)
    }
}

/// Returns whether a request gives a host a name, which must be claimed if there are several
/// partitions.
fn gives_name(input: &Input) -> bool {
    match input {
        Input::Enroll { .. } => true,
        Input::UpdateHost(request) => request.name.is_some(),
        _ => false,
    }
}

/// A report whose payload has not been decoded.
pub(super) struct Report<'m> {
    pub(super) source: Source,
    /// The token of the subject that names the host.
    pub(super) host: Option<&'m str>,
    pub(super) message: &'m Message,
}

impl Intake {
    /// Returns whether this or an earlier request has come from another account. The NATS server
    /// marks such a request with a reply subject that no client can use.
    fn note_account(&self, message: &Message) -> bool {
        let reply = message.reply.as_deref();
        if reply.is_some_and(subjects::is_cross_account_reply) {
            self.from_accounts.store(true, Ordering::Relaxed);
        }
        self.from_accounts.load(Ordering::Relaxed)
    }

    /// Takes a permit for a report. Drops and counts a report of a quarantined host, or over its
    /// host's rate limit, and logs the first such report with its host, because an operator may
    /// have to revoke the host's credentials.
    pub(super) fn admit_report(&self, report: &Report<'_>) -> Result<Permit, Rejection> {
        let length = report.message.payload.len();
        if self.quarantine.contains(report.host) {
            let ignored =
                Ignored::new(report.source, Cause::Quarantined, length).with_host(report.host);
            (self.counters).count_ignored(&ignored, "the report is dropped unread");
            return Err(Rejection::Drop);
        }
        let admitted = (self.capacity).admit_report(report.host.unwrap_or_default(), length);
        admitted.map_err(|error| match error {
            AdmissionError::Overloaded => Rejection::overloaded(),
            AdmissionError::RateLimited => {
                let ignored =
                    Ignored::new(report.source, Cause::RateLimited, length).with_host(report.host);
                let detail = "the host sends too many reports; excess reports are dropped";
                self.counters.count_ignored(&ignored, detail);
                Rejection::Drop
            }
        })
    }
    /// Counts a malformed message of a host, and quarantines a host that sends too many of them. If
    /// the controller has no free capacity, or the host is not enrolled yet, nothing happens, and a
    /// later malformed message starts the quarantine.
    pub(super) fn suspect_host(&self, host: Option<&str>, jobs: Option<&JobSender>) {
        let host: Option<HostId> = host.and_then(|host| host.parse().ok());
        let (Some(host), Some(jobs)) = (host, jobs) else {
            return;
        };
        if !self.quarantine.count_malformed(&host, Instant::now()) {
            return;
        }
        let input = Input::Quarantine { host };
        if let Ok(permit) = self.capacity.admit(&input, 0) {
            let mut context = RequestContext::new(Source::Progress);
            context.permit = Some(permit);
            // The send fails only after the engine has ended. Then nothing more is read.
            let _ = jobs.try_send(Job {
                input,
                context: Some(Box::new(context)),
            });
        }
    }
}
