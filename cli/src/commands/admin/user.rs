//! `scuttle user add`, `scuttle user list` and `scuttle user remove`: the users that people and
//! programs log in as.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use scuttle_schemas::headers::UNKNOWN_REQUESTER;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::{HostId, HostName};

use super::bus_options::{BusOptions, explain_existing_file, quote_for_shell};
use crate::admin::accounts::AccountName;
use crate::admin::files;
use crate::admin::keystore::{ADMIN_USER, KeyName, Keystore};
use crate::admin::roles::Role;
use crate::admin::server_address::ServerAddress;
use crate::admin::user_records::{
    self, MAX_USER_HOSTS, NewUserHosts, PreparedUser, UserHost, UserRecord,
};
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::client::revoke::revoke_users;
use crate::client::teardown::format_host;
use crate::client::user_connections::query_last_seen;
use crate::clock;
use crate::commands::shell::candidates;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::json_types::{UserAdded, UserEntry, UserRemoved, Users};
use crate::output::message::print_line;
use crate::output::style::format_relative;
use crate::output::table::{Column, Table};

/// Add, list and remove users.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle user add alice --role operator
  scuttle user list
  scuttle user remove alice")]
pub(crate) struct User {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(Add),
    List(List),
    Remove(Remove),
}

/// Add a user, write a credentials file, and print its path.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle user add alice --role operator
  scuttle user add bob --role operator --host worker-a --host worker-b
  scuttle user add wall-display --role viewer --out display.creds")]
struct Add {
    /// Name of the user, recorded as `requested_by`: 1 to 64 characters from A-Z a-z 0-9 _ -. The
    /// name of a removed user can be used again, with new keys.
    // The rule is the same as for ids of hosts: one token of a subject, because the name is part of
    // the user's inboxes.
    #[arg(value_parser = parse_user_name)]
    name: HostId,
    /// Role of the user.
    #[arg(long)]
    role: UserRole,
    /// Host (name or ID) on which an operator may tear down; can be repeated. The operator may list
    /// and watch everything, and change nothing else: not cancel operations, and not enroll, change
    /// or decommission hosts. The hosts of a user cannot be changed: remove the user, and add it
    /// again.
    #[arg(long = "host", value_name = "HOST", add = candidates::complete_hosts())]
    hosts: Vec<String>,
    /// Credentials file to write. Defaults to NAME.creds in the current directory. For `admin`,
    /// defaults to the file in the bus directory that every command logs in with.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    bus: BusOptions,
}

fn parse_user_name(text: &str) -> Result<HostId, String> {
    text.parse().map_err(|_| {
        "the name of a user has 1 to 64 characters from A-Z a-z 0-9 _ - and no spaces".to_owned()
    })
}

/// A role that `scuttle user add` can assign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UserRole {
    /// May do everything. With --host, may tear down on these hosts only.
    Operator,
    /// May list and watch, but change nothing.
    Viewer,
}

/// List the users whose credentials are valid, including those of hosts.
///
/// The last column shows when a user was last connected, as far as the NATS servers remember.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle user list
  scuttle user list -o jsonl | jq -r 'select(.role == \"operator\").user'")]
struct List {
    #[command(flatten)]
    bus: BusOptions,
}

/// Remove a user: revoke the credentials and close the user's connections.
///
/// The last operator is removed only with --force. After that, `scuttle user add NAME --role
/// operator` creates another one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle user remove alice")]
struct Remove {
    /// Name of the user.
    name: HostName,
    /// Remove the user even if no operator is left.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    bus: BusOptions,
}

impl User {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        match self.verb {
            Verb::Add(verb) => verb.run(format).await,
            Verb::List(verb) => verb.run(format).await,
            Verb::Remove(verb) => verb.run(format).await,
        }
    }
}

impl Add {
    async fn run(self, format: Format) -> Result<(), Failure> {
        let name = self.name.as_str();
        let role = self.check_role()?;
        let keystore = self.bus.open_directory()?;
        let is_taken = user_records::list_active(&keystore)?
            .iter()
            .any(|user| user.user == name);
        if is_taken || name == UNKNOWN_REQUESTER {
            return Err(Failure::Conflict(format!(
                "cannot add the user {name}: the name is taken; choose another name, or remove that user first"
            )));
        }
        let hosts = match role {
            Role::HostOperator => {
                require_role_key(&keystore, self.bus.root())?;
                NewUserHosts::Limited(self.resolve_hosts().await?)
            }
            _ => NewUserHosts::None,
        };
        let out = self.out.unwrap_or_else(|| match name {
            ADMIN_USER => keystore.credentials(ADMIN_USER),
            name => format!("{name}.creds").into(),
        });
        let address = ServerAddress::read(self.bus.root())?;
        let prepared = PreparedUser::new(&keystore, role, &out).map_err(explain_existing_file)?;
        let record = prepared.create(name, hosts)?;
        let output = UserAdded {
            user: record.user,
            role: user_role_name(role),
            hosts: record.hosts,
            credentials: out.display().to_string(),
        };
        // The login of the bus directory itself is not for another person.
        if let Some(address) = address
            && name != ADMIN_USER
        {
            print_hand_over(&out, &address);
        }
        format.write_one(&output, || output.credentials.clone())
    }

    /// Returns the role that the options select, and checks that the hosts fit it.
    fn check_role(&self) -> Result<Role, Failure> {
        match (self.role, self.hosts.len()) {
            (UserRole::Operator, 0) => Ok(Role::Operator),
            (UserRole::Viewer, 0) => Ok(Role::Viewer),
            (UserRole::Viewer, _) => Err(Failure::Usage(
                "--host limits an operator: leave it out for a viewer, who sees all hosts"
                    .to_owned(),
            )),
            (UserRole::Operator, 1..=MAX_USER_HOSTS) => Ok(Role::HostOperator),
            (UserRole::Operator, count) => Err(Failure::Usage(format!(
                "--host is given {count} times, and a user has at most {MAX_USER_HOSTS} hosts: add several users"
            ))),
        }
    }

    /// Finds the hosts of the user in the controller's list.
    async fn resolve_hosts(&self) -> Result<Vec<UserHost>, Failure> {
        let client = Client::connect(&self.bus.connection()?).await?;
        let mut hosts: Vec<UserHost> = Vec::new();
        for name_or_id in &self.hosts {
            let host = lists::resolve_host(&client, name_or_id).await?;
            if host.status == HostStatus::Decommissioned {
                return Err(Failure::Conflict(format!(
                    "host {} is decommissioned: leave it out, or enroll it again first",
                    format_host(&host.name, &host.host_uuid)
                )));
            }
            if hosts.iter().all(|known| known.host_uuid != host.host_uuid) {
                hosts.push(UserHost {
                    host_uuid: host.host_uuid,
                    host_name: host.name,
                });
            }
        }
        Ok(hosts)
    }
}

/// Fails if the bus directory in `root` has no key for operators who are limited to hosts.
fn require_role_key(keystore: &Keystore, root: &Path) -> Result<(), Failure> {
    if keystore.has_key(KeyName::Role(Role::HostOperator)) {
        return Ok(());
    }
    Err(Failure::Conflict(format!(
        "cannot limit a user to hosts: an earlier version of scuttle created {}, without the signing key and the exports \
         that this needs; create a new directory with `scuttle init --dir NEW`, start the server with it, and enroll each \
         host (`scuttle enroll NAME --host-uuid ID`) and add each user again",
        root.display()
    )))
}

/// Returns the name of a role as `scuttle user add` takes it.
fn user_role_name(role: Role) -> &'static str {
    match role {
        Role::HostOperator => Role::Operator.name(),
        role => role.name(),
    }
}

/// Prints the files to hand over to a new user, and a command that logs in with them.
fn print_hand_over(credentials: &Path, address: &ServerAddress) {
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or(path.as_os_str());
        quote_for_shell(&name.to_string_lossy())
    };
    let (files, authority) = match &address.ca {
        Some(ca) => (
            format!("{} and {}", credentials.display(), ca.display()),
            format!(" --tls-ca {}", name(ca)),
        ),
        None => (credentials.display().to_string(), String::new()),
    };
    print_line(format!(
        "Send {files} to the new user over a secure channel. The user then logs in like this:"
    ));
    print_line(format!(
        "  scuttle hosts --nats-url {} --creds {}{authority}",
        address.url,
        name(credentials)
    ));
}

impl List {
    async fn run(self, format: Format) -> Result<(), Failure> {
        let (keystore, connection) = self.bus.open()?;
        let mut records = user_records::list_active(&keystore)?;
        records.sort_by(|a, b| (a.at, &a.user).cmp(&(b.at, &b.user)));
        let last_seen = match query_last_seen(&keystore, &connection).await {
            Ok(last_seen) => last_seen,
            Err(error) => {
                print_line(format!("Last connections unknown: {error}."));
                BTreeMap::new()
            }
        };
        let entry = |record: UserRecord| UserEntry {
            last_seen: last_seen.get(&record.public_key).copied(),
            user: record.user,
            role: user_role_name(record.role),
            host_name: record.host_name,
            hosts: record.hosts,
            public_key: record.public_key,
            created_at: record.at,
        };
        let users = Users {
            users: records.into_iter().map(entry).collect(),
        };
        format.write_list(&users, &users.users, || build_table(&users.users))
    }
}

fn build_table(users: &[UserEntry]) -> Table {
    let mut table = Table::new(&[
        Column::name("NAME"),
        Column::new("ROLE"),
        Column::name("HOST"),
        Column::new("CREATED"),
        Column::new("LAST SEEN"),
    ]);
    let now = clock::now();
    for user in users {
        let names = user.hosts.iter().map(|host| &host.host_name);
        let names = user.host_name.iter().chain(names);
        let hosts: Vec<_> = names.map(HostName::as_str).collect();
        let last_seen = user.last_seen.map(|at| format_relative(at, now));
        table.add_row([
            user.user.as_str().into(),
            user.role.into(),
            hosts.join(", ").into(),
            format_relative(user.created_at, now).into(),
            last_seen.unwrap_or_default().into(),
        ]);
    }
    table
}

/// The roles of the users that `scuttle user add` creates.
const USER_ROLES: [Role; 3] = [Role::Operator, Role::HostOperator, Role::Viewer];

impl Remove {
    async fn run(self, format: Format) -> Result<(), Failure> {
        let name = self.name.as_str();
        let (keystore, connection) = self.bus.open()?;
        let is_named = |user: &UserRecord| user.user == name && USER_ROLES.contains(&user.role);
        let roles: Vec<Role> = user_records::list_all(&keystore)?
            .iter()
            .filter(|user| is_named(user))
            .map(|user| user.role)
            .collect();
        if roles.is_empty() {
            return Err(Failure::NotFound(format!(
                "user {name} not found; `scuttle user list` lists the users"
            )));
        }
        let active = user_records::list_active(&keystore)?;
        let mut operators = active.iter().filter(|user| user.role == Role::Operator);
        let removes_operator = operators.clone().any(is_named);
        if removes_operator && operators.all(is_named) && !self.force {
            return Err(Failure::Conflict(format!(
                "cannot remove {name}: it is the last operator, so no one could change anything; add another operator first with \
                 `scuttle user add NAME --role operator`, or give --force"
            )));
        }
        let mut revoked = 0;
        // Users of different roles, if the name was used again. The server is updated even if none
        // is left to revoke, because an earlier update may have failed.
        for role in USER_ROLES {
            if !roles.contains(&role) {
                continue;
            }
            let users = active
                .iter()
                .filter(|user| is_named(user) && user.role == role);
            let users: Vec<_> = users.cloned().collect();
            revoke_users(&keystore, AccountName::from_role(role), &users, &connection).await?;
            revoked += users.len();
        }
        print_line(format!(
            "User {name} removed from the swarm at {}. The server rejects the user's credentials from now on.",
            connection.swarm()
        ));
        if name == ADMIN_USER {
            files::remove_if_exists(&keystore.credentials(ADMIN_USER))?;
            eprintln!(
                "The bus directory has no login now: give --creds, or create one with `scuttle user add {ADMIN_USER} --role operator`."
            );
        }
        let output = UserRemoved {
            user: name.to_owned(),
            revoked,
        };
        format.write_one(&output, String::new)
    }
}
