//! The four accounts, as in `nats.conf`: which there are, what crosses between them, and how many may connect.

use nkeys::KeyPair;
use scuttle_schemas::subjects;

use crate::jwt::claims::{
    Account, AccountLimits, Crossing, Export, Import, Kind, Permission, Permissions, UNLIMITED,
};
use crate::roles::Role;

/// An account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccountName {
    /// The controller and the agents.
    Scuttle,
    /// Who may change things.
    Operators,
    /// Who may look.
    Viewers,
    /// The server's own.
    System,
}

/// The most connections to the server, and of each account. The accounts' add up to less than the server's, so that none
/// can keep another out. A connection costs the server at least a file and some 50 KiB.
pub(crate) const MAX_CONNECTIONS: i64 = 12_288;

impl AccountName {
    /// All.
    pub(crate) const ALL: [Self; 4] = [Self::Scuttle, Self::Operators, Self::Viewers, Self::System];

    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scuttle => "SCUTTLE",
            Self::Operators => "OPERATORS",
            Self::Viewers => "VIEWERS",
            Self::System => "SYS",
        }
    }

    /// The account of a role's users.
    pub(crate) fn of(role: Role) -> Self {
        match role {
            Role::Controller | Role::Agent => Self::Scuttle,
            Role::Operator => Self::Operators,
            Role::Viewer => Self::Viewers,
            Role::System => Self::System,
        }
    }

    fn connections(self) -> i64 {
        match self {
            // One for each host, and twice that while they come back: the server notices late who went without a word.
            Self::Scuttle => 10_240,
            Self::Operators | Self::Viewers => 512,
            Self::System => 64,
        }
    }

    /// The claims. `scuttle` and `system` are the public keys of those accounts; `keys` has each role's signing key.
    pub(crate) fn claims(self, scuttle: &str, system: &str, keys: &[(Role, KeyPair)]) -> Account {
        let scopes = keys.iter().filter(|(role, _)| Self::of(*role) == self);
        let jetstream = match self {
            // For `scuttle-controller --store jetstream`.
            Self::Scuttle => UNLIMITED,
            Self::Operators | Self::Viewers | Self::System => 0,
        };
        Account {
            imports: self.imports(scuttle, system),
            exports: match self {
                Self::Scuttle => exports(),
                Self::System => vec![export_of_servers()],
                Self::Operators | Self::Viewers => Vec::new(),
            },
            limits: AccountLimits {
                subs: UNLIMITED,
                data: UNLIMITED,
                payload: UNLIMITED,
                imports: UNLIMITED,
                exports: UNLIMITED,
                wildcards: true,
                conn: self.connections(),
                disallow_bearer: true,
                disk_storage: jetstream,
                streams: jetstream,
                consumer: jetstream,
            },
            signing_keys: scopes.map(|(role, key)| role.scope(key)).collect(),
            revocations: std::collections::BTreeMap::new(),
            default_permissions: Permissions {
                publish: Permission::none(),
                subscribe: Permission::none(),
            },
            kind: Kind::account(),
        }
    }

    fn imports(self, scuttle: &str, system: &str) -> Vec<Import> {
        let of_scuttle = |requests: &[&str]| {
            let import = |crossing| {
                move |subject: &str| Import {
                    name: subject.to_owned(),
                    subject: subject.to_owned(),
                    local_subject: None,
                    account: scuttle.to_owned(),
                    crossing,
                    // The server tells the controller who asks.
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
        // How the servers store: the controller looks at it, and `scuttle doctor`.
        let servers = Import {
            name: subjects::SERVER_INFO.to_owned(),
            subject: subjects::SERVER_INFO_IN_SYSTEM_ACCOUNT.to_owned(),
            local_subject: Some(subjects::SERVER_INFO.to_owned()),
            account: system.to_owned(),
            crossing: Crossing::Service,
            share: false,
        };
        match self {
            Self::Scuttle => vec![servers],
            Self::Operators => {
                let mut imports: Vec<_> =
                    of_scuttle(&[subjects::CHANGE_REQUESTS, subjects::READ_REQUESTS].concat());
                imports.push(servers);
                imports
            }
            Self::Viewers => of_scuttle(&subjects::READ_REQUESTS),
            Self::System => Vec::new(),
        }
    }
}

/// For any account, where `nats.conf` names the accounts: an import is in the token of the account that imports, and only the
/// operator's signing key signs that.
fn exports() -> Vec<Export> {
    let export = |crossing, response_type: Option<&'static str>| {
        move |subject: &str| Export {
            name: subject.to_owned(),
            subject: subject.to_owned(),
            crossing,
            response_type: response_type.map(str::to_owned),
        }
    };
    let requests = [subjects::CHANGE_REQUESTS, subjects::READ_REQUESTS].concat();
    (requests.into_iter().map(export(Crossing::Service, None)))
        // Every instance answers.
        .chain([subjects::SERVICE_DISCOVERY].map(export(Crossing::Service, Some("Stream"))))
        .chain(subjects::BROADCASTS.map(export(Crossing::Stream, None)))
        .collect()
}

/// The one thing that the system account shows: each server of a cluster answers.
fn export_of_servers() -> Export {
    Export {
        name: subjects::SERVER_INFO.to_owned(),
        subject: subjects::SERVER_INFO_IN_SYSTEM_ACCOUNT.to_owned(),
        crossing: Crossing::Service,
        response_type: Some("Stream".to_owned()),
    }
}
