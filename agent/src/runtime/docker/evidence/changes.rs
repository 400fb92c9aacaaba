//! The list of changed files of a container: its conversion to JSON lines, and the requests that
//! fetch the files.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, Write};
use std::path::Path;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::evidence::files_tar::Extent;

/// The maximum number of changed paths that are considered for the tar of files.
const MAX_PATHS: usize = 20_000;
/// A top-level directory that would need at least this many requests is fetched with a single
/// request instead. One request takes about as long as the transfer of 50 MiB.
const MIN_GROUP: usize = 8;
/// The maximum total length, in bytes, of the changed paths that are considered.
const MAX_PATH_BYTES: usize = 8 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ChangeKind {
    Modified,
    Added,
    Deleted,
}

/// A changed path, as the Engine lists it.
#[derive(Deserialize)]
struct ListedChange {
    #[serde(rename = "Path")]
    path: String,
    #[serde(rename = "Kind")]
    kind: u8,
}

#[derive(Serialize)]
struct ChangeLine<'a> {
    kind: ChangeKind,
    path: &'a str,
}

/// The changed paths of a container, except the deleted ones.
#[derive(Debug, Default)]
pub(super) struct ChangedPaths {
    kinds: BTreeMap<String, ChangeKind>,
    bytes: usize,
    /// The number of paths beyond the maximum.
    pub(super) skipped: usize,
}

/// A path to fetch from the Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathRequest {
    pub(super) path: String,
    pub(super) extent: Extent,
}

impl ChangedPaths {
    fn insert(&mut self, path: String, kind: ChangeKind) {
        if kind == ChangeKind::Deleted {
            return;
        }
        if self.kinds.len() >= MAX_PATHS || self.bytes + path.len() > MAX_PATH_BYTES {
            self.skipped += 1;
            return;
        }
        self.bytes += path.len();
        self.kinds.insert(path, kind);
    }

    /// Returns the requests that fetch every added or modified file once. Leaves out `mounts`, the
    /// paths at which other filesystems are mounted: their content is not part of the container.
    ///
    /// A new directory is fetched with one request, and so is each changed file elsewhere. If a
    /// top-level directory would need `MIN_GROUP` or more requests, one request for the whole
    /// directory replaces them. A directory that contains a mount is never fetched as a whole.
    pub(super) fn requests(&self, mounts: &[String]) -> Vec<PathRequest> {
        let mut groups: BTreeMap<String, Vec<PathRequest>> = BTreeMap::new();
        for request in self.single_requests(mounts) {
            let top = match request.path.match_indices('/').nth(1) {
                Some((end, _)) => &request.path[..end],
                None => &request.path,
            };
            groups.entry(top.to_owned()).or_default().push(request);
        }
        let to_requests = |(top, group): (String, Vec<PathRequest>)| {
            let has_mount = mounts
                .iter()
                .any(|mount| *mount == top || is_below(mount, &top));
            if group.len() < MIN_GROUP || has_mount {
                return group;
            }
            vec![PathRequest {
                path: top,
                extent: Extent::Changed,
            }]
        };
        groups.into_iter().flat_map(to_requests).collect()
    }

    /// Returns whether a path, without its leading `/`, has changed. The Engine replaces what is
    /// not UTF-8 in a name.
    pub(super) fn contains(&self, path: &Path) -> bool {
        self.kinds
            .contains_key(&format!("/{}", path.to_string_lossy()))
    }

    fn single_requests(&self, mounts: &[String]) -> Vec<PathRequest> {
        let is_tree = |path: &str, kind: ChangeKind| {
            kind == ChangeKind::Added && !mounts.iter().any(|mount| is_below(mount, path))
        };
        let is_in_tree = |path: &str| {
            let listed = |above: &str| self.kinds.get(above).map(|kind| is_tree(above, *kind));
            ancestors(path).any(|above| listed(above) == Some(true))
        };
        let is_mounted = |path: &str| {
            mounts
                .iter()
                .any(|mount| path == mount || is_below(path, mount))
        };
        let to_request = |(path, kind): (&String, &ChangeKind)| {
            let extent = if is_tree(path, *kind) {
                Extent::Tree
            } else {
                Extent::Path
            };
            // A modified directory is listed only because of the paths in it.
            let is_parent = extent == Extent::Path && self.below(path).next().is_some();
            (!is_mounted(path) && !is_in_tree(path) && !is_parent).then(|| PathRequest {
                path: path.clone(),
                extent,
            })
        };
        self.kinds.iter().filter_map(to_request).collect()
    }

    /// Returns the changed paths below a directory.
    pub(super) fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = &'a String> {
        let start = format!("{directory}/");
        let paths = self.kinds.range(start.clone()..).map(|(path, _)| path);
        paths.take_while(move |path| path.starts_with(&start))
    }
}

/// Copies the Engine's list as JSON lines, and collects the paths.
///
/// # Errors
/// If the source or the target fails, or if the list is malformed.
pub(super) fn copy_changes(
    source: impl BufRead,
    target: &mut impl Write,
    paths: &mut ChangedPaths,
) -> Result<(), String> {
    let mut source = serde_json::Deserializer::from_reader(source);
    let copied = source.deserialize_any(ListVisitor { target, paths });
    copied
        .and_then(|()| source.end())
        .map_err(|error| error.to_string())
}

/// Reads the elements of the list one by one, because the list can be larger than the memory.
struct ListVisitor<'a, W> {
    target: &'a mut W,
    paths: &'a mut ChangedPaths,
}

impl<'de, W: Write> Visitor<'de> for ListVisitor<'_, W> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of changes")
    }

    /// Visits `null`, which stands for no changes.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(ListedChange { path, kind }) = list.next_element()? {
            let kind = match kind {
                0 => ChangeKind::Modified,
                1 => ChangeKind::Added,
                2 => ChangeKind::Deleted,
                other => return Err(Error::custom(format!("the change {other} is unknown"))),
            };
            let mut line =
                serde_json::to_vec(&ChangeLine { kind, path: &path }).map_err(Error::custom)?;
            line.push(b'\n');
            self.target.write_all(&line).map_err(Error::custom)?;
            self.paths.insert(path, kind);
        }
        Ok(())
    }
}

fn is_below(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// Returns the directories above a path, innermost first, without `/`.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let end = path.rmatch_indices('/').map(|(end, _)| end);
    end.filter(|end| *end > 0).map(|end| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::{ChangedPaths, Extent, copy_changes};

    fn copy(list: &str) -> (String, ChangedPaths, Result<(), String>) {
        let (mut lines, mut paths) = (Vec::new(), ChangedPaths::default());
        let copied = copy_changes(list.as_bytes(), &mut lines, &mut paths);
        (String::from_utf8(lines).expect("UTF-8"), paths, copied)
    }

    #[test]
    fn changes_become_json_lines() {
        let list = r#"[{"Path":"/etc","Kind":0},{"Kind":1,"Path":"/etc/a\nb"},{"Path":"/bin/sh","Kind":2}]"#;
        let (lines, _, copied) = copy(list);
        assert_eq!(copied, Ok(()));
        assert_eq!(
            lines,
            "{\"kind\":\"modified\",\"path\":\"/etc\"}\n{\"kind\":\"added\",\"path\":\"/etc/a\\nb\"}\n\
             {\"kind\":\"deleted\",\"path\":\"/bin/sh\"}\n"
        );
        assert_eq!(copy("null\n").2, Ok(()));
        for broken in ["", "[", r#"[{"Path":"/a","Kind":9}]"#, "{}"] {
            assert!(copy(broken).2.is_err(), "{broken}");
        }
    }

    #[test]
    fn a_directory_with_many_changes_is_fetched_once_unless_something_is_mounted_in_it() {
        let files = |directory: &str| {
            let lines =
                (0..8).map(|number| format!(r#",{{"Path":"{directory}/f{number}","Kind":1}}"#));
            lines.collect::<String>()
        };
        let list = format!(
            r#"[{{"Path":"/tmp","Kind":0}}{},{{"Path":"/tmp/x","Kind":0}}{},{{"Path":"/srv","Kind":0}}{}]"#,
            files("/tmp"),
            files("/tmp/x"),
            files("/srv")
        );
        let (_, paths, copied) = copy(&list);
        assert_eq!(copied, Ok(()));
        let requests = paths.requests(&["/srv/data".to_owned()]);
        let whole: Vec<_> = (requests.iter())
            .filter(|request| request.extent == Extent::Changed)
            .map(|request| request.path.as_str())
            .collect();
        assert_eq!((whole, requests.len()), (vec!["/tmp"], 9));
        assert!(paths.contains("tmp/f1".as_ref()) && !paths.contains("tmp/other".as_ref()));
    }

    #[test]
    fn new_directories_are_fetched_whole_and_modified_ones_file_by_file() {
        let list = r#"[{"Path":"/etc","Kind":0},{"Path":"/etc/passwd","Kind":0},{"Path":"/etc/x","Kind":2},
            {"Path":"/new","Kind":1},{"Path":"/new-file","Kind":1},{"Path":"/new/a","Kind":1},{"Path":"/new/a/b","Kind":1},
            {"Path":"/srv","Kind":1},{"Path":"/srv/data","Kind":1},{"Path":"/srv/log","Kind":1},
            {"Path":"/vol","Kind":1},{"Path":"/vol/x","Kind":0},{"Path":"/tmp","Kind":0}]"#;
        let (_, paths, copied) = copy(list);
        assert_eq!(copied, Ok(()));
        let mounts = ["/srv/data".to_owned(), "/vol".to_owned()];
        let requests: Vec<_> = (paths.requests(&mounts).into_iter())
            .map(|request| (request.path, request.extent))
            .collect();
        let expected = [
            ("/etc/passwd", Extent::Path),
            ("/new", Extent::Tree),
            ("/new-file", Extent::Tree),
            ("/srv/log", Extent::Tree),
            ("/tmp", Extent::Path),
        ];
        assert_eq!(
            requests,
            expected.map(|(path, extent)| (path.to_owned(), extent))
        );
    }
}
