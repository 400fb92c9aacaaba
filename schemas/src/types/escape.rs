//! Escaping of hidden characters, so that text from other programs cannot change how the text
//! around it looks. Every place that shows such text to people uses the functions of this file.
//!
//! A character is hidden if it has no glyph or changes the order of its neighbours. By Unicode's
//! properties, these are:
//!
//! - `Cc`: control characters. They move the cursor, end a line, or start a terminal's commands.
//! - `Cf`: format characters, such as bidirectional controls, zero-width joiners and spaces, soft
//!   hyphens, and tags.
//! - `Zl` and `Zp`: the line and paragraph separators.
//! - `Default_Ignorable_Code_Point`: other characters that are shown as nothing, such as Hangul
//!   fillers and variation selectors, with the code points that Unicode reserves for more of them.
//!
//! All other characters are visible or take up space. Unassigned and private characters are shown
//! as a box or a question mark. Letters that are written from right to left stay as they are.
//!
//! `schemas/tests/hidden-characters.json` has this table, and examples that the web page's
//! `escape.ts` must pass too.

use std::borrow::Cow;
use std::fmt::Write;

/// The hidden characters of Unicode 17, as inclusive ranges in ascending order.
const HIDDEN: [(char, char); 27] = [
    ('\u{0}', '\u{1f}'),
    ('\u{7f}', '\u{9f}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Returns whether a character is hidden, see the module.
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let next = HIDDEN.partition_point(|(_, last)| *last < c);
    HIDDEN.get(next).is_some_and(|(first, _)| *first <= c)
}

/// Replaces each line break and tab with a space, and each other hidden character with an escape
/// such as `\u{202e}`. The result is one line of visible characters, and escaping it again changes
/// nothing.
pub fn escape_hidden(text: &str) -> Cow<'_, str> {
    replace(text, is_hidden, |c, escaped| match c {
        '\n' | '\r' | '\t' => escaped.push(' '),
        c => {
            let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
        }
    })
}

/// Replaces each hidden character in a JSON text with the JSON escape `\u202e`. The text stays
/// valid and keeps its value, because JSON allows such characters only inside strings.
///
/// Line breaks are kept: inside a string, the serializer has already escaped them.
pub fn escape_hidden_in_json(json: &str) -> Cow<'_, str> {
    let is_hidden_in_string = |c| is_hidden(c) && c != '\n';
    replace(json, is_hidden_in_string, |c, escaped| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    })
}

fn replace(
    text: &str,
    is_replaced: impl Fn(char) -> bool,
    write_escape: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    let Some(start) = text.find(&is_replaced) else {
        return Cow::Borrowed(text);
    };
    let (visible, rest) = text.split_at(start);
    let mut escaped = visible.to_owned();
    for c in rest.chars() {
        if is_replaced(c) {
            write_escape(c, &mut escaped);
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{escape_hidden, escape_hidden_in_json, is_hidden};

    #[derive(Deserialize)]
    struct Corpus {
        /// The hidden characters, as inclusive ranges of code points in hexadecimal.
        hidden: Vec<(String, String)>,
        examples: Vec<Example>,
    }

    #[derive(Deserialize)]
    struct Example {
        text: String,
        shown: String,
    }

    fn corpus() -> Corpus {
        serde_json::from_str(include_str!("../../tests/hidden-characters.json")).expect("a corpus")
    }

    #[test]
    fn exactly_the_characters_of_the_corpus_are_hidden() {
        let parse = |code: &str| u32::from_str_radix(code, 16).expect("hexadecimal");
        let ranges: Vec<_> = (corpus().hidden.iter())
            .map(|(first, last)| parse(first)..=parse(last))
            .collect();
        for c in '\0'..=char::MAX {
            let is_listed = ranges.iter().any(|range| range.contains(&u32::from(c)));
            assert_eq!(is_hidden(c), is_listed, "{:x}", u32::from(c));
        }
    }

    #[test]
    fn the_examples_of_the_corpus_are_shown_with_escapes() {
        for Example { text, shown } in corpus().examples {
            assert_eq!(escape_hidden(&text), shown);
            assert_eq!(escape_hidden(&shown), shown);
        }
    }

    #[test]
    fn json_keeps_its_value_and_has_no_hidden_character() {
        for Example { text, .. } in corpus().examples {
            let value = serde_json::json!({ text.clone(): [text], "n": 1 });
            for json in [format!("{value}"), format!("{value:#}")] {
                let escaped = escape_hidden_in_json(&json);
                assert_eq!(
                    serde_json::from_str::<serde_json::Value>(&escaped).ok(),
                    Some(value.clone())
                );
                assert!(!escaped.replace('\n', "").contains(is_hidden), "{escaped}");
            }
        }
    }
}
