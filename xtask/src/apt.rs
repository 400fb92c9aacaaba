//! Programs of the system that a command needs: found on the PATH, or installed from Debian's packages where it may be.

use std::env;
use std::fs;
use std::path::Path;
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

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn update() -> Result<(), Failure> {
    run::quietly("update the list of packages", apt().arg("update"))?;
    Ok(())
}

/// Unpacks what a package has into a folder, and installs nothing.
pub(crate) fn extract(package: &str, folder: &Path) -> Result<(), Failure> {
    eprintln!("xtask: fetching {package}");
    update()?;
    run::quietly(
        &format!("fetch {package}"),
        apt().args(["download", package]).current_dir(folder),
    )?;
    let files = fs::read_dir(folder)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", folder.display())))?;
    let mut files = files.filter_map(|file| Some(file.ok()?.path()));
    let file = files.find(|file| file.extension().is_some_and(|kind| kind == "deb"));
    let file = file.ok_or_else(|| Failure::new(format!("apt-get brought no {package}")))?;
    run::quietly(
        &format!("unpack {package}"),
        Command::new("dpkg-deb")
            .arg("--extract")
            .args([&file, folder]),
    )?;
    // It is large, and not looked at again.
    fs::remove_file(&file)
        .map_err(|error| Failure::new(format!("cannot remove {}: {error}", file.display())))
}

/// Installs packages, for `what`.
pub(crate) fn install(what: &str, packages: &[&str]) -> Result<(), Failure> {
    let names = packages.join(" ");
    eprintln!("xtask: installing {names}");
    let advise = |failure: Failure| failure.advise(&format!("install {names} by hand"));
    update().map_err(advise)?;
    run::quietly(
        &format!("install what {what} need"),
        apt()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages),
    )
    .map_err(advise)?;
    Ok(())
}
