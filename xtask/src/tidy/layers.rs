//! The rule that imports point downwards in the layers that ARCHITECTURE.md states for each crate.
//!
//! A code block whose info string is `layers FOLDER` states the layers of the crate in that folder,
//! lowest first, separated by `<` or by a line break. A layer has one or more entries: `name/` is a
//! folder with everything in it, and `name` is the file `name.rs`. If several entries match a file,
//! the longest entry applies. Entries of one layer must not import each other. A `#` starts a
//! remark. The root of the crate is the top layer and need not be stated.

use std::collections::BTreeMap;

use crate::source::crates::{Crate, Sources};
use crate::tidy::cycles::Imports;
use crate::tidy::finding::{Finding, Rule};

/// The document that states the layers.
pub(super) const DOCUMENT: &str = "ARCHITECTURE.md";

/// The layers of the crate in one folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// The line of the document on which the block begins.
    line: usize,
    /// The entries by name, such as `store/` or `app`.
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// The number of the layer. 1 is the lowest layer.
    layer: usize,
    line: usize,
}

/// The tables, by the folder of the crate, such as `core/src`.
pub(super) type Tables = BTreeMap<String, Table>;

/// Reads the tables in the text of the document. Reports an entry that a table states twice.
pub(super) fn parse(text: &str, findings: &mut Vec<Finding>) -> Tables {
    let mut tables = Tables::new();
    let mut open: Option<(String, Table)> = None;
    for (line, content) in (1..).zip(text.lines()) {
        if let Some((folder, mut table)) = open.take() {
            if content.starts_with("```") {
                tables.insert(folder, table);
                continue;
            }
            let content = content.split('#').next().unwrap_or_default();
            for names in content.split('<') {
                let layer = 1 + table.highest_layer();
                for name in names.split_whitespace() {
                    let previous = table.entries.insert(name.to_owned(), Entry { layer, line });
                    if previous.is_some() {
                        findings.push(finding(DOCUMENT, line, format!("{name} is stated twice")));
                    }
                }
            }
            open = Some((folder, table));
        } else if let Some(folder) = content.strip_prefix("```layers ") {
            let table = Table {
                line,
                entries: BTreeMap::new(),
            };
            open = Some((folder.trim().to_owned(), table));
        }
    }
    tables
}

fn finding(file: &str, line: usize, message: String) -> Finding {
    Finding {
        rule: Rule::Layer,
        file: file.to_owned(),
        line,
        message,
    }
}

impl Table {
    /// Returns the number of the highest layer so far, or 0.
    fn highest_layer(&self) -> usize {
        let layers = self.entries.values().map(|entry| entry.layer);
        layers.max().unwrap_or(0)
    }

    /// Returns the entry with the longest name that matches the file, together with that name, or
    /// `None` if no entry matches. `path` is relative to the crate's folder.
    fn find(&self, path: &str) -> Option<(&str, Entry)> {
        let matching = self.entries.iter().filter(|(name, _)| {
            if name.ends_with('/') {
                path.starts_with(name.as_str())
            } else {
                path.strip_suffix(".rs") == Some(name)
            }
        });
        let longest = matching.max_by_key(|(name, _)| name.len());
        longest.map(|(name, entry)| (name.as_str(), *entry))
    }
}

/// Checks the imports of a crate against the table for its folder. Checks nothing without a table.
pub(super) fn check(
    owner: &Crate,
    imports: &Imports,
    tables: &Tables,
    findings: &mut Vec<Finding>,
) {
    let Some((folder, _)) = owner.root.rsplit_once('/') else {
        return;
    };
    let Some(table) = tables.get(folder) else {
        return;
    };
    let path = |file: &str| {
        let path = file.strip_prefix(folder)?.strip_prefix('/')?;
        Some(path.to_owned())
    };
    for module in owner.modules.values() {
        if module.is_test || module.is_inline || module.file == owner.root {
            continue;
        }
        if path(&module.file).is_some_and(|path| table.find(&path).is_none()) {
            let message = format!("is in no layer of {folder} in {DOCUMENT}");
            findings.push(finding(&module.file, 0, message));
        }
    }
    let is_test = |file: &str| {
        let mut modules = owner.modules.values();
        modules.any(|module| module.is_test && !module.is_inline && module.file == file)
    };
    for (file, targets) in imports {
        if is_test(file) || is_test_of_root(file, &owner.root, table, folder) {
            continue;
        }
        let Some(from) = path(file) else { continue };
        let Some((from, from_entry)) = table.find(&from) else {
            continue;
        };
        for (target, line) in targets {
            if *target == owner.root {
                let message =
                    format!("{from} imports the root of the crate, which is the top layer");
                findings.push(finding(file, *line, message));
                continue;
            }
            let Some(to) = path(target) else { continue };
            let Some((to, to_entry)) = table.find(&to) else {
                continue;
            };
            if from == to || to_entry.layer < from_entry.layer {
                continue;
            }
            let message = if to_entry.layer == from_entry.layer {
                format!("{from} imports {to}, which is in the same layer")
            } else {
                format!("{from} imports {to}, which is in a higher layer")
            };
            findings.push(finding(file, *line, message));
        }
    }
}

/// Returns whether the file is the root of the crate and in no layer, so that its imports are not
/// restricted.
fn is_test_of_root(file: &str, root: &str, table: &Table, folder: &str) -> bool {
    let path = file
        .strip_prefix(folder)
        .map(|path| path.trim_start_matches('/'));
    file == root && path.is_some_and(|path| table.find(path).is_none())
}

/// Reports the tables whose folder contains no Rust files, and the entries that match no file.
pub(super) fn check_tables(tables: &Tables, sources: &Sources, findings: &mut Vec<Finding>) {
    for (folder, table) in tables {
        if !sources
            .keys()
            .any(|name| name.starts_with(&format!("{folder}/")))
        {
            let message = format!("there are no Rust files in {folder}");
            findings.push(finding(DOCUMENT, table.line, message));
            continue;
        }
        for (name, entry) in &table.entries {
            let path = format!("{folder}/{name}");
            let exists = if path.ends_with('/') {
                sources.keys().any(|name| name.starts_with(&path))
            } else {
                sources.contains_key(&format!("{path}.rs"))
            };
            if !exists {
                findings.push(finding(
                    DOCUMENT,
                    entry.line,
                    format!("{path} does not exist"),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::source::crates;
    use crate::source::crates::tests::sources;
    use crate::source::references;
    use crate::tidy::cycles;

    const FILES: [(&str, &str); 6] = [
        (
            "a/src/lib.rs",
            "mod api;\nmod low;\nmod store;\nmod top;\npub use api::A;\nfn f() {}",
        ),
        ("a/src/api.rs", ""),
        ("a/src/low.rs", "use crate::top::T;\nuse crate::api::A;"),
        (
            "a/src/store/mod.rs",
            "mod disk;\nuse crate::low::L;\nuse disk::D;",
        ),
        ("a/src/store/disk.rs", "use crate::f;"),
        ("a/src/top.rs", "use crate::{api, low, store};"),
    ];

    fn check_layers(layers: &str, expected: &[&str]) {
        let sources = sources(&FILES);
        let owner = crates::build("a".to_owned(), "a/src/lib.rs", &sources);
        let found = references::find(&owner, &sources, &BTreeSet::new());
        let mut findings = Vec::new();
        let text = format!("# Title\n\n```layers a/src\n{layers}```\n");
        let tables = parse(&text, &mut findings);
        check(
            &owner,
            &cycles::imports(&owner, &found),
            &tables,
            &mut findings,
        );
        check_tables(&tables, &sources, &mut findings);
        let shown: Vec<_> = findings
            .iter()
            .map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.message))
            .collect();
        assert_eq!(shown, expected);
    }

    const TO_ROOT: &str =
        "a/src/store/disk.rs:1 store/ imports the root of the crate, which is the top layer";

    #[test]
    fn an_import_must_point_down() {
        check_layers(
            "api low # data\nstore/\ntop\n",
            &[
                "a/src/low.rs:2 low imports api, which is in the same layer",
                "a/src/low.rs:1 low imports top, which is in a higher layer",
                TO_ROOT,
            ],
        );
        check_layers(
            "api\ntop\nlow\n",
            &[
                "a/src/store/mod.rs:0 is in no layer of a/src in ARCHITECTURE.md",
                "a/src/store/disk.rs:0 is in no layer of a/src in ARCHITECTURE.md",
                "a/src/top.rs:1 top imports low, which is in a higher layer",
            ],
        );
    }

    #[test]
    fn the_longest_entry_counts() {
        check_layers(
            "api\ntop\nlow\nstore/disk\nstore/\n",
            &[
                "a/src/store/disk.rs:1 store/disk imports the root of the crate, which is the top layer",
                "a/src/top.rs:1 top imports low, which is in a higher layer",
                "a/src/top.rs:1 top imports store/, which is in a higher layer",
            ],
        );
    }

    #[test]
    fn an_entry_names_a_file_or_a_folder_once() {
        check_layers(
            "api gone\nlow api\nstore/ lost/\ntop\n",
            &[
                "ARCHITECTURE.md:5 api is stated twice",
                "a/src/low.rs:2 low imports api, which is in the same layer",
                "a/src/low.rs:1 low imports top, which is in a higher layer",
                TO_ROOT,
                "ARCHITECTURE.md:4 a/src/gone does not exist",
                "ARCHITECTURE.md:6 a/src/lost/ does not exist",
            ],
        );
    }
}
