//! Messages without a reply: the progress that agents publish, and the broadcasts that the leaders
//! of other partitions send to be relayed.

use scuttle_nats::receiver::Delivery;
use scuttle_schemas::subjects::AgentChannel;

use crate::engine::Job;
use crate::leadership::term::Term;
use crate::nats::receivers::Messages;
use crate::observability::counters::{Cause, Ignored, Source};
use crate::request::context::RequestContext;
use crate::request::decode::{decode_progress, decode_relay, malformed};
use crate::request::pipeline::{Intake, JobSender, Report};
use crate::request::rejection::Rejection;

/// Passes the broadcasts of other partitions' leaders to the engine, until the term ends. Drops
/// broadcasts that are invalid or exceed the capacity: a subscriber that misses a revision lists
/// the records again.
pub async fn serve_relays(messages: Messages, intake: Intake, jobs: JobSender) {
    for_each_until_ended(messages, &intake.term, |Delivery { message, .. }| {
        let length = message.payload.len();
        let take = || -> Result<(), Rejection> {
            let input = decode_relay(&message, intake.assignment.partitions)?;
            let permit = intake.capacity.admit(&input, length);
            let mut context = RequestContext::new(Source::Relays);
            context.permit = Some(permit.map_err(|_| Rejection::overloaded())?);
            // The send fails only after the engine has ended. Then nothing is published.
            let _ = jobs.try_send(Job {
                input,
                context: Some(Box::new(context)),
            });
            Ok(())
        };
        if let Err(rejection) = take() {
            let ignored = |cause| Ignored::new(Source::Relays, cause, length);
            count_rejection(&intake, &rejection, ignored);
        }
    })
    .await;
}

/// Passes the progress reports of agents to the engine, until the term ends. Drops reports that
/// cannot be decoded, or that exceed the capacity or the host's rate limit, because only the result
/// of an operation matters.
pub async fn serve_progress(messages: Messages, intake: Intake, jobs: JobSender) {
    for_each_until_ended(messages, &intake.term, |delivery| {
        let message = delivery.message;
        let host = AgentChannel::Progress.host_token(&message.subject);
        if !intake.assignment.owns_subject_host(host) {
            return;
        }
        let source = Source::Progress;
        let take = || -> Result<(), Rejection> {
            let report = Report {
                source,
                host,
                message: &message,
            };
            let mut context = RequestContext::new(source);
            context.permit = Some(intake.admit_report(&report)?);
            if let Some(reason) = delivery.malformed {
                intake.suspect_host(host, Some(&jobs));
                return Err(malformed(reason).into());
            }
            let input = decode_progress(&message, host)?;
            // The send fails only after the engine has ended. Then no progress is needed.
            let _ = jobs.try_send(Job {
                input,
                context: Some(Box::new(context)),
            });
            Ok(())
        };
        if let Err(rejection) = take() {
            let length = message.payload.len();
            let ignored = |cause| Ignored::new(source, cause, length).with_host(host);
            count_rejection(&intake, &rejection, ignored);
        }
    })
    .await;
}

fn count_rejection<'a>(
    intake: &Intake,
    rejection: &Rejection,
    to_ignored: impl FnOnce(Cause) -> Ignored<'a>,
) {
    if let Rejection::Reply {
        cause: Some(cause),
        error,
    } = rejection
    {
        (intake.counters).count_ignored(&to_ignored(*cause), &error.message);
    }
}

/// Calls `take` for each message until the term or the subscription ends.
async fn for_each_until_ended(mut messages: Messages, term: &Term, mut take: impl FnMut(Delivery)) {
    let mut term_ended = std::pin::pin!(term.ended());
    loop {
        tokio::select! {
            biased;
            () = &mut term_ended => return,
            message = messages.recv() => match message {
                Some(message) => take(message),
                None => return,
            },
        }
    }
}
