//! The generated documents of the command: `docs/cli.md`, mostly from the `--help` texts, and a
//! JSON Schema for each output that is not a message of the wire protocol.
//!
//! The files are checked in. A test in this module compares them with the code, and `cargo xtask
//! docs` writes them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use crate::arguments::Arguments;
use crate::client::connection::ConnectionArgs;
use crate::output::json_types;

/// Returns the name and the schema of each output that is not a message of the wire protocol.
fn output_schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("teardowns", schema::<json_types::Teardowns>()),
        ("teardown", schema::<json_types::Teardown>()),
        ("plans", schema::<json_types::Plans>()),
        ("plan", schema::<json_types::DryRun>()),
        ("protection", schema::<json_types::Protection>()),
        ("diagnosis", schema::<json_types::Diagnosis>()),
        ("check", schema::<json_types::Finding>()),
        ("versions", schema::<json_types::Versions>()),
        ("evidence_list", schema::<json_types::EvidenceList>()),
        ("evidence_archive", schema::<json_types::EvidenceArchive>()),
        ("snapshot", schema::<json_types::Snapshot<'static>>()),
        ("event", schema::<json_types::Event<'static>>()),
        ("initialised", schema::<json_types::Initialised>()),
        ("enrolled", schema::<json_types::Enrolled>()),
        ("decommissioned", schema::<json_types::Decommissioned>()),
        ("user_added", schema::<json_types::UserAdded>()),
        ("user_removed", schema::<json_types::UserRemoved>()),
        ("users", schema::<json_types::Users>()),
        ("user", schema::<json_types::UserEntry>()),
        ("completions", schema::<json_types::Completions>()),
        ("man_pages", schema::<json_types::ManPages>()),
        ("man_page", schema::<json_types::ManPage>()),
    ]
}

fn schema<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>()
}

/// Each subcommand, the schema of its output with `-o json`, and the schema of each line with `-o
/// jsonl`. A name with the prefix `message` refers to a message of the wire protocol. Other names
/// refer to schemas in `cli/schemas/`.
const VERB_OUTPUTS: [(&str, &str, &str); 21] = [
    ("teardown", "teardowns", "teardown"),
    ("teardown --dry-run", "plans", "plan"),
    ("retry", "teardowns", "teardown"),
    ("shards", "message shards_list", "one of its `shards`"),
    ("hosts", "message hosts_list", "one of its `hosts`"),
    ("ops", "message operations_list", "one of its `operations`"),
    ("op", "message operation_get_reply", "its `operation`"),
    ("cancel", "message cancel_accepted", "the same"),
    ("protect, unprotect", "protection", "the same"),
    ("watch", "snapshot", "event"),
    ("doctor", "diagnosis", "check"),
    ("version", "versions", "the same"),
    ("evidence list", "evidence_list", "evidence_archive"),
    ("init", "initialised", "the same"),
    ("enroll", "enrolled", "the same"),
    ("host set", "message host_update_accepted", "the same"),
    ("decommission", "decommissioned", "the same"),
    (
        "user add, user remove",
        "user_added, user_removed",
        "the same",
    ),
    ("user list", "users", "user"),
    ("completions", "completions", "the same"),
    ("man", "man_pages", "man_page"),
];

const INTRODUCTION: &str = "\
# `scuttle`, the command

Written by `cargo xtask docs` from what `scuttle --help` says; a test compares the two.

This page is for operators and for authors of programs that run `scuttle`.

## Output

Standard output has only data. Progress, questions and errors go to standard error.

- **For people:** a table that fits the terminal. Columns that do not fit are dropped, empty ones
  first; `…` replaces the part of a text that is cut out. With `-o wide` and in a pipe, the table
  has all columns in full. There are no colours in a pipe or if `NO_COLOR` is set.
- **For programs:** JSON with `-o json` (one document) or `-o jsonl` (one record per line). A list
  is the reply of the controller with all pages joined. The list may be longer than a page. `next`
  is null unless `ops --limit` leaves out older operations.
- Errors are text in every format.

## Exit codes

| exit code | meaning |
| --- | --- |
| 0 | success |
| 1 | failed |
| 2 | wrong usage, or an invalid setting of the connection: a malformed URL, a missing file |
| 3 | host, decky, operation or user not found |
| 4 | rejected by the controller or the server, or in conflict with the current state |
| 5 | timed out |
| 6 | no controller answers, or the server cannot be reached |
| 130, 143 | Ctrl-C or SIGTERM stopped waiting; the teardown continues |

## How the server is found

In this order:

1. The flags `--nats-url`, `--nats-user` and `--nats-password`, and `--creds`.
2. Their `SCUTTLE_…` variables. An empty variable counts as unset. A flag overrides the variables
   that it contradicts: `--creds` overrides `SCUTTLE_NATS_USER`, and `--context` overrides
   `SCUTTLE_NATS_URL` and the variables of the login.
3. The context of the `nats` command named by `--context` or `SCUTTLE_CONTEXT`, for everything that
   no flag or variable sets.
4. The login `admin` of a bus directory: `./scuttle-bus`, or the directory in `SCUTTLE_BUS_DIR`,
   which must exist. The directory also has the address of the server and, after
   `init --server-ca`, the authority that signed the server's certificate.
5. If none of these is set, the selected context (`~/.config/nats/context.txt`).

Questions and results name the swarm: the server, and where its address and the login come from. If
`./scuttle-bus` takes the place of a selected context for another server, every command says so.

A context can set `url`, `user` and `password`, `creds`, `ca`, `cert`, `key` and `inbox_prefix`. A
context that uses a token, an nkey, nsc or a proxy is rejected with an error that names the field.

## Output schemas

The schemas of messages are in [`schemas/json/`](../schemas/json). The schemas of all other output
are in [`cli/schemas/`](../cli/schemas).

";

/// Returns the path and the text of every generated file.
fn generate_files() -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for (name, schema) in output_schemas() {
        let mut schema = Value::from(schema);
        schema["$id"] = format!("urn:scuttle:cli:v1:{name}").into();
        schema["title"] = name.replace('_', " ").into();
        schema.sort_all_objects();
        let path = Path::new("cli/schemas").join(format!("{name}.json"));
        files.insert(path, format!("{schema:#}\n"));
    }
    files.insert("docs/cli.md".into(), render_page());
    files
}

fn render_page() -> String {
    let mut text = INTRODUCTION.to_owned();
    text += "| subcommand | `-o json` | each line of `-o jsonl` |\n| --- | --- | --- |\n";
    for (verb, json, jsonl) in VERB_OUTPUTS {
        let _ = writeln!(
            text,
            "| `{verb}` | {} | {} |",
            link_schemas(json),
            link_schemas(jsonl)
        );
    }
    // A fixed width, so that the page does not depend on the terminal.
    let shared = <ConnectionArgs as clap::Args>::augment_args(Command::new("scuttle SUBCOMMAND"));
    let mut shared = (shared.term_width(100).disable_help_flag(true))
        .mut_args(|argument| argument.hide_env_values(true));
    text += "\n## Flags of every subcommand that connects to the server\n\n";
    push_code_block(&shared.render_long_help().to_string(), &mut text);
    let mut scuttle = hide_shared_flags(Arguments::command().term_width(100));
    scuttle.build();
    push_help(&mut scuttle, "", &mut text);
    text
}

/// Hides two kinds of text in the help of a command and its subcommands:
///
/// - the flags that all commands share, because the page describes them once
/// - the values of environment variables, because they depend on the machine
fn hide_shared_flags(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let shared = argument.get_help_heading() == Some("NATS") || argument.get_id() == "output";
        argument.hide(shared).hide_env_values(true)
    });
    command.mut_subcommands(hide_shared_flags)
}

/// Replaces each name in a list of schemas and messages with a link. Leaves other text as is.
fn link_schemas(names: &str) -> String {
    let schemas = output_schemas();
    let link = |name: &str| match name.strip_prefix("message ") {
        Some(message) => format!("[`{message}`](../schemas/json/{message}.json)"),
        None if schemas.iter().any(|(known, _)| *known == name) => {
            format!("[`{name}`](../cli/schemas/{name}.json)")
        }
        None => name.to_owned(),
    };
    names.split(", ").map(link).collect::<Vec<_>>().join(", ")
}

/// Appends the help of a command and its subcommands to `text`, each under a heading.
fn push_help(command: &mut Command, parent: &str, text: &mut String) {
    let name = format!("{parent}{}", command.get_name());
    let _ = write!(text, "\n## `{name}`\n\n");
    push_code_block(&command.render_long_help().to_string(), text);
    for subcommand in command.get_subcommands_mut() {
        if subcommand.get_name() != "help" {
            push_help(subcommand, &format!("{name} "), text);
        }
    }
}

fn push_code_block(help: &str, text: &mut String) {
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = writeln!(text, "```text\n{}\n```", lines.join("\n").trim());
}

#[test]
fn the_checked_in_documents_match_the_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let write = std::env::var_os("SCUTTLE_REGENERATE").is_some();
    let mut stale = Vec::new();
    let files = generate_files();
    for (path, text) in &files {
        let file = root.join(path);
        if write {
            fs::create_dir_all(file.parent().expect("every file is in a directory"))
                .expect("the directory can be created");
            fs::write(&file, text).expect("the file can be written");
        } else if fs::read_to_string(&file).ok().as_ref() != Some(text) {
            stale.push(path.display().to_string());
        }
    }
    for entry in fs::read_dir(root.join("cli/schemas")).expect("cli/schemas can be read") {
        let path = Path::new("cli/schemas").join(entry.expect("a directory entry").file_name());
        if !files.contains_key(&path) {
            stale.push(format!("{} (no longer generated)", path.display()));
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
        // A wrapped example cannot be copied.
        let wide = help.lines().find(|line| {
            let is_example = line.starts_with("  ");
            is_example && line.chars().count() > 80
        });
        assert_eq!(wide, None, "an example of {name} is wider than 80 columns");
        let subcommands = command.get_subcommands();
        subcommands
            .filter(|subcommand| subcommand.get_name() != "help")
            .for_each(check);
    }
    check(&Arguments::command());
}
