//! Checks that the server requires a login, that its accounts name the sender of each request to
//! the controller, and that no reply can reach a broadcast subject.

use std::time::Duration;

use async_nats::{ConnectError, ConnectErrorKind};
use futures_util::StreamExt;
use scuttle_nats::Credentials;
use scuttle_schemas::headers::UNKNOWN_REQUESTER;
use scuttle_schemas::subjects::{
    CONTROLLER_PING, DiscoveryVerb, HOSTS_UPDATED, METADATA_REQUESTER,
};
use serde_json::Value;
use tokio::time::timeout;

use super::findings::Findings;
use crate::client::connection::Connection;
use crate::client::controllers::ControllerInfo;
use crate::client::nats_client::Client;

/// The maximum time for a connection without a login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The time for which a reply on a broadcast subject is awaited.
const REPLY_TIMEOUT: Duration = Duration::from_millis(500);

/// Tries to connect without a login, and adds a failure if the server accepts that.
pub(super) async fn check_authentication(connection: &Connection, findings: &mut Findings) {
    let check = "authentication";
    let mut config = connection.config.clone();
    config.credentials = Credentials::Anonymous;
    let (Ok(servers), Ok(options)) = (config.server_addresses(), config.connect_options()) else {
        return findings.skip(&[check], "the settings of the connection are invalid");
    };
    match timeout(CONNECT_TIMEOUT, options.connect(servers)).await {
        Ok(Ok(_)) => findings.fail(
            check,
            1,
            "the server accepts clients without a login: anyone who reaches it can read, change and impersonate everything",
            "start the server with the configuration of `scuttle init`, or with nats.conf",
        ),
        Ok(Err(error)) if is_rejected_login(&error) => {
            findings.ok(check, "the server rejects clients without a login");
        }
        Ok(Err(error)) => {
            findings.skip(&[check], &format!("cannot connect without a login: {error}"));
        }
        Err(_) => findings.skip(&[check], "the server did not answer a connection without a login"),
    }
}

fn is_rejected_login(error: &ConnectError) -> bool {
    matches!(
        error.kind(),
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication
    )
}

/// Checks that the server names the sender of each request to the controllers, and that it diverts
/// replies that a client directs to a broadcast subject. Skips the check if no controller answers.
pub(super) async fn check_accounts(
    client: &Client,
    controllers: &[ControllerInfo],
    findings: &mut Findings,
) {
    let check = "accounts";
    let mut requesters = controllers.iter().map(|one| one.value(METADATA_REQUESTER));
    let Some(requester) = requesters.find_map(|requester| requester) else {
        return findings.skip(&[check], "no controller reports the sender of a request");
    };
    if requester == UNKNOWN_REQUESTER {
        findings.fail(
            check,
            1,
            "the server does not name the sender of a request to the controller: operations get `requested_by: unknown`",
            "import the requests from the controller's account with `share: true`, as nats.conf and `scuttle init` do",
        );
    } else if can_forge_broadcasts(client).await {
        findings.fail(
            check,
            1,
            "a reply can be directed to a broadcast subject: any user of this account can forge broadcasts",
            "add the mappings of the broadcast subjects to this account, as nats.conf and `scuttle init` do",
        );
    } else {
        let found = format!("the controller attributes these requests to {requester}");
        findings.ok(check, found);
    }
}

/// Returns whether the reply to a request appears on a broadcast subject if the request names that
/// subject as its reply subject. Watchers ignore such a reply.
async fn can_forge_broadcasts(client: &Client) -> bool {
    let Ok(mut broadcasts) = client.subscribe(HOSTS_UPDATED).await else {
        return false;
    };
    let nats = client.nats();
    let asked = nats.publish_with_reply(CONTROLLER_PING, HOSTS_UPDATED, "".into());
    let forged = async {
        while let Some(message) = broadcasts.next().await {
            let message = serde_json::from_slice::<Value>(&message.payload);
            if message.is_ok_and(|message| message["type"] == DiscoveryVerb::Ping.reply_type()) {
                return true;
            }
        }
        false
    };
    asked.await.is_ok() && timeout(REPLY_TIMEOUT, forged).await == Ok(true)
}
