//! The settings of the evidence. The options that set them are in the program `scuttle-agent`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The settings of the evidence that the agent keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceSettings {
    /// The directory of the archives.
    pub dir: PathBuf,
    pub kinds: EvidenceKinds,
    /// The maximum size of all archives together, in bytes.
    pub max_bytes: u64,
    /// Whether a decky whose evidence could not be kept must not be removed.
    pub required: bool,
}

/// A kind of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// What a container wrote to its standard output and standard error.
    Logs,
    /// The list of the files that differ from the image.
    Changes,
    /// The files that differ from the image.
    Files,
}

/// The kinds of evidence to keep. At least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EvidenceKinds(BTreeSet<EvidenceKind>);

impl EvidenceKinds {
    pub fn contains(&self, kind: EvidenceKind) -> bool {
        self.0.contains(&kind)
    }
}

impl Default for EvidenceKinds {
    fn default() -> Self {
        Self(BTreeSet::from([EvidenceKind::Logs, EvidenceKind::Changes]))
    }
}

impl FromStr for EvidenceKinds {
    type Err = String;

    /// Parses a list such as `logs,changes,files`. Files are found by the list of changes, so
    /// `files` implies `changes`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |word: &str| match word.trim() {
            "logs" => Ok(EvidenceKind::Logs),
            "changes" => Ok(EvidenceKind::Changes),
            "files" => Ok(EvidenceKind::Files),
            other => Err(format!(
                "{other:?} is not a kind of evidence; list one or more of logs, changes and files, \
                 separated by commas"
            )),
        };
        let mut kinds: BTreeSet<_> = text.split(',').map(parse).collect::<Result<_, _>>()?;
        if kinds.contains(&EvidenceKind::Files) {
            kinds.insert(EvidenceKind::Changes);
        }
        Ok(Self(kinds))
    }
}
