//! `scuttle user add` and `scuttle user remove`: the users that people and programs log in as.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use scuttle_schemas::headers::UNKNOWN_REQUESTER;
use scuttle_schemas::{HostId, HostName};

use super::bus_options::{BusOptions, DirectoryOption};
use crate::admin::accounts::AccountName;
use crate::admin::keystore::Keystore;
use crate::admin::roles::Role;
use crate::admin::user_records::{self, NewUser};
use crate::client::revoke::revoke_users;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::json_types::{UserAdded, UserRemoved};

/// Add and remove users.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle user add alice --role operator
  scuttle user remove alice")]
pub(crate) struct User {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(Add),
    Remove(Remove),
}

/// Add a user, write a credentials file, and print its path.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle user add alice --role operator
  scuttle user add wall-display --role viewer --out display.creds")]
struct Add {
    /// Name of the user, recorded as `requested_by`: 1 to 64 characters from A-Z a-z 0-9 _ -. A
    /// name that was used before is rejected.
    // The rule is the same as for ids of hosts: one token of a subject, because the name is part of
    // the user's inboxes.
    name: HostId,
    /// Role of the user.
    #[arg(long)]
    role: UserRole,
    /// Credentials file to write. Defaults to NAME.creds in the current directory.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    directory: DirectoryOption,
}

/// A role that `scuttle user add` can assign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UserRole {
    /// May do everything.
    Operator,
    /// May list and watch, but change nothing.
    Viewer,
}

/// Remove a user: revoke the credentials and close the user's connections.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle user remove alice")]
struct Remove {
    /// Name of the user.
    name: HostName,
    #[command(flatten)]
    bus: BusOptions,
}

impl User {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        match self.verb {
            Verb::Add(verb) => verb.run(format),
            Verb::Remove(verb) => verb.run(format).await,
        }
    }
}

impl Add {
    fn run(self, format: Format) -> Result<(), Failure> {
        let name = self.name.as_str();
        let keystore = Keystore::open(self.directory.path())?;
        // The name of a removed user stays taken: operations must not attribute the requests of two
        // people to one name.
        let is_taken = user_records::list_all(&keystore)?
            .iter()
            .any(|user| user.user == name);
        if is_taken || name == UNKNOWN_REQUESTER {
            return Err(Failure::Conflict(format!(
                "cannot add the user {name}: the name is taken, and operations are recorded under it; choose another name"
            )));
        }
        let out = self.out.unwrap_or_else(|| format!("{name}.creds").into());
        let role = match self.role {
            UserRole::Operator => Role::Operator,
            UserRole::Viewer => Role::Viewer,
        };
        let new_user = NewUser {
            role,
            user: name,
            host_name: None,
            credentials_file: &out,
        };
        user_records::create_user(&keystore, new_user)?;
        let output = UserAdded {
            user: name.to_owned(),
            role: role.name(),
            credentials: out.display().to_string(),
        };
        format.write_one(&output, || output.credentials.clone())
    }
}

impl Remove {
    async fn run(self, format: Format) -> Result<(), Failure> {
        let name = self.name.as_str();
        let (keystore, connection) = self.bus.open()?;
        let mut users = user_records::list_all(&keystore)?;
        users
            .retain(|user| user.user == name && matches!(user.role, Role::Operator | Role::Viewer));
        let Some(account) = users.first().map(|user| AccountName::from_role(user.role)) else {
            return Err(Failure::NotFound(format!("user {name} not found")));
        };
        let active = user_records::list_active(&keystore)?;
        users.retain(|user| active.contains(user));
        revoke_users(&keystore, account, &users, &connection).await?;
        eprintln!("User {name} removed. The server rejects the user's credentials from now on.");
        let output = UserRemoved {
            user: name.to_owned(),
            revoked: users.len(),
        };
        format.write_one(&output, String::new)
    }
}
