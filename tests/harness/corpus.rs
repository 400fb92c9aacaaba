//! What anybody may send: the payloads of `tests/corpus/`, and larger ones that are made here. The
//! controller's and the agent's own tests include this file; so it needs nothing but the standard library.

use std::path::Path;

/// As much as the server takes in one message, nearly.
pub const HUGE: usize = 1_000_000;

/// Every payload, with its name. `package` is the folder of the package that asks.
pub fn all(package: &str) -> Vec<(String, Vec<u8>)> {
    let mut payloads = small(package);
    payloads.extend(large());
    payloads
}

/// The files.
pub fn small(package: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(package).join("../tests/corpus");
    let entries = std::fs::read_dir(&folder).expect("the corpus is there");
    let mut payloads: Vec<_> = entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_name() != "README.md")
        .map(|entry| {
            let payload = std::fs::read(entry.path()).expect("a payload can be read");
            (entry.file_name().to_string_lossy().into_owned(), payload)
        })
        .collect();
    payloads.sort();
    assert!(payloads.len() > 50, "{} payloads", payloads.len());
    payloads
}

/// Payloads that are too large for a file.
pub fn large() -> Vec<(String, Vec<u8>)> {
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
