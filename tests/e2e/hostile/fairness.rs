//! One agent floods the controller with hundreds of times as many messages as all others send.
//! Operators and other agents must still be served. The limits here hold on any machine and for any
//! build; `cargo xtask bench flood` measures an unlimited flood.

use std::time::Duration;

use scuttle_tests::faults::flood::{Flood, FloodMessage, FloodPlan, Rate};
use scuttle_tests::teardown_load::{LoadResult, TeardownLoad};
use scuttle_tests::{Cluster, TestResult};

/// The duration of each measurement.
const MEASUREMENT_TIME: Duration = Duration::from_secs(2);

/// The limit for the median time until a teardown is accepted during a flood. `MAX_TEARDOWN_TIME`
/// is the limit for the time until it ends. On a slow machine, both limits are raised to
/// `MAX_SLOWDOWN` times the median without a flood.
const MAX_ACCEPT_TIME: Duration = Duration::from_secs(2);
const MAX_TEARDOWN_TIME: Duration = Duration::from_secs(10);
const MAX_SLOWDOWN: u32 = 20;

/// The maximum growth of the controller's memory in KiB. It allows for the reports in the
/// controller's queues and for the bytes that the controller reads ahead.
const MAX_GROWTH_KIB: usize = 192 * 1024;

#[tokio::test]
async fn operators_and_other_agents_are_served_during_a_flood_from_one_agent() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let flooder = cluster.enroll_host("flooder").await?;
    let mut load = TeardownLoad::start(&cluster).await?;
    let baseline = load.measure(MEASUREMENT_TIME).await?;
    let before = cluster.controllers[0].process().resident_kib()?;
    let median = |sorted: &[Duration]| LoadResult::percentile(sorted, 50).unwrap_or(Duration::MAX);
    // Inventories are only benchmarked: a debug build of the controller parses them at a few MB per
    // second.
    let messages = FloodMessage::ALL.into_iter();
    for message in messages.filter(|message| *message != FloodMessage::Inventories) {
        let plan = FloodPlan {
            message,
            rate: Rate::Limited,
            connections: 1,
        };
        let flood = Flood::start(&cluster.servers[0], &flooder, plan)?;
        let result = load.measure(MEASUREMENT_TIME).await?;
        let rate = flood.stop()?;
        let details = format!("{} at {rate:.0}/s: {result:?}", message.name());
        assert_eq!(result.failed_requests, 0, "{details}");
        assert!(result.offline_hosts.is_empty(), "{details}");
        let limit =
            MAX_ACCEPT_TIME.max(median(&baseline.accept_times).saturating_mul(MAX_SLOWDOWN));
        assert!(median(&result.accept_times) < limit, "{details}");
        let limit =
            MAX_TEARDOWN_TIME.max(median(&baseline.teardown_times).saturating_mul(MAX_SLOWDOWN));
        assert!(median(&result.teardown_times) < limit, "{details}");
    }
    let after = cluster.controllers[0].process().resident_kib()?;
    assert!(
        after < before + MAX_GROWTH_KIB,
        "{before} KiB, then {after} KiB"
    );
    let log = cluster.controllers[0].process().log();
    assert!(!log.contains("lost the NATS server"), "{log}");
    // One warning for each of the three subjects of the agent; further ones are only counted.
    let warnings = log.matches("over the host's rate limit").count();
    assert!((1..=3).contains(&warnings), "{log}");
    Ok(())
}
