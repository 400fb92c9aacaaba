//! The command line as documents: `docs/cli.md`, made of what `--help` says, and a JSON Schema for each output that is no message
//! of the bus. They are checked in; the test here compares them with what is made now, and writes them (`cargo xtask docs`).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use crate::connect::Connect;
use crate::outputs;

/// Every output that is no message: the name of its schema, and its type.
fn outputs() -> Vec<(&'static str, Schema)> {
    vec![
        ("teardowns", schema::<outputs::Teardowns>()),
        ("teardown", schema::<outputs::Teardown>()),
        ("plans", schema::<outputs::Plans>()),
        ("plan", schema::<outputs::DryRun>()),
        ("diagnosis", schema::<outputs::Diagnosis>()),
        ("check", schema::<outputs::Finding>()),
        ("snapshot", schema::<outputs::Snapshot<'static>>()),
        ("event", schema::<outputs::Event<'static>>()),
        ("initialised", schema::<outputs::Initialised>()),
        ("enrolled", schema::<outputs::Enrolled>()),
        ("decommissioned", schema::<outputs::Decommissioned>()),
        ("user_added", schema::<outputs::UserAdded>()),
        ("user_removed", schema::<outputs::UserRemoved>()),
        ("completions", schema::<outputs::Completions>()),
        ("man_pages", schema::<outputs::ManPages>()),
        ("man_page", schema::<outputs::ManPage>()),
    ]
}

fn schema<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>()
}

/// What each verb writes: with `-o json`, and each line with `-o jsonl`. A name of a schema in `cli/schemas/`, or a message of the
/// bus.
const WRITTEN: [(&str, &str, &str); 16] = [
    ("teardown", "teardowns", "teardown"),
    ("teardown --dry-run", "plans", "plan"),
    ("retry", "teardowns", "teardown"),
    ("shards", "message shards_list", "one of its `shards`"),
    ("hosts", "message hosts_list", "one of its `hosts`"),
    ("ops", "message operations_list", "one of its `operations`"),
    ("op", "message operation_get_reply", "its `operation`"),
    ("cancel", "message cancel_accepted", "the same"),
    ("watch", "snapshot", "event"),
    ("doctor", "diagnosis", "check"),
    ("init", "initialised", "the same"),
    ("enroll", "enrolled", "the same"),
    ("decommission", "decommissioned", "the same"),
    (
        "user add, user remove",
        "user_added, user_removed",
        "the same",
    ),
    ("completions", "completions", "the same"),
    ("man", "man_pages", "man_page"),
];

const HEAD: &str = "\
# `scuttle`, the command

Written by `cargo xtask docs` from what `scuttle --help` says; a test compares the two.

## What goes where

Standard output has data only; progress, questions and errors go to standard error. People get tables that fit the
terminal (columns that have no room are left out; in a pipe there are all, uncut), without colours where `NO_COLOR` is set or the output
is no terminal. Programs get JSON with `-o json` (one document) or `-o jsonl`
(one record a line). Lists are the answers of the bus with all pages in one: their `next` is null, and only their length may be beyond
a page's. Errors are text in every format.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | failed |
| 2 | wrong usage |
| 3 | no such host, decky, operation or user |
| 4 | refused: by the controller, by the server, or because it would undo what is there |
| 5 | timed out |
| 6 | no controller answers |
| 130 | Ctrl-C ended the waiting; the teardown goes on |

## How the server is found

In this order: flags (`--nats-url`, `--nats-user` and `--nats-password`, `--creds`) and their `SCUTTLE_…` variables; the context of the
`nats` command that `--context` or `SCUTTLE_CONTEXT` names, for what those do not say; the login `admin` of a bus directory
(`./scuttle-bus`, or where `SCUTTLE_BUS_DIR` says); and if none of these says anything, the context that is selected
(`~/.config/nats/context.txt`). Of a context `url`, `user` and `password`, `creds`, `ca`, `cert`, `key` and `inbox_prefix` are used; one
that logs in by a token, an nkey or nsc, or goes through a proxy, is refused by its name.

## What programs read

Schemas of the command's own are in [`cli/schemas/`](../cli/schemas), those of messages in [`schemas/json/`](../schemas/json).

";

/// Every generated file: its path in the project, and its text.
fn files() -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for (name, schema) in outputs() {
        let mut schema = Value::from(schema);
        schema["$id"] = format!("urn:scuttle:cli:v1:{name}").into();
        schema["title"] = name.replace('_', " ").into();
        schema.sort_all_objects();
        let path = Path::new("cli/schemas").join(format!("{name}.json"));
        files.insert(path, format!("{schema:#}\n"));
    }
    files.insert("docs/cli.md".into(), page());
    files
}

fn page() -> String {
    let mut text = HEAD.to_owned();
    text += "| verb | `-o json` | each line of `-o jsonl` |\n| --- | --- | --- |\n";
    for (verb, json, jsonl) in WRITTEN {
        let _ = writeln!(text, "| `{verb}` | {} | {} |", linked(json), linked(jsonl));
    }
    // As wide as a page is read; a terminal's width would be this machine's.
    let shared = <Connect as clap::Args>::augment_args(Command::new("scuttle VERB"));
    let mut shared = (shared.term_width(100).disable_help_flag(true))
        .mut_args(|argument| argument.hide_env_values(true));
    text += "\n## Flags of every verb that asks the server\n\n";
    fence(&shared.render_long_help().to_string(), &mut text);
    let mut whole = without_repeats(crate::command().term_width(100));
    whole.build();
    describe(&mut whole, "", &mut text);
    text
}

/// What is the same for every verb is described once. What variables hold is this machine's.
fn without_repeats(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let shared = argument.get_help_heading() == Some("NATS") || argument.get_id() == "output";
        argument.hide(shared).hide_env_values(true)
    });
    command.mut_subcommands(without_repeats)
}

fn linked(name: &str) -> String {
    let own = outputs();
    let link = |name: &str| match name.strip_prefix("message ") {
        Some(message) => format!("[`{message}`](../schemas/json/{message}.json)"),
        None if own.iter().any(|(known, _)| *known == name) => {
            format!("[`{name}`](../cli/schemas/{name}.json)")
        }
        None => name.to_owned(),
    };
    name.split(", ").map(link).collect::<Vec<_>>().join(", ")
}

fn describe(command: &mut Command, above: &str, text: &mut String) {
    let name = format!("{above}{}", command.get_name());
    let _ = write!(text, "\n## `{name}`\n\n");
    fence(&command.render_long_help().to_string(), text);
    for below in command.get_subcommands_mut() {
        if below.get_name() != "help" {
            describe(below, &format!("{name} "), text);
        }
    }
}

fn fence(help: &str, text: &mut String) {
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = writeln!(text, "```text\n{}\n```", lines.join("\n").trim());
}

#[test]
fn the_documents_are_those_of_the_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let write = std::env::var_os("SCUTTLE_REGENERATE").is_some();
    let mut stale = Vec::new();
    let files = files();
    for (path, text) in &files {
        let file = root.join(path);
        if write {
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            fs::write(&file, text).expect("the file can be written");
        } else if fs::read_to_string(&file).ok().as_ref() != Some(text) {
            stale.push(path.display().to_string());
        }
    }
    for entry in fs::read_dir(root.join("cli/schemas")).expect("cli/schemas") {
        let path = Path::new("cli/schemas").join(entry.expect("an entry").file_name());
        if !files.contains_key(&path) {
            stale.push(format!("{} (nothing makes it)", path.display()));
        }
    }
    assert!(stale.is_empty(), "run `cargo xtask docs`: {stale:?}");
}

#[test]
fn every_verb_has_an_example() {
    fn check(command: &Command) {
        let help = command.get_after_help().map(ToString::to_string);
        let help = help.unwrap_or_default();
        let name = command.get_name();
        assert!(help.contains("Examples:\n  s"), "{name} has no example");
        let below = command.get_subcommands();
        below.filter(|one| one.get_name() != "help").for_each(check);
    }
    check(&crate::command());
}
