//! Finds the address of the NATS server and the login. Flags and environment variables take
//! precedence over a context of the `nats` command. `nats_client` makes the connection.

use std::env;
use std::path::{Path, PathBuf};

use scuttle_nats::connect_config::DEFAULT_URL;
use scuttle_nats::{ConnectConfig, Credentials, Secret, Tls};
use serde::Deserialize;

use crate::admin::keystore::{ADMIN_USER, DEFAULT_DIRECTORY, credentials_path};

/// Flags that select the NATS server and the login
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConnectionArgs {
    #[command(flatten)]
    nats: scuttle_nats::Arguments,
    /// Context of the nats command, for every setting that no flag or variable sets. Defaults to
    /// the context selected with `nats context select`, unless a flag, a variable or a bus
    /// directory is used.
    #[arg(
        long,
        env = "SCUTTLE_CONTEXT",
        value_name = "NAME",
        help_heading = "NATS"
    )]
    context: Option<String>,
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
}

/// The reason why a NATS context cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
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
    /// If no other login is given, the login is the `admin` credentials file in the directory that
    /// `SCUTTLE_BUS_DIR` names (by default `./scuttle-bus`), if that file exists.
    pub(crate) fn resolve(&self) -> Result<Connection, ContextError> {
        let directory = env::var_os("SCUTTLE_BUS_DIR").unwrap_or_else(|| DEFAULT_DIRECTORY.into());
        self.resolve_with_admin(&credentials_path(Path::new(&directory), ADMIN_USER))
    }

    /// Returns the connection settings, with the credentials file `admin` as the default login.
    ///
    /// The file need not exist. If it exists, it takes precedence over the selected context, but
    /// not over a login from flags, variables or a named context.
    pub(crate) fn resolve_with_admin(&self, admin: &Path) -> Result<Connection, ContextError> {
        let admin_exists = admin.is_file();
        let mut connection = match self.named_context()? {
            Some(named) => named,
            None if admin_exists || self.has_explicit_settings() => self.explicit_settings(),
            None => selected_context()?.unwrap_or_else(|| self.explicit_settings()),
        };
        if admin_exists && connection.config.credentials == Credentials::Anonymous {
            connection.config.credentials = Credentials::File(admin.to_owned());
            connection.source =
                format!("{}, with the login {}", connection.source, admin.display());
        }
        Ok(connection)
    }

    /// Returns the settings of the context that `--context` names, overridden by flags and
    /// variables. Returns `None` if no context is named.
    fn named_context(&self) -> Result<Option<Connection>, ContextError> {
        let Some(name) = &self.context else {
            return Ok(None);
        };
        let Some(config) = nats_config_directory() else {
            return Err(ContextError::Name(name.clone()));
        };
        let mut connection = read_context(&config, name)?;
        let explicit = self.nats.connect_config();
        if self.nats.nats_url.is_some() {
            connection.config.url = explicit.url;
        }
        if explicit.credentials != Credentials::Anonymous {
            connection.config.credentials = explicit.credentials;
        }
        if explicit.tls != Tls::default() {
            connection.config.tls = explicit.tls;
        }
        Ok(Some(connection))
    }

    fn explicit_settings(&self) -> Connection {
        let source = if self.has_explicit_settings() {
            "flags and variables"
        } else {
            "the default address"
        };
        Connection {
            config: self.nats.connect_config(),
            inbox_prefix: None,
            source: source.to_owned(),
        }
    }

    fn has_explicit_settings(&self) -> bool {
        let explicit = self.nats.connect_config();
        self.nats.nats_url.is_some()
            || explicit.credentials != Credentials::Anonymous
            || explicit.tls != Tls::default()
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
    let Some(config) = nats_config_directory() else {
        return Ok(None);
    };
    match std::fs::read_to_string(config.join("context.txt")) {
        Ok(name) if !name.trim().is_empty() => read_context(&config, name.trim()).map(Some),
        _ => Ok(None),
    }
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
