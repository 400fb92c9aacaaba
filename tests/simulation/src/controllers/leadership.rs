//! Leadership among several controllers. Each controller follows the shared journal and checks the
//! lease. It takes over when the lease is free, and follows again when its term has ended.

use std::ops::Range;

use scuttle_controller::store::{Store, StoreError};

use uuid::Uuid;

use crate::simulation::{Simulation, note};
use crate::state::controllers::leader_term::LeaderTerm;
use crate::state::event::Event;
use crate::storage::nats_servers::{LEASE_TTL_MS, LeaseHolder, Renewal};

/// The interval at which a follower checks the lease.
pub(crate) const POLL_INTERVAL_MS: u64 = 250;

/// The number of times that a leader renews its lease within `LEASE_TTL_MS`.
const RENEWALS_PER_TTL: u64 = 4;

impl Simulation {
    /// Returns whether a controller believes that it holds the lease. A controller with a local
    /// store needs no lease, so the result is always true.
    pub(crate) fn holds_lease(&self, controller: usize) -> bool {
        let process = self.controllers[controller].process.as_ref();
        let until = process.and_then(|process| process.lease);
        self.servers.for_controller(controller).is_none()
            || until.is_some_and(|until| self.now < until)
    }

    /// Renews the lease if the controller has one. Otherwise, follows the journal and tries to
    /// acquire the lease. Schedules the next check, unless the lease was lost or the journal could
    /// not be followed.
    pub(crate) fn check_lease(&mut self, controller: usize, run: u64) {
        let Some(process) = self.controllers[controller].process_of_run(run) else {
            return;
        };
        let delay_ms = if process.lease.is_some() {
            if !self.renew(controller, run) || self.verify_journal(controller).is_err() {
                self.step_down(controller);
                return;
            }
            LEASE_TTL_MS / RENEWALS_PER_TTL
        } else {
            if let Err(error) = self.follow_journal(controller) {
                note!(self, "controller {controller} cannot follow: {error}");
                if matches!(error, StoreError::Journal(_)) {
                    self.step_down(controller);
                } else {
                    let power = self.rng.roll_per_mille(500);
                    self.end_controller(controller, power);
                }
                return;
            }
            self.try_acquire_lease(controller, run);
            POLL_INTERVAL_MS
        };
        self.schedule(delay_ms, Event::CheckLease { controller, run });
    }

    /// Renews the lease. Returns whether the controller still believes that it holds the lease.
    pub(crate) fn renew(&mut self, controller: usize, run: u64) -> bool {
        let renewed = (self.servers.for_controller(controller))
            .map(|servers| servers.renew_lease(LeaseHolder { controller, run }, self.now));
        match renewed {
            Some(Renewal::Renewed) => {
                self.extend_lease(controller);
                true
            }
            Some(Renewal::HeldByOther) => false,
            Some(Renewal::NoReply) | None => self.holds_lease(controller),
        }
    }

    /// Extends the lease in the controller's memory. The lease ends there up to 50 ms earlier than
    /// on the servers, because a controller counts from before it sent its request.
    fn extend_lease(&mut self, controller: usize) {
        let until = self.now + LEASE_TTL_MS - self.rng.pick_below(50);
        if let Some(process) = &mut self.controllers[controller].process {
            process.lease = Some(until);
        }
    }

    fn try_acquire_lease(&mut self, controller: usize, run: u64) {
        let acquired = (self.servers.for_controller(controller)).is_some_and(|servers| {
            servers.acquire_lease(LeaseHolder { controller, run }, self.now)
        });
        if acquired {
            note!(self, "controller {controller} acquired the lease");
            self.extend_lease(controller);
            let delay_ms = self.rng.pick_below(300);
            self.schedule(delay_ms, Event::TakeOver { controller, run });
        }
    }

    /// Applies a random number of journal messages that the controller has not applied yet, and
    /// occasionally makes a checkpoint.
    fn follow_journal(&mut self, controller: usize) -> Result<(), StoreError> {
        let Some(process) = &mut self.controllers[controller].process else {
            return Ok(());
        };
        for _ in 0..self.rng.pick_below(20) {
            if !process.store.apply_next(&mut process.state)? {
                break;
            }
        }
        if process.store.journal_len() > 0 && self.rng.roll_per_mille(20) {
            let changes = self.rng.pick_between(1, 40) as usize;
            process.store.checkpoint(changes)?;
        }
        self.verify_journal(controller)
    }

    /// Checks that the journal is complete. If not, moves everything that was read or written to
    /// the rows, as the real engine and follower do.
    pub(crate) fn verify_journal(&mut self, controller: usize) -> Result<(), StoreError> {
        let Some(process) = &mut self.controllers[controller].process else {
            return Ok(());
        };
        let verified = process.store.verify();
        if verified.is_err() {
            // The disk may fail at the same time.
            let _ = process.store.checkpoint(usize::MAX);
        }
        verified
    }

    /// Reads the rest of the journal after the lease was acquired. Starts to lead if the controller
    /// still holds the lease.
    pub(crate) fn take_over(&mut self, controller: usize, run: u64) {
        let holds = self.holds_lease(controller);
        let Some(process) = self.controllers[controller].process_of_run(run) else {
            return;
        };
        if let Err(error) = process.store.catch_up(&mut process.state) {
            note!(self, "controller {controller} cannot take over: {error}");
            self.step_down(controller);
        } else if holds {
            self.counts.takeovers += 1;
            self.start_term(controller, run);
        } else {
            process.lease = None;
        }
    }

    /// Starts a term. The first batch of the term raises the epoch. The append of this batch fails
    /// if another controller has appended to the journal since it was read.
    pub(crate) fn start_term(&mut self, controller: usize, run: u64) {
        let Some(process) = self.controllers[controller].process_of_run(run) else {
            return;
        };
        process.term = Some(LeaderTerm::new());
        let proposed = (controller as u128 + 1) << 64 | u128::from(run);
        process.state.ensure_record(Uuid::from_u128(proposed));
        note!(self, "controller {controller} became leader");
        self.oracle
            .for_controller(controller)
            .start_term(controller);
        self.decide(controller, run);
    }

    /// If the controller leads, replies `not_leader` to all waiting requests. Then loads its store
    /// again as a follower.
    pub(crate) fn step_down(&mut self, controller: usize) {
        let controller_state = &mut self.controllers[controller];
        let (run, leads) = (controller_state.run_number, controller_state.is_leader());
        let term = (controller_state.process.as_mut()).and_then(|process| process.term.take());
        note!(
            self,
            "controller {controller} {}",
            if leads {
                "steps down"
            } else {
                "reloads its store"
            }
        );
        for (requester, reply) in term
            .map(LeaderTerm::into_not_leader_replies)
            .into_iter()
            .flatten()
        {
            self.send_reply(controller, &requester, &reply);
        }
        if let Some(servers) = self.servers.for_controller(controller)
            && self.rng.roll_per_mille(500)
        {
            servers.release_lease(LeaseHolder { controller, run });
        }
        self.controllers[controller].process = None;
        self.start_controller(controller);
    }

    /// Counts the controllers of a range that lead and believe that they hold the lease.
    pub(crate) fn count_leaders(&self, controllers: Range<usize>) -> usize {
        let leads = |controller: &usize| {
            self.controllers[*controller].is_leader() && self.holds_lease(*controller)
        };
        controllers.filter(leads).count()
    }
}
