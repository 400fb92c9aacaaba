//! The notes of a host: objects that the agent cannot attribute to a decky, objects that a teardown
//! had to leave, labels that are not reported, and evidence that could not be saved.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use scuttle_schemas::Note;
use scuttle_schemas::agents::MAX_NOTES;

use super::deckies::grouping::Deckies;

/// The maximum number of notes of teardowns. Further notes are dropped.
const MAX_TEARDOWN_NOTES: usize = MAX_NOTES / 2;

/// The notes of the teardowns since the start of the agent.
#[derive(Debug, Default)]
pub(super) struct TeardownNotes(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    /// The notes by the object that each is about.
    by_object: BTreeMap<String, String>,
    changed: bool,
}

impl TeardownNotes {
    /// Adds or replaces the note about an object, such as `image nginx:1.27`.
    pub(super) fn set(&self, object: &str, note: &str) {
        let mut notes = self.lock();
        let has_space = notes.by_object.len() < MAX_TEARDOWN_NOTES;
        if has_space || notes.by_object.contains_key(object) {
            let last = notes.by_object.insert(object.to_owned(), note.to_owned());
            notes.changed |= last.as_deref() != Some(note);
        }
    }

    /// Removes the note about an object.
    pub(super) fn clear(&self, object: &str) {
        let mut notes = self.lock();
        notes.changed |= notes.by_object.remove(object).is_some();
    }

    /// Returns whether the notes have changed since the last call.
    pub(super) fn take_changed(&self) -> bool {
        std::mem::take(&mut self.lock().changed)
    }

    /// Returns the notes of the host: about unreadable containers first, then about what teardowns
    /// left, then about projects that are not deckies, then about ignored labels.
    pub(super) fn build(&self, deckies: &Deckies) -> Vec<Note> {
        let unreadable = deckies.unreadable.iter();
        let unreadable = unreadable.map(|text| format!("cannot read the listed {text}"));
        let kept: Vec<_> = self.lock().by_object.values().cloned().collect();
        let foreign = deckies.foreign.values().cloned();
        let labels = deckies.describe_ignored_labels();
        let all = unreadable.chain(kept).chain(foreign).chain(labels);
        all.take(MAX_NOTES)
            .map(|text| Note::from(text.as_str()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
