//! Hostile payloads: the files of `tests/corpus/`, and larger payloads that are generated here.
//!
//! The agent's unit tests include this file by its path, so it uses only the standard library.

use std::path::Path;

/// The approximate size of most generated payloads, in bytes: just below the server's
/// `max_payload`.
pub const HUGE: usize = 1_000_000;

/// Loads or generates every payload, each with its name. `package` is the folder of the calling
/// package.
pub fn load_all(package: &str) -> Vec<(String, Vec<u8>)> {
    let mut payloads = load_files(package);
    payloads.extend(generate_large());
    payloads
}

/// Loads the payloads of `tests/corpus/` with their file names, sorted by name. `package` is the
/// folder of the calling package.
pub fn load_files(package: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(package).join("../tests/corpus");
    let entries = std::fs::read_dir(&folder).expect("tests/corpus exists");
    let mut payloads: Vec<_> = entries
        .map(|entry| entry.expect("the directory entry is readable"))
        .filter(|entry| entry.file_name() != "README.md")
        .map(|entry| {
            let payload = std::fs::read(entry.path()).expect("the payload is readable");
            (entry.file_name().to_string_lossy().into_owned(), payload)
        })
        .collect();
    payloads.sort();
    assert!(payloads.len() > 50, "{} payloads", payloads.len());
    payloads
}

/// Generates the payloads that are not stored in files, each with its name. Almost all of them are
/// large.
pub fn generate_large() -> Vec<(String, Vec<u8>)> {
    let repeat = |text: &str, room: usize| text.repeat((HUGE - room) / text.len());
    let payloads = [
        ("zeros", "\0".repeat(HUGE)),
        ("spaces", " ".repeat(HUGE)),
        ("a deep nest of arrays", "[".repeat(HUGE)),
        ("a deep nest of objects", repeat("{\"a\":", 0)),
        (
            "a deep nest in a field",
            format!("{{\"x\":{}", "[".repeat(HUGE - 10)),
        ),
        (
            "a nest that is closed",
            format!("{{\"x\":{}{}}}", "[".repeat(200), "]".repeat(200)),
        ),
        (
            "a huge string",
            format!("{{\"after\":\"{}\"}}", "a".repeat(HUGE - 20)),
        ),
        (
            "a huge string of escapes",
            format!("{{\"after\":\"{}\"}}", repeat("\\u0001", 20)),
        ),
        (
            "a huge name",
            format!("{{\"host_uuid\":\"{}\"}}", "w".repeat(HUGE - 30)),
        ),
        (
            "a huge key",
            format!("{{\"{}\":1}}", "\u{1b}k".repeat(HUGE / 2 - 10)),
        ),
        (
            "a huge number",
            format!("{{\"limit\":{}}}", "9".repeat(HUGE - 20)),
        ),
        (
            "a huge exponent",
            format!("{{\"limit\":1e{}}}", "9".repeat(HUGE - 20)),
        ),
        (
            "a huge text",
            format!(
                "{{\"host_uuid\":\"worker-z\",\"reason\":\"{}\"}}",
                repeat("é", 60)
            ),
        ),
        (
            "many keys",
            format!("{{{}\"z\":1}}", repeat("\"host_uuid\":\"worker-z\",", 10)),
        ),
        (
            "many unknown objects",
            format!("{{\"x\":[{}{{}}]}}", repeat("{},", 20)),
        ),
        (
            "many shards",
            format!("{{\"shards\":[{}{{}}]}}", repeat("{},", 20)),
        ),
    ];
    payloads
        .map(|(name, payload)| (name.to_owned(), payload.into_bytes()))
        .into()
}
