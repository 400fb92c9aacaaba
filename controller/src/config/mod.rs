//! The configuration of the controller.
//!
//! - `options` declares the options of a running controller and checks their combinations.
//! - `subcommands` declares the subcommands and their options.
//! - `command` parses the command line.

pub mod command;
pub mod options;
mod subcommands;
#[cfg(test)]
mod tests;
