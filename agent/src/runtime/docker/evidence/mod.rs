//! Reads the evidence of the stopped containers of one decky from the Engine, and writes it into an
//! archive.
//!
//! - `source` streams the responses of the Engine.
//! - `log_format` and `changes` convert logs and lists of changes.
//! - `describe` reads the properties of a container for the manifest.
//! - `files` fetches the changed files.
//!
//! The function `save` determines the order of the steps, and what counts as incomplete.

mod changes;
mod describe;
mod files;
mod log_format;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use bollard::Docker;
use scuttle_schemas::agents::Evidence;
use scuttle_schemas::{DeckyId, OperationId};

use self::changes::{ChangedPaths, copy_changes};
use self::describe::{Described, choose_directory, describe};
use self::files::FilesFetch;
use self::log_format::{CopyFailure, copy_log};
use self::source::{SourceError, Timeouts};
use super::engine::container::Container;
use crate::evidence::archive::{ArchiveWriter, Content, FileWriter};
use crate::evidence::chunk_stream::{run_blocking, run_with_source};
use crate::evidence::error::EvidenceError;
use crate::evidence::manifest::{ContainerEvidence, SavedFile};
use crate::evidence::settings::EvidenceKind;
use crate::evidence::store::EvidenceStore;

/// The size of the buffer between a converter and an archive.
const BUFFER_BYTES: usize = 64 * 1024;
/// A part of the Engine's error for a log driver whose logs the Engine cannot read.
const NO_LOG: &str = "does not support reading";

/// The evidence to save: that of one decky in one operation.
pub(super) struct EvidenceJob<'a> {
    pub(super) docker: &'a Docker,
    pub(super) socket: &'a Path,
    pub(super) store: &'a Arc<EvidenceStore>,
    pub(super) operation: OperationId,
    pub(super) decky: &'a DeckyId,
    /// The stopped containers, as they were listed before the stop.
    pub(super) containers: &'a [Container],
}

/// The containers of the job, and what is known about the archive so far.
struct Collection<'a> {
    job: &'a EvidenceJob<'a>,
    timeouts: Timeouts,
    /// The start of the path of each request, up to the id of the container.
    prefix: String,
    described: Vec<Described>,
    changed: Vec<ChangedPaths>,
    /// The number of files of the archive that have not been started.
    files_left: u64,
    truncated: bool,
    /// Describes the first thing that could not be read. What a limit has cut does not count.
    failure: Option<String>,
}

/// Saves the evidence, and returns when it is durable. A container that no longer exists is noted
/// in the manifest.
///
/// If an earlier attempt of the operation has saved all of these containers without a problem, its
/// archive is returned and no further archive is written. If the returned future is dropped, the
/// unfinished archive is removed.
///
/// # Errors
/// If no archive could be written, or if something could not be read and the settings require
/// evidence. A file that was cut at a size limit is not an error.
pub(super) async fn save(job: EvidenceJob<'_>) -> Result<Evidence, EvidenceError> {
    save_with_timeouts(job, Timeouts::default()).await
}

async fn save_with_timeouts(
    job: EvidenceJob<'_>,
    timeouts: Timeouts,
) -> Result<Evidence, EvidenceError> {
    let _writer = job.store.wait_for_writer().await?;
    let mut described = Vec::new();
    let mut names = HashSet::new();
    for container in job.containers {
        let mut container = describe(job.docker, container, timeouts.response).await?;
        container.directory = choose_directory(&container.evidence, &mut names);
        described.push(container);
    }
    if let Some(saved) = find_saved(&job, &described).await? {
        return Ok(saved);
    }
    let (store, operation, decky) = (job.store.clone(), job.operation, job.decky.clone());
    let archive = run_blocking(move || ArchiveWriter::start(&store, operation, &decky)).await??;
    let kinds = &job.store.settings().kinds;
    let all = [
        EvidenceKind::Changes,
        EvidenceKind::Logs,
        EvidenceKind::Files,
    ];
    let phases: Vec<_> = all
        .into_iter()
        .filter(|kind| kinds.contains(*kind))
        .collect();
    let present = described
        .iter()
        .filter(|container| !container.evidence.gone);
    let collection = Collection {
        timeouts,
        prefix: format!("/v{}/containers", job.docker.client_version()),
        changed: described.iter().map(|_| ChangedPaths::default()).collect(),
        files_left: present.count() as u64 * phases.len() as u64,
        job: &job,
        described,
        truncated: false,
        failure: None,
    };
    collection.save_all(archive, &phases).await
}

impl Collection<'_> {
    async fn save_all(
        mut self,
        mut archive: ArchiveWriter,
        phases: &[EvidenceKind],
    ) -> Result<Evidence, EvidenceError> {
        for at in 0..self.described.len() {
            if let Some(cause) = self.described[at].failure.clone() {
                self.note_failure(at, "the properties", &SourceError::Failed(cause));
            }
        }
        // Small evidence first: it must not fall victim to large files.
        for kind in phases {
            for at in 0..self.described.len() {
                if self.described[at].evidence.gone {
                    continue;
                }
                // An equal share of the space that is left, so that no container can flood out the
                // others.
                let limit = archive.left() / self.files_left.max(1);
                self.files_left -= 1;
                archive = match kind {
                    EvidenceKind::Changes => self.save_changes(archive, at, limit).await?,
                    EvidenceKind::Logs => self.save_log(archive, at, limit).await?,
                    EvidenceKind::Files => self.save_files(archive, at, limit).await?,
                };
            }
        }
        let content = Content {
            containers: (self.described.into_iter())
                .map(|described| described.evidence)
                .collect(),
            truncated: self.truncated,
        };
        let saved = run_blocking(move || archive.finish(content)).await??;
        match self.failure {
            Some(problem) => {
                let (host, decky) = (self.job.store.host(), self.job.decky);
                tracing::warn!(host_uuid = %host, decky_id = %decky, path = %saved.path, %problem, "the evidence is incomplete");
                if self.job.store.settings().required {
                    return Err(EvidenceError::Incomplete {
                        path: saved.path.into(),
                        problem,
                    });
                }
                Ok(saved)
            }
            None => Ok(saved),
        }
    }

    async fn save_changes(
        &mut self,
        archive: ArchiveWriter,
        at: usize,
        limit: u64,
    ) -> Result<ArchiveWriter, EvidenceError> {
        let response =
            source::get(self.job.socket, &self.target(at, "changes"), self.timeouts).await;
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                self.note_failure(at, "the list of changes", &error);
                return Ok(archive);
            }
        };
        let name = self.name(at, "changes.jsonl");
        let written = run_with_source(response, move |source| {
            let mut file = archive.start_file(&name, limit)?;
            let mut paths = ChangedPaths::default();
            let copied = copy_buffered(&mut file, |target| {
                copy_changes(source, target, &mut paths).map_err(CopyFailure::Source)
            })?;
            Ok((file.finish()?, copied, paths))
        });
        let ((archive, saved), failure, paths) = written.await??;
        self.changed[at] = paths;
        self.add_file(at, saved, failure, "the list of changes");
        Ok(archive)
    }

    async fn save_log(
        &mut self,
        archive: ArchiveWriter,
        at: usize,
        limit: u64,
    ) -> Result<ArchiveWriter, EvidenceError> {
        let target = self.target(at, "logs?stdout=1&stderr=1&timestamps=1");
        let response = match source::get(self.job.socket, &target, self.timeouts).await {
            Ok(response) => response,
            Err(SourceError::Failed(message)) if message.contains(NO_LOG) => {
                let problems = &mut self.described[at].evidence.problems;
                problems.push(format!("there is no log to save: {message}"));
                return Ok(archive);
            }
            Err(error) => {
                self.note_failure(at, "the log", &error);
                return Ok(archive);
            }
        };
        let name = self.name(at, "log.txt");
        let is_terminal = self.described[at].is_terminal;
        let written = run_with_source(response, move |source| {
            let mut file = archive.start_file(&name, limit)?;
            let copied = copy_buffered(&mut file, |target| copy_log(source, is_terminal, target))?;
            Ok((file.finish()?, copied))
        });
        let ((archive, saved), failure) = written.await??;
        self.add_file(at, saved, failure, "the log");
        Ok(archive)
    }

    async fn save_files(
        &mut self,
        archive: ArchiveWriter,
        at: usize,
        limit: u64,
    ) -> Result<ArchiveWriter, EvidenceError> {
        if self.described[at].failure.is_some() {
            let problems = &mut self.described[at].evidence.problems;
            problems.push("files.tar is missing, because the mounts are unknown".to_owned());
            return Ok(archive);
        }
        let changed = std::mem::take(&mut self.changed[at]);
        let fetch = FilesFetch {
            socket: self.job.socket,
            target: self.target(at, "archive?path="),
            timeouts: self.timeouts,
            changed: Arc::new(changed),
            mounts: &self.described[at].mounts,
        };
        let name = self.name(at, "files.tar");
        let saved = fetch.save(archive, name, limit).await?;
        let evidence = &mut self.described[at].evidence;
        evidence.files.extend(saved.file);
        if saved.left_out > 0 {
            self.truncated = true;
            let example = saved
                .example
                .map_or(String::new(), |path| format!(", such as {path}"));
            evidence.problems.push(format!(
                "files.tar lacks changed paths: {}{example}; a limit was reached",
                saved.left_out
            ));
        }
        if let Some(path) = saved.not_found {
            let text =
                format!("the Engine does not find the changed file {path}; is its name UTF-8?");
            evidence.problems.push(text);
        }
        if let Some(cause) = saved.failure {
            self.note_failure(at, "all changed files", &SourceError::Failed(cause));
        }
        Ok(saved.archive)
    }

    /// Adds a file of the archive to the manifest, and notes what is missing in the file.
    fn add_file(&mut self, at: usize, file: SavedFile, failure: Option<String>, what: &str) {
        if file.truncated {
            self.truncated = true;
            let text = format!(
                "{} was cut: the archive had reached its maximum size",
                file.path
            );
            self.described[at].evidence.problems.push(text);
        }
        self.described[at].evidence.files.push(file);
        if let Some(cause) = failure {
            self.note_failure(at, what, &SourceError::Failed(cause));
        }
    }

    /// Notes that something could not be read. A container that was removed meanwhile is not a
    /// failure.
    fn note_failure(&mut self, at: usize, what: &str, error: &SourceError) {
        let evidence = &mut self.described[at].evidence;
        let text = format!("cannot read {what} of container {}: {error}", evidence.name);
        if *error == SourceError::NotFound {
            evidence.gone = true;
        } else {
            self.failure.get_or_insert_with(|| text.clone());
        }
        evidence.problems.push(text);
    }

    /// Returns the path and query of a request about a container.
    fn target(&self, at: usize, resource: &str) -> String {
        format!(
            "{}/{}/{resource}",
            self.prefix, self.described[at].evidence.id
        )
    }

    /// Returns the name of a file in the archive.
    fn name(&self, at: usize, file: &str) -> String {
        format!("containers/{}/{file}", self.described[at].directory)
    }
}

/// Calls `copy` with a buffered writer for the file. Returns the failure of the source, if any. A
/// copy that ends because the file has reached its limit counts as a success.
///
/// # Errors
/// If the disk fails.
fn copy_buffered(
    file: &mut FileWriter,
    copy: impl FnOnce(&mut BufWriter<&mut FileWriter>) -> Result<(), CopyFailure>,
) -> Result<Option<String>, EvidenceError> {
    let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, &mut *file);
    let copied = copy(&mut buffered);
    // Also after a failure of the source: what was read so far is evidence.
    let flushed = buffered.flush();
    drop(buffered.into_parts());
    match (file.take_failure(), copied) {
        (Some(error), _) => Err(error),
        (None, Err(CopyFailure::Source(cause))) if !file.is_truncated() => Ok(Some(cause)),
        (None, _) if flushed.is_err() && !file.is_truncated() => Err(EvidenceError::Aborted),
        (None, _) => Ok(None),
    }
}

/// Returns the last archive of the operation that has the same kinds of evidence and covers every
/// container in `described`. A container that still exists must not have started or stopped since
/// the archive was saved, and the archive's manifest must list no problem with the container.
async fn find_saved(
    job: &EvidenceJob<'_>,
    described: &[Described],
) -> Result<Option<Evidence>, EvidenceError> {
    let (store, operation, decky) = (job.store.clone(), job.operation, job.decky.clone());
    let saved = run_blocking(move || store.read_sidecars(operation, &decky)).await?;
    let is_same = |one: &ContainerEvidence, other: &ContainerEvidence| {
        let is_unchanged = one.stopped_at == other.stopped_at && one.started_at == other.started_at;
        one.id == other.id && (one.gone || is_unchanged && other.problems.is_empty())
    };
    let found = saved.into_iter().rev().find(|sidecar| {
        let manifest = &sidecar.manifest;
        manifest.kinds == job.store.settings().kinds
            && described.iter().all(|container| {
                let mut saved = manifest.containers.iter();
                saved.any(|saved| is_same(&container.evidence, saved))
            })
    });
    Ok(found.map(|sidecar| job.store.to_evidence(sidecar)))
}
