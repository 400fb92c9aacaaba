//! Splits Rust source into lines of code and comments.
//!
//! This is a scanner, not a parser: it recognizes comments, string literals and character literals,
//! so that text inside a literal is never mistaken for code or for a comment.

/// One line of a source file.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The line with comments and the content of literals replaced by spaces.
    pub(crate) code: String,
    pub(crate) comment: Option<Comment>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Comment {
    pub(crate) kind: CommentKind,
    /// The text after the comment's marker, with its leading space.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommentKind {
    /// `//!`
    InnerDoc,
    /// `///`
    OuterDoc,
    /// `//` and every form of `/* */`
    Plain,
}

/// A run of consecutive lines that contain the same kind of doc comment and no code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DocBlock {
    /// The number of the first line, counted from 1.
    pub(crate) line: usize,
    pub(crate) kind: CommentKind,
    pub(crate) text: Vec<String>,
    /// The number of the line that the block documents, after any attributes. `None` if the block
    /// documents the file or module around it.
    pub(crate) documented: Option<usize>,
}

/// The construct that the scanner is reading.
#[derive(Clone, Copy)]
enum Inside {
    Code,
    /// A `/* */` comment, which may be nested.
    BlockComment {
        depth: usize,
    },
    String,
    RawString {
        hashes: usize,
    },
}

/// Splits `text` into lines.
pub(crate) fn split(text: &str) -> Vec<Line> {
    let mut inside = Inside::Code;
    let lines = text.lines();
    lines
        .map(|line| {
            let mut scanner = Scanner {
                characters: line.chars().collect(),
                at: 0,
                line: Line::default(),
            };
            inside = scanner.scan(inside);
            scanner.line
        })
        .collect()
}

struct Scanner {
    characters: Vec<char>,
    at: usize,
    line: Line,
}

impl Scanner {
    /// Reads to the end of the line. `inside` is the construct at the start of the line. Returns
    /// the construct at the start of the next line.
    fn scan(&mut self, mut inside: Inside) -> Inside {
        while self.at < self.characters.len() {
            inside = match inside {
                Inside::Code => self.scan_code(),
                Inside::BlockComment { depth } => self.scan_block_comment(depth),
                Inside::String => self.scan_string(),
                Inside::RawString { hashes } => self.scan_raw_string(hashes),
            };
        }
        inside
    }

    fn peek(&self, offset: usize) -> Option<char> {
        self.characters.get(self.at + offset).copied()
    }

    /// Appends one character to the code.
    fn keep(&mut self) {
        self.line.code.push(self.characters[self.at]);
        self.at += 1;
    }

    /// Skips `count` characters, and appends spaces in their place.
    fn blank(&mut self, count: usize) {
        for _ in 0..count.min(self.characters.len() - self.at) {
            self.line.code.push(' ');
            self.at += 1;
        }
    }

    fn scan_code(&mut self) -> Inside {
        match (self.peek(0), self.peek(1)) {
            (Some('/'), Some('/')) => {
                self.take_line_comment();
                Inside::Code
            }
            (Some('/'), Some('*')) => {
                self.comment().push_str("");
                self.blank(2);
                Inside::BlockComment { depth: 1 }
            }
            (Some('"'), _) => {
                self.keep();
                Inside::String
            }
            (Some('r'), Some('"' | '#')) if !self.follows_identifier() => self.begin_raw_string(),
            (Some('\''), _) => {
                self.take_quote();
                Inside::Code
            }
            _ => {
                self.keep();
                Inside::Code
            }
        }
    }

    /// Returns whether the previous character belongs to an identifier. The `b` or `c` before a raw
    /// string does not count.
    fn follows_identifier(&self) -> bool {
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        let mut before = self.characters[..self.at].iter().rev();
        match before.next() {
            Some('b' | 'c') => before.next().is_some_and(|character| is_word(*character)),
            Some(character) => is_word(*character),
            None => false,
        }
    }

    /// Reads the start of a raw string: `r"…"`, `r#"…"#` and so on. `r#name` is an identifier, not
    /// a raw string.
    fn begin_raw_string(&mut self) -> Inside {
        let rest = &self.characters[self.at + 1..];
        let hashes = rest
            .iter()
            .take_while(|character| **character == '#')
            .count();
        self.keep();
        if rest_begins_string(&self.characters[self.at..], hashes) {
            for _ in 0..=hashes {
                self.keep();
            }
            return Inside::RawString { hashes };
        }
        Inside::Code
    }

    fn scan_string(&mut self) -> Inside {
        match self.peek(0) {
            Some('\\') => {
                self.blank(2);
                Inside::String
            }
            Some('"') => {
                self.keep();
                Inside::Code
            }
            _ => {
                self.blank(1);
                Inside::String
            }
        }
    }

    fn scan_raw_string(&mut self, hashes: usize) -> Inside {
        let ends =
            self.peek(0) == Some('"') && (1..=hashes).all(|offset| self.peek(offset) == Some('#'));
        if ends {
            for _ in 0..=hashes {
                self.keep();
            }
            return Inside::Code;
        }
        self.blank(1);
        Inside::RawString { hashes }
    }

    /// Reads a character literal, or only the quote of a lifetime.
    fn take_quote(&mut self) {
        self.keep();
        if self.peek(0) == Some('\\') {
            self.blank(2);
            while self.peek(0).is_some_and(|character| character != '\'') {
                self.blank(1);
            }
            self.blank(1);
        } else if self.peek(1) == Some('\'') {
            self.blank(1);
            self.keep();
        }
    }

    fn take_line_comment(&mut self) {
        let text: String = self.characters[self.at..].iter().collect();
        let (kind, marker) = if text.starts_with("//!") {
            (CommentKind::InnerDoc, 3)
        } else if text.starts_with("///") && !text.starts_with("////") {
            (CommentKind::OuterDoc, 3)
        } else {
            (CommentKind::Plain, 2)
        };
        let text = text[marker..].to_owned();
        self.line.comment = Some(Comment { kind, text });
        self.blank(usize::MAX);
    }

    fn scan_block_comment(&mut self, depth: usize) -> Inside {
        match (self.peek(0), self.peek(1)) {
            (Some('*'), Some('/')) => {
                self.blank(2);
                match depth {
                    1 => Inside::Code,
                    _ => Inside::BlockComment { depth: depth - 1 },
                }
            }
            (Some('/'), Some('*')) => {
                self.blank(2);
                Inside::BlockComment { depth: depth + 1 }
            }
            (character, _) => {
                self.comment().extend(character);
                self.blank(1);
                Inside::BlockComment { depth }
            }
        }
    }

    /// Returns the text of the comment on this line. Adds an empty plain comment if the line has no
    /// comment.
    fn comment(&mut self) -> &mut String {
        let comment = self.line.comment.get_or_insert_with(|| Comment {
            kind: CommentKind::Plain,
            text: String::new(),
        });
        &mut comment.text
    }
}

fn rest_begins_string(rest: &[char], hashes: usize) -> bool {
    rest.get(hashes) == Some(&'"')
}

/// Finds the doc comments in a file, in order.
pub(crate) fn find_docs(lines: &[Line]) -> Vec<DocBlock> {
    let mut blocks = Vec::new();
    let mut open: Option<DocBlock> = None;
    for (number, line) in (1..).zip(lines) {
        let doc = line
            .comment
            .as_ref()
            .filter(|comment| comment.kind != CommentKind::Plain && line.code.trim().is_empty());
        let continues = match (&open, doc) {
            (Some(block), Some(comment)) => block.kind == comment.kind,
            _ => false,
        };
        if !continues {
            blocks.extend(open.take());
        }
        if let Some(comment) = doc {
            let block = open.get_or_insert_with(|| DocBlock {
                line: number,
                kind: comment.kind,
                text: Vec::new(),
                documented: None,
            });
            block.text.push(comment.text.clone());
        }
    }
    blocks.extend(open);
    for block in &mut blocks {
        if block.kind == CommentKind::OuterDoc {
            block.documented = find_documented(lines, block.line + block.text.len());
        }
    }
    blocks
}

/// Returns the number of the first line, starting at `number`, that contains code other than
/// attributes.
fn find_documented(lines: &[Line], number: usize) -> Option<usize> {
    let mut brackets = 0_usize;
    for (number, line) in (number..).zip(&lines[number - 1..]) {
        let mut code = line.code.trim();
        while brackets > 0 || code.starts_with("#[") {
            let end = code.char_indices().find_map(|(at, character)| {
                match character {
                    '[' => brackets += 1,
                    ']' => brackets = brackets.saturating_sub(1),
                    _ => return None,
                }
                (brackets == 0).then_some(at + 1)
            });
            match end {
                Some(end) => code = code[end..].trim_start(),
                None => code = "",
            }
            if code.is_empty() {
                break;
            }
        }
        if !code.is_empty() {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<String> {
        let trim = |line: Line| line.code.trim_end().to_owned();
        split(text).into_iter().map(trim).collect()
    }

    #[test]
    fn a_literal_is_neither_code_nor_comment() {
        assert_eq!(
            codes("let a = \"// b \\\" c\";"),
            ["let a = \"         \";"]
        );
        assert_eq!(codes("r#\"a\n/// \"b\n\"#; c"), ["r#\"", "", "\"#; c"]);
        assert_eq!(codes("br\"\\\"; a"), ["br\" \"; a"]);
        assert_eq!(codes("'\"' + '\\'' + b'/'"), ["' ' + '    + b' '"]);
        assert_eq!(
            codes("fn a<'a>(b: &'a str, r#c: D)"),
            ["fn a<'a>(b: &'a str, r#c: D)"]
        );
    }

    #[test]
    fn a_comment_has_a_kind_and_a_text() {
        let comment = |text: &str| split(text).remove(0).comment.map(|c| (c.kind, c.text));
        let some = |kind, text: &str| Some((kind, text.to_owned()));
        assert_eq!(comment("//! a"), some(CommentKind::InnerDoc, " a"));
        assert_eq!(comment("    /// a"), some(CommentKind::OuterDoc, " a"));
        assert_eq!(comment("//// a"), some(CommentKind::Plain, "// a"));
        assert_eq!(comment("a(); // b"), some(CommentKind::Plain, " b"));
        assert_eq!(comment("a(\"//\")"), None);
        let lines = split("a /* b /* c\n*/ d\n*/ e");
        assert_eq!(lines[1].comment.as_ref().map(|c| c.text.trim()), Some("d"));
        assert_eq!(lines[2].code.trim(), "e");
    }

    #[test]
    fn a_doc_block_names_the_line_past_its_attributes() {
        let text = "//! The file.\n//!\n//! More.\n\n/// A struct.\n#[derive(\n    Debug,\n)]\n#[allow(a)]\nstruct A;\n\n/// A function.\nfn a() {}\n";
        let blocks = find_docs(&split(text));
        let shown: Vec<_> = blocks
            .iter()
            .map(|b| (b.line, b.text.len(), b.documented))
            .collect();
        assert_eq!(shown, [(1, 3, None), (5, 1, Some(10)), (12, 1, Some(13))]);
    }
}
