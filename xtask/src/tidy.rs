//! The rules of the house that neither rustfmt nor clippy knows.
//!
//! It reads Rust files line by line, not their syntax: a rule that needs more belongs in a lint.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::Failure;

/// Past this a file is two files.
const LONGEST: usize = 500;

/// How subjects begin: the first word and what follows its dot. In two, so that this file keeps its own rule.
const SUBJECTS: [(&str, &str); 9] = [
    ("swarm", ""),
    ("agent", ""),
    ("shards", "updated"),
    ("hosts", "updated"),
    ("operations", "updated"),
    ("scuttle", "journal"),
    ("scuttle", "servers"),
    ("scuttle", "partition"),
    ("scuttle", "told"),
];

/// What core/ must not know: a runtime, a network, a disk, chance.
const NOT_IN_CORE: [&str; 4] = ["tokio", "async-nats", "redb", "rand"];

/// Checks every Rust file below `root`, and core's manifest.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut broken = Vec::new();
    for file in &files {
        let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy();
        check_source(&name, &read(file)?, &mut broken);
    }
    check_core_manifest(&read(&root.join("core/Cargo.toml"))?, &mut broken);
    for line in &broken {
        println!("{line}");
    }
    match broken.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "not all of {} files are tidy: mend the {count} places named above (the rules: xtask/src/tidy.rs)",
            files.len()
        ))),
    }
}

/// Every `.rs` file below `folder`, but for what is built, installed or hidden.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let unreadable = |error| Failure::new(format!("cannot read {}: {error}", folder.display()));
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name == "target" || name == "node_modules" {
            continue;
        }
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() && Path::new(&*name).extension().is_some_and(|e| e == "rs") {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display())))
}

/// `name` is the path from the root, with `/` between its parts.
fn check_source(name: &str, text: &str, broken: &mut Vec<String>) {
    if !text.starts_with("//!") {
        broken.push(format!(
            "{name}:1: open with a `//!` doc that says what lives here, and what does not"
        ));
    }
    let lines = text.lines().count();
    if name.contains("/src/") && lines > LONGEST {
        broken.push(format!(
            "{name}: {lines} lines, at most {LONGEST}: make it two"
        ));
    }
    let is_test = name.starts_with("tests/");
    // schemas/ is where subjects are written; the hostile tests send what no subject may be.
    let may_write_subjects = name.starts_with("schemas/") || name.starts_with("tests/e2e/hostile/");
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("//") {
            continue;
        }
        if is_test && line.contains("sleep(") {
            broken.push(format!(
                "{name}:{number}: wait for an event, never for a time"
            ));
        }
        if !may_write_subjects && writes_a_subject(line) {
            broken.push(format!(
                "{name}:{number}: a subject is written in schemas/ alone; call it from there"
            ));
        }
    }
}

fn writes_a_subject(line: &str) -> bool {
    SUBJECTS
        .iter()
        .any(|(word, rest)| line.contains(&format!("\"{word}.{rest}")))
}

fn check_core_manifest(text: &str, broken: &mut Vec<String>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split('#').next().unwrap_or_default();
        for word in code.split(|c| !is_name(c)) {
            if NOT_IN_CORE.contains(&word) {
                broken.push(format!(
                    "core/Cargo.toml:{number}: core decides and does nothing else: {word} belongs in the shell"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOC: &str = "//! A file.\n";

    fn check(name: &str, text: &str, expected: &[&str]) {
        let mut broken = Vec::new();
        check_source(name, text, &mut broken);
        let places: Vec<_> = broken
            .iter()
            .map(|line| line.split(": ").next().unwrap_or_default())
            .collect();
        assert_eq!(places, expected, "{broken:?}");
    }

    #[test]
    fn a_file_opens_with_its_doc() {
        check("core/src/a.rs", DOC, &[]);
        check("core/src/a.rs", "// A file.\n", &["core/src/a.rs:1"]);
        check("core/src/a.rs", "", &["core/src/a.rs:1"]);
    }

    #[test]
    fn a_source_file_is_at_most_500_lines() {
        let of = |lines: usize| DOC.to_owned() + &"\n".repeat(lines - 1);
        check("core/src/a.rs", &of(500), &[]);
        check("core/src/deep/a.rs", &of(501), &["core/src/deep/a.rs"]);
        check("tests/e2e/a.rs", &of(501), &[]);
    }

    #[test]
    fn a_test_does_not_sleep() {
        let sleeps = format!("{DOC}tokio::time::sleep(second).await;\n");
        check("tests/e2e/a.rs", &sleeps, &["tests/e2e/a.rs:2"]);
        check("tests/harness/a.rs", &sleeps, &["tests/harness/a.rs:2"]);
        check("agent/src/a.rs", &sleeps, &[]);
        check("tests/e2e/a.rs", &format!("{DOC}// no sleep()\n"), &[]);
    }

    #[test]
    fn a_subject_is_written_in_schemas_alone() {
        for (word, rest) in SUBJECTS {
            let writes = format!("{DOC}let s = \"{word}.{rest}\";\n");
            check("controller/src/a.rs", &writes, &["controller/src/a.rs:2"]);
            check(
                "tests/e2e/security/permissions.rs",
                &writes,
                &["tests/e2e/security/permissions.rs:2"],
            );
            check("schemas/src/subjects.rs", &writes, &[]);
            check("tests/e2e/hostile/payloads.rs", &writes, &[]);
        }
        check(
            "core/src/a.rs",
            &format!("{DOC}let s = \"hosts.json\";\n"),
            &[],
        );
        check(
            "core/src/a.rs",
            &format!("{DOC}/// Answers `swarm.teardown`.\n"),
            &[],
        );
    }

    #[test]
    fn core_names_no_runtime_and_no_chance() {
        let mut broken = Vec::new();
        let allowed =
            "[dependencies]\n# no tokio here\nrandom-thing = \"1\"\nserde.workspace = true\n";
        check_core_manifest(allowed, &mut broken);
        assert_eq!(broken, Vec::<String>::new());
        let refused =
            "rand.workspace = true\n[dev-dependencies.tokio]\nx = { package = \"redb\" }\n";
        check_core_manifest(refused, &mut broken);
        assert_eq!(broken.len(), 3, "{broken:?}");
    }
}
