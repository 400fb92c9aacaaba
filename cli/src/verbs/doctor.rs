//! `scuttle doctor`: what stands between this command and a working swarm, and what to do about it. It changes nothing.

mod durability;

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use futures_util::future::join_all;
use scuttle_nats::hint;
use scuttle_schemas::operations::OperationsUpdated;
use scuttle_schemas::teardown::{DEFAULT_TIMEOUT_S, TeardownPlan, TeardownRequest};
use scuttle_schemas::{ErrorCode, read, subjects};
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use crate::ask::{AskError, Bus, denied};
use crate::connect::{Connect, Connection};
use crate::failure::Failure;
use crate::lists;
use crate::look::{self, Look, Paint, Tone, plain};
use crate::output::Format;
use crate::outputs::{Diagnosis, Finding, FindingStatus};

/// Broadcasts come every 5 s at the latest.
const BROADCAST: Duration = Duration::from_secs(8);

/// How long the server may take to refuse a subscription.
const REFUSAL: Duration = Duration::from_millis(500);

/// The oldest server, by its major and minor version.
const OLDEST: (i64, i64) = (2, 10);

/// How far clocks may be apart, in milliseconds: deadlines are shown by this machine's clock.
const APART: i64 = 2000;

/// A host that nobody enrols, for a request that is refused by whoever may not ask at all.
const NOBODY: &str = "scuttle-doctor-asks-for-a-host-that-is-not-there";

/// Checks the server, its version, the login and what it may do, the controller, the clocks and how the servers store, and says
/// what to do.
///
/// It changes nothing. Exit codes: 0 all is well, 6 no controller answers, 4 the login is refused or may not look, 1 anything else.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle doctor
  scuttle doctor --context lab
  scuttle doctor -o json | jq '.checks[] | select(.status != \"ok\")'")]
pub(crate) struct Doctor {
    #[command(flatten)]
    nats: Connect,
}

/// What was checked, and the exit code of the first failure.
#[derive(Default)]
struct Findings {
    checks: Vec<Finding>,
    code: u8,
}

impl Findings {
    fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.put(check, FindingStatus::Ok, found.into(), None);
    }

    fn warn(&mut self, check: &'static str, found: impl Into<String>, to_do: &str) {
        self.put(check, FindingStatus::Warning, found.into(), Some(to_do));
    }

    fn fail(&mut self, check: &'static str, code: u8, found: impl Into<String>, to_do: &str) {
        if self.code == 0 {
            self.code = code;
        }
        self.put(check, FindingStatus::Failed, found.into(), Some(to_do));
    }

    fn skip(&mut self, checks: &[&'static str], why: &str) {
        for check in checks {
            self.put(check, FindingStatus::Skipped, why.to_owned(), None);
        }
    }

    fn put(
        &mut self,
        check: &'static str,
        status: FindingStatus,
        found: String,
        to_do: Option<&str>,
    ) {
        self.checks.push(Finding {
            check,
            status,
            found,
            to_do: to_do.map(str::to_owned),
        });
    }
}

impl Doctor {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let mut findings = Findings::default();
        match self.nats.connection() {
            Ok(connection) => {
                let found = format!("{} (from {})", connection.access.url, connection.from);
                findings.ok("connection", found);
                examine(&connection, &mut findings).await;
            }
            Err(error) => {
                findings.fail(
                    "connection",
                    1,
                    error.to_string(),
                    "mend it, or give --nats-url and a login",
                );
                findings.skip(
                    &[
                        "server",
                        "version",
                        "login",
                        "permissions",
                        "controller",
                        "clock",
                        "durability",
                    ],
                    "it is not known where the server is",
                );
            }
        }
        let diagnosis = Diagnosis {
            healthy: findings.code == 0,
            checks: findings.checks,
        };
        match format {
            Format::Jsonl => diagnosis.checks.iter().try_for_each(crate::output::line)?,
            _ => format.one(&diagnosis, || text(&diagnosis))?,
        }
        match findings.code {
            0 => Ok(()),
            code => Err(Failure::Told(code)),
        }
    }
}

async fn examine(connection: &Connection, findings: &mut Findings) {
    let started = Instant::now();
    let bus = match Bus::connect(connection).await {
        Ok(bus) => bus,
        Err(error) => return no_connection(&error, findings),
    };
    let took = started.elapsed().as_millis();
    let server = bus.client().server_info();
    findings.ok(
        "server",
        format!("{} answers, connected in {took} ms", connection.access.url),
    );
    let version = plain(&server.version);
    if is_new_enough(&version) {
        findings.ok("version", format!("nats-server {version}"));
    } else {
        findings.fail(
            "version",
            1,
            format!("nats-server {version}"),
            "install nats-server 2.10 or newer",
        );
    }
    findings.ok("login", format!("let in as {}", plain(bus.user())));
    let answers = permissions(&bus, findings).await;
    controller(&bus, answers, findings).await;
    clock(&bus, findings).await;
    durability::check(&bus, findings).await;
}

fn no_connection(error: &AskError, findings: &mut Findings) {
    let rest = ["permissions", "controller", "clock", "durability"];
    match error {
        AskError::NotLetIn { url, user, .. } => {
            findings.ok("server", format!("{url} answers"));
            findings.skip(&["version"], "the server tells it after the login");
            findings.fail(
                "login",
                4,
                format!("{} is not let in", plain(user)),
                "give a user and password, or --creds FILE; `scuttle user add` makes a user on the machine with the bus directory",
            );
        }
        error => {
            let (found, to_do) = match error {
                AskError::Unreachable { url, cause } => {
                    (format!("cannot connect to {url}: {cause}"), hint(cause))
                }
                other => (other.to_string(), "mend that, and run it again"),
            };
            findings.fail("server", 1, found, to_do);
            findings.skip(&["version", "login"], "there is no connection");
        }
    }
    findings.skip(&rest, "there is no connection");
}

/// Whether this is a version that will do; one that cannot be read is not judged.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<i64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST,
        _ => true,
    }
}

/// What this login may do; and whether the controller has answered.
async fn permissions(bus: &Bus, findings: &mut Findings) -> Result<(), AskError> {
    let refused = join_all(subjects::BROADCASTS.map(|subject| is_refused(bus, subject))).await;
    let deaf = subjects::BROADCASTS.iter().zip(refused);
    let deaf: Vec<_> = deaf
        .filter_map(|(subject, refused)| refused.then_some(*subject))
        .collect();
    let looked = lists::hosts(bus).await.map(|_| ());
    let may_look = !matches!(looked, Err(AskError::Denied { .. }));
    let request = TeardownRequest {
        host_uuid: NOBODY.parse().expect("a host's id"),
        decky_id: None,
        timeout_s: DEFAULT_TIMEOUT_S,
        dry_run: true,
        expect_plan: None,
        reason: None,
    };
    let changed: Result<TeardownPlan, _> = bus.ask(subjects::TEARDOWN, &request).await;
    let may_change = match &changed {
        Err(AskError::Denied { .. }) => Some(false),
        // It was asked of the controller, or would have been.
        Err(AskError::Refused(_) | AskError::NoController { .. }) | Ok(_) => Some(true),
        Err(_) => None,
    };
    let user = plain(bus.user());
    match (may_look, may_change) {
        (false, _) => findings.fail(
            "permissions",
            4,
            format!("{user} may not look at the swarm"),
            "use the login of an operator or a viewer (nats.conf and `scuttle user add` say what those may do)",
        ),
        (true, _) if !deaf.is_empty() => findings.fail(
            "permissions",
            4,
            format!("{user} may look, but not hear {}", deaf.join(", ")),
            "let it subscribe to those: without them --wait asks only now and then, and watch shows nothing new",
        ),
        (true, Some(true)) => findings.ok("permissions", format!("{user} is an operator: may look, hear and change")),
        (true, Some(false)) => findings.ok(
            "permissions",
            format!("{user} is a viewer: may look and hear, and change nothing"),
        ),
        (true, None) => findings.warn(
            "permissions",
            format!("{user} may look; whether it may change things could not be found out"),
            "run `scuttle doctor` again when the controller answers",
        ),
    }
    looked
}

/// Whether the server refuses to let this be heard.
async fn is_refused(bus: &Bus, subject: &str) -> bool {
    let signs = bus.signs();
    let Ok(_subscriber) = bus.subscribe(subject).await else {
        return true;
    };
    timeout(REFUSAL, denied(signs, subject)).await.is_ok()
}

/// What a service says of itself (ADR-32).
#[derive(Deserialize)]
struct Info {
    id: String,
    version: String,
}

async fn controller(bus: &Bus, answered: Result<(), AskError>, findings: &mut Findings) {
    let what = format!("$SRV.PING.{}", subjects::SERVICE_NAME);
    let pinged = bus
        .raw(&what, async_nats::HeaderMap::new(), Vec::new())
        .await;
    let info = pinged.and_then(|message| {
        serde_json::from_slice::<Info>(&message.payload).map_err(|error| AskError::Broken {
            subject: what.clone(),
            cause: error.to_string(),
        })
    });
    let restart =
        "start scuttle-controller, or see in its log why it is not connected to this server";
    match (answered, info) {
        (Ok(()), Ok(info)) => {
            let found = format!(
                "scuttle {}, instance {}",
                plain(&info.version),
                plain(&info.id)
            );
            findings.ok("controller", found);
        }
        (Ok(()), Err(error)) => findings.warn(
            "controller",
            format!("it answers, but not to discovery: {error}"),
            "let this login publish on $SRV.>",
        ),
        (Err(AskError::Denied { .. }), Ok(info)) => findings.warn(
            "controller",
            format!(
                "scuttle {} is there; this login may not ask it",
                plain(&info.version)
            ),
            "see permissions",
        ),
        (Err(AskError::Refused(refusal)), _) if refusal.code == ErrorCode::Overloaded => findings
            .warn(
                "controller",
                "it is there, and overloaded",
                "ask again; its log says what it is flooded with",
            ),
        (Err(AskError::NoController { subject }), _) => {
            findings.fail(
                "controller",
                6,
                format!("nobody answers on {subject}"),
                restart,
            );
        }
        (Err(error), _) => findings.fail("controller", 6, error.to_string(), restart),
    }
}

/// The difference between the clocks here and there: broadcasts carry the time at which they were decided, and one that tells no
/// change is sent at once. One of a change has waited for a disk, so it is passed over.
async fn clock(bus: &Bus, findings: &mut Findings) {
    if findings.code == 6 {
        return findings.skip(&["clock"], "there is no controller to compare with");
    }
    let Ok(mut told) = bus.subscribe(subjects::OPERATIONS_UPDATED).await else {
        return findings.skip(&["clock"], "nothing is heard");
    };
    let repeated = async {
        while let Some(message) = told.next().await {
            let here = look::now();
            if let Ok(told) = read::<OperationsUpdated>("broadcast", &message.payload)
                && told.updated.is_empty()
            {
                return Some(told.at.millis_since(here));
            }
        }
        None
    };
    match timeout(BROADCAST, repeated).await {
        Ok(Some(apart)) if apart.abs() <= APART => {
            findings.ok(
                "clock",
                format!("within {} ms of the controller's", apart.abs().max(1)),
            );
        }
        Ok(Some(apart)) => {
            let word = if apart > 0 { "behind" } else { "ahead of" };
            findings.warn(
                "clock",
                format!(
                    "this machine is {} {word} the controller",
                    look::took(apart.abs())
                ),
                "set both clocks by NTP: times are shown, and deadlines counted, by them",
            );
        }
        _ => findings.skip(
            &["clock"],
            "no quiet moment came in which the controller repeats itself",
        ),
    }
}

fn text(diagnosis: &Diagnosis) -> String {
    let paint = Paint::stdout();
    let mut text = String::new();
    for check in &diagnosis.checks {
        let look = match check.status {
            FindingStatus::Ok => Look::new("✓", "ok", Tone::Good),
            FindingStatus::Warning => Look::new("!", "look", Tone::Warn),
            FindingStatus::Failed => Look::new("✗", "failed", Tone::Bad),
            FindingStatus::Skipped => Look::new("–", "skipped", Tone::Dim),
        };
        let sign = paint.text(look.tone, &format!("{} {:<7}", look.sign, look.word));
        let _ = writeln!(text, "{sign}  {:<11}  {}", check.check, plain(&check.found));
        if let Some(to_do) = &check.to_do {
            let _ = writeln!(text, "{:24}→ {to_do}", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::is_new_enough;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, expected) in [
            ("2.9.25", false),
            ("2.10.0", true),
            ("2.15.1", true),
            ("3.0.0-RC.1", true),
            ("1.4.1", false),
            ("unknown", true),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }
}
