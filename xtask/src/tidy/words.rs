//! The rule against words that are not plain English, in comments, documents and names.
//!
//! This rule finds only the faults that a machine can find. For a human judgement of comments,
//! there is `cargo xtask prose`.

use crate::source::crates::Source;
use crate::tidy::documents;
use crate::tidy::finding::{Finding, Rule};

/// The phrases that comments and documents must not contain. Each phrase is split into words, so
/// that this file does not break the rule.
const PHRASES: [&[&str]; 12] = [
    &["told"],
    &["whoever"],
    &["nobody"],
    &["somebody"],
    &["anew"],
    &["amid"],
    &["at", "the", "most"],
    &["of", "its", "own"],
    &["so", "many"],
    &["any", "more"],
    &["goes", "on"],
    &["is", "none"],
];

/// The words that a name must not contain.
const NOT_IN_NAMES: [&str; 8] = [
    "told", "tells", "whoever", "nobody", "somebody", "anew", "amid", "patience",
];

/// A word of prose and the number of its line. An empty word separates phrases.
struct Word {
    text: String,
    line: usize,
}

pub(super) fn check_source(source: &Source, findings: &mut Vec<Finding>) {
    let mut words = Vec::new();
    let mut in_code = false;
    for (number, line) in (1..).zip(&source.lines) {
        let Some(comment) = &line.comment else {
            // A phrase does not continue over code.
            words.push(Word {
                text: String::new(),
                line: number,
            });
            in_code = false;
            continue;
        };
        split(&comment.text, number, &mut in_code, &mut words);
    }
    check_words(&source.name, &words, findings);
    check_names(source, findings);
}

pub(super) fn check_document(name: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut words = Vec::new();
    let mut in_code = false;
    for (number, line) in documents::prose_lines(text) {
        if line.trim().is_empty() {
            in_code = false;
            words.push(Word {
                text: String::new(),
                line: number,
            });
        }
        split(line, number, &mut in_code, &mut words);
    }
    // Tables are prose too, row by row.
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with('|') {
            words.push(Word {
                text: String::new(),
                line: number,
            });
            split(line, number, &mut false, &mut words);
        }
    }
    check_words(name, &words, findings);
}

/// Adds the words of a line, except text in backticks. `in_code` says whether the line starts
/// inside backticks, and is updated for the next line.
fn split(line: &str, number: usize, in_code: &mut bool, words: &mut Vec<Word>) {
    for (at, part) in line.split('`').enumerate() {
        if at > 0 {
            *in_code = !*in_code;
            words.push(Word {
                text: String::new(),
                line: number,
            });
        }
        if *in_code {
            continue;
        }
        let found = part.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '\'');
        words.extend(found.filter(|word| !word.is_empty()).map(|word| Word {
            text: word.to_lowercase(),
            line: number,
        }));
    }
}

fn check_words(name: &str, words: &[Word], findings: &mut Vec<Finding>) {
    for phrase in PHRASES {
        for (at, found) in words.windows(phrase.len()).enumerate() {
            // "There is none" is plain English.
            let is_preceded = at > 0 && words[at - 1].text == "there";
            if found.iter().map(|word| &word.text).eq(phrase) && !is_preceded {
                findings.push(Finding {
                    rule: Rule::Word,
                    file: name.to_owned(),
                    line: found[0].line,
                    message: format!("\"{}\"", phrase.join(" ")),
                });
            }
        }
    }
}

fn check_names(source: &Source, findings: &mut Vec<Finding>) {
    for token in source.tokens.iter().filter(|token| token.is_word()) {
        let parts = split_name(&token.text);
        if parts
            .iter()
            .any(|part| NOT_IN_NAMES.contains(&part.as_str()))
        {
            findings.push(Finding {
                rule: Rule::Name,
                file: source.name.clone(),
                line: token.line,
                message: format!("`{}`", token.text),
            });
        }
    }
}

/// Returns the words of a name in snake case or camel case, in lower case.
fn split_name(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for character in name.chars() {
        if character == '_' || (was_lower && character.is_uppercase()) {
            parts.push(String::new());
        }
        was_lower = character.is_lowercase();
        if character != '_'
            && let Some(part) = parts.last_mut()
        {
            part.extend(character.to_lowercase());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: &[Finding]) -> Vec<(Rule, usize)> {
        findings
            .iter()
            .map(|finding| (finding.rule, finding.line))
            .collect()
    }

    fn check_rust(text: &str, expected: &[(Rule, usize)]) {
        let mut findings = Vec::new();
        check_source(&Source::new("a.rs", text), &mut findings);
        assert_eq!(lines(&findings), expected, "{text}");
    }

    #[test]
    fn a_phrase_is_found_in_comments_over_lines() {
        check_rust(
            "/// Takes at the\n/// Most two.\nfn a() {}",
            &[(Rule::Word, 1)],
        );
        check_rust("a(); // Whoever.", &[(Rule::Word, 1)]);
        check_rust("// A is none. If there is none, b.", &[(Rule::Word, 1)]);
        check_rust("/// At the\nfn a() {}\n/// most.", &[]);
        check_rust("/// `told` and untold `so\n/// many`.\na(\"told\")", &[]);
    }

    #[test]
    fn a_phrase_is_found_in_documents() {
        let mut findings = Vec::new();
        let text = "It goes\non.\n\n```\ngoes on\n```\n| goes on |\nGoes\n\non `goes on`\n";
        check_document("a.md", text, &mut findings);
        assert_eq!(lines(&findings), [(Rule::Word, 1), (Rule::Word, 7)]);
    }

    #[test]
    fn a_word_is_found_in_names() {
        check_rust(
            "fn be_told(a: AnewB) -> MaxPATIENCE {}",
            &[(Rule::Name, 1), (Rule::Name, 1), (Rule::Name, 1)],
        );
        check_rust("fn untold(stolen: Renewed) {}", &[]);
    }
}
