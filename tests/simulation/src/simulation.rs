//! The simulation of one seed: all simulated participants, and one queue of events in simulated
//! time. The code that handles an event is in the folder of the participant that handles it.

use std::collections::BTreeMap;

use scuttle_schemas::Timestamp;

use crate::oracle::swarm::SwarmOracle;
use crate::oracle::violation::Violation;
use crate::seed::plan::SeedPlan;
use crate::seed::seeded_rng::SeededRng;
use crate::state::agents::host::AgentHost;
use crate::state::clients::operators::Operators;
use crate::state::clients::subscriber::Subscriber;
use crate::state::controllers::process::Controller;
use crate::state::counts::Counts;
use crate::state::event::Event;
use crate::state::partitioning::{Partitioning, ServersByPartition};

/// The start of simulated time, in milliseconds since 1970.
const EPOCH: i64 = 1_795_425_109_000;

pub(crate) struct Simulation {
    /// The simulated time in milliseconds since the start of the run.
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    order: u64,
    pub(crate) rng: SeededRng,
    pub(crate) plan: SeedPlan,
    pub(crate) faults_stopped: bool,
    pub(crate) partitioning: Partitioning,
    pub(crate) controllers: Vec<Controller>,
    pub(crate) servers: ServersByPartition,
    pub(crate) agent_hosts: Vec<AgentHost>,
    pub(crate) operators: Operators,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) oracle: SwarmOracle,
    pub(crate) counts: Counts,
    pub(crate) violation: Option<Violation>,
    pub(crate) done: bool,
    /// The lines of the transcript, or `None` if no transcript was requested.
    pub(crate) transcript: Option<Vec<String>>,
}

/// Writes a line to the transcript, if a transcript was requested.
macro_rules! note {
    ($simulation:expr, $($text:tt)*) => {
        if $simulation.transcript.is_some() {
            let line = format!($($text)*);
            $simulation.write_line(&line);
        }
    };
}
pub(crate) use note;

impl Simulation {
    pub(crate) fn new(seed: u64, transcript: bool) -> Self {
        let mut rng = SeededRng::new(seed);
        let plan = SeedPlan::choose(&mut rng);
        let partitioning = Partitioning::from_plan(&plan);
        let controllers: Vec<_> = (0..partitioning.controller_count())
            .map(|_| Controller::new(&mut rng))
            .collect();
        let servers = ServersByPartition::new(partitioning, &mut rng);
        let agent_hosts = (0..plan.hosts as usize)
            .map(|index| AgentHost::new(index, &plan, &mut rng))
            .collect();
        let subscribers = (0..plan.subscribers)
            .map(|_| Subscriber::default())
            .collect();
        let mut simulation = Self {
            now: 0,
            queue: BTreeMap::new(),
            order: 0,
            partitioning,
            controllers,
            servers,
            agent_hosts,
            operators: Operators::default(),
            subscribers,
            oracle: SwarmOracle::new(partitioning),
            counts: Counts::default(),
            violation: None,
            done: false,
            faults_stopped: false,
            transcript: transcript.then(Vec::new),
            rng,
            plan,
        };
        note!(simulation, "seed {seed}: {:?}", simulation.plan);
        simulation.schedule_first_events();
        simulation
    }

    fn schedule_first_events(&mut self) {
        for controller in 0..self.controllers.len() {
            self.schedule(0, Event::StartController(controller));
        }
        for host in 0..self.agent_hosts.len() {
            let delay_ms = self.rng.pick_below(3_000);
            self.schedule(delay_ms, Event::StartAgent(host));
        }
        for subscriber in 0..self.subscribers.len() {
            let delay_ms = self.rng.pick_below(20_000);
            self.schedule(delay_ms, Event::Subscribe(subscriber));
        }
        self.enroll_all();
        self.schedule(3_000, Event::Work);
        let delay_ms = 2_000 + self.rng.pick_below(self.plan.max_fault_gap_ms);
        self.schedule(delay_ms, Event::Fault);
        let active = self.plan.active_ms;
        self.schedule(active, Event::StopFaults);
    }

    /// Schedules an event `delay_ms` milliseconds from now.
    pub(crate) fn schedule(&mut self, delay_ms: u64, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + delay_ms, self.order), event);
    }

    /// Returns the time on a clock that is `offset` milliseconds ahead of simulated time.
    pub(crate) fn wall_clock(&self, offset: i64) -> Timestamp {
        Timestamp::from_millis(EPOCH + self.now.cast_signed() + offset)
    }

    pub(crate) fn write_line(&mut self, line: &str) {
        let now = self.now;
        if let Some(lines) = &mut self.transcript {
            lines.push(format!("{:>4}.{:03} {line}", now / 1000, now % 1000));
        }
    }

    /// Records the violation, if the check failed and no violation was recorded before.
    pub(crate) fn record_check(&mut self, checked: Result<(), Violation>) {
        if let Err(violation) = checked
            && self.violation.is_none()
        {
            note!(self, "VIOLATION {violation}");
            self.violation = Some(violation);
        }
    }

    /// Runs until the simulation ends or an invariant is violated.
    pub(crate) fn run(&mut self) {
        while self.violation.is_none()
            && !self.done
            && let Some(((at, _), event)) = self.queue.pop_first()
        {
            self.now = at;
            self.counts.steps += 1;
            self.handle(event);
        }
    }

    pub(crate) fn handle(&mut self, event: Event) {
        if let Some(controller) = event.process_of_controller()
            && self.is_paused(controller)
        {
            self.postpone(controller, event);
            return;
        }
        match event {
            Event::Deliver(delivery) => self.deliver(&delivery),
            Event::Reconnect(link) => self.reconnect(link),
            Event::NoticeConnection(link) => self.notice_connection(link),
            Event::StartController(controller) => self.start_controller(controller),
            Event::Decide { controller, run } => self.decide(controller, run),
            Event::Commit { controller, run } => self.commit(controller, run),
            Event::SendCommitted { controller, run } => self.send_committed(controller, run),
            Event::Wake {
                controller,
                run,
                wake,
            } => self.wake(controller, run, wake),
            Event::CheckLease { controller, run } => self.check_lease(controller, run),
            Event::TakeOver { controller, run } => self.take_over(controller, run),
            Event::GatherTimeout {
                controller,
                run,
                gather: number,
                requested,
            } => {
                self.gather_times_out(controller, run, number, requested);
            }
            Event::FreeDiskSpace(controller) => self.controllers[controller].disk.set_full(false),
            Event::RestoreServers => self.restore_servers(),
            Event::RestoreJournal(controller) => self.restore_journal(controller),
            Event::StartAgent(host) => self.start_agent(host),
            Event::AgentTick { host, boot } => self.agent_tick(host, boot),
            Event::ReadInventory {
                host,
                boot,
                observation,
            } => self.read_inventory(host, boot, *observation),
            Event::RemoveDecky {
                host,
                boot,
                operation,
            } => self.remove_decky(host, boot, operation),
            Event::VerifyTeardown {
                host,
                boot,
                observation,
            } => self.verify_teardown(host, boot, *observation),
            Event::RestoreInventory(host) => self.agent_hosts[host].inventory_fails = false,
            Event::Work => self.do_some_work(),
            Event::Fault => self.cause_fault(),
            Event::OperatorTimeout(request) => self.operator_times_out(request),
            Event::PageTimeout {
                subscriber,
                subject,
                listing,
            } => {
                self.page_times_out(subscriber, subject, listing);
            }
            Event::Subscribe(subscriber) => self.subscribe(subscriber),
            Event::StopFaults => self.stop_faults(),
            Event::ResetAgents => self.reset_agents(),
            Event::StrayHeartbeat(host) => self.stray_agent_reports(host),
            Event::CheckSettled => self.check_settled(),
        }
    }
}
