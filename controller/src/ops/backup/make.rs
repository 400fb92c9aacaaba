//! `backup FILE`: a store's content into a new store, which is checked before it gets its name.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::ops::backup::listen::{SOCKET_NAME, through};
use crate::ops::backup::wire::{self, Frame};
use crate::ops::backup::{BackupError, Content, Interrupt};
use crate::partition::assignment::PartitionAssignment;
use crate::store::{
    FILE_NAME, FORMAT, FullExport, Snapshot, StagedFile, StagedStore, StoreError, StoredValue,
};

/// How long the controller may be silent: it reads from its disk, and nothing else.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many bytes are taken between two looks whether they are still wanted.
const PIECE: u64 = 1 << 20;

/// A backup that was made.
#[derive(Debug)]
pub struct Made {
    /// Where it is.
    pub file: PathBuf,
    /// What is in it.
    pub content: Content,
    /// Its size in bytes.
    pub bytes: u64,
    /// A controller handed it out; else the store was read.
    pub running: bool,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.running {
            "the running controller"
        } else {
            "the store of a stopped controller"
        };
        write!(
            f,
            "{}: {}; {} bytes, in {:.1} s, from {from}",
            self.file.display(),
            self.content,
            self.bytes,
            self.took.as_secs_f64()
        )
    }
}

/// Backs up the store of a data directory: as a running controller hands it out, or as a stopped one left it.
///
/// # Errors
/// There is no store, it cannot be read, `file` is the store, or exists (unless `force`) or cannot be written. Then nothing is left.
pub fn make(
    data_dir: &Path,
    file: &Path,
    force: bool,
    interrupt: &Interrupt,
) -> Result<Made, BackupError> {
    let start = Instant::now();
    refuse_existing(file, force)?;
    refuse_store(data_dir, file)?;
    let (draft, running) = match &*PartitionAssignment::find_data_dirs(data_dir) {
        [] => whole(data_dir, file, interrupt)?,
        portions => together(portions, file, interrupt)?,
    };
    let content = check(&draft, file, interrupt)?;
    let bytes = fs::metadata(draft.path()).map_or(0, |data| data.len());
    // Somebody else may have been quicker.
    refuse_existing(file, force)?;
    draft.replace(file).map_err(BackupError::write(file))?;
    Ok(Made {
        file: file.to_owned(),
        content,
        bytes,
        running,
        took: start.elapsed(),
    })
}

/// The store of a directory, and whether a controller handed it out.
fn whole(
    data_dir: &Path,
    file: &Path,
    interrupt: &Interrupt,
) -> Result<(StagedFile, bool), BackupError> {
    Ok(match connect(data_dir)? {
        Some(stream) => (from_controller(&stream, data_dir, file, interrupt)?, true),
        None => (from_file(data_dir, file, interrupt)?, false),
    })
}

/// The stores of all partitions, as one: each as it was at one moment.
fn together(
    portions: &[PathBuf],
    file: &Path,
    interrupt: &Interrupt,
) -> Result<(StagedFile, bool), BackupError> {
    let mut all = Vec::new();
    for directory in portions {
        let (draft, _) = whole(directory, file, interrupt)?;
        all.push(FullExport::read(&Snapshot::open_file(draft.path())?)?);
    }
    let written = FullExport::together(all).write(file, None);
    Ok((written.map_err(BackupError::write(file))?, true))
}

fn refuse_existing(file: &Path, force: bool) -> Result<(), BackupError> {
    if force || fs::symlink_metadata(file).is_err() {
        return Ok(());
    }
    Err(BackupError::Exists(file.to_owned()))
}

/// A controller would go on with the file that was replaced, and lose all that came after.
fn refuse_store(data_dir: &Path, file: &Path) -> Result<(), BackupError> {
    let identity = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino())).ok();
    let store = identity(&data_dir.join(FILE_NAME));
    if store.is_some() && store == identity(file) {
        return Err(BackupError::IsStore(file.to_owned()));
    }
    Ok(())
}

/// Reads a store as a start would, after it was written.
pub(crate) fn check(
    draft: &StagedFile,
    file: &Path,
    interrupt: &Interrupt,
) -> Result<Content, BackupError> {
    let snapshot = Snapshot::open_file(draft.path()).map_err(BackupError::Store);
    let loaded = snapshot.and_then(|snapshot| snapshot.load(|_| interrupt.check()));
    let state = loaded.map_err(BackupError::unsound(file))?;
    Ok(Content::from(&state))
}

/// Connects to the controller that runs on a data directory; `None` where none does.
pub(crate) fn connect(data_dir: &Path) -> Result<Option<UnixStream>, BackupError> {
    let path = data_dir.join(SOCKET_NAME);
    let connected = File::open(data_dir)
        .and_then(|directory| UnixStream::connect(through(&directory, SOCKET_NAME)));
    match connected {
        Ok(stream) => Ok(Some(stream)),
        // Nobody listens: none was there, or it was killed.
        Err(error) if is_nobody(error.kind()) => Ok(None),
        Err(cause) => Err(BackupError::Connect { path, cause }),
    }
}

fn is_nobody(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::ConnectionRefused
    )
}

/// Takes all of it first, and makes a store of it then: the shorter the controller has to keep what it frees, the less of
/// that there is. It is less than what the check takes.
fn receive(mut stream: &UnixStream, interrupt: &Interrupt) -> Result<Vec<u8>, BackupError> {
    let patience = stream.set_read_timeout(Some(PATIENCE));
    patience.map_err(BackupError::Broken)?;
    let mut all = Vec::new();
    loop {
        interrupt.check()?;
        let came = stream.by_ref().take(PIECE).read_to_end(&mut all);
        if came.map_err(broken)? == 0 {
            return Ok(all);
        }
    }
}

fn from_controller(
    stream: &UnixStream,
    data_dir: &Path,
    file: &Path,
    interrupt: &Interrupt,
) -> Result<StagedFile, BackupError> {
    let all = receive(stream, interrupt)?;
    let from = &mut all.as_slice();
    let found = wire::read_greeting(from).map_err(broken)?;
    if found != FORMAT {
        let known = FORMAT;
        return Err(BackupError::OtherVersion { found, known });
    }
    let written = BackupError::write(file);
    let mut draft = StagedStore::beside(file).map_err(&written)?;
    let store = data_dir.join(FILE_NAME);
    let (mut values, mut buffer) = (0, Vec::new());
    loop {
        interrupt.check()?;
        match wire::read(from, &mut buffer).map_err(broken)? {
            Frame::Value(table) => {
                values += 1;
                let record = StoredValue::read(table, &buffer, values, &store);
                draft.put(record?, buffer.len()).map_err(&written)?;
            }
            Frame::End(all) if all == values => return draft.seal().map_err(written),
            Frame::End(all) => {
                let lost = format!("{values} of {all} values came");
                return Err(BackupError::Broken(io::Error::other(lost)));
            }
            Frame::Refused(why) => return Err(BackupError::Refused(why)),
        }
    }
}

fn broken(error: io::Error) -> BackupError {
    let told = match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("the controller has ended"),
        io::ErrorKind::WouldBlock => io::Error::other("the controller does not go on"),
        _ => error,
    };
    BackupError::Broken(told)
}

fn from_file(
    data_dir: &Path,
    file: &Path,
    interrupt: &Interrupt,
) -> Result<StagedFile, BackupError> {
    let path = data_dir.join(FILE_NAME);
    let snapshot = match Snapshot::open_file(&path) {
        Err(StoreError::Io { cause, .. }) if is_nobody(cause.kind()) => {
            return Err(BackupError::NoStore(path));
        }
        Err(StoreError::InUse { path }) => return Err(BackupError::Silent(path)),
        opened => opened?,
    };
    if let Some(stream) = snapshot.stream()? {
        return Err(BackupError::OnlyRows { path, stream });
    }
    let written = BackupError::write(file);
    let mut draft = StagedStore::beside(file).map_err(&written)?;
    snapshot.records(|record, bytes| {
        interrupt.check()?;
        draft.put(record, bytes).map_err(&written)
    })?;
    draft.seal().map_err(written)
}
