//! The configuration of the controller. `options` declares the options and checks their
//! combinations, `subcommands` adds those of the subcommands, and `command` parses the command
//! line.

pub mod command;
pub mod options;
mod subcommands;
#[cfg(test)]
mod tests;
