//! The made-up properties of a simulated decky. They depend only on the seed, the host and the
//! decky's name.

use std::collections::BTreeMap;

use scuttle_schemas::agents::{ReportedShard, ReportedState};
use scuttle_schemas::{DeckyId, HostId, Labels, Services};

use crate::seeded_rng::SeededRng;

/// Returns the inventory entry of a running decky, with made-up services, address and labels.
pub(crate) fn build_shard(rng: SeededRng, host: &HostId, decky: &DeckyId) -> ReportedShard {
    const SERVICES: [&[&str]; 6] = [
        &["ssh", "http"],
        &["smb", "rdp"],
        &["ssh", "mysql"],
        &["http", "https", "redis"],
        &["ftp", "telnet"],
        &["ssh", "postgres", "http"],
    ];
    const SYSTEMS: [&str; 4] = ["debian-12", "windows-2019", "ubuntu-24.04", "alpine-3.20"];
    const SITES: [&str; 3] = ["dmz", "office", "datacentre"];
    let about = [host.as_str(), decky.as_str()];
    let services = rng.choose(&SERVICES, "services", &about);
    let labels = BTreeMap::from([
        (
            "os".to_owned(),
            rng.choose(&SYSTEMS, "os", &about).to_owned(),
        ),
        (
            "site".to_owned(),
            rng.choose(&SITES, "site", &[host.as_str()]).to_owned(),
        ),
    ]);
    let network = rng.draw("network", &[host.as_str()], 0).to_be_bytes();
    let number = decky
        .as_str()
        .rsplit('-')
        .next()
        .and_then(|n| n.parse::<u32>().ok())
        .unwrap_or(0);
    ReportedShard {
        decky_id: decky.clone(),
        state: ReportedState::Running,
        services: Services::try_from(
            services
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        )
        .unwrap_or_default(),
        decky_ip: Some(format!(
            "10.{}.{}.{}",
            network[0],
            number >> 8,
            number & 0xff
        )),
        labels: Labels::try_from(labels).unwrap_or_default(),
        deployment: None,
        reason: None,
    }
}
