//! Rules that restrict code to certain places: subjects, sleeping, and the dependencies of core/.
//!
//! The rules for imports between files are in layers.rs and cycles.rs.

use crate::source::crates::Source;
use crate::tidy::finding::{Finding, Rule};

/// The beginnings of subjects: the first word, and the text after its dot. Each is split in two, so
/// that this file does not break the rule.
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

/// The crates that core/ must not depend on: those for a runtime, a network, a disk and random
/// numbers.
const NOT_IN_CORE: [&str; 4] = ["tokio", "async-nats", "redb", "rand"];

pub(super) fn check_source(source: &Source, findings: &mut Vec<Finding>) {
    let name = &source.name;
    let is_test = name.starts_with("tests/");
    // The tests of hostile input send invalid subjects on purpose.
    let may_write_subjects = name.starts_with("schemas/") || name.starts_with("tests/e2e/hostile/");
    for (number, line) in (1..).zip(source.text.lines()) {
        if line.trim_start().starts_with("//") {
            continue;
        }
        if is_test && line.contains("sleep(") {
            findings.push(finding(Rule::Sleep, name, number, "calls sleep"));
        }
        if !may_write_subjects && writes_subject(line) {
            findings.push(finding(Rule::Subject, name, number, "writes a subject"));
        }
    }
}

fn finding(rule: Rule, file: &str, line: usize, message: &str) -> Finding {
    Finding {
        rule,
        file: file.to_owned(),
        line,
        message: message.to_owned(),
    }
}

fn writes_subject(line: &str) -> bool {
    SUBJECTS
        .iter()
        .any(|(word, rest)| line.contains(&format!("\"{word}.{rest}")))
}

pub(super) fn check_core_manifest(text: &str, findings: &mut Vec<Finding>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split('#').next().unwrap_or_default();
        for word in code.split(|c| !is_name(c)) {
            if NOT_IN_CORE.contains(&word) {
                let message = format!("depends on {word}");
                findings.push(finding(
                    Rule::CoreManifest,
                    "core/Cargo.toml",
                    number,
                    &message,
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, text: &str, expected: &[(Rule, usize)]) {
        let mut findings = Vec::new();
        check_source(&Source::new(name, text), &mut findings);
        let found: Vec<_> = findings.iter().map(|f| (f.rule, f.line)).collect();
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn a_test_does_not_sleep() {
        let sleeps = "\ntokio::time::sleep(second).await;\n";
        check("tests/e2e/a.rs", sleeps, &[(Rule::Sleep, 2)]);
        check("tests/harness/a.rs", sleeps, &[(Rule::Sleep, 2)]);
        check("agent/src/a.rs", sleeps, &[]);
        check("tests/e2e/a.rs", "// no sleep()\n", &[]);
    }

    #[test]
    fn only_schemas_writes_subjects() {
        for (word, rest) in SUBJECTS {
            let writes = format!("\nlet s = \"{word}.{rest}\";\n");
            check("controller/src/a.rs", &writes, &[(Rule::Subject, 2)]);
            check(
                "tests/e2e/security/permissions.rs",
                &writes,
                &[(Rule::Subject, 2)],
            );
            check("schemas/src/subjects.rs", &writes, &[]);
            check("tests/e2e/hostile/payloads.rs", &writes, &[]);
        }
        check("core/src/a.rs", "let s = \"hosts.json\";\n", &[]);
        check(
            "core/src/a.rs",
            &format!("/// Replies to `\"{}.teardown\"`.\n", SUBJECTS[0].0),
            &[],
        );
    }

    #[test]
    fn core_depends_on_no_runtime_and_no_random_numbers() {
        let mut findings = Vec::new();
        let allowed =
            "[dependencies]\n# no tokio here\nrandom-thing = \"1\"\nserde.workspace = true\n";
        check_core_manifest(allowed, &mut findings);
        assert_eq!(findings, Vec::<Finding>::new());
        let rejected =
            "rand.workspace = true\n[dev-dependencies.tokio]\nx = { package = \"redb\" }\n";
        check_core_manifest(rejected, &mut findings);
        assert_eq!(findings.len(), 3, "{findings:?}");
    }
}
