//! The rule against tuple parameters. A tuple hides the number of a function's arguments.
//!
//! clippy counts the parameters themselves.

use crate::source::crates::Source;
use crate::source::lines::Line;
use crate::source::tokens::{self, Token};
use crate::tidy::finding::{Finding, Rule};

/// The beginning of a comment that allows a tuple in the function below it. A reason must follow.
const ALLOW: &str = "tidy: tuple parameter:";

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    let tokens = &source.tokens;
    for at in 0..tokens.len() {
        let is_function = tokens[at].text == "fn" && tokens.get(at + 1).is_some_and(Token::is_word);
        if !is_function {
            continue;
        }
        let name = &tokens[at + 1];
        let mut open = at + 2;
        if tokens::text(tokens, open) == "<" {
            open = tokens::skip_generics(tokens, open);
        }
        let end = tokens::skip_brackets(tokens, open);
        for parameter in split_at_commas(&tokens[open + 1..end - 1]) {
            if is_tuple(parameter) && !is_allowed(&source.lines, tokens[at].line) {
                findings.push(Finding {
                    rule: Rule::TupleParameter,
                    file: source.name.clone(),
                    line: parameter[0].line,
                    message: format!("`{}` takes a tuple", name.text),
                });
            }
        }
    }
}

/// Splits tokens at the commas that are outside all brackets. Leaves out empty parts.
fn split_at_commas(tokens: &[Token]) -> Vec<&[Token]> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" | "{" | "<" => depth += 1,
            ")" | "]" | "}" | ">" => depth -= 1,
            "," if depth == 0 => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// Returns whether the type of a parameter is a tuple of at least two elements, or a reference to
/// such a tuple.
fn is_tuple(parameter: &[Token]) -> bool {
    let mut depth = 0_i32;
    let colon = parameter.iter().position(|token| {
        match token.text.as_str() {
            "(" | "[" | "{" | "<" => depth += 1,
            ")" | "]" | "}" | ">" => depth -= 1,
            _ => {}
        }
        depth == 0 && token.text == ":"
    });
    let Some(colon) = colon else {
        return false;
    };
    let kind = &parameter[colon + 1..];
    let start = kind
        .iter()
        .position(|token| !["&", "mut"].contains(&token.text.as_str()));
    let kind = &kind[start.unwrap_or(kind.len())..];
    if tokens::text(kind, 0) != "(" {
        return false;
    }
    let end = tokens::skip_brackets(kind, 0);
    split_at_commas(&kind[1..end - 1]).len() > 1
}

/// Returns whether the comments above the function on line `number` allow a tuple and give a
/// reason.
fn is_allowed(lines: &[Line], number: usize) -> bool {
    let above = lines[..number - 1].iter().rev();
    above
        .take_while(|line| {
            let code = line.code.trim();
            code.starts_with('#') || (code.is_empty() && line.comment.is_some())
        })
        .filter_map(|line| line.comment.as_ref())
        .filter_map(|comment| comment.text.trim().strip_prefix(ALLOW))
        .any(|reason| !reason.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str, expected: &[usize]) {
        let mut findings = Vec::new();
        check(&Source::new("a.rs", text), &mut findings);
        let lines: Vec<_> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn a_tuple_parameter_is_found() {
        check_text("fn a(b: (C, D)) {}", &[1]);
        check_text(
            "fn a<'a, B: Fn(C) -> D>(\n    &self,\n    (b, c): &'a mut (B, C),\n) {}",
            &[3],
        );
        check_text("trait A { fn b(c: (D, E), f: (G, H)); }", &[1, 1]);
    }

    #[test]
    fn other_parameters_are_not() {
        check_text("fn a() -> (B, C) {}", &[]);
        check_text("fn a(b: (), c: (D), e: &[(F, G)], h: Vec<(I, J)>) {}", &[]);
        check_text("fn a(b: impl Fn((C, D)), e: fn((F, G))) {}", &[]);
        check_text("let a = |(b, c): (D, E)| b;", &[]);
        check_text("fn a(b: HashMap<C, (D, E)>) {}", &[]);
    }

    #[test]
    fn a_reason_allows_a_tuple() {
        let allowed = "/// A doc.\n// tidy: tuple parameter: the trait asks for it\n#[inline]\n";
        check_text(&format!("{allowed}fn a(b: (C, D)) {{}}"), &[]);
        check_text("// tidy: tuple parameter:\nfn a(b: (C, D)) {}", &[2]);
    }
}
