//! `scuttle man`: manual pages, made of what `--help` says.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man as Page;

use crate::failure::Failure;
use crate::files::FileError;
use crate::output::{self, Format};
use crate::outputs::{ManPage, ManPages};

/// Prints the manual page of the whole command, or writes a page for each verb into a folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle man | man -l -
  scuttle man /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// The folder for all pages; the first page goes to standard output if absent.
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    folder: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, format: Format) -> Result<(), Failure> {
        let mut whole = crate::command();
        whole.build();
        let mut made = ManPages { pages: Vec::new() };
        let Some(folder) = self.folder else {
            let text = roff(whole)?;
            made.pages.push(ManPage {
                name: "scuttle.1".to_owned(),
                file: None,
                text: Some(text.clone()),
            });
            return write(format, &made, text);
        };
        let mut commands = Vec::new();
        collect(whole, "", &mut commands);
        for (name, command) in commands {
            let file = folder.join(format!("{name}.1"));
            let text = roff(command)?;
            std::fs::write(&file, text).map_err(|cause| FileError::Failed {
                verb: "write",
                path: file.clone(),
                cause,
            })?;
            made.pages.push(ManPage {
                name: format!("{name}.1"),
                file: Some(file.display().to_string()),
                text: None,
            });
        }
        let files = made.pages.iter().filter_map(|page| page.file.clone());
        let files = files.collect::<Vec<_>>().join("\n");
        write(format, &made, files)
    }
}

fn write(format: Format, made: &ManPages, text: String) -> Result<(), Failure> {
    match format {
        Format::Jsonl => made.pages.iter().try_for_each(output::line),
        _ => format.one(made, || text),
    }
}

/// A command and all below it, by the names of their pages.
fn collect(command: Command, above: &str, all: &mut Vec<(String, Command)>) {
    let name = if above.is_empty() {
        command.get_name().to_owned()
    } else {
        format!("{above}-{}", command.get_name())
    };
    for below in command.get_subcommands() {
        if below.get_name() != "help" {
            collect(below.clone(), &name, all);
        }
    }
    all.push((name, command));
}

fn roff(command: Command) -> Result<String, Failure> {
    let mut page = Vec::new();
    Page::new(command)
        .render(&mut page)
        .map_err(Failure::Output)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
