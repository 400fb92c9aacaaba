//! Sends the requests of a load, in a closed loop or an open loop, and records the replies.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use hdrhistogram::Histogram;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::load::outcome::{LoadOutcome, new_histogram};
use crate::load::sender::Sender;
use crate::load::spec::Pace;

/// The maximum number of requests that wait for their reply in an open loop. If more requests wait,
/// the service cannot keep up, and latencies would have no meaning.
const MAX_UNANSWERED: usize = 50_000;

/// The interval at which an open loop sends the requests that are due. Timers are not more precise
/// than this.
const BURST_INTERVAL: Duration = Duration::from_millis(1);

/// The requests of a load, and the replies that arrived before the load ended.
pub(super) struct Recorder {
    start: Instant,
    end: Instant,
    requests: usize,
    pub(super) replies: usize,
    last_reply: Instant,
    latencies: Histogram<u64>,
}

impl Recorder {
    pub(super) fn begin(time: Duration) -> Self {
        let start = Instant::now();
        Self {
            start,
            end: start + time,
            requests: 0,
            replies: 0,
            last_reply: start,
            latencies: new_histogram(),
        }
    }

    /// Counts the reply to a request that was due at `due`, unless the reply arrived after the end
    /// of the load. `now` is the time of arrival.
    fn record(&mut self, due: Instant, now: Instant) {
        if now < self.end {
            (self.replies, self.last_reply) = (self.replies + 1, now);
            let latency = now.saturating_duration_since(due).as_nanos() as u64;
            self.latencies.saturating_record(latency);
        }
    }

    pub(super) fn into_outcome(self, cpu: Vec<f64>) -> LoadOutcome {
        LoadOutcome {
            requests: self.requests,
            replies: self.replies,
            seconds: (self.last_reply - self.start).as_secs_f64(),
            latencies: self
                .latencies
                .iter_recorded()
                .map(|value| (value.value_iterated_to(), value.count_at_value()))
                .collect(),
            cpu,
        }
    }
}

/// Sends requests until the load has ended or no requests are left, and waits for all replies.
pub(super) async fn run(sender: &Sender, pace: Pace, recorder: Recorder) -> Result<Recorder> {
    match pace {
        Pace::InFlight(in_flight) => run_closed_loop(sender, in_flight, recorder).await,
        Pace::PerSecond(rate) => run_open_loop(sender, rate, recorder).await,
    }
}

/// Sends requests in `in_flight` slots. Each slot sends its next request when the reply to its
/// previous request has arrived.
async fn run_closed_loop(sender: &Sender, in_flight: u16, recorder: Recorder) -> Result<Recorder> {
    let recorder = RefCell::new(recorder);
    let (start, end) = (recorder.borrow().start, recorder.borrow().end);
    let slot = async || -> Result<()> {
        let mut due = start;
        while due < end {
            let number = recorder.borrow().requests;
            if !sender.has_request(number) {
                break;
            }
            recorder.borrow_mut().requests += 1;
            sender.send(number).await?;
            let now = Instant::now();
            recorder.borrow_mut().record(due, now);
            due = now;
        }
        Ok(())
    };
    try_join_all((0..in_flight).map(|_| slot())).await?;
    Ok(recorder.into_inner())
}

/// Sends `rate` requests per second, even if replies are late.
async fn run_open_loop(sender: &Sender, rate: u32, mut recorder: Recorder) -> Result<Recorder> {
    let mut bursts = interval_at(recorder.start.into(), BURST_INTERVAL);
    bursts.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut unanswered = FuturesUnordered::new();
    loop {
        tokio::select! {
            due = bursts.tick(), if recorder.start.elapsed() < recorder.end - recorder.start => {
                let due = due.into_std();
                let count_due = (due - recorder.start).as_secs_f64() * f64::from(rate);
                while (recorder.requests as f64) < count_due && sender.has_request(recorder.requests) {
                    let number = recorder.requests;
                    unanswered.push(async move { (due, sender.send(number).await) });
                    recorder.requests += 1;
                }
                ensure!(
                    unanswered.len() < MAX_UNANSWERED,
                    "{MAX_UNANSWERED} requests have no reply"
                );
            }
            Some((due, sent)) = unanswered.next() => {
                sent?;
                recorder.record(due, Instant::now());
            }
            else => return Ok(recorder),
        }
    }
}
