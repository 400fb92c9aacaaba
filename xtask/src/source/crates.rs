//! The crates of the workspace and the files of their modules, according to the `mod` declarations.
//!
//! The imports between the files are in references.rs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::run::Failure;
use crate::source::files;
use crate::source::lines::{self, Line};
use crate::source::tokens::{self, Token};

/// A Rust file of the workspace.
#[derive(Debug)]
pub(crate) struct Source {
    /// The path from the workspace's root, with `/` between its parts.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) lines: Vec<Line>,
    pub(crate) tokens: Vec<Token>,
}

impl Source {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let lines = lines::split(&text);
        let tokens = tokens::split(&lines);
        let name = name.into();
        Self {
            name,
            text,
            lines,
            tokens,
        }
    }
}

/// All Rust files of the workspace by name.
pub(crate) type Sources = BTreeMap<String, Source>;

/// A crate: a root file and the modules that it declares, directly or through other modules.
#[derive(Debug)]
pub(crate) struct Crate {
    /// The name by which other crates import this crate. If other crates cannot import it, the name
    /// of its root file.
    pub(crate) name: String,
    pub(crate) root: String,
    /// The modules by their path, without the crate's name. The root has the empty path.
    pub(crate) modules: BTreeMap<Vec<String>, Module>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// The name of the file with the module's code.
    pub(crate) file: String,
    /// Whether the module is defined inline, in the file of another module.
    pub(crate) is_inline: bool,
    /// Whether the module is compiled only for tests.
    pub(crate) is_test: bool,
}

/// Reads every Rust file of the workspace.
pub(crate) fn read_sources(root: &Path) -> Result<Sources, Failure> {
    let mut sources = Sources::new();
    for file in files::find(root, "rs")? {
        let name = file.strip_prefix(root).unwrap_or(&file);
        let name = name.to_string_lossy().into_owned();
        sources.insert(name.clone(), Source::new(name, files::read(&file)?));
    }
    Ok(sources)
}

/// Finds the crates of every package in the workspace.
pub(crate) fn find(root: &Path, sources: &Sources) -> Result<Vec<Crate>, Failure> {
    let mut crates = Vec::new();
    for manifest in files::find(root, "toml")? {
        if manifest
            .file_name()
            .is_some_and(|name| name == "Cargo.toml")
        {
            let folder = manifest.parent().unwrap_or(root);
            let folder = folder
                .strip_prefix(root)
                .unwrap_or(folder)
                .to_string_lossy();
            find_in_package(&folder, &files::read(&manifest)?, sources, &mut crates);
        }
    }
    Ok(crates)
}

fn find_in_package(folder: &str, manifest: &str, sources: &Sources, crates: &mut Vec<Crate>) {
    let mut section = "";
    let (mut library, mut package) = (None, String::new());
    let mut roots = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let Some((key, value)) = line.split_once(" = ") else {
            continue;
        };
        let value = value.trim_matches('"');
        match (section, key) {
            ("[package]", "name") => package = value.replace('-', "_"),
            ("[lib]", "path") => library = Some(join(folder, value)),
            ("[[bin]]" | "[[test]]" | "[[bench]]" | "[[example]]", "path") => {
                roots.insert(join(folder, value));
            }
            _ => {}
        }
    }
    let library = library.unwrap_or_else(|| join(folder, "src/lib.rs"));
    roots.insert(library.clone());
    roots.insert(join(folder, "src/main.rs"));
    roots.insert(join(folder, "build.rs"));
    for place in ["src/bin", "tests", "benches", "examples"] {
        let place = join(folder, place) + "/";
        for name in sources.keys() {
            if let Some(rest) = name.strip_prefix(&place) {
                let parts: Vec<_> = rest.split('/').collect();
                if parts.len() == 1 || (parts.len() == 2 && parts[1] == "main.rs") {
                    roots.insert(name.clone());
                }
            }
        }
    }
    for root in roots {
        if sources.contains_key(&root) {
            let name = if root == library {
                package.clone()
            } else {
                root.clone()
            };
            crates.push(build(name, &root, sources));
        }
    }
}

/// Builds a crate by following the `mod` declarations from the root file.
pub(crate) fn build(name: String, root: &str, sources: &Sources) -> Crate {
    let mut modules = BTreeMap::new();
    let module = Module {
        file: root.to_owned(),
        is_inline: false,
        is_test: false,
    };
    add(&mut modules, sources, Vec::new(), module);
    Crate {
        name,
        root: root.to_owned(),
        modules,
    }
}

fn add(
    modules: &mut BTreeMap<Vec<String>, Module>,
    sources: &Sources,
    path: Vec<String>,
    module: Module,
) {
    let Some(source) = sources.get(&module.file) else {
        return;
    };
    let is_root = path.is_empty();
    let mut declared = Vec::new();
    let whole = 0..source.tokens.len();
    find_declarations(source, whole, &path, &module, &mut declared);
    modules.insert(path, module);
    for (path, mut module, given) in declared {
        if module.is_inline {
            modules.insert(path, module);
            continue;
        }
        let child = path.last().map_or("", String::as_str);
        let (folder, file) = source.name.rsplit_once('/').unwrap_or(("", &source.name));
        let stem = file.trim_end_matches(".rs");
        let folder = match stem {
            "mod" | "lib" | "main" => folder.to_owned(),
            _ if is_root => folder.to_owned(),
            _ => join(folder, stem),
        };
        let candidates = match given {
            Some(given) => vec![join(
                source.name.rsplit_once('/').unwrap_or(("", "")).0,
                &given,
            )],
            None => vec![
                join(&folder, &format!("{child}.rs")),
                join(&folder, &format!("{child}/mod.rs")),
            ],
        };
        if let Some(file) = candidates
            .into_iter()
            .find(|file| sources.contains_key(file))
        {
            module.file = file;
            add(modules, sources, path, module);
        }
    }
}

/// Adds the modules that the tokens in `range` declare, each with the path in its `path` attribute,
/// if it has one.
fn find_declarations(
    source: &Source,
    range: std::ops::Range<usize>,
    path: &[String],
    parent: &Module,
    declared: &mut Vec<(Vec<String>, Module, Option<String>)>,
) {
    let tokens = &source.tokens;
    let mut at = range.start;
    let mut test_end = 0;
    let mut given = None;
    while at < range.end {
        if tokens::text(tokens, at) == "#" {
            let end = tokens::skip_brackets(tokens, at + 1);
            if is_test_attribute(&tokens[at..end.min(tokens.len())]) {
                test_end = test_end.max(tokens::skip_item(tokens, end));
            }
            if tokens::text(tokens, at + 2) == "path" {
                let line = source.text.lines().nth(tokens[at].line - 1);
                given = line
                    .and_then(|line| line.split('"').nth(1))
                    .map(str::to_owned);
            }
            at = end;
            continue;
        }
        let is_declaration =
            tokens::text(tokens, at) == "mod" && tokens.get(at + 1).is_some_and(Token::is_word);
        if is_declaration {
            let mut child = path.to_vec();
            child.push(tokens[at + 1].text.clone());
            let is_inline = tokens::text(tokens, at + 2) == "{";
            let module = Module {
                file: source.name.clone(),
                is_inline,
                is_test: parent.is_test || at < test_end,
            };
            declared.push((child.clone(), module.clone(), given.take()));
            if is_inline {
                let end = tokens::skip_brackets(tokens, at + 2);
                find_declarations(source, at + 3..end, &child, &module, declared);
                at = end;
                continue;
            }
        }
        at += 1;
    }
}

/// Returns whether an attribute with these tokens restricts an item to tests.
pub(crate) fn is_test_attribute(attribute: &[Token]) -> bool {
    let has = |word: &str| attribute.iter().any(|token| token.text == word);
    tokens::text(attribute, 2) == "cfg" && has("test") && !has("not") && !has("any")
}

/// Joins a folder and a path relative to it, both with `/` between their parts.
fn join(folder: &str, path: &str) -> String {
    let joined = PathBuf::from(folder).join(path);
    let mut parts: Vec<String> = Vec::new();
    for part in joined.to_string_lossy().split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part.to_owned()),
        }
    }
    parts.join("/")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Builds sources from pairs of a name and a text.
    pub(crate) fn sources(files: &[(&str, &str)]) -> Sources {
        let source = |(name, text): &(&str, &str)| ((*name).to_owned(), Source::new(*name, *text));
        files.iter().map(source).collect()
    }

    #[test]
    fn modules_are_found_through_their_declarations() {
        let sources = sources(&[
            (
                "a/src/lib.rs",
                "mod b;\npub mod c;\n#[cfg(test)]\nmod d;\nmod e { mod f {} }",
            ),
            ("a/src/b.rs", "mod g;"),
            ("a/src/b/g.rs", ""),
            ("a/src/c/mod.rs", "#[path = \"../../other.rs\"]\nmod h;"),
            ("a/other.rs", ""),
            ("a/src/d.rs", ""),
            ("a/src/orphan.rs", ""),
            ("a/tests/t.rs", "mod u;"),
            ("a/tests/u/mod.rs", ""),
        ]);
        let mut crates = Vec::new();
        find_in_package("a", "[package]\nname = \"a-b\"\n", &sources, &mut crates);
        let shown: Vec<_> = crates
            .iter()
            .flat_map(|each| {
                each.modules.iter().map(|(path, module)| {
                    let test = if module.is_test { " (test)" } else { "" };
                    format!("{}::{} {}{test}", each.name, path.join("::"), module.file)
                })
            })
            .collect();
        assert_eq!(
            shown,
            [
                "a_b:: a/src/lib.rs",
                "a_b::b a/src/b.rs",
                "a_b::b::g a/src/b/g.rs",
                "a_b::c a/src/c/mod.rs",
                "a_b::c::h a/other.rs",
                "a_b::d a/src/d.rs (test)",
                "a_b::e a/src/lib.rs",
                "a_b::e::f a/src/lib.rs",
                "a/tests/t.rs:: a/tests/t.rs",
                "a/tests/t.rs::u a/tests/u/mod.rs",
            ]
        );
    }
}
