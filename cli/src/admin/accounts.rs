//! The four NATS accounts that `scuttle init` creates: their names, imports, exports and limits.
//! The example configuration `nats.conf` defines the same accounts.

use std::collections::BTreeMap;

use nkeys::KeyPair;
use scuttle_schemas::subjects;

use crate::admin::jwt::claims::{
    Account, AccountLimits, Crossing, Export, Import, Kind, Mapping, Permission, Permissions,
    UNLIMITED,
};
use crate::admin::roles::Role;

/// A NATS account that `scuttle init` creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccountName {
    /// The account of the controller and the agents.
    Scuttle,
    /// The account of the users who may change things.
    Operators,
    /// The account of the users who may only read.
    Viewers,
    /// The NATS server's system account, through which the other accounts are updated.
    System,
}

/// The maximum number of connections to the NATS server.
///
/// It exceeds the sum of the accounts' limits, so that no account can use up the connections of
/// another. A connection costs the server at least one file descriptor and about 50 KiB of memory.
pub(crate) const MAX_CONNECTIONS: i64 = 12_288;

impl AccountName {
    pub(crate) const ALL: [Self; 4] = [Self::Scuttle, Self::Operators, Self::Viewers, Self::System];

    /// Returns the account's name in tokens, file names and the server's configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scuttle => "SCUTTLE",
            Self::Operators => "OPERATORS",
            Self::Viewers => "VIEWERS",
            Self::System => "SYS",
        }
    }

    /// Returns the account to which users with this role belong.
    pub(crate) fn from_role(role: Role) -> Self {
        match role {
            Role::Controller | Role::Agent => Self::Scuttle,
            Role::Operator | Role::HostOperator => Self::Operators,
            Role::Viewer => Self::Viewers,
            Role::System => Self::System,
        }
    }

    fn max_connections(self) -> i64 {
        match self {
            // One for each host, and up to two while the hosts reconnect: the server is slow to
            // notice connections that were lost without being closed.
            Self::Scuttle => 10_240,
            Self::Operators | Self::Viewers => 512,
            Self::System => 64,
        }
    }

    /// Builds the claims for the account's token.
    ///
    /// `scuttle` and `system` are the public keys of the accounts with these names. `keys` holds
    /// the signing keys of all roles. The claims contain only those of this account's roles.
    pub(crate) fn claims(self, scuttle: &str, system: &str, keys: &[(Role, KeyPair)]) -> Account {
        let scopes = keys
            .iter()
            .filter(|(role, _)| Self::from_role(*role) == self);
        let jetstream = match self {
            // For `scuttle-controller --store jetstream`.
            Self::Scuttle => UNLIMITED,
            Self::Operators | Self::Viewers | Self::System => 0,
        };
        Account {
            imports: self.imports(scuttle, system),
            exports: match self {
                Self::Scuttle => scuttle_exports(),
                Self::System => vec![server_status_export()],
                Self::Operators | Self::Viewers => Vec::new(),
            },
            limits: AccountLimits {
                subs: UNLIMITED,
                data: UNLIMITED,
                payload: UNLIMITED,
                imports: UNLIMITED,
                exports: UNLIMITED,
                wildcards: true,
                conn: self.max_connections(),
                disallow_bearer: true,
                disk_storage: jetstream,
                streams: jetstream,
                consumer: jetstream,
            },
            signing_keys: scopes.map(|(role, key)| role.to_scope(key)).collect(),
            revocations: BTreeMap::new(),
            mappings: match self {
                Self::Operators | Self::Viewers => diverted_broadcasts(),
                Self::Scuttle | Self::System => BTreeMap::new(),
            },
            default_permissions: Permissions {
                publish: Permission::deny_all(),
                subscribe: Permission::deny_all(),
            },
            kind: Kind::account(),
        }
    }

    fn imports(self, scuttle: &str, system: &str) -> Vec<Import> {
        let from_scuttle = |requests: &[&str]| {
            let import = |crossing| {
                move |subject: &str| Import {
                    name: subject.to_owned(),
                    subject: subject.to_owned(),
                    local_subject: None,
                    account: scuttle.to_owned(),
                    crossing,
                    // The server includes the requesting user in requests to the controller.
                    share: crossing == Crossing::Service,
                }
            };
            let requests = requests
                .iter()
                .copied()
                .chain([subjects::SERVICE_DISCOVERY]);
            let broadcasts = subjects::BROADCASTS.into_iter();
            requests
                .map(import(Crossing::Service))
                .chain(broadcasts.map(import(Crossing::Stream)))
                .collect()
        };
        // The controller and `scuttle doctor` check how the servers store data.
        let server_status = Import {
            name: subjects::SERVER_INFO.to_owned(),
            subject: subjects::SERVER_INFO_IN_SYSTEM_ACCOUNT.to_owned(),
            local_subject: Some(subjects::SERVER_INFO.to_owned()),
            account: system.to_owned(),
            crossing: Crossing::Service,
            share: false,
        };
        match self {
            Self::Scuttle => vec![server_status],
            Self::Operators => {
                let mut imports: Vec<_> = from_scuttle(&all_requests());
                imports.push(server_status);
                imports
            }
            Self::Viewers => from_scuttle(&subjects::READ_REQUESTS),
            Self::System => Vec::new(),
        }
    }
}

/// Returns the subjects of all requests from clients.
fn all_requests() -> Vec<&'static str> {
    let changes = subjects::CHANGE_REQUESTS.into_iter();
    let changes = changes.chain([subjects::HOST_TEARDOWNS]);
    changes.chain(subjects::READ_REQUESTS).collect()
}

/// Returns mappings for the broadcast subjects, for an account that imports them. The server maps
/// messages from within the account, but not messages that arrive through the import. A user may
/// choose a broadcast subject as the reply subject of a request: the mapping then diverts the
/// reply, so that it does not appear as a broadcast.
fn diverted_broadcasts() -> BTreeMap<String, Vec<Mapping>> {
    let divert = |broadcast: &str| {
        let subject = subjects::diverted_subject(broadcast);
        (broadcast.to_owned(), vec![Mapping { subject }])
    };
    subjects::BROADCASTS.map(divert).into()
}

/// Returns the exports of the `SCUTTLE` account.
///
/// Unlike `nats.conf`, the exports do not list the accounts that may import them. This is safe: an
/// import is part of the importing account's token, and only the operator's signing key can sign
/// tokens of accounts.
fn scuttle_exports() -> Vec<Export> {
    let export = |crossing, response_type: Option<&'static str>| {
        move |subject: &str| Export {
            name: subject.to_owned(),
            subject: subject.to_owned(),
            crossing,
            response_type: response_type.map(str::to_owned),
        }
    };
    (all_requests()
        .into_iter()
        .map(export(Crossing::Service, None)))
    // Every instance of the service replies.
    .chain([subjects::SERVICE_DISCOVERY].map(export(Crossing::Service, Some("Stream"))))
    .chain(subjects::BROADCASTS.map(export(Crossing::Stream, None)))
    .collect()
}

/// Returns the only export of the system account: requests for the servers' status. Every server of
/// a NATS cluster replies.
fn server_status_export() -> Export {
    Export {
        name: subjects::SERVER_INFO.to_owned(),
        subject: subjects::SERVER_INFO_IN_SYSTEM_ACCOUNT.to_owned(),
        crossing: Crossing::Service,
        response_type: Some("Stream".to_owned()),
    }
}
