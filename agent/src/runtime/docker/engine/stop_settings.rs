//! The settings of containers that matter for their stop. They are read shortly after a container
//! is first listed, so that a teardown of many containers does not have to inspect each of them at
//! the moment when the Engine is busiest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, stream};
use tokio::sync::Notify;

use super::client::{Engine, StopSettings};
use super::container::Container;

/// The maximum number of containers that are inspected at the same time.
const MAX_READS: usize = 4;

/// The stop settings of the listed containers, as far as they have been read.
#[derive(Debug, Default)]
pub(crate) struct StopSettingsCache {
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Notified when the settings of a container are missing.
    missing: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Missing,
    Reading,
    Known(StopSettings),
    /// The settings could not be read. A teardown reads them again.
    Unknown,
}

impl StopSettingsCache {
    /// Returns the settings of a container if they have been read since it last changed.
    pub(crate) fn get(&self, id: &str) -> Option<StopSettings> {
        match self.lock().get(id) {
            Some(Entry::Known(settings)) => Some(*settings),
            _ => None,
        }
    }

    /// Keeps only the entries of these containers, and requests the settings of new ones.
    pub(crate) fn set_containers(&self, containers: &BTreeMap<String, Container>) {
        let mut entries = self.lock();
        entries.retain(|id, _| containers.contains_key(id));
        for id in containers.keys() {
            if !entries.contains_key(id) {
                entries.insert(id.clone(), Entry::Missing);
                self.missing.notify_one();
            }
        }
    }

    /// Forgets the settings of a container, which may have changed.
    pub(crate) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Forgets all settings.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Reads missing settings from the Engine, forever.
    pub(crate) async fn read_missing(&self, socket: &Path) {
        loop {
            self.missing.notified().await;
            let ids = self.take_missing();
            let engine = Engine::connect(socket).await.ok();
            let reads = stream::iter(ids).for_each_concurrent(MAX_READS, async |id| {
                let settings = match &engine {
                    Some(engine) => engine.inspect_stop(&id).await.ok(),
                    None => None,
                };
                self.finish(&id, settings);
            });
            reads.await;
        }
    }

    fn take_missing(&self) -> Vec<String> {
        let mut entries = self.lock();
        let missing = entries.iter_mut();
        let missing = missing.filter(|(_, entry)| **entry == Entry::Missing);
        missing
            .map(|(id, entry)| {
                *entry = Entry::Reading;
                id.clone()
            })
            .collect()
    }

    /// Stores the settings of a container, unless it was forgotten while they were read.
    fn finish(&self, id: &str, settings: Option<StopSettings>) {
        if let Some(entry) = self.lock().get_mut(id)
            && *entry == Entry::Reading
        {
            *entry = settings.map_or(Entry::Unknown, Entry::Known);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Container, StopSettings, StopSettingsCache};

    const SETTINGS: StopSettings = StopSettings {
        restarts: true,
        grace: None,
    };

    fn list(ids: &[&str]) -> BTreeMap<String, Container> {
        let listed = ids.iter();
        listed
            .map(|id| ((*id).to_owned(), Container::default()))
            .collect()
    }

    #[test]
    fn settings_that_change_while_they_are_read_are_read_again() {
        let cache = StopSettingsCache::default();
        cache.set_containers(&list(&["a", "b"]));
        assert_eq!(cache.take_missing(), ["a", "b"]);
        cache.forget("a");
        cache.finish("a", Some(SETTINGS));
        cache.finish("b", Some(SETTINGS));
        assert_eq!((cache.get("a"), cache.get("b")), (None, Some(SETTINGS)));
        cache.set_containers(&list(&["a", "b"]));
        assert_eq!(cache.take_missing(), ["a"]);
        // A read that was started before the container changed must not end the new one.
        cache.forget("a");
        cache.set_containers(&list(&["a"]));
        cache.finish("a", Some(SETTINGS));
        assert_eq!((cache.get("a"), cache.get("b")), (None, None));
    }

    #[test]
    fn settings_that_cannot_be_read_are_unknown() {
        let cache = StopSettingsCache::default();
        cache.set_containers(&list(&["a"]));
        cache.take_missing();
        cache.finish("a", None);
        assert_eq!(cache.get("a"), None);
        cache.set_containers(&list(&["a"]));
        assert!(cache.take_missing().is_empty());
    }
}
