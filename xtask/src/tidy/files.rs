//! Rules for the form of a Rust file: its module doc, its length, and the width of its comments.
//!
//! The rules for the code are in boundaries.rs. The rules for the words of comments are in
//! words.rs.

use crate::source::crates::Source;
use crate::tidy::finding::{Finding, Rule};

/// The maximum number of lines of a source file.
const MAX_LINES: usize = 500;

/// The maximum number of characters of a line that contains only a comment.
const MAX_WIDTH: usize = 100;

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    let mut find = |rule, line, message| {
        findings.push(Finding {
            rule,
            file: source.name.clone(),
            line,
            message,
        });
    };
    if !source.text.starts_with("//!") {
        find(Rule::ModuleDoc, 1, "no module doc".to_owned());
    }
    let count = source.lines.len();
    if is_production(&source.name) && count > MAX_LINES {
        find(Rule::FileLength, 0, format!("{count} lines"));
    }
    for (number, (line, text)) in (1..).zip(source.lines.iter().zip(source.text.lines())) {
        let width = text.chars().count();
        if line.comment.is_some() && line.code.trim().is_empty() && width > MAX_WIDTH {
            find(Rule::CommentWidth, number, format!("{width} characters"));
        }
    }
}

/// Returns whether the file belongs to a program or a library, rather than to tests or benchmarks.
fn is_production(name: &str) -> bool {
    let programs = ["tests/harness/", "tests/chaos/", "tests/demo/"];
    name.contains("/src/") || programs.iter().any(|folder| name.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_file(name: &str, text: &str, expected: &[(Rule, usize)]) {
        let mut findings = Vec::new();
        check(&Source::new(name, text), &mut findings);
        let found: Vec<_> = findings.iter().map(|f| (f.rule, f.line)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_opens_with_its_doc() {
        check_file("core/src/a.rs", "//! A file.\n", &[]);
        check_file("core/src/a.rs", "// A file.\n", &[(Rule::ModuleDoc, 1)]);
        check_file("core/src/a.rs", "", &[(Rule::ModuleDoc, 1)]);
    }

    #[test]
    fn a_source_file_has_at_most_500_lines() {
        let text = |count: usize| "//! A file.\n".to_owned() + &"\n".repeat(count - 1);
        check_file("core/src/a.rs", &text(500), &[]);
        check_file("core/src/deep/a.rs", &text(501), &[(Rule::FileLength, 0)]);
        check_file("tests/harness/a.rs", &text(501), &[(Rule::FileLength, 0)]);
        check_file("tests/e2e/a.rs", &text(501), &[]);
    }

    #[test]
    fn a_comment_line_has_at_most_100_characters() {
        let comment = |width: usize| format!("//! A file.\n/// {}\n", "a".repeat(width - 4));
        check_file("core/src/a.rs", &comment(100), &[]);
        check_file("core/src/a.rs", &comment(101), &[(Rule::CommentWidth, 2)]);
        let code = format!("//! A file.\nlet a = \"// {}\";\n", "a".repeat(100));
        check_file("core/src/a.rs", &code, &[]);
    }
}
