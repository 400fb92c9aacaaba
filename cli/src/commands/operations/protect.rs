//! `scuttle protect` and `scuttle unprotect`: protect a decky or a host from teardowns, and lift
//! that protection.

use clap::Args;
use scuttle_schemas::protection::{ProtectAccepted, ProtectRequest};
use scuttle_schemas::{DeckyId, subjects};

use crate::client::connection::ConnectionArgs;
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::client::teardown::Target;
use crate::commands::shell::candidates;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::json_types::Protection;
use crate::output::message::print_line;

/// Protect a decky, or a whole host, from teardowns.
///
/// A teardown of a protected decky, or of a host with a protected decky, is rejected unless it has
/// --override-protection. Without --decky, the host and all its deckies are protected, including
/// those that are deployed later. A teardown that is already open continues.
///
/// The protection of a decky ends when the decky is gone, and that of a host when the host is
/// decommissioned.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle protect worker-a --decky decky-03 --reason 'evidence of case 7'
  scuttle protect worker-a")]
pub(crate) struct Protect {
    #[command(flatten)]
    target: TargetArgs,
}

/// Lift the protection of a decky, or of a whole host.
///
/// This lifts only what `scuttle protect` has set for the same target. A decky with the label
/// scuttle.protected=true stays protected, and so does a decky on a protected host.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle unprotect worker-a --decky decky-03
  scuttle unprotect worker-a --reason 'case 7 is closed'")]
pub(crate) struct Unprotect {
    #[command(flatten)]
    target: TargetArgs,
}

/// The flags that both commands share.
#[derive(Debug, Args)]
struct TargetArgs {
    /// Host name or ID.
    #[arg(add = candidates::complete_hosts())]
    host: String,
    /// Only this decky, instead of the whole host.
    #[arg(long, value_name = "DECKY", add = candidates::complete_deckies())]
    decky: Option<DeckyId>,
    /// Reason to record in the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    nats: ConnectionArgs,
}

impl Protect {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        set_protection(self.target, true, format).await
    }
}

impl Unprotect {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        set_protection(self.target, false, format).await
    }
}

async fn set_protection(
    target: TargetArgs,
    protected: bool,
    format: Format,
) -> Result<(), Failure> {
    let client = Client::connect(&target.nats.resolve()?).await?;
    let host = lists::resolve_host(&client, &target.host).await?;
    let request = ProtectRequest {
        host_uuid: host.host_uuid.clone(),
        decky_id: target.decky.clone(),
        protected,
        reason: target.reason,
    };
    let accepted: ProtectAccepted = client.request(subjects::SHARDS_PROTECT, &request).await?;
    print_line(format!("Swarm: {}.", client.swarm()));
    let described = Target {
        host_uuid: host.host_uuid.clone(),
        host_name: host.name.clone(),
        decky_id: target.decky.clone(),
    };
    let result = Protection {
        host_uuid: host.host_uuid,
        host_name: host.name,
        decky_id: target.decky,
        protected: accepted.protected,
    };
    format.write_one(&result, || match (protected, accepted.protected) {
        (true, _) => format!("{described}: protected."),
        (false, false) => format!("{described}: no longer protected."),
        (false, true) => format!(
            "{described}: still protected, by its label scuttle.protected=true or because its host \
             is protected."
        ),
    })
}
