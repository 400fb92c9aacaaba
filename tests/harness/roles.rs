//! The users of `nats.conf` and their generated passwords.

use std::fmt;
use std::time::Duration;

use scuttle_schemas::subjects;
use uuid::Uuid;

/// The delay before a test's client reconnects. It is short, so that the client reconnects as soon
/// as its server is back.
pub(crate) const RECONNECT_DELAY: Duration = Duration::from_millis(20);

/// A user of `nats.conf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Controller,
    /// The agents of all hosts, which share one user.
    Agents,
    Operator,
    Viewer,
}

impl Role {
    const ALL: [Self; 4] = [Self::Controller, Self::Agents, Self::Operator, Self::Viewer];

    /// Returns the name of the user.
    pub fn user(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Agents => "agents",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }

    /// Returns the environment variable from which `nats.conf` takes the user's password.
    pub fn password_variable(self) -> &'static str {
        match self {
            Self::Controller => "SCUTTLE_CONTROLLER_PASSWORD",
            Self::Agents => "SCUTTLE_AGENT_PASSWORD",
            Self::Operator => "SCUTTLE_OPERATOR_PASSWORD",
            Self::Viewer => "SCUTTLE_VIEWER_PASSWORD",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.user())
    }
}

/// A password for each role, valid on one server or on all servers of a cluster.
#[derive(Debug, Clone)]
pub struct Passwords([String; 4]);

/// Generates a random password. The password starts with a letter, because `nats.conf` would parse
/// digits as a number.
pub(crate) fn generate_password() -> String {
    format!("p{}", Uuid::now_v7().simple())
}

impl Passwords {
    /// Generates a password for each role.
    pub fn generate() -> Self {
        Self(Role::ALL.map(|_| generate_password()))
    }

    pub fn password(&self, role: Role) -> &str {
        &self.0[role as usize]
    }

    /// Returns the variables that `nats.conf` reads from the environment of the nats-server.
    pub(crate) fn server_environment(&self) -> Vec<(&'static str, String)> {
        let password = |role: Role| (role.password_variable(), self.password(role).to_owned());
        let mut environment: Vec<_> = Role::ALL.map(password).into();
        environment.push(("SCUTTLE_WS_PORT", "-1".to_owned()));
        environment
    }

    /// Returns the environment variables with which a Scuttle program connects as `role`.
    pub fn environment(&self, role: Role) -> [(&'static str, String); 2] {
        [
            ("SCUTTLE_NATS_USER", role.user().to_owned()),
            ("SCUTTLE_NATS_PASSWORD", self.password(role).to_owned()),
        ]
    }

    /// Returns options for connecting as `role` with the user's inbox prefix, and for reconnecting
    /// after a short delay. The agent of a host needs the inbox prefix of its host instead.
    pub fn connect_options(&self, role: Role) -> async_nats::ConnectOptions {
        async_nats::ConnectOptions::with_user_and_password(
            role.user().to_owned(),
            self.password(role).to_owned(),
        )
        .custom_inbox_prefix(subjects::inbox_prefix(role.user()))
        .reconnect_delay_callback(|_| RECONNECT_DELAY)
    }
}
