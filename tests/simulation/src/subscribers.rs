//! Subscribers: each keeps a view of shards, hosts and operations by the protocol's rule, from broadcasts that
//! may be lost and from lists in small pages. It knows nothing but the wire.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::Message;
use scuttle_schemas::{Partition, Partitions, subjects};
use serde_json::{Value, json};

use crate::network::{Link, inbox, message};
use crate::world::{Event, World, note};

/// How long a page is waited for, in milliseconds.
const PATIENCE_MS: u64 = 2_000;

/// The three subjects: broadcast, list, what its records are called, their key.
pub(crate) const SUBJECTS: [(&str, &str, &str, &[&str]); 3] = [
    (
        subjects::SHARDS_UPDATED,
        subjects::SHARDS_LIST,
        "shards",
        &["host_uuid", "decky_id"],
    ),
    (
        subjects::HOSTS_UPDATED,
        subjects::HOSTS_LIST,
        "hosts",
        &["host_uuid"],
    ),
    (
        subjects::OPERATIONS_UPDATED,
        subjects::OPERATIONS_LIST,
        "operations",
        &["operation_id"],
    ),
];

/// One subscriber.
#[derive(Debug, Default)]
pub(crate) struct Subscriber {
    pub(crate) subscribed: bool,
    views: [View; 3],
}

/// What is known of one subject.
#[derive(Debug, Default)]
struct View {
    /// The last revision that was heard.
    revision: Option<u64>,
    /// The first revision of the last whole listing: what is older says nothing new.
    listed: u64,
    /// By key: the revision of the record, and the record unless it is gone.
    records: BTreeMap<String, (u64, Option<Value>)>,
    listings: u64,
    listing: Option<Listing>,
}

#[derive(Debug, Default)]
struct Listing {
    /// What was heard when it was asked for.
    heard: u64,
    first_revision: Option<u64>,
    listed: BTreeSet<String>,
    after: Value,
}

/// What a record says, without what moves on without being told.
pub(crate) fn told_part(mut record: Value) -> Value {
    if let Some(fields) = record.as_object_mut() {
        for quiet in ["last_seen", "last_heartbeat", "waiting_for"] {
            fields.remove(quiet);
        }
    }
    record
}

pub(crate) fn key_of(record: &Value, fields: &[&str]) -> String {
    let parts: Vec<&str> = fields
        .iter()
        .filter_map(|field| record[*field].as_str())
        .collect();
    parts.join("/")
}

/// A record with its revision, if that is its partition's own: what another tells of it has the one of the telling.
fn numbered(record: &Value, of: Partitions) -> Value {
    let mut record = record.clone();
    let host = record["host_uuid"].as_str().unwrap_or_default();
    if of != Partitions::ONE
        && of.of_text(host) != Partition::FIRST
        && let Some(fields) = record.as_object_mut()
    {
        fields.remove("revision");
    }
    record
}

impl View {
    fn put(&mut self, key: String, revision: u64, record: Option<Value>, listed: bool) {
        let newer = match self.records.get(&key) {
            Some((known, _)) => revision > *known || (listed && revision == *known),
            None => true,
        };
        if newer {
            self.records.insert(key, (revision, record));
        }
    }

    /// Takes a broadcast in; answers whether something was missed.
    fn hear(&mut self, update: &Value, fields: &[&str]) -> bool {
        let Some(revision) = update["revision"].as_u64() else {
            return false;
        };
        if revision < self.listed {
            return false;
        }
        let records = ["updated", "removed"].map(|lists| update[lists].as_array());
        // A repeated revision that was not heard itself is one that was missed.
        let repeats = records.into_iter().flatten().all(Vec::is_empty);
        for record in update["updated"].as_array().into_iter().flatten() {
            let key = key_of(record, fields);
            self.put(key, revision, Some(told_part(record.clone())), false);
        }
        for record in update["removed"].as_array().into_iter().flatten() {
            self.put(key_of(record, fields), revision, None, false);
        }
        let missed = self
            .revision
            .is_none_or(|last| revision > last + u64::from(!repeats));
        self.revision = self.revision.max(Some(revision));
        missed
    }

    /// Takes a page in; answers where the next one begins.
    fn page(&mut self, name: &str, page: &Value, fields: &[&str]) -> Option<Value> {
        let revision = page["revision"].as_u64()?;
        let mut listing = self.listing.take()?;
        // Of a leader that another has followed, without its knowing: all is listed again, and later, when that knows.
        if revision < listing.first_revision.unwrap_or(listing.heard) {
            self.listings += 1;
            self.listing = Some(Listing {
                heard: listing.heard,
                ..Listing::default()
            });
            return None;
        }
        let first = *listing.first_revision.get_or_insert(revision);
        for record in page[name].as_array()? {
            let key = key_of(record, fields);
            listing.listed.insert(key.clone());
            let own = record["revision"].as_u64().unwrap_or(revision);
            self.put(key, own, Some(told_part(record.clone())), true);
        }
        if page["next"].is_string() {
            listing.after = page["next"].clone();
            let after = listing.after.clone();
            self.listing = Some(listing);
            return Some(after);
        }
        for (key, record) in &mut self.records {
            if record.0 < first && !listing.listed.contains(key) {
                record.1 = None;
            }
        }
        self.revision = self.revision.max(Some(first));
        self.listed = self.listed.max(first);
        None
    }

    fn living(&self) -> impl Iterator<Item = (&String, &Value)> {
        let living = self.records.iter();
        living.filter_map(|(key, (_, record))| Some((key, record.as_ref()?)))
    }
}

impl Subscriber {
    /// Whether its view of one subject is this list.
    pub(crate) fn agrees(
        &self,
        subject: usize,
        list: &BTreeMap<String, Value>,
        of: Partitions,
    ) -> Result<(), String> {
        let compared = |(key, record): (&String, &Value)| (key.clone(), numbered(record, of));
        let view: BTreeMap<_, _> = self.views[subject].living().map(compared).collect();
        let list: BTreeMap<_, _> = list.iter().map(compared).collect();
        if view == list {
            return Ok(());
        }
        let differs: Vec<_> = (view.keys().chain(list.keys()))
            .filter(|key| view.get(*key) != list.get(*key))
            .map(|key| {
                format!(
                    "{key}: seen {:?}, listed {:?}",
                    view.get(key),
                    list.get(key)
                )
            })
            .collect();
        Err(differs.join("; "))
    }
}

impl World {
    pub(crate) fn subscribe(&mut self, subscriber: usize) {
        self.subscribers[subscriber].subscribed = true;
        for subject in 0..SUBJECTS.len() {
            self.list(subscriber, subject);
        }
    }

    /// Begins a listing, instead of the one that may be at work.
    fn list(&mut self, subscriber: usize, subject: usize) {
        let view = &mut self.subscribers[subscriber].views[subject];
        view.listing = Some(Listing {
            heard: view.revision.unwrap_or_default(),
            ..Listing::default()
        });
        self.ask_page(subscriber, subject);
    }

    fn ask_page(&mut self, subscriber: usize, subject: usize) {
        let view = &mut self.subscribers[subscriber].views[subject];
        let Some(listing) = &view.listing else { return };
        view.listings += 1;
        let number = view.listings;
        let body = json!({ "limit": 2, "after": listing.after });
        let reply = format!("{}.{subject}.{number}", inbox(Link::Subscriber(subscriber)));
        let request = message(
            SUBJECTS[subject].1,
            Some(&reply),
            None,
            body.to_string().into(),
        );
        self.send(Link::Subscriber(subscriber), &request);
        self.after(
            PATIENCE_MS,
            Event::SubscriberWaits(subscriber, subject, number),
        );
    }

    pub(crate) fn subscriber_waits(&mut self, subscriber: usize, subject: usize, number: u64) {
        let view = &self.subscribers[subscriber].views[subject];
        if view.listing.is_some() && view.listings == number {
            self.ask_page(subscriber, subject);
        }
    }

    pub(crate) fn subscriber_receives(&mut self, subscriber: usize, received: &Message) {
        let Ok(body) = serde_json::from_slice::<Value>(&received.payload) else {
            return;
        };
        let broadcast = SUBJECTS
            .iter()
            .position(|subject| *subject.0 == *received.subject);
        if let Some(subject) = broadcast {
            let view = &mut self.subscribers[subscriber].views[subject];
            if view.hear(&body, SUBJECTS[subject].3) {
                note!(
                    self,
                    "subscriber {subscriber} missed some of {}",
                    SUBJECTS[subject].0
                );
                self.list(subscriber, subject);
            }
            return;
        }
        let mut tokens = received.subject.rsplit('.');
        let mut number = || tokens.next()?.parse::<u64>().ok();
        let (Some(number), Some(subject)) = (number(), number()) else {
            return;
        };
        let subject = subject as usize;
        let view = &mut self.subscribers[subscriber].views[subject];
        if view.listings != number {
            return;
        }
        let (_, _, name, fields) = SUBJECTS[subject];
        let next = view.page(name, &body, fields);
        if next.is_some() {
            self.ask_page(subscriber, subject);
        } else if view.listings > number {
            let again = Event::SubscriberWaits(subscriber, subject, view.listings);
            self.after(PATIENCE_MS, again);
        }
    }
}
