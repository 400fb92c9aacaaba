//! Splits the code of a file into tokens, and finds the ends of brackets, generics and items.
//!
//! Literals and lifetimes are left out. A token is a word, `::`, `->`, `=>`, or one other
//! character.

use crate::source::lines::Line;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// The number of the line, counted from 1.
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(is_word_character)
    }
}

pub(crate) fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Splits lines into tokens.
pub(crate) fn split(lines: &[Line]) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (number, line) in (1..).zip(lines) {
        let mut rest = line.code.as_str();
        while let Some(character) = rest.chars().next() {
            let length = match character {
                '\'' => {
                    // The name of a lifetime is left out with its quote.
                    let name = &rest[1..];
                    1 + name.find(|c| !is_word_character(c)).unwrap_or(name.len())
                }
                _ if is_word_character(character) => {
                    rest.find(|c| !is_word_character(c)).unwrap_or(rest.len())
                }
                _ if ["::", "->", "=>"].iter().any(|pair| rest.starts_with(pair)) => 2,
                _ => character.len_utf8(),
            };
            if !character.is_whitespace() && character != '\'' && character != '"' {
                tokens.push(Token {
                    text: rest[..length].to_owned(),
                    line: number,
                });
            }
            rest = &rest[length..];
        }
    }
    tokens
}

/// Returns the text of the token at `at`, or an empty string past the end.
pub(crate) fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}

/// Returns the position after the bracket that closes the bracket at `open`.
pub(crate) fn skip_brackets(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// Returns the position after the `>` that closes the `<` at `open`.
pub(crate) fn skip_generics(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = open;
    while at < tokens.len() {
        match text(tokens, at) {
            "<" => depth += 1,
            ">" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            "(" | "[" | "{" => {
                at = skip_brackets(tokens, at);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    tokens.len()
}

/// Returns the position after the item, field or statement that begins at `start`, with its
/// attributes.
pub(crate) fn skip_item(tokens: &[Token], start: usize) -> usize {
    let mut at = start;
    while text(tokens, at) == "#" {
        at = skip_brackets(tokens, at + 1);
    }
    let is_item = [
        "pub",
        "mod",
        "use",
        "fn",
        "struct",
        "enum",
        "impl",
        "const",
        "static",
        "async",
        "type",
        "trait",
        "unsafe",
        "macro_rules",
        "extern",
    ]
    .contains(&text(tokens, at));
    while at < tokens.len() {
        match text(tokens, at) {
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            "{" => return skip_brackets(tokens, at),
            "(" | "[" => at = skip_brackets(tokens, at),
            // The end of the enclosing brackets.
            ")" | "]" | "}" => return at,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::lines;

    fn texts(source: &str) -> Vec<String> {
        let tokens = split(&lines::split(source));
        tokens.into_iter().map(|token| token.text).collect()
    }

    fn rest(source: &str, skip: fn(&[Token], usize) -> usize) -> String {
        let tokens = split(&lines::split(source));
        let end = skip(&tokens, 0);
        let rest: Vec<_> = tokens[end..]
            .iter()
            .map(|token| token.text.as_str())
            .collect();
        rest.join(" ")
    }

    #[test]
    fn literals_and_lifetimes_are_left_out() {
        let expected = [
            "fn", "a", "<", ">", "(", "b", ":", "&", "str", ")", "->", "C", "::", "D", ";",
        ];
        assert_eq!(texts("fn a<'a>(b: &'a str) -> C::D;"), expected);
        assert_eq!(texts("a(\"b c\", 'd')"), ["a", "(", ",", ")"]);
    }

    #[test]
    fn constructs_are_skipped_to_their_end() {
        assert_eq!(rest("(a, [b], {c}) d", skip_brackets), "d");
        assert_eq!(rest("<A: Fn(B) -> C, D<E>> f", skip_generics), "f");
        assert_eq!(rest("#[a(b)] fn c(d: [u8; 3]) { e; } f", skip_item), "f");
        assert_eq!(rest("use a::b; c", skip_item), "c");
        assert_eq!(rest("field: A, b", skip_item), "b");
    }
}
