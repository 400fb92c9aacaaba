//! The paths that a crate's files name, in `use` declarations and in code, resolved to modules.
//!
//! A name is resolved only by its text, so items from macros and glob imports are not found.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::crates::{self, Crate, Source, Sources};
use crate::source::tokens::{self, Token};

/// A path that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The name of the crate, then the modules, then the item.
    pub(crate) path: Vec<String>,
    /// Whether the path ends in `::*`.
    pub(crate) is_glob: bool,
    /// Whether the path begins with a child module or an imported name, rather than with `crate`,
    /// `self`, `super` or a crate's name.
    pub(crate) is_relative: bool,
    /// Whether only tests compile the code that names the path.
    pub(crate) is_test: bool,
    /// The re-export that this path belongs to. `None` for a private `use`, a glob, or a path in
    /// code.
    pub(crate) exported: Option<Export>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Export {
    /// The path of the module that re-exports, with the crate's name.
    pub(crate) module: Vec<String>,
    pub(crate) name: String,
}

/// Returns every path in the crate that leads into a crate of the workspace. `libraries` contains
/// the names of the workspace's crates.
pub(crate) fn find(
    owner: &Crate,
    sources: &Sources,
    libraries: &BTreeSet<String>,
) -> Vec<Reference> {
    let mut found = Vec::new();
    for (path, module) in &owner.modules {
        let Some(source) = sources.get(&module.file).filter(|_| !module.is_inline) else {
            continue;
        };
        let mut reader = Reader {
            owner,
            source,
            libraries,
            module: path.clone(),
            names: BTreeMap::new(),
            test_end: if module.is_test { usize::MAX } else { 0 },
            found: &mut found,
        };
        reader.read(0, source.tokens.len());
    }
    found
}

struct Reader<'a> {
    owner: &'a Crate,
    source: &'a Source,
    libraries: &'a BTreeSet<String>,
    /// The module that contains the current token.
    module: Vec<String>,
    /// The full path of each name that the file has imported so far.
    names: BTreeMap<String, Vec<String>>,
    /// The position before which the tokens are compiled only for tests.
    test_end: usize,
    found: &'a mut Vec<Reference>,
}

impl Reader<'_> {
    fn read(&mut self, start: usize, end: usize) {
        let tokens = &self.source.tokens;
        let mut at = start;
        while at < end {
            let token = &tokens[at];
            match token.text.as_str() {
                "#" => {
                    let next = if tokens::text(tokens, at + 1) == "!" {
                        2
                    } else {
                        1
                    };
                    let after = tokens::skip_brackets(tokens, at + next);
                    if crates::is_test_attribute(&tokens[at..after.min(tokens.len())]) {
                        self.test_end = self.test_end.max(tokens::skip_item(tokens, after));
                    }
                    at = after;
                }
                "mod" if tokens::text(tokens, at + 2) == "{" => {
                    let after = tokens::skip_brackets(tokens, at + 2);
                    self.module.push(tokens[at + 1].text.clone());
                    self.read(at + 3, after);
                    self.module.pop();
                    at = after;
                }
                "use" if at == 0 || tokens::text(tokens, at - 1) != "+" => {
                    let is_public = self.is_public(at);
                    at = self.read_use(at + 1, &[], is_public);
                }
                _ if token.is_word() && !self.continues_path(at) => at = self.read_path(at),
                _ => at += 1,
            }
        }
    }

    /// Returns whether the token at `at` continues a path, or names a field or a method.
    fn continues_path(&self, at: usize) -> bool {
        at > 0 && ["::", "."].contains(&tokens::text(&self.source.tokens, at - 1))
    }

    /// Returns whether the `use` at `at` has a visibility modifier, such as `pub` or `pub(crate)`.
    fn is_public(&self, at: usize) -> bool {
        let before = |count: usize| {
            at.checked_sub(count)
                .map_or("", |at| tokens::text(&self.source.tokens, at))
        };
        before(1) == "pub" || (before(1) == ")" && (2..8).any(|count| before(count) == "pub"))
    }

    /// Reads one branch of a `use` declaration. Returns the position after it.
    fn read_use(&mut self, start: usize, prefix: &[String], is_public: bool) -> usize {
        let tokens = &self.source.tokens;
        let mut path = prefix.to_vec();
        let mut at = start;
        loop {
            match tokens::text(tokens, at) {
                "{" => {
                    let end = tokens::skip_brackets(tokens, at);
                    at += 1;
                    while at < end - 1 {
                        at = self.read_use(at, &path, is_public);
                    }
                    return end + usize::from(tokens::text(tokens, end) == ",");
                }
                "*" => {
                    self.record(at, &path, None, true);
                    at += 1;
                }
                "as" => {
                    let name = tokens::text(tokens, at + 1).to_owned();
                    self.import(&path, &name, is_public, at);
                    return at + 2 + usize::from(tokens::text(tokens, at + 2) == ",");
                }
                "::" => at += 1,
                word if word.starts_with(tokens::is_word_character) => {
                    path.push(word.to_owned());
                    at += 1;
                    let ends = !["::", "as"].contains(&tokens::text(tokens, at));
                    if ends {
                        if path.last().is_some_and(|last| last == "self") {
                            path.pop();
                        }
                        let name = path.last().cloned().unwrap_or_default();
                        self.import(&path, &name, is_public, at - 1);
                    }
                }
                "," => return at + 1,
                // The `;` of the declaration, or the end of a group.
                _ => return at,
            }
        }
    }

    fn import(&mut self, path: &[String], name: &str, is_public: bool, at: usize) {
        let mut path = path.to_vec();
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        let Some(absolute) = self.resolve(&path) else {
            return;
        };
        let mut module = vec![self.owner.name.clone()];
        module.extend(self.module.iter().cloned());
        let exported = is_public.then(|| Export {
            module,
            name: name.to_owned(),
        });
        self.names.insert(name.to_owned(), absolute);
        self.record(at, &path, exported, false);
    }

    /// Reads a path in code. Returns the position after it.
    fn read_path(&mut self, start: usize) -> usize {
        let tokens = &self.source.tokens;
        let mut path = vec![tokens[start].text.clone()];
        let mut at = start + 1;
        while tokens::text(tokens, at) == "::" && tokens.get(at + 1).is_some_and(Token::is_word) {
            path.push(tokens[at + 1].text.clone());
            at += 2;
        }
        if path.len() > 1 {
            self.record(start, &path, None, false);
        }
        at
    }

    fn record(&mut self, at: usize, path: &[String], exported: Option<Export>, is_glob: bool) {
        let is_absolute = path.first().is_some_and(|first| {
            ["crate", "self", "super"].contains(&first.as_str()) || self.libraries.contains(first)
        });
        if let Some(path) = self.resolve(path) {
            self.found.push(Reference {
                file: self.source.name.clone(),
                line: self.source.tokens[at].line,
                path,
                is_glob,
                is_relative: !is_absolute,
                is_test: at < self.test_end,
                exported,
            });
        }
    }

    /// Makes a path absolute. Returns `None` if the path begins with an unknown name, for example
    /// because it leads out of the workspace.
    fn resolve(&self, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let mut rest = rest;
        let mut absolute = vec![self.owner.name.clone()];
        match first.as_str() {
            "crate" => {}
            "self" => absolute.extend(self.module.iter().cloned()),
            "super" => {
                let mut module = self.module.clone();
                module.pop()?;
                while let Some(("super", after)) = rest
                    .split_first()
                    .map(|(first, after)| (first.as_str(), after))
                {
                    module.pop()?;
                    rest = after;
                }
                absolute.extend(module);
            }
            name if self.libraries.contains(name) => absolute = vec![name.to_owned()],
            name => {
                let mut child = self.module.clone();
                child.push(name.to_owned());
                if self.owner.modules.contains_key(&child) {
                    absolute.extend(child);
                } else {
                    absolute.clone_from(self.names.get(name)?);
                }
            }
        }
        absolute.extend(rest.iter().cloned());
        Some(absolute)
    }
}

/// The re-exports of a crate. Maps the path of each re-export to the original path.
pub(crate) type Exports = BTreeMap<Vec<String>, Vec<String>>;

/// Collects the re-exports among the references.
pub(crate) fn exports(found: &[Reference]) -> Exports {
    let mut exports = Exports::new();
    for reference in found {
        if let Some(export) = &reference.exported {
            let mut path = export.module.clone();
            path.push(export.name.clone());
            if path != reference.path {
                exports.insert(path, reference.path.clone());
            }
        }
    }
    exports
}

/// Follows the re-exports in a path, and returns the original path.
pub(crate) fn follow(path: &[String], exports: &Exports) -> Vec<String> {
    let mut path = path.to_vec();
    // The limit exceeds the length of any chain of re-exports. It ends the loop if re-exports form
    // a cycle.
    for _ in 0..8 {
        let replaced = (1..=path.len()).rev().find_map(|length| {
            let mut replaced = exports.get(&path[..length])?.clone();
            replaced.extend_from_slice(&path[length..]);
            Some(replaced)
        });
        match replaced {
            Some(replaced) => path = replaced,
            None => break,
        }
    }
    path
}

/// Returns the file of the module that a path into `owner` leads to. Returns `None` if the path
/// leads into another crate.
pub(crate) fn target<'a>(owner: &'a Crate, path: &[String]) -> Option<&'a str> {
    let (name, rest) = path.split_first()?;
    if *name != owner.name {
        return None;
    }
    let module = (0..=rest.len())
        .rev()
        .find_map(|length| owner.modules.get(&rest[..length]))?;
    Some(&module.file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::crates::tests::sources;

    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let sources = sources(files);
        let owner = crates::build("a".to_owned(), files[0].0, &sources);
        let libraries = BTreeSet::from(["a".to_owned(), "other".to_owned()]);
        let found = find(&owner, &sources, &libraries);
        let shown: Vec<_> = found
            .iter()
            .map(|reference| {
                let target = target(&owner, &reference.path).unwrap_or("-");
                let test = if reference.is_test { " (test)" } else { "" };
                let path = reference.path.join("::");
                format!(
                    "{}:{} {path} {target}{test}",
                    reference.file, reference.line
                )
            })
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_use_declaration_names_each_of_its_branches() {
        check(
            &[
                (
                    "lib.rs",
                    "mod b;\nmod c;\npub use b::{self, d::{E, F as G}};\nuse other::H;",
                ),
                ("b.rs", "use super::c::*;\nuse std::fs;"),
                ("c.rs", ""),
            ],
            &[
                "lib.rs:3 a::b b.rs",
                "lib.rs:3 a::b::d::E b.rs",
                "lib.rs:3 a::b::d::F b.rs",
                "lib.rs:4 other::H -",
                "b.rs:1 a::c c.rs",
            ],
        );
    }

    #[test]
    fn a_path_in_code_is_followed_through_imported_names() {
        check(
            &[
                (
                    "lib.rs",
                    "mod b;\nmod c;\nfn f() { b::g(); crate::c::D::new(); x.c::y(); }",
                ),
                ("b.rs", "use crate::c;\nfn g() -> c::D { c::deep::h() }"),
                ("c.rs", "mod deep;"),
                ("c/deep.rs", "fn h() { String::new() }"),
            ],
            &[
                "lib.rs:3 a::b::g b.rs",
                "lib.rs:3 a::c::D::new c.rs",
                "b.rs:1 a::c c.rs",
                "b.rs:2 a::c::D c.rs",
                "b.rs:2 a::c::deep::h c/deep.rs",
            ],
        );
    }

    #[test]
    fn code_for_tests_is_marked() {
        check(
            &[
                ("lib.rs", "mod b;\nmod c;"),
                (
                    "b.rs",
                    "#[cfg(test)]\nmod tests { use super::*; use crate::c::D; }\nuse crate::c::E;",
                ),
                ("c.rs", ""),
            ],
            &[
                "b.rs:2 a::b b.rs (test)",
                "b.rs:2 a::c::D c.rs (test)",
                "b.rs:3 a::c::E c.rs",
            ],
        );
    }

    #[test]
    fn an_export_names_its_module() {
        let sources = sources(&[("lib.rs", "mod b;\npub(crate) use b::C;"), ("b.rs", "")]);
        let owner = crates::build("a".to_owned(), "lib.rs", &sources);
        let found = find(&owner, &sources, &BTreeSet::new());
        let export = Export {
            module: vec!["a".to_owned()],
            name: "C".to_owned(),
        };
        assert_eq!(found[0].exported, Some(export));
    }
}
