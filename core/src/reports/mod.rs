//! Reports from agents: one file for each kind, and what a full inventory changes.

mod heartbeat;
mod inventory;
mod progress;
mod result;
