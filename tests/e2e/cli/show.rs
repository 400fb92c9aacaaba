//! The commands that list and describe records, for people and for programs, and the exit codes of
//! failures.

use anyhow::Context;
use futures_util::StreamExt;
use scuttle_schemas::subjects;
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Client, Cluster, Nats, Role, TestResult, failed_shard, wait_until};
use serde_json::{Value, json};

use super::cli_runner::Cli;
use super::fake_controller::{FakeController, online_host};

#[tokio::test]
async fn the_verbs_show_the_swarm_as_tables_and_as_json() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    cluster.enroll_host("worker-b").await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-01").await?;
    let operation = agent.next_command().await?.operation_id;
    let busy = failed_shard("decky-01", "container busy");
    agent
        .report_failure(operation, "container\nbusy", vec![busy])
        .await?;
    cluster.operator.wait_for_end(accepted.operation_id).await?;
    let id = operation.to_string();
    let cli = Cli::with_role(&cluster, Role::Viewer)?;

    let shown = |arguments: &'static [&'static str]| {
        let cli = &cli;
        async move { cli.run(arguments).await?.expect_success() }
    };
    for (arguments, parts) in [
        (
            &["hosts"] as &[&str],
            &["NAME", "worker-a", "● online", "worker-b", "○ enrolled"] as &[&str],
        ),
        (
            &["shards"],
            &[
                "✗ teardown failed",
                "container busy",
                "● running",
                "10.0.0.7",
                "ssh",
            ],
        ),
        (&["shards", "worker-a", "--state", "running"], &["decky-02"]),
        (
            &["ops", "--host", "worker-a"],
            &[
                "worker-a/decky-01",
                "✗ failed",
                "operator",
                "1 failed",
                &id[..13],
            ],
        ),
        (&["ops", "-o", "wide"], &[&id]),
        (&["op", &id[..13]], &["teardown of worker-a/decky-01", &id]),
        (
            &["op", &id],
            &[
                "teardown of worker-a/decky-01",
                "container busy",
                "once",
                "scuttle retry",
                "DECKY",
            ],
        ),
    ] {
        let out = cli.run(arguments).await?.expect_success()?;
        for part in parts {
            assert!(out.contains(part), "{part:?} is in\n{out}");
        }
        assert!(!out.contains('\x1b'), "no colours in a pipe: {out:?}");
    }
    let one = shown(&["shards", "worker-a", "--state", "running"]).await?;
    assert_eq!(one.lines().count(), 2, "{one}");

    let hosts = cli.run_json(&["hosts"], 0, "hosts_list").await?;
    assert_eq!(
        Value::from(cli.run_jsonl(&["hosts"]).await?),
        hosts["hosts"]
    );
    let shards = cli.run_json(&["shards"], 0, "shards_list").await?;
    assert_eq!(shards["shards"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        Value::from(cli.run_jsonl(&["shards"]).await?),
        shards["shards"]
    );
    let operations = cli.run_json(&["ops"], 0, "operations_list").await?;
    assert_eq!(
        Value::from(cli.run_jsonl(&["ops"]).await?),
        operations["operations"]
    );
    let operation = cli.run_json(&["op", &id], 0, "operation_get_reply").await?;
    assert_eq!(
        Value::from(cli.run_jsonl(&["op", &id]).await?),
        Value::from(vec![operation["operation"].clone()])
    );
    Ok(())
}

#[tokio::test]
async fn lists_contain_all_pages_and_at_most_limit_operations() -> TestResult {
    let cluster = Cluster::start().await?;
    let deckies: Vec<String> = (0..620).map(|number| format!("d-{number}")).collect();
    let deckies: Vec<&str> = deckies.iter().map(String::as_str).collect();
    let agent = cluster.start_agent("worker-a", &deckies).await?;
    for decky in &deckies[..3] {
        cluster.operator.tear_down(&agent.host, *decky).await?;
    }
    let cli = Cli::with_role(&cluster, Role::Viewer)?;
    let shards = cli.run_json(&["shards"], 0, "shards_list").await?;
    assert_eq!(shards["shards"].as_array().map(Vec::len), Some(620));
    assert_eq!(shards["next"], Value::Null);
    let newest = cli.run_jsonl(&["ops", "--limit", "2"]).await?;
    let targets: Vec<_> = newest.iter().map(|one| one["decky_id"].clone()).collect();
    assert_eq!(targets, ["d-2", "d-1"]);
    let limited = cli.run_json(&["ops", "--limit", "2"], 0, "operations_list");
    let cursor = limited.await?["next"].clone();
    let request = json!({ "after": cursor });
    let rest: Value = (cluster.operator)
        .request(subjects::OPERATIONS_LIST, &request)
        .await?;
    assert_eq!(rest["operations"][0]["decky_id"], "d-0");
    assert_eq!(rest["operations"].as_array().map(Vec::len), Some(1));
    let table = cli.run(&["ops", "--limit", "2"]).await?;
    assert!(table.stderr.contains("Only the newest 2"), "{table:?}");

    for (arguments, count) in [
        (&["--user", "operator", "--since", "1h"] as &[&str], 3),
        (&["--user", "alice"], 0),
        (&["--state", "queued", "--state", "failed"], 3),
        (&["--state", "succeeded", "--state", "failed"], 0),
        (&["--host", "worker-a", "--state", "queued"], 3),
    ] {
        let arguments = [&["ops", "-o", "json"], arguments].concat();
        let found = cli.run(&arguments).await?.expect_success()?;
        let found: Value = serde_json::from_str(&found)?;
        let listed = found["operations"].as_array().map(Vec::len);
        assert_eq!((listed, &found["next"]), (Some(count), &Value::Null));
    }
    for (arguments, count) in [
        (&["hosts", "worker-a"] as &[&str], 1),
        (&["hosts", "--status", "online"], 1),
        (&["hosts", "--status", "offline"], 0),
        (&["hosts", "--status", "offline", "--status", "online"], 1),
    ] {
        assert_eq!(
            cli.run_jsonl(arguments).await?.len(),
            count,
            "{arguments:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn each_kind_of_failure_has_its_exit_code() -> TestResult {
    let mut cluster = Cluster::start().await?;
    cluster.start_agent("worker-a", &["decky-01"]).await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let unknown = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11";
    for (arguments, code, parts) in [
        (
            &["shards", "nowhere"] as &[&str],
            3,
            &["nowhere", "scuttle hosts"] as &[&str],
        ),
        (&["op", unknown], 3, &[unknown]),
        (&["cancel", unknown], 3, &[unknown]),
        (&["retry", unknown], 3, &[unknown]),
        (
            &["teardown", "worker-a", "--decky", "nope"],
            3,
            &["no decky nope"],
        ),
        (
            &["teardown", "worker-a", "--decky", "nope", "--dry-run"],
            3,
            &["no decky nope"],
        ),
        (
            &["decommission", "worker-a", "--yes"],
            4,
            &["still has 1 decky", "scuttle teardown worker-a", "--force"],
        ),
        (&["teardown", "worker-a", "--timeout", "10"], 2, &["10m"]),
        (&["hosts", "-o", "yaml"], 2, &["jsonl"]),
        (&["watch"], 2, &["-o jsonl"]),
        (
            &["decommission", "worker-a"],
            2,
            &["cannot ask", "not a terminal", "--yes"],
        ),
        (
            &["hosts", "--nats-url", "nats://a b"],
            2,
            &["a b", "nats://HOST:PORT"],
        ),
        (&["hosts", "--nats-creds", "none.creds"], 2, &["none.creds"]),
        (
            &["hosts", "--nats-url", "nats://127.0.0.1:1"],
            6,
            &["127.0.0.1:1", "start nats-server"],
        ),
        (
            &["hosts", "--nats-password", "wrong"],
            4,
            &["not logged in", "does not accept operator"],
        ),
    ] {
        cli.run(arguments).await?.expect_failure(code, parts)?;
    }
    let viewer = Cli::with_role(&cluster, Role::Viewer)?;
    let arguments = ["teardown", "worker-a", "--decky", "decky-01"];
    viewer
        .run(&arguments)
        .await?
        .expect_failure(4, &["viewer is a viewer and cannot tear down", "--creds"])?;
    cluster.controllers[0].kill().await?;
    for arguments in [&["hosts"] as &[&str], &arguments] {
        cli.run(arguments)
            .await?
            .expect_failure(6, &["no controller answers", "scuttle-controller"])?;
    }
    Ok(())
}

/// The second page comes from a deposed leader that does not yet know that it was deposed, so the
/// page may be out of date.
#[tokio::test]
async fn a_page_older_than_the_first_restarts_the_listing() -> TestResult {
    let mut fake = FakeController::start(Role::Viewer, subjects::HOSTS_LIST).await?;
    let (cli, controller, requests) = (&fake.cli, fake.client.nats(), &mut fake.requests);

    let page = |revision: u64, name: &str, next: Option<&str>| json!({ "revision": revision, "hosts": [online_host(name)], "next": next });
    let answers = [
        page(7, "worker-a", Some("hosts:worker-a")),
        page(6, "gone", None),
        page(7, "worker-a", Some("hosts:worker-a")),
        page(8, "worker-b", None),
    ];
    let mut after = Vec::new();
    let replied = async {
        for answer in answers {
            let request = with_timeout("a request", requests.next())
                .await?
                .context("one")?;
            let asked: Value = serde_json::from_slice(&request.payload)?;
            after.push(asked["after"].clone());
            let reply = request.reply.context("a reply subject")?;
            controller.publish(reply, answer.to_string().into()).await?;
        }
        anyhow::Ok(())
    };
    let (shown, replied) = tokio::join!(cli.run(&["hosts"]), replied);
    replied?;
    let shown = shown?.expect_success()?;
    assert!(shown.contains("worker-a") && shown.contains("worker-b") && !shown.contains("gone"));
    let again = [
        json!(null),
        json!("hosts:worker-a"),
        json!(null),
        json!("hosts:worker-a"),
    ];
    assert_eq!(after, again);
    Ok(())
}

#[tokio::test]
async fn version_shows_the_client_the_controllers_and_the_agents() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let _agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let cli = Cli::with_role(&cluster, Role::Viewer)?;
    let versions = cli.run_json(&["version"], 0, "cli/versions").await?;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(versions["client"], version);
    assert_eq!(versions["controllers"][0]["version"], version);
    assert_eq!(versions["controllers"][0]["schemas"], "urn:scuttle:v1");
    let record = versions["controllers"][0]["record"].as_str();
    assert!(
        record.is_some_and(|record| record.len() == 36),
        "{versions:#}"
    );
    assert_eq!(versions["agents"]["fake"], 1, "{versions:#}");
    let text = cli.run(&["version"]).await?.expect_success()?;
    for part in [
        &format!("client      {version}"),
        "controller  ",
        "fake  1 host",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // Without a server, the version of the command is still shown.
    cluster.servers[0].kill().await?;
    let versions = cli.run_json(&["version"], 0, "cli/versions").await?;
    assert_eq!(versions["client"], version);
    assert!(versions["error"].is_string(), "{versions:#}");
    Ok(())
}

#[tokio::test]
async fn an_operation_is_named_by_the_beginning_of_its_id() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    let first = cluster.operator.tear_down(&agent.host, "decky-01").await?;
    let second = cluster.operator.tear_down(&agent.host, "decky-02").await?;
    let [first, second] = [first, second].map(|one| one.operation_id.to_string());
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let same = first.bytes().zip(second.bytes());
    let common = same.take_while(|(one, other)| one == other).count();
    // The first six digits of an id change every four hours.
    let ambiguous = cli.run(&["op", &first[..6]]).await?;
    ambiguous.expect_failure(4, &["ambiguous", &first, &second, "worker-a/decky-02"])?;
    let nothing = cli.run(&["cancel", "ffff"]).await?;
    nothing.expect_failure(3, &["starts with ffff", "scuttle ops"])?;
    let invalid = cli.run(&["retry", "decky-01"]).await?;
    invalid.expect_failure(2, &["decky-01", "an operation id looks like"])?;
    let cancelled = cli.run(&["cancel", &second[..=common]]).await?;
    let shown = cancelled.expect_success()?;
    assert!(shown.contains("decky-02 on worker-a"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn a_list_is_sorted_by_the_given_column() -> TestResult {
    let cluster = Cluster::start().await?;
    cluster.start_agent("worker-b", &["decky-01"]).await?;
    cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    let cli = Cli::with_role(&cluster, Role::Viewer)?;
    let names = async |arguments: &[&str], field: &str| -> anyhow::Result<Vec<Value>> {
        let records = cli.run_jsonl(arguments).await?;
        Ok(records.iter().map(|one| one[field].clone()).collect())
    };
    let sorted = names(&["hosts", "--sort", "name"], "name").await?;
    assert_eq!(sorted, ["worker-a", "worker-b"]);
    let sorted = names(&["hosts", "--sort", "-deckies"], "name").await?;
    assert_eq!(sorted, ["worker-a", "worker-b"]);
    let sorted = names(&["hosts", "--sort=deckies"], "name").await?;
    assert_eq!(sorted, ["worker-b", "worker-a"]);
    let sorted = names(&["shards", "worker-a", "--sort=-decky"], "decky_id").await?;
    assert_eq!(sorted, ["decky-02", "decky-01"]);
    let wrong = cli.run(&["ops", "--sort", "colour"]).await?;
    wrong.expect_failure(2, &["target, status, age, user"])?;
    Ok(())
}

#[tokio::test]
async fn times_are_local_unless_utc_is_given_and_json_has_utc() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["decky-01"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-01").await?;
    let id = accepted.operation_id.to_string();
    let server = &cluster.servers[0];
    let mut environment = Vec::from(server.environment(Role::Viewer));
    environment.push(("SCUTTLE_NATS_URL", server.url()));
    // A zone without a name in the database of time zones, four and a half hours before UTC.
    environment.push(("TZ", "TST4:30".to_owned()));
    let cli = Cli::with_environment(&cluster, environment)?;
    let local = cli.run(&["op", &id]).await?.expect_success()?;
    assert!(local.contains(" TST ("), "{local}");
    let utc = cli.run(&["op", &id, "--utc"]).await?.expect_success()?;
    let deadline = accepted.deadline.to_string();
    let (date, time) = (&deadline[..10], &deadline[11..19]);
    assert!(utc.contains(&format!("{date} {time} UTC")), "{utc}");
    let json = cli.run_json(&["op", &id], 0, "operation_get_reply").await?;
    assert_eq!(json["operation"]["deadline"], deadline);
    Ok(())
}

/// If the command filters the operations itself, the limit and the cursor count only the operations
/// that match.
#[tokio::test]
async fn a_filtered_list_ends_with_the_last_wanted_operation() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster
        .start_agent("worker-a", &["d-0", "d-1", "d-2", "d-3"])
        .await?;
    let mut ids = Vec::new();
    for decky in ["d-0", "d-1", "d-2", "d-3"] {
        ids.push(
            cluster
                .operator
                .tear_down(&agent.host, decky)
                .await?
                .operation_id,
        );
    }
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let cancelled = ids[2].to_string();
    cli.run(&["cancel", &cancelled]).await?.expect_success()?;
    let filter = [
        "ops", "--state", "queued", "--state", "running", "--limit", "2",
    ];
    let list = cli.run_json(&filter, 0, "operations_list").await?;
    let listed = list["operations"].as_array().map_or(0, Vec::len);
    assert_eq!(listed, 2, "{list:#}");
    assert_eq!(list["operations"][0]["decky_id"], "d-3");
    assert_eq!(list["operations"][1]["decky_id"], "d-1");
    let request = json!({ "after": list["next"] });
    let rest: Value = (cluster.operator)
        .request(subjects::OPERATIONS_LIST, &request)
        .await?;
    assert_eq!(rest["operations"][0]["decky_id"], "d-0");
    Ok(())
}

#[tokio::test]
async fn operations_are_listed_by_their_decky_and_by_whether_they_are_open() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    let ended = cluster.operator.tear_down(&agent.host, "decky-01").await?;
    let command = agent.next_command().await?;
    agent
        .report_success(command.operation_id, &["decky-01"])
        .await?;
    cluster.operator.wait_for_end(ended.operation_id).await?;
    let open = cluster.operator.tear_down(&agent.host, "decky-02").await?;
    let cli = Cli::with_role(&cluster, Role::Viewer)?;
    let list = async |filter: &[&str]| {
        let lines = cli.run_jsonl(&[&["ops"], filter].concat()).await?;
        let ids = lines.iter().map(|line| line["operation_id"].to_string());
        anyhow::Ok(ids.collect::<Vec<_>>())
    };
    let quoted = |id: scuttle_schemas::OperationId| format!("\"{id}\"");
    assert_eq!(
        list(&["--state", "open"]).await?,
        [quoted(open.operation_id)]
    );
    assert_eq!(
        list(&["--decky", "decky-01"]).await?,
        [quoted(ended.operation_id)]
    );
    let misspelt = cli.run(&["ops", "--user", "bobby"]).await?;
    assert!(
        misspelt
            .stderr
            .contains("No operations requested by bobby."),
        "{misspelt:?}"
    );
    Ok(())
}

/// An operator needs more than the fact that the operation waits for the agent.
#[tokio::test]
async fn an_operation_on_a_silent_host_proposes_to_start_the_agent() -> TestResult {
    let cluster = Cluster::start().await?;
    let host = cluster.enroll_host("worker-a").await?;
    let accepted = cluster.operator.tear_down(&host, None).await?;
    let cli = Cli::with_role(&cluster, Role::Viewer)?;
    let id = accepted.operation_id.to_string();
    let shown = cli.run(&["op", &id]).await?.expect_success()?;
    assert!(shown.contains("start scuttle-agent on worker-a"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn an_error_about_something_unknown_says_how_to_list_what_exists() -> TestResult {
    let cluster = Cluster::start().await?;
    cluster.enroll_host("worker-a").await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let id = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11";
    for (arguments, next_step) in [
        (&["op", id] as &[&str], "`scuttle ops`"),
        (
            &["teardown", "worker-a", "--decky", "decky-99"],
            "`scuttle shards`",
        ),
        (&["teardown", "worker-z", "--yes"], "`scuttle hosts`"),
    ] {
        cli.run(arguments).await?.expect_failure(3, &[next_step])?;
    }
    let retry = cli.run(&["retry"]).await?;
    retry.expect_failure(2, &["the ID of an operation, or --host HOST"])?;
    Ok(())
}

/// A standby controller takes over within seconds.
#[tokio::test]
async fn a_command_waits_a_moment_for_a_controller_that_takes_over() -> TestResult {
    let with_monitor = |text: &str| format!("{text}\nhttp: \"127.0.0.1:-1\"\n");
    let nats = Nats::start_with(with_monitor).await?;
    let monitor = nats.monitor().context("the server has no monitor")?;
    let folder = tempfile::tempdir()?;
    let mut environment = Vec::from(nats.environment(Role::Viewer));
    environment.push(("SCUTTLE_NATS_URL", nats.url()));
    let cli = Cli::in_directory(folder.path().to_owned(), environment)?;
    let controller = Client::connect(&nats, Role::Controller).await?;
    let count_requests = async || {
        let connz: Value = serde_json::from_str(&monitor.get("/connz").await?)?;
        let connections = connz["connections"].as_array().into_iter().flatten();
        let mut commands = connections.filter(|one| one["name"] == "scuttle");
        anyhow::Ok(commands.next().and_then(|one| one["in_msgs"].as_u64()))
    };
    let taking_over = async {
        let is_sent = |count: &Option<u64>| count.is_some_and(|count| count > 0);
        wait_until("a request without a controller", count_requests, is_sent).await?;
        let mut requests = controller.nats().subscribe(subjects::HOSTS_LIST).await?;
        let request = with_timeout("the request is repeated", requests.next()).await?;
        let reply = request.context("one")?.reply.context("a reply subject")?;
        let list = json!({ "revision": 1, "hosts": [online_host("worker-a")], "next": null });
        controller
            .nats()
            .publish(reply, list.to_string().into())
            .await?;
        controller.nats().flush().await?;
        anyhow::Ok(())
    };
    let (listed, taken) = tokio::join!(cli.run(&["hosts"]), taking_over);
    taken?;
    assert!(listed?.expect_success()?.contains("worker-a"));
    Ok(())
}

#[tokio::test]
async fn lists_are_filtered_by_labels_and_show_the_selected_columns() -> TestResult {
    let cluster = Cluster::start().await?;
    let operator = Cli::with_role(&cluster, Role::Operator)?;
    for (name, label) in [("worker-a", "rack=3"), ("worker-b", "rack=4")] {
        let enroll = ["enroll", name, "--label", label, "--label", "site=lab"];
        operator.run(&enroll).await?.expect_success()?;
    }
    let cli = Cli::with_role(&cluster, Role::Viewer)?;
    let list = async |arguments: &[&str]| {
        let arguments = [&["hosts", "--columns", "labels,name"], arguments].concat();
        cli.run(&arguments).await?.expect_success()
    };
    let both = list(&["-l", "site=lab"]).await?;
    assert_eq!(
        both,
        "LABELS           NAME\nrack=3,site=lab  worker-a\nrack=4,site=lab  worker-b"
    );
    let one = list(&["-l", "site=lab", "-l", "rack=4"]).await?;
    assert!(
        one.contains("worker-b") && !one.contains("worker-a"),
        "{one}"
    );
    let none = cli.run(&["shards", "-l", "rack=4"]).await?;
    assert!(none.stderr.contains("No deckies match."), "{none:?}");
    let unknown = cli.run(&["ops", "--columns", "host"]).await?;
    unknown.expect_failure(2, &["no column host", "target, status"])?;
    Ok(())
}
