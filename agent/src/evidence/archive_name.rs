//! The names of archives and of the files that belong to them.

use std::fmt;
use std::str::FromStr;

use scuttle_schemas::{DeckyId, OperationId};

/// The length of an operation's id in text.
const ID_CHARS: usize = 36;

/// The name of an archive without its extension: `<operation>.<attempt>.<decky>`.
///
/// Names sort by age, because the ids of operations do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ArchiveName {
    pub(super) operation: OperationId,
    pub(super) attempt: u32,
    pub(super) decky: DeckyId,
}

/// A file of the evidence directory, by the ending of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Archive,
    Sidecar,
    /// An archive or sidecar that was not completely written. It is ignored, and removed by the
    /// next start of the agent.
    Partial,
}

impl ArchiveName {
    pub(super) fn archive(&self) -> String {
        format!("{self}.tar.gz")
    }

    pub(super) fn sidecar(&self) -> String {
        format!("{self}.json")
    }

    pub(super) fn partial_archive(&self) -> String {
        format!("{self}.tar.gz.partial")
    }

    pub(super) fn partial_sidecar(&self) -> String {
        format!("{self}.json.partial")
    }

    /// Parses the name of a file. Returns `None` for a file that the agent did not write.
    pub(super) fn parse_file(file: &str) -> Option<(Self, FileKind)> {
        for (ending, kind) in [
            (".tar.gz", FileKind::Archive),
            (".json", FileKind::Sidecar),
            (".tar.gz.partial", FileKind::Partial),
            (".json.partial", FileKind::Partial),
        ] {
            if let Some(name) = file.strip_suffix(ending) {
                let name: Self = name.parse().ok()?;
                // Another spelling of the same name would be a different file.
                return file.starts_with(&name.to_string()).then_some((name, kind));
            }
        }
        None
    }
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.operation, self.attempt, self.decky)
    }
}

impl FromStr for ArchiveName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (operation, rest) = text.split_at_checked(ID_CHARS).ok_or(())?;
        let rest = rest.strip_prefix('.').ok_or(())?;
        let (attempt, decky) = rest.split_once('.').ok_or(())?;
        Ok(Self {
            operation: operation.parse().map_err(|_| ())?,
            attempt: attempt.parse().map_err(|_| ())?,
            decky: decky.parse().map_err(|_| ())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ArchiveName, FileKind};

    #[test]
    fn the_names_of_files_are_parsed_and_other_files_are_ignored() {
        let name = ArchiveName {
            operation: "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11"
                .parse()
                .expect("an id"),
            attempt: 2,
            decky: "web.json.tar.gz".parse().expect("a decky"),
        };
        for (file, kind) in [
            (name.archive(), FileKind::Archive),
            (name.sidecar(), FileKind::Sidecar),
            (name.partial_archive(), FileKind::Partial),
            (name.partial_sidecar(), FileKind::Partial),
        ] {
            assert_eq!(
                ArchiveName::parse_file(&file),
                Some((name.clone(), kind)),
                "{file}"
            );
        }
        for other in [
            "",
            "evidence.lock",
            "web.tar.gz",
            "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11.tar.gz",
            "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11.1.tar.gz",
            "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11.1..tar.gz",
            "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11.01.web.tar.gz",
            "01997C3E-5f1a-7c80-a2f4-0d6a7b5f1c11.1.web.tar.gz",
            "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11.1.web.txt",
        ] {
            assert_eq!(ArchiveName::parse_file(other), None, "{other}");
        }
    }
}
