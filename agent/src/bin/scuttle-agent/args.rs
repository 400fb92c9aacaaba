//! The options of `scuttle-agent`.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use scuttle_agent::evidence::settings::EvidenceSettings;
use scuttle_agent::runtime::docker::preset::{Preset, ProjectFilter};
use scuttle_agent::runtime::docker::settings::DockerSettings;
use scuttle_schemas::HostId;
use scuttle_settings::ConfigFile;

use crate::evidence_args::EvidenceArgs;

/// Reports the deckies of a host, and tears them down when the controller commands it.
///
/// Each option can also be set by its environment variable or in the configuration file. Flags take
/// precedence over the environment, and the environment over the file.
#[derive(Debug, Clone, Parser)]
#[command(name = "scuttle-agent", version)]
pub(crate) struct Args {
    #[command(flatten)]
    file: ConfigFile,
    /// The id with which the host was enrolled
    #[arg(long, env = "SCUTTLE_HOST_UUID", value_name = "UUID")]
    pub(crate) host_uuid: HostId,
    /// The directory of the agent's ledger, created if it is missing
    #[arg(long, env = "SCUTTLE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// The software that runs the deckies
    #[arg(long, env = "SCUTTLE_RUNTIME", default_value = "docker")]
    runtime: RuntimeName,
    /// The socket of the Docker Engine
    #[arg(long, env = "SCUTTLE_DOCKER", default_value = "unix:///var/run/docker.sock", value_name = "unix://PATH", value_parser = parse_socket)]
    docker: PathBuf,
    /// What counts as a decky: each Compose project, or the containers `<decky>-<service>` of one
    /// project
    #[arg(long, env = "SCUTTLE_PRESET", default_value = "compose")]
    preset: PresetName,
    /// The name prefix of the Compose projects that are deckies (`compose` only) [default: the
    /// projects with the label scuttle.managed=true]
    #[arg(long, env = "SCUTTLE_NAME_PREFIX", value_name = "PREFIX")]
    name_prefix: Option<String>,
    /// The Compose project that contains all deckies (`decnet` only) [default: decnet]
    #[arg(long, env = "SCUTTLE_PROJECT", value_name = "PROJECT")]
    project: Option<String>,
    /// How many seconds a container without a `stop_grace_period` may take to stop before it is
    /// killed
    #[arg(long, env = "SCUTTLE_GRACE_S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=3600))]
    grace_s: u32,
    /// The maximum of the `stop_grace_period` of a container, in seconds
    #[arg(long, env = "SCUTTLE_MAX_GRACE_S", default_value_t = 120, value_parser = clap::value_parser!(u32).range(0..=3600))]
    max_grace_s: u32,
    /// The maximum number of containers and networks to remove at the same time
    #[arg(long, env = "SCUTTLE_PARALLEL", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// The maximum number of teardowns of different deckies to run at the same time
    #[arg(long, env = "SCUTTLE_CONCURRENCY", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) concurrency: u8,
    /// Also remove the named volumes that Compose created for the removed deckies
    #[arg(long, env = "SCUTTLE_REMOVE_VOLUMES")]
    remove_volumes: bool,
    /// Also remove the images of removed deckies
    #[arg(long, env = "SCUTTLE_REMOVE_IMAGES")]
    remove_images: bool,
    /// The heartbeat interval in milliseconds
    #[arg(long, env = "SCUTTLE_HEARTBEAT_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=3_600_000))]
    pub(crate) heartbeat_ms: u32,
    // The flattened groups come last, because their help headings apply to everything that follows.
    #[command(flatten)]
    evidence: EvidenceArgs,
    #[command(flatten)]
    pub(crate) telemetry: scuttle_telemetry::Arguments,
    #[command(flatten)]
    pub(crate) nats: scuttle_nats::Arguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RuntimeName {
    /// A Docker Engine with API 1.41 or newer
    Docker,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PresetName {
    /// Each Compose project is a decky
    Compose,
    /// One Compose project contains all deckies
    Decnet,
}

impl Args {
    /// Returns the settings of the Docker runtime.
    ///
    /// # Errors
    /// If `--project` or `--name-prefix` does not fit the preset.
    pub(crate) fn docker_settings(&self) -> Result<DockerSettings, clap::Error> {
        let RuntimeName::Docker = self.runtime;
        let conflict = |text: &str| Args::command().error(ErrorKind::ArgumentConflict, text);
        let preset = match (self.preset, &self.name_prefix, &self.project) {
            (PresetName::Compose, None, None) => Preset::Compose(ProjectFilter::Managed),
            (PresetName::Compose, Some(prefix), None) => {
                Preset::Compose(ProjectFilter::Prefixed(prefix.clone()))
            }
            (PresetName::Compose, _, Some(_)) => {
                return Err(conflict("--project requires --preset decnet"));
            }
            (PresetName::Decnet, None, project) => Preset::Decnet {
                project: project.clone().unwrap_or_else(|| "decnet".to_owned()),
            },
            (PresetName::Decnet, Some(_), _) => {
                return Err(conflict("--name-prefix requires --preset compose"));
            }
        };
        Ok(DockerSettings {
            socket: self.docker.clone(),
            preset,
            grace: Duration::from_secs(self.grace_s.into()),
            max_grace: Duration::from_secs(self.max_grace_s.into()),
            parallel: self.parallel.into(),
            remove_volumes: self.remove_volumes,
            remove_images: self.remove_images,
        })
    }
}

impl Args {
    /// Returns the settings of the evidence, or `None` if no evidence is kept.
    ///
    /// # Errors
    /// If an option requires `--evidence-dir`, which is missing.
    pub(crate) fn evidence_settings(&self) -> Result<Option<EvidenceSettings>, clap::Error> {
        let conflict = |text| Args::command().error(ErrorKind::ArgumentConflict, text);
        self.evidence.settings().map_err(conflict)
    }
}

fn parse_socket(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        _ => Err(
            "it must be unix:// and an absolute path, such as unix:///var/run/docker.sock"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Args, EvidenceSettings, Preset, ProjectFilter};

    fn parse(words: &[&str]) -> Result<Preset, clap::Error> {
        let required = ["scuttle-agent", "--host-uuid", "h", "--data-dir", "d"];
        let args = Args::try_parse_from(required.iter().chain(words))?;
        Ok(args.docker_settings()?.preset)
    }

    #[test]
    fn options_are_parsed_and_checked() {
        Args::command().debug_assert();
        let managed = parse(&["--runtime", "docker"]).expect("parsed");
        assert_eq!(managed, Preset::Compose(ProjectFilter::Managed));
        let prefixed = parse(&["--name-prefix", "trap-"]).expect("parsed");
        assert_eq!(
            prefixed,
            Preset::Compose(ProjectFilter::Prefixed("trap-".to_owned()))
        );
        for (words, expected) in [
            (&["--preset", "decnet"] as &[&str], "decnet"),
            (&["--preset", "decnet", "--project", "lab"], "lab"),
        ] {
            let project = expected.to_owned();
            assert_eq!(parse(words).expect("parsed"), Preset::Decnet { project });
        }
        for wrong in [
            &["--project", "lab"] as &[&str],
            &["--preset", "decnet", "--name-prefix", "a"],
            &["--docker", "tcp://127.0.0.1:2375"],
            &["--docker", "unix://docker.sock"],
            &["--parallel", "0"],
            &["--concurrency", "0"],
            &["--concurrency", "65"],
            &["--runtime", "podman"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    fn parse_evidence(words: &[&str]) -> Result<Option<EvidenceSettings>, clap::Error> {
        let required = ["scuttle-agent", "--host-uuid", "h", "--data-dir", "d"];
        Args::try_parse_from(required.iter().chain(words))?.evidence_settings()
    }

    #[test]
    fn evidence_options_require_a_directory() {
        assert_eq!(parse_evidence(&[]).expect("parsed"), None);
        let directory = ["--evidence-dir", "/e"];
        let default = parse_evidence(&directory)
            .expect("parsed")
            .expect("settings");
        assert_eq!(default.kinds, "changes,logs".parse().expect("kinds"));
        assert_eq!(default.max_bytes, 10 * 1024 * 1024 * 1024);
        assert!(!default.required);
        for words in [
            &["--evidence-required"] as &[&str],
            &["--evidence", "logs"],
            &["--evidence-max-mb", "16"],
        ] {
            let error = parse_evidence(words).expect_err("no directory").to_string();
            assert!(error.contains("requires --evidence-dir"), "{error}");
            let words: Vec<_> = directory.iter().chain(words).copied().collect();
            let settings = parse_evidence(&words).expect("parsed").expect("settings");
            assert_ne!(settings, default);
        }
        let files = parse_evidence(&["--evidence-dir", "/e", "--evidence", "files"]);
        let kinds = files.expect("parsed").expect("settings").kinds;
        assert_eq!(kinds, "changes,files".parse().expect("kinds"));
        for wrong in [
            ["--evidence", "all"],
            ["--evidence", ""],
            ["--evidence-max-mb", "15"],
        ] {
            let words: Vec<_> = directory.iter().chain(&wrong).copied().collect();
            assert!(parse_evidence(&words).is_err(), "{wrong:?}");
        }
    }
}
