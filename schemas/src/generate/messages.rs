//! The table of all messages with their name, role and type, and the JSON Schema of each.

use schemars::generate::{Contract, SchemaSettings};
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::messages::{agents, errors, hosts, operations, protection, shards, teardown};
use crate::subjects::SCHEMAS_NAMESPACE;
use crate::types::decode::{ReadError, read};

/// The role of a message: its sender and its receiver. The schema of a message describes what is
/// written or what is accepted, depending on the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A message from a client to the controller.
    Request,
    /// A message from the controller to the client or agent whose message it replies to.
    Reply,
    /// A message from the controller to all subscribers.
    Broadcast,
    /// A message from the controller to one agent.
    Command,
    /// A message from an agent to the controller.
    Report,
}

impl Role {
    /// Returns what the schema of a message with this role describes:
    ///
    /// - for replies and broadcasts, what the controller writes, so that a client can rely on every
    ///   field;
    /// - for all other messages, what the reader accepts.
    fn contract(self) -> Contract {
        match self {
            Self::Reply | Self::Broadcast => Contract::Serialize,
            Self::Request | Self::Command | Self::Report => Contract::Deserialize,
        }
    }
}

/// One message of the protocol.
pub struct Message {
    /// The name of the message, which is also the name of its schema and of its golden examples.
    /// The `type` field of the message, if there is one, ends with this name.
    pub name: &'static str,
    /// The sender and the receiver of the message.
    pub role: Role,
    root: fn(SchemaSettings) -> Schema,
    round_trip: fn(&'static str, &[u8]) -> Result<Value, ReadError>,
}

/// The messages of the protocol, each with functions that generate its schema and decode it.
pub const MESSAGES: &[Message] = &[
    request::<teardown::TeardownRequest>("teardown_request"),
    request::<teardown::HostTeardownRequest>("host_teardown_request"),
    reply::<teardown::TeardownAccepted>("teardown_accepted"),
    reply::<teardown::TeardownPlan>("teardown_plan"),
    request::<operations::CancelRequest>("cancel_request"),
    reply::<operations::CancelAccepted>("cancel_accepted"),
    request::<operations::OperationGetRequest>("operation_get_request"),
    reply::<operations::OperationGetReply>("operation_get_reply"),
    request::<operations::OperationsListRequest>("operations_list_request"),
    reply::<operations::OperationsList>("operations_list"),
    request::<hosts::EnrollRequest>("enroll_request"),
    reply::<hosts::EnrollAccepted>("enroll_accepted"),
    request::<hosts::HostUpdateRequest>("host_update_request"),
    reply::<hosts::HostUpdateAccepted>("host_update_accepted"),
    request::<hosts::DecommissionRequest>("decommission_request"),
    reply::<hosts::DecommissionAccepted>("decommission_accepted"),
    request::<hosts::HostsListRequest>("hosts_list_request"),
    reply::<hosts::HostsList>("hosts_list"),
    request::<shards::ShardsListRequest>("shards_list_request"),
    reply::<shards::ShardsList>("shards_list"),
    request::<protection::ProtectRequest>("protect_request"),
    reply::<protection::ProtectAccepted>("protect_accepted"),
    reply::<errors::ErrorReplyBody>("error_reply"),
    broadcast::<shards::ShardsUpdated>("shards_updated"),
    broadcast::<hosts::HostsUpdated>("hosts_updated"),
    broadcast::<operations::OperationsUpdated>("operations_updated"),
    command::<agents::TeardownCommand>("teardown_command"),
    command::<agents::CancelCommand>("cancel_command"),
    report::<agents::TeardownProgress>("teardown_progress"),
    report::<agents::TeardownResult>("teardown_result"),
    reply::<agents::ResultRecorded>("result_recorded"),
    report::<agents::Heartbeat>("heartbeat"),
    reply::<agents::HeartbeatAccepted>("heartbeat_accepted"),
];

impl Message {
    /// Returns the value of the `type` field, for a message that has this field.
    fn type_text(&self) -> String {
        format!("scuttle.v1.{}", self.name)
    }

    /// Returns the JSON Schema of the message, which refers to no other file.
    pub fn schema(&self) -> Value {
        let settings = SchemaSettings::draft2020_12()
            .with(|settings| settings.contract = self.role.contract())
            .with_transform(RecursiveTransform(bound_integers));
        let mut schema = Value::from((self.root)(settings));
        schema["$id"] = format!("{SCHEMAS_NAMESPACE}:{}", self.name).into();
        schema["title"] = self.name.replace('_', " ").into();
        if self.role == Role::Command {
            // The `type` is a tag of the enum `AgentCommand`, and not a field of the struct.
            schema["properties"]["type"] = json!({
                "type": "string",
                "const": self.type_text(),
                "description": format!("Always `{}`.", self.type_text()),
            });
            if let Some(required) = schema["required"].as_array_mut() {
                required.push("type".into());
            }
        }
        schema
    }

    /// Decodes a payload as this message, and encodes it again.
    ///
    /// # Errors
    /// If the payload is not a valid message of this type.
    pub fn round_trip(&self, payload: &[u8]) -> Result<Value, ReadError> {
        (self.round_trip)(self.name, payload)
    }
}

const fn message<T, Read>(name: &'static str, role: Role) -> Message
where
    T: JsonSchema,
    Read: Serialize + DeserializeOwned,
{
    Message {
        name,
        role,
        root: |settings| settings.into_generator().into_root_schema_for::<T>(),
        round_trip: |name, payload| {
            let read = read::<Read>(name, payload)?;
            Ok(serde_json::to_value(read).expect("a decoded message can be encoded"))
        },
    }
}

const fn request<T: JsonSchema + Serialize + DeserializeOwned>(name: &'static str) -> Message {
    message::<T, T>(name, Role::Request)
}

const fn reply<T: JsonSchema + Serialize + DeserializeOwned>(name: &'static str) -> Message {
    message::<T, T>(name, Role::Reply)
}

const fn broadcast<T: JsonSchema + Serialize + DeserializeOwned>(name: &'static str) -> Message {
    message::<T, T>(name, Role::Broadcast)
}

const fn command<T: JsonSchema>(name: &'static str) -> Message {
    message::<T, agents::AgentCommand>(name, Role::Command)
}

const fn report<T: JsonSchema + Serialize + DeserializeOwned>(name: &'static str) -> Message {
    message::<T, T>(name, Role::Report)
}

/// Replaces the Rust-specific `format` of an integer with a `maximum`, which every validator
/// checks.
fn bound_integers(schema: &mut Schema) {
    let maximum = match schema.get("format").and_then(Value::as_str) {
        Some("uint16") => u16::MAX.into(),
        Some("uint32") => u32::MAX.into(),
        Some("uint64" | "uint") => u64::MAX,
        _ => return,
    };
    schema.remove("format");
    if schema.get("maximum").is_none() {
        schema.insert("maximum".to_owned(), maximum.into());
    }
}
