//! The layers of settings: the values of the environment and the file become the defaults of the
//! options, so that clap parses all options in the same way and flags take precedence.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Parser};

use crate::error::SettingsError;
use crate::file::{self, Entry};
use crate::value;

/// Parses options from a command line, an environment, and a configuration file, which a flag or a
/// variable names. `args` begins with the name of the program. `variable` looks up an environment
/// variable.
///
/// # Errors
/// If the command line, a variable or the file is invalid. `--help` and `--version` are errors as
/// well, as usual in clap.
pub fn parse_from<P: Parser>(
    args: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<P, SettingsError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let variable = |name: &str| ignore_empty(variable(name));
    let command = map_args(P::command(), &|arg| arg.hide_env_values(true));
    let flags = match parse_leniently(&command, &args) {
        Ok(flags) => flags,
        // The help and the version do not depend on other sources, which may be invalid.
        Err(error) => {
            let parsed = command.try_get_matches_from(args);
            return Err(parsed.err().unwrap_or(error).into());
        }
    };
    let (subcommands, flags) = find_active_command(&flags);
    let mut active = &command;
    for name in &subcommands {
        active = active.find_subcommand(name).unwrap_or(active);
    }
    let mut values = match find_file(active, flags, &variable) {
        Some(path) => read_file(&command, &path)?,
        None => BTreeMap::new(),
    };
    let is_flag = |arg: &Arg| {
        let id = arg.get_id().as_str();
        matches!(flags.try_contains_id(id), Ok(true))
            && flags.value_source(id) == Some(ValueSource::CommandLine)
    };
    let has_variable = |arg: &Arg| {
        let name = arg.get_env().and_then(|name| name.to_str());
        name.is_some_and(|name| variable(name).is_some())
    };
    drop_conflicting(active, &mut values, &has_variable);
    for arg in active.get_arguments() {
        let Some(name) = arg.get_env().and_then(|name| name.to_str()) else {
            continue;
        };
        if let Some(given) = variable(name)
            && !conflicts_with_any(active, arg, &is_flag)
        {
            value::check(arg, &given).map_err(|cause| SettingsError::Environment {
                name: name.to_owned(),
                cause,
            })?;
            values.insert(arg.get_id().to_string(), given);
        }
    }
    drop_conflicting(active, &mut values, &is_flag);
    let layered = apply(command, &subcommands, &values);
    let mut matches = layered.clone().try_get_matches_from(args)?;
    let parsed = P::from_arg_matches_mut(&mut matches);
    Ok(parsed.map_err(|error| error.format(&mut layered.clone()))?)
}

/// Parses the flags alone, to find the active command and its configuration file. Ignores errors,
/// but returns a request for the help or the version as an error.
fn parse_leniently(command: &Command, args: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let bare = map_args(command.clone(), &|arg| {
        arg.env(None::<&'static str>).required(false)
    });
    match bare.ignore_errors(true).try_get_matches_from(args) {
        Err(error) if is_request(&error) => Err(error),
        Err(_) => Ok(ArgMatches::default()),
        Ok(matches) => Ok(matches),
    }
}

fn is_request(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    )
}

/// Returns the names of the subcommands on the command line, outermost first, and the flags of the
/// innermost command.
fn find_active_command(matches: &ArgMatches) -> (Vec<String>, &ArgMatches) {
    let mut names = Vec::new();
    let mut active = matches;
    while let Some((name, inner)) = active.subcommand() {
        names.push(name.to_owned());
        active = inner;
    }
    (names, active)
}

fn find_file(
    active: &Command,
    flags: &ArgMatches,
    variable: &impl Fn(&str) -> Option<OsString>,
) -> Option<PathBuf> {
    active
        .get_arguments()
        .find(|arg| arg.get_id() == file::OPTION)?;
    let flag = flags.try_get_one::<PathBuf>(file::OPTION).ok().flatten();
    flag.cloned()
        .or_else(|| variable(file::VARIABLE).map(PathBuf::from))
}

/// Removes the values of all options that conflict with an option for which `is_set` returns true.
/// A source of higher precedence sets that option, so it replaces what lower sources say.
fn drop_conflicting(
    active: &Command,
    values: &mut BTreeMap<String, OsString>,
    is_set: &dyn Fn(&Arg) -> bool,
) {
    for arg in active.get_arguments() {
        if conflicts_with_any(active, arg, is_set) {
            values.remove(arg.get_id().as_str());
        }
    }
}

/// Returns whether `arg` conflicts with an option for which `is_set` returns true.
fn conflicts_with_any(active: &Command, arg: &Arg, is_set: &dyn Fn(&Arg) -> bool) -> bool {
    let conflicts = |a: &Arg, b: &Arg| {
        let declared = active.get_arg_conflicts_with(a);
        declared.iter().any(|other| other.get_id() == b.get_id())
    };
    let mut others = active.get_arguments();
    others.any(|other| is_set(other) && (conflicts(arg, other) || conflicts(other, arg)))
}

/// Reads the file and checks every entry, including entries that only other subcommands use.
fn read_file(command: &Command, path: &Path) -> Result<BTreeMap<String, OsString>, SettingsError> {
    let mut values = BTreeMap::new();
    for entry in file::read(path)? {
        let Entry { key, value, line } = entry;
        let checked = find_setting(command, &key)
            .ok_or_else(|| describe_unknown_field(command, &key))
            .and_then(|arg| {
                let text = value::to_text(arg, &value)?;
                let named = |reason| format!("{key}: {reason}");
                value::check(arg, text.as_ref()).map_err(named)?;
                Ok(text)
            });
        let text = checked.map_err(|cause| SettingsError::Invalid {
            path: path.to_owned(),
            line,
            cause,
        })?;
        values.insert(key, text.into());
    }
    Ok(values)
}

/// Returns the error for a key that sets no option. If the name of an option is similar, the error
/// proposes that name.
fn describe_unknown_field(command: &Command, key: &str) -> String {
    let normalized = key.trim_start_matches('-').replace('-', "_").to_lowercase();
    let advice = if find_setting(command, &normalized).is_some() {
        format!("write `{normalized}`")
    } else {
        let program = command.get_name();
        format!(
            "fields are named after the flags in `{program} --help` that have an environment variable, with _ in place of -"
        )
    };
    format!("unknown field `{key}`; {advice}")
}

/// Finds the option that a key of the file sets, in the command or its subcommands.
fn find_setting<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    let is_setting =
        |arg: &&Arg| arg.get_id() == key && arg.get_id() != file::OPTION && arg.get_env().is_some();
    let mut subcommands = command.get_subcommands();
    command
        .get_arguments()
        .find(is_setting)
        .or_else(|| subcommands.find_map(|inner| find_setting(inner, key)))
}

/// Turns `values` into the defaults of the active command's options, and stops clap from reading
/// environment variables.
fn apply(command: Command, subcommands: &[String], values: &BTreeMap<String, OsString>) -> Command {
    let Some((name, inner)) = subcommands.split_first() else {
        return map_args(command, &|arg| {
            let arg = arg.env(None::<&'static str>);
            match values.get(arg.get_id().as_str()) {
                Some(value) => arg.default_value(value.clone()).required(false),
                None => arg,
            }
        });
    };
    let command = map_own_args(command, &|arg| arg.env(None::<&'static str>));
    command.mut_subcommand(name, |subcommand| apply(subcommand, inner, values))
}

/// Treats an empty environment variable as not set, because service files and compose files often
/// leave a variable empty to unset it.
fn ignore_empty(value: Option<OsString>) -> Option<OsString> {
    value.filter(|value| !value.is_empty())
}

fn map_args(command: Command, map: &dyn Fn(Arg) -> Arg) -> Command {
    map_own_args(command, map).mut_subcommands(|subcommand| map_args(subcommand, map))
}

fn map_own_args(command: Command, map: &dyn Fn(Arg) -> Arg) -> Command {
    command.mut_args(map)
}

#[cfg(test)]
mod tests;
