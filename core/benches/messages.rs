//! Benchmarks of decoding requests and reports, and of encoding replies and broadcasts.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use scuttle_core::{Effect, Input};
use scuttle_schemas::agents::Heartbeat;
use scuttle_schemas::shards::ShardsListRequest;
use scuttle_schemas::teardown::TeardownRequest;
use scuttle_steps::Swarm;

const TEARDOWN: &str = r#"{"host_uuid":"host-00000","decky_id":"decky-0000","timeout_s":600}"#;

fn messages(criterion: &mut Criterion) {
    criterion.bench_function("decode a teardown request", |bencher| {
        let decode = || scuttle_schemas::read::<TeardownRequest>("request", TEARDOWN.as_bytes());
        assert!(decode().is_ok(), "a valid request");
        bencher.iter(|| black_box(decode()));
    });

    let mut swarm = Swarm::new(10, 100);
    if let Input::Heartbeat { heartbeat, .. } = swarm.unchanged(0) {
        let sent = serde_json::to_vec(&heartbeat).expect("plain data");
        criterion.bench_function("decode a heartbeat, unchanged", |bencher| {
            bencher.iter(|| black_box(scuttle_schemas::read::<Heartbeat>("heartbeat", &sent)));
        });
    }
    let listed = swarm.step(Input::ShardsList(ShardsListRequest::default()));
    criterion.bench_function("encode a page of 500 shards", |bencher| {
        bencher.iter(|| black_box(serde_json::to_vec(&listed)));
    });

    let accepts: Vec<Input> = (0..256).map(|number| swarm.accept(number).1).collect();
    let mut replies = accepts.into_iter().filter_map(|input| swarm.step(input));
    let reply = replies.next().expect("a reply");
    drop(replies.collect::<Vec<_>>());
    criterion.bench_function("encode an acceptance", |bencher| {
        bencher.iter(|| black_box(serde_json::to_vec(&reply)));
    });
    let effects = swarm.close().effects;
    let broadcast = effects.iter().find_map(|effect| match effect {
        Effect::ShardsUpdated(message, _) => Some(message),
        _ => None,
    });
    let broadcast = broadcast.expect("the acceptances are broadcast");
    criterion.bench_function("encode the broadcast of 256 acceptances", |bencher| {
        bencher.iter(|| black_box(serde_json::to_vec(broadcast)));
    });
}

criterion_group!(benches, messages);
criterion_main!(benches);
