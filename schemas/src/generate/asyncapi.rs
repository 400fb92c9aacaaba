//! The `AsyncAPI` 3 document: which message travels on which subject, from the controller's point
//! of view.

use serde_json::{Map, Value, json};

use super::messages::{MESSAGES, Message, Role};
use crate::messages::headers::{MSG_ID, SERVICE_ERROR, SERVICE_ERROR_CODE, TRACEPARENT};
use crate::subjects::{self, AgentChannel, SCHEMAS_NAMESPACE};

/// One subject with its messages.
struct Channel {
    subject: String,
    description: &'static str,
    action: &'static str,
    messages: &'static [&'static str],
    /// The names of the reply messages. Empty if there is no reply.
    replies: &'static [&'static str],
}

impl Channel {
    /// Returns the subject as a name, for example `swarm_hosts_list`, `swarm_teardown_host` or
    /// `agent_results`.
    fn id(&self) -> String {
        let subject = self.subject.replace("agent.{host_uuid}", "agent");
        subject.replace("{host_uuid}", "host").replace('.', "_")
    }

    fn reply_id(&self) -> String {
        format!("{}_reply", self.id())
    }
}

fn request(
    subject: &str,
    description: &'static str,
    messages: &'static [&'static str],
    replies: &'static [&'static str],
) -> Channel {
    Channel {
        subject: subject.to_owned(),
        description,
        action: "receive",
        messages,
        replies,
    }
}

fn broadcast(
    subject: &str,
    description: &'static str,
    messages: &'static [&'static str],
) -> Channel {
    Channel {
        subject: subject.to_owned(),
        description,
        action: "send",
        messages,
        replies: &[],
    }
}

fn agent(
    channel: AgentChannel,
    description: &'static str,
    messages: &'static [&'static str],
    replies: &'static [&'static str],
) -> Channel {
    Channel {
        subject: channel.wildcard_subject().replace('*', "{host_uuid}"),
        description,
        action: match channel {
            AgentChannel::Commands => "send",
            AgentChannel::Heartbeat | AgentChannel::Results | AgentChannel::Progress => "receive",
        },
        messages,
        replies,
    }
}

fn channels() -> Vec<Channel> {
    let mut channels = request_channels();
    channels.extend(broadcast_channels());
    channels.extend(agent_channels());
    channels
}

fn request_channels() -> Vec<Channel> {
    vec![
        request(
            subjects::TEARDOWN,
            "Requests the teardown of a host or of one decky. For operators.",
            &["teardown_request"],
            &["teardown_accepted", "teardown_plan", "error_reply"],
        ),
        request(
            &subjects::HOST_TEARDOWNS.replace('*', "{host_uuid}"),
            "Requests the teardown of the host that the subject names, or of one of its deckies. For \
             operators, who can be limited to named hosts.",
            &["host_teardown_request"],
            &["teardown_accepted", "teardown_plan", "error_reply"],
        ),
        request(
            subjects::OPERATIONS_CANCEL,
            "Requests to cancel a queued operation. For operators.",
            &["cancel_request"],
            &["cancel_accepted", "error_reply"],
        ),
        request(
            subjects::OPERATIONS_LIST,
            "Requests one page of the operations, newest first. For operators and viewers.",
            &["operations_list_request"],
            &["operations_list", "error_reply"],
        ),
        request(
            subjects::OPERATIONS_GET,
            "Requests one operation with its shards. For operators and viewers.",
            &["operation_get_request"],
            &["operation_get_reply", "error_reply"],
        ),
        request(
            subjects::HOSTS_ENROLL,
            "Requests to enroll a host. For operators.",
            &["enroll_request"],
            &["enroll_accepted", "error_reply"],
        ),
        request(
            subjects::HOSTS_UPDATE,
            "Requests to change the name, address or labels of a host, or to reset its agent. For \
             operators.",
            &["host_update_request"],
            &["host_update_accepted", "error_reply"],
        ),
        request(
            subjects::HOSTS_DECOMMISSION,
            "Requests to decommission a host. For operators.",
            &["decommission_request"],
            &["decommission_accepted", "error_reply"],
        ),
        request(
            subjects::HOSTS_LIST,
            "Requests one page of the hosts. For operators and viewers.",
            &["hosts_list_request"],
            &["hosts_list", "error_reply"],
        ),
        request(
            subjects::SHARDS_LIST,
            "Requests one page of the shards. For operators and viewers.",
            &["shards_list_request"],
            &["shards_list", "error_reply"],
        ),
        request(
            subjects::SHARDS_PROTECT,
            "Requests to protect a decky or a host from teardowns, or to lift that protection. For \
             operators.",
            &["protect_request"],
            &["protect_accepted", "error_reply"],
        ),
    ]
}

fn broadcast_channels() -> [Channel; 3] {
    [
        broadcast(
            subjects::SHARDS_UPDATED,
            "Announces shards that have changed or were removed. Operators and viewers subscribe.",
            &["shards_updated"],
        ),
        broadcast(
            subjects::HOSTS_UPDATED,
            "Announces hosts that have changed. Operators and viewers subscribe.",
            &["hosts_updated"],
        ),
        broadcast(
            subjects::OPERATIONS_UPDATED,
            "Announces operations that have changed. Operators and viewers subscribe.",
            &["operations_updated"],
        ),
    ]
}

/// Returns the channels between the controller and one agent.
fn agent_channels() -> Vec<Channel> {
    vec![
        agent(
            AgentChannel::Commands,
            "Commands to one agent. That agent subscribes.",
            &["teardown_command", "cancel_command"],
            &[],
        ),
        agent(
            AgentChannel::Heartbeat,
            "Reports that an agent is online, and optionally its inventory. From that agent.",
            &["heartbeat"],
            &["heartbeat_accepted", "error_reply"],
        ),
        agent(
            AgentChannel::Results,
            "Reports how an operation ended. Repeated until the reply is `recorded`. From that agent.",
            &["teardown_result"],
            &["result_recorded", "error_reply"],
        ),
        agent(
            AgentChannel::Progress,
            "Reports the progress of an operation. From that agent.",
            &["teardown_progress"],
            &[],
        ),
    ]
}

/// Returns the complete `AsyncAPI` document.
pub(super) fn document() -> Value {
    let mut addresses = Map::new();
    let mut operations = Map::new();
    for channel in channels() {
        addresses.insert(channel.id(), address(&channel));
        if !channel.replies.is_empty() {
            let replies = json!({
                "address": null,
                "description": "The reply subject of the request.",
                "messages": references(channel.replies),
            });
            addresses.insert(channel.reply_id(), replies);
        }
        operations.insert(channel.id(), operation(&channel));
    }
    let messages: Map<String, Value> = MESSAGES
        .iter()
        .map(|message| (message.name.to_owned(), component(message)))
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "id": SCHEMAS_NAMESPACE,
        "info": {
            "title": "Scuttle",
            "version": "1",
            "description": "The wire contract between Scuttle's controller, its agents and every client. \
                            Send and receive are from the controller's point of view.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {
                "host": "{host}:{port}",
                "protocol": "nats",
                "variables": {
                    "host": { "description": "The address of the NATS server." },
                    "port": { "default": "4222" },
                },
            },
        },
        "channels": addresses,
        "operations": operations,
        "components": { "messages": messages },
    })
}

fn address(channel: &Channel) -> Value {
    let mut address = json!({
        "address": channel.subject,
        "description": channel.description,
        "messages": references(channel.messages),
    });
    if channel.subject.contains("{host_uuid}") {
        address["parameters"] = json!({
            "host_uuid": { "description": "The id of the host." },
        });
    }
    address
}

fn operation(channel: &Channel) -> Value {
    let of = |channel: &str, messages: &[&str]| {
        let messages: Vec<Value> = messages
            .iter()
            .map(|name| json!({ "$ref": format!("#/channels/{channel}/messages/{name}") }))
            .collect();
        json!({ "channel": { "$ref": format!("#/channels/{channel}") }, "messages": messages })
    };
    let mut operation = of(&channel.id(), channel.messages);
    operation["action"] = channel.action.into();
    operation["summary"] = channel.description.into();
    if !channel.replies.is_empty() {
        operation["reply"] = of(&channel.reply_id(), channel.replies);
    }
    operation
}

fn references(messages: &[&str]) -> Map<String, Value> {
    let reference = |name: &str| json!({ "$ref": format!("#/components/messages/{name}") });
    messages
        .iter()
        .map(|name| ((*name).to_owned(), reference(name)))
        .collect()
}

fn component(message: &Message) -> Value {
    let schema = message.schema();
    let mut component = json!({
        "name": message.name,
        "title": schema["title"],
        "summary": schema["description"],
        "payload": { "$ref": format!("./json/{}.json", message.name) },
    });
    if let Some(headers) = headers(message) {
        component["headers"] = headers;
    }
    component
}

fn headers(message: &Message) -> Option<Value> {
    let mut properties = Map::new();
    if message.role != Role::Reply {
        properties.insert(
            TRACEPARENT.to_owned(),
            json!({
                "type": "string",
                "pattern": "^[0-9A-Fa-f-]{1,64}$",
                "description": "The W3C trace context, passed on from request to command to result to broadcast.",
            }),
        );
    }
    if ["teardown_request", "host_teardown_request"].contains(&message.name) {
        properties.insert(
            MSG_ID.to_owned(),
            json!({
                "type": "string",
                "minLength": 1,
                "maxLength": 128,
                "description": "The idempotency key: the same key and request from the same requester \
                                within 24 hours get the same reply.",
            }),
        );
    }
    let mut required: &[&str] = &[];
    if message.name == "error_reply" {
        required = &[SERVICE_ERROR, SERVICE_ERROR_CODE];
        properties.insert(
            SERVICE_ERROR.to_owned(),
            json!({ "type": "string", "description": "The error message." }),
        );
        properties.insert(
            SERVICE_ERROR_CODE.to_owned(),
            json!({
                "type": "string",
                "enum": ["400", "404", "409", "429", "500", "503"],
                "description": "The status for `error.code`.",
            }),
        );
    }
    (!properties.is_empty())
        .then(|| json!({ "type": "object", "properties": properties, "required": required }))
}
