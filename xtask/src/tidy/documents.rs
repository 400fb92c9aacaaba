//! The rule for the width of documents.
//!
//! The rules for the words of documents are in words.rs. The rules for the layers in
//! ARCHITECTURE.md are in layers.rs.

use crate::tidy::finding::{Finding, Rule};

/// The maximum number of characters of a line.
const MAX_WIDTH: usize = 100;

pub(super) fn check(name: &str, text: &str, findings: &mut Vec<Finding>) {
    let prose = prose_lines(text);
    for (number, line) in prose {
        let width = line.chars().count();
        if width > MAX_WIDTH && without_links(line) > MAX_WIDTH {
            findings.push(Finding {
                rule: Rule::DocumentWidth,
                file: name.to_owned(),
                line: number,
                message: format!("{width} characters"),
            });
        }
    }
}

/// Returns the lines of a Markdown text with their numbers, except tables and code blocks.
pub(super) fn prose_lines(text: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let start = line.trim_start();
        if start.starts_with("```") || start.starts_with("~~~") {
            is_code = !is_code;
        } else if !is_code && !start.starts_with('|') {
            lines.push((number, line));
        }
    }
    lines
}

/// Returns the width of a line without the targets of its links, which cannot be wrapped.
fn without_links(line: &str) -> usize {
    let mut width = 0;
    let mut rest = line;
    while let Some(start) = ["](", "http://", "https://"]
        .iter()
        .filter_map(|link| rest.find(link))
        .min()
    {
        width += rest[..start].chars().count();
        let target = &rest[start..];
        let end = target.find([')', ' ', '>']).unwrap_or(target.len());
        rest = &target[end..];
    }
    width + rest.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str, expected: &[usize]) {
        let mut findings = Vec::new();
        check("a.md", text, &mut findings);
        let lines: Vec<_> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn a_line_of_prose_has_at_most_100_characters() {
        let long = "é".repeat(101);
        check_text(&format!("a\n{}\n{long}\n", "é".repeat(100)), &[3]);
    }

    #[test]
    fn tables_code_and_links_may_be_longer() {
        let long = "a".repeat(101);
        check_text(
            &format!("| {long} |\n```sh\n{long}\n```\n[a](https://{long})\n"),
            &[],
        );
        check_text(&format!("```\n```\n{long} <https://a>\n"), &[3]);
    }
}
