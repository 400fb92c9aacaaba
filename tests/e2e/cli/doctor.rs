//! `scuttle doctor`: a healthy cluster, and each kind of problem.

use anyhow::Result;
use scuttle_schemas::subjects;
use scuttle_tests::servers::nats_server::NatsServer;
use scuttle_tests::wait::current_timestamp;
use scuttle_tests::{
    Client, Cluster, Controller, Nats, ProvisionedServer, Role, TestResult, wait_until,
};
use serde_json::Value;

use super::cli_runner::{Cli, check_schema};

/// Runs `scuttle doctor` and checks its exit code. Returns the checks and their statuses in one
/// line, such as `server ok, version ok`, and the whole output.
async fn run_doctor(cli: &Cli, arguments: &[&str], code: i32) -> Result<(String, Value)> {
    let diagnosis = cli
        .run_json(&[&["doctor"], arguments].concat(), code, "cli/diagnosis")
        .await?;
    assert_eq!(diagnosis["healthy"], code == 0);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let checks = diagnosis["checks"].as_array().expect("a list of checks");
    let checks = checks
        .iter()
        .map(|one| format!("{} {}", word(&one["check"]), word(&one["status"])));
    Ok((checks.collect::<Vec<_>>().join(", "), diagnosis))
}

/// The results of all checks of a healthy swarm, where `durability` is that of the check of the
/// servers' storage.
fn all_ok(durability: &str) -> String {
    format!(
        "connection ok, server ok, version ok, login ok, authentication ok, permissions ok, controller ok, record ok, journal ok, accounts ok, durability {durability}, clock ok"
    )
}

#[tokio::test]
async fn doctor_finds_a_healthy_swarm_healthy_and_changes_nothing() -> TestResult {
    let cluster = Cluster::start().await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let (found, diagnosis) = run_doctor(&cli, &[], 0).await?;
    assert_eq!(found, all_ok("ok"), "{diagnosis:#}");
    let text = diagnosis.to_string();
    assert!(text.contains("is an operator"), "{text}");
    let viewer = Cli::with_role(&cluster, Role::Viewer)?;
    let (found, diagnosis) = run_doctor(&viewer, &[], 0).await?;
    assert_eq!(found, all_ok("skipped"), "{diagnosis:#}");
    assert!(
        diagnosis.to_string().contains("is a viewer"),
        "{diagnosis:#}"
    );
    let shown = cli.run(&["doctor"]).await?.expect_success()?;
    assert_eq!(
        shown
            .lines()
            .filter(|line| line.starts_with("✓ ok"))
            .count(),
        12,
        "{shown}"
    );
    for check in diagnosis["checks"].as_array().expect("a list of checks") {
        check_schema("cli/check", check)?;
    }
    assert!(cluster.operator.list_operations().await?.is_empty());
    assert!(cluster.operator.list_hosts().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn doctor_names_each_problem_and_what_to_do() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let (found, _) = run_doctor(&cli, &["--nats-password", "wrong"], 4).await?;
    assert!(
        found.contains("server ok") && found.contains("login failed"),
        "{found}"
    );
    let (found, diagnosis) = run_doctor(&cli, &["--nats-url", "nats://127.0.0.1:1"], 1).await?;
    assert!(
        found.contains("server failed") && found.contains("clock skipped"),
        "{found}"
    );
    assert!(
        diagnosis.to_string().contains("start nats-server"),
        "{diagnosis:#}"
    );
    // An agent may neither list nor subscribe.
    let agents = Cli::with_role(&cluster, Role::Agents)?;
    let (found, _) = run_doctor(&agents, &[], 4).await?;
    assert!(found.contains("permissions failed"), "{found}");
    cluster.controllers[0].kill().await?;
    let (found, diagnosis) = run_doctor(&cli, &[], 6).await?;
    assert!(
        found.contains(
            "permissions ok, controller failed, record skipped, journal skipped, accounts skipped"
        ),
        "{found}"
    );
    assert!(
        diagnosis.to_string().contains("start scuttle-controller"),
        "{diagnosis:#}"
    );
    Ok(())
}

/// The agent of the earlier boot still reports after that of the later one.
#[tokio::test]
async fn doctor_fails_if_two_agents_report_for_one_host() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let of_the_earlier = [agent.next_heartbeat(None), agent.next_heartbeat(None)];
    agent.reboot();
    agent.report_inventory(&["decky-1"]).await?;
    for heartbeat in &of_the_earlier {
        assert!(agent.send(heartbeat).await?.stale);
    }
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let (found, diagnosis) = run_doctor(&cli, &[], 1).await?;
    assert!(found.contains("agents failed"), "{found}");
    for output in [
        diagnosis.to_string(),
        cli.run(&["hosts"]).await?.expect_success()?,
    ] {
        let text = "two agents report for this host";
        assert!(
            output.contains("worker-a") && output.contains(text),
            "{output}"
        );
    }
    Ok(())
}

/// Starts a server with a changed `nats.conf` and a controller, runs `scuttle doctor`, and returns
/// the result of its durability check.
async fn check_durability(change: impl FnOnce(&str) -> String) -> Result<Value> {
    let nats = Nats::start_with(change).await?;
    let dir = tempfile::tempdir()?;
    let _controller = nats.start_controller(&dir.path().join("controller"))?;
    Client::connect(&nats, Role::Operator)
        .await?
        .wait_until_ready()
        .await?;
    let mut environment = Vec::from(nats.environment(Role::Operator));
    environment.push(("SCUTTLE_NATS_URL", nats.url()));
    let cli = Cli::in_directory(dir.path().join("home"), environment)?;
    // A warning does not make the swarm unhealthy.
    let (_, diagnosis) = run_doctor(&cli, &[], 0).await?;
    let all = diagnosis["checks"].as_array().expect("a list of checks");
    let check = all.iter().find(|one| one["check"] == "durability");
    Ok(check.expect("the durability check ran").clone())
}

#[tokio::test]
async fn doctor_warns_of_a_server_that_acknowledges_before_fsync() -> TestResult {
    let named = |configuration: &str| format!("server_name: \"nats-a\"\n{configuration}");
    let early =
        |configuration: &str| named(&configuration.replace("  sync_interval: always\n", ""));
    // Without the import, the request reaches no server.
    let no_import = |configuration: &str| {
        let name = format!("to: \"{}\"", subjects::SERVER_INFO);
        let import = |line: &&str| !line.contains(&name);
        configuration
            .lines()
            .filter(import)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let (named, early, no_import) = tokio::try_join!(
        check_durability(named),
        check_durability(early),
        check_durability(no_import)
    )?;
    assert_eq!(named["status"], "ok", "{named:#}");
    assert!(named["found"].to_string().contains("nats-a"), "{named:#}");
    assert_eq!(early["status"], "warning", "{early:#}");
    for arguments in ["nats-a", "2 min 0 s", "power cut"] {
        assert!(early["found"].to_string().contains(arguments), "{early:#}");
    }
    let to_do = early["to_do"].to_string();
    assert!(to_do.contains("sync_interval: always"), "{early:#}");
    assert_eq!(no_import["status"], "skipped", "{no_import:#}");
    Ok(())
}

/// The configuration that `scuttle init` creates makes the server sync before each acknowledgement,
/// as `nats.conf` does, and lets an operator request the server information that the check needs.
#[tokio::test]
async fn doctor_finds_the_configuration_of_init_durable() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let _controller = bus.start_controller().await?;
    let diagnosis = bus
        .run_scuttle(&["doctor", "-o", "json"])
        .await?
        .expect_success()?;
    let diagnosis: Value = serde_json::from_str(&diagnosis)?;
    let all = diagnosis["checks"].as_array().expect("a list of checks");
    let check = all.iter().find(|one| one["check"] == "durability");
    assert_eq!(
        check.expect("the durability check ran")["status"],
        "ok",
        "{diagnosis:#}"
    );
    Ok(())
}

/// Starts a controller on the server, runs `scuttle doctor` as an operator, and returns the checks
/// and the output. `code` is the expected exit code.
async fn diagnose(nats: &Nats, code: i32) -> Result<(String, Value)> {
    let dir = tempfile::tempdir()?;
    let _controller = nats.start_controller(&dir.path().join("controller"))?;
    let operator = Client::connect(nats, Role::Operator).await?;
    operator.wait_until_ready().await?;
    let mut environment = Vec::from(nats.environment(Role::Operator));
    environment.push(("SCUTTLE_NATS_URL", nats.url()));
    let cli = Cli::in_directory(dir.path().join("home"), environment)?;
    run_doctor(&cli, &[], code).await
}

#[tokio::test]
async fn doctor_fails_if_the_accounts_hide_requesters_or_let_users_forge_broadcasts() -> TestResult
{
    let not_shared = |conf: &str| conf.replace("share: true", "share: false");
    let not_mapped = |conf: &str| {
        let is_mapping = |line: &&str| line.contains("_DIVERTED");
        let lines: Vec<_> = conf.lines().filter(|line| !is_mapping(line)).collect();
        lines.join("\n")
    };
    let not_imported = |conf: &str| {
        let subject = subjects::OPERATIONS_UPDATED;
        let import = format!("{{ stream: {{ account: SCUTTLE, subject: \"{subject}\" }} }}");
        conf.replace(&import, "")
    };
    let (not_shared, not_mapped, not_imported) = (
        Nats::start_with(not_shared).await?,
        Nats::start_with(not_mapped).await?,
        Nats::start_with(not_imported).await?,
    );
    let (not_shared, not_mapped, not_imported) = tokio::try_join!(
        diagnose(&not_shared, 1),
        diagnose(&not_mapped, 1),
        diagnose(&not_imported, 1)
    )?;
    for ((found, diagnosis), check, to_do) in [
        (not_shared, "accounts failed", "share: true"),
        (not_mapped, "accounts failed", "mappings"),
        (not_imported, "clock failed", "import the broadcasts"),
    ] {
        assert!(found.contains(check), "{check}: {diagnosis:#}");
        assert!(diagnosis.to_string().contains(to_do), "{diagnosis:#}");
    }
    Ok(())
}

#[tokio::test]
async fn doctor_fails_a_server_without_authentication() -> TestResult {
    let dir = tempfile::tempdir()?;
    let nats = dir.path().join("nats");
    std::fs::create_dir(&nats)?;
    let server = NatsServer::start_without_accounts(&nats).await?;
    let data = dir.path().join("controller");
    let mut controller = Controller::start(&server.url(), Vec::new(), &data)?;
    controller.process().wait_for_line("ready").await?;
    let environment = vec![("SCUTTLE_NATS_URL", server.url())];
    let cli = Cli::in_directory(dir.path().join("home"), environment)?;
    let (found, diagnosis) = run_doctor(&cli, &[], 1).await?;
    for check in ["authentication failed", "accounts failed"] {
        assert!(found.contains(check), "{diagnosis:#}");
    }
    assert!(
        diagnosis.to_string().contains("scuttle init"),
        "{diagnosis:#}"
    );
    Ok(())
}

#[tokio::test]
async fn doctor_warns_of_an_agent_of_another_version_and_a_controller_without_its_page()
-> TestResult {
    let mut cluster = Cluster::builder()
        .setting("SCUTTLE_HTTP", "127.0.0.1:0")
        .start()
        .await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut heartbeat = agent.next_heartbeat(None);
    heartbeat.agent_version = "0.0.9".into();
    agent.send(&heartbeat).await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let (found, diagnosis) = run_doctor(&cli, &[], 0).await?;
    assert!(found.contains("versions warning"), "{diagnosis:#}");
    let differing = format!("worker-a ({}) 0.0.9", agent.host);
    assert!(diagnosis.to_string().contains(&differing), "{diagnosis:#}");
    let http = cluster.controllers[0].http().await?;
    let has_page = http.send("GET /").await?.contains("200 OK");
    assert_ne!(found.contains("page warning"), has_page, "{diagnosis:#}");
    Ok(())
}

#[tokio::test]
async fn doctor_gives_up_on_a_suspended_controller_and_says_what_it_waited_for() -> TestResult {
    let mut cluster = Cluster::start().await?;
    cluster.controllers[0].process().send_signal("STOP").await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let (found, diagnosis) = run_doctor(&cli, &[], 1).await?;
    assert!(found.ends_with("permissions failed"), "{found}");
    let text = "still waiting for the controller and the server after 10 s";
    assert!(diagnosis.to_string().contains(text), "{diagnosis:#}");
    Ok(())
}

#[tokio::test]
async fn doctor_fails_if_the_clock_of_a_host_differs_from_the_controllers() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    for (skew_ms, failed) in [(75_000, true), (0, false), (-75_000, true)] {
        for _ in 0..2 {
            let mut heartbeat = agent.next_heartbeat(None);
            heartbeat.sent_at = Some(current_timestamp().plus_millis(skew_ms));
            agent.send(&heartbeat).await?;
        }
        let code = u8::from(failed).into();
        let (found, diagnosis) = run_doctor(&cli, &[], code).await?;
        assert_eq!(found.contains("clocks failed"), failed, "{diagnosis:#}");
        let note = format!(
            "worker-a ({}): the clock of this host is about 7",
            agent.host
        );
        assert_eq!(
            diagnosis.to_string().contains(&note),
            failed,
            "{diagnosis:#}"
        );
    }
    Ok(())
}

/// The controllers run, but cannot serve. Starting another would not help.
#[tokio::test]
async fn doctor_says_that_too_few_servers_are_running() -> TestResult {
    let mut cluster = Cluster::builder().servers(3).controllers(1).start().await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    for server in &mut cluster.servers[1..] {
        server.kill().await?;
    }
    let majority = "only 1 of the 3 servers of the JetStream cluster replies";
    let diagnose = async || {
        let (found, diagnosis) = run_doctor(&cli, &[], 6).await?;
        anyhow::Ok(format!("{found}: {diagnosis}"))
    };
    // Until its lease has expired, the controller still replies.
    let is_noticed = |diagnosis: &String| diagnosis.contains(majority);
    let diagnosis = wait_until("doctor finds no majority", diagnose, is_noticed).await?;
    assert!(
        diagnosis.contains("start the other NATS servers"),
        "{diagnosis}"
    );
    Ok(())
}
