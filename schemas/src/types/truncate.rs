//! Truncating text.

use std::borrow::Cow;

/// Truncates a text to at most `characters` characters.
pub fn truncate_chars(text: &str, characters: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters) {
        Some((end, _)) => Cow::Owned(text[..end].to_owned()),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::truncate_chars;

    #[test]
    fn a_text_is_truncated_at_a_character_boundary() {
        assert_eq!(truncate_chars("añb", 2), "añ");
        assert_eq!(truncate_chars("añb", 3), "añb");
    }
}
