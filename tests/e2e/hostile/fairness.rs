//! One agent floods the controller with hundreds of times what all the others say; they, and the operators, are served
//! meanwhile. With all that a connection takes, `cargo xtask bench flood` measures it; here are the limits that must hold
//! on any machine, whatever the controller is built for.

use std::time::Duration;

use scuttle_tests::faults::flood::{Flood, Shape, Speed};
use scuttle_tests::teardown_load::{Served, Service};
use scuttle_tests::{Swarm, TestResult};

/// How long each measurement takes.
const TIME: Duration = Duration::from_secs(2);

/// What a teardown, or its acceptance, may take under a flood, beside `FACTOR` times what it takes in peace. All that
/// runs here shares the machine with the flood, and with whatever else it does.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(2);
const GONE_WITHIN: Duration = Duration::from_secs(10);
const FACTOR: u32 = 20;

/// By how much the controller's memory may grow, in KiB: the reports that it may have in hand, and what is read ahead.
const GROWTH: usize = 192 * 1024;

#[tokio::test]
async fn a_flood_from_one_agent_does_not_keep_the_others_from_being_served() -> TestResult {
    let mut swarm = Swarm::start().await?;
    let flooder = swarm.host("flooder").await?;
    let mut service = Service::start(&swarm).await?;
    let peace = service.measure(TIME).await?;
    let before = swarm.controller.process().memory()?;
    let median = |sorted: &[Duration]| Served::quantile(sorted, 50).unwrap_or(Duration::MAX);
    // Inventories are left to the measurement: built for debugging, the controller reads them at a few MB a second.
    let shapes = Shape::ALL.into_iter();
    for shape in shapes.filter(|shape| *shape != Shape::Inventories) {
        let flood = Flood::start(&swarm.nats, &flooder, shape, (Speed::InStep, 1))?;
        let served = service.measure(TIME).await?;
        let rate = flood.stop()?;
        let what = format!("{} at {rate:.0}/s: {served:?}", shape.name());
        assert_eq!(served.unserved, 0, "{what}");
        assert!(served.offline.is_empty(), "{what}");
        let limit = ACCEPTED_WITHIN.max(median(&peace.accepts).saturating_mul(FACTOR));
        assert!(median(&served.accepts) < limit, "{what}");
        let limit = GONE_WITHIN.max(median(&peace.teardowns).saturating_mul(FACTOR));
        assert!(median(&served.teardowns) < limit, "{what}");
    }
    let after = swarm.controller.process().memory()?;
    assert!(after < before + GROWTH, "{before} KiB, then {after} KiB");
    let log = swarm.controller.process().log();
    assert!(!log.contains("lost the NATS server"), "{log}");
    let named = log.matches("host \"").count();
    assert!(log.contains("sends too much") && named <= 3, "{log}");
    Ok(())
}
