//! Who asks: a closed loop that keeps so many requests in flight, each answered before the next of its slot.
//!
//! One subscription for all answers and one publish a request: a request by the client's own means would cost more
//! than what is measured.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use async_nats::{Client, Message, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use hdrhistogram::Histogram;

/// What a service may be late with its last answers before the measurement fails.
const GRACE: Duration = Duration::from_secs(20);

/// What is asked, and how.
pub(crate) struct Load<'a, Payloads> {
    pub(crate) client: &'a Client,
    pub(crate) subject: Subject,
    pub(crate) payloads: Payloads,
    pub(crate) in_flight: u16,
    pub(crate) time: Duration,
    /// Refuses an answer that must not be counted: the measurement fails with it.
    pub(crate) check: fn(&Bytes) -> Result<()>,
}

/// What one service did.
pub(crate) struct Measured {
    pub(crate) answers: usize,
    pub(crate) per_second: f64,
    /// In nanoseconds, from the request's publish to its answer.
    pub(crate) latencies: Histogram<u64>,
}

impl<'a, Payloads: Iterator<Item = &'a Bytes>> Load<'_, Payloads> {
    /// Asks for the whole time, or until the payloads are used up.
    pub(crate) async fn run(self) -> Result<Measured> {
        let bound = self.time + GRACE;
        let measured = tokio::time::timeout(bound, self.ask()).await;
        measured.context("an answer is missing")?
    }

    async fn ask(mut self) -> Result<Measured> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(format!("{inbox}.*")).await?;
        let slots = (0..self.in_flight).map(|slot| Subject::from(format!("{inbox}.{slot}")));
        let slots: Vec<Subject> = slots.collect();
        let mut latencies = Histogram::new_with_bounds(1, GRACE.as_nanos() as u64 * 4, 3)?;

        let start = Instant::now();
        let mut asked = vec![start; slots.len()];
        let mut open = 0;
        for slot in &slots {
            open += usize::from(self.send(slot).await?);
        }
        let (mut in_time, mut last) = (0, start);
        while open > 0 {
            let answer = answers.next().await.context("the connection is closed")?;
            let now = Instant::now();
            (self.check)(&answer.payload).with_context(|| describe(&answer))?;
            open -= 1;
            if now - start >= self.time {
                continue;
            }
            let slot = slot_of(&answer.subject)?;
            latencies.record((now - asked[slot]).as_nanos() as u64)?;
            (in_time, last) = (in_time + 1, now);
            asked[slot] = now;
            open += usize::from(self.send(&slots[slot]).await?);
        }
        if in_time == 0 {
            bail!("no answer within {:?}", self.time);
        }
        Ok(Measured {
            answers: in_time,
            per_second: in_time as f64 / (last - start).as_secs_f64(),
            latencies,
        })
    }

    /// Sends the next payload; false when there is none.
    async fn send(&mut self, slot: &Subject) -> Result<bool> {
        let Some(payload) = self.payloads.next().cloned() else {
            return Ok(false);
        };
        let (subject, reply) = (self.subject.clone(), slot.clone());
        let client = self.client;
        client.publish_with_reply(subject, reply, payload).await?;
        Ok(true)
    }
}

fn slot_of(subject: &Subject) -> Result<usize> {
    let slot = subject
        .rsplit('.')
        .next()
        .and_then(|slot| slot.parse().ok());
    slot.with_context(|| format!("an answer on {subject}, where none was asked for"))
}

fn describe(answer: &Message) -> String {
    let text = String::from_utf8_lossy(&answer.payload);
    match answer.status {
        Some(status) => format!("answered with status {status}: {text}"),
        None => format!("answered: {text}"),
    }
}
