//! The command line and the environment of `scuttle-agent`.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use scuttle_agent::docker::{Preset, Projects, Settings};
use scuttle_nats::Arguments;
use scuttle_schemas::HostId;

/// Runs on a worker host: reports its deckies, and tears them down when the controller says so.
#[derive(Debug, Clone, Parser)]
#[command(name = "scuttle-agent", version)]
pub(crate) struct Args {
    /// The host's id, as it was enrolled.
    #[arg(long, env = "SCUTTLE_HOST_UUID", value_name = "UUID")]
    pub(crate) host_uuid: HostId,
    /// Where the agent keeps what must survive a crash; made if it is missing.
    #[arg(long, env = "SCUTTLE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// What deckies run on.
    #[arg(long, env = "SCUTTLE_RUNTIME", default_value = "docker")]
    runtime: RuntimeName,
    /// The Docker Engine's socket.
    #[arg(long, env = "SCUTTLE_DOCKER", default_value = "unix:///var/run/docker.sock", value_name = "unix://PATH", value_parser = socket)]
    docker: PathBuf,
    /// What a decky is: a Compose project of its own, or the containers `<decky>-<service>` of one project.
    #[arg(long, env = "SCUTTLE_PRESET", default_value = "compose")]
    preset: PresetName,
    /// With `compose`: the projects whose name begins so are deckies, instead of those with the label
    /// scuttle.managed=true.
    #[arg(long, env = "SCUTTLE_NAME_PREFIX", value_name = "PREFIX")]
    name_prefix: Option<String>,
    /// With `decnet`: the Compose project [default: decnet].
    #[arg(long, env = "SCUTTLE_PROJECT", value_name = "PROJECT")]
    project: Option<String>,
    /// How long a container may take to stop before it is killed, in seconds.
    #[arg(long, env = "SCUTTLE_GRACE_S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=3600))]
    grace_s: u32,
    /// How many containers are stopped or removed at the same time.
    #[arg(long, env = "SCUTTLE_PARALLEL", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// Remove the named volumes of removed deckies too.
    #[arg(long, env = "SCUTTLE_REMOVE_VOLUMES")]
    remove_volumes: bool,
    /// Remove the images of removed deckies too.
    #[arg(long, env = "SCUTTLE_REMOVE_IMAGES")]
    remove_images: bool,
    /// Milliseconds between heartbeats.
    #[arg(long, env = "SCUTTLE_HEARTBEAT_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=3_600_000))]
    pub(crate) heartbeat_ms: u32,
    /// Last, with the next, because its heading holds for all that follows.
    #[command(flatten)]
    pub(crate) telemetry: scuttle_telemetry::Arguments,
    #[command(flatten)]
    pub(crate) nats: Arguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RuntimeName {
    /// A Docker Engine, API 1.41 or newer.
    Docker,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PresetName {
    /// Each Compose project is one decky.
    Compose,
    /// One Compose project holds all deckies.
    Decnet,
}

impl Args {
    /// What the runtime is told.
    pub(crate) fn docker(&self) -> Result<Settings, clap::Error> {
        let RuntimeName::Docker = self.runtime;
        let clash = |text: &str| Args::command().error(ErrorKind::ArgumentConflict, text);
        let preset = match (self.preset, &self.name_prefix, &self.project) {
            (PresetName::Compose, None, None) => Preset::Compose(Projects::Managed),
            (PresetName::Compose, Some(prefix), None) => {
                Preset::Compose(Projects::Prefixed(prefix.clone()))
            }
            (PresetName::Compose, _, Some(_)) => {
                return Err(clash("--project is for --preset decnet alone"));
            }
            (PresetName::Decnet, None, project) => Preset::Decnet {
                project: project.clone().unwrap_or_else(|| "decnet".to_owned()),
            },
            (PresetName::Decnet, Some(_), _) => {
                return Err(clash("--name-prefix is for --preset compose alone"));
            }
        };
        Ok(Settings {
            socket: self.docker.clone(),
            preset,
            grace: Duration::from_secs(self.grace_s.into()),
            parallel: self.parallel.into(),
            remove_volumes: self.remove_volumes,
            remove_images: self.remove_images,
        })
    }
}

fn socket(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        _ => Err(
            "it must be unix:// and an absolute path, as in unix:///var/run/docker.sock".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Args, Preset, Projects};

    fn read(words: &[&str]) -> Result<Preset, clap::Error> {
        let needed = ["scuttle-agent", "--host-uuid", "h", "--data-dir", "d"];
        let args = Args::try_parse_from(needed.iter().chain(words))?;
        Ok(args.docker()?.preset)
    }

    #[test]
    fn the_command_line_is_consistent_and_checked() {
        Args::command().debug_assert();
        let managed = read(&["--runtime", "docker"]).expect("read");
        assert_eq!(managed, Preset::Compose(Projects::Managed));
        let prefixed = read(&["--name-prefix", "trap-"]).expect("read");
        assert_eq!(
            prefixed,
            Preset::Compose(Projects::Prefixed("trap-".to_owned()))
        );
        for (words, expected) in [
            (&["--preset", "decnet"] as &[&str], "decnet"),
            (&["--preset", "decnet", "--project", "lab"], "lab"),
        ] {
            let project = expected.to_owned();
            assert_eq!(read(words).expect("read"), Preset::Decnet { project });
        }
        for wrong in [
            &["--project", "lab"] as &[&str],
            &["--preset", "decnet", "--name-prefix", "a"],
            &["--docker", "tcp://127.0.0.1:2375"],
            &["--docker", "unix://docker.sock"],
            &["--parallel", "0"],
            &["--runtime", "podman"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
