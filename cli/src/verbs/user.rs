//! `scuttle user add` and `scuttle user remove`: people and programs that ask the controller.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use scuttle_schemas::HostName;
use scuttle_schemas::headers::UNKNOWN_REQUESTER;

use super::{Bus, Place};
use crate::accounts::AccountName;
use crate::directory::Directory;
use crate::failure::Failure;
use crate::issued;
use crate::output::Format;
use crate::outputs::{UserAdded, UserRemoved};
use crate::revoke::revoke;
use crate::roles::Role;

/// Lets people and programs in and out.
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

/// Makes a user, and writes its credentials; prints the file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle user add alice --role operator
  scuttle user add wall-display --role viewer --out display.creds")]
struct Add {
    /// What operations record as `requested_by`: 1 to 64 of A-Z a-z 0-9 . _ -, never used before.
    // A user's name keeps the rule of a host's.
    name: HostName,
    /// What it may do.
    #[arg(long)]
    role: PersonRole,
    /// Where the credentials go; NAME.creds in this folder, if absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PersonRole {
    /// Everything.
    Operator,
    /// Look, and change nothing.
    Viewer,
}

/// Takes a user's credentials back: the server closes its connections, and lets it in no more.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle user remove alice")]
struct Remove {
    /// Its name.
    name: HostName,
    #[command(flatten)]
    bus: Bus,
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
        let directory = Directory::open(self.place.path())?;
        // Also one that was removed: two people must not share a name in the record.
        let used = issued::all(&directory)?
            .iter()
            .any(|user| user.user == name);
        if used || name == UNKNOWN_REQUESTER {
            return Err(Failure::Conflict(format!(
                "the name {name} is taken: operations are recorded under it; use another"
            )));
        }
        let out = self.out.unwrap_or_else(|| format!("{name}.creds").into());
        let role = match self.role {
            PersonRole::Operator => Role::Operator,
            PersonRole::Viewer => Role::Viewer,
        };
        issued::issue(&directory, role, name, None, &out)?;
        let made = UserAdded {
            user: name.to_owned(),
            role: role.name(),
            credentials: out.display().to_string(),
        };
        format.one(&made, || made.credentials.clone())
    }
}

impl Remove {
    async fn run(self, format: Format) -> Result<(), Failure> {
        let name = self.name.as_str();
        let (directory, connection) = self.bus.open()?;
        let mut users = issued::all(&directory)?;
        users
            .retain(|user| user.user == name && matches!(user.role, Role::Operator | Role::Viewer));
        let Some(account) = users.first().map(|user| AccountName::of(user.role)) else {
            return Err(Failure::NotFound(format!("there is no user {name}")));
        };
        let living = issued::living(&directory)?;
        users.retain(|user| living.contains(user));
        revoke(&directory, account, &users, &connection).await?;
        eprintln!("{name} is let in no more.");
        let removed = UserRemoved {
            user: name.to_owned(),
            revoked: users.len(),
        };
        format.one(&removed, String::new)
    }
}
