//! Looks for programs on the PATH, and installs Debian packages.
//!
//! The file of each step states the programs that the step needs.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run::{self, Failure};

/// Returns whether a program is on the PATH.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Returns whether this process runs as root and so may install packages.
pub(crate) fn is_root() -> Result<bool, Failure> {
    let uid = run::capture("find out the current user", Command::new("id").arg("-u"))?;
    Ok(uid.trim() == "0")
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn update() -> Result<(), Failure> {
    run::capture("update the list of packages", apt_get().arg("update"))?;
    Ok(())
}

/// Unpacks the files of a package into a folder, without installing the package. This does not
/// require root, but only root can update the list of packages first.
pub(crate) fn extract(package: &str, folder: &Path) -> Result<(), Failure> {
    eprintln!("xtask: fetching {package}");
    if is_root()? {
        update()?;
    }
    run::capture(
        &format!("fetch {package}"),
        apt_get().args(["download", package]).current_dir(folder),
    )?;
    let files = fs::read_dir(folder)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", folder.display())))?;
    let mut files = files.filter_map(|file| Some(file.ok()?.path()));
    let archive = files.find(|file| file.extension().is_some_and(|kind| kind == "deb"));
    let archive =
        archive.ok_or_else(|| Failure::new(format!("apt-get did not download {package}")))?;
    run::capture(
        &format!("unpack {package}"),
        Command::new("dpkg-deb")
            .arg("--extract")
            .args([&archive, folder]),
    )?;
    // It is large and no longer needed.
    fs::remove_file(&archive)
        .map_err(|error| Failure::new(format!("cannot remove {}: {error}", archive.display())))
}

/// Installs packages. `user` names the part of the project that needs them, such as "the Docker
/// tests".
pub(crate) fn install(user: &str, packages: &[&str]) -> Result<(), Failure> {
    let names = packages.join(" ");
    eprintln!("xtask: installing {names}");
    let advise = |failure: Failure| failure.advise(&format!("install {names} by hand"));
    update().map_err(advise)?;
    run::capture(
        &format!("install the packages of {user}"),
        apt_get()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages),
    )
    .map_err(advise)?;
    Ok(())
}
