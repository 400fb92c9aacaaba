//! `scuttle completions`: prints a shell completion script. When the user presses Tab, the script
//! runs `scuttle`, and `candidates` offers the completions.

use clap::Args;
use clap_complete::env::Shells;

use super::candidates::COMPLETION_VARIABLE;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::json_types;

/// Print a shell completion script.
///
/// The script completes subcommands and flags, and the hosts, deckies and operations of the swarm.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(scuttle completions bash)       # in ~/.bashrc
  source <(scuttle completions zsh)        # in ~/.zshrc
  scuttle completions fish > ~/.config/fish/completions/scuttle.fish")]
pub(crate) struct Completions {
    /// Shell to print the script for.
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

impl Completions {
    pub(crate) fn run(self, format: Format) -> Result<(), Failure> {
        let shells = Shells::builtins();
        let shell = shells
            .completer(&self.shell)
            .ok_or_else(|| Failure::Usage(format!("the shell {} is unknown", self.shell)))?;
        let mut script = Vec::new();
        shell
            .write_registration(
                COMPLETION_VARIABLE,
                "scuttle",
                "scuttle",
                "scuttle",
                &mut script,
            )
            .map_err(Failure::Output)?;
        let output = json_types::Completions {
            shell: self.shell,
            script: String::from_utf8_lossy(&script).into_owned(),
        };
        format.write_one(&output, || output.script.clone())
    }
}
