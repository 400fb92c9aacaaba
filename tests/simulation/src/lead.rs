//! Who of several controllers leads: each follows the journal that they share, looks at the lease, takes it over when it is
//! free, and follows again when its term is over.

use std::ops::Range;

use scuttle_controller::store::{Store, StoreError};

use crate::servers::{Renewal, TTL_MS};
use crate::term::Term;
use crate::world::{Event, World, note};

/// How often one that follows looks at the lease, in milliseconds.
const LOOK_MS: u64 = 250;

/// How often a lease is renewed in its time.
const RENEWALS: u64 = 4;

impl World {
    /// Whether a controller leads by its own view: one that shares its journal with none always does.
    pub(crate) fn holds_lease(&self, controller: usize) -> bool {
        let process = self.controllers[controller].process.as_ref();
        let until = process.and_then(|process| process.lease);
        self.servers.of(controller).is_none() || until.is_some_and(|until| self.now < until)
    }

    /// Renews the lease, or follows and looks whether it is free.
    pub(crate) fn look_at_lease(&mut self, controller: usize, run: u64) {
        let Some(process) = self.controllers[controller].run(run) else {
            return;
        };
        let wait = if process.lease.is_some() {
            if !self.renew(controller, run) {
                self.depose(controller);
                return;
            }
            TTL_MS / RENEWALS
        } else {
            if let Err(error) = self.follow(controller) {
                note!(self, "controller {controller} cannot follow: {error}");
                if matches!(error, StoreError::Journal(_)) {
                    self.depose(controller);
                } else {
                    let power = self.chance.happens(500);
                    self.end_controller(controller, power);
                }
                return;
            }
            self.take_lease(controller, run);
            LOOK_MS
        };
        self.after(wait, Event::LookAtLease(controller, run));
    }

    /// Whether it leads yet.
    fn renew(&mut self, controller: usize, run: u64) -> bool {
        let renewed =
            (self.servers.of(controller)).map(|servers| servers.renew((controller, run), self.now));
        match renewed {
            Some(Renewal::Renewed) => {
                self.hold_lease(controller);
                true
            }
            Some(Renewal::Taken) => false,
            Some(Renewal::No) | None => self.holds_lease(controller),
        }
    }

    /// It counts from before it asked.
    fn hold_lease(&mut self, controller: usize) {
        let until = self.now + TTL_MS - self.chance.below(50);
        if let Some(process) = &mut self.controllers[controller].process {
            process.lease = Some(until);
        }
    }

    fn take_lease(&mut self, controller: usize, run: u64) {
        let taken = (self.servers.of(controller))
            .is_some_and(|servers| servers.take((controller, run), self.now));
        if taken {
            note!(self, "controller {controller} has the lease");
            self.hold_lease(controller);
            let wait = self.chance.below(300);
            self.after(wait, Event::TakeOver(controller, run));
        }
    }

    /// Applies some of what the leader has appended since, and makes a checkpoint now and then.
    fn follow(&mut self, controller: usize) -> Result<(), StoreError> {
        let Some(process) = &mut self.controllers[controller].process else {
            return Ok(());
        };
        for _ in 0..self.chance.below(20) {
            if !process.store.follow(&mut process.state)? {
                break;
            }
        }
        if process.store.journal_len() > 0 && self.chance.happens(20) {
            let changes = self.chance.within(1, 40) as usize;
            process.store.checkpoint(changes)?;
        }
        Ok(())
    }

    /// The lease is its own: it reads what it does not know yet, and leads.
    pub(crate) fn take_over(&mut self, controller: usize, run: u64) {
        let holds = self.holds_lease(controller);
        let Some(process) = self.controllers[controller].run(run) else {
            return;
        };
        if let Err(error) = process.store.catch_up(&mut process.state) {
            note!(self, "controller {controller} cannot take over: {error}");
            self.depose(controller);
        } else if holds {
            self.counts.takeovers += 1;
            self.lead(controller, run);
        } else {
            process.lease = None;
        }
    }

    /// Begins a term. Its first batch raises the epoch: if that can be appended, nobody else has appended since.
    pub(crate) fn lead(&mut self, controller: usize, run: u64) {
        let Some(process) = self.controllers[controller].run(run) else {
            return;
        };
        process.term = Some(Term::new());
        note!(self, "controller {controller} leads");
        self.oracle.of_controller(controller).leads(controller);
        self.decide(controller, run);
    }

    /// Ends a term: whoever waits asks again, and what is known is read again.
    pub(crate) fn depose(&mut self, controller: usize) {
        let place = &mut self.controllers[controller];
        let (run, leads) = (place.runs, place.leads());
        let term = (place.process.as_mut()).and_then(|process| process.term.take());
        note!(
            self,
            "controller {controller} {}",
            if leads { "leads no more" } else { "reads anew" }
        );
        for (asker, reply) in term.map(Term::deposed).into_iter().flatten() {
            self.answer(controller, &asker, &reply);
        }
        if let Some(servers) = self.servers.of(controller)
            && self.chance.happens(500)
        {
            servers.release((controller, run));
        }
        self.controllers[controller].process = None;
        self.start_controller(controller);
    }

    /// How many of these controllers lead, as they see it.
    pub(crate) fn leaders(&self, among: Range<usize>) -> usize {
        let leads = |controller: &usize| {
            self.controllers[*controller].leads() && self.holds_lease(*controller)
        };
        among.filter(leads).count()
    }
}
