//! Where the server is and who asks: flags and variables first, then a context of the `nats` command. How a connection is made
//! of it is in `ask`.

use std::env;
use std::path::{Path, PathBuf};

use scuttle_nats::{ConnectConfig, Credentials, DEFAULT_URL, Secret, Tls};
use serde::Deserialize;

use crate::directory::{ADMIN, DIRECTORY, creds_in};

/// `--nats-…`, `--tls-…` and `--context`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Connect {
    #[command(flatten)]
    nats: scuttle_nats::Arguments,
    /// A context of the nats command, for what no flag or variable says; the selected one if none says anything.
    #[arg(
        long,
        env = "SCUTTLE_CONTEXT",
        value_name = "NAME",
        help_heading = "NATS"
    )]
    context: Option<String>,
}

/// How the server is reached.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) access: ConnectConfig,
    /// What the inboxes begin with, where the server's permissions demand it.
    pub(crate) inbox_prefix: Option<String>,
    /// Who said so, for people.
    pub(crate) from: String,
}

/// A context that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    /// No file, or none that can be read.
    #[error("cannot read the NATS context {}: {cause}; `nats context ls` lists those that there are", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// Not a context.
    #[error("{} is no NATS context: {cause}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: serde_json::Error,
    },
    /// A name that would be a path.
    #[error("{0:?} is no name of a NATS context")]
    Name(String),
    /// It logs in, or connects, in a way that is not known here.
    #[error("the NATS context {} has {field}, which scuttle does not support: use a user and password, or a .creds file", .path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
    },
}

impl Connect {
    /// How the server is reached, for a verb that needs no bus directory: its `admin` is a login all the same, where there is
    /// one.
    pub(crate) fn connection(&self) -> Result<Connection, ContextError> {
        let folder = env::var_os("SCUTTLE_BUS_DIR").unwrap_or_else(|| DIRECTORY.into());
        self.connection_or(&creds_in(Path::new(&folder), ADMIN))
    }

    /// The same with these credentials, which go before a context that nobody named, and after all that somebody said.
    pub(crate) fn connection_or(&self, admin: &Path) -> Result<Connection, ContextError> {
        let is_there = admin.is_file();
        let mut connection = match self.named()? {
            Some(named) => named,
            None if is_there || self.says_something() => self.as_given(),
            None => selected()?.unwrap_or_else(|| self.as_given()),
        };
        if is_there && connection.access.credentials == Credentials::Anonymous {
            connection.access.credentials = Credentials::File(admin.to_owned());
            connection.from = format!("{}, with the login {}", connection.from, admin.display());
        }
        Ok(connection)
    }

    /// What flags, variables and the named context say.
    fn named(&self) -> Result<Option<Connection>, ContextError> {
        let Some(name) = &self.context else {
            return Ok(None);
        };
        let Some(folder) = folder() else {
            return Err(ContextError::Name(name.clone()));
        };
        let mut connection = read(&folder, name)?;
        let given = self.nats.connect_config();
        if self.nats.nats_url.is_some() {
            connection.access.url = given.url;
        }
        if given.credentials != Credentials::Anonymous {
            connection.access.credentials = given.credentials;
        }
        if given.tls != Tls::default() {
            connection.access.tls = given.tls;
        }
        Ok(Some(connection))
    }

    fn as_given(&self) -> Connection {
        let from = if self.says_something() {
            "flags and variables"
        } else {
            "the default address"
        };
        Connection {
            access: self.nats.connect_config(),
            inbox_prefix: None,
            from: from.to_owned(),
        }
    }

    fn says_something(&self) -> bool {
        let given = self.nats.connect_config();
        self.nats.nats_url.is_some()
            || given.credentials != Credentials::Anonymous
            || given.tls != Tls::default()
    }
}

/// Where the nats command keeps its contexts.
fn folder() -> Option<PathBuf> {
    let given = |name| env::var_os(name).filter(|value| !value.is_empty());
    let config = given("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| given("HOME").map(|home| Path::new(&home).join(".config")));
    Some(config?.join("nats"))
}

/// The context that `nats context select` has chosen, if any.
fn selected() -> Result<Option<Connection>, ContextError> {
    let Some(folder) = folder() else {
        return Ok(None);
    };
    match std::fs::read_to_string(folder.join("context.txt")) {
        Ok(name) if !name.trim().is_empty() => read(&folder, name.trim()).map(Some),
        _ => Ok(None),
    }
}

/// A context as the nats command writes it; what is not named here changes nothing of how a server is reached.
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

fn read(folder: &Path, name: &str) -> Result<Connection, ContextError> {
    if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
        return Err(ContextError::Name(name.to_owned()));
    }
    let path = folder.join("context").join(format!("{name}.json"));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(cause) => return Err(ContextError::Unreadable { path, cause }),
    };
    let context: Context = match serde_json::from_str(&text) {
        Ok(context) => context,
        Err(cause) => return Err(ContextError::Invalid { path, cause }),
    };
    connection(name, &path, context)
}

fn connection(name: &str, path: &Path, context: Context) -> Result<Connection, ContextError> {
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
        Credentials::File(home(&context.creds))
    } else if context.user.is_empty() {
        Credentials::Anonymous
    } else if context.password.is_empty() {
        // The server and the nats command take a user alone for a token.
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
    let file = |text: String| (!text.is_empty()).then(|| home(&text));
    // Of several servers the first: they are one cluster, and it names the others.
    let url = context.url.split(',').next().unwrap_or_default().trim();
    Ok(Connection {
        access: ConnectConfig {
            url: if url.is_empty() { DEFAULT_URL } else { url }.to_owned(),
            credentials,
            tls: Tls {
                ca: file(context.ca),
                own: file(context.cert).zip(file(context.key)),
            },
        },
        inbox_prefix: (!context.inbox_prefix.is_empty()).then_some(context.inbox_prefix),
        from: format!("the NATS context {name}"),
    })
}

/// A path that may begin with `~/`.
fn home(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use scuttle_nats::{Credentials, DEFAULT_URL};

    use super::read;

    fn check(text: &str, expected: Result<(&str, Credentials), &str>) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("context")).expect("a folder");
        fs::write(folder.path().join("context/c.json"), text).expect("a file");
        match (read(folder.path(), "c"), expected) {
            (Ok(read), Ok((url, credentials))) => {
                assert_eq!(
                    (read.access.url.as_str(), read.access.credentials),
                    (url, credentials)
                );
                assert!(read.from.contains('c'));
            }
            (Err(error), Err(word)) => {
                let error = error.to_string();
                assert!(error.contains(word) && error.contains("c.json"), "{error}");
            }
            (read, expected) => panic!("{text}: {read:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_context_says_where_and_who() {
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
        check("[", Err("no NATS context"));
    }

    #[test]
    fn a_context_is_a_name_and_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["", "../c", "a/b", ".c"] {
            let error = read(folder.path(), name).expect_err(name).to_string();
            assert!(error.contains("no name"), "{error}");
        }
        let error = read(folder.path(), "lab").expect_err("none").to_string();
        assert!(
            error.contains("lab.json") && error.contains("nats context ls"),
            "{error}"
        );
    }
}
