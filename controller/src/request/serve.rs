//! The task of each endpoint: takes the requests, runs each through the pipeline, and replies to
//! the requests that do not reach the engine. Messages without a reply are handled in `published`.

use std::pin::pin;

use tokio::task::JoinSet;

use crate::nats::receivers::Messages;
use crate::outbound::replier::Replier;
use crate::request::name_claim;
use crate::request::pipeline::{Pipeline, Submitted};
use crate::request::respond::respond;

/// The size in bytes of a chunk for encoded error replies, which are few and short.
const ERRORS_CHUNK_SIZE: usize = 4 << 10;

/// Serves one endpoint until its subscription ends. Passes requests to the engine until the term
/// ends. After that, rejects them with an error that states why the term ended.
pub async fn serve_endpoint(mut requests: Messages, mut pipeline: Pipeline, replier: Replier) {
    let mut replier = replier.with_chunk_size(ERRORS_CHUNK_SIZE);
    let term = pipeline.intake.term.clone();
    let mut term_ended = pin!(term.ended());
    let mut claims = JoinSet::new();
    loop {
        let request = tokio::select! {
            biased;
            () = &mut term_ended, if pipeline.jobs.is_some() => {
                pipeline.jobs = None;
                continue;
            }
            request = requests.recv() => request,
            Some(_) = claims.join_next() => continue,
        };
        let Some(request) = request else { break };
        match pipeline.submit(request) {
            Submitted::Done => {}
            Submitted::NeedsNameClaim(context, input) => {
                let claiming =
                    name_claim::claim_name(pipeline.clone(), replier.clone(), context, input);
                claims.spawn(claiming);
            }
            Submitted::Reply(context, reply) => {
                respond(&mut replier, &mut pipeline, context, reply).await;
            }
        }
    }
    claims.join_all().await;
}
