//! The properties of a container that the agent uses, read from a listing of the Engine. `deckies`
//! determines the decky that a container belongs to.

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as State};

/// The label that Compose sets on the containers and networks of a project.
pub(super) const PROJECT_LABEL: &str = "com.docker.compose.project";
const SERVICE_LABEL: &str = "com.docker.compose.service";
const DEPENDS_ON_LABEL: &str = "com.docker.compose.depends_on";
/// The label that operators set on the containers and networks of deckies.
pub(super) const MANAGED_LABEL: &str = "scuttle.managed";

/// A container of a Compose project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) id: String,
    /// The name without the leading slash of the API.
    pub(super) name: String,
    /// The name of the container's Compose project.
    pub(super) project: String,
    /// The name of the container's Compose service, or empty if Compose did not create the
    /// container.
    pub(super) service: String,
    /// The services that Compose starts before this service.
    pub(super) depends_on: Vec<String>,
    /// Whether the container has the label `scuttle.managed=true`.
    pub(super) managed: bool,
    /// The id of the container whose network this container shares, if any.
    pub(super) shares_network_of: Option<String>,
    pub(super) condition: Condition,
    /// The network name and IPv4 address of each endpoint, sorted by network.
    pub(super) addresses: Vec<(String, String)>,
    pub(super) image: String,
    /// The names of the named and anonymous volumes.
    pub(super) volumes: Vec<String>,
}

/// The condition of a container, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    /// Running, and healthy if it has a health check.
    Running,
    Starting,
    /// Running, but paused or failing its health check.
    Unhealthy,
    Stopped,
    /// Stopped, and the Engine failed to remove it.
    Dead,
}

impl Container {
    /// Reads an entry of a listing. Returns `None` if the container has no name or belongs to no
    /// Compose project.
    pub(super) fn from_summary(summary: ContainerSummary) -> Option<Self> {
        let mut labels = summary.labels.unwrap_or_default();
        let mut label = |name: &str| labels.remove(name).unwrap_or_default();
        let project = label(PROJECT_LABEL);
        let name = summary.names?.into_iter().next()?;
        let depends_on = label(DEPENDS_ON_LABEL);
        let mode = summary.host_config.and_then(|host| host.network_mode);
        let networks = summary
            .network_settings
            .and_then(|settings| settings.networks);
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
            service: label(SERVICE_LABEL),
            // The format is `base:service_started:false,other:…`.
            depends_on: (depends_on.split(','))
                .filter_map(|dependency| dependency.split(':').next())
                .filter(|service| !service.is_empty())
                .map(ToOwned::to_owned)
                .collect(),
            managed: label(MANAGED_LABEL) == "true",
            shares_network_of: mode
                .and_then(|mode| Some(mode.strip_prefix("container:")?.to_owned())),
            condition: to_condition(summary.state, summary.status.as_deref().unwrap_or_default()),
            addresses,
            image: summary.image_id.unwrap_or_default(),
            volumes: (summary.mounts.unwrap_or_default().into_iter())
                .filter_map(|mount| mount.name)
                .collect(),
        })
    }
}

/// Converts the state of a listed container. `status` is the text that `docker ps` shows, such as
/// `Up 3 minutes (unhealthy)`. It is the only part of a listing that contains the health.
fn to_condition(state: Option<State>, status: &str) -> Condition {
    match state.unwrap_or(State::EMPTY) {
        State::RUNNING if status.ends_with("(unhealthy)") => Condition::Unhealthy,
        State::RUNNING if status.ends_with("(health: starting)") => Condition::Starting,
        State::RUNNING => Condition::Running,
        State::CREATED | State::RESTARTING => Condition::Starting,
        State::PAUSED => Condition::Unhealthy,
        State::DEAD => Condition::Dead,
        State::EXITED | State::REMOVING | State::STOPPING | State::EMPTY => Condition::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ContainerSummary;

    use super::{Condition, Container};

    fn parse(text: &str) -> Option<Container> {
        let summary: ContainerSummary = serde_json::from_str(text).expect("a listing's entry");
        Container::from_summary(summary)
    }

    #[test]
    fn an_entry_of_a_listing_is_parsed() {
        let text = r#"{ "Id": "f3", "Names": ["/decky-01-http-proxy"], "ImageID": "sha256:4c", "State": "running",
            "Status": "Up 2 minutes", "HostConfig": { "NetworkMode": "container:ab" },
            "Labels": { "com.docker.compose.project": "decnet", "com.docker.compose.service": "decky-01-http_proxy",
                        "com.docker.compose.depends_on": "decky-01:service_started:false,log:x:true",
                        "scuttle.managed": "true" },
            "NetworkSettings": { "Networks": { "b": { "IPAddress": "10.0.0.2" }, "a": { "IPAddress": "" } } },
            "Mounts": [ { "Type": "volume", "Name": "data" }, { "Type": "bind", "Source": "/x" } ] }"#;
        let container = parse(text).expect("of a project");
        assert_eq!(container.name, "decky-01-http-proxy");
        assert_eq!(container.depends_on, ["decky-01", "log"]);
        assert_eq!(container.shares_network_of.as_deref(), Some("ab"));
        assert_eq!(
            container.addresses,
            [("b".to_owned(), "10.0.0.2".to_owned())]
        );
        assert_eq!(container.volumes, ["data"]);
        assert!(container.managed);
        assert_eq!(parse(r#"{ "Id": "f3", "Names": ["/other"] }"#), None);
    }

    #[test]
    fn the_condition_depends_on_state_and_health() {
        for (state, status, expected) in [
            ("running", "Up 3 minutes", Condition::Running),
            ("running", "Up 3 minutes (healthy)", Condition::Running),
            ("running", "Up 3 minutes (unhealthy)", Condition::Unhealthy),
            (
                "running",
                "Up 1 second (health: starting)",
                Condition::Starting,
            ),
            ("created", "Created", Condition::Starting),
            (
                "restarting",
                "Restarting (1) 2 seconds ago",
                Condition::Starting,
            ),
            ("paused", "Up 3 minutes (Paused)", Condition::Unhealthy),
            ("exited", "Exited (0) 2 seconds ago", Condition::Stopped),
            ("dead", "Dead", Condition::Dead),
        ] {
            let text = format!(
                r#"{{ "Names": ["/a"], "State": "{state}", "Status": "{status}",
                      "Labels": {{ "com.docker.compose.project": "p" }} }}"#
            );
            let container = parse(&text).expect("of a project");
            assert_eq!(container.condition, expected, "{state}, {status}");
        }
    }
}
