//! Fetches the changed files of one container, and writes them into the archive as one tar.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::engine::raw_get::encode_query;
use super::changes::{ChangedPaths, PathRequest};
use super::source::{self, SourceError, Timeouts};
use crate::evidence::archive::ArchiveWriter;
use crate::evidence::chunk_stream::{run_blocking, run_with_source};
use crate::evidence::error::EvidenceError;
use crate::evidence::files_tar::{Added, Extent, Fate, FilesTar, Request};
use crate::evidence::manifest::SavedFile;

/// The maximum number of requests for one container. The Engine needs about 0.1 s for each.
const MAX_REQUESTS: usize = 500;

/// The files to fetch from one container.
pub(super) struct FilesFetch<'a> {
    pub(super) socket: &'a Path,
    /// The beginning of a request. The encoded path follows it.
    pub(super) target: String,
    pub(super) timeouts: Timeouts,
    pub(super) changed: Arc<ChangedPaths>,
    /// The paths in the container at which other filesystems are mounted.
    pub(super) mounts: &'a [String],
}

/// The archive after the files were written into it.
pub(super) struct SavedFiles {
    pub(super) archive: ArchiveWriter,
    /// `None` if no file has changed.
    pub(super) file: Option<SavedFile>,
    /// The number of changed paths that a limit has kept out of the tar.
    pub(super) left_out: usize,
    /// One of these paths, if its name is known.
    pub(super) example: Option<String>,
    /// One of the paths that the Engine did not find. The Engine lists a name that is not UTF-8 in
    /// a changed form, which it then does not find.
    pub(super) not_found: Option<String>,
    /// The first file that could not be read, and why.
    pub(super) failure: Option<String>,
}

/// The tar while files are added to it.
struct Progress {
    tar: FilesTar,
    /// The number of requests that were sent.
    requests: usize,
    left_out: usize,
    example: Option<String>,
    not_found: Option<String>,
    failure: Option<String>,
}

impl FilesFetch<'_> {
    /// Writes a tar of the changed files with at most `limit` bytes. Files that do not fit are left
    /// out whole.
    ///
    /// # Errors
    /// If the disk fails.
    pub(super) async fn save(
        self,
        archive: ArchiveWriter,
        name: String,
        limit: u64,
    ) -> Result<SavedFiles, EvidenceError> {
        let requests = self.changed.requests(self.mounts);
        let left_out = self.changed.skipped;
        if requests.is_empty() {
            return Ok(SavedFiles {
                archive,
                file: None,
                left_out,
                example: None,
                not_found: None,
                failure: None,
            });
        }
        let tar = run_blocking(move || FilesTar::start(archive, &name, limit)).await??;
        let mut progress = Progress {
            tar,
            requests: 0,
            left_out,
            example: None,
            not_found: None,
            failure: None,
        };
        for request in &requests {
            progress = self.add(progress, request).await?;
        }
        let Progress {
            tar,
            left_out,
            example,
            not_found,
            failure,
            ..
        } = progress;
        let (archive, file) = run_blocking(move || tar.finish()).await??;
        Ok(SavedFiles {
            archive,
            file: Some(file),
            left_out,
            example,
            not_found,
            failure,
        })
    }

    /// Adds the files of one request. If reading the Engine's tar of a directory was stopped at a
    /// file that is too large, adds the remaining changed files one by one: a sparse file must not
    /// hide the others.
    async fn add(
        &self,
        progress: Progress,
        request: &PathRequest,
    ) -> Result<Progress, EvidenceError> {
        let (mut progress, added, seen) = self.add_path(progress, request).await?;
        if added != Added::Stopped {
            return Ok(progress);
        }
        let is_seen = |path: &str| seen.contains(Path::new(path.trim_start_matches('/')));
        for path in self
            .changed
            .below(&request.path)
            .filter(|path| !is_seen(path))
        {
            let alone = PathRequest {
                path: path.clone(),
                extent: Extent::Path,
            };
            (progress, _, _) = self.add_path(progress, &alone).await?;
        }
        Ok(progress)
    }

    /// Adds the files of one request. Also returns the paths of the entries that were copied, and
    /// of those that do not fit.
    async fn add_path(
        &self,
        mut progress: Progress,
        request: &PathRequest,
    ) -> Result<(Progress, Added, HashSet<PathBuf>), EvidenceError> {
        if progress.requests >= MAX_REQUESTS || progress.tar.is_full() {
            progress.note_left_out(&request.path);
            return Ok((progress, Added::Complete, HashSet::new()));
        }
        progress.requests += 1;
        let target = format!("{}{}", self.target, encode_query(&request.path));
        let response = match source::get(self.socket, &target, self.timeouts).await {
            Ok(response) => response,
            Err(error) => {
                progress.note_failure(&request.path, error);
                return Ok((progress, Added::Complete, HashSet::new()));
            }
        };
        let (request, changed) = (request.clone(), self.changed.clone());
        run_with_source(response, move |source| {
            let wanted = Request {
                path: &request.path,
                extent: request.extent,
                is_changed: &|path| changed.contains(path),
            };
            let (mut seen, mut too_large) = (HashSet::new(), Vec::new());
            let added = progress.tar.add(&wanted, source, |path, fate| {
                seen.insert(path.to_owned());
                if fate == Fate::TooLarge {
                    too_large.push(format!("/{}", path.display()));
                }
            })?;
            for path in too_large {
                progress.note_left_out(&path);
            }
            if let Added::Failed(cause) = &added {
                progress.note_failure(&request.path, SourceError::Failed(cause.clone()));
            }
            Ok((progress, added, seen))
        })
        .await?
    }
}

impl Progress {
    fn note_left_out(&mut self, path: &str) {
        self.left_out += 1;
        self.example.get_or_insert_with(|| path.to_owned());
    }

    fn note_failure(&mut self, path: &str, error: SourceError) {
        match error {
            SourceError::NotFound => {
                self.not_found.get_or_insert_with(|| path.to_owned());
            }
            SourceError::Failed(cause) => {
                self.failure
                    .get_or_insert_with(|| format!("{path}: {cause}"));
            }
        }
    }
}
