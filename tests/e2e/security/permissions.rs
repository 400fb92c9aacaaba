//! The permissions of each role on each subject, tested on real connections: with `nats.conf`, and
//! with the configuration of `scuttle init`. Other files test the recorded requester
//! (`requested_by.rs`), logins (`logins.rs`), and how hosts and users are added (`accounts.rs`).

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result, ensure};
use async_nats::{HeaderMap, Subscriber};
use futures_util::{FutureExt, StreamExt};
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{HostId, Partition, PartitionCount, headers};
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{
    Client, Cluster, FakeAgent, Nats, ProvisionedServer, Role, TestResult, report_hostile_checks,
};
use serde_json::Value;

/// The hosts, by the letter of their agent in the table. The permissions of agent A are tested.
/// Agent B belongs to another host.
const HOSTS: [(char, &str); 2] = [('A', "worker-a"), ('B', "worker-b")];

/// One subject and the roles that may publish or subscribe to it. Each role has a letter:
///
/// - C: the controller
/// - A and B: the agents of worker-a and worker-b
/// - O: an operator
/// - L: an operator who is limited to worker-a
/// - V: a viewer
/// - S: the simulator, which may report for every host and exists only in `nats.conf`
///
/// A lowercase letter means that the server permits the role to use the subject, but messages stay
/// in the account of the role or go to the server itself.
struct Row {
    publish_subject: String,
    subscribe_subject: String,
    publishers: &'static str,
    subscribers: &'static str,
    directions: &'static [Direction],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Publish,
    Subscribe,
}

const BOTH: &[Direction] = &[Direction::Publish, Direction::Subscribe];
const SUBSCRIBE: &[Direction] = &[Direction::Subscribe];
const PUBLISH: &[Direction] = &[Direction::Publish];

/// Returns a row with the same subject for both directions.
fn row(subject: &str, publishers: &'static str, subscribers: &'static str) -> Row {
    Row {
        publish_subject: subject.to_owned(),
        subscribe_subject: subject.to_owned(),
        publishers,
        subscribers,
        directions: BOTH,
    }
}

impl Row {
    /// Turns the row into one for subscriptions to `pattern`, which matches the row's subject.
    fn with_pattern(self, pattern: &str) -> Self {
        Self {
            subscribe_subject: pattern.to_owned(),
            directions: SUBSCRIBE,
            ..self
        }
    }
}

/// Returns all rows of the permission table.
fn table() -> Vec<Row> {
    let mut rows = rows_of_clients_and_agents();
    rows.extend(rows_of_the_system());
    rows
}

/// Returns the rows for the protocol's requests, reports, commands and broadcasts, and for inboxes.
fn rows_of_clients_and_agents() -> Vec<Row> {
    let [own, other]: [HostId; 2] = HOSTS.map(|(_, name)| name.parse().expect("valid"));
    let mut rows = Vec::new();
    rows.extend(subjects::CHANGE_REQUESTS.map(|subject| row(subject, "O", "C")));
    rows.extend(subjects::READ_REQUESTS.map(|subject| row(subject, "OLV", "C")));
    rows.extend(subjects::BROADCASTS.map(|subject| row(subject, "C", "OLV")));
    for (host, publishers) in [(&own, "OL"), (&other, "O")] {
        let subject = subjects::host_teardown_subject(host);
        rows.push(row(&subject, publishers, "C"));
        rows.push(row(&subject, publishers, "C").with_pattern(subjects::HOST_TEARDOWNS));
    }
    rows.push(row(&AgentChannel::Commands.subject(&own), "C", "AS"));
    rows.push(row(&AgentChannel::Commands.subject(&other), "C", "BS"));
    for report in REPORTS {
        rows.push(row(&report.subject(&own), "AS", "C"));
        rows.push(row(&report.subject(&other), "BS", "C"));
        rows.push(row(&report.subject(&own), "A", "C").with_pattern(&report.wildcard_subject()));
    }
    let commands = AgentChannel::Commands;
    rows.push(row(&commands.subject(&own), "C", "S").with_pattern(&commands.wildcard_subject()));
    for (host, subscribers) in [(&own, "AS"), (&other, "BS")] {
        let inbox = subjects::agent_inbox_prefix(host);
        let subject = format!("{inbox}.1");
        rows.push(row(&subject, "C", subscribers));
        rows.push(row(&subject, "C", subscribers).with_pattern(&format!("{inbox}.>")));
    }
    for (user, subscribers) in [("operator", "OS"), ("limited", "LS"), ("viewer", "VS")] {
        let inbox = subjects::inbox_prefix(user);
        rows.push(row(&format!("{inbox}.1"), "c", subscribers));
        rows.push(row(&format!("{inbox}.1"), "", subscribers).with_pattern(&format!("{inbox}.>")));
    }
    rows.push(row("_INBOX.user.1", "C", "S").with_pattern(subjects::ALL_INBOXES));
    for broadcast in subjects::BROADCASTS {
        rows.push(row(&subjects::diverted_subject(broadcast), "", ""));
    }
    rows.push(row("$SRV.PING", "OLV", "C"));
    rows.push(row(subjects::CONTROLLER_PING, "COLV", "C"));
    rows.push(row(subjects::TEARDOWN, "O", "C").with_pattern(subjects::ALL_REQUESTS));
    rows
}

/// Returns the rows for the subjects of the server and of `JetStream`, for the subjects between
/// controllers, and for wildcards.
fn rows_of_the_system() -> Vec<Row> {
    let mut rows = Vec::new();
    for (publish_subject, subscribe_subject) in [
        ("$SYS.REQ.SERVER.PING", "$SYS.>"),
        ("$JS.API.STREAM.LIST", "$JS.API.>"),
        ("_R_.guess.1", "_R_.>"),
    ] {
        // The controller sends replies there, and only to requests that it received.
        let publishers = if publish_subject.starts_with("_R_") {
            "c"
        } else {
            ""
        };
        rows.push(Row {
            directions: BOTH,
            ..row(publish_subject, publishers, "").with_pattern(subscribe_subject)
        });
    }
    rows.extend(["*.*", "*", ">"].map(|pattern| row("", "", "").with_pattern(pattern)));
    rows.push(row(subjects::SERVER_INFO, "co", ""));
    let inbox = format!("{}.1", subjects::CONTROLLER_INBOX_PREFIX);
    let inboxes = format!("{}.>", subjects::CONTROLLER_INBOX_PREFIX);
    let one = Partition::FIRST;
    for (publish_subject, subscribe_subject) in [
        (inbox, inboxes.as_str()),
        (
            subjects::partition_request_subject(one, subjects::HOSTS_LIST),
            subjects::ALL_PARTITION_REQUESTS,
        ),
        (
            subjects::relay_subject(Some(one), subjects::HOSTS_UPDATED),
            subjects::ALL_RELAYED_BROADCASTS,
        ),
    ] {
        rows.push(row(&publish_subject, "C", "C"));
        rows.push(row(&publish_subject, "C", "C").with_pattern(subscribe_subject));
    }
    let publish_only = |subject: &str, publishers| Row {
        directions: PUBLISH,
        ..row(subject, publishers, "")
    };
    rows.extend(
        subjects::controller_jetstream_subjects()
            .into_iter()
            .map(|subject| publish_only(&subject.replace('>', "x").replace('*', "0"), "c")),
    );
    rows.extend(forbidden_subjects().map(|subject| publish_only(&subject, "")));
    rows.extend(
        [subjects::ALL_JOURNALS, "$KV.>", "$O.>", "$JS.>"]
            .map(|pattern| row("", "", "").with_pattern(pattern)),
    );
    rows
}

/// Returns `JetStream` subjects that no role may use: actions on the controllers' streams that
/// controllers do not need, and a sample of the actions on other streams.
fn forbidden_subjects() -> impl Iterator<Item = String> {
    let leases = format!("KV_{}", subjects::LEASES_BUCKET);
    let snapshots = format!("OBJ_{}", subjects::SNAPSHOTS_BUCKET);
    let with = |verbs: &[&str], stream: &str| {
        let subject = |verb: &&str| format!("$JS.API.STREAM.{verb}.{stream}");
        verbs.iter().map(subject).collect::<Vec<_>>()
    };
    let verbs = [
        "DELETE",
        "UPDATE",
        "SNAPSHOT",
        "RESTORE",
        "MSG.DELETE",
        "LEADER.STEPDOWN",
        "PEER.REMOVE",
    ];
    let names = format!("KV_{}", subjects::NAMES_BUCKET);
    let streams = PartitionCount::MAX
        .iter()
        .map(subjects::journal_stream_name);
    let ours = streams
        .chain([leases.clone(), names, snapshots])
        .flat_map(move |stream| with(&verbs, &stream));
    let other = with(&["CREATE", "INFO", "PURGE", "DELETE", "MSG.GET"], "OTHER");
    let purge = with(&["PURGE"], &leases);
    let rest = [
        "$JS.API.STREAM.NAMES",
        "$JS.API.CONSUMER.CREATE.OTHER.x",
        "$JS.API.DIRECT.GET.OTHER",
        "$KV.other.key",
        "$O.other.M.x",
    ];
    ours.chain(other)
        .chain(purge)
        .chain(rest.map(str::to_owned))
}

const REPORTS: [AgentChannel; 3] = [
    AgentChannel::Heartbeat,
    AgentChannel::Results,
    AgentChannel::Progress,
];

/// A subject that no role may publish to. The server's error about this subject arrives after all
/// earlier messages of the server.
const MARKER: &str = "nobody.may";

type Clients = BTreeMap<char, Client>;

#[derive(Debug, Default)]
struct Counts {
    allowed: usize,
    contained: usize,
    denied: usize,
}

/// Checks every row of the permission table for every role, in each direction that the row lists.
async fn check(configuration: &str, roles: &str, clients: &Clients) -> TestResult {
    let mut counts = Counts::default();
    for row in table() {
        for direction in row.directions {
            for role in roles.chars() {
                check_cell(&row, *direction, role, clients, &mut counts)
                    .await
                    .with_context(|| {
                        let Row { publish_subject, subscribe_subject, .. } = &row;
                        format!("{configuration}: {role} {direction:?} {publish_subject} {subscribe_subject}")
                    })?;
            }
        }
    }
    let Counts {
        allowed,
        contained,
        denied,
    } = counts;
    let total = allowed + contained + denied;
    let line = format!(
        "{configuration}: {total} role × subject rows: {allowed} allowed, {contained} allowed within the account of the role, {denied} denied\n"
    );
    // Written directly, because the test runner hides the output of `println!` from tests that
    // pass.
    std::io::stdout().write_all(line.as_bytes())?;
    report_hostile_checks(
        &format!("permissions with {configuration}"),
        contained + denied,
    )?;
    let directions: usize = table().iter().map(|row| row.directions.len()).sum();
    assert_eq!(total, roles.len() * directions);
    Ok(())
}

async fn check_cell(
    row: &Row,
    direction: Direction,
    role: char,
    clients: &Clients,
    counts: &mut Counts,
) -> TestResult {
    let may = match direction {
        Direction::Publish => row.publishers,
        Direction::Subscribe => row.subscribers,
    };
    let client = &clients[&role];
    let subject = match direction {
        Direction::Publish => &row.publish_subject,
        Direction::Subscribe => &row.subscribe_subject,
    };
    if may.contains(role) {
        let (publisher, subscriber) = match direction {
            Direction::Publish => (Some(role), first_letter(row.subscribers)),
            // The controller can reach only the simulator at the inbox of operators and viewers.
            Direction::Subscribe if role == 'S' => {
                (first_letter(row.publishers).or(Some('C')), Some(role))
            }
            Direction::Subscribe => (first_letter(row.publishers), Some(role)),
        };
        let subscriber = subscriber.context("no role may subscribe")?;
        with_timeout(
            "the message arrives",
            check_delivered(row, publisher, subscriber, clients),
        )
        .await??;
        counts.allowed += 1;
    } else if may.contains(role.to_ascii_lowercase()) {
        with_timeout(
            "the message does not arrive",
            check_contained(row, direction, role, clients),
        )
        .await??;
        counts.contained += 1;
    } else {
        let _ear = match direction {
            Direction::Publish => {
                client.nats().publish(subject.clone(), "".into()).await?;
                None
            }
            Direction::Subscribe => Some(client.nats().subscribe(subject.clone()).await?),
        };
        // The accounts of operators and viewers divert what their users publish on a broadcast
        // subject.
        let is_diverted = subjects::BROADCASTS.contains(&subject.as_str()) && "OLV".contains(role);
        let denied = match direction {
            Direction::Publish if is_diverted => subjects::diverted_subject(subject),
            _ => subject.clone(),
        };
        client.expect_denied(&format!("\"{denied}\"")).await?;
        counts.denied += 1;
        return Ok(());
    }
    // The server did not deny anything in between.
    settle(client).await
}

/// Waits until the server has processed everything that this client has sent, and checks that the
/// server has denied nothing.
async fn settle(client: &Client) -> TestResult {
    client.nats().publish(MARKER, "".into()).await?;
    client.expect_denied(MARKER).await
}

fn first_letter(letters: &str) -> Option<char> {
    letters.chars().find(char::is_ascii_uppercase)
}

/// Subscribes, and waits until the subscription is active.
async fn subscribe(client: &Client, subject: &str) -> Result<Subscriber> {
    let subscription = client.nats().subscribe(subject.to_owned()).await?;
    settle(client).await?;
    Ok(subscription)
}

/// Checks that a message from `publisher` arrives at `subscriber`. Without a publisher, the message
/// is a reply, because no role may publish to the inbox of a user from outside its account.
async fn check_delivered(
    row: &Row,
    publisher: Option<char>,
    subscriber: char,
    clients: &Clients,
) -> TestResult {
    let payload = uuid::Uuid::now_v7().to_string();
    let mut subscription = subscribe(&clients[&subscriber], &row.subscribe_subject).await?;
    match publisher {
        Some(publisher) => {
            let client = clients[&publisher].nats();
            client
                .publish(row.publish_subject.clone(), payload.clone().into())
                .await?;
        }
        // The server replies with its own message.
        None if subscriber == 'C' => {
            let client = clients[&subscriber].nats();
            let (request_subject, reply) = (subjects::SERVER_INFO, row.publish_subject.clone());
            client
                .publish_with_reply(request_subject, reply, "".into())
                .await?;
            let message = subscription
                .next()
                .await
                .context("the connection is closed")?;
            ensure!(message.status.is_none(), "no reply: {message:?}");
            return Ok(());
        }
        None => check_reply(row, subscriber, &payload, clients).await?,
    }
    let message = subscription
        .next()
        .await
        .context("the connection is closed")?;
    ensure!(message.payload == payload, "another payload: {message:?}");
    Ok(())
}

/// Sends a request as `requester`, with the row's subject as its reply subject, and replies with
/// `payload` as the controller. Fails if the server did not replace the reply subject.
async fn check_reply(row: &Row, requester: char, payload: &str, clients: &Clients) -> TestResult {
    let controller = &clients[&'C'];
    let mut requests = subscribe(controller, subjects::HOSTS_LIST).await?;
    let client = clients[&requester].nats();
    client
        .publish_with_reply(subjects::HOSTS_LIST, row.publish_subject.clone(), "".into())
        .await?;
    let request = requests.next().await.context("the connection is closed")?;
    let reply = request.reply.context("no reply subject")?;
    ensure!(
        reply.starts_with("_R_."),
        "not a reply subject of the server: {reply}"
    );
    controller
        .nats()
        .publish(reply, payload.to_owned().into())
        .await?;
    Ok(())
}

/// Checks that the server permits `role` to use the subject, but that messages do not leave their
/// account:
///
/// - A message to the inbox of an agent reaches only that agent, even though an operator's account
///   has a subject of the same name.
/// - A message of the controller on an unused subject reaches no client.
async fn check_contained(
    row: &Row,
    direction: Direction,
    role: char,
    clients: &Clients,
) -> TestResult {
    match direction {
        Direction::Publish => {
            let mut subscriptions = Vec::new();
            for user in ['O', 'L', 'V']
                .iter()
                .filter(|who| row.subscribers.contains(**who))
            {
                subscriptions.push((
                    user,
                    subscribe(&clients[user], &row.subscribe_subject).await?,
                ));
            }
            let client = &clients[&role];
            client
                .nats()
                .publish(row.publish_subject.clone(), "".into())
                .await?;
            settle(client).await?;
            for (user, mut subscription) in subscriptions {
                settle(&clients[user]).await?;
                ensure!(
                    subscription.next().now_or_never().is_none(),
                    "{user} received the message"
                );
            }
        }
        Direction::Subscribe => {
            let mut subscription = subscribe(&clients[&role], &row.subscribe_subject).await?;
            let subscriber = first_letter(row.subscribers).context("no role may subscribe")?;
            check_delivered(row, first_letter(row.publishers), subscriber, clients).await?;
            settle(&clients[&role]).await?;
            ensure!(
                subscription.next().now_or_never().is_none(),
                "{role} received the message"
            );
        }
    }
    Ok(())
}

/// Adds users for the two hosts, and an operator who is limited to the first, to `nats.conf`, as
/// the comments in that file describe.
fn add_users(configuration: &str) -> String {
    let agents = HOSTS.map(|(_, name)| {
        let user = AGENT_EXAMPLE.uncomment(configuration);
        let user = user.replace("worker-a", name).replace("HOST_UUID", name);
        set_password(&user, "$SCUTTLE_AGENT_WORKER_A_PASSWORD", name)
    });
    let limited = OPERATOR_EXAMPLE.uncomment(configuration);
    let limited = limited
        .replace("bob", LIMITED)
        .replace("HOST_UUID", "worker-a");
    let limited = set_password(&limited, "$SCUTTLE_OPERATOR_BOB_PASSWORD", LIMITED);
    let configuration = AGENT_EXAMPLE.insert_before(configuration, &agents.concat());
    OPERATOR_EXAMPLE.insert_before(&configuration, &limited)
}

/// A commented-out user in `nats.conf`.
struct Example {
    /// The beginning of the comment.
    start: &'static str,
}

const AGENT_EXAMPLE: Example = Example {
    start: "      # A real host gets a separate user",
};
const OPERATOR_EXAMPLE: Example = Example {
    start: "      # An operator who may tear down only on named hosts",
};

impl Example {
    /// Returns the lines of the user, without the signs of a comment.
    fn uncomment(&self, configuration: &str) -> String {
        let (_, rest) = configuration.split_once(self.start).expect("the example");
        let comment = rest.lines().skip(1);
        let comment = comment.take_while(|line| line.starts_with("      # "));
        let lines: Vec<&str> = comment.skip_while(|line| *line != "      # {").collect();
        assert!(lines.len() > 5, "the example of nats.conf: {lines:?}");
        lines.join("\n").replace("      # ", "      ") + "\n"
    }

    fn insert_before(&self, configuration: &str, users: &str) -> String {
        let (before, after) = configuration.split_once(self.start).expect("the example");
        format!("{before}{users}{}{after}", self.start)
    }
}

fn set_password(user: &str, variable: &str, name: &str) -> String {
    assert!(user.contains(variable), "{user}");
    user.replace(variable, &format!("\"{}\"", password_of(name)))
}

/// The name of the operator who is limited to worker-a.
const LIMITED: &str = "limited";

fn password_of(name: &str) -> String {
    format!("secret-of-{name}")
}

#[tokio::test]
async fn every_permission_holds_with_nats_conf() -> TestResult {
    let nats = Nats::start_with(add_users).await?;
    let mut clients = Clients::new();
    for (letter, role) in [
        ('C', Role::Controller),
        ('O', Role::Operator),
        ('V', Role::Viewer),
    ] {
        clients.insert(letter, Client::connect(&nats, role).await?);
    }
    for (letter, name) in HOSTS.into_iter().chain([('L', LIMITED)]) {
        let prefix = subjects::inbox_prefix(name);
        let options =
            async_nats::ConnectOptions::with_user_and_password(name.into(), password_of(name));
        let options = options.custom_inbox_prefix(prefix);
        clients.insert(letter, Client::connect_with(options, &nats.url()).await?);
    }
    clients.insert('S', Client::connect(&nats, Role::Agents).await?);
    check("nats.conf", "CAOLVS", &clients).await
}

/// The hosts and users are created by `scuttle enroll` and `scuttle user add`.
#[tokio::test]
async fn every_permission_holds_with_the_configuration_of_init() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let mut clients = Clients::new();
    let mut controller = bus.start_controller().await?;
    for (letter, name) in HOSTS {
        let creds = bus.enroll(name).await?;
        clients.insert(letter, bus.connect_agent(&creds, &name.parse()?).await?);
    }
    let limited = [
        "user", "add", LIMITED, "--role", "operator", "--host", "worker-a",
    ];
    bus.run_scuttle(&limited).await?.expect_success()?;
    // The test replies in place of the controller.
    controller.kill().await?;
    clients.insert('C', bus.connect(&bus.credentials("controller")).await?);
    clients.insert(
        'O',
        bus.connect(&bus.add_user("operator", "operator").await?)
            .await?,
    );
    let limited = bus.path(&format!("{LIMITED}.creds"));
    clients.insert('L', bus.connect(&limited).await?);
    clients.insert(
        'V',
        bus.connect(&bus.add_user("viewer", "viewer").await?)
            .await?,
    );
    check("scuttle init", "CAOLV", &clients).await
}

/// Requests on `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` reach the controller.
#[tokio::test]
async fn operators_and_viewers_can_discover_the_service() -> TestResult {
    let cluster = Cluster::start().await?;
    for role in [Role::Operator, Role::Viewer] {
        let client = Client::connect(&cluster.servers[0], role).await?;
        for verb in ["PING", "INFO", "STATS"] {
            let subject = format!("$SRV.{verb}.{}", subjects::SERVICE_NAME);
            let reply = client.request_raw(&subject, HeaderMap::new(), "").await?;
            let reply: Value = serde_json::from_slice(&reply.payload)?;
            assert_eq!(reply["name"], subjects::SERVICE_NAME, "{role} {verb}");
        }
    }
    Ok(())
}

/// A forged `Nats-Request-Info` header of an agent has no effect.
#[tokio::test]
async fn agents_can_report_and_receive_commands() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent =
        FakeAgent::connect(&cluster.servers[0], &cluster.enroll_host("worker-a").await?).await?;
    agent.report_inventory(&["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, None).await?;
    agent.next_command().await?;
    let mut forged = HeaderMap::new();
    forged.insert(headers::REQUEST_INFO, r#"{"user":"mallory"}"#);
    let beat = agent.next_heartbeat(None);
    let heartbeat = AgentChannel::Heartbeat.subject(&agent.host);
    let _: Value = agent
        .client()
        .request_with_headers(&heartbeat, forged, &beat)
        .await?;
    agent
        .report_success(accepted.operation_id, &["decky-1"])
        .await?;
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.requested_by, "operator");
    Ok(())
}

/// The server publishes no event for a message that it denies. Its log is the only place that shows
/// the attempt.
#[tokio::test]
async fn the_servers_log_has_the_attempts_that_the_audit_log_lacks() -> TestResult {
    let mut nats = Nats::start().await?;
    let viewer = Client::connect(&nats, Role::Viewer).await?;
    viewer
        .nats()
        .publish(subjects::TEARDOWN, "{}".into())
        .await?;
    let line = nats.process().wait_for_line("Publish Violation").await?;
    let subject = format!("Subject \"{}\"", subjects::TEARDOWN);
    ensure!(
        line.contains("user:viewer") && line.contains(&subject),
        "{line}"
    );

    let mut bus = ProvisionedServer::start().await?;
    let credentials = bus.add_user("vera", "viewer").await?;
    let viewer = bus.connect(&credentials).await?;
    viewer
        .nats()
        .publish(subjects::TEARDOWN, "{}".into())
        .await?;
    let line = bus
        .server()
        .process
        .wait_for_line("Publish Violation")
        .await?;
    let users = bus.run_scuttle(&["user", "list", "-o", "json"]).await?;
    let users: Value = serde_json::from_str(&users.expect_success()?)?;
    let users = users["users"].as_array().context("users")?;
    let vera = users.iter().find(|user| user["user"] == "vera");
    let key = vera.and_then(|user| user["public_key"].as_str());
    ensure!(line.contains(key.context("the key of vera")?), "{line}");
    ensure!(line.contains(&subject), "{line}");
    Ok(())
}
