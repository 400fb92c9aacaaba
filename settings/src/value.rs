//! Converts and checks one value from the environment or the file. clap decides whether the value
//! is valid.

use std::any::TypeId;
use std::error::Error;
use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use toml::Value;

/// Converts a value of the file to text for the parser of its option. Fails if the TOML type does
/// not fit the type of the option.
pub(crate) fn to_text(arg: &Arg, value: &Value) -> Result<String, String> {
    let option_type = arg.get_value_parser().type_id();
    let is_one_of = |types: &[TypeId]| types.iter().any(|each| option_type == *each);
    let is_bool = is_one_of(&[TypeId::of::<bool>()]);
    let is_integer = is_one_of(&[
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
    ]);
    let is_text = !is_bool && !is_integer;
    match value {
        Value::Boolean(value) if is_bool => Ok(value.to_string()),
        Value::Integer(value) if is_integer => Ok(value.to_string()),
        Value::String(value) if is_text => Ok(value.clone()),
        other => {
            let expected = match (is_bool, is_integer) {
                (true, _) => "true or false",
                (_, true) => "an integer",
                _ => "a string",
            };
            let found = other.type_str();
            Err(format!(
                "invalid type: {} must be {expected}, not {found}",
                arg.get_id()
            ))
        }
    }
}

/// Checks a value with the parser of its option. The error is the bare reason, which does not name
/// the source of the value.
pub(crate) fn check(arg: &Arg, value: &OsStr) -> Result<(), String> {
    // A command with this option alone, since clap has no other way to call the parser of an
    // option.
    let option = Arg::new("option")
        .long("option")
        .value_parser(arg.get_value_parser().clone());
    let mut word = OsString::from("--option=");
    word.push(value);
    let parsed = Command::new("check")
        .no_binary_name(true)
        .arg(option)
        .try_get_matches_from([word]);
    parsed.map(drop).map_err(|error| reason(&error))
}

fn reason(error: &clap::Error) -> String {
    match (error.kind(), error.source()) {
        (ErrorKind::InvalidUtf8, _) => "it is not UTF-8".to_owned(),
        (_, Some(cause)) => cause.to_string(),
        _ => match (
            error.get(ContextKind::InvalidValue),
            error.get(ContextKind::ValidValue),
        ) {
            (Some(invalid), Some(ContextValue::Strings(valid))) if !valid.is_empty() => {
                format!(
                    "invalid value '{invalid}', it must be one of {}",
                    valid.join(", ")
                )
            }
            _ => error.kind().to_string(),
        },
    }
}
