//! The enrollment of a host if there are several partitions: the host's name is claimed before the
//! request goes to the engine. The claims themselves are in `partition::name_registry`.

use scuttle_core::{Input, Reply};
use scuttle_schemas::hosts::EnrollAccepted;

use crate::outbound::replier::Replier;
use crate::partition::name_registry::Claim;
use crate::request::context::RequestContext;
use crate::request::pipeline::{Pipeline, Submitted};
use crate::request::rejection::term_ended;
use crate::request::respond::respond;

/// Claims the name of the host to be enrolled, then hands the request to the engine. Replies
/// without the engine if an active host already has the name, the claim fails, or the term ends.
pub(super) async fn claim_name(
    mut pipeline: Pipeline,
    mut replier: Replier,
    mut context: Box<RequestContext>,
    mut input: Input,
) {
    let term = pipeline.intake.term.clone();
    let names = pipeline.intake.names.clone();
    let assignment = pipeline.intake.assignment;
    let claimed = async {
        let (Some(names), Input::Enroll { request, host }) = (names, &mut input) else {
            return Ok(None);
        };
        if request.host_uuid.is_none() {
            *host = assignment.new_host_id();
        }
        names.claim(request, host.clone()).await.map(Some)
    };
    let claimed = tokio::select! {
        biased;
        () = term.ended() => Err(term_ended(&term)),
        claimed = claimed => claimed,
    };
    let submitted = match claimed {
        Ok(Some(Claim::Taken(host))) => {
            let reply = Reply::Enroll(EnrollAccepted {
                accepted: true,
                host: *host,
                repeated: true,
            });
            Submitted::Reply(context, reply)
        }
        Ok(claim) => {
            context.name_claim = claim.and_then(Claim::granted);
            pipeline.submit_claimed(context, input)
        }
        Err(error) => Submitted::Reply(context, Reply::Rejected(error)),
    };
    if let Submitted::Reply(context, reply) = submitted {
        respond(&mut replier, &mut pipeline, context, reply).await;
    }
}
