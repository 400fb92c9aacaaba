//! The world of one seed: one queue of events in simulated time, and everything that they happen to. What
//! each part does stands in its own file; here is the order in which things happen, and what is written down.

use std::collections::BTreeMap;

use scuttle_schemas::Timestamp;

use crate::agents::{Seen, Worker};
use crate::chance::Chance;
use crate::controller::Controller;
use crate::divided::{AllServers, Divided};
use crate::network::{Link, Parcel};
use crate::operators::Operators;
use crate::oracle::{Broken, Oracles};
use crate::plan::Plan;
use crate::subscribers::Subscriber;

/// When the simulated time begins, in milliseconds since 1970.
const EPOCH: i64 = 1_795_425_109_000;

/// What happens next.
#[derive(Debug)]
pub(crate) enum Event {
    Deliver(Parcel),
    LinkUp(Link),
    LinkKnown(Link),
    StartController(usize),
    Decide(usize, u64),
    Commit(usize, u64),
    Tell(usize, u64),
    Wake(usize, u64, u64),
    LookAtLease(usize, u64),
    TakeOver(usize, u64),
    GatherWaits(usize, u64, u64, usize),
    DiskFree(usize),
    ServersBack,
    StartAgent(usize),
    AgentTick(usize, u64),
    InventoryRead(usize, u64, Box<Seen>),
    Removal(usize, u64),
    Verified(usize, u64, Box<Seen>),
    Readable(usize),
    Work,
    Fault,
    OperatorWaits(u64),
    SubscriberWaits(usize, usize, u64),
    Subscribe(usize),
    Heal,
    Settled,
}

impl Event {
    /// The controller to whose process it happens, if it does.
    fn process_of_controller(&self) -> Option<usize> {
        match self {
            Event::Deliver(Parcel {
                to: Link::Controller(controller),
                ..
            })
            | Event::Decide(controller, _)
            | Event::Commit(controller, _)
            | Event::Tell(controller, _)
            | Event::Wake(controller, _, _)
            | Event::LookAtLease(controller, _)
            | Event::TakeOver(controller, _)
            | Event::GatherWaits(controller, ..) => Some(*controller),
            _ => None,
        }
    }
}

/// What was counted in one seed, or in many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub steps: u64,
    /// Controllers and agents killed, or ended by their disk.
    pub crashes: u64,
    /// Losses of power.
    pub power_losses: u64,
    /// Take-overs, where several controllers share a journal.
    pub takeovers: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages lost on the way.
    pub dropped: u64,
    /// Operations accepted.
    pub accepted: u64,
    /// Deckies removed by agents.
    pub removed: u64,
}

impl Counts {
    /// Adds another seed's.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.crashes += other.crashes;
        self.power_losses += other.power_losses;
        self.takeovers += other.takeovers;
        self.sent += other.sent;
        self.dropped += other.dropped;
        self.accepted += other.accepted;
        self.removed += other.removed;
    }
}

pub(crate) struct World {
    /// Simulated milliseconds.
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    order: u64,
    pub(crate) chance: Chance,
    pub(crate) plan: Plan,
    /// Faults have stopped.
    pub(crate) healed: bool,
    pub(crate) divided: Divided,
    pub(crate) controllers: Vec<Controller>,
    /// What several controllers share.
    pub(crate) servers: AllServers,
    pub(crate) workers: Vec<Worker>,
    pub(crate) operators: Operators,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) oracle: Oracles,
    pub(crate) counts: Counts,
    pub(crate) broken: Option<Broken>,
    pub(crate) done: bool,
    /// Lines, if they are wanted.
    pub(crate) transcript: Option<Vec<String>>,
}

/// Writes a line into the transcript, if one is kept.
macro_rules! note {
    ($world:expr, $($text:tt)*) => {
        if $world.transcript.is_some() {
            let line = format!($($text)*);
            $world.write(&line);
        }
    };
}
pub(crate) use note;

impl World {
    pub(crate) fn new(seed: u64, transcript: bool) -> Self {
        let mut chance = Chance::new(seed);
        let plan = Plan::of(&mut chance);
        let divided = Divided::by(&plan);
        let controllers: Vec<_> = (0..divided.controllers())
            .map(|_| Controller::new(&mut chance))
            .collect();
        let servers = AllServers::new(divided, &mut chance);
        let workers = (0..plan.hosts as usize)
            .map(|index| Worker::new(index, &plan, &mut chance))
            .collect();
        let subscribers = (0..plan.subscribers)
            .map(|_| Subscriber::default())
            .collect();
        let mut world = Self {
            now: 0,
            queue: BTreeMap::new(),
            order: 0,
            divided,
            controllers,
            servers,
            workers,
            operators: Operators::default(),
            subscribers,
            oracle: Oracles::of(divided),
            counts: Counts::default(),
            broken: None,
            done: false,
            healed: false,
            transcript: transcript.then(Vec::new),
            chance,
            plan,
        };
        note!(world, "seed {seed}: {:?}", world.plan);
        world.begin();
        world
    }

    fn begin(&mut self) {
        for controller in 0..self.controllers.len() {
            self.after(0, Event::StartController(controller));
        }
        for host in 0..self.workers.len() {
            let wait = self.chance.below(3_000);
            self.after(wait, Event::StartAgent(host));
        }
        for subscriber in 0..self.subscribers.len() {
            let wait = self.chance.below(20_000);
            self.after(wait, Event::Subscribe(subscriber));
        }
        self.enroll_all();
        self.after(3_000, Event::Work);
        let wait = 2_000 + self.chance.below(self.plan.fault_gap_ms);
        self.after(wait, Event::Fault);
        let active = self.plan.active_ms;
        self.after(active, Event::Heal);
    }

    /// Lets something happen so many milliseconds from now.
    pub(crate) fn after(&mut self, wait: u64, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + wait, self.order), event);
    }

    /// What a clock shows that is this far off.
    pub(crate) fn wall(&self, offset: i64) -> Timestamp {
        Timestamp::from_millis(EPOCH + self.now.cast_signed() + offset)
    }

    pub(crate) fn write(&mut self, line: &str) {
        let now = self.now;
        if let Some(lines) = &mut self.transcript {
            lines.push(format!("{:>4}.{:03} {line}", now / 1000, now % 1000));
        }
    }

    /// Notes the first broken invariant.
    pub(crate) fn check(&mut self, checked: Result<(), Broken>) {
        if let Err(broken) = checked
            && self.broken.is_none()
        {
            note!(self, "BROKEN {broken}");
            self.broken = Some(broken);
        }
    }

    /// Runs until the end, or until an invariant is broken.
    pub(crate) fn run(&mut self) {
        while self.broken.is_none()
            && !self.done
            && let Some(((at, _), event)) = self.queue.pop_first()
        {
            self.now = at;
            self.counts.steps += 1;
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some(controller) = event.process_of_controller()
            && self.is_paused(controller)
        {
            self.put_off(controller, event);
            return;
        }
        match event {
            Event::Deliver(parcel) => self.deliver(&parcel),
            Event::LinkUp(link) => self.link_up(link),
            Event::LinkKnown(link) => self.link_known(link),
            Event::StartController(controller) => self.start_controller(controller),
            Event::Decide(controller, run) => self.decide(controller, run),
            Event::Commit(controller, run) => self.commit(controller, run),
            Event::Tell(controller, run) => self.tell(controller, run),
            Event::Wake(controller, run, wake) => self.wake(controller, run, wake),
            Event::LookAtLease(controller, run) => self.look_at_lease(controller, run),
            Event::TakeOver(controller, run) => self.take_over(controller, run),
            Event::GatherWaits(controller, run, number, asked) => {
                self.gather_waits(controller, run, number, asked);
            }
            Event::DiskFree(controller) => self.controllers[controller].disk.fill(false),
            Event::ServersBack => self.servers_back(),
            Event::StartAgent(host) => self.start_agent(host),
            Event::AgentTick(host, boot) => self.agent_tick(host, boot),
            Event::InventoryRead(host, boot, seen) => self.inventory_read(host, boot, *seen),
            Event::Removal(host, boot) => self.removal(host, boot),
            Event::Verified(host, boot, seen) => self.verified(host, boot, *seen),
            Event::Readable(host) => self.workers[host].unreadable = false,
            Event::Work => self.work(),
            Event::Fault => self.fault(),
            Event::OperatorWaits(request) => self.operator_waits(request),
            Event::SubscriberWaits(subscriber, subject, listing) => {
                self.subscriber_waits(subscriber, subject, listing);
            }
            Event::Subscribe(subscriber) => self.subscribe(subscriber),
            Event::Heal => self.heal(),
            Event::Settled => self.settled(),
        }
    }
}
