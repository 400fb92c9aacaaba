//! Replies to requests that do not reach the engine. A reply that waits for a blocked connection
//! does not keep the engine running. `outbound::replier` sends the replies.

use std::pin::pin;

use scuttle_core::Reply;

use crate::outbound::replier::Replier;
use crate::request::context::RequestContext;
use crate::request::pipeline::Pipeline;

/// Replies to a request that did not reach the engine. If the term ends before the NATS server
/// takes the reply, drops the pipeline's sender for the engine's queue immediately, because the
/// engine ends only when every sender is dropped.
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
