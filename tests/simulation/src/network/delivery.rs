//! Delivery: each message arrives once, twice, late or never. A message to a receiver that is
//! disconnected is lost, as with core NATS.

use async_nats::{Message, StatusCode};
use bytes::Bytes;

use crate::simulation::{Simulation, note};
use crate::state::connection::{Connection, Delivery, build_message};
use crate::state::event::Event;

impl Simulation {
    pub(crate) fn send(&mut self, from: Connection, message: &Message) {
        self.counts.sent += 1;
        if !self.is_connected(from) {
            self.counts.dropped += 1;
            return;
        }
        self.route(from, message);
    }

    /// Sends a message without checking the sender's connection. The caller must know that the
    /// sender is alive and connected.
    pub(crate) fn send_connected(&mut self, from: Connection, message: &Message) {
        self.counts.sent += 1;
        self.route(from, message);
    }

    fn route(&mut self, from: Connection, message: &Message) {
        let receivers = self.find_receivers(&message.subject);
        if let Some(reply) = &message.reply
            && !receivers.iter().any(|to| self.is_connected(*to))
        {
            self.counts.dropped += u64::from(receivers.is_empty());
            let mut no_responders = build_message(reply, None, None, Bytes::new());
            note!(self, "lost    {}: no responders", message.subject);
            no_responders.status = Some(StatusCode::NO_RESPONDERS);
            self.schedule(
                1,
                Event::Deliver(Delivery {
                    to: from,
                    message: no_responders,
                }),
            );
        }
        for to in receivers {
            self.transmit(from, to, message);
        }
    }

    fn transmit(&mut self, from: Connection, to: Connection, message: &Message) {
        if !self.is_connected(to) {
            self.counts.dropped += 1;
            note!(
                self,
                "lost    {} to {to:?}, which is not connected",
                message.subject
            );
            return;
        }
        let copies = if self.faults_stopped {
            1
        } else if self.rng.roll_per_mille(self.plan.drop_rate) {
            self.counts.dropped += 1;
            note!(self, "lost    {} to {to:?}", message.subject);
            0
        } else if self.rng.roll_per_mille(self.plan.duplicate_rate) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let is_delayed = !self.faults_stopped && self.rng.roll_per_mille(self.plan.delay_rate);
            let delay_ms = if is_delayed {
                self.rng.pick_below(self.plan.max_delay_ms)
            } else {
                self.rng.pick_below(3)
            };
            let delay_ms = self.keep_order(from, &message.subject, delay_ms);
            let message = message.clone();
            self.schedule(delay_ms, Event::Deliver(Delivery { to, message }));
        }
    }

    pub(crate) fn deliver(&mut self, delivery: &Delivery) {
        if !self.is_connected(delivery.to) {
            self.counts.dropped += 1;
            note!(
                self,
                "lost    {} to {:?}, which is not connected",
                delivery.message.subject,
                delivery.to
            );
            return;
        }
        note!(
            self,
            "deliver {} to {:?}: {}",
            delivery.message.subject,
            delivery.to,
            String::from_utf8_lossy(&delivery.message.payload)
        );
        match delivery.to {
            Connection::Controller(controller) => {
                self.controller_receives(controller, &delivery.message);
            }
            Connection::Agent(host) => self.agent_receives(host, &delivery.message),
            Connection::Operator => self.operator_receives(&delivery.message),
            Connection::Subscriber(subscriber) => {
                self.subscriber_receives(subscriber, &delivery.message);
            }
        }
    }
}
