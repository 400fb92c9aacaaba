//! The options for the evidence of torn-down deckies.

use std::path::PathBuf;

use scuttle_agent::evidence::settings::{EvidenceKinds, EvidenceSettings};

const DEFAULT_MAX_MB: u64 = 10_240;
const BYTES_PER_MB: u64 = 1024 * 1024;

/// The options for the evidence. Without a directory, no evidence is kept.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Evidence")]
pub(crate) struct EvidenceArgs {
    /// The directory for the evidence of torn-down deckies, created if it is missing [default: keep
    /// no evidence]
    #[arg(long, env = "SCUTTLE_EVIDENCE_DIR", value_name = "DIR")]
    evidence_dir: Option<PathBuf>,
    /// What to keep of each container: one or more of logs, changes and files, separated by commas
    /// [default: logs,changes]
    #[arg(long, env = "SCUTTLE_EVIDENCE", value_name = "KINDS")]
    evidence: Option<EvidenceKinds>,
    /// The maximum size of all evidence in MiB; beyond it, the oldest is dropped [default: 10240]
    #[arg(long, env = "SCUTTLE_EVIDENCE_MAX_MB", value_name = "MIB", value_parser = clap::value_parser!(u64).range(16..=1_000_000_000))]
    evidence_max_mb: Option<u64>,
    /// Do not remove a decky whose evidence could not be kept
    #[arg(long, env = "SCUTTLE_EVIDENCE_REQUIRED")]
    evidence_required: bool,
}

impl EvidenceArgs {
    /// Returns the settings of the evidence, or `None` if no evidence is kept. Fails with a text
    /// for the user if another option is set without the directory.
    pub(crate) fn settings(&self) -> Result<Option<EvidenceSettings>, String> {
        let Some(dir) = &self.evidence_dir else {
            let option = match self {
                Self {
                    evidence_required: true,
                    ..
                } => "--evidence-required",
                Self {
                    evidence: Some(_), ..
                } => "--evidence",
                Self {
                    evidence_max_mb: Some(_),
                    ..
                } => "--evidence-max-mb",
                _ => return Ok(None),
            };
            return Err(format!("{option} requires --evidence-dir"));
        };
        Ok(Some(EvidenceSettings {
            dir: dir.clone(),
            kinds: self.evidence.clone().unwrap_or_default(),
            max_bytes: self.evidence_max_mb.unwrap_or(DEFAULT_MAX_MB) * BYTES_PER_MB,
            required: self.evidence_required,
        }))
    }
}
