//! What the command line asks for: to serve, or one of the commands that do something to a store and end.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use super::{Arguments, Config, ConfigError, Journal, Settings, StoreKind, read_file};
use crate::ops::migrate::Migration;

/// What this process is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Be the controller.
    Serve(Box<Config>),
    /// Make a backup.
    Backup {
        /// The data directory with the store.
        data_dir: PathBuf,
        /// Where the backup goes.
        file: PathBuf,
        /// A file of that name is replaced.
        force: bool,
    },
    /// Move the record into a store of the other kind.
    Migrate(Migration),
    /// Make a store of a backup.
    Restore {
        /// The data directory, without a store.
        data_dir: PathBuf,
        /// The backup.
        file: PathBuf,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Subcommand {
    /// Makes a backup of the store, with the controller running or stopped.
    ///
    /// FILE is the store as it was at one moment: every host, shard, operation and idempotency key. A running controller
    /// goes on meanwhile, and hands its store out through backup.sock in its data directory: so this runs on its
    /// machine, as its user or as root. FILE gets its name once it is whole, on disk and read again; until then, and after
    /// an error, nothing has that name. (A kill leaves a file .FILE.….partial, to be deleted.)
    ///
    /// Exit codes: 0, the backup is made; 1, it is not, and why is on standard error; 2, wrong arguments.
    Backup {
        #[arg(help = "Where the backup goes; readable by its owner alone")]
        file: PathBuf,
        #[arg(long, help = "Replace FILE if it is there")]
        force: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Moves the record of a stopped service into a store of the other kind.
    ///
    /// To jetstream: what is in the data directory goes into an object store on the NATS servers, and the stream is made that
    /// goes on from there; with --shards-of-control, several of each. To redb: what the stream has goes into the data directory, as the store of one controller. Every
    /// row is read back and compared before anything is put in its place. All controllers are stopped meanwhile; a
    /// backup beforehand costs little.
    ///
    /// Exit codes: 0, it is moved; 1, it is not, all is as it was, and why is on standard error; 2, wrong arguments.
    Migrate {
        #[arg(long, value_name = "KIND", help = "Which kind of store it is to be")]
        to: StoreKind,
        #[command(flatten)]
        settings: Box<Settings>,
        #[arg(
            long,
            value_name = "FILE",
            help = "The controller's configuration file [env: SCUTTLE_CONFIG]"
        )]
        config: Option<PathBuf>,
    },
    /// Makes the store of a stopped controller from a backup.
    ///
    /// FILE is read whole and checked before anything is written; the data directory must have no store (move
    /// scuttle.redb away). All revisions are raised above what was told since the backup, so that whoever follows the
    /// swarm lists it anew. What was accepted after the backup is not known any more; the agents' next inventories say
    /// what runs. docs/operations.md tells what else is so after a restore.
    ///
    /// Exit codes: 0, the store is made; 1, it is not, all is as it was, and why is on standard error; 2, wrong arguments.
    Restore {
        #[arg(help = "The backup, as `backup` made it")]
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the store is: all that these commands take of the settings.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    #[arg(
        long,
        value_name = "DIR",
        help = "The controller's data directory [env: SCUTTLE_DATA_DIR]"
    )]
    data_dir: Option<PathBuf>,
    #[arg(
        long,
        value_name = "FILE",
        help = "The controller's configuration file, for its data_dir [env: SCUTTLE_CONFIG]"
    )]
    config: Option<PathBuf>,
}

impl Command {
    /// What this process is asked for. `args` begins with the program's name.
    ///
    /// # Errors
    /// Arguments, a variable or a file that is wrong, a login that is half or double, no data directory;
    /// and `--help` or `--version`, as [`ConfigError::Arguments`].
    pub fn load(args: impl Iterator<Item = OsString>) -> Result<Self, ConfigError> {
        Self::from_layers(args, |name| std::env::var_os(name))
    }

    /// The same, from any environment.
    pub(super) fn from_layers(
        args: impl Iterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        // An empty variable is how a service file or a compose file says "not set".
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| variable(name).map(PathBuf::from);
        let file = |config: Option<PathBuf>| {
            let config = config.or_else(|| path("SCUTTLE_CONFIG"));
            config.map_or_else(|| Ok(Settings::default()), |path| read_file(&path))
        };
        let store = |place: Place| {
            let given = place.data_dir.or_else(|| path("SCUTTLE_DATA_DIR"));
            let found = given.map_or_else(|| Ok(file(place.config)?.data_dir), |dir| Ok(Some(dir)));
            found.and_then(|dir| dir.ok_or(ConfigError::NoDataDir))
        };
        let arguments = Arguments::try_parse_from(args)?;
        Ok(match arguments.command {
            None => {
                let environment = Settings::from_environment(variable)?;
                let settings = arguments.settings.over(environment);
                Self::Serve(Box::new(settings.over(file(arguments.config)?).complete()?))
            }
            Some(Subcommand::Migrate {
                to,
                settings,
                config,
            }) => {
                let environment = Settings::from_environment(variable)?;
                let mut settings = settings.over(environment).over(file(config)?);
                settings.store = Some(StoreKind::JetStream);
                let config = settings.complete()?;
                let Journal::Shared {
                    replicas,
                    partitions,
                } = config.journal
                else {
                    return Err(ConfigError::Replicas);
                };
                Self::Migrate(Migration {
                    access: config.access,
                    data_dir: config.data_dir,
                    replicas,
                    partitions,
                    to,
                })
            }
            Some(Subcommand::Backup { file, force, place }) => Self::Backup {
                data_dir: store(place)?,
                file,
                force,
            },
            Some(Subcommand::Restore { file, place }) => Self::Restore {
                data_dir: store(place)?,
                file,
            },
        })
    }
}
