//! Every shard, page by page, beside encoding the same records.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_nats::Request;
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
        "paging: {:.2} s for all shards, {LIMIT} a page; to encode the same records takes {:.2} s",
        of(|round| round.paging)?,
        of(|round| round.encoding)?
    ));
    let ratio = of(|round| round.paging / round.encoding)?;
    report.at_most("paging 1,000,000 shards", "× encoding them", 2.0, ratio);
    report.keep("paging", &rounds)
}

/// The clock runs from each request to its answer, then for encoding what it held.
async fn list(stage: &Stage) -> Result<Round> {
    let (mut paging, mut encoding) = (Duration::ZERO, Duration::ZERO);
    let (mut after, mut shards) = (None, 0);
    loop {
        let request = json!({ "after": after, "limit": LIMIT }).to_string();
        let request = Request::new().payload(request.into());
        let asked = Instant::now();
        let answer = stage
            .client
            .nats()
            .send_request(subjects::SHARDS_LIST, request);
        let answer = answer.await?;
        paging += asked.elapsed();
        let page: ShardsList = serde_json::from_slice(&answer.payload)?;
        let begun = Instant::now();
        let encoded = serde_json::to_vec(&page)?;
        encoding += begun.elapsed();
        ensure!(encoded.len() == answer.payload.len(), "not what was sent");
        shards += page.shards.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let all = HOSTS as usize * DECKIES as usize;
    ensure!(shards == all, "{shards} shards were listed");
    Ok(Round {
        paging: paging.as_secs_f64(),
        encoding: encoding.as_secs_f64(),
    })
}
