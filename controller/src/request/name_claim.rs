//! The requests that give a host a name, if there are several partitions: the name and the id are
//! claimed before the request goes to the engine. The claims themselves are in
//! `partition::name_registry`.

use scuttle_core::{HostIdentity, Input, Reply, State};
use scuttle_schemas::ErrorReply;
use scuttle_schemas::hosts::{EnrollAccepted, HostRecord};

use crate::outbound::replier::Replier;
use crate::partition::name_registry::Claim;
use crate::request::context::RequestContext;
use crate::request::pipeline::{Pipeline, Submitted};
use crate::request::rejection::{retry_later, term_ended};
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
        match (&names, find_identity(&input)) {
            (Some(names), Some(host)) => {
                let (name, id) = (host.name.as_str(), host.id.as_str());
                let identifiers: &[&str] = match &input {
                    Input::Enroll { .. } if name != id => &[name, id],
                    // A host that is renamed keeps its id.
                    _ => &[name],
                };
                names.claim(identifiers, host.id).await.map(Some)
            }
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

/// Returns the name that a request gives to a host, and the host's id.
fn find_identity(input: &Input) -> Option<HostIdentity<'_>> {
    let (name, id) = match input {
        Input::Enroll { request, host } => {
            (&request.name, request.host_uuid.as_ref().unwrap_or(host))
        }
        Input::UpdateHost(request) => (request.name.as_ref()?, &request.host_uuid),
        _ => return None,
    };
    Some(HostIdentity { name, id })
}

/// Returns the reply to a request for a name or id that belongs to another host, `owner`. Without a
/// host id, a request to enroll a host with the owner's name is a repeat.
fn reply_with_owner(input: &Input, owner: HostRecord) -> Result<Reply, ErrorReply> {
    if let Input::Enroll { request, .. } = input
        && request.host_uuid.is_none()
        && request.name == owner.name
    {
        State::check_repeated_enrollment(request, &owner)?;
        return Ok(Reply::Enroll(EnrollAccepted {
            accepted: true,
            host: owner,
            repeated: true,
        }));
    }
    if let Some(host) = find_identity(input) {
        host.check_distinct_from((&owner).into())?;
    }
    let owner = HostIdentity::from(&owner);
    Err(retry_later(format!(
        "{owner} was being renamed: repeat the request"
    )))
}
