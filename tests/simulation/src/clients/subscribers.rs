//! Subscribers. A subscriber follows the broadcasts, and lists the records again whenever it has
//! missed a broadcast.

use async_nats::Message;
use serde_json::{Value, json};

use crate::simulation::{Simulation, note};
use crate::state::clients::subscriber::{LISTED_TYPES, Listing};
use crate::state::connection::{CLIENT_REPLIES, Connection, build_message};
use crate::state::event::Event;

/// The maximum time that a subscriber waits for a page before it requests the page again.
pub(crate) const PAGE_TIMEOUT_MS: u64 = 2_000;

impl Simulation {
    pub(crate) fn subscribe(&mut self, subscriber: usize) {
        self.subscribers[subscriber].subscribed = true;
        for subject in 0..LISTED_TYPES.len() {
            self.start_listing(subscriber, subject);
        }
    }

    /// Starts a listing, in place of any listing that is in progress.
    fn start_listing(&mut self, subscriber: usize, subject: usize) {
        let view = &mut self.subscribers[subscriber].views[subject];
        view.listing = Some(Listing {
            last_revision: view.revision.unwrap_or_default(),
            ..Listing::default()
        });
        self.request_page(subscriber, subject);
    }

    fn request_page(&mut self, subscriber: usize, subject: usize) {
        let view = &mut self.subscribers[subscriber].views[subject];
        let Some(listing) = &view.listing else { return };
        view.listings += 1;
        let number = view.listings;
        let body = json!({ "limit": 2, "after": listing.after });
        let reply = format!("{CLIENT_REPLIES}.s{subscriber}.{subject}.{number}");
        let request = build_message(
            LISTED_TYPES[subject].list_subject,
            Some(&reply),
            None,
            body.to_string().into(),
        );
        self.send(Connection::Subscriber(subscriber), &request);
        self.schedule(
            PAGE_TIMEOUT_MS,
            Event::PageTimeout {
                subscriber,
                subject,
                listing: number,
            },
        );
    }

    pub(crate) fn page_times_out(&mut self, subscriber: usize, subject: usize, number: u64) {
        let view = &self.subscribers[subscriber].views[subject];
        if view.listing.is_some() && view.listings == number {
            self.request_page(subscriber, subject);
        }
    }

    pub(crate) fn subscriber_receives(&mut self, subscriber: usize, received: &Message) {
        let Ok(body) = serde_json::from_slice::<Value>(&received.payload) else {
            return;
        };
        let broadcast = LISTED_TYPES
            .iter()
            .position(|subject| *subject.broadcast_subject == *received.subject);
        if let Some(subject) = broadcast {
            let view = &mut self.subscribers[subscriber].views[subject];
            if view.apply_broadcast(&body, LISTED_TYPES[subject].key_fields) {
                note!(
                    self,
                    "subscriber {subscriber} missed a message of {}",
                    LISTED_TYPES[subject].broadcast_subject
                );
                self.start_listing(subscriber, subject);
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
        let next = view.apply_page(&LISTED_TYPES[subject], &body);
        if next.is_some() {
            self.request_page(subscriber, subject);
        } else if view.listings > number {
            let timeout = Event::PageTimeout {
                subscriber,
                subject,
                listing: view.listings,
            };
            self.schedule(PAGE_TIMEOUT_MS, timeout);
        }
    }
}
