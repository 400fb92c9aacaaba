//! A controller as service discovery shows it, and the rule by which controllers with separate
//! records conflict.

use std::fmt;

use scuttle_schemas::subjects::{
    METADATA_RECORD, METADATA_SCHEMAS, METADATA_STATE, METADATA_STORE, SCHEMAS_NAMESPACE,
};
use uuid::Uuid;

use crate::request::discovery::Metadata;

/// The kind of store that holds a controller's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordStore {
    /// A local file, which only one controller can use.
    Redb,
    /// Streams on the NATS servers, which several controllers share.
    JetStream,
}

impl RecordStore {
    fn name(self) -> &'static str {
        match self {
            Self::Redb => "redb",
            Self::JetStream => "jetstream",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Redb, Self::JetStream]
            .into_iter()
            .find(|store| store.name() == name)
    }
}

/// Whether a controller serves requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServingState {
    /// The controller is checking which other controllers answer, before it serves.
    Starting,
    /// The controller has refused to serve, because of a conflict.
    Refused,
    Serving,
}

impl ServingState {
    fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Refused => "refused",
            Self::Serving => "serving",
        }
    }

    /// Parses the state. A controller that reports no known state counts as serving.
    pub(super) fn parse(name: Option<&str>) -> Self {
        let states = [Self::Starting, Self::Refused];
        let found = states.into_iter().find(|state| Some(state.name()) == name);
        found.unwrap_or(Self::Serving)
    }
}

/// A controller that answers on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The id in service discovery. Ids sort by the time at which they were created.
    pub id: Uuid,
    pub version: String,
    /// The identity of the record. `None` for a controller of version 0.1.0, for one that has
    /// halted, and for one that has no record yet.
    pub record: Option<Uuid>,
    /// The kind of store. `None` for a controller of version 0.1.0, and for one that has halted.
    pub store: Option<RecordStore>,
    pub state: ServingState,
}

impl Instance {
    /// Returns this controller, before it serves.
    pub fn new(record: Option<Uuid>, store: RecordStore) -> Self {
        Self {
            id: Uuid::now_v7(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            record,
            store: Some(store),
            state: ServingState::Starting,
        }
    }

    #[must_use]
    pub fn with_state(&self, state: ServingState) -> Self {
        Self {
            state,
            ..self.clone()
        }
    }

    /// Describes the record, for a sentence with this controller as its subject.
    pub(super) fn describe_record(&self) -> String {
        match self.record {
            Some(record) => format!("has record {record}"),
            None => "has no record yet".to_owned(),
        }
    }

    /// Returns the metadata that service discovery shows.
    pub fn metadata(&self) -> Metadata {
        let record = self.record.map(|record| record.to_string());
        let store = self.store.map(|store| store.name().to_owned());
        let entries = [
            (METADATA_RECORD, record),
            (METADATA_STORE, store),
            (METADATA_STATE, Some(self.state.name().to_owned())),
            (METADATA_SCHEMAS, Some(SCHEMAS_NAMESPACE.to_owned())),
        ];
        let entries = entries.into_iter();
        entries
            .filter_map(|(key, value)| Some((key, value?)))
            .collect()
    }

    /// Returns whether this controller and `other` must not both serve.
    ///
    /// Controllers with a shared journal have the same record. A record in a file can be served by
    /// one controller only, even if the other controller has a copy of the same record.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let has_file = |instance: &Self| instance.store == Some(RecordStore::Redb);
        let differ = match (self.record, other.record) {
            (Some(own), Some(others)) => own != others,
            _ => false,
        };
        self.id != other.id && (differ || has_file(self) || has_file(other))
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scuttle {}, instance {}", self.version, self.id)?;
        match self.record {
            Some(record) => write!(f, ", record {record}")?,
            None => write!(f, ", unknown record")?,
        }
        match self.store {
            Some(store) => write!(f, ", store {}", store.name()),
            None => Ok(()),
        }
    }
}

/// The decision of a controller that has asked which other controllers answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Serve,
    /// Ask again, because a conflicting controller is starting too and has not decided yet.
    AskAgain,
    /// Do not serve, because of this controller.
    Refuse(Instance),
}

/// Decides whether the controller `own` may serve next to the controllers that answered.
///
/// A controller that serves keeps serving. Of two controllers that start at the same time, the one
/// with the lower id serves.
pub fn decide(own: &Instance, answers: &[Instance]) -> Decision {
    let mut ask_again = false;
    for other in answers.iter().filter(|other| own.conflicts_with(other)) {
        match other.state {
            ServingState::Serving => return Decision::Refuse(other.clone()),
            ServingState::Starting if other.id < own.id => {
                return Decision::Refuse(other.clone());
            }
            ServingState::Starting => ask_again = true,
            ServingState::Refused => {}
        }
    }
    if ask_again {
        Decision::AskAgain
    } else {
        Decision::Serve
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Decision, Instance, RecordStore, ServingState, decide};

    /// Returns a controller with this id. Record 0 stands for an unknown record.
    fn instance(id: u128, record: u128, store: RecordStore, state: ServingState) -> Instance {
        Instance {
            id: Uuid::from_u128(id),
            record: (record > 0).then(|| Uuid::from_u128(record)),
            state,
            ..Instance::new(None, store)
        }
    }

    #[test]
    fn controllers_of_one_shared_journal_do_not_conflict() {
        let own = instance(5, 1, RecordStore::JetStream, ServingState::Starting);
        for record in [0, 1] {
            let other = instance(4, record, RecordStore::JetStream, ServingState::Serving);
            assert_eq!(decide(&own, &[own.clone(), other]), Decision::Serve);
        }
        let old = Instance {
            store: None,
            ..instance(4, 0, RecordStore::JetStream, ServingState::Serving)
        };
        assert_eq!(decide(&own, &[old]), Decision::Serve);
    }

    #[test]
    fn a_controller_does_not_serve_next_to_one_with_another_record_or_a_file() {
        let (redb, jetstream) = (RecordStore::Redb, RecordStore::JetStream);
        for (own, store, record, other_store) in [
            (1, redb, 2, redb),
            (1, redb, 2, jetstream),
            (1, jetstream, 2, redb),
            (1, jetstream, 2, jetstream),
            (0, jetstream, 2, redb),
            // A copy of the same file.
            (1, redb, 1, redb),
            (1, redb, 0, redb),
        ] {
            let own = instance(5, own, store, ServingState::Starting);
            let serving = instance(9, record, other_store, ServingState::Serving);
            let decision = decide(&own, std::slice::from_ref(&serving));
            assert_eq!(decision, Decision::Refuse(serving), "{own}");
        }
    }

    #[test]
    fn of_two_starting_controllers_exactly_the_one_with_the_lower_id_serves() {
        let first = instance(5, 1, RecordStore::Redb, ServingState::Starting);
        let second = instance(6, 2, RecordStore::Redb, ServingState::Starting);
        let answers = [first.clone(), second.clone()];
        assert_eq!(decide(&second, &answers), Decision::Refuse(first.clone()));
        assert_eq!(decide(&first, &answers), Decision::AskAgain);
        let refused = [first.clone(), second.with_state(ServingState::Refused)];
        assert_eq!(decide(&first, &refused), Decision::Serve);
        // The second controller may have asked before the first one could answer.
        let serving = second.with_state(ServingState::Serving);
        let answers = [first.clone(), serving.clone()];
        assert_eq!(decide(&first, &answers), Decision::Refuse(serving));
    }
}
