//! The requests that give a host a name, if there are several partitions: the name is claimed
//! before the request goes to the engine. The claims themselves are in `partition::name_registry`.

use scuttle_core::{Input, Reply, State};
use scuttle_schemas::hosts::{EnrollAccepted, HostRecord};
use scuttle_schemas::{ErrorCode, ErrorReply, HostId, HostName};

use crate::outbound::replier::Replier;
use crate::partition::name_registry::Claim;
use crate::request::context::RequestContext;
use crate::request::pipeline::{Pipeline, Submitted};
use crate::request::rejection::term_ended;
use crate::request::respond::respond;

/// Claims the name of the host to be enrolled or renamed, then hands the request to the engine.
/// Replies without the engine if another active host already has the name, the claim fails, or the
/// term ends.
pub(super) async fn claim_name(
    mut pipeline: Pipeline,
    mut replier: Replier,
    mut context: Box<RequestContext>,
    mut input: Input,
) {
    let term = pipeline.intake.term.clone();
    let names = pipeline.intake.names.clone();
    let assignment = pipeline.intake.assignment;
    if let Input::Enroll { request, host } = &mut input
        && request.host_uuid.is_none()
    {
        *host = assignment.new_host_id();
    }
    let claimed = async {
        match (&names, find_name(&input)) {
            (Some(names), Some((name, host))) => names.claim(name, host).await.map(Some),
            _ => Ok(None),
        }
    };
    let claimed = tokio::select! {
        biased;
        () = term.ended() => Err(term_ended(&term)),
        claimed = claimed => claimed,
    };
    let submitted = match claimed {
        Ok(Some(Claim::Taken(owner))) => {
            let reply = reply_with_owner(&input, *owner);
            Submitted::Reply(context, reply.unwrap_or_else(Reply::Rejected))
        }
        Ok(Some(Claim::Granted(claim))) => {
            context.name_claim = Some(claim);
            pipeline.submit_claimed(context, input)
        }
        Ok(None) => pipeline.submit_claimed(context, input),
        Err(error) => Submitted::Reply(context, Reply::Rejected(error)),
    };
    if let Submitted::Reply(context, reply) = submitted {
        respond(&mut replier, &mut pipeline, context, reply).await;
    }
}

/// Returns the name that a request gives to a host, and the host.
fn find_name(input: &Input) -> Option<(&HostName, &HostId)> {
    match input {
        Input::Enroll { request, host } => {
            Some((&request.name, request.host_uuid.as_ref().unwrap_or(host)))
        }
        Input::UpdateHost(request) => Some((request.name.as_ref()?, &request.host_uuid)),
        _ => None,
    }
}

/// Returns the reply to a request for a name that belongs to another host, `owner`. Without a host
/// id, a request to enroll a host is a repeat.
fn reply_with_owner(input: &Input, owner: HostRecord) -> Result<Reply, ErrorReply> {
    match input {
        Input::Enroll { request, .. } if request.host_uuid.is_none() => {
            State::check_repeated_enrollment(request, &owner)?;
            Ok(Reply::Enroll(EnrollAccepted {
                accepted: true,
                host: owner,
                repeated: true,
            }))
        }
        _ => {
            let (name, id) = (owner.name, owner.host_uuid);
            Err(ErrorReply::new(
                ErrorCode::BadRequest,
                format!("the name {name} belongs to host {id}"),
            ))
        }
    }
}
