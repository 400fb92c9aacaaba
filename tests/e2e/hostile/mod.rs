//! Malformed messages, huge messages, floods, and well-formed reports from a hostile agent must not
//! harm the controller or other clients.

mod agent_limits;
mod boot_flood;
mod fairness;
mod headers;
mod malformed_messages;
mod overload;
mod payloads;
mod quarantine;
mod reply_subjects;
mod sustained_load;
