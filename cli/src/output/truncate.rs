//! Text that fits into a number of terminal columns: truncated, or wrapped on several lines.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Truncates text to at most `width` terminal columns. Truncated text ends in `…`.
pub(crate) fn truncate(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut shown = take_start(text.chars(), width.saturating_sub(1));
    shown.push('…');
    shown
}

/// Truncates text to at most `width` terminal columns. Truncated text has a `…` in its middle, so
/// that names with the same beginning still differ.
pub(crate) fn truncate_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let left = width.saturating_sub(1);
    let end: String = take_start(text.chars().rev(), left / 2);
    let end: String = end.chars().rev().collect();
    let start = take_start(text.chars(), left - end.width());
    format!("{start}…{end}")
}

/// Returns the first letters that fit into `width` terminal columns.
fn take_start(letters: impl Iterator<Item = char>, width: usize) -> String {
    let mut left = width;
    letters
        .map_while(|letter| {
            left = left.checked_sub(letter.width().unwrap_or(0))?;
            Some(letter)
        })
        .collect()
}

/// Breaks text into lines of at most `width` terminal columns, between words where possible.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word = word.to_owned();
        let line = lines.last_mut().expect("there is a first line");
        if line.is_empty() {
            line.push_str(&word);
        } else if line.width() + 1 + word.width() <= width {
            line.push(' ');
            line.push_str(&word);
        } else {
            lines.push(std::mem::take(&mut word));
        }
        // A word that is wider than a line continues on the next one.
        while let Some(line) = lines.pop() {
            let start = take_start(line.chars(), width);
            if start.is_empty() || start.len() == line.len() {
                lines.push(line);
                break;
            }
            let rest = line[start.len()..].to_owned();
            lines.extend([start, rest]);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{truncate, truncate_middle, wrap};

    #[test]
    fn truncation_counts_terminal_columns_and_keeps_characters_whole() {
        assert_eq!(truncate("añb", 3), "añb");
        assert_eq!(truncate("añbc", 3), "añ…");
        assert_eq!(truncate("日本語", 4), "日…");
        assert_eq!(truncate("ab", 0), "…");
    }

    #[test]
    fn names_that_differ_at_their_ends_differ_when_they_are_truncated() {
        let shorten = |name: &str| truncate_middle(name, 20);
        assert_eq!(shorten("frankfurt-rack-03-unit-01"), "frankfurt-…3-unit-01");
        assert_eq!(shorten("frankfurt-rack-03-unit-02"), "frankfurt-…3-unit-02");
        assert_eq!(shorten("worker-a"), "worker-a");
        assert_eq!(truncate_middle("日本語", 4), "日…");
        assert_eq!(truncate_middle("ab", 0), "…");
    }

    #[test]
    fn wrapped_text_breaks_between_words_and_inside_long_words() {
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(
            wrap("network has endpoints", 11),
            ["network has", "endpoints"]
        );
        assert_eq!(wrap("a 0123456789 b", 4), ["a", "0123", "4567", "89 b"]);
        assert_eq!(wrap("日本", 1), ["日本"]);
    }
}
