//! `scuttle evidence list`: lists the archives of an evidence directory, and verifies their hashes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use sha2::{Digest, Sha256};

use super::sidecar::Sidecar;
use crate::admin::files;
use crate::clock;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::json_types::{EvidenceArchive, EvidenceList};
use crate::output::message::print_error;
use crate::output::style::{self, StateLabel, Tone};
use crate::output::table::{Cell, Column, Table};

/// The directory that docs/evidence.md recommends.
const DEFAULT_DIRECTORY: &str = "/var/lib/scuttle-agent/evidence";
const ARCHIVE_ENDING: &str = ".tar.gz";
/// The maximum size of a description that is read.
const MAX_SIDECAR_BYTES: u64 = 64 * 1024 * 1024;
const BUFFER_BYTES: usize = 256 * 1024;

/// List the archives of an evidence directory, oldest first.
///
/// Exit codes: 0 success, 1 an archive is damaged (with --verify) or the directory cannot be read,
/// 3 the directory does not exist.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo scuttle evidence list
  sudo scuttle evidence list --verify
  sudo scuttle evidence list -o jsonl | jq -r 'select(.decky_id == \"web\").path'")]
pub(crate) struct List {
    /// Evidence directory of the agent. [default: /var/lib/scuttle-agent/evidence]
    #[arg(long, env = "SCUTTLE_EVIDENCE_DIR", value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// Read every archive, and compare its size and SHA-256 with its description.
    #[arg(long)]
    verify: bool,
}

impl List {
    pub(crate) fn run(self, format: Format) -> Result<(), Failure> {
        let directory = self.dir.as_deref().unwrap_or(Path::new(DEFAULT_DIRECTORY));
        let directory = files::to_absolute(directory)?;
        if fs::metadata(&directory).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Err(Failure::NotFound(format!(
                "there is no evidence directory {}: give --dir, or start the agent with \
                 --evidence-dir",
                directory.display()
            )));
        }
        let Content {
            archives,
            unreadable,
        } = read_directory(&directory, self.verify)?;
        for (path, problem) in &unreadable {
            print_error(format!("{}: {problem}", path.display()));
        }
        if archives.is_empty() && format.is_table() {
            eprintln!("No evidence found.");
        }
        let list = EvidenceList {
            directory: directory.display().to_string(),
            archives,
        };
        format.write_list(&list, &list.archives, || build_table(&list.archives))?;
        let is_damaged = |archive: &EvidenceArchive| archive.verified == Some(false);
        let damaged = list
            .archives
            .iter()
            .filter(|archive| is_damaged(archive))
            .count();
        if damaged > 0 {
            print_error(format!(
                "archives that differ from their descriptions: {damaged}"
            ));
        }
        if self.verify && (damaged > 0 || !unreadable.is_empty()) {
            return Err(Failure::AlreadyReported(1));
        }
        Ok(())
    }
}

/// The content of an evidence directory.
#[derive(Debug, Default)]
struct Content {
    /// The archives, oldest first.
    archives: Vec<EvidenceArchive>,
    /// The archives that cannot be listed, with the reasons.
    unreadable: Vec<(PathBuf, String)>,
}

/// Reads the descriptions of all archives of a directory. Links are not followed, and no path in a
/// description is used.
fn read_directory(directory: &Path, verify: bool) -> Result<Content, Failure> {
    let mut content = Content::default();
    let mut paths = files::list(directory)?;
    paths.sort();
    for path in paths {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(name) = name.strip_suffix(ARCHIVE_ENDING) else {
            continue;
        };
        let sidecar = directory.join(format!("{name}.json"));
        match read_archive(&path, &sidecar, verify) {
            Ok(archive) => content.archives.push(archive),
            Err(problem) => content.unreadable.push((path, problem)),
        }
    }
    content.archives.sort_by_key(|archive| archive.saved_at);
    Ok(content)
}

fn read_archive(path: &Path, sidecar: &Path, verify: bool) -> Result<EvidenceArchive, String> {
    let sidecar =
        read_sidecar(sidecar).map_err(|error| format!("cannot read its description: {error}"))?;
    check_file(path).map_err(|error| error.to_string())?;
    let verified = verify.then(|| is_intact(path, &sidecar)).transpose();
    let manifest = sidecar.manifest;
    let problems = manifest.containers.into_iter().flat_map(|container| {
        let name = container.name;
        (container.problems.into_iter()).map(move |problem| format!("{name}: {problem}"))
    });
    Ok(EvidenceArchive {
        saved_at: manifest.saved_at,
        host_uuid: manifest.host_uuid,
        decky_id: manifest.decky_id,
        operation_id: manifest.operation_id,
        attempt: manifest.attempt,
        kinds: manifest.kinds,
        truncated: manifest.truncated,
        problems: problems.collect(),
        bytes: sidecar.bytes,
        sha256: sidecar.sha256,
        verified: verified.map_err(|error| format!("cannot read it: {error}"))?,
        path: path.display().to_string(),
    })
}

fn read_sidecar(path: &Path) -> io::Result<Sidecar> {
    check_file(path)?;
    let file = File::open(path)?.take(MAX_SIDECAR_BYTES);
    Ok(serde_json::from_reader(io::BufReader::new(file))?)
}

/// Checks that a path is a regular file, and not a link to one.
fn check_file(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_file() {
        return Ok(());
    }
    Err(io::Error::other("it is not a regular file"))
}

/// Returns whether an archive has the size and the hash in its description.
fn is_intact(path: &Path, sidecar: &Sidecar) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            let sha256 = format!("{:x}", hasher.finalize());
            return Ok(bytes == sidecar.bytes && sha256 == sidecar.sha256);
        }
        hasher.update(&buffer[..count]);
        bytes += count as u64;
    }
}

fn build_table(archives: &[EvidenceArchive]) -> Table {
    let mut table = Table::new(&[
        Column::new("AGE"),
        Column::new("DECKY"),
        Column::new("STATUS"),
        Column::uncut("OPERATION"),
        Column::new("HOST"),
        Column::new("KINDS"),
        Column::new("BYTES"),
        Column::new("PATH"),
        Column::new("SHA256"),
        Column::new("TIME"),
    ]);
    let now = clock::now();
    for archive in archives {
        let age = style::format_age(archive.saved_at, now);
        table.add_row([
            Cell::styled(Tone::Dim, &age),
            archive.decky_id.as_str().into(),
            status_label(archive).into(),
            archive.operation_id.to_string().into(),
            archive.host_uuid.as_str().into(),
            archive.kinds.join(",").into(),
            archive.bytes.to_string().into(),
            archive.path.as_str().into(),
            archive.sha256.as_str().into(),
            archive.saved_at.to_string().into(),
        ]);
    }
    table
}

fn status_label(archive: &EvidenceArchive) -> StateLabel {
    match archive.verified {
        Some(false) => StateLabel::new("✗", "damaged", Tone::Error),
        _ if archive.truncated => StateLabel::new("▲", "truncated", Tone::Warning),
        _ if !archive.problems.is_empty() => StateLabel::new("▲", "incomplete", Tone::Warning),
        Some(true) => StateLabel::new("✓", "verified", Tone::Success),
        None => StateLabel::new("●", "kept", Tone::Success),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use sha2::{Digest, Sha256};

    use super::{EvidenceArchive, read_directory};

    const NAME: &str = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11.1.web";

    /// Writes an archive with this content, and a description of it.
    fn write(directory: &Path, name: &str, content: &str) {
        let text = include_str!("../../../../agent/src/evidence/tests/sidecar.json");
        let mut sidecar: serde_json::Value = serde_json::from_str(text).expect("JSON");
        sidecar["bytes"] = content.len().into();
        sidecar["sha256"] = format!("{:x}", Sha256::digest(content)).into();
        // Must not be used.
        sidecar["archive"] = "../../etc/passwd".into();
        fs::write(directory.join(format!("{name}.tar.gz")), content).expect("written");
        fs::write(directory.join(format!("{name}.json")), sidecar.to_string()).expect("written");
    }

    fn read(directory: &Path, verify: bool) -> (Vec<EvidenceArchive>, Vec<PathBuf>) {
        let content = read_directory(directory, verify).expect("read");
        let unreadable = content.unreadable.into_iter().map(|(path, _)| path);
        (content.archives, unreadable.collect())
    }

    #[test]
    fn archives_are_listed_and_verified() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        write(dir, NAME, "content");
        for other in ["evidence.lock", "x.1.web.tar.gz.partial", "y.json"] {
            fs::write(dir.join(other), "").expect("written");
        }
        let (archives, unreadable) = read(dir, false);
        assert_eq!((archives.len(), unreadable), (1, Vec::new()));
        let archive = &archives[0];
        assert_eq!((archive.bytes, archive.verified), (7, None));
        let path = dir.join(format!("{NAME}.tar.gz"));
        assert_eq!(archive.path, path.display().to_string());
        assert_eq!(read(dir, true).0[0].verified, Some(true));
        for damaged in ["contenT", "content!", ""] {
            fs::write(&path, damaged).expect("written");
            assert_eq!(read(dir, true).0[0].verified, Some(false), "{damaged}");
        }
    }

    #[test]
    fn links_and_unreadable_descriptions_are_reported_and_not_followed() {
        let outside = tempfile::tempdir().expect("a directory");
        write(outside.path(), "secret", "content");
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        for ending in [".tar.gz", ".json"] {
            write(dir, &format!("link{ending}"), "content");
            let link = dir.join(format!("link{ending}{ending}"));
            fs::remove_file(&link).expect("removed");
            let target = outside.path().join(format!("secret{ending}"));
            symlink(target, &link).expect("linked");
        }
        write(dir, "broken", "content");
        fs::write(dir.join("broken.json"), "{").expect("written");
        write(dir, "alone", "content");
        fs::remove_file(dir.join("alone.json")).expect("removed");
        let (archives, unreadable) = read(dir, true);
        assert!(archives.is_empty(), "{archives:?}");
        assert_eq!(unreadable.len(), 4, "{unreadable:?}");
    }
}
