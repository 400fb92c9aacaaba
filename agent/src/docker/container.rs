//! One container, as the Engine lists it, with what matters here read out of it. To which decky it belongs is in
//! `deckies`.

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as State};

/// The labels of Compose and of ours.
pub(super) const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const DEPENDS_ON: &str = "com.docker.compose.depends_on";
pub(super) const MANAGED: &str = "scuttle.managed";

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) id: String,
    /// Without the slash that the API puts before it.
    pub(super) name: String,
    /// Of which Compose project.
    pub(super) project: String,
    /// Which of its services; empty if Compose did not make it.
    pub(super) service: String,
    /// The services that Compose starts before it.
    pub(super) needs: Vec<String>,
    /// It carries `scuttle.managed=true`.
    pub(super) managed: bool,
    /// The id of the container whose network it shares.
    pub(super) shares: Option<String>,
    pub(super) condition: Condition,
    /// Network and IPv4 address, by network.
    pub(super) addresses: Vec<(String, String)>,
    pub(super) image: String,
    /// Named and anonymous ones.
    pub(super) volumes: Vec<String>,
}

/// How it is, the better first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    /// Running, and healthy if it says whether it is.
    Up,
    /// On its way to be up.
    Coming,
    /// Running, but of no use.
    Unwell,
    /// Not running.
    Down,
    /// Not running, and the Engine could not clear it away.
    Dead,
}

impl Container {
    /// `None` for one without what the API promises, or of no Compose project.
    pub(super) fn read(summary: ContainerSummary) -> Option<Self> {
        let mut labels = summary.labels.unwrap_or_default();
        let mut label = |name: &str| labels.remove(name).unwrap_or_default();
        let project = label(PROJECT);
        let name = summary.names?.into_iter().next()?;
        let needs = label(DEPENDS_ON);
        let mode = summary.host_config.and_then(|host| host.network_mode);
        let networks = summary.network_settings.and_then(|it| it.networks);
        let mut addresses: Vec<_> = networks
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(network, endpoint)| Some((network, endpoint.ip_address?)))
            .filter(|(_, address)| !address.is_empty())
            .collect();
        addresses.sort();
        (!project.is_empty()).then(|| Self {
            id: summary.id.unwrap_or_default(),
            name: name.trim_start_matches('/').to_owned(),
            project,
            service: label(SERVICE),
            // `base:service_started:false,other:…`
            needs: (needs.split(','))
                .filter_map(|need| need.split(':').next())
                .filter(|need| !need.is_empty())
                .map(ToOwned::to_owned)
                .collect(),
            managed: label(MANAGED) == "true",
            shares: mode.and_then(|mode| Some(mode.strip_prefix("container:")?.to_owned())),
            condition: condition(summary.state, summary.status.as_deref().unwrap_or_default()),
            addresses,
            image: summary.image_id.unwrap_or_default(),
            volumes: (summary.mounts.unwrap_or_default().into_iter())
                .filter_map(|mount| mount.name)
                .collect(),
        })
    }
}

/// `status` is the line of `docker ps`, which alone tells the health in a listing: `Up 3 minutes (unhealthy)`.
fn condition(state: Option<State>, status: &str) -> Condition {
    match state.unwrap_or(State::EMPTY) {
        State::RUNNING if status.ends_with("(unhealthy)") => Condition::Unwell,
        State::RUNNING if status.ends_with("(health: starting)") => Condition::Coming,
        State::RUNNING => Condition::Up,
        State::CREATED | State::RESTARTING => Condition::Coming,
        State::PAUSED => Condition::Unwell,
        State::DEAD => Condition::Dead,
        State::EXITED | State::REMOVING | State::STOPPING | State::EMPTY => Condition::Down,
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ContainerSummary;

    use super::{Condition, Container};

    fn read(text: &str) -> Option<Container> {
        let summary: ContainerSummary = serde_json::from_str(text).expect("a listing's entry");
        Container::read(summary)
    }

    #[test]
    fn an_entry_of_the_engine_is_read() {
        let text = r#"{ "Id": "f3", "Names": ["/decky-01-http-proxy"], "ImageID": "sha256:4c", "State": "running",
            "Status": "Up 2 minutes", "HostConfig": { "NetworkMode": "container:ab" },
            "Labels": { "com.docker.compose.project": "decnet", "com.docker.compose.service": "decky-01-http_proxy",
                        "com.docker.compose.depends_on": "decky-01:service_started:false,log:x:true",
                        "scuttle.managed": "true" },
            "NetworkSettings": { "Networks": { "b": { "IPAddress": "10.0.0.2" }, "a": { "IPAddress": "" } } },
            "Mounts": [ { "Type": "volume", "Name": "data" }, { "Type": "bind", "Source": "/x" } ] }"#;
        let container = read(text).expect("of a project");
        assert_eq!(container.name, "decky-01-http-proxy");
        assert_eq!(container.needs, ["decky-01", "log"]);
        assert_eq!(container.shares.as_deref(), Some("ab"));
        assert_eq!(
            container.addresses,
            [("b".to_owned(), "10.0.0.2".to_owned())]
        );
        assert_eq!(container.volumes, ["data"]);
        assert!(container.managed);
        assert_eq!(read(r#"{ "Id": "f3", "Names": ["/other"] }"#), None);
    }

    #[test]
    fn the_condition_follows_state_and_health() {
        for (state, status, expected) in [
            ("running", "Up 3 minutes", Condition::Up),
            ("running", "Up 3 minutes (healthy)", Condition::Up),
            ("running", "Up 3 minutes (unhealthy)", Condition::Unwell),
            (
                "running",
                "Up 1 second (health: starting)",
                Condition::Coming,
            ),
            ("created", "Created", Condition::Coming),
            (
                "restarting",
                "Restarting (1) 2 seconds ago",
                Condition::Coming,
            ),
            ("paused", "Up 3 minutes (Paused)", Condition::Unwell),
            ("exited", "Exited (0) 2 seconds ago", Condition::Down),
            ("dead", "Dead", Condition::Dead),
        ] {
            let text = format!(
                r#"{{ "Names": ["/a"], "State": "{state}", "Status": "{status}",
                      "Labels": {{ "com.docker.compose.project": "p" }} }}"#
            );
            let container = read(&text).expect("of a project");
            assert_eq!(container.condition, expected, "{state}, {status}");
        }
    }
}
