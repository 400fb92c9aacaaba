//! Numbers with their nouns, in texts for people.

/// Formats a number with its noun: `1 decky`, `2 deckies`.
pub(crate) fn format_count(count: usize, singular: &str, plural: &str) -> String {
    let noun = if count == 1 { singular } else { plural };
    format!("{count} {noun}")
}

/// Formats a number of deckies.
pub(crate) fn format_deckies(count: usize) -> String {
    format_count(count, "decky", "deckies")
}
