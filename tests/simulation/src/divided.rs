//! The hosts divided over several partitions: who of the controllers belongs to which, whom of them a message reaches, and in
//! which order what they tell each other comes. Which partition takes what is the product's rule (`PartitionAssignment`).

use scuttle_controller::partition::assignment::PartitionAssignment;
use scuttle_controller::request::endpoint::Endpoint;
use scuttle_schemas::{Partition, Partitions, subjects};

use crate::chance::Chance;
use crate::network::Link;
use crate::plan::Plan;
use crate::servers::Servers;
use crate::world::World;

/// The controllers of all partitions, those of the first before those of the second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Divided {
    pub(crate) of: Partitions,
    /// How many controllers each has.
    each: usize,
}

impl Divided {
    pub(crate) fn by(plan: &Plan) -> Self {
        let of = u8::try_from(plan.partitions).ok().and_then(Partitions::new);
        Self {
            of: of.expect("a plan has few partitions"),
            each: plan.controllers as usize,
        }
    }

    /// How many controllers there are.
    pub(crate) fn controllers(self) -> usize {
        self.of.count() * self.each
    }

    /// Which hosts are a controller's.
    pub(crate) fn portion(self, controller: usize) -> PartitionAssignment {
        let partition = self.of.all().nth(controller / self.each);
        PartitionAssignment {
            partition: partition.unwrap_or_default(),
            of: self.of,
        }
    }

    /// The controllers of one partition.
    pub(crate) fn of_partition(self, partition: Partition) -> std::ops::Range<usize> {
        let first = partition.index() * self.each;
        first..first + self.each
    }
}

/// What the servers keep for each partition, if several controllers share it.
pub(crate) struct AllServers {
    each: usize,
    all: Vec<Servers>,
}

impl AllServers {
    pub(crate) fn new(divided: Divided, chance: &mut Chance) -> Self {
        let shared = if divided.each > 1 {
            divided.of.count()
        } else {
            0
        };
        Self {
            each: divided.each,
            all: (0..shared).map(|_| Servers::new(chance.draw())).collect(),
        }
    }

    /// Those of a controller's partition.
    pub(crate) fn of(&self, controller: usize) -> Option<&Servers> {
        self.all.get(controller / self.each)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Servers> {
        self.all.iter()
    }
}

/// The endpoint at which a leader is asked on a subject.
pub(crate) fn served(portion: PartitionAssignment, subject: &str) -> Option<Endpoint> {
    let serves = |endpoint: &Endpoint| match portion.endpoint_subject(*endpoint).0.split_once('*') {
        Some((head, tail)) => subject.starts_with(head) && subject.ends_with(tail),
        None => portion.endpoint_subject(*endpoint).0 == subject,
    };
    Endpoint::ALL.into_iter().find(serves)
}

/// The list that the first partition's leader gathers for whoever asks on a subject.
pub(crate) fn gathered(portion: PartitionAssignment, subject: &str) -> Option<Endpoint> {
    let gathers = portion.is_one_of_several() && portion.is_first();
    let asked = |endpoint: &Endpoint| endpoint.reads() && endpoint.subject() == subject;
    Endpoint::ALL.into_iter().find(|one| gathers && asked(one))
}

impl World {
    /// Whether a leader has subscribed a subject that clients, agents and other leaders send to.
    pub(crate) fn subscribes(&self, controller: usize, subject: &str) -> bool {
        let portion = self.divided.portion(controller);
        if !portion.is_one_of_several() {
            return true;
        }
        if subjects::READING.contains(&subject) || subjects::teller(subject, portion.of).is_some() {
            return portion.is_first();
        }
        !subjects::is_asked_by_controllers(subject) || served(portion, subject).is_some()
    }

    /// How long a message takes that is to come after `wait`, but not before what the same leader told the others earlier: one
    /// connection keeps the order.
    pub(crate) fn in_order(&mut self, from: Link, subject: &str, wait: u64) -> u64 {
        let Link::Controller(controller) = from else {
            return wait;
        };
        if subjects::teller(subject, self.divided.of).is_none() {
            return wait;
        }
        let last = &mut self.controllers[controller].told_until;
        *last = (*last).max(self.now + wait);
        *last - self.now
    }
}
