//! `cargo xtask tidy`: the house rules that neither rustfmt nor clippy can check.
//!
//! Each rule is in the file of its subject. Rules read tokens and `use` declarations, not types. A
//! rule that needs types belongs in a lint.

mod boundaries;
mod cycles;
mod documents;
mod files;
mod finding;
mod layers;
mod reexports;
mod signatures;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::run::{self, Failure};
use crate::source::references;
use crate::source::{crates, files as source_files};
use crate::tidy::finding::{Finding, Rule};
use crate::workspace::Workspace;

/// Checks the workspace and prints the findings. With `arguments`, prints only findings below those
/// paths. Fails if it prints a finding.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    let mut paths = Vec::new();
    for argument in arguments {
        let path = std::path::absolute(argument).ok();
        let path = path
            .as_deref()
            .and_then(|path| path.strip_prefix(&workspace.root).ok());
        let path = path
            .filter(|path| workspace.root.join(path).exists())
            .ok_or_else(|| {
                let argument = argument.to_string_lossy();
                Failure::usage(format!(
                    "`tidy` takes paths in the workspace: {argument} is none"
                ))
            })?;
        paths.push(path.to_owned());
    }
    let mut findings = check(&workspace.root)?;
    findings.retain(|finding| is_below(&finding.file, &paths));
    run::print(&show(&findings))?;
    let count = findings.len();
    if count == 0 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{count} places break the rules above: change them (the rules are in xtask/src/tidy/)"
    )))
}

fn is_below(file: &str, paths: &[PathBuf]) -> bool {
    paths.is_empty() || paths.iter().any(|path| Path::new(file).starts_with(path))
}

/// Formats the findings, grouped by rule.
fn show(findings: &[Finding]) -> String {
    let mut by_rule: BTreeMap<Rule, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        by_rule.entry(finding.rule).or_default().push(finding);
    }
    let mut lines = Vec::new();
    for (rule, findings) in by_rule {
        lines.push(format!("{}: {}", rule.describe(), findings.len()));
        lines.extend(findings.iter().map(|finding| format!("  {finding}")));
    }
    lines.join("\n")
}

fn check(root: &Path) -> Result<Vec<Finding>, Failure> {
    let sources = crates::read_sources(root)?;
    let mut findings = Vec::new();
    for source in sources.values() {
        files::check(source, &mut findings);
        boundaries::check_source(source, &mut findings);
        signatures::check(source, &mut findings);
        words::check_source(source, &mut findings);
    }
    let manifest = source_files::read(&root.join("core/Cargo.toml"))?;
    boundaries::check_core_manifest(&manifest, &mut findings);
    for document in source_files::find(root, "md")? {
        let name = document.strip_prefix(root).unwrap_or(&document);
        let (name, text) = (name.to_string_lossy(), source_files::read(&document)?);
        documents::check(&name, &text, &mut findings);
        words::check_document(&name, &text, &mut findings);
    }
    let architecture = source_files::read(&root.join(layers::DOCUMENT))?;
    let tables = layers::parse(&architecture, &mut findings);
    let crates = crates::find(root, &sources)?;
    let libraries: BTreeSet<_> = crates.iter().map(|each| each.name.clone()).collect();
    let mut references = Vec::new();
    for each in &crates {
        let found = references::find(each, &sources, &libraries);
        let imports = cycles::imports(each, &found);
        cycles::check(&imports, &mut findings);
        cycles::check_detours(each, &found, &mut findings);
        layers::check(each, &imports, &tables, &mut findings);
        references.extend(found);
    }
    layers::check_tables(&tables, &sources, &mut findings);
    reexports::check(&references, &sources, &mut findings);
    findings.sort();
    // A file that two crates share is checked once for each.
    findings.dedup();
    Ok(findings)
}
