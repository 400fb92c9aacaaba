//! The rule that a re-export serves more than one file.
//!
//! Only names that a `pub use` lists are checked, because the users of a re-exported glob cannot be
//! found by name.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::crates::{Source, Sources};
use crate::source::references::Reference;
use crate::tidy::finding::{Finding, Rule};

/// The minimum number of files that must use a re-export.
const MIN_USERS: usize = 2;

pub(super) fn check(references: &[Reference], sources: &Sources, findings: &mut Vec<Finding>) {
    // The files that name a path, and those that bring in all of a module.
    let mut users: BTreeMap<&[String], BTreeSet<&str>> = BTreeMap::new();
    let mut globs: BTreeMap<&[String], BTreeSet<&str>> = BTreeMap::new();
    for reference in references {
        if reference.is_glob {
            globs
                .entry(&reference.path)
                .or_default()
                .insert(&reference.file);
        }
        for length in 1..=reference.path.len() {
            let path = &reference.path[..length];
            users.entry(path).or_default().insert(&reference.file);
        }
    }
    for reference in references {
        let Some(export) = &reference.exported else {
            continue;
        };
        let mut path = export.module.clone();
        path.push(export.name.clone());
        let mut found = users.get(path.as_slice()).cloned().unwrap_or_default();
        let through_glob = globs.get(export.module.as_slice()).into_iter().flatten();
        found.extend(through_glob.filter(|file| names(sources.get(**file), &export.name)));
        found.remove(reference.file.as_str());
        if found.len() < MIN_USERS {
            let by = match found.first() {
                Some(file) => format!("only {file} uses it"),
                None => "it is not used".to_owned(),
            };
            findings.push(Finding {
                rule: Rule::Reexport,
                file: reference.file.clone(),
                line: reference.line,
                message: format!("re-exports {}, but {by} by this path", export.name),
            });
        }
    }
}

fn names(source: Option<&Source>, name: &str) -> bool {
    source.is_some_and(|source| source.tokens.iter().any(|token| token.text == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::crates;
    use crate::source::crates::tests::sources;
    use crate::source::references;

    #[test]
    fn a_reexport_needs_two_users() {
        let sources = sources(&[
            (
                "lib.rs",
                "mod b;\nmod c;\nmod d;\nmod e;\npub use b::{C, D, E};\nfn f() -> D {}",
            ),
            ("b.rs", ""),
            ("c.rs", "use crate::{C, D};"),
            ("d.rs", "fn f() { crate::C::new() }"),
            ("e.rs", "use crate::*;\nfn f() -> E {}"),
        ]);
        let owner = crates::build("a".to_owned(), "lib.rs", &sources);
        let found = references::find(&owner, &sources, &BTreeSet::new());
        let mut findings = Vec::new();
        check(&found, &sources, &mut findings);
        let shown: Vec<_> = findings
            .iter()
            .map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.message))
            .collect();
        assert_eq!(
            shown,
            [
                "lib.rs:5 re-exports D, but only c.rs uses it by this path",
                "lib.rs:5 re-exports E, but only e.rs uses it by this path",
            ]
        );
    }
}
