//! Hashes a list of texts, for plans and idempotency keys.

use uuid::Uuid;

/// Hashes a list of optional texts. The hash covers the length of each text, so that different
/// lists never have the same hash input.
pub(crate) fn hash_texts<'t>(parts: impl Iterator<Item = Option<&'t str>>) -> Uuid {
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Some(text) => {
                bytes.extend((text.len() as u64 + 1).to_be_bytes());
                bytes.extend(text.as_bytes());
            }
            None => bytes.extend(0_u64.to_be_bytes()),
        }
    }
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &bytes)
}
