//! A disk for one server, small enough to fill. `faults` decides when to fill the disk.
//!
//! The disk is a tmpfs in a separate mount namespace. The kernel therefore removes the disk when
//! the last process of the run ends, even if that process is killed.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The size of the disk, in MiB. The disk is held in memory. In a one-hour run, a server stores
/// only a small fraction of this size.
const SIZE_MIB: usize = 256;

/// A mounted disk, which can be filled and freed.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    filler: PathBuf,
}

impl SmallDisk {
    /// Creates the directory `at` and mounts a small disk there. This process must run in a
    /// separate mount namespace, so that only this process and its children see the disk.
    ///
    /// # Errors
    /// If the directory cannot be created, or `mount` does not exist or is not permitted.
    pub(crate) fn mount(at: &Path) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={SIZE_MIB}m"), "tmpfs"])
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

    /// Unmounts the disk even if a process still uses it, so that the directory can be removed.
    pub(crate) fn unmount(at: &Path) {
        // If this fails, only the directory remains.
        let _ = Command::new("umount").arg("--lazy").arg(at).status();
    }

    /// Fills the disk with one large file.
    ///
    /// # Errors
    /// If the file cannot be created, a write fails for a reason other than a full disk, or the
    /// disk is larger than [`SIZE_MIB`].
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(&self.filler)?;
        let block = vec![1; 1 << 20];
        for _ in 0..=SIZE_MIB {
            if let Err(error) = file.write_all(&block) {
                let full = error.kind() == std::io::ErrorKind::StorageFull;
                return if full { Ok(()) } else { Err(error.into()) };
            }
        }
        anyhow::bail!("the small disk is larger than {SIZE_MIB} MiB")
    }

    /// Removes the file that [`fill`](Self::fill) wrote.
    pub(crate) fn free(&self) -> Result<()> {
        std::fs::remove_file(&self.filler).context("free the small disk")
    }
}
