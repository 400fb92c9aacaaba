//! The side that asks: reads an order, carries it out, says what came of it, until there are no more.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use async_nats::{Client, ConnectOptions, Subject};
use bytes::Bytes;
use hdrhistogram::Histogram;
use scuttle_schemas::HostId;
use scuttle_schemas::subjects::AgentChannel;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::removals::Removals;
use super::{Load, Order, Pace, What, heartbeat, histogram, host_id, request};
use crate::cpu;

/// What a service may be late with its last answers before the measurement fails.
const GRACE: Duration = Duration::from_secs(20);

/// The most requests of one order: more than anybody answers in its time.
const MOST: usize = 500_000;

/// The most heartbeats in a second where each waits for an answer: more than two cores carry.
const MOST_HEARTBEATS: u32 = 60_000;

/// Serves orders from standard input. In the process that [`super::Generator`] starts.
pub(crate) async fn generate() -> Result<ExitCode> {
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = orders.next_line().await? {
        let order = serde_json::from_str(&line)?;
        let load = carry_out(order).await.map_err(|error| format!("{error:#}"));
        println!("{}", serde_json::to_string(&load)?);
    }
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(order: Order) -> Result<Load> {
    let options = match &order.login {
        Some((user, password)) => {
            ConnectOptions::with_user_and_password(user.clone(), password.clone())
        }
        None => ConnectOptions::new(),
    };
    let client = options.connect(&order.url).await?;
    let asker = Asker::prepare(&order, &client).await?;
    let watched: Vec<u32> = std::iter::once(std::process::id())
        .chain(order.watch.iter().copied())
        .collect();
    let used = || -> Result<Vec<f64>> {
        let all = watched.iter().map(|process| cpu::used_by(*process));
        all.map(|used| Ok(used?.as_secs_f64())).collect()
    };
    let before = used()?;
    let time = Duration::from_millis(order.millis);
    let tally = Tally::begin(time);
    let work = asker.at(order.pace, tally);
    let tally = tokio::time::timeout(time + GRACE, work)
        .await
        .context("an answer is missing")??;
    let cpu = used()?.into_iter().zip(before);
    let cpu = cpu.map(|(now, then)| now - then).collect();
    if tally.answers == 0 {
        bail!("no answer within {time:?}");
    }
    Ok(Load {
        made: tally.made,
        answers: tally.answers,
        seconds: (tally.last - tally.start).as_secs_f64(),
        latencies: tally
            .latencies
            .iter_recorded()
            .map(|value| (value.value_iterated_to(), value.count_at_value()))
            .collect(),
        cpu,
    })
}

/// Makes one request after another.
pub(super) struct Asker {
    client: Client,
    what: What,
    requests: Vec<(Subject, Bytes)>,
    removals: Option<Removals>,
}

impl Asker {
    /// All that is not to be measured.
    async fn prepare(order: &Order, client: &Client) -> Result<Self> {
        let subject = Subject::from(order.subject.as_str());
        let (mut requests, mut deckies) = (Vec::new(), Vec::new());
        if let What::Heard { .. } = order.what {
            requests = Self::heartbeats(order)?;
        } else if let What::Written(bytes) = order.what {
            requests.push((subject, vec![b'x'; bytes].into()));
        } else if let What::Listed(limit) = order.what {
            requests.push((subject, json!({ "limit": limit }).to_string().into()));
        } else if order.what == What::Unknown {
            let hosts = order.targets.numbers(&order.only).into_iter();
            let nowhere = |host| (subject.clone(), request(&host_id(host), "nowhere"));
            requests.extend(hosts.map(nowhere));
        } else {
            for (host, decky) in order.targets.each(&order.only).take(MOST) {
                requests.push((subject.clone(), request(&host, &decky)));
                if order.what == What::Removed {
                    deckies.push((host, decky));
                }
            }
        }
        let removals = match order.what {
            What::Removed => Some(Removals::watch(client, deckies).await?),
            _ => None,
        };
        Ok(Self {
            client: client.clone(),
            what: order.what,
            requests,
            removals,
        })
    }

    /// As many as there is time for, each host's after that of the one before it.
    fn heartbeats(order: &Order) -> Result<Vec<(Subject, Bytes)>> {
        let What::Heard { boot, sequence } = order.what else {
            bail!("{:?} is no heartbeat", order.what);
        };
        let rate = match order.pace {
            Pace::PerSecond(rate) => rate,
            Pace::InFlight(_) => MOST_HEARTBEATS,
        };
        let hosts = order.targets.numbers(&order.only).into_iter();
        let hosts: Vec<HostId> = hosts.map(host_id).collect();
        let count = usize::try_from(u64::from(rate) * order.millis / 1000)?;
        let all = (sequence..).flat_map(|sequence| hosts.iter().map(move |host| (host, sequence)));
        all.take(count)
            .map(|(host, sequence)| {
                let payload = serde_json::to_vec(&heartbeat(host, boot, sequence))?;
                Ok((AgentChannel::Heartbeat.subject(host).into(), payload.into()))
            })
            .collect()
    }

    /// Whether there is a request of this number: what changes nothing can be asked again and again.
    pub(super) fn has(&self, number: usize) -> bool {
        number < self.requests.len()
            || matches!(
                self.what,
                What::Echo | What::Stored | What::Written(_) | What::Unknown | What::Listed(_)
            )
    }

    /// Makes a request, and returns when what was asked for has come.
    pub(super) async fn ask(&self, number: usize) -> Result<()> {
        let number = number % self.requests.len();
        let removed = self.removals.as_ref().map(|all| all.of(number));
        let (subject, payload) = self.requests[number].clone();
        let answer = self.client.request(subject, payload).await?;
        self.what.check(&answer)?;
        match removed {
            Some(removed) => removed.await.context("the removal is not told"),
            None => Ok(()),
        }
    }
}

/// What came in time.
pub(super) struct Tally {
    pub(super) start: Instant,
    pub(super) end: Instant,
    pub(super) made: usize,
    answers: usize,
    last: Instant,
    latencies: Histogram<u64>,
}

impl Tally {
    fn begin(time: Duration) -> Self {
        let start = Instant::now();
        Self {
            start,
            end: start + time,
            made: 0,
            answers: 0,
            last: start,
            latencies: histogram(),
        }
    }

    /// Counts an answer that came in `now`, to a request that was due then.
    pub(super) fn count(&mut self, due: Instant, now: Instant) {
        if now < self.end {
            (self.answers, self.last) = (self.answers + 1, now);
            let latency = now.saturating_duration_since(due).as_nanos() as u64;
            self.latencies.saturating_record(latency);
        }
    }
}
