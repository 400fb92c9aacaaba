//! The network: each message is delivered once, twice, late or never; what is sent while its receiver is away
//! is lost, as with core NATS.

use async_nats::{HeaderMap, Message, StatusCode, Subject};
use bytes::Bytes;
use scuttle_schemas::subjects::{self, AgentChannel};

use crate::world::{Event, World, note};

/// Who has a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Controller(usize),
    Agent(usize),
    /// Operators and subscribers never lose theirs: what they lose is messages.
    Operator,
    Subscriber(usize),
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) to: Link,
    pub(crate) message: Message,
}

/// The inbox of one connection.
pub(crate) fn inbox(of: Link) -> String {
    match of {
        Link::Controller(controller) => format!("_INBOX.c{controller}"),
        Link::Agent(host) => format!("_INBOX.a{host}"),
        Link::Operator => "_INBOX.o".to_owned(),
        Link::Subscriber(subscriber) => format!("_INBOX.s{subscriber}"),
    }
}

pub(crate) fn message(
    subject: &str,
    reply: Option<&str>,
    headers: Option<HeaderMap>,
    payload: Bytes,
) -> Message {
    Message {
        subject: subject.into(),
        reply: reply.map(Subject::from),
        length: payload.len(),
        payload,
        headers,
        status: None,
        description: None,
    }
}

impl World {
    /// Publishes.
    pub(crate) fn send(&mut self, from: Link, message: &Message) {
        self.counts.sent += 1;
        if !self.is_up(from) {
            self.counts.dropped += 1;
            return;
        }
        self.spread(from, message);
    }

    /// Publishes for an agent that is known to be alive and connected.
    pub(crate) fn send_alive(&mut self, from: Link, message: &Message) {
        self.counts.sent += 1;
        self.spread(from, message);
    }

    fn spread(&mut self, from: Link, message: &Message) {
        let subscribed = self.subscribed(&message.subject);
        if let Some(reply) = &message.reply
            && !subscribed.iter().any(|to| self.is_up(*to))
        {
            self.counts.dropped += u64::from(subscribed.is_empty());
            let mut nobody = self::message(reply, None, None, Bytes::new());
            note!(self, "lost    {}: nobody is there", message.subject);
            nobody.status = Some(StatusCode::NO_RESPONDERS);
            self.after(
                1,
                Event::Deliver(Parcel {
                    to: from,
                    message: nobody,
                }),
            );
        }
        for to in subscribed {
            self.carry(from, to, message);
        }
    }

    fn carry(&mut self, from: Link, to: Link, message: &Message) {
        if !self.is_up(to) {
            self.counts.dropped += 1;
            note!(self, "lost    {} to {to:?}, which is away", message.subject);
            return;
        }
        let copies = if self.healed {
            1
        } else if self.chance.happens(self.plan.drop) {
            self.counts.dropped += 1;
            note!(self, "lost    {} to {to:?}", message.subject);
            0
        } else if self.chance.happens(self.plan.duplicate) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let late = !self.healed && self.chance.happens(self.plan.late);
            let wait = if late {
                self.chance.below(self.plan.late_ms)
            } else {
                self.chance.below(3)
            };
            let wait = self.in_order(from, &message.subject, wait);
            let message = message.clone();
            self.after(wait, Event::Deliver(Parcel { to, message }));
        }
    }

    fn is_up(&self, link: Link) -> bool {
        match link {
            Link::Controller(controller) => {
                let controller = &self.controllers[controller];
                controller.process.is_some() && controller.link_up
            }
            Link::Agent(host) => self.workers[host].link_up && self.workers[host].process.is_some(),
            Link::Operator | Link::Subscriber(_) => true,
        }
    }

    fn subscribed(&self, subject: &str) -> Vec<Link> {
        if let Some(rest) = subject.strip_prefix("_INBOX.") {
            let token = rest.split('.').next().unwrap_or_default();
            let number = || token.get(1..).and_then(|number| number.parse().ok());
            return match token.as_bytes().first() {
                Some(b'a') => number().map(Link::Agent),
                Some(b's') => number().map(Link::Subscriber),
                Some(b'o') => Some(Link::Operator),
                _ => None,
            }
            .into_iter()
            .collect();
        }
        if subjects::is_controllers_inbox(subject) {
            let token = subject.split('.').nth(1).unwrap_or_default();
            let number = token.get(1..).and_then(|number| number.parse().ok());
            return number.map(Link::Controller).into_iter().collect();
        }
        if let Some(host) = AgentChannel::Commands.host(subject) {
            let found = self.workers.iter().position(|worker| worker.host == host);
            return found.map(Link::Agent).into_iter().collect();
        }
        if subjects::BROADCASTS.contains(&subject) {
            let subscribed = self.subscribers.iter().enumerate();
            let subscribed = subscribed.filter(|(_, subscriber)| subscriber.subscribed);
            return subscribed
                .map(|(index, _)| Link::Subscriber(index))
                .collect();
        }
        // Whoever believes to lead: two may for a while, and both hear everything.
        (0..self.controllers.len())
            .filter(|controller| self.controllers[*controller].leads())
            .filter(|controller| self.subscribes(*controller, subject))
            .map(Link::Controller)
            .collect()
    }

    pub(crate) fn deliver(&mut self, parcel: &Parcel) {
        if !self.is_up(parcel.to) {
            self.counts.dropped += 1;
            note!(
                self,
                "lost    {} to {:?}, which is away",
                parcel.message.subject,
                parcel.to
            );
            return;
        }
        note!(
            self,
            "deliver {} to {:?}: {}",
            parcel.message.subject,
            parcel.to,
            String::from_utf8_lossy(&parcel.message.payload)
        );
        match parcel.to {
            Link::Controller(controller) => self.controller_receives(controller, &parcel.message),
            Link::Agent(host) => self.agent_receives(host, &parcel.message),
            Link::Operator => self.operator_receives(&parcel.message),
            Link::Subscriber(subscriber) => self.subscriber_receives(subscriber, &parcel.message),
        }
    }

    /// Cuts a connection; its end learns of that later, or never.
    pub(crate) fn cut(&mut self, link: Link, wait: u64) {
        note!(self, "cut     {link:?} for {wait} ms");
        match link {
            Link::Controller(controller) => self.connect(controller, false),
            Link::Agent(host) => self.workers[host].link_up = false,
            Link::Operator | Link::Subscriber(_) => return,
        }
        let notice = self.chance.below(2 * wait);
        if notice < wait {
            self.after(notice, Event::LinkKnown(link));
        }
        self.after(wait, Event::LinkUp(link));
    }

    pub(crate) fn link_up(&mut self, link: Link) {
        match link {
            Link::Controller(controller) => self.connect(controller, true),
            Link::Agent(host) => {
                self.workers[host].link_up = true;
                self.after(1, Event::LinkKnown(link));
            }
            Link::Operator | Link::Subscriber(_) => {}
        }
    }

    fn connect(&mut self, controller: usize, up: bool) {
        self.controllers[controller].link_up = up;
        if let Some(servers) = self.servers.of(controller) {
            servers.cut_off(controller, !up);
        }
    }

    pub(crate) fn link_known(&mut self, link: Link) {
        if let Link::Agent(host) = link {
            self.agent_learns_of_link(host);
        }
    }
}
