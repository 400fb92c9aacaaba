//! `scuttle man`: manual pages, generated from the command line.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man as Page;

use crate::admin::files::FileError;
use crate::failure::Failure;
use crate::output::format::{self, Format};
use crate::output::json_types::{ManPage, ManPages};

/// Print the manual page of scuttle, or write it and one page per subcommand into a directory.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle man | man -l -
  scuttle man /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Directory to write all pages into. If not given, the page of scuttle itself is printed.
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: Option<PathBuf>,
}

impl Man {
    /// Generates the manual pages from `scuttle`, the definition of the command line.
    pub(crate) fn run(self, format: Format, mut scuttle: Command) -> Result<(), Failure> {
        scuttle.build();
        let mut output = ManPages { pages: Vec::new() };
        let Some(directory) = self.directory else {
            let text = render_roff(scuttle)?;
            output.pages.push(ManPage {
                name: "scuttle.1".to_owned(),
                file: None,
                text: Some(text.clone()),
            });
            return write(format, &output, text);
        };
        let mut commands = Vec::new();
        collect_commands(scuttle, "", &mut commands);
        for (name, command) in commands {
            let file = directory.join(format!("{name}.1"));
            let text = render_roff(command)?;
            std::fs::write(&file, text).map_err(|cause| FileError::Failed {
                verb: "write",
                path: file.clone(),
                cause,
            })?;
            output.pages.push(ManPage {
                name: format!("{name}.1"),
                file: Some(file.display().to_string()),
                text: None,
            });
        }
        let files = output.pages.iter().filter_map(|page| page.file.clone());
        let files = files.collect::<Vec<_>>().join("\n");
        write(format, &output, files)
    }
}

fn write(format: Format, output: &ManPages, text: String) -> Result<(), Failure> {
    match format {
        Format::Jsonl => output.pages.iter().try_for_each(format::write_json_line),
        _ => format.write_one(output, || text),
    }
}

/// Collects a command and all its subcommands except `help`, each with the name of its manual page,
/// such as `scuttle-user-add`.
fn collect_commands(command: Command, parent: &str, commands: &mut Vec<(String, Command)>) {
    let name = if parent.is_empty() {
        command.get_name().to_owned()
    } else {
        format!("{parent}-{}", command.get_name())
    };
    for subcommand in command.get_subcommands() {
        if subcommand.get_name() != "help" {
            collect_commands(subcommand.clone(), &name, commands);
        }
    }
    commands.push((name, command));
}

fn render_roff(command: Command) -> Result<String, Failure> {
    let mut page = Vec::new();
    Page::new(command)
        .render(&mut page)
        .map_err(Failure::Output)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
