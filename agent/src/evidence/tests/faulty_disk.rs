//! A directory that fails at a chosen step, and that can lose everything that was not made durable.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::super::disk::{Directory, Disk, DiskFile};

/// A real directory with faults. Clones share their state.
#[derive(Debug, Clone)]
pub(super) struct FaultyDisk {
    dir: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of steps before the first failure.
    steps_left: Option<usize>,
    /// The error of a failing step.
    error: i32,
    /// Whether only writes count as steps, rather than all changes.
    only_writes: bool,
    /// The changes of names that are not durable, in their order.
    changes: Vec<Change>,
    /// The durable length of each file whose content is not completely durable.
    lengths: BTreeMap<String, u64>,
}

#[derive(Debug)]
enum Change {
    Created(String),
    Renamed { from: String, to: String },
    Removed { name: String, content: Vec<u8> },
}

/// An input/output error, such as that of a disk that was taken out.
const IO_ERROR: i32 = 5;

impl FaultyDisk {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            state: Arc::default(),
        }
    }

    /// Makes all changes fail after `steps` further changes, as if the machine had stopped.
    pub(super) fn stop_after(&self, steps: usize) {
        let mut state = self.lock();
        state.steps_left = Some(steps);
        state.error = IO_ERROR;
    }

    /// Makes all writes and creations fail after `steps` further ones.
    pub(super) fn fail_writes_from(&self, steps: usize, error: i32) {
        let mut state = self.lock();
        state.steps_left = Some(steps);
        state.error = error;
        state.only_writes = true;
    }

    pub(super) fn repair(&self) {
        self.lock().steps_left = None;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().steps_left == Some(0)
    }

    /// Loses what is not durable: of the changes of names, those after a random first part, and of
    /// the content of files, a random last part.
    pub(super) fn lose(&self, random: &mut impl FnMut(u64) -> u64) {
        let mut state = self.lock();
        for (name, durable) in std::mem::take(&mut state.lengths) {
            let path = self.dir.join(name);
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            let lost = random(metadata.len().saturating_sub(durable));
            let file = fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .expect("opened");
            file.set_len(metadata.len() - lost).expect("truncated");
        }
        let kept = random(state.changes.len() as u64) as usize;
        for change in state.changes.drain(..).skip(kept).rev() {
            match change {
                Change::Created(name) => fs::remove_file(self.dir.join(name)).expect("removed"),
                Change::Renamed { from, to } => {
                    fs::rename(self.dir.join(to), self.dir.join(from)).expect("renamed");
                }
                Change::Removed { name, content } => {
                    fs::write(self.dir.join(name), content).expect("written");
                }
            }
        }
    }

    fn step(&self, is_write: bool) -> io::Result<()> {
        let mut state = self.lock();
        let is_counted = is_write || !state.only_writes;
        let error = state.error;
        match &mut state.steps_left {
            Some(0) if is_counted => Err(io::Error::from_raw_os_error(error)),
            Some(left) if is_counted => {
                *left -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}

impl Disk for FaultyDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.step(true)?;
        let file = Directory(self.dir.clone()).create(name)?;
        let mut state = self.lock();
        state.changes.push(Change::Created(name.to_owned()));
        state.lengths.insert(name.to_owned(), 0);
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            name: name.to_owned(),
            file,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step(false)?;
        Directory(self.dir.clone()).rename(from, to)?;
        let mut state = self.lock();
        state.changes.push(Change::Renamed {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        if let Some(length) = state.lengths.remove(from) {
            state.lengths.insert(to.to_owned(), length);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step(false)?;
        let content = fs::read(self.dir.join(name))?;
        Directory(self.dir.clone()).remove(name)?;
        let mut state = self.lock();
        state.lengths.remove(name);
        state.changes.push(Change::Removed {
            name: name.to_owned(),
            content,
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.step(false)?;
        self.lock().changes.clear();
        Ok(())
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    name: String,
    file: Box<dyn DiskFile>,
}

impl Read for FaultyFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Write for FaultyFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.disk.step(true)?;
        self.file.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for FaultyFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

impl DiskFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.step(false)?;
        self.disk.lock().lengths.remove(&self.name);
        Ok(())
    }
}
