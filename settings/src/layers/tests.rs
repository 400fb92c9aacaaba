//! Tests of the precedence of the layers, and of the errors of each source.

use std::ffi::OsString;
use std::fs;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use super::parse_from;
use crate::ConfigFile;
use crate::error::SettingsError;

#[derive(Debug, Parser)]
#[command(name = "program", args_conflicts_with_subcommands = true)]
struct Program {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
struct Options {
    #[arg(long, env = "TEST_NAME", default_value = "nobody")]
    name: String,
    #[arg(long, env = "TEST_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    #[arg(long, env = "TEST_TOKEN", conflicts_with = "password")]
    token: Option<String>,
    #[arg(long, env = "TEST_COUNT", value_parser = clap::value_parser!(u8).range(1..=5))]
    count: Option<u8>,
    #[arg(long, env = "TEST_COLOUR")]
    colour: Option<Colour>,
    #[arg(long, env = "TEST_FORCE")]
    force: bool,
    /// Cannot be set in the environment, and therefore not in the file.
    #[arg(long)]
    once: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    Red,
    Green,
}

#[derive(Debug, Subcommand)]
enum Action {
    Copy {
        #[arg(long, env = "TEST_DIR")]
        dir: String,
        #[command(flatten)]
        file: ConfigFile,
    },
    Check,
}

/// Parses flags, variables, and the text of a file, if there is one.
fn parse(
    flags: &[&str],
    variables: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Program, SettingsError> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("program.toml");
    let mut args = vec![OsString::from("program")];
    args.extend(flags.iter().map(OsString::from));
    if let Some(text) = file {
        fs::write(&path, text).expect("written");
        args.extend(["--config".into(), path.into_os_string()]);
    }
    parse_from(args, |name| {
        let found = variables.iter().find(|variable| variable.0 == name);
        found.map(|variable| variable.1.into())
    })
}

fn check_rejected(flags: &[&str], variables: &[(&str, &str)], file: Option<&str>, words: &[&str]) {
    let error = parse(flags, variables, file).expect_err("rejected");
    for word in words {
        assert!(
            error.to_string().contains(word),
            "{word:?} is missing in: {error}"
        );
    }
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn every_option_comes_from_the_first_source_that_sets_it() {
    Program::command().debug_assert();
    let file = Some("name = \"file\"\ncount = 3\ncolour = \"green\"\nforce = true\n");
    let variable = [("TEST_NAME", "variable"), ("TEST_COUNT", "2")];
    let flag = ["--name", "flag"];
    for (flags, variables, file, name, count) in [
        (&flag[..], &variable[..], file, "flag", Some(2)),
        (&[], &variable, file, "variable", Some(2)),
        (&[], &[("TEST_NAME", "")], file, "file", Some(3)),
        (&[], &[], None, "nobody", None),
    ] {
        let Program { options, .. } = parse(flags, variables, file).expect("parsed");
        assert_eq!((options.name.as_str(), options.count), (name, count));
        let colour = file.map(|_| Colour::Green);
        assert_eq!((options.colour, options.force), (colour, file.is_some()));
    }
}

#[test]
fn an_option_replaces_conflicting_options_of_lower_sources() {
    let get = |flags: &[&str], variables: &[(&str, &str)], file: Option<&str>| {
        let options = parse(flags, variables, file).expect("parsed").options;
        (options.password, options.token)
    };
    let password = (Some("p".to_owned()), None);
    let token = (None, Some("t".to_owned()));
    for (option, id, other_option, other_id, expected) in [
        ("--password", "password", "TEST_TOKEN", "token", password),
        ("--token", "token", "TEST_PASSWORD", "password", token),
    ] {
        let value = &id[..1];
        let file = format!("{other_id} = \"x\"");
        let file = Some(file.as_str());
        let other = [(other_option, "x")];
        assert_eq!(get(&[option, value], &other, None), expected);
        assert_eq!(get(&[option, value], &[], file), expected);
        assert_eq!(get(&[option, value], &other, file), expected);
        let variable = format!("TEST_{}", id.to_uppercase());
        assert_eq!(get(&[], &[(variable.as_str(), value)], file), expected);
    }
    let both = ["--token", "t", "--password", "p"];
    check_rejected(&both, &[], None, &["cannot be used with"]);
}

#[test]
fn the_flag_for_the_file_takes_precedence_over_its_variable() {
    let variable = [("SCUTTLE_CONFIG", "/nowhere/program.toml")];
    let program = parse(&[], &variable, Some("name = \"file\"")).expect("parsed");
    assert_eq!(program.options.name, "file");
    let words = ["cannot read the configuration file /nowhere/program.toml"];
    check_rejected(&[], &variable, None, &words);
}

#[test]
fn a_subcommand_reads_its_own_options_from_the_same_file() {
    let file = Some("dir = \"d\"\nname = \"file\"\n");
    let copy = |flags: &[&str], variables: &[(&str, &str)]| {
        let program = parse(&[&["copy"], flags].concat(), variables, file).expect("parsed");
        let Some(Action::Copy { dir, .. }) = program.action else {
            panic!("{program:?}");
        };
        dir
    };
    // An invalid variable of an option that the subcommand does not have is ignored.
    let invalid = ("TEST_COUNT", "many");
    assert_eq!(copy(&[], &[invalid]), "d");
    assert_eq!(copy(&[], &[invalid, ("TEST_DIR", "v")]), "v");
    assert_eq!(copy(&["--dir", "f"], &[invalid, ("TEST_DIR", "v")]), "f");
    check_rejected(&["copy"], &[], None, &["--dir"]);
    let program = parse(&["check"], &[("SCUTTLE_CONFIG", "/nowhere")], None).expect("parsed");
    assert!(matches!(program.action, Some(Action::Check)), "{program:?}");
}

#[test]
fn an_error_in_the_file_names_the_file_and_the_line() {
    for (text, words) in [
        (
            "name = \"a\"\nnmae = \"b\"",
            ["line 2", "unknown field `nmae`"],
        ),
        (
            "\nonce = true",
            [
                "line 2",
                "unknown field `once`; fields are named after the flags",
            ],
        ),
        (
            "Name = \"a\"",
            ["line 1", "unknown field `Name`; write `name`"],
        ),
        ("config = \"x\"", ["line 1", "unknown field `config`"]),
        ("name = 7", ["line 1", "name must be a string, not integer"]),
        (
            "count = \"7\"",
            ["line 1", "count must be an integer, not string"],
        ),
        (
            "force = \"true\"",
            ["line 1", "force must be true or false"],
        ),
        ("\n\ncount = 9", ["line 3", "count: 9 is not in 1..=5"]),
        ("colour = \"blue\"", ["line 1", "one of red, green"]),
        (
            "name = \"a\"\npassword = \"hunter2",
            ["line 2", "program.toml"],
        ),
        (
            "password = \"hunter2\"\npassword = \"hunter2\"",
            ["line 2", "duplicate key"],
        ),
    ] {
        check_rejected(&[], &[], Some(text), &words);
        check_rejected(&["copy", "--dir", "d"], &[], Some(text), &words);
    }
}

#[test]
fn an_error_in_a_variable_names_the_variable() {
    let name = ["environment variable TEST_COUNT", "9 is not in 1..=5"];
    check_rejected(&[], &[("TEST_COUNT", "9")], None, &name);
    let name = ["environment variable TEST_COLOUR", "one of red, green"];
    check_rejected(&[], &[("TEST_COLOUR", "blue")], None, &name);
}

#[test]
fn the_help_shows_no_values_and_needs_no_valid_source() {
    let variables = [("TEST_PASSWORD", "hunter2"), ("TEST_COUNT", "many")];
    for flags in [&["--help"][..], &["copy", "--help"]] {
        check_rejected(flags, &variables, Some("nmae = 1"), &["[env: TEST_"]);
    }
}
