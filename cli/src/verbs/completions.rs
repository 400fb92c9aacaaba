//! `scuttle completions`: what a shell reads to complete this command. What it then offers is `complete`'s matter.

use clap::Args;
use clap_complete::env::Shells;

use crate::complete::VARIABLE;
use crate::failure::Failure;
use crate::output::Format;
use crate::outputs;

/// Prints what makes a shell complete this command: verbs and flags, and the hosts, deckies and operations of the swarm.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(scuttle completions bash)       # in ~/.bashrc
  source <(scuttle completions zsh)        # in ~/.zshrc
  scuttle completions fish > ~/.config/fish/completions/scuttle.fish")]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

impl Completions {
    pub(crate) fn run(self, format: Format) -> Result<(), Failure> {
        let shells = Shells::builtins();
        let shell = shells
            .completer(&self.shell)
            .ok_or_else(|| Failure::Usage(format!("the shell {} is not known", self.shell)))?;
        let mut script = Vec::new();
        shell
            .write_registration(VARIABLE, "scuttle", "scuttle", "scuttle", &mut script)
            .map_err(Failure::Output)?;
        let made = outputs::Completions {
            shell: self.shell,
            script: String::from_utf8_lossy(&script).into_owned(),
        };
        format.one(&made, || made.script.clone())
    }
}
