//! The roles of users and their permissions, as templates of scoped signing keys. The permissions
//! are the same as in `nats.conf`.
//!
//! A user has the permissions of the key that signed the user's token. A stolen signing key can
//! therefore sign only users of its role.

use nkeys::KeyPair;
use scuttle_schemas::subjects::{self, AgentChannel};

use crate::admin::jwt::claims::{Permission, Permissions, Scope, Template, UNLIMITED};

/// The role of a user, which determines the user's permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    Controller,
    /// The agent of one host. The `host_uuid` is the name of this user.
    Agent,
    /// A user who may change things.
    Operator,
    /// An operator who may tear down only on the hosts in the user's token, and may otherwise only
    /// read.
    HostOperator,
    /// A user who may only read.
    Viewer,
    /// The user that updates accounts at the NATS server on behalf of the `scuttle` command.
    System,
}

impl Role {
    pub(crate) const ALL: [Self; 6] = [
        Self::Controller,
        Self::Agent,
        Self::Operator,
        Self::HostOperator,
        Self::Viewer,
        Self::System,
    ];

    /// Returns the role's name in file names, user records and tokens.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::HostOperator => "host-operator",
            Self::Viewer => "viewer",
            Self::System => "system",
        }
    }

    /// Builds the scope that gives the role's permissions to all users that `key` signs.
    pub(crate) fn to_scope(self, key: &KeyPair) -> Scope {
        Scope {
            kind: "user_scope".to_owned(),
            key: key.public_key(),
            role: self.name().to_owned(),
            template: self.template(),
        }
    }

    fn template(self) -> Template {
        let (publish, subscribe): (Vec<String>, Vec<String>) = match self {
            // The subjects of replies are listed here instead of using `allow_responses`. That
            // option forgets the allowed subjects when the connection is lost, and lets the
            // requester choose the subject.
            Self::Controller => (
                to_strings(&subjects::BROADCASTS)
                    .chain(to_strings(&[
                        subjects::ALL_INBOXES,
                        subjects::CROSS_ACCOUNT_REPLIES,
                    ]))
                    .chain([AgentChannel::Commands.wildcard_subject()])
                    .chain(to_strings(&[
                        subjects::SERVER_INFO,
                        subjects::CONTROLLER_PING,
                    ]))
                    .chain(subjects::controller_jetstream_subjects())
                    .chain(controller_subjects())
                    .collect(),
                to_strings(&[subjects::ALL_REQUESTS, subjects::SERVICE_DISCOVERY])
                    .chain(REPORTS.map(AgentChannel::wildcard_subject))
                    .chain(controller_subjects())
                    .collect(),
            ),
            Self::Agent => (
                REPORTS.map(AgentChannel::user_subject).into(),
                vec![
                    AgentChannel::Commands.user_subject(),
                    subjects::user_inboxes(),
                ],
            ),
            Self::Operator => (
                to_strings(&subjects::CHANGE_REQUESTS)
                    .chain(to_strings(&[subjects::HOST_TEARDOWNS]))
                    .chain(to_strings(&subjects::READ_REQUESTS))
                    .chain(to_strings(&[
                        subjects::SERVICE_DISCOVERY,
                        subjects::SERVER_INFO,
                    ]))
                    .collect(),
                readable_subjects(),
            ),
            Self::HostOperator => (
                to_strings(&subjects::READ_REQUESTS)
                    .chain([subjects::tagged_host_teardowns()])
                    .chain(to_strings(&[subjects::SERVICE_DISCOVERY]))
                    .collect(),
                readable_subjects(),
            ),
            Self::Viewer => (
                to_strings(&subjects::READ_REQUESTS)
                    .chain(to_strings(&[subjects::SERVICE_DISCOVERY]))
                    .collect(),
                readable_subjects(),
            ),
            Self::System => (
                vec![CLAIMS_UPDATE.to_owned(), CONNECTIONS_REQUEST.to_owned()],
                vec![subjects::user_inboxes()],
            ),
        };
        Template {
            permissions: Permissions {
                publish: Permission::allow_only(publish),
                subscribe: Permission::allow_only(subscribe),
            },
            subs: self.max_subscriptions(),
            data: UNLIMITED,
            payload: self.max_payload(),
            allowed_connection_types: match self {
                // Only people use browsers, so only they may use WebSocket.
                Self::Operator | Self::HostOperator | Self::Viewer => Vec::new(),
                Self::Controller | Self::Agent | Self::System => {
                    vec!["STANDARD".to_owned()]
                }
            },
        }
    }

    /// Returns the maximum number of subscriptions of one connection. The limit is about four times
    /// what the role's program needs, so that a stolen login cannot fill the server's memory.
    fn max_subscriptions(self) -> i64 {
        match self {
            // The connection for reads has about 15: its endpoints, and three discovery verbs in
            // three forms each. With several partitions, it is one more endpoint for each list.
            Self::Controller => 128,
            // Commands and an inbox.
            Self::Agent | Self::System => 8,
            // Broadcasts and inboxes of a view, and subscriptions made by hand.
            Self::Operator | Self::HostOperator | Self::Viewer => 64,
        }
    }

    /// Returns the maximum size of a message in bytes.
    fn max_payload(self) -> i64 {
        match self {
            // List pages, inventory pages, and an account with thousands of revocations: only the
            // limit of the server applies.
            Self::Controller | Self::Agent | Self::System => UNLIMITED,
            // The largest request is an enrollment with 16 labels: 15 KiB if every character is
            // escaped.
            Self::Operator | Self::HostOperator | Self::Viewer => 64 * 1024,
        }
    }
}

/// The subject on which the NATS server accepts new tokens of accounts.
pub(crate) const CLAIMS_UPDATE: &str = "$SYS.REQ.CLAIMS.UPDATE";

/// The subject on which every NATS server lists its connections.
pub(crate) const CONNECTIONS_REQUEST: &str = "$SYS.REQ.SERVER.PING.CONNZ";

/// The channels on which agents publish.
const REPORTS: [AgentChannel; 3] = [
    AgentChannel::Heartbeat,
    AgentChannel::Results,
    AgentChannel::Progress,
];

fn readable_subjects() -> Vec<String> {
    to_strings(&subjects::BROADCASTS)
        .chain([subjects::user_inboxes()])
        .collect()
}

/// Returns the subjects on which controllers communicate with each other.
fn controller_subjects() -> impl Iterator<Item = String> {
    let inboxes = format!("{}.>", subjects::CONTROLLER_INBOX_PREFIX);
    to_strings(&[
        subjects::ALL_PARTITION_REQUESTS,
        subjects::ALL_RELAYED_BROADCASTS,
    ])
    .chain([inboxes])
}

fn to_strings(subjects: &[&str]) -> impl Iterator<Item = String> {
    subjects.iter().map(|subject| (*subject).to_owned())
}
