//! Every shard, page by page, beside encoding the same records, and beside carrying the same pages, encoded before anybody asks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_nats::Request;
use bytes::Bytes;
use futures_util::StreamExt;
use scuttle_schemas::shards::ShardsList;
use scuttle_schemas::subjects;
use serde::Serialize;
use serde_json::json;

use super::{DECKIES, HOSTS};
use crate::report::Report;
use crate::samples::median;
use crate::stage::Stage;

const LIMIT: u16 = 1000;

/// One listing, in seconds.
#[derive(Debug, Default, Serialize)]
struct Round {
    paging: f64,
    encoding: f64,
    carrying: f64,
}

/// Measures and reports.
pub(super) async fn run(stage: &Stage, report: &mut Report) -> Result<()> {
    let mut rounds = Vec::new();
    // A listing is a thousand requests: fewer rounds say as much.
    for _ in 0..stage.how.rounds.min(3) {
        rounds.push(list(stage).await?);
    }
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    report.say(&format!(
        "paging: {:.2} s for all shards, {LIMIT} a page; to encode the same records takes {:.2} s, to carry as many pages {:.2} s",
        of(|round| round.paging)?,
        of(|round| round.encoding)?,
        of(|round| round.carrying)?
    ));
    let ratio = of(|round| round.paging / round.encoding)?;
    report.at_most("paging 1,000,000 shards", "× encoding them", 2.0, ratio);
    report.keep("paging", &rounds)
}

/// The clock runs from each request to its answer, then for encoding what it held.
async fn list(stage: &Stage) -> Result<Round> {
    let (mut paging, mut encoding) = (Duration::ZERO, Duration::ZERO);
    let (mut after, mut shards, mut pages) = (None, 0, 0);
    let last = loop {
        let request = json!({ "after": after, "limit": LIMIT }).to_string();
        let asked = Instant::now();
        let payload = ask(stage, subjects::SHARDS_LIST.to_owned(), request.into()).await?;
        paging += asked.elapsed();
        pages += 1;
        let page: ShardsList = serde_json::from_slice(&payload)?;
        let begun = Instant::now();
        let encoded = serde_json::to_vec(&page)?;
        encoding += begun.elapsed();
        ensure!(encoded.len() == payload.len(), "not what was sent");
        shards += page.shards.len();
        after = page.next;
        if after.is_none() {
            break payload;
        }
    };
    let all = HOSTS as usize * DECKIES as usize;
    ensure!(shards == all, "{shards} shards were listed");
    Ok(Round {
        paging: paging.as_secs_f64(),
        encoding: encoding.as_secs_f64(),
        carrying: carry(stage, pages, &last).await?.as_secs_f64(),
    })
}

/// What the bus takes for so many answers like this one, asked for one after another, of a service that has it ready.
async fn carry(stage: &Stage, pages: usize, page: &Bytes) -> Result<Duration> {
    let nats = stage.client.nats();
    let subject = nats.new_inbox();
    let mut requests = nats.subscribe(subject.clone()).await?;
    let serve = async {
        for _ in 0..pages {
            let request = requests.next().await.context("the connection is up")?;
            let inbox = request.reply.context("a request")?;
            nats.publish(inbox, page.clone()).await?;
        }
        anyhow::Ok(())
    };
    let asked = Instant::now();
    let ask = async {
        for _ in 0..pages {
            ask(stage, subject.clone(), Bytes::new()).await?;
        }
        anyhow::Ok(asked.elapsed())
    };
    // Neither waits for the other when that has failed.
    let ((), took) = tokio::try_join!(serve, ask)?;
    Ok(took)
}

async fn ask(stage: &Stage, subject: String, request: Bytes) -> Result<Bytes> {
    let request = Request::new().payload(request);
    let answer = stage.client.nats().send_request(subject, request);
    Ok(answer.await?.payload)
}
