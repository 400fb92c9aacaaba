//! The controller's configuration: flags take precedence over the environment, and the environment
//! over the file.

use scuttle_tests::programs::process::Process;
use scuttle_tests::wait::wait_until;
use scuttle_tests::{Client, Controller, Nats, Role, TestResult};

/// An address without a server. A controller that uses this address never replies.
const UNREACHABLE: &str = "nats://127.0.0.1:1";

/// A nats-server, a temporary directory, and an operator's connection to the server.
struct Fixture {
    nats: Nats,
    dir: tempfile::TempDir,
    operator: Client,
}

impl Fixture {
    async fn new() -> anyhow::Result<Self> {
        let nats = Nats::start().await?;
        let operator = Client::connect(&nats, Role::Operator).await?;
        let dir = tempfile::tempdir()?;
        Ok(Self {
            nats,
            dir,
            operator,
        })
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    /// Writes a configuration file and returns its path.
    fn write_file(&self, url: &str, data_dir: &str, password: &str) -> anyhow::Result<String> {
        let file = self.path("scuttle.toml");
        let text = format!(
            "nats_url = \"{url}\"\ndata_dir = \"{data_dir}\"\n\
             nats_user = \"controller\"\nnats_password = \"{password}\"\n"
        );
        std::fs::write(&file, text)?;
        Ok(file)
    }

    fn start(&self, arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<Process> {
        let mut command = Controller::command();
        command.args(arguments).envs(environment.iter().copied());
        Process::spawn("the controller", command, self.path("log").as_ref())
    }
}

fn path_exists(path: &str) -> bool {
    std::fs::exists(path).unwrap_or(false)
}

#[tokio::test]
async fn a_configuration_file_is_sufficient() -> TestResult {
    let place = Fixture::new().await?;
    let data = place.path("data");
    let file = place.write_file(
        &place.nats.url(),
        &data,
        place.nats.password(Role::Controller),
    )?;
    let _controller = place.start(&["--config", &file], &[])?;
    place.operator.wait_until_ready().await?;
    assert!(path_exists(&data));
    Ok(())
}

/// The environment also sets the path of the configuration file (`SCUTTLE_CONFIG`).
#[tokio::test]
async fn the_environment_takes_precedence_over_the_file() -> TestResult {
    let place = Fixture::new().await?;
    let (data, other) = (place.path("data"), place.path("other"));
    let file = place.write_file(UNREACHABLE, &other, "wrong")?;
    let url = place.nats.url();
    let environment = [
        ("SCUTTLE_CONFIG", file.as_str()),
        ("SCUTTLE_NATS_URL", &url),
        ("SCUTTLE_DATA_DIR", &data),
        (
            "SCUTTLE_NATS_PASSWORD",
            place.nats.password(Role::Controller),
        ),
    ];
    let _controller = place.start(&[], &environment)?;
    place.operator.wait_until_ready().await?;
    assert!(path_exists(&data) && !path_exists(&other));
    Ok(())
}

#[tokio::test]
async fn flags_take_precedence_over_the_environment() -> TestResult {
    let place = Fixture::new().await?;
    let (data, other) = (place.path("data"), place.path("other"));
    let file = place.write_file(UNREACHABLE, &other, "wrong")?;
    let url = place.nats.url();
    let flags = [
        "--config",
        file.as_str(),
        "--nats-url",
        &url,
        "--data-dir",
        &data,
        "--nats-user",
        "controller",
        "--nats-password",
        place.nats.password(Role::Controller),
        "--log-format",
        "json",
    ];
    let environment = [
        ("SCUTTLE_CONFIG", "/nowhere/at/all.toml"),
        ("SCUTTLE_NATS_URL", UNREACHABLE),
        ("SCUTTLE_DATA_DIR", &other),
        ("SCUTTLE_NATS_USER", "nobody"),
        ("SCUTTLE_NATS_PASSWORD", "wrong"),
        ("SCUTTLE_LOG_FORMAT", "text"),
    ];
    let controller = place.start(&flags, &environment)?;
    place.operator.wait_until_ready().await?;
    assert!(path_exists(&data) && !path_exists(&other));
    for line in controller.log().lines() {
        let parsed = serde_json::from_str::<serde_json::Value>(line);
        assert!(parsed.is_ok(), "not JSON: {line}");
    }
    Ok(())
}

#[tokio::test]
async fn an_invalid_configuration_ends_the_controller_with_an_error() -> TestResult {
    let place = Fixture::new().await?;
    let (url, data) = (place.nats.url(), place.path("data"));
    let misspelt = place.path("misspelt.toml");
    std::fs::write(&misspelt, "nats_ulr = \"nats://127.0.0.1:4222\"\n")?;
    let with = |more: &[&'static str]| {
        let given = ["--nats-url", url.as_str(), "--data-dir", data.as_str()];
        given
            .iter()
            .chain(more)
            .map(ToString::to_string)
            .collect::<Vec<String>>()
    };
    let rows = [
        (with(&["--log-format", "xml"]), "xml"),
        (
            with(&["--config", "/nowhere/at/all.toml"]),
            "/nowhere/at/all.toml",
        ),
        (
            with(&["--nats-creds", "/x.creds", "--nats-user", "controller"]),
            "--nats-creds",
        ),
        (with(&["--nats-user", "controller"]), "--nats-password"),
        (with(&["--frobnicate"]), "--frobnicate"),
        (vec!["--config".to_owned(), misspelt.clone()], "nats_ulr"),
    ];
    for (arguments, named) in rows {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        std::fs::write(place.path("log"), "")?;
        let mut controller = place.start(&arguments, &[])?;
        let exit = controller.wait_for_exit().await?;
        let log = controller.log();
        assert!(!exit.success(), "{arguments:?}: {log}");
        assert!(log.contains(named), "{arguments:?}: {log}");
        assert!(!log.contains("panicked"), "{arguments:?}: {log}");
    }
    Ok(())
}

/// Waiting would not help, so the controller ends, and its log says why.
#[tokio::test]
async fn a_missing_credentials_file_and_a_malformed_url_end_the_controller() -> TestResult {
    let place = Fixture::new().await?;
    let (url, data) = (place.nats.url(), place.path("data"));
    let creds = place.path("missing.creds");
    let malformed = "nats://a b".to_owned();
    for (url, creds, named) in [
        (url.as_str(), creds.as_str(), &creds),
        ("nats://a b", "", &malformed),
    ] {
        let flags = ["--nats-url", url, "--data-dir", &data];
        std::fs::write(place.path("log"), "")?;
        let mut controller = place.start(&flags, &[("SCUTTLE_NATS_CREDS", creds)])?;
        let exit = controller.wait_for_exit().await?;
        let log = controller.log();
        assert_eq!(exit.code(), Some(2), "{log}");
        assert!(log.contains(named.as_str()), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_logged_once() -> TestResult {
    let mut place = Fixture::new().await?;
    let (url, data) = (place.nats.url(), place.path("data"));
    let flags = [
        "--nats-url",
        &url,
        "--data-dir",
        &data,
        "--nats-user",
        "controller",
    ];
    let controller = place.start(&flags, &[("SCUTTLE_NATS_PASSWORD", "wrong")])?;
    let rejected = || {
        let log = place.nats.process().log();
        async move { Ok::<_, anyhow::Error>(log.matches("authentication error").count()) }
    };
    wait_until("the login was rejected", rejected, |count| *count >= 4).await?;
    let log = controller.log();
    let lines = log.lines().filter(|line| line.contains("authorization"));
    assert_eq!(lines.count(), 1, "{log}");
    assert!(log.contains("check the user, the password"), "{log}");
    Ok(())
}

/// A wrong data directory would otherwise show only as an empty swarm.
#[tokio::test]
async fn a_controller_warns_of_an_empty_new_record_once() -> TestResult {
    const WARNING: &str = "created an empty record in";
    let fixture = Fixture::new().await?;
    let data_dir = fixture.dir.path().join("controller");
    let mut controller = fixture.nats.start_controller(&data_dir)?;
    let line = controller.process().wait_for_line(WARNING).await?;
    assert!(
        line.contains("WARN") && line.contains("--data-dir"),
        "{line}"
    );
    fixture.operator.wait_until_ready().await?;
    controller.kill().await?;
    controller.restart().await?;
    fixture.operator.wait_until_ready().await?;
    let log = controller.process().log();
    assert_eq!(log.matches(WARNING).count(), 1, "{log}");
    Ok(())
}
