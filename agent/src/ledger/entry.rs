//! The entries of a ledger. The serialized names are part of the file format. `crate::machine`
//! decides how a boot continues from the entries.

use scuttle_schemas::agents::{TeardownCommand, TeardownResult};
use scuttle_schemas::{BootId, DeckyId, OperationId, Timestamp};
use serde::{Deserialize, Serialize};

/// A fact that must survive a crash. An entry is never modified, but a rewrite of the ledger drops
/// the entries that are no longer needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// The agent started. The id of the next boot must sort after this id.
    Boot { boot_id: BootId },
    /// A command arrived with a higher controller epoch than every earlier command.
    Epoch { controller_epoch: u64 },
    /// The agent is about to call the runtime for a teardown.
    Started(StartedTeardown),
    /// A teardown ended. Its result is resent until the controller has recorded it.
    Finished(FinishedTeardown),
    /// The controller cancelled an operation before the agent started it.
    #[serde(rename = "withdrawn")]
    Cancelled { operation_id: OperationId },
    /// The controller has made the result of an operation durable.
    Recorded { operation_id: OperationId },
}

/// A teardown that has started, with everything that a later boot needs to resume it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedTeardown {
    pub operation_id: OperationId,
    /// `None` stands for the whole host.
    pub decky_id: Option<DeckyId>,
    /// The deadline of the operation.
    pub not_after: Timestamp,
    /// Whether the teardown also removes protected deckies.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub override_protection: bool,
    /// The trace context of the command, if it had one.
    pub traceparent: Option<String>,
    pub started_at: Timestamp,
}

impl StartedTeardown {
    pub(crate) fn new(
        command: TeardownCommand,
        traceparent: Option<String>,
        started_at: Timestamp,
    ) -> Self {
        Self {
            operation_id: command.operation_id,
            decky_id: command.decky_id,
            not_after: command.not_after,
            override_protection: command.override_protection,
            traceparent,
            started_at,
        }
    }
}

/// A teardown that has ended, with everything that the agent needs to resend its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedTeardown {
    /// The deadline of the operation. The entry is kept at least until any further copy of the
    /// command would be rejected as expired.
    pub not_after: Timestamp,
    /// The trace context of the command, if it had one.
    pub traceparent: Option<String>,
    /// The report to the controller, which is identical each time that it is sent.
    pub result: TeardownResult,
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::OperationId;

    use super::{Entry, StartedTeardown};

    #[test]
    fn a_started_entry_of_an_earlier_version_is_read() {
        let text = r#"{"entry":"started","operation_id":"0197a8f1-0000-7000-8000-00000000dead","decky_id":"d","not_after":"2026-11-23T09:21:49.000Z","traceparent":null,"started_at":"2026-11-23T09:11:49.000Z"}"#;
        let entry: Entry = serde_json::from_str(text).expect("read");
        assert_eq!(serde_json::to_string(&entry).expect("written"), text);
        let Entry::Started(started) = entry else {
            panic!("{entry:?}");
        };
        let overriding = Entry::Started(StartedTeardown {
            override_protection: true,
            ..started
        });
        let text = serde_json::to_string(&overriding).expect("written");
        assert_eq!(
            serde_json::from_str::<Entry>(&text).expect("read"),
            overriding
        );
    }

    #[test]
    fn a_cancelled_entry_keeps_its_name_on_disk() {
        let id = "0197a8f1-0000-7000-8000-00000000dead";
        let operation_id: OperationId = id.parse().expect("valid");
        let text = format!(r#"{{"entry":"withdrawn","operation_id":"{id}"}}"#);
        let entry = Entry::Cancelled { operation_id };
        assert_eq!(serde_json::to_string(&entry).expect("written"), text);
        assert_eq!(serde_json::from_str::<Entry>(&text).expect("read"), entry);
    }
}
