//! Replies to requests that do not reach the engine. A blocked connection does not keep the engine
//! from ending. `outbound::replier` sends the replies.

use std::pin::pin;

use scuttle_core::Reply;

use crate::outbound::replier::Replier;
use crate::request::context::RequestContext;
use crate::request::pipeline::Pipeline;

/// Replies to a request that did not reach the engine. Drops the sender of jobs as soon as the term
/// ends, even while the NATS server does not take the reply, because the engine ends only when
/// every sender is dropped.
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
