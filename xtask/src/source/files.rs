//! Finds and reads the files of the workspace.
//!
//! This module does not interpret their text.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::Failure;

/// Returns the files with this extension below `path`, sorted. If `path` is a file, returns only
/// that file. Skips hidden files and folders, and the folders that hold build output or installed
/// packages.
pub(crate) fn find(path: &Path, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    if path.is_dir() {
        collect(path, extension, &mut files)?;
    } else if path.is_file() {
        files.push(path.to_owned());
    } else {
        return Err(Failure::new(format!("{} does not exist", path.display())));
    }
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let unreadable = |error| Failure::new(format!("cannot read {}: {error}", folder.display()));
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || ["target", "node_modules", "dist"].contains(&&*name) {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            collect(&path, extension, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    Ok(())
}

pub(crate) fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display())))
}
