//! Truncates text.

use std::borrow::Cow;

/// Cuts text to at most `characters`, at a character boundary.
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
    fn text_is_cut_at_a_character_boundary() {
        assert_eq!(truncate_chars("añb", 2), "añ");
        assert_eq!(truncate_chars("añb", 3), "añb");
    }
}
