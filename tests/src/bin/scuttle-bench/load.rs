//! Who asks: a closed loop that keeps so many requests in flight, each answered before the next of its slot.
//!
//! Each asks by the client's own `request`, as programs do. (A generator of its own making, with one inbox and no
//! bookkeeping for each request, drives the echo about twice as fast, and so halves the ratio.)

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use async_nats::{Client, Message, Subject};
use bytes::Bytes;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;

/// What a service may be late with its last answers before the measurement fails.
const GRACE: Duration = Duration::from_secs(20);

/// What is asked, and how.
pub(crate) struct Load<'a, Payloads, Check> {
    pub(crate) client: &'a Client,
    pub(crate) subject: Subject,
    pub(crate) payloads: Payloads,
    pub(crate) in_flight: u16,
    pub(crate) time: Duration,
    /// Refuses an answer that must not be counted: the measurement fails with it.
    pub(crate) check: Check,
}

/// What one service did.
pub(crate) struct Measured {
    pub(crate) answers: usize,
    pub(crate) per_second: f64,
    /// In nanoseconds, from the request's publish to its answer.
    pub(crate) latencies: Histogram<u64>,
}

impl<'a, Payloads, Check> Load<'_, Payloads, Check>
where
    Payloads: Iterator<Item = &'a Bytes>,
    Check: Fn(&Bytes) -> Result<()>,
{
    /// Asks for the whole time, or until the payloads are used up.
    pub(crate) async fn run(self) -> Result<Measured> {
        let bound = self.time + GRACE;
        let measured = tokio::time::timeout(bound, self.ask()).await;
        measured.context("an answer is missing")?
    }

    async fn ask(self) -> Result<Measured> {
        let start = Instant::now();
        let payloads = RefCell::new(self.payloads);
        let tally = RefCell::new(Tally {
            answers: 0,
            last: start,
            latencies: Histogram::new_with_bounds(1, GRACE.as_nanos() as u64 * 4, 3)?,
        });
        let asker = async || -> Result<()> {
            while start.elapsed() < self.time {
                let Some(payload) = payloads.borrow_mut().next().cloned() else {
                    break;
                };
                let asked = Instant::now();
                let answer = self.client.request(self.subject.clone(), payload).await?;
                (self.check)(&answer.payload).with_context(|| describe(&answer))?;
                tally.borrow_mut().count(asked, start + self.time)?;
            }
            Ok(())
        };
        try_join_all((0..self.in_flight).map(|_| asker())).await?;
        let Tally {
            answers,
            last,
            latencies,
        } = tally.into_inner();
        if answers == 0 {
            bail!("no answer within {:?}", self.time);
        }
        let per_second = answers as f64 / (last - start).as_secs_f64();
        Ok(Measured {
            answers,
            per_second,
            latencies,
        })
    }
}

/// What came in time.
struct Tally {
    answers: usize,
    last: Instant,
    latencies: Histogram<u64>,
}

impl Tally {
    fn count(&mut self, asked: Instant, end: Instant) -> Result<()> {
        let now = Instant::now();
        if now < end {
            (self.answers, self.last) = (self.answers + 1, now);
            self.latencies.record((now - asked).as_nanos() as u64)?;
        }
        Ok(())
    }
}

fn describe(answer: &Message) -> String {
    let text = String::from_utf8_lossy(&answer.payload);
    match answer.status {
        Some(status) => format!("answered with status {status}: {text}"),
        None => format!("answered: {text}"),
    }
}
