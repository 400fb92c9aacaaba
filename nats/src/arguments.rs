//! The options of every program for its connection to NATS.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::connect_config::{ConnectConfig, DEFAULT_URL};
use crate::credentials::Credentials;
use crate::secret::Secret;
use crate::tls::Tls;

/// The options `--nats-…` and `--tls-…`, whose combination has been checked.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// The addresses of the NATS servers, separated by commas. `None` if no address was given.
    pub nats_url: Option<String>,
    credentials: Credentials,
    tls: Tls,
    flags: Flags,
}

/// Whether each setting has at least one option that was given as a flag.
#[derive(Debug, Clone, Copy)]
struct Flags {
    url: bool,
    credentials: bool,
    tls: bool,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "NATS")]
#[group(skip)]
struct Options {
    /// The NATS server as nats://HOST:PORT or tls://HOST:PORT, or several servers of one cluster,
    /// separated by commas [default: nats://127.0.0.1:4222]
    #[arg(long, env = "SCUTTLE_NATS_URL", value_name = "URL")]
    nats_url: Option<String>,
    /// The NATS user
    #[arg(long, env = "SCUTTLE_NATS_USER", value_name = "USER")]
    nats_user: Option<String>,
    /// The password of the NATS user; prefer the environment variable, because flags are visible in
    /// the process list
    #[arg(
        long,
        env = "SCUTTLE_NATS_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true
    )]
    nats_password: Option<Secret>,
    /// A NATS credentials file, instead of user and password
    #[arg(
        long,
        visible_alias = "creds",
        env = "SCUTTLE_NATS_CREDS",
        value_name = "FILE",
        conflicts_with_all = ["nats_user", "nats_password"]
    )]
    nats_creds: Option<PathBuf>,
    /// Trust only the certificate authorities in this PEM file, and require TLS
    #[arg(long, env = "SCUTTLE_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The certificate of this program in PEM form, for a server that requires one
    #[arg(long, env = "SCUTTLE_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The private key of this program's certificate in PEM form
    #[arg(long, env = "SCUTTLE_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

impl Arguments {
    /// Returns the configuration of the connection, with the default address if none was given.
    pub fn connect_config(&self) -> ConnectConfig {
        let url = self.nats_url.clone();
        ConnectConfig {
            url: url.unwrap_or_else(|| DEFAULT_URL.to_owned()),
            credentials: self.credentials.clone(),
            tls: self.tls.clone(),
        }
    }

    /// Returns whether any option was given.
    pub fn is_any_given(&self) -> bool {
        self.nats_url.is_some()
            || self.credentials != Credentials::Anonymous
            || self.tls != Tls::default()
    }

    /// Replaces the settings in `config` for which options were given. If `flags_only` is true,
    /// ignores the options that were given by the environment or a file.
    pub fn apply_to(&self, config: &mut ConnectConfig, flags_only: bool) {
        let is_used = |is_given: bool, is_flag: bool| is_given && (is_flag || !flags_only);
        if is_used(self.nats_url.is_some(), self.flags.url) {
            config.url = self.connect_config().url;
        }
        let has_credentials = self.credentials != Credentials::Anonymous;
        if is_used(has_credentials, self.flags.credentials) {
            config.credentials = self.credentials.clone();
        }
        if is_used(self.tls != Tls::default(), self.flags.tls) {
            config.tls = self.tls.clone();
        }
    }
}

impl Flags {
    fn new(matches: &ArgMatches) -> Self {
        let is_flag = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let any_is_flag = |ids: &[&str]| ids.iter().any(is_flag);
        Self {
            url: any_is_flag(&["nats_url"]),
            credentials: any_is_flag(&["nats_user", "nats_password", "nats_creds"]),
            tls: any_is_flag(&["tls_ca", "tls_cert", "tls_key"]),
        }
    }
}

impl Options {
    fn check(self, flags: Flags) -> Result<Arguments, clap::Error> {
        let credentials = match (self.nats_user, self.nats_password, self.nats_creds) {
            (None, None, None) => Credentials::Anonymous,
            (Some(user), Some(password), None) => Credentials::Password { user, password },
            (None, None, Some(file)) => Credentials::File(file),
            (Some(_), None, None) => return Err(half("--nats-user", "--nats-password")),
            (None, Some(_), None) => return Err(half("--nats-password", "--nats-user")),
            (_, _, Some(_)) => {
                return Err(clap::Error::raw(
                    ErrorKind::ArgumentConflict,
                    "--nats-creds cannot be used with --nats-user or --nats-password: remove one of them from the environment or the configuration file",
                ));
            }
        };
        let own = match (self.tls_cert, self.tls_key) {
            (Some(_), None) => return Err(half("--tls-cert", "--tls-key")),
            (None, Some(_)) => return Err(half("--tls-key", "--tls-cert")),
            (certificate, key) => certificate.zip(key),
        };
        Ok(Arguments {
            nats_url: self.nats_url,
            credentials,
            tls: Tls {
                ca: self.tls_ca,
                own,
            },
            flags,
        })
    }
}

fn half(given: &str, missing: &str) -> clap::Error {
    let text = format!("{given} needs {missing} too");
    clap::Error::raw(ErrorKind::MissingRequiredArgument, text)
}

// The combination is checked here and not only by clap, because an option may also come from the
// environment or a configuration file, whose values clap does not check for conflicts.
impl FromArgMatches for Arguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Options::from_arg_matches(matches)?.check(Flags::new(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Arguments {
    fn augment_args(command: Command) -> Command {
        Options::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Options::augment_args_for_update(command)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Arguments;
    use crate::credentials::Credentials;
    use crate::tls::Tls;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        nats: Arguments,
    }

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        let words = ["program"].iter().chain(words);
        Program::try_parse_from(words).map(|program| program.nats)
    }

    #[test]
    fn incomplete_and_conflicting_options_are_rejected() {
        Program::command().debug_assert();
        let user = ["--nats-user", "u", "--nats-password", "p"];
        for (flags, word) in [
            (&user[..2], "needs --nats-password"),
            (&user[2..], "needs --nats-user"),
            (&["--tls-cert", "c"], "needs --tls-key"),
            (&["--tls-key", "k"], "needs --tls-cert"),
            (
                &[&user[..], &["--nats-creds", "f"]].concat(),
                "cannot be used with",
            ),
        ] {
            let error = parse(flags).expect_err("rejected");
            assert!(error.to_string().contains(word), "{flags:?}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn credentials_and_tls_are_parsed() {
        let words = [
            "--nats-creds",
            "f",
            "--tls-ca",
            "a",
            "--tls-cert",
            "c",
            "--tls-key",
            "k",
        ];
        let config = parse(&words).expect("parsed").connect_config();
        assert_eq!(config.credentials, Credentials::File("f".into()));
        let own = Some(("c".into(), "k".into()));
        assert_eq!(
            config.tls,
            Tls {
                ca: Some("a".into()),
                own
            }
        );
        let words = ["--nats-user", "u", "--nats-password", "hunter2"];
        let config = parse(&words).expect("parsed").connect_config();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
