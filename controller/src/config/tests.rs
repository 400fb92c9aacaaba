//! Tests which source of an option takes precedence (flag, environment variable, file or default),
//! and which errors invalid configurations cause.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use scuttle_nats::{ConnectConfig, Credentials, Tls};

use scuttle_telemetry::LogFormat;

use super::command::Command;
use super::options::{Config, ConfigError, Journal, StoreKind};
use crate::http::static_files::NatsUrls;
use crate::ops::migrate::Migration;

fn connect_config(url: &str, credentials: Credentials) -> ConnectConfig {
    ConnectConfig {
        url: url.to_owned(),
        credentials,
        tls: Tls::default(),
    }
}

/// Loads the configuration of a running controller from flags, environment variables, and the text
/// of an optional configuration file.
fn load_config(
    flags: &[&str],
    variables: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Config, ConfigError> {
    match load_command(flags, variables, file)? {
        Command::Serve(config) => Ok(*config),
        other => panic!("{other:?}"),
    }
}

fn load_command(
    flags: &[&str],
    variables: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Command, ConfigError> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("scuttle.toml");
    let mut args = vec![OsString::from("scuttle-controller")];
    args.extend(flags.iter().map(OsString::from));
    if let Some(text) = file {
        fs::write(&path, text).expect("a file");
        args.extend(["--config".into(), path.into_os_string()]);
    }
    Command::load_from(args.into_iter(), |name| {
        let found = variables.iter().find(|variable| variable.0 == name);
        found.map(|variable| variable.1.into())
    })
}

fn check_rejected(flags: &[&str], variables: &[(&str, &str)], file: Option<&str>, words: &[&str]) {
    let error = load_command(flags, variables, file).expect_err("rejected");
    for word in words {
        assert!(
            error.to_string().contains(word),
            "{word:?} is missing in: {error}"
        );
    }
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn options_that_are_not_set_have_defaults() {
    let config = load_config(&["--data-dir", "/d"], &[], None).expect("a configuration");
    let expected = Config {
        nats: connect_config("nats://127.0.0.1:4222", Credentials::Anonymous),
        data_dir: PathBuf::from("/d"),
        journal: Journal::Own,
        log: None,
        log_format: LogFormat::Text,
        audit_log: None,
        http: None,
        web_nats_url: NatsUrls::default(),
        otlp_endpoint: None,
    };
    assert_eq!(config, expected);
    check_rejected(&[], &[], None, &["--data-dir", "SCUTTLE_DATA_DIR"]);
    check_rejected(&[], &[("SCUTTLE_DATA_DIR", "")], None, &["--data-dir"]);
}

#[test]
fn flags_take_precedence_over_the_environment_and_the_environment_over_the_file() {
    let all = [
        (
            "--nats-url",
            "SCUTTLE_NATS_URL",
            "nats_url",
            ["u1", "u2", "u3"],
        ),
        (
            "--data-dir",
            "SCUTTLE_DATA_DIR",
            "data_dir",
            ["d1", "d2", "d3"],
        ),
        (
            "--nats-user",
            "SCUTTLE_NATS_USER",
            "nats_user",
            ["n1", "n2", "n3"],
        ),
        (
            "--nats-password",
            "SCUTTLE_NATS_PASSWORD",
            "nats_password",
            ["p1", "p2", "p3"],
        ),
        ("--log", "SCUTTLE_LOG", "log", ["error", "warn", "info"]),
        (
            "--log-format",
            "SCUTTLE_LOG_FORMAT",
            "log_format",
            ["text", "json", "text"],
        ),
        (
            "--audit-log",
            "SCUTTLE_AUDIT_LOG",
            "audit_log",
            ["a1", "a2", "a3"],
        ),
        (
            "--http",
            "SCUTTLE_HTTP",
            "http",
            ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"],
        ),
        (
            "--web-nats-url",
            "SCUTTLE_WEB_NATS_URL",
            "web_nats_url",
            ["ws://w1", "ws://w2", "ws://w3"],
        ),
        (
            "--otlp-endpoint",
            "SCUTTLE_OTLP_ENDPOINT",
            "otlp_endpoint",
            ["http://o1", "http://o2", "http://o3"],
        ),
    ];
    for mask in 0..4 {
        let (mut flags, mut variables, mut file) = (vec![], vec![], String::new());
        for (flag, variable, key, [in_flag, in_variable, in_file]) in all {
            if mask & 1 != 0 {
                flags.extend([flag, in_flag]);
            }
            if mask & 2 != 0 {
                variables.push((variable, in_variable));
            }
            file.extend([key, " = \"", in_file, "\"\n"]);
        }
        let config = load_config(&flags, &variables, Some(&file)).expect("a configuration");
        let layer = match mask {
            0 => 3,
            2 => 2,
            _ => 1,
        };
        assert_eq!(config, config_of_layer(layer));
    }
}

/// Returns the configuration in which every option has the value that the given layer sets: 1 for
/// flags, 2 for variables, 3 for the file.
fn config_of_layer(layer: u16) -> Config {
    Config {
        nats: connect_config(
            &format!("u{layer}"),
            Credentials::Password {
                user: format!("n{layer}"),
                password: format!("p{layer}").as_str().into(),
            },
        ),
        data_dir: PathBuf::from(format!("d{layer}")),
        journal: Journal::Own,
        log: Some(
            ["error", "warn", "info"][usize::from(layer) - 1]
                .parse()
                .expect("a filter"),
        ),
        log_format: if layer == 2 {
            LogFormat::Json
        } else {
            LogFormat::Text
        },
        audit_log: Some(PathBuf::from(format!("a{layer}"))),
        http: Some(SocketAddr::from(([127, 0, 0, 1], layer))),
        web_nats_url: format!("ws://w{layer}").parse().expect("an address"),
        otlp_endpoint: Some(format!("http://o{layer}").parse().expect("an address")),
    }
}

#[test]
fn each_option_comes_from_the_first_source_that_sets_it() {
    let config = load_config(
        &["--nats-user", "alice"],
        &[
            ("SCUTTLE_NATS_PASSWORD", "hunter2"),
            ("SCUTTLE_NATS_URL", ""),
        ],
        Some("data_dir = \"/d\"\nnats_url = \"tls://n\"\n"),
    )
    .expect("a configuration");
    assert_eq!(config.nats.url, "tls://n");
    let Credentials::Password { user, password } = &config.nats.credentials else {
        panic!("{config:?}");
    };
    assert_eq!((user.as_str(), password.expose()), ("alice", "hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_standard_variable_names_the_collector_if_our_own_does_not() {
    let standard = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://standard:4318");
    let ours = ("SCUTTLE_OTLP_ENDPOINT", "http://ours:4318");
    for (variables, host) in [(&[standard][..], "standard"), (&[standard, ours], "ours")] {
        let config = load_config(&["--data-dir", "/d"], variables, None).expect("a configuration");
        let endpoint = config.otlp_endpoint.map(|endpoint| endpoint.to_string());
        assert_eq!(endpoint, Some(format!("http://{host}:4318/v1/traces")));
    }
}

#[test]
fn the_file_may_be_named_in_the_environment() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "data_dir = \"/d\"\nnats_creds = \"/c\"").expect("a file");
    let name = file.path().to_str().expect("a name");
    let config = load_config(&[], &[("SCUTTLE_CONFIG", name)], None).expect("a configuration");
    assert_eq!(config.nats.credentials, Credentials::File("/c".into()));
}

#[test]
fn incomplete_and_conflicting_credentials_are_rejected() {
    let user = ("SCUTTLE_NATS_USER", "alice");
    let password = ("SCUTTLE_NATS_PASSWORD", "hunter2");
    let creds = ("SCUTTLE_NATS_CREDS", "/c");
    check_rejected(&[], &[user], None, &["--nats-user needs --nats-password"]);
    check_rejected(
        &[],
        &[password],
        None,
        &["--nats-password needs --nats-user"],
    );
    check_rejected(
        &[],
        &[user, password, creds],
        None,
        &["--nats-creds cannot be used with --nats-user"],
    );
    check_rejected(
        &[],
        &[user, creds],
        None,
        &["--nats-creds cannot be used with --nats-user"],
    );
}

#[test]
fn credentials_of_one_kind_replace_those_of_another_kind_from_lower_sources() {
    let user = [
        ("SCUTTLE_NATS_USER", "alice"),
        ("SCUTTLE_NATS_PASSWORD", "hunter2"),
    ];
    let creds = [("SCUTTLE_NATS_CREDS", "/c")];
    let credentials = |flags: &[&str], variables: &[(&str, &str)], file: Option<&str>| {
        let flags = [&["--data-dir", "/d"], flags].concat();
        let config = load_config(&flags, variables, file).expect("a configuration");
        config.nats.credentials
    };
    let file_creds = Credentials::File("/c".into());
    let alice = Credentials::Password {
        user: "alice".to_owned(),
        password: "hunter2".into(),
    };
    let in_file = Some("nats_user = \"alice\"\nnats_password = \"hunter2\"\n");
    assert_eq!(credentials(&["--creds", "/c"], &user, None), file_creds);
    assert_eq!(credentials(&["--creds", "/c"], &[], in_file), file_creds);
    assert_eq!(credentials(&[], &creds, in_file), file_creds);
    let flag = ["--nats-user", "alice"];
    let variables = [creds[0], user[1]];
    assert_eq!(credentials(&flag, &variables, None), alice);
    assert_eq!(credentials(&[], &user, Some("nats_creds = \"/c\"")), alice);
}

#[test]
fn the_address_of_http_may_have_a_host_name_or_no_host() {
    for (text, expected) in [
        ("127.0.0.1:8420", "127.0.0.1:8420"),
        ("[::1]:8420", "[::1]:8420"),
        ("localhost:8420", "127.0.0.1:8420"),
        (":8420", "0.0.0.0:8420"),
    ] {
        let flags = ["--data-dir", "/d", "--http", text];
        let config = load_config(&flags, &[], None).expect("a configuration");
        assert_eq!(config.http, Some(expected.parse().expect("an address")));
    }
}

#[test]
fn an_error_in_the_file_names_the_file_and_the_line() {
    for (text, words) in [
        (
            "data_dir = \"/d\"\nnats_urls = \"x\"",
            ["line 2", "unknown field"],
        ),
        (
            "data_dir = \"/d\"\n\nlog_format = \"xml\"",
            ["line 3", "one of text, json"],
        ),
        (
            "nats_user = \"a\"\nnats_password = \"hunter2",
            ["line 2", "scuttle.toml"],
        ),
        ("data_dir = 7", ["line 1", "invalid type"]),
        ("web_nats_url = \"nats://h\"", ["line 1", "ws://HOST:PORT"]),
        ("otlp_endpoint = \"h:4318\"", ["line 1", "http://HOST:PORT"]),
    ] {
        check_rejected(&[], &[], Some(text), &words);
    }
    check_rejected(
        &["--config", "/nowhere/scuttle.toml"],
        &[],
        None,
        &["cannot read the configuration file /nowhere/scuttle.toml"],
    );
}

#[test]
fn an_error_names_the_flag_or_the_variable() {
    check_rejected(&["--data-dri", "/d"], &[], None, &["--data-dri"]);
    check_rejected(&["--log-format", "xml"], &[], None, &["xml", "text, json"]);
    check_rejected(
        &[],
        &[("SCUTTLE_LOG_FORMAT", "xml")],
        None,
        &["SCUTTLE_LOG_FORMAT"],
    );
    check_rejected(&["--http", "8420"], &[], None, &["--http", "HOST:PORT"]);
    check_rejected(&[], &[("SCUTTLE_HTTP", "8420")], None, &["SCUTTLE_HTTP"]);
    let variable = ("SCUTTLE_WEB_NATS_URL", "nats://h:4222");
    check_rejected(&[], &[variable], None, &[variable.0, "wss://HOST:PORT"]);
    for variable in ["SCUTTLE_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"] {
        let words = [variable, "http://HOST:PORT"];
        check_rejected(&[], &[(variable, "collector:4318")], None, &words);
    }
    check_rejected(
        &["--help"],
        &[("SCUTTLE_NATS_PASSWORD", "hunter2")],
        None,
        &["--nats-creds", "[env: SCUTTLE_NATS_PASSWORD]"],
    );
}

#[test]
fn the_subcommands_need_a_data_directory_but_no_credentials() {
    let backup = |data_dir: &str, force| Command::Backup {
        data_dir: data_dir.into(),
        file: "f".into(),
        force,
    };
    let half = ("SCUTTLE_NATS_USER", "alice");
    let variable = ("SCUTTLE_DATA_DIR", "d2");
    let file = Some("data_dir = \"d3\"");
    for (flags, variables, expected) in [
        (
            &["backup", "f", "--data-dir", "d1"][..],
            &[half, variable][..],
            backup("d1", false),
        ),
        (
            &["backup", "--force", "f"],
            &[half, variable],
            backup("d2", true),
        ),
        (&["backup", "f"], &[half], backup("d3", false)),
        (
            &["restore", "f"],
            &[],
            Command::Restore {
                data_dir: "d3".into(),
                file: "f".into(),
            },
        ),
    ] {
        let command = load_command(flags, variables, file).expect("a command");
        assert_eq!(command, expected);
    }
    check_rejected(&["backup", "f"], &[], None, &["--data-dir"]);
    check_rejected(&["restore"], &[variable], None, &["<FILE>"]);
    check_rejected(&["bakcup", "f"], &[], None, &["bakcup", "backup"]);
    let both = &["--data-dir", "d", "backup", "f"];
    check_rejected(both, &[], None, &["--data-dir"]);
}

#[test]
fn replicas_and_partitions_require_a_shared_journal() {
    let store = ("SCUTTLE_STORE", "jetstream");
    let directory = ["--data-dir", "/d"];
    let (replicas, partitions) = (("SCUTTLE_REPLICAS", "2"), ("SCUTTLE_PARTITIONS", "4"));
    let journal = |variables: &[(&str, &str)], file| {
        let config = load_config(&directory, variables, file).expect("a configuration");
        let Journal::Shared {
            replicas,
            partitions,
        } = config.journal
        else {
            panic!("{config:?}");
        };
        (replicas, partitions.count())
    };
    assert_eq!(journal(&[store], None), (3, 1));
    assert_eq!(journal(&[store, replicas, partitions], None), (2, 4));
    let file = "store = \"jetstream\"\nreplicas = 5\npartitions = 8\n";
    assert_eq!(journal(&[], Some(file)), (5, 8));
    for (variable, word) in [
        (replicas, "--replicas works only with --store jetstream"),
        (partitions, "--partitions works only with --store jetstream"),
    ] {
        check_rejected(&directory, &[variable], None, &[word]);
    }
    for (variable, words) in [
        (("SCUTTLE_REPLICAS", "6"), ["SCUTTLE_REPLICAS", "1..=5"]),
        (("SCUTTLE_PARTITIONS", "9"), ["SCUTTLE_PARTITIONS", "1..=8"]),
        (
            ("SCUTTLE_STORE", "files"),
            ["SCUTTLE_STORE", "redb, jetstream"],
        ),
    ] {
        check_rejected(&directory, &[variable, store], None, &words);
    }
    let words = ["line 1", "partitions: 0 is not in 1..=8"];
    check_rejected(&directory, &[store], Some("partitions = 0"), &words);
}

#[test]
fn a_migration_takes_the_options_of_the_controller() {
    let file =
        Some("data_dir = \"d\"\nnats_url = \"nats://n\"\npartitions = 2\nhttp = \"127.0.0.1:1\"\n");
    let command = load_command(&["migrate", "--to", "redb"], &[], file).expect("a command");
    let expected = Command::Migrate(Migration {
        nats: connect_config("nats://n", Credentials::Anonymous),
        data_dir: "d".into(),
        replicas: 3,
        partitions: scuttle_schemas::PartitionCount::new(2).expect("valid"),
        to: StoreKind::Redb,
    });
    assert_eq!(command, expected);
    check_rejected(&["migrate"], &[], file, &["--to"]);
}
