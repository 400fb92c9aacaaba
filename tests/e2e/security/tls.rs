//! TLS with a certificate authority that the test creates. Programs trust only the configured
//! authority, send nothing without TLS, and present a client certificate if the server requires
//! one.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use scuttle_tests::certificates::CertificateAuthority;
use scuttle_tests::cluster::provisioned_server::connect_options;
use scuttle_tests::programs::agent::AgentOptions;
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::program_command;
use scuttle_tests::programs::scuttle::run_scuttle;
use scuttle_tests::servers::nats_server::{NatsServer, ServerSetup, find_free_ports};
use scuttle_tests::{
    Client, Controller, Nats, ProvisionedServer, Role, Simulator, TestResult, wait_until,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Converts a path to a command-line argument.
fn to_argument(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// Starts a server with `nats.conf` and a `tls` block. If `mutual` is true, the server requires
/// client certificates.
async fn start_tls_server(ca: &CertificateAuthority, mutual: bool) -> Result<Nats> {
    let block = tls_block(ca, mutual)?;
    Nats::start_with(|configuration| format!("{configuration}{block}")).await
}

/// Returns a `tls` block for `nats.conf`.
fn tls_block(ca: &CertificateAuthority, mutual: bool) -> Result<String> {
    let (certificate, key) = ca.issue("server")?;
    let verify = if mutual {
        format!("ca_file: \"{}\"\n verify: true\n", to_argument(&ca.file()))
    } else {
        String::new()
    };
    let (certificate, key) = (to_argument(&certificate), to_argument(&key));
    Ok(format!(
        "\ntls {{\n cert_file: \"{certificate}\"\n key_file: \"{key}\"\n {verify}}}\n"
    ))
}

/// Returns the environment of a program that connects as `role` and trusts the authority in the
/// file `ca`.
fn trusting_environment(nats: &Nats, role: Role, ca: &Path) -> Vec<(&'static str, String)> {
    let mut environment: Vec<_> = nats.environment(role).into();
    environment.push(("SCUTTLE_TLS_CA", to_argument(ca).to_owned()));
    environment
}

/// The programs and a plain NATS client need only the certificate of the authority.
#[tokio::test]
async fn all_programs_connect_with_tls() -> TestResult {
    let dir = tempfile::tempdir()?;
    let ca = CertificateAuthority::create(dir.path(), "authority")?;
    let nats = start_tls_server(&ca, false).await?;
    let environment = trusting_environment(&nats, Role::Controller, &ca.file());
    let mut controller =
        Controller::start(&nats.url(), environment, &dir.path().join("controller"))?;
    controller.process().wait_for_line("ready").await?;
    let sim = dir.path().join("sim");
    let authority = ca.file();
    let arguments = [
        "--hosts",
        "2",
        "--enroll",
        "--tls-ca",
        to_argument(&authority),
    ];
    let mut command = Simulator::command(&nats.url(), nats.passwords(), &sim);
    command.args(arguments);
    let _sim = Simulator::start(command, &sim).await?;
    let options = nats
        .connect_options(Role::Operator)
        .add_root_certificates(ca.file());
    let operator = Client::connect_with(options, &nats.url()).await?;
    assert_eq!(operator.list_hosts().await?.len(), 2);
    Ok(())
}

/// Each error names the option to check, `--tls-ca`.
#[tokio::test]
async fn programs_reject_a_wrong_authority_and_a_server_without_tls() -> TestResult {
    let dir = tempfile::tempdir()?;
    let ca = CertificateAuthority::create(dir.path(), "authority")?;
    let other = CertificateAuthority::create(dir.path(), "other")?;
    let (nats, plain) = (start_tls_server(&ca, false).await?, Nats::start().await?);
    for (nats, ca) in [(&nats, &other), (&plain, &ca)] {
        let place = tempfile::tempdir()?;
        let environment = trusting_environment(nats, Role::Controller, &ca.file());
        let mut controller = Controller::start(&nats.url(), environment, &place.path().join("c"))?;
        controller.process().wait_for_line("--tls-ca").await?;
        let mut sim = program_command("scuttle-agent-sim");
        sim.args([
            "--nats-url",
            &nats.url(),
            "--tls-ca",
            to_argument(&ca.file()),
        ]);
        sim.envs(nats.environment(Role::Agents));
        let mut sim = Process::spawn("the simulator", sim, &place.path().join("sim.log"))?;
        sim.wait_for_line("--tls-ca").await?;
    }
    Ok(())
}

/// The server rejects clients without TLS before their login, and clients reject a server whose
/// authority they do not know.
#[tokio::test]
async fn connections_without_tls_are_rejected() -> TestResult {
    let dir = tempfile::tempdir()?;
    let nats = start_tls_server(
        &CertificateAuthority::create(dir.path(), "authority")?,
        false,
    )
    .await?;
    let unknown = Client::connect(&nats, Role::Operator).await.map(|_| ());
    unknown.expect_err("the authority is unknown");
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", nats.port())).await?;
    let password = nats.password(Role::Operator);
    let login = format!("CONNECT {{\"user\":\"operator\",\"pass\":\"{password}\"}}\r\nPING\r\n");
    stream.write_all(login.as_bytes()).await?;
    let mut response = Vec::new();
    // The server may close the connection before it has read everything, which is an error here
    // with the same meaning.
    let _ =
        scuttle_tests::wait::with_timeout("the server closes", stream.read_to_end(&mut response))
            .await?;
    let response = String::from_utf8_lossy(&response);
    ensure!(
        response.starts_with("INFO") && !response.contains("PONG"),
        "{response}"
    );
    Ok(())
}

/// A client without a certificate, or with a certificate of another authority, is rejected before
/// its login.
#[tokio::test]
async fn mutual_tls_accepts_only_clients_with_a_valid_certificate() -> TestResult {
    let dir = tempfile::tempdir()?;
    let ca = CertificateAuthority::create(dir.path(), "authority")?;
    let other = CertificateAuthority::create(dir.path(), "other")?;
    let nats = start_tls_server(&ca, true).await?;
    let agent = async |own: Option<(std::path::PathBuf, std::path::PathBuf)>| {
        let options = nats
            .connect_options(Role::Agents)
            .add_root_certificates(ca.file());
        let options = match own {
            Some((certificate, key)) => options.add_client_certificate(certificate, key),
            None => options,
        };
        Client::connect_with(options, &nats.url()).await
    };
    for rejection in [None, Some(other.issue("agent")?)] {
        agent(rejection)
            .await
            .map(|_| ())
            .expect_err("no certificate of this authority");
    }
    agent(Some(ca.issue("agent")?)).await?;

    let (certificate, key) = ca.issue("controller")?;
    let mut environment = trusting_environment(&nats, Role::Controller, &ca.file());
    let place = dir.path().join("without");
    let mut without = Controller::start(&nats.url(), environment.clone(), &place)?;
    without.process().wait_for_line("--tls-c").await?;
    environment.push(("SCUTTLE_TLS_CERT", to_argument(&certificate).to_owned()));
    environment.push(("SCUTTLE_TLS_KEY", to_argument(&key).to_owned()));
    let mut with = Controller::start(&nats.url(), environment, &dir.path().join("with"))?;
    with.process().wait_for_line("ready").await?;
    Ok(())
}

/// All programs connect to a server that `scuttle init` has configured with a certificate.
#[tokio::test]
async fn init_configures_a_server_with_mutual_tls() -> TestResult {
    let dir = tempfile::tempdir()?;
    let ca = CertificateAuthority::create(dir.path(), "authority")?;
    let (certificate, key) = ca.issue("server")?;
    let (own, own_key) = ca.issue("program")?;
    let authority = ca.file();
    let init = [
        "--server-cert",
        to_argument(&certificate),
        "--server-key",
        to_argument(&key),
        "--client-ca",
        to_argument(&authority),
    ];
    let trust = ["--tls-ca", to_argument(&authority)];
    let shown = [
        "--tls-cert",
        to_argument(&own),
        "--tls-key",
        to_argument(&own_key),
    ];
    let bus = ProvisionedServer::start_with(TempDir::new()?, &init, &trust).await?;
    let environment = vec![
        (
            "SCUTTLE_NATS_CREDS",
            to_argument(&bus.credentials("controller")).to_owned(),
        ),
        ("SCUTTLE_TLS_CA", to_argument(&authority).to_owned()),
        ("SCUTTLE_TLS_CERT", to_argument(&own).to_owned()),
        ("SCUTTLE_TLS_KEY", to_argument(&own_key).to_owned()),
    ];
    let mut controller = Controller::start(&bus.url(), environment, &bus.path("controller"))?;
    controller.process().wait_for_line("ready").await?;

    let enroll = ["enroll", "worker-a", "--host-uuid", "worker-a"];
    bus.run_scuttle(&enroll)
        .await?
        .expect_failure(6, &["--tls-c"])?;
    let line = bus
        .run_scuttle(&[&enroll[..], &shown].concat())
        .await?
        .expect_success()?;
    ensure!(line.contains("--tls-ca"), "{line}");
    let host = "worker-a".parse()?;
    let options = connect_options(&bus.path("worker-a.creds"))?
        .custom_inbox_prefix(scuttle_schemas::subjects::agent_inbox_prefix(&host))
        .add_root_certificates(authority.clone())
        .add_client_certificate(own.clone(), own_key.clone());
    let client = Client::connect_with(options, &bus.url()).await?;
    let mut agent = scuttle_tests::FakeAgent::connect_with(client, &host).await?;
    agent
        .report_inventory(&["decky-1"])
        .await
        .context("over TLS")?;
    let decommission = [
        &["decommission", "worker-a", "--force", "--yes"],
        &shown[..],
    ]
    .concat();
    bus.run_scuttle(&decommission).await?.expect_success()?;
    Ok(())
}

/// Starts a cluster of three servers without accounts, which announce each other as 127.0.0.1. The
/// certificate of all servers is valid for `name` only.
async fn start_tls_cluster(ca: &CertificateAuthority, name: &str) -> Result<Vec<NatsServer>> {
    let (certificate, key) = ca.issue_for("cluster", &[name])?;
    let routes = find_free_ports::<3>()?;
    let urls = routes
        .map(|port| format!("\"nats://127.0.0.1:{port}\""))
        .join(", ");
    let mut servers = Vec::new();
    for (number, port) in routes.into_iter().enumerate() {
        let dir = (ca.file().parent().context("a directory")?).join(format!("server-{number}"));
        std::fs::create_dir_all(&dir)?;
        let configuration = dir.join("nats.conf");
        let (certificate, key) = (to_argument(&certificate), to_argument(&key));
        let text = format!(
            "host: 127.0.0.1\nserver_name: server-{number}\n\
             tls {{ cert_file: \"{certificate}\", key_file: \"{key}\", timeout: 10 }}\n\
             cluster {{ name: tls, listen: \"127.0.0.1:{port}\", routes: [{urls}] }}\n"
        );
        std::fs::write(&configuration, text)?;
        let setup = ServerSetup {
            configuration,
            dir,
            store: None,
            environment: Vec::new(),
        };
        servers.push(NatsServer::start(&setup, None).await?);
    }
    Ok(servers)
}

/// The controller knows one server by name, and the others by the addresses that they announce. The
/// certificate names no address.
#[tokio::test]
async fn a_controller_fails_over_to_an_announced_address_with_tls() -> TestResult {
    const NAME: &str = "localhost";
    let dir = tempfile::tempdir()?;
    let ca = CertificateAuthority::create(dir.path(), "authority")?;
    let mut servers = start_tls_cluster(&ca, NAME).await?;
    let url = |server: &NatsServer| format!("tls://{NAME}:{}", server.port);
    let connect = async |server: &NatsServer| {
        let options = async_nats::ConnectOptions::new();
        let options = options.add_root_certificates(ca.file());
        Client::connect_with(options.ignore_discovered_servers(), &url(server)).await
    };
    // The first server announces the others when their routes are up.
    let client = connect(&servers[0]).await?;
    let announced = || async {
        let client = connect(&servers[0]).await?;
        anyhow::Ok(client.nats().server_info().connect_urls.len())
    };
    wait_until("the servers announce each other", announced, |count| {
        *count == 3
    })
    .await?;
    let environment = vec![("SCUTTLE_TLS_CA", to_argument(&ca.file()).to_owned())];
    let mut controller = Controller::start(
        &url(&servers[0]),
        environment,
        &dir.path().join("controller"),
    )?;
    client.wait_until_ready().await?;
    controller.process().ensure_running()?;

    servers[0].stop().await?;
    let client = connect(&servers[1]).await?;
    client.wait_until_ready().await?;
    assert!(client.enroll("worker-a").await?.accepted);

    // A server whose certificate is for another name is not trusted at any address.
    let other = start_tls_cluster(&ca, "other.example").await?;
    let environment = vec![("SCUTTLE_TLS_CA", to_argument(&ca.file()).to_owned())];
    let mut controller =
        Controller::start(&url(&other[0]), environment, &dir.path().join("other"))?;
    controller
        .process()
        .wait_for_line("waiting for the NATS server")
        .await?;
    Ok(())
}

/// While a NATS client reconnects, the client reports only the kind of each failure. The server has
/// TLS after its restart, with an authority that the programs do not know.
#[tokio::test]
async fn programs_that_cannot_reconnect_log_the_cause_and_the_remedy() -> TestResult {
    let dir = tempfile::tempdir()?;
    let server = dir.path().join("server");
    let mut nats = Nats::start_in(&server, str::to_owned).await?;
    let mut controller = nats.start_controller(&dir.path().join("controller"))?;
    controller.process().wait_for_line("ready").await?;
    let agent = AgentOptions {
        url: nats.url(),
        login: nats.environment(Role::Agents).into(),
        host: "worker-a".parse()?,
        docker: "unix:///nowhere/docker.sock".to_owned(),
        data_dir: dir.path().join("agent"),
        flags: Vec::new(),
        launcher: Vec::new(),
    };
    let mut agent = agent.start()?;
    agent.wait_for_line("ready").await?;

    let authority = CertificateAuthority::create(dir.path(), "authority")?;
    nats.stop().await?;
    let configuration = server.join("nats.conf");
    let text = std::fs::read_to_string(&configuration)?;
    std::fs::write(&configuration, text + &tls_block(&authority, false)?)?;
    nats.restart().await?;
    for process in [controller.process(), &mut agent] {
        let line = process.wait_for_line("cannot reconnect").await?;
        for text in ["UnknownIssuer", "--tls-ca"] {
            assert!(line.contains(text), "{text} is missing in: {line}");
        }
    }
    Ok(())
}

/// Otherwise the mistake would show only when the first program connects.
#[tokio::test]
async fn init_rejects_a_certificate_with_which_no_program_could_connect() -> TestResult {
    let dir = tempfile::tempdir()?;
    let ca = CertificateAuthority::create(dir.path(), "authority")?;
    let other = CertificateAuthority::create(dir.path(), "other")?;
    let (certificate, key) = ca.issue_for("server", &["nats.example", "127.0.0.1"])?;
    let (_, other_key) = ca.issue("another")?;
    let (authority, stranger) = (ca.file(), other.file());
    let init = async |key: &Path, rest: &[&str]| {
        let certificate = ["--server-cert", to_argument(&certificate)];
        let key = ["--server-key", to_argument(key)];
        let arguments = [&["init"], &certificate[..], &key, rest].concat();
        run_scuttle(dir.path(), &arguments, &[]).await
    };
    let trust = |ca| ["--server-ca", to_argument(ca)];
    let url = |url| ["--url", url];
    for (key, rest, texts) in [
        (&other_key, vec![], ["another.key", "server.crt"]),
        (
            &key,
            trust(&stranger).to_vec(),
            ["other.pem", "UnknownIssuer"],
        ),
        (
            &key,
            [trust(&authority), url("tls://elsewhere.example:4222")].concat(),
            ["elsewhere.example", "valid for this address"],
        ),
        (
            &key,
            url("nats://nats.example:4222").to_vec(),
            ["--url tls://", "nats://nats.example:4222"],
        ),
    ] {
        init(key, &rest).await?.expect_failure(2, &texts)?;
        assert!(!dir.path().join("bus").exists());
    }
    let arguments = ["init", "--url", "tls://nats.example:4222"];
    let without = run_scuttle(dir.path(), &arguments, &[]).await?;
    without.expect_failure(2, &["no certificate", "--server-cert"])?;
    let rest = [trust(&authority), url("tls://nats.example:4222")].concat();
    init(&key, &rest).await?.expect_success()?;
    Ok(())
}
