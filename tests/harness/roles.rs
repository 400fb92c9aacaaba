//! Who connects to a nats-server with the project's configuration: the users of `nats.conf`, and their passwords in one test.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

/// Who connects: a user of `nats.conf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The controller.
    Controller,
    /// The agents of all hosts.
    Agents,
    /// An operator.
    Operator,
    /// A viewer.
    Viewer,
}

impl Role {
    const ALL: [Self; 4] = [Self::Controller, Self::Agents, Self::Operator, Self::Viewer];

    /// The user's name.
    pub fn user(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Agents => "agents",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }

    /// The environment variable from which `nats.conf` takes the user's password.
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

/// A password for each role's user: those of one server, or of all servers of a cluster.
#[derive(Debug, Clone)]
pub struct Passwords([String; 4]);

/// A new password. A letter first: `nats.conf` would take digits for a number.
pub(crate) fn password() -> String {
    format!("p{}", Uuid::now_v7().simple())
}

impl Passwords {
    /// New ones.
    pub fn make() -> Self {
        Self(Role::ALL.map(|_| password()))
    }

    /// The password of a role's user.
    pub fn of(&self, role: Role) -> &str {
        &self.0[role as usize]
    }

    /// What `nats.conf` takes from the server's environment.
    pub(crate) fn of_server(&self) -> Vec<(&'static str, String)> {
        let password = |role: Role| (role.password_variable(), self.of(role).to_owned());
        let mut environment: Vec<_> = Role::ALL.map(password).into();
        environment.push(("SCUTTLE_WS_PORT", "-1".to_owned()));
        environment
    }

    /// The environment of a Scuttle program that connects as `role`.
    pub fn environment(&self, role: Role) -> [(&'static str, String); 2] {
        [
            ("SCUTTLE_NATS_USER", role.user().to_owned()),
            ("SCUTTLE_NATS_PASSWORD", self.of(role).to_owned()),
        ]
    }

    /// Options to connect as `role`: quick to come back when the server does.
    pub fn options(&self, role: Role) -> async_nats::ConnectOptions {
        async_nats::ConnectOptions::with_user_and_password(
            role.user().to_owned(),
            self.of(role).to_owned(),
        )
        .reconnect_delay_callback(|_| Duration::from_millis(20))
    }
}
