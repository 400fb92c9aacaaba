//! When each request is due: in a closed loop, or in an open one.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{MissedTickBehavior, interval_at};

use super::Pace;
use super::generator::{Asker, Tally};

/// The most that an open loop lets wait for their answer: past this the service is not slow but lost.
const OVERDUE: usize = 50_000;

/// What is due in an open loop is due in bursts, this far apart: finer than a timer is not.
const BURST: Duration = Duration::from_millis(1);

impl Asker {
    /// Asks until the time is over, or until there is nothing more to ask.
    pub(super) async fn at(&self, pace: Pace, tally: Tally) -> Result<Tally> {
        match pace {
            Pace::InFlight(in_flight) => self.closed(in_flight, tally).await,
            Pace::PerSecond(rate) => self.open(rate, tally).await,
        }
    }

    /// Each slot asks again when its last answer has come in.
    async fn closed(&self, in_flight: u16, tally: Tally) -> Result<Tally> {
        let tally = RefCell::new(tally);
        let (start, end) = (tally.borrow().start, tally.borrow().end);
        let slot = async || -> Result<()> {
            let mut due = start;
            while due < end {
                let number = tally.borrow().made;
                if !self.has(number) {
                    break;
                }
                tally.borrow_mut().made += 1;
                self.ask(number).await?;
                let now = Instant::now();
                tally.borrow_mut().count(due, now);
                due = now;
            }
            Ok(())
        };
        try_join_all((0..in_flight).map(|_| slot())).await?;
        Ok(tally.into_inner())
    }

    /// So many a second, whatever is answered.
    async fn open(&self, rate: u32, mut tally: Tally) -> Result<Tally> {
        let mut bursts = interval_at(tally.start.into(), BURST);
        bursts.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut asked = FuturesUnordered::new();
        loop {
            tokio::select! {
                due = bursts.tick(), if tally.start.elapsed() < tally.end - tally.start => {
                    let due = due.into_std();
                    let until = (due - tally.start).as_secs_f64() * f64::from(rate);
                    while (tally.made as f64) < until && self.has(tally.made) {
                        let number = tally.made;
                        asked.push(async move { (due, self.ask(number).await) });
                        tally.made += 1;
                    }
                    ensure!(asked.len() < OVERDUE, "{OVERDUE} requests are not answered");
                }
                Some((due, answer)) = asked.next() => {
                    answer?;
                    tally.count(due, Instant::now());
                }
                else => return Ok(tally),
            }
        }
    }
}
