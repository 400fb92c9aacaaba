//! Checks the agreement that must hold after the faults have stopped: the record, the deckies that
//! really run, and every subscriber's view are the same.

pub(crate) mod controllers;
pub(crate) mod hosts;
pub(crate) mod settle;
