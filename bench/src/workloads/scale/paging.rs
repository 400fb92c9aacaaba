//! Lists every shard, page by page, and compares the time with encoding the same records, and with
//! transferring the same number of encoded pages.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_nats::Request;
use bytes::Bytes;
use futures_util::StreamExt;
use scuttle_schemas::shards::ShardsList;
use scuttle_schemas::subjects;
use serde::Serialize;
use serde_json::json;

use crate::environment::shared::Environment;
use crate::report::samples::median;
use crate::report::summary::Report;
use crate::workloads::scale::sizes::{DECKIES_PER_HOST, HOSTS};

const PAGE_SIZE: u16 = 1000;

/// The times of one round, in seconds.
#[derive(Debug, Default, Serialize)]
struct Round {
    paging: f64,
    encoding: f64,
    carrying: f64,
}

pub(super) async fn run(environment: &Environment, report: &mut Report) -> Result<()> {
    let mut rounds = Vec::new();
    // A listing has a thousand requests, so a few rounds are enough.
    for _ in 0..environment.options.rounds.min(3) {
        rounds.push(list(environment).await?);
    }
    let median_of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    report.print_line(&format!(
        "paging: {:.2} s for all shards, {PAGE_SIZE} per page; encoding the same records takes {:.2} s, transferring \
         as many pages {:.2} s",
        median_of(|round| round.paging)?,
        median_of(|round| round.encoding)?,
        median_of(|round| round.carrying)?
    ));
    let ratio = median_of(|round| round.paging / round.encoding)?;
    report.expect_at_most("paging 1,000,000 shards", "× encoding them", 2.0, ratio);
    report.record("paging", &rounds)
}

/// Lists all shards. Measures the time from each request to its reply, the time to encode each page
/// again, and the time to transfer as many pages.
async fn list(environment: &Environment) -> Result<Round> {
    let (mut paging, mut encoding) = (Duration::ZERO, Duration::ZERO);
    let (mut after, mut shards, mut pages) = (None, 0, 0);
    let last = loop {
        let request = json!({ "after": after, "limit": PAGE_SIZE }).to_string();
        let sent = Instant::now();
        let payload = send(
            environment,
            subjects::SHARDS_LIST.to_owned(),
            request.into(),
        )
        .await?;
        paging += sent.elapsed();
        pages += 1;
        let page: ShardsList = serde_json::from_slice(&payload)?;
        let start = Instant::now();
        let encoded = serde_json::to_vec(&page)?;
        encoding += start.elapsed();
        ensure!(
            encoded.len() == payload.len(),
            "the encoding differs from the reply"
        );
        shards += page.shards.len();
        after = page.next;
        if after.is_none() {
            break payload;
        }
    };
    let all = HOSTS as usize * DECKIES_PER_HOST as usize;
    ensure!(shards == all, "{shards} shards were listed");
    Ok(Round {
        paging: paging.as_secs_f64(),
        encoding: encoding.as_secs_f64(),
        carrying: transfer(environment, pages, &last).await?.as_secs_f64(),
    })
}

/// Measures the transfer of `pages` replies, each of which is the encoded `page`. The replies are
/// requested one after another.
async fn transfer(environment: &Environment, pages: usize, page: &Bytes) -> Result<Duration> {
    let nats = environment.client.nats();
    let subject = nats.new_inbox();
    let mut requests = nats.subscribe(subject.clone()).await?;
    let serve = async {
        for _ in 0..pages {
            let request = requests.next().await.context("the connection is closed")?;
            let inbox = request.reply.context("a message without a reply subject")?;
            nats.publish(inbox, page.clone()).await?;
        }
        anyhow::Ok(())
    };
    let start = Instant::now();
    let request = async {
        for _ in 0..pages {
            send(environment, subject.clone(), Bytes::new()).await?;
        }
        anyhow::Ok(start.elapsed())
    };
    // If one fails, the other must not wait for it.
    let ((), took) = tokio::try_join!(serve, request)?;
    Ok(took)
}

async fn send(environment: &Environment, subject: String, request: Bytes) -> Result<Bytes> {
    let request = Request::new().payload(request);
    let reply = environment.client.nats().send_request(subject, request);
    Ok(reply.await?.payload)
}
