//! The imports between the files of a crate, and the rule that they form no cycle.
//!
//! The rule for the direction of imports is in layers.rs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::source::crates::Crate;
use crate::source::references::{self, Export, Reference};
use crate::tidy::finding::{Finding, Rule};

/// The files that each file imports, each with the line of the first import.
pub(super) type Imports = BTreeMap<String, BTreeMap<String, usize>>;

/// Collects the imports between files. An import through a re-export counts as an import of the
/// file that defines the item. Skips test-only imports in production files, and imports by which a
/// module re-exports items from its own submodules.
pub(super) fn imports(owner: &Crate, found: &[Reference]) -> Imports {
    let exports = references::exports(found);
    let mut imports = Imports::new();
    for reference in found {
        let is_inner = |export: &Export| reference.path.starts_with(&export.module);
        if is_for_tests(owner, reference) || reference.exported.as_ref().is_some_and(is_inner) {
            continue;
        }
        let path = references::follow(&reference.path, &exports);
        if let Some(target) = references::target(owner, &path)
            && target != reference.file
        {
            let file = imports.entry(reference.file.clone()).or_default();
            file.entry(target.to_owned()).or_insert(reference.line);
        }
    }
    imports
}

/// Returns whether an import is only for tests, but is in a file of production code.
fn is_for_tests(owner: &Crate, reference: &Reference) -> bool {
    let mut modules = owner.modules.values();
    let is_test_file =
        modules.any(|module| module.is_test && !module.is_inline && module.file == reference.file);
    reference.is_test && !is_test_file
}

/// Reports each import of an item through an enclosing module that only re-exports the item. The
/// item must be imported from the module that defines it. Otherwise, the file and the enclosing
/// module would refer to each other.
pub(super) fn check_detours(owner: &Crate, found: &[Reference], findings: &mut Vec<Finding>) {
    let exports = references::exports(found);
    for reference in found {
        if reference.is_relative || is_for_tests(owner, reference) {
            continue;
        }
        let path = references::follow(&reference.path, &exports);
        let (Some(through), Some(target)) = (
            references::target(owner, &reference.path),
            references::target(owner, &path),
        ) else {
            continue;
        };
        if through != target && through != reference.file && is_above(through, &reference.file) {
            findings.push(Finding {
                rule: Rule::Detour,
                file: reference.file.clone(),
                line: reference.line,
                message: format!("{through} re-exports this: import {}", path.join("::")),
            });
        }
    }
}

/// Returns whether the file `above` contains a module that encloses the file `below`.
fn is_above(above: &str, below: &str) -> bool {
    let (folder, file) = above.rsplit_once('/').unwrap_or(("", above));
    let stem = file.trim_end_matches(".rs");
    match stem {
        "mod" | "lib" | "main" => below.starts_with(&format!("{folder}/")),
        _ => below.starts_with(&format!("{folder}/{stem}/")),
    }
}

/// Reports the shortest import cycle through each file. Reports each cycle only once.
pub(super) fn check(imports: &Imports, findings: &mut Vec<Finding>) {
    let mut reported: BTreeSet<BTreeSet<&str>> = BTreeSet::new();
    for file in imports.keys() {
        let Some(cycle) = shortest_cycle(imports, file) else {
            continue;
        };
        if !reported.insert(cycle.iter().copied().collect()) {
            continue;
        }
        let next = |at: usize| cycle[(at + 1) % cycle.len()];
        let mut message = format!("imports {}", next(0));
        for (at, member) in cycle.iter().enumerate().skip(1) {
            let (line, target) = (imports[*member][next(at)], next(at));
            message = format!("{message}, which (line {line}) imports {target}");
        }
        findings.push(Finding {
            rule: Rule::ImportCycle,
            file: file.clone(),
            line: imports[file][next(0)],
            message,
        });
    }
}

/// Returns the files on the shortest path of imports from `start` back to `start`. Returns `None`
/// if `start` is not part of a cycle.
fn shortest_cycle<'a>(imports: &'a Imports, start: &'a str) -> Option<Vec<&'a str>> {
    let mut from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for next in imports
            .get(file)?
            .keys()
            .filter(|next| imports.contains_key(*next))
        {
            if next == start {
                let mut cycle = vec![file];
                let mut at = file;
                while at != start {
                    at = from[at];
                    cycle.push(at);
                }
                cycle.reverse();
                return Some(cycle);
            }
            if !from.contains_key(next.as_str()) {
                from.insert(next, file);
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::crates;
    use crate::source::crates::tests::sources;

    fn check_files(files: &[(&str, &str)], expected: &[&str]) {
        let sources = sources(files);
        let owner = crates::build("a".to_owned(), files[0].0, &sources);
        let found = references::find(&owner, &sources, &BTreeSet::new());
        let mut findings = Vec::new();
        check(&imports(&owner, &found), &mut findings);
        let shown: Vec<_> = findings
            .iter()
            .map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.message))
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_cycle_is_reported_once() {
        check_files(
            &[
                ("lib.rs", "mod b;\nmod c;\nmod d;\nuse b::X;"),
                ("b.rs", "use crate::c;"),
                ("c.rs", "\nfn x() -> crate::d::Y {}"),
                ("d.rs", "\n\nuse super::b::Z;"),
            ],
            &["b.rs:1 imports c.rs, which (line 2) imports d.rs, which (line 3) imports b.rs"],
        );
    }

    #[test]
    fn a_parent_and_its_child_can_make_a_cycle() {
        check_files(
            &[("lib.rs", "mod b;\nuse b::C;"), ("b.rs", "use super::D;")],
            &["b.rs:1 imports lib.rs, which (line 2) imports b.rs"],
        );
    }

    const FACADE: [(&str, &str); 3] = [
        (
            "a/lib.rs",
            "mod b;\nmod c;\npub use b::C;\npub use c::D as E;",
        ),
        ("a/b.rs", "use crate::E;"),
        ("a/c.rs", "fn f() -> crate::b::C {}"),
    ];

    #[test]
    fn an_import_through_a_reexport_leads_to_the_definition() {
        check_files(
            &FACADE,
            &["a/b.rs:1 imports a/c.rs, which (line 1) imports a/b.rs"],
        );
    }

    #[test]
    fn an_import_through_a_reexport_above_is_a_detour() {
        let sources = sources(&FACADE);
        let owner = crates::build("a".to_owned(), FACADE[0].0, &sources);
        let found = references::find(&owner, &sources, &BTreeSet::new());
        let mut findings = Vec::new();
        check_detours(&owner, &found, &mut findings);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(
            findings[0].message,
            "a/lib.rs re-exports this: import a::c::D"
        );
    }

    #[test]
    fn what_only_tests_import_makes_no_cycle() {
        check_files(
            &[
                ("lib.rs", "mod b;\nmod c;\n#[cfg(test)]\nmod tests;"),
                (
                    "b.rs",
                    "use crate::c;\n#[cfg(test)]\nmod tests { use crate::tests::T; }",
                ),
                ("c.rs", "#[cfg(test)]\nuse crate::b;"),
                ("tests.rs", "use crate::b;"),
            ],
            &[],
        );
    }
}
