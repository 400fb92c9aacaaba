//! The agent's side of NATS: the connection, and the decoding of the messages that arrive on it.

pub mod connection;
pub(crate) mod decode;
pub(crate) mod malformed;
pub mod permission_check;
pub mod request_id;

use async_nats::Message;

use crate::machine::Input;

/// Decodes a message on the command subject. Returns `None` if it is not a valid command.
pub fn decode_command(message: &Message) -> Option<Input> {
    decode::decode_command(message).ok()
}

/// Decodes a reply. Returns `None` if it belongs to no request of this agent.
pub fn decode_reply(message: &Message) -> Option<Input> {
    decode::decode_reply(message).0
}
