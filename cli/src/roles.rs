//! Who there is, and what each may say and hear: the same as in `nats.conf`, as templates of scoped signing keys. A user gets
//! its role's permissions from the key that signed it, so a stolen role key makes users of that role and no other.

use nkeys::KeyPair;
use scuttle_schemas::subjects::{self, AgentChannel};

use crate::jwt::claims::{Permission, Permissions, Scope, Template, UNLIMITED};

/// A role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// The controller.
    Controller,
    /// The agent of the one host that its user is named as.
    Agent,
    /// Whoever may change things.
    Operator,
    /// Whoever may look.
    Viewer,
    /// This command itself, where it tells the server of changed accounts.
    System,
}

impl Role {
    /// All.
    pub(crate) const ALL: [Self; 5] = [
        Self::Controller,
        Self::Agent,
        Self::Operator,
        Self::Viewer,
        Self::System,
    ];

    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::System => "system",
        }
    }

    /// The signing key's scope.
    pub(crate) fn scope(self, key: &KeyPair) -> Scope {
        Scope {
            kind: "user_scope".to_owned(),
            key: key.public_key(),
            role: self.name().to_owned(),
            template: self.template(),
        }
    }

    fn template(self) -> Template {
        let (publish, subscribe): (Vec<String>, Vec<String>) = match self {
            // It answers by name, not by `allow_responses`: that forgets what it allowed when the connection is lost, and
            // would let the asker choose the subject.
            Self::Controller => (
                owned(&subjects::BROADCASTS)
                    .chain(owned(&[
                        subjects::ALL_INBOXES,
                        subjects::CROSS_ACCOUNT_REPLIES,
                    ]))
                    .chain([AgentChannel::Commands.wildcard_subject()])
                    .chain(owned(&[subjects::SERVER_INFO]))
                    .chain(subjects::controller_jetstream_subjects())
                    .chain(to_controllers())
                    .collect(),
                owned(&[subjects::ALL_REQUESTS, subjects::SERVICE_DISCOVERY])
                    .chain(REPORTS.map(AgentChannel::wildcard_subject))
                    .chain(to_controllers())
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
                owned(&subjects::CHANGE_REQUESTS)
                    .chain(owned(&subjects::READ_REQUESTS))
                    .chain(owned(&[subjects::SERVICE_DISCOVERY, subjects::SERVER_INFO]))
                    .collect(),
                heard(),
            ),
            Self::Viewer => (
                owned(&subjects::READ_REQUESTS)
                    .chain(owned(&[subjects::SERVICE_DISCOVERY]))
                    .collect(),
                heard(),
            ),
            Self::System => (
                vec![CLAIMS_UPDATE.to_owned()],
                vec![subjects::ALL_INBOXES.to_owned()],
            ),
        };
        Template {
            permissions: Permissions {
                publish: Permission::only(publish),
                subscribe: Permission::only(subscribe),
            },
            subs: self.subscriptions(),
            data: UNLIMITED,
            payload: self.payload(),
            allowed_connection_types: match self {
                // Browsers are people's.
                Self::Operator | Self::Viewer => Vec::new(),
                Self::Controller | Self::Agent | Self::System => vec!["STANDARD".to_owned()],
            },
        }
    }

    /// The most subscriptions of one connection: about four times what the role's program has, so that a stolen login cannot
    /// fill the server's memory with them.
    fn subscriptions(self) -> i64 {
        match self {
            // Its service has some 20: ten endpoints, three verbs of discovery in three forms each, and progress. Where JetStream
            // answers it, a few more.
            Self::Controller => 128,
            // Its commands and its inbox.
            Self::Agent | Self::System => 8,
            // Broadcasts and inboxes of a view, and what a person adds.
            Self::Operator | Self::Viewer => 64,
        }
    }

    /// The most bytes of one message.
    fn payload(self) -> i64 {
        match self {
            // List pages, inventory pages, an account with thousands of revocations: the server's own limit.
            Self::Controller | Self::Agent | Self::System => UNLIMITED,
            // The largest request is an enrolment with 16 labels: 15 KiB when every character is escaped.
            Self::Operator | Self::Viewer => 64 * 1024,
        }
    }
}

/// Where the server takes accounts' tokens.
pub(crate) const CLAIMS_UPDATE: &str = "$SYS.REQ.CLAIMS.UPDATE";

/// What agents say.
const REPORTS: [AgentChannel; 3] = [
    AgentChannel::Heartbeat,
    AgentChannel::Results,
    AgentChannel::Progress,
];

fn heard() -> Vec<String> {
    owned(&subjects::BROADCASTS)
        .chain(owned(&[subjects::ALL_INBOXES]))
        .collect()
}

/// What controllers say to each other, and where they are answered.
fn to_controllers() -> impl Iterator<Item = String> {
    let inboxes = format!("{}.>", subjects::CONTROLLER_INBOX_PREFIX);
    owned(&[
        subjects::ALL_PARTITION_REQUESTS,
        subjects::ALL_RELAYED_BROADCASTS,
    ])
    .chain([inboxes])
}

fn owned(subjects: &[&str]) -> impl Iterator<Item = String> {
    subjects.iter().map(|subject| (*subject).to_owned())
}
