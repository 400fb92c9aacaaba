//! Replies to requests that do not reach the engine, such that a blocked connection does not keep
//! the engine from ending. How a reply is sent is in `outbound::replier`.

use std::pin::pin;

use scuttle_core::Reply;

use crate::outbound::replier::Replier;
use crate::request::context::RequestContext;
use crate::request::pipeline::Pipeline;

/// Replies to a request that did not reach the engine. Drops the sender of jobs when the term ends,
/// since the engine ends when every sender is gone: also while the NATS server does not take the
/// reply.
pub(super) async fn respond(
    replier: &mut Replier,
    pipeline: &mut Pipeline,
    context: Box<RequestContext>,
    reply: Reply,
) {
    let (term, jobs) = (&pipeline.intake.term, &mut pipeline.jobs);
    let mut response = pin!(replier.respond(context, reply));
    let mut term_ended = pin!(term.ended());
    loop {
        tokio::select! {
            biased;
            () = &mut response => break,
            () = &mut term_ended, if jobs.is_some() => *jobs = None,
        }
    }
}
