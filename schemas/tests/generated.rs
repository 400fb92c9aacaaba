//! The generated documents agree with the types:
//!
//! - The checked-in files are up to date.
//! - The schema and the parser agree on whether each golden example is valid.
//! - The schema and the parser also agree after every small change to an example.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use scuttle_schemas::ErrorCode;
use scuttle_schemas::generate::files;
use scuttle_schemas::generate::messages::{MESSAGES, Message, Role};
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardState;
use serde_json::{Map, Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the names of the entries in a directory, without `.json`. Empty if the directory does
/// not exist.
fn names(directory: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return BTreeSet::new();
    };
    entries
        .map(|entry| entry.expect("readable").file_name())
        .map(|name| name.to_string_lossy().trim_end_matches(".json").to_owned())
        .collect()
}

fn validator(message: &Message) -> Validator {
    jsonschema::options()
        .should_validate_formats(true)
        .build(&message.schema())
        .unwrap_or_else(|error| panic!("the schema of {} is not valid: {error}", message.name))
}

#[test]
fn the_checked_in_files_are_up_to_date() {
    let files = files();
    let generated = |name: &String| files.contains_key(&format!("json/{name}.json"));
    let left_over: Vec<PathBuf> = names(&root().join("json"))
        .iter()
        .filter(|name| !generated(name))
        .map(|name| root().join(format!("json/{name}.json")))
        .collect();
    if std::env::var_os("SCUTTLE_REGENERATE").is_some_and(|value| value == "1") {
        fs::create_dir_all(root().join("json")).expect("schemas/json can be created");
        for (path, text) in &files {
            fs::write(root().join(path), text).expect(path);
        }
        for path in &left_over {
            fs::remove_file(path).expect("a left-over file can be removed");
        }
        return;
    }
    let stale: Vec<&String> = files
        .iter()
        .filter(|(path, text)| fs::read_to_string(root().join(path)).ok().as_ref() != Some(text))
        .map(|(path, _)| path)
        .collect();
    assert!(
        stale.is_empty() && left_over.is_empty(),
        "stale: {stale:?}, left over: {left_over:?}: run `cargo xtask schemas`"
    );
}

/// Returns the valid and the invalid golden examples of a message, both by name.
fn golden(message: &Message) -> (BTreeMap<String, Value>, BTreeMap<String, Value>) {
    let directory = root().join("golden").join(message.name);
    names(&directory)
        .into_iter()
        .map(|case| {
            let text = fs::read_to_string(directory.join(format!("{case}.json"))).expect(&case);
            let value = serde_json::from_str(&text).expect(&case);
            (case, value)
        })
        .partition(|(case, _)| !case.starts_with("invalid-"))
}

#[test]
fn every_golden_example_is_judged_correctly_by_schema_and_parser() {
    let mut wrong = Vec::new();
    for message in MESSAGES {
        let (valid, invalid) = golden(message);
        if valid.is_empty() {
            wrong.push(format!("{}: has no golden example", message.name));
        }
        let schema = validator(message);
        for (case, example) in &valid {
            if let Err(why) = check_valid(message, &schema, example) {
                wrong.push(format!("{}/{case}: {why}", message.name));
            }
        }
        for (case, example) in &invalid {
            if schema.is_valid(example) {
                wrong.push(format!("{}/{case}: the schema accepts it", message.name));
            }
            if message.round_trip(example.to_string().as_bytes()).is_ok() {
                wrong.push(format!("{}/{case}: the parser accepts it", message.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let known: BTreeSet<String> = MESSAGES.iter().map(|m| m.name.to_owned()).collect();
    assert_eq!(
        names(&root().join("golden")),
        known,
        "directories in golden/"
    );
}

fn check_valid(message: &Message, schema: &Validator, example: &Value) -> Result<(), String> {
    schema
        .validate(example)
        .map_err(|error| format!("{error}, at {}", error.instance_path()))?;
    let written = message
        .round_trip(example.to_string().as_bytes())
        .map_err(|error| error.to_string())?;
    schema
        .validate(&written)
        .map_err(|error| format!("encoded again: {error}, at {}", error.instance_path()))?;
    let known = without_unknown(example);
    let same = match message.role {
        Role::Reply | Role::Broadcast => known == written,
        // Absent fields are encoded with their defaults.
        Role::Request | Role::Command | Role::Report => contains_all(&written, &known),
    };
    same.then_some(())
        .ok_or_else(|| format!("encoded again, it is {written}"))
}

/// Returns the example without the fields whose names begin with `unknown_`, which readers ignore.
fn without_unknown(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !name.starts_with("unknown_"))
            .map(|(name, value)| (name.clone(), without_unknown(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(values) => values.iter().map(without_unknown).collect(),
        other => other.clone(),
    }
}

/// Returns whether `written` has everything that `example` has. A null field counts as absent.
fn contains_all(written: &Value, example: &Value) -> bool {
    match (written, example) {
        (Value::Object(written), Value::Object(example)) => example.iter().all(|(name, value)| {
            written
                .get(name)
                .map_or(value.is_null(), |written| contains_all(written, value))
        }),
        (Value::Array(written), Value::Array(example)) => {
            written.len() == example.len()
                && written.iter().zip(example).all(|(w, e)| contains_all(w, e))
        }
        (written, example) => written == example,
    }
}

#[test]
fn schema_and_parser_agree_on_every_changed_example() {
    let mut wrong = Vec::new();
    for message in MESSAGES {
        let schema = validator(message);
        for example in golden(message).0.values() {
            for changed in changes(example) {
                let (valid, parsed) = (
                    schema.is_valid(&changed),
                    message.round_trip(changed.to_string().as_bytes()).is_ok(),
                );
                // The schema of a reply or broadcast is stricter: it describes what the controller
                // writes.
                let lenient = matches!(message.role, Role::Reply | Role::Broadcast);
                if valid != parsed && !(lenient && parsed) {
                    wrong.push(format!(
                        "{}: schema {valid}, parser {parsed}: {changed}",
                        message.name
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences, the first one:\n{}",
        wrong.len(),
        wrong[0]
    );
}

/// Returns every copy of the example in which one value is replaced or removed, or one field is
/// added.
///
/// Leaves out changes that JSON Schema cannot distinguish, or that the parser corrects on purpose:
/// `1.0` for an integer, ids without hyphens, and errors and versions above 512 characters.
fn changes(example: &Value) -> Vec<Value> {
    let mut values = vec![
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!([[]]),
        json!(["ssh", ""]),
        json!([{}]),
        json!(vec!["ssh"; 33]),
        json!({ "zone": "z".repeat(64) }),
        json!({ "type": "scuttle.v1.heartbeat" }),
        json!("2026-11-23T09:11:49.000Z"),
        json!("2026-11-23T10:11:49+01:00"),
        json!("0197a3b2-7c4d-7e8f-9a0b-1c2d3e4f5061"),
        json!("running"),
        json!(1e30),
        json!(1.5),
        json!(-1),
    ];
    values.extend([0, 1, 129, 1001, 86_401, 3_600_001, 1 << 32, u64::MAX].map(Value::from));
    values.extend(["", "a.b", "*", "a b", "-", "é", "a\n", "1"].map(Value::from));
    values.extend([63, 64, 65, 129, 256].map(|length| Value::from("x".repeat(length))));

    let mut changed = values.clone();
    for pointer in pointers(example) {
        let mut push = |change: &dyn Fn(&mut Value)| {
            let mut copy = example.clone();
            change(copy.pointer_mut(&pointer).expect("the value exists"));
            changed.push(copy);
        };
        for value in &values {
            push(&|place| *place = value.clone());
        }
        push(&|place| {
            if let Some(fields) = place.as_object_mut() {
                fields.insert("unknown_field".to_owned(), json!(1));
            }
        });
    }
    for pointer in pointers(example) {
        let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
        let mut copy = example.clone();
        if let Some(fields) = copy.pointer_mut(parent).and_then(Value::as_object_mut) {
            fields.remove(name);
        }
        changed.push(copy);
    }
    changed
}

/// Returns a JSON pointer to every value in a document.
fn pointers(value: &Value) -> Vec<String> {
    let within: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(n, v)| (n.clone(), v)).collect(),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .map(|(n, v)| (n.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    let mut all = vec![String::new()];
    for (name, value) in within {
        all.extend(pointers(value).iter().map(|rest| format!("/{name}{rest}")));
    }
    all
}

fn asyncapi() -> Value {
    serde_json::from_str(&files()["asyncapi.json"]).expect("asyncapi.json is JSON")
}

#[test]
fn every_reference_in_the_asyncapi_document_resolves() {
    let (document, files) = (asyncapi(), files());
    let mut references = 0;
    for pointer in pointers(&document) {
        let Some(reference) = pointer
            .ends_with("/$ref")
            .then(|| document.pointer(&pointer))
            .flatten()
            .and_then(Value::as_str)
        else {
            continue;
        };
        references += 1;
        let resolves = match reference.strip_prefix('#') {
            Some(pointer) => document.pointer(pointer).is_some(),
            None => reference
                .strip_prefix("./")
                .is_some_and(|path| files.contains_key(path)),
        };
        assert!(resolves, "{reference}");
    }
    assert!(references > MESSAGES.len(), "{references} references");
}

#[test]
fn the_asyncapi_document_has_every_subject_and_every_message() {
    let document = asyncapi();
    let channels = document["channels"].as_object().expect("channels");
    let addresses: BTreeSet<String> = channels
        .values()
        .filter_map(|channel| channel["address"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(
        addresses,
        subjects(),
        "addresses against schemas/src/subjects/"
    );

    let used: BTreeSet<&String> = channels
        .values()
        .flat_map(|channel| channel["messages"].as_object().expect("messages").keys())
        .collect();
    for message in MESSAGES {
        assert!(
            used.contains(&message.name.to_owned()),
            "{} is on no channel",
            message.name
        );
    }
}

/// Returns every subject that clients and agents use, except wildcards, which are for permissions
/// only. The subjects are read from the source files that define them, so that a new subject must
/// also appear in the document.
fn subjects() -> BTreeSet<String> {
    let agents = include_str!("../src/subjects/agents.rs");
    let (agents, _tests) = agents.split_once("#[cfg(test)]").expect("tests");
    let quoted = |line: &str| line.split('"').nth(1).map(str::to_owned);
    [
        include_str!("../src/subjects/requests.rs"),
        include_str!("../src/subjects/broadcasts.rs"),
        agents,
    ]
    .into_iter()
    .flat_map(str::lines)
    .map(str::trim)
    .filter_map(|line| {
        if line.starts_with("pub const ") {
            quoted(line)
        } else if line.starts_with("Self::") {
            quoted(line).map(|token| format!("agent.{{host_uuid}}.{token}"))
        } else {
            None
        }
    })
    .filter(|subject| !subject.ends_with('>'))
    .map(|subject| subject.replace('*', "{host_uuid}"))
    .collect()
}

/// `ALL` must be in order, because counts by state or code use the position in `ALL` as an index.
#[test]
fn every_all_constant_lists_each_variant_at_its_index() {
    fn check<T: schemars::JsonSchema + serde::Serialize + Copy>(all: &[T], place: fn(T) -> usize) {
        let schema = serde_json::to_value(schemars::schema_for!(T)).expect("JSON");
        let variants = schema["oneOf"].as_array().expect("variants");
        let named: Vec<&Value> = variants.iter().map(|variant| &variant["const"]).collect();
        let listed: Vec<Value> = (all.iter().map(|one| json!(one))).collect();
        assert_eq!(listed.iter().collect::<Vec<_>>(), named);
        assert!(all.iter().enumerate().all(|(at, one)| place(*one) == at));
    }
    check(&ErrorCode::ALL, |code| code as usize);
    check(&HostStatus::ALL, |status| status as usize);
    check(&OperationState::ALL, |state| state as usize);
    check(&ShardState::ALL, |state| state as usize);
}
