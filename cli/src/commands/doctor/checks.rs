//! The checks of the server, the login, the permissions, the controller and the clocks.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use scuttle_nats::hint;
use scuttle_schemas::operations::OperationsUpdated;
use scuttle_schemas::subjects::METADATA_NO_PAGE;
use scuttle_schemas::{ErrorCode, MIN_MAX_PAYLOAD, read, subjects};
use tokio::time::{Instant, timeout};

use super::accounts::{check_accounts, check_authentication};
use super::agents::check_agents;
use super::durability::{check_durability, describe_missing_majority, query_servers};
use super::findings::Findings;
use super::journal::check_journal;
use super::record::check_record;
use crate::client::client_error::{ClientError, format_hosts};
use crate::client::connection::Connection;
use crate::client::controllers::{ControllerInfo, list_controllers};
use crate::client::lists;
use crate::client::nats_client::{Client, wait_until_denied};
use crate::client::teardown::{TeardownPermission, query_teardown_permission};
use crate::clock;
use crate::output::style;

/// The maximum time to wait for a broadcast. The controller sends a message on each broadcast
/// subject at least every 5 s.
const BROADCAST_TIMEOUT: Duration = Duration::from_secs(8);

/// The maximum time to wait for the server to deny a subscription. A subscription that is not
/// denied within this time counts as allowed.
const DENIAL_TIMEOUT: Duration = Duration::from_millis(500);

/// The major and minor version of the oldest supported NATS server.
const MIN_SERVER_VERSION: (i64, i64) = (2, 10);

/// The maximum acceptable difference between this machine's clock and the controller's, in
/// milliseconds. A larger difference would distort deadlines, which are displayed relative to this
/// machine's clock.
const MAX_CLOCK_SKEW_MS: i64 = 2000;

/// Connects to the server, runs all checks, and adds their results to `findings`.
pub(super) async fn run_checks(connection: &Connection, findings: &mut Findings) {
    let started = Instant::now();
    let client = match Client::connect(connection).await {
        Ok(client) => client,
        Err(error) => return report_connect_error(&error, findings),
    };
    let elapsed = started.elapsed().as_millis();
    let server = client.nats().server_info();
    findings.ok(
        "server",
        format!("connected to {} in {elapsed} ms", connection.config.url),
    );
    let version = &server.version;
    if is_supported_version(version) {
        findings.ok("version", format!("nats-server {version}"));
    } else {
        findings.fail(
            "version",
            1,
            format!("nats-server {version} is not supported"),
            "install nats-server 2.10 or newer",
        );
    }
    let max_payload = client.nats().max_payload();
    if max_payload < MIN_MAX_PAYLOAD {
        findings.fail(
            "payload",
            1,
            format!(
                "the NATS server accepts messages of at most {max_payload} bytes, and controllers \
                 and agents need {MIN_MAX_PAYLOAD}"
            ),
            "set `max_payload: 1MB` in the server's configuration, and restart the server",
        );
    }
    let user = client.user();
    findings.ok("login", format!("logged in as {user}"));
    findings.wait_for("authentication", "a connection without a login");
    check_authentication(connection, findings).await;
    findings.wait_for("permissions", "the controller and the server");
    let listed = check_permissions(&client, findings).await;
    findings.wait_for("controller", "the controllers");
    let (controllers, servers) = tokio::join!(list_controllers(&client), query_servers(&client));
    let missing_majority = servers.as_deref().and_then(describe_missing_majority);
    let answers = check_controller(&controllers, listed, missing_majority, findings);
    check_record(&controllers, findings);
    check_page(&controllers, findings);
    check_journal(&controllers, findings);
    if !answers {
        findings.skip(&["accounts", "agents"], "no controller answers");
        check_durability(servers.as_deref(), &client, findings);
        findings.skip(&["clock"], "there is no controller to compare with");
        return;
    }
    let remaining = async {
        findings.wait_for("accounts", "a reply on a broadcast subject");
        check_accounts(&client, &controllers, findings).await;
        findings.wait_for("agents", "the list of hosts");
        check_agents(&client, &controllers, findings).await;
        check_durability(servers.as_deref(), &client, findings);
        findings.wait_for("clock", "a broadcast of the controller");
    };
    // The controller repeats broadcasts every few seconds, so the wait starts early.
    let ((), skew) = tokio::join!(remaining, measure_clock_skew(&client));
    report_clock(skew, findings);
}

fn report_connect_error(error: &ClientError, findings: &mut Findings) {
    let rest = [
        "authentication",
        "permissions",
        "controller",
        "record",
        "journal",
        "accounts",
        "durability",
        "clock",
    ];
    match error {
        ClientError::LoginRejected { url, user, .. } => {
            findings.ok("server", format!("{url} answers"));
            findings.skip(
                &["version"],
                "the server reports its version after the login",
            );
            findings.fail(
                "login",
                4,
                format!("the server rejected the login of {user}"),
                "give a user and password, or --creds FILE; `scuttle user add` creates a user on the machine with the bus directory",
            );
        }
        error => {
            let (found, to_do) = match error {
                ClientError::Unreachable { url, cause, .. } => {
                    (format!("cannot connect to {url}: {cause}"), hint(cause))
                }
                other => (other.to_string(), "correct that, and run the command again"),
            };
            findings.fail("server", 1, found, to_do);
            findings.skip(&["version", "login"], "there is no connection");
        }
    }
    findings.skip(&rest, "there is no connection");
}

/// Returns whether this version of the NATS server is new enough. A version that cannot be parsed
/// counts as new enough.
fn is_supported_version(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<i64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= MIN_SERVER_VERSION,
        _ => true,
    }
}

/// Checks which subscriptions and requests the login allows. Returns the result of listing the
/// hosts, which `check_controller` uses.
async fn check_permissions(client: &Client, findings: &mut Findings) -> Result<(), ClientError> {
    let denied = subjects::BROADCASTS.map(|subject| is_subscription_denied(client, subject));
    let denied = subjects::BROADCASTS.iter().zip(join_all(denied).await);
    let denied: Vec<_> = denied
        .filter_map(|(subject, denied)| denied.then_some(*subject))
        .collect();
    let listed = lists::list_hosts(client).await.map(|_| ());
    let may_list = !matches!(listed, Err(ClientError::PermissionDenied { .. }));
    let may_change = query_teardown_permission(client).await;
    let user = client.user();
    match (may_list, may_change) {
        (false, _) => findings.fail(
            "permissions",
            4,
            format!("{user} may not list hosts"),
            "use the login of an operator or a viewer (see nats.conf and `scuttle user add`)",
        ),
        (true, _) if !denied.is_empty() => findings.fail(
            "permissions",
            4,
            format!("{user} may list, but not subscribe to {}", denied.join(", ")),
            "allow those subscriptions: without them, --wait polls only now and then, and watch shows no changes",
        ),
        (true, Ok(TeardownPermission::AllHosts)) => findings.ok(
            "permissions",
            format!("{user} is an operator: may list, watch and change"),
        ),
        (true, Ok(TeardownPermission::Hosts(hosts))) => findings.ok(
            "permissions",
            format!(
                "{user} is an operator for {}: may list and watch everything, and tear down there",
                format_hosts(&hosts)
            ),
        ),
        (true, Ok(TeardownPermission::Denied(_))) => findings.ok(
            "permissions",
            format!("{user} is a viewer: may list and watch, but not change"),
        ),
        (true, Err(_)) => findings.warn(
            "permissions",
            format!("{user} may list; it is unknown whether {user} may also change"),
            "run `scuttle doctor` again when the controller answers",
        ),
    }
    listed
}

/// Returns whether the server denies a subscription to the subject. A subscription that fails
/// counts as denied.
async fn is_subscription_denied(client: &Client, subject: &str) -> bool {
    let events = client.events();
    let Ok(_subscriber) = client.subscribe(subject).await else {
        return true;
    };
    timeout(DENIAL_TIMEOUT, wait_until_denied(events, subject))
        .await
        .is_ok()
}

/// Checks that a controller replies to requests and to service discovery. `listed` is the result of
/// an earlier request for the list of hosts. `missing_majority` is the reason why controllers with
/// `--store jetstream` cannot serve, if there is one. Returns whether a controller replies.
fn check_controller(
    controllers: &[ControllerInfo],
    listed: Result<(), ClientError>,
    missing_majority: Option<String>,
    findings: &mut Findings,
) -> bool {
    let serving = controllers.iter().find(|one| one.is_serving());
    let start =
        "start scuttle-controller, or see in its log why it is not connected to this server";
    match (listed, serving) {
        (Ok(()), Some(controller)) => findings.ok("controller", controller.to_string()),
        (Ok(()), None) => findings.warn(
            "controller",
            "the controller replies to requests, but not to service discovery",
            "allow this login to publish on $SRV.>",
        ),
        (Err(ClientError::PermissionDenied { .. }), Some(controller)) => findings.warn(
            "controller",
            format!("{controller} is running, but this login may not send requests"),
            "see permissions",
        ),
        (Err(ClientError::Rejected(error)), _) if error.code == ErrorCode::Overloaded => findings
            .warn(
                "controller",
                "the controller is overloaded",
                "try again; the controller's log shows the cause of the load",
            ),
        (Err(ClientError::NoController { .. } | ClientError::TimedOut { .. }), _)
            if let Some(cause) = missing_majority =>
        {
            findings.fail(
                "controller",
                6,
                format!("no controller answers, and {cause}"),
                "start the other NATS servers: controllers with --store jetstream need a majority. A controller with its store in a file does not: start scuttle-controller",
            );
            return false;
        }
        (Err(ClientError::NoController { subject }), _) => {
            let found = format!("no controller answers on {subject}");
            findings.fail("controller", 6, found, start);
            return false;
        }
        (Err(error), _) => {
            findings.fail("controller", 6, error.to_string(), start);
            return false;
        }
    }
    true
}

/// Adds a warning if a controller has an HTTP address without the web page.
fn check_page(controllers: &[ControllerInfo], findings: &mut Findings) {
    let mut reasons = controllers.iter().map(|one| one.value(METADATA_NO_PAGE));
    if let Some(reason) = reasons.find_map(|reason| reason) {
        findings.warn(
            "page",
            format!("a controller has an HTTP address, but no web page: {reason}"),
            "replace the controller with one that was built with its page, or leave out --http",
        );
    }
}

/// The difference between the controller's clock and the clock of this machine.
#[derive(Debug, Clone, Copy)]
enum ClockSkew {
    /// The controller's clock minus this machine's, in milliseconds.
    Measured(i64),
    /// Broadcasts arrived, but none of them shows the controller's clock.
    Busy,
    /// No broadcast arrived.
    NoBroadcast,
}

/// Compares the clock of this machine with the controller's clock.
///
/// Each broadcast contains the time at which the controller decided to send it. Broadcasts with
/// changes wait for the disk before they are sent, so this check uses only repeats without changes.
async fn measure_clock_skew(client: &Client) -> ClockSkew {
    let mut skew = ClockSkew::NoBroadcast;
    let Ok(mut broadcasts) = client.subscribe(subjects::OPERATIONS_UPDATED).await else {
        return skew;
    };
    let receiving = async {
        while let Some(message) = broadcasts.next().await {
            let here = clock::now();
            let Ok(broadcast) = read::<OperationsUpdated>("broadcast", &message.payload) else {
                continue;
            };
            skew = ClockSkew::Busy;
            if broadcast.updated.is_empty() {
                skew = ClockSkew::Measured(broadcast.at.millis_since(here));
                break;
            }
        }
    };
    let _ = timeout(BROADCAST_TIMEOUT, receiving).await;
    skew
}

fn report_clock(skew: ClockSkew, findings: &mut Findings) {
    match skew {
        ClockSkew::Measured(skew) if skew.abs() <= MAX_CLOCK_SKEW_MS => {
            let found = format!("within {} ms of the controller's", skew.abs().max(1));
            findings.ok("clock", found);
        }
        ClockSkew::Measured(skew) => {
            let direction = if skew > 0 { "behind" } else { "ahead of" };
            findings.warn(
                "clock",
                format!(
                    "the clock of this machine is {} {direction} the controller's",
                    style::format_duration(skew.abs())
                ),
                "synchronize both clocks with NTP: times and deadlines depend on them",
            );
        }
        ClockSkew::Busy => findings.skip(
            &["clock"],
            "the controller was busy: it repeated no broadcast, and only repeats show its clock",
        ),
        ClockSkew::NoBroadcast => findings.fail(
            "clock",
            1,
            format!("no broadcast arrived within {} s", BROADCAST_TIMEOUT.as_secs()),
            "import the broadcasts from the controller's account, as nats.conf and `scuttle init` do",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::is_supported_version;

    #[test]
    fn server_versions_are_compared_as_numbers() {
        for (version, expected) in [
            ("2.9.25", false),
            ("2.10.0", true),
            ("2.15.1", true),
            ("3.0.0-RC.1", true),
            ("1.4.1", false),
            ("unknown", true),
        ] {
            assert_eq!(is_supported_version(version), expected, "{version}");
        }
    }
}
