//! Decoding payloads: one JSON object of the expected type, or an error that says what is wrong.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde_json::error::Category;

use crate::types::escape::escape_hidden;
use crate::types::truncate::truncate_chars;

/// The error for a payload that could not be decoded. Its text is sent to the requester in a
/// `bad_request` reply.
#[derive(Debug, thiserror::Error)]
#[error("the payload of {length} bytes is not a valid {message}: {cause}")]
pub struct ReadError {
    message: &'static str,
    length: usize,
    kind: ReadErrorKind,
    cause: String,
}

/// The kind of a [`ReadError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadErrorKind {
    /// The payload is not UTF-8 text.
    NotUtf8,
    /// The payload is not a single JSON value.
    NotJson,
    /// The payload is JSON, but not an object of the expected type.
    Invalid,
}

impl ReadError {
    /// Returns the kind of the error.
    pub fn kind(&self) -> ReadErrorKind {
        self.kind
    }
}

/// The maximum length of the cause in an error, in characters. A cause may quote the payload.
const MAX_CAUSE_CHARS: usize = 200;

/// Decodes a payload as one JSON object. `message` is the name of the expected message, for the
/// error.
///
/// # Errors
/// If the payload is not UTF-8, is not a single JSON object, or breaks a rule of the type `T`.
pub fn read<T: DeserializeOwned>(message: &'static str, payload: &[u8]) -> Result<T, ReadError> {
    // The cause may quote the payload, and appears in logs and terminals.
    let to_error = |kind, cause: &dyn fmt::Display| ReadError {
        message,
        length: payload.len(),
        kind,
        cause: escape_hidden(&truncate_chars(&cause.to_string(), MAX_CAUSE_CHARS)).into_owned(),
    };
    // Serde would not check the fields that it skips.
    let text =
        std::str::from_utf8(payload).map_err(|error| to_error(ReadErrorKind::NotUtf8, &error))?;
    let object = serde_json::from_str::<Object<T>>(text);
    object.map(|object| object.0).map_err(|error| {
        let kind = match error.classify() {
            Category::Data => ReadErrorKind::Invalid,
            Category::Io | Category::Syntax | Category::Eof => ReadErrorKind::NotJson,
        };
        to_error(kind, &error)
    })
}

/// A `T` that is decoded only from a JSON object. Serde alone would also accept an array of the
/// fields in order, which the protocol does not allow.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Returns whether a flag is false. Use with `skip_serializing_if` for an optional flag.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde requires this signature"
)]
pub(crate) fn is_false(flag: &bool) -> bool {
    !flag
}

/// Deserializes an optional field that must not be null. Use with `default` and
/// `deserialize_with`.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Deserializes a list of at most `MAX_DECKIES_PER_HOST` objects. Use with `deserialize_with`.
pub(crate) fn objects<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct ListVisitor<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(
                f,
                "a list of at most {} objects",
                crate::types::limits::MAX_DECKIES_PER_HOST
            )
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut values = Vec::new();
            while let Some(object) = list.next_element::<Object<T>>()? {
                if values.len() == crate::types::limits::MAX_DECKIES_PER_HOST {
                    return Err(A::Error::invalid_length(values.len() + 1, &self));
                }
                values.push(object.0);
            }
            Ok(values)
        }
    }
    deserializer.deserialize_seq(ListVisitor(PhantomData))
}

/// Deserializes a list of at most `MAX_DECKIES_PER_HOST` objects, or null. Use with
/// `deserialize_with`.
pub(crate) fn optional_objects<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct OptionVisitor<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for OptionVisitor<T> {
        type Value = Option<Vec<T>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of objects, or null")
        }
        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_some<D: Deserializer<'de>>(self, some: D) -> Result<Self::Value, D::Error> {
            objects(some).map(Some)
        }
    }
    deserializer.deserialize_option(OptionVisitor(PhantomData))
}

/// Deserializes a string and parses it. Does not copy the string if the format allows that.
pub(crate) fn parsed<'de, D, T, E>(
    deserializer: D,
    expected: &'static str,
    parse: fn(&str) -> Result<T, E>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: fmt::Display,
{
    struct ParsedVisitor<T, E>(&'static str, fn(&str) -> Result<T, E>);
    impl<T, E: fmt::Display> Visitor<'_> for ParsedVisitor<T, E> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<X: Error>(self, text: &str) -> Result<T, X> {
            (self.1)(text).map_err(X::custom)
        }
    }
    deserializer.deserialize_str(ParsedVisitor(expected, parse))
}

/// Deserializes a string, and returns an error unless it equals `text`.
pub(crate) fn exactly<'de, D: Deserializer<'de>>(
    deserializer: D,
    text: &'static str,
) -> Result<(), D::Error> {
    struct ExactVisitor(&'static str);
    impl Visitor<'_> for ExactVisitor {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "the string \"{}\"", self.0)
        }
        fn visit_str<X: Error>(self, found: &str) -> Result<(), X> {
            if found == self.0 {
                Ok(())
            } else {
                Err(X::invalid_value(
                    serde::de::Unexpected::Str(&truncate_chars(found, 64)),
                    &self,
                ))
            }
        }
    }
    deserializer.deserialize_str(ExactVisitor(text))
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::messages::teardown::TeardownRequest;

    #[test]
    fn only_an_object_of_the_expected_type_is_decoded() {
        let error_of = |payload: &str| {
            read::<TeardownRequest>("teardown request", payload.as_bytes())
                .expect_err(payload)
                .to_string()
        };
        for payload in [
            "",
            "null",
            "3",
            "[\"worker-a\"]",
            "{",
            "{}",
            "{\"host_uuid\":\"a\"} x",
        ] {
            error_of(payload);
        }
        assert!(error_of(r#"{"host_uuid":"a","decky":"d"}"#).contains("unknown field `decky`"));
        assert!(error_of(r#"{"host_uuid":"a.b"}"#).contains("1 to 64"));
        assert!(error_of(r#"{"host_uuid":"a","host_uuid":"b"}"#).contains("duplicate field"));
        assert!(error_of(r#"{"host_uuid":"a","timeout_s":0}"#).contains("timeout_s"));
        assert!(error_of(r#"{"host_uuid":"a","timeout_s":86401}"#).contains("timeout_s"));
        read::<TeardownRequest>("teardown request", br#" {"host_uuid":"a"} "#).expect("valid");
    }
}
