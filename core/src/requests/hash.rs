//! Hash.

use uuid::Uuid;

/// A hash over texts, each told apart from the next and from one that is absent.
pub(crate) fn hash<'t>(parts: impl Iterator<Item = Option<&'t str>>) -> Uuid {
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
