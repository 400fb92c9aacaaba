//! Reading bytes: one JSON object, of one type, or an error that says what is wrong with it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde_json::error::Category;

/// Why a payload could not be read. Its text goes to the sender, in `bad_request`.
#[derive(Debug, thiserror::Error)]
#[error("the payload of {length} bytes is not a valid {message}: {cause}")]
pub struct ReadError {
    message: &'static str,
    length: usize,
    kind: ReadErrorKind,
    cause: String,
}

/// What kind of thing is wrong with a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadErrorKind {
    /// It is no text.
    NotUtf8,
    /// It is no JSON, or not one JSON value.
    NotJson,
    /// It is not an object of the type that was expected.
    Invalid,
}

impl ReadError {
    /// What kind of thing is wrong.
    pub fn kind(&self) -> ReadErrorKind {
        self.kind
    }
}

/// The most characters of a cause: it may quote the payload, which may be anything.
const MAX_CAUSE: usize = 200;

/// Reads a whole payload as one JSON object; `message` names it in the error.
///
/// # Errors
/// The payload is not JSON, not an object, or breaks a rule of its type.
pub fn read<T: DeserializeOwned>(message: &'static str, payload: &[u8]) -> Result<T, ReadError> {
    // What is quoted goes into logs and terminals, too.
    let refused = |kind, cause: &dyn fmt::Display| ReadError {
        message,
        length: payload.len(),
        kind,
        cause: crate::types::truncate::truncate_chars(&cause.to_string(), MAX_CAUSE)
            .replace(char::is_control, " "),
    };
    // The whole text, also where serde would skip over a field.
    let text =
        std::str::from_utf8(payload).map_err(|error| refused(ReadErrorKind::NotUtf8, &error))?;
    let object = serde_json::from_str::<Object<T>>(text);
    object.map(|object| object.0).map_err(|error| {
        let kind = match error.classify() {
            Category::Data => ReadErrorKind::Invalid,
            Category::Io | Category::Syntax | Category::Eof => ReadErrorKind::NotJson,
        };
        refused(kind, &error)
    })
}

/// A `T` that is written as a JSON object. (Serde alone also takes a struct as an array of its fields
/// in order, which the protocol knows nothing of.)
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

/// For `deserialize_with`: a list of objects, at most `MAX_DECKIES_PER_HOST` long.
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

/// For `deserialize_with`: `objects`, or nothing.
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

/// Reads a string and hands it to `parse`, without a copy where the format allows it.
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

/// Reads a string that must be `text`.
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
                    serde::de::Unexpected::Str(&crate::types::truncate::truncate_chars(found, 64)),
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
    fn only_an_object_of_the_right_shape_is_read() {
        let refused = |payload: &str| {
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
            refused(payload);
        }
        assert!(refused(r#"{"host_uuid":"a","decky":"d"}"#).contains("unknown field `decky`"));
        assert!(refused(r#"{"host_uuid":"a.b"}"#).contains("1 to 64"));
        assert!(refused(r#"{"host_uuid":"a","host_uuid":"b"}"#).contains("duplicate field"));
        assert!(refused(r#"{"host_uuid":"a","timeout_s":0}"#).contains("timeout_s"));
        assert!(refused(r#"{"host_uuid":"a","timeout_s":86401}"#).contains("timeout_s"));
        read::<TeardownRequest>("teardown request", br#" {"host_uuid":"a"} "#).expect("valid");
    }
}
