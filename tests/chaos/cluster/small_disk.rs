//! A disk of one server's own, small enough to be filled: a tmpfs in a mount namespace of this run's own, so that
//! it is gone with the last of its processes, whatever ends them. When it is filled is in `faults`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What it holds, all of it in memory: many times what a server stores in a run of an hour.
const MIB: usize = 256;

/// A small disk at a path.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    filler: PathBuf,
}

impl SmallDisk {
    /// Mounts one, for this process and its children alone: it must be in a mount namespace of its own.
    ///
    /// # Errors
    /// There is no `mount`, or it may not.
    pub(crate) fn mount(at: &Path) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={MIB}m"), "tmpfs"])
            .arg(at)
            .status()
            .context("start mount")?;
        ensure!(
            mounted.success(),
            "mount a tmpfs at {}: {mounted}",
            at.display()
        );
        Ok(Self {
            filler: at.join("filler"),
        })
    }

    /// Takes it away, though somebody may still use it: the folder below can be removed then.
    pub(crate) fn unmount(at: &Path) {
        // Without it the folder stays, and nothing else.
        let _ = Command::new("umount").arg("--lazy").arg(at).status();
    }

    /// Writes until there is no room.
    ///
    /// # Errors
    /// There is more room than there should be, or something else is in the way.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(&self.filler)?;
        let piece = vec![1; 1 << 20];
        for _ in 0..=MIB {
            if let Err(error) = file.write_all(&piece) {
                let full = error.kind() == std::io::ErrorKind::StorageFull;
                return if full { Ok(()) } else { Err(error.into()) };
            }
        }
        anyhow::bail!("the small disk is not small")
    }

    /// Takes away what filled it.
    ///
    /// # Errors
    /// It cannot.
    pub(crate) fn free(&self) -> Result<()> {
        std::fs::remove_file(&self.filler).context("free the small disk")
    }
}
