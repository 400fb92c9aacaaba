//! Programs of the system that a command needs: found on the PATH, or installed from Debian's packages where it may be.

use std::env;
use std::process::Command;

use crate::run::{self, Failure};

/// Whether a program is on the PATH.
pub(crate) fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Whether this runs as root, and so may install.
pub(crate) fn is_root() -> Result<bool, Failure> {
    let uid = run::quietly("find out who runs this", Command::new("id").arg("-u"))?;
    Ok(uid.trim() == "0")
}

/// Installs packages, for `what`.
pub(crate) fn install(what: &str, packages: &[&str]) -> Result<(), Failure> {
    let names = packages.join(" ");
    eprintln!("xtask: installing {names}");
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    let advise = |failure: Failure| failure.advise(&format!("install {names} by hand"));
    run::quietly("update the list of packages", apt().arg("update")).map_err(advise)?;
    run::quietly(
        &format!("install what {what} need"),
        apt()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages),
    )
    .map_err(advise)?;
    Ok(())
}
