//! Finds the address of the NATS server and the login. Flags and environment variables take
//! precedence over a context of the `nats` command and over a bus directory. `nats_client` makes
//! the connection.

use std::env;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, FromArgMatches};
use scuttle_nats::connect_config::DEFAULT_URL;
use scuttle_nats::{ConnectConfig, Credentials, Secret, Tls};
use serde::Deserialize;

use crate::admin::files::FileError;
use crate::admin::keystore::{ADMIN_USER, DEFAULT_DIRECTORY, credentials_path};
use crate::admin::server_address::ServerAddress;

/// The source of the settings if no flag, variable, context or bus directory gives any.
const DEFAULT_SOURCE: &str = "the default address";

/// Flags that select the NATS server and the login
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConnectionArgs {
    #[command(flatten)]
    nats: scuttle_nats::Arguments,
    #[command(flatten)]
    context: ContextArgument,
}

#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
struct ContextOption {
    /// Context of the nats command, for every setting that no flag or variable sets. A flag
    /// overrides the variables of the server and the login. Defaults to the context selected with
    /// `nats context select`, unless a flag, a variable or a bus directory is used.
    #[arg(
        long,
        env = "SCUTTLE_CONTEXT",
        value_name = "NAME",
        help_heading = "NATS"
    )]
    context: Option<String>,
}

/// The `--context` flag, and whether it was given as a flag.
#[derive(Debug, Clone)]
struct ContextArgument {
    name: Option<String>,
    is_flag: bool,
}

impl FromArgMatches for ContextArgument {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            name: ContextOption::from_arg_matches(matches)?.context,
            is_flag: matches.value_source("context") == Some(ValueSource::CommandLine),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for ContextArgument {
    fn augment_args(command: Command) -> Command {
        ContextOption::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        ContextOption::augment_args_for_update(command)
    }
}

/// The settings of a connection to the NATS server.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) config: ConnectConfig,
    /// The prefix of inbox subjects, if the NATS context sets one. `None` means the prefix for the
    /// user.
    pub(crate) inbox_prefix: Option<String>,
    /// The source of the settings, for messages: for example, `the NATS context lab`.
    pub(crate) source: String,
    /// The name of the selected context of the `nats` command, if a bus directory in the current
    /// directory takes its place.
    pub(crate) ignored_context: Option<String>,
}

impl Connection {
    /// Returns whether neither an address nor a login is given.
    pub(crate) fn is_default_address(&self) -> bool {
        self.source == DEFAULT_SOURCE
    }

    /// Describes the swarm, for questions and results: the server, and where its address and the
    /// login come from.
    pub(crate) fn swarm(&self) -> String {
        format!("{} ({})", self.config.url, self.source)
    }
}

/// The reason why the settings of the connection cannot be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    #[error("{} is not a bus directory: correct or unset SCUTTLE_BUS_DIR, or create the directory with `scuttle init`", .0.display())]
    NoBusDirectory(PathBuf),
    /// The address that the bus directory records cannot be read.
    #[error(transparent)]
    BusDirectory(#[from] FileError),
    #[error("cannot read the NATS context {}: {cause}; `nats context ls` lists all contexts", .path.display())]
    Unreadable {
        path: PathBuf,
        cause: std::io::Error,
    },
    #[error("{} is not a NATS context: {cause}", .path.display())]
    Invalid {
        path: PathBuf,
        cause: serde_json::Error,
    },
    #[error("{0:?} is not a valid name of a NATS context")]
    Name(String),
    /// The context uses a way to log in or connect that `scuttle` does not support.
    #[error("the NATS context {} has {field}, which scuttle does not support: use a user and password, or a .creds file", .path.display())]
    Unsupported { path: PathBuf, field: &'static str },
}

impl ConnectionArgs {
    /// Returns the connection settings for a command that needs no bus directory.
    ///
    /// If no other login is given, the login is that of the bus directory which `SCUTTLE_BUS_DIR`
    /// names, or that of `./scuttle-bus`, if there is one.
    pub(crate) fn resolve(&self) -> Result<Connection, ContextError> {
        match env::var_os("SCUTTLE_BUS_DIR").filter(|value| !value.is_empty()) {
            Some(named) if !Path::new(&named).is_dir() => {
                Err(ContextError::NoBusDirectory(named.into()))
            }
            Some(named) => self.resolve_in(Path::new(&named), true),
            None => self.resolve_in(Path::new(DEFAULT_DIRECTORY), false),
        }
    }

    /// Returns the connection settings. The default login is that of the bus directory `root`,
    /// which need not exist. `is_required` is true if the operator has named the directory, or if
    /// the command works on it.
    ///
    /// The directory takes precedence over the selected context, but not over a login from flags,
    /// variables or a named context. Its address and authority are used with its login, and with a
    /// login from flags or variables, unless others are given.
    pub(crate) fn resolve_in(
        &self,
        root: &Path,
        is_required: bool,
    ) -> Result<Connection, ContextError> {
        let admin = credentials_path(root, ADMIN_USER);
        let has_login = is_required || admin.is_file();
        let is_any_given = self.nats.is_any_given();
        let mut connection = match self.named_context()? {
            Some(named) => named,
            None if has_login || is_any_given => self.explicit_settings(),
            None => selected_context()?.unwrap_or_else(|| self.explicit_settings()),
        };
        let needs_address = self.context.name.is_none() && self.nats.nats_url.is_none();
        let uses_login = has_login && connection.config.credentials == Credentials::Anonymous;
        let recorded = match ServerAddress::read(root)? {
            Some(recorded) if uses_login || (needs_address && is_any_given) => Some(recorded),
            _ => None,
        };
        let uses_address = needs_address && recorded.is_some();
        if let Some(recorded) = recorded {
            if needs_address {
                connection.config.url = recorded.url;
            }
            let ca = &mut connection.config.tls.ca;
            *ca = ca.take().or(recorded.ca);
        }
        let directory = format!("bus directory {}", root.display());
        let source = &connection.source;
        connection.source = match (uses_login, uses_address) {
            (true, true) => directory,
            (true, false) => format!("{source}, login of the {directory}"),
            (false, true) => format!("{source}, address of the {directory}"),
            (false, false) => source.clone(),
        };
        if uses_login {
            connection.config.credentials = Credentials::File(admin);
            if needs_address && root == Path::new(DEFAULT_DIRECTORY) {
                connection.ignored_context = find_other_context(&connection.config.url);
            }
        }
        Ok(connection)
    }

    /// Returns the settings of the context that `--context` names, overridden by flags and
    /// variables. The flag `--context` overrides variables. Returns `None` if no context is named.
    fn named_context(&self) -> Result<Option<Connection>, ContextError> {
        let Some(name) = &self.context.name else {
            return Ok(None);
        };
        let Some(config) = nats_config_directory() else {
            return Err(ContextError::Name(name.clone()));
        };
        let mut connection = read_context(&config, name)?;
        (self.nats).apply_to(&mut connection.config, self.context.is_flag);
        Ok(Some(connection))
    }

    fn explicit_settings(&self) -> Connection {
        let source = if self.nats.is_any_given() {
            "flags and variables"
        } else {
            DEFAULT_SOURCE
        };
        Connection {
            config: self.nats.connect_config(),
            inbox_prefix: None,
            source: source.to_owned(),
            ignored_context: None,
        }
    }
}

/// Returns the name of the selected context if it is for another server than `url`, or cannot be
/// used.
fn find_other_context(url: &str) -> Option<String> {
    let name = selected_context_name()?;
    match selected_context() {
        Ok(Some(context)) if context.config.url == url => None,
        _ => Some(name),
    }
}

/// Returns the configuration directory of the `nats` command, which contains its contexts. Returns
/// `None` if neither `XDG_CONFIG_HOME` nor `HOME` is set.
fn nats_config_directory() -> Option<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    let config = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")));
    Some(config?.join("nats"))
}

/// Returns the context that `nats context select` has selected, if any.
fn selected_context() -> Result<Option<Connection>, ContextError> {
    match (nats_config_directory(), selected_context_name()) {
        (Some(config), Some(name)) => read_context(&config, &name).map(Some),
        _ => Ok(None),
    }
}

fn selected_context_name() -> Option<String> {
    let text = std::fs::read_to_string(nats_config_directory()?.join("context.txt")).ok()?;
    let name = text.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The fields of a context of the `nats` command that affect the connection to a server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    url: String,
    user: String,
    password: String,
    creds: String,
    ca: String,
    cert: String,
    key: String,
    inbox_prefix: String,
    token: String,
    nkey: String,
    nsc: String,
    user_jwt: String,
    user_seed: String,
    socks_proxy: String,
}

fn read_context(config: &Path, name: &str) -> Result<Connection, ContextError> {
    // The name becomes a file name, so it must not be a path.
    if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
        return Err(ContextError::Name(name.to_owned()));
    }
    let path = config.join("context").join(format!("{name}.json"));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(cause) => return Err(ContextError::Unreadable { path, cause }),
    };
    let context: Context = match serde_json::from_str(&text) {
        Ok(context) => context,
        Err(cause) => return Err(ContextError::Invalid { path, cause }),
    };
    convert_context(name, &path, context)
}

fn convert_context(name: &str, path: &Path, context: Context) -> Result<Connection, ContextError> {
    let unsupported = [
        ("a token", &context.token),
        ("an nkey", &context.nkey),
        ("an nsc user", &context.nsc),
        ("a user_jwt", &context.user_jwt),
        ("a user_seed", &context.user_seed),
        ("a socks_proxy", &context.socks_proxy),
    ];
    if let Some((field, _)) = unsupported.iter().find(|(_, value)| !value.is_empty()) {
        return Err(ContextError::Unsupported {
            path: path.to_owned(),
            field,
        });
    }
    let credentials = if !context.creds.is_empty() {
        Credentials::File(expand_home(&context.creds))
    } else if context.user.is_empty() {
        Credentials::Anonymous
    } else if context.password.is_empty() {
        // The server and the nats command take a user without a password for a token.
        return Err(ContextError::Unsupported {
            path: path.to_owned(),
            field: "a user without a password",
        });
    } else {
        Credentials::Password {
            user: context.user,
            password: Secret::from(context.password.as_str()),
        }
    };
    let file = |text: String| (!text.is_empty()).then(|| expand_home(&text));
    // The servers of a context form one cluster. The first one announces the others.
    let url = context.url.split(',').next().unwrap_or_default().trim();
    Ok(Connection {
        config: ConnectConfig {
            url: if url.is_empty() { DEFAULT_URL } else { url }.to_owned(),
            credentials,
            tls: Tls {
                ca: file(context.ca),
                own: file(context.cert).zip(file(context.key)),
            },
        },
        inbox_prefix: (!context.inbox_prefix.is_empty()).then_some(context.inbox_prefix),
        source: format!("the NATS context {name}"),
        ignored_context: None,
    })
}

/// Expands a leading `~/` to the home directory.
fn expand_home(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use scuttle_nats::Credentials;
    use scuttle_nats::connect_config::DEFAULT_URL;

    use super::read_context;

    fn check(text: &str, expected: Result<(&str, Credentials), &str>) {
        let config = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(config.path().join("context")).expect("a directory of contexts");
        fs::write(config.path().join("context/c.json"), text).expect("a context file");
        match (read_context(config.path(), "c"), expected) {
            (Ok(connection), Ok((url, credentials))) => {
                let config = &connection.config;
                assert_eq!(
                    (config.url.as_str(), &config.credentials),
                    (url, &credentials)
                );
                assert!(connection.source.contains('c'));
            }
            (Err(error), Err(part)) => {
                let error = error.to_string();
                assert!(error.contains(part) && error.contains("c.json"), "{error}");
            }
            (result, expected) => panic!("{text}: {result:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_context_sets_the_url_and_the_login() {
        check("{}", Ok((DEFAULT_URL, Credentials::Anonymous)));
        let password = Credentials::Password {
            user: "alice".to_owned(),
            password: "p".into(),
        };
        check(
            r#"{"url":"nats://a:1,nats://b:2","user":"alice","password":"p","description":""}"#,
            Ok(("nats://a:1", password)),
        );
        check(
            r#"{"url":"tls://a:1","creds":"/c.creds","token":""}"#,
            Ok(("tls://a:1", Credentials::File("/c.creds".into()))),
        );
        check(r#"{"token":"t"}"#, Err("token"));
        check(r#"{"nkey":"/k"}"#, Err("nkey"));
        check(r#"{"user":"t"}"#, Err("without a password"));
        check("[", Err("not a NATS context"));
    }

    #[test]
    fn a_context_needs_a_valid_name_and_a_file() {
        let config = tempfile::tempdir().expect("a temporary directory");
        for name in ["", "../c", "a/b", ".c"] {
            let error = read_context(config.path(), name)
                .expect_err(name)
                .to_string();
            assert!(error.contains("not a valid name"), "{error}");
        }
        let error = read_context(config.path(), "lab")
            .expect_err("the file does not exist")
            .to_string();
        assert!(
            error.contains("lab.json") && error.contains("nats context ls"),
            "{error}"
        );
    }
}
