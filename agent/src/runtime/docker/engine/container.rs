//! The properties of a container that the agent uses, read from a listing of the Engine. `deckies`
//! determines the decky that a container belongs to.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use scuttle_schemas::protection::PROTECTED_LABEL;
use serde::Deserialize;
use serde_json::Value;

/// The labels that Compose sets.
pub(crate) const PROJECT_LABEL: &str = "com.docker.compose.project";
const SERVICE_LABEL: &str = "com.docker.compose.service";
const DEPENDS_ON_LABEL: &str = "com.docker.compose.depends_on";
const ONE_OFF_LABEL: &str = "com.docker.compose.oneoff";
/// The condition in [`DEPENDS_ON_LABEL`] under which the dependency runs once and exits.
const COMPLETED: &str = "service_completed_successfully";
/// The label that operators set on the containers and networks of deckies.
pub(crate) const MANAGED_LABEL: &str = "scuttle.managed";
/// The label of a container that does its work once and exits.
const ONE_SHOT_LABEL: &str = "scuttle.oneshot";
/// The prefix of the labels that a container gives to its decky.
const DECKY_LABEL_PREFIX: &str = "scuttle.label.";
/// The label that names the decky of a container in a `decnet` project.
const DECKY_LABEL: &str = "scuttle.decky";
/// The labels that DECNET sets.
const FLEET_DECKY_LABEL: &str = "decnet.fleet.decky";
const FLEET_SERVICE_LABEL: &str = "decnet.fleet.service_name";

/// A container of a Compose project.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each stands for an independent label or state of the container"
)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// The name without the leading slash of the API.
    pub(crate) name: String,
    /// The Compose project.
    pub(crate) project: String,
    /// The Compose service. Empty if Compose did not create the container.
    pub(crate) service: String,
    /// The services that Compose starts before this service.
    pub(crate) depends_on: Vec<Dependency>,
    /// Whether the container has the label `scuttle.managed=true`.
    pub(crate) managed: bool,
    /// Whether the container has the label `scuttle.protected=true`.
    pub(crate) protected: bool,
    /// The labels `scuttle.label.KEY=VALUE` by `KEY`, which may exceed the limits of labels.
    pub(crate) decky_labels: BTreeMap<String, String>,
    /// Whether `docker compose run` created the container.
    pub(crate) one_off: bool,
    /// Whether the container has the label `scuttle.oneshot=true`.
    pub(crate) one_shot: bool,
    /// The decky named by the label `scuttle.decky` or, if that label is missing, by
    /// `decnet.fleet.decky`.
    pub(crate) fleet_decky: Option<String>,
    /// The service that the label `decnet.fleet.service_name` names.
    pub(crate) fleet_service: Option<String>,
    /// The id of the container whose network this container shares.
    pub(crate) shares_network_of: Option<String>,
    pub(crate) condition: Condition,
    /// The problem of the container, such as `exited with code 1`. `None` if the container is
    /// running without a problem or is starting.
    pub(crate) problem: Option<String>,
    /// Whether the container has exited with code 0.
    pub(crate) completed: bool,
    /// The network name and IPv4 address of each endpoint, sorted by network.
    pub(crate) addresses: Vec<(String, String)>,
    /// The reference with which the container was created, such as `nginx:1.27`.
    pub(crate) image: String,
    pub(crate) image_id: String,
    /// The names of the named and anonymous volumes.
    pub(crate) volumes: Vec<String>,
}

/// A service that Compose starts before another service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) service: String,
    /// Whether the dependency must exit with code 0 before the other service starts.
    pub(crate) must_complete: bool,
}

/// The condition of a container, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Condition {
    /// Running, and healthy if it has a health check.
    #[default]
    Running,
    Starting,
    /// Running, but paused or failing its health check.
    Unhealthy,
    Stopped,
    /// Stopped, and the Engine failed to remove it.
    Dead,
}

/// An entry of a listing. Every field but the id may be missing, and unknown values are kept as
/// text, because Engines differ: Podman, for example, lists the state `stopped`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListedContainer {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default, rename = "ImageID")]
    image_id: Option<String>,
    #[serde(default)]
    labels: Option<HashMap<String, String>>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    host_config: Option<ListedHostConfig>,
    #[serde(default)]
    network_settings: Option<ListedNetworkSettings>,
    #[serde(default)]
    mounts: Option<Vec<ListedMount>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedHostConfig {
    #[serde(default)]
    network_mode: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedNetworkSettings {
    #[serde(default)]
    networks: Option<HashMap<String, Option<ListedEndpoint>>>,
}

#[derive(Debug, Default, Deserialize)]
struct ListedEndpoint {
    #[serde(default, rename = "IPAddress")]
    ip_address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedMount {
    #[serde(default)]
    name: Option<String>,
}

/// An entry of a listing that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnreadableContainer {
    /// The name, or the id if the name cannot be read either.
    pub(crate) name: String,
    /// The Compose project, or `None` if it cannot be read either.
    pub(crate) project: Option<String>,
    pub(crate) cause: String,
}

impl fmt::Display for UnreadableContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {}: {}", self.name, self.cause)
    }
}

/// Decodes an entry of a listing.
pub(crate) fn decode_entry(entry: Value) -> Result<ListedContainer, UnreadableContainer> {
    let text = |pointer: &str| Some(entry.pointer(pointer)?.as_str()?.to_owned());
    let name = text("/Names/0").or_else(|| text("/Id"));
    let name = name.map_or_else(
        || "?".to_owned(),
        |name| name.trim_start_matches('/').to_owned(),
    );
    let labels = entry.get("Labels");
    let project = labels.and_then(|labels| labels.get(PROJECT_LABEL)?.as_str());
    let project = project.map(ToOwned::to_owned);
    serde_json::from_value(entry).map_err(|cause| UnreadableContainer {
        name,
        project,
        cause: cause.to_string(),
    })
}

impl ListedContainer {
    /// Returns the name without the leading slash of the API, or the id if there is no name.
    pub(crate) fn name(&self) -> &str {
        let name = self.names.iter().flatten().next().unwrap_or(&self.id);
        name.trim_start_matches('/')
    }

    /// Returns the reference with which the container was created.
    pub(crate) fn image(&self) -> &str {
        self.image.as_deref().unwrap_or_default()
    }
}

impl Container {
    /// Reads an entry of a listing. Returns `None` if the container belongs to no Compose project.
    pub(crate) fn from_listed(listed: ListedContainer) -> Option<Self> {
        let name = listed.name().to_owned();
        let mut labels = listed.labels.unwrap_or_default();
        let decky_labels = labels.iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(DECKY_LABEL_PREFIX)?;
            Some((key.to_owned(), value.clone()))
        });
        let decky_labels = decky_labels.collect();
        let mut label = |name: &str| labels.remove(name).filter(|value| !value.is_empty());
        let project = label(PROJECT_LABEL)?;
        let depends_on = label(DEPENDS_ON_LABEL).unwrap_or_default();
        let mode = listed.host_config.and_then(|host| host.network_mode);
        let networks = listed
            .network_settings
            .and_then(|settings| settings.networks);
        let mut addresses: Vec<_> = networks
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(network, endpoint)| Some((network, endpoint?.ip_address?)))
            .filter(|(_, address)| !address.is_empty())
            .collect();
        addresses.sort();
        let status = listed.status.unwrap_or_default();
        let state = listed.state.as_deref().unwrap_or_default();
        Some(Self {
            name,
            project,
            service: label(SERVICE_LABEL).unwrap_or_default(),
            depends_on: parse_dependencies(&depends_on),
            managed: label(MANAGED_LABEL).as_deref() == Some("true"),
            protected: label(PROTECTED_LABEL).as_deref() == Some("true"),
            decky_labels,
            one_off: label(ONE_OFF_LABEL).is_some_and(|value| value.eq_ignore_ascii_case("true")),
            one_shot: label(ONE_SHOT_LABEL).as_deref() == Some("true"),
            fleet_decky: label(DECKY_LABEL).or_else(|| label(FLEET_DECKY_LABEL)),
            fleet_service: label(FLEET_SERVICE_LABEL),
            shares_network_of: mode
                .and_then(|mode| Some(mode.strip_prefix("container:")?.to_owned())),
            condition: to_condition(state, &status),
            problem: describe_problem(state, &status),
            completed: status.starts_with("Exited (0)"),
            addresses,
            image: listed.image.unwrap_or_default(),
            image_id: listed.image_id.unwrap_or_default(),
            volumes: (listed.mounts.unwrap_or_default().into_iter())
                .filter_map(|mount| mount.name)
                .filter(|name| !name.is_empty())
                .collect(),
            id: listed.id,
        })
    }
}

/// Parses the value of the label `com.docker.compose.depends_on`, such as
/// `base:service_started:false,init:service_completed_successfully:true`.
fn parse_dependencies(label: &str) -> Vec<Dependency> {
    let parse = |dependency: &str| {
        let mut parts = dependency.split(':');
        Dependency {
            service: parts.next().unwrap_or_default().to_owned(),
            must_complete: parts.next() == Some(COMPLETED),
        }
    };
    let dependencies = label.split(',').map(parse);
    dependencies
        .filter(|dependency| !dependency.service.is_empty())
        .collect()
}

/// Converts the state of a listed container. `status` is the text that `docker ps` shows, such as
/// `Up 3 minutes (unhealthy)`. It is the only part of a listing that contains the health.
fn to_condition(state: &str, status: &str) -> Condition {
    match state {
        "running" if status.ends_with("(unhealthy)") => Condition::Unhealthy,
        "running" if status.ends_with("(health: starting)") => Condition::Starting,
        "running" => Condition::Running,
        "created" | "initialized" | "configured" | "restarting" => Condition::Starting,
        "paused" => Condition::Unhealthy,
        "dead" => Condition::Dead,
        _ => Condition::Stopped,
    }
}

/// Returns the problem of a container, or `None` if the container is running without a problem or
/// is starting. The text contains no times, so that it changes only when the state of the container
/// changes.
fn describe_problem(state: &str, status: &str) -> Option<String> {
    let exit_code = || status.strip_prefix("Exited (")?.split_once(')');
    match (to_condition(state, status), exit_code()) {
        (Condition::Running | Condition::Starting, _) => None,
        (Condition::Unhealthy, _) if state == "paused" => Some("is paused".to_owned()),
        (Condition::Unhealthy, _) => Some("fails its health check".to_owned()),
        (Condition::Stopped, Some((code, _))) => Some(format!("exited with code {code}")),
        (Condition::Stopped, None) => Some(format!("is in the state {state:?}")),
        (Condition::Dead, _) => Some("is dead: Docker could not remove it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Condition, Container};

    fn parse(text: &str) -> Option<Container> {
        Container::from_listed(serde_json::from_str(text).expect("a listing's entry"))
    }

    #[test]
    fn an_entry_of_a_listing_is_parsed() {
        let text = r#"{ "Id": "f3", "Names": ["/decky-01-http-proxy"], "ImageID": "sha256:4c", "State": "running",
            "Image": "nginx:1.27", "Status": "Up 2 minutes", "HostConfig": { "NetworkMode": "container:ab" },
            "Labels": { "com.docker.compose.project": "decnet", "com.docker.compose.service": "decky-01-http_proxy",
                        "com.docker.compose.depends_on": "decky-01:service_started:false,log:service_completed_successfully:true",
                        "com.docker.compose.oneoff": "True",
                        "scuttle.managed": "true", "scuttle.protected": "true", "decnet.fleet.decky": "decky-01",
                        "scuttle.label.site": "lab", "scuttle.labels": "x" },
            "NetworkSettings": { "Networks": { "b": { "IPAddress": "10.0.0.2" }, "a": { "IPAddress": "" }, "c": null } },
            "Mounts": [ { "Type": "volume", "Name": "data" }, { "Type": "bind", "Source": "/x" } ] }"#;
        let container = parse(text).expect("of a project");
        assert_eq!(container.name, "decky-01-http-proxy");
        let depends_on: Vec<_> = (container.depends_on.iter())
            .map(|dependency| (dependency.service.as_str(), dependency.must_complete))
            .collect();
        assert_eq!(depends_on, [("decky-01", false), ("log", true)]);
        assert_eq!(container.shares_network_of.as_deref(), Some("ab"));
        assert_eq!(
            container.addresses,
            [("b".to_owned(), "10.0.0.2".to_owned())]
        );
        assert_eq!(container.volumes, ["data"]);
        assert_eq!(
            (container.image.as_str(), container.image_id.as_str()),
            ("nginx:1.27", "sha256:4c")
        );
        assert!(container.managed && container.protected && container.one_off);
        let labels: Vec<_> = container.decky_labels.iter().collect();
        assert_eq!(labels, [(&"site".to_owned(), &"lab".to_owned())]);
        assert_eq!(container.fleet_decky.as_deref(), Some("decky-01"));
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
            ("stopped", "", Condition::Stopped),
            ("a new state", "", Condition::Stopped),
            ("dead", "Dead", Condition::Dead),
        ] {
            let text = format!(
                r#"{{ "Id": "a", "State": "{state}", "Status": "{status}",
                      "Labels": {{ "com.docker.compose.project": "p" }} }}"#
            );
            let container = parse(&text).expect("of a project");
            assert_eq!(container.condition, expected, "{state}, {status}");
            let problem = match (state, status) {
                ("exited", _) => Some("exited with code 0"),
                ("stopped", _) => Some("is in the state \"stopped\""),
                ("a new state", _) => Some("is in the state \"a new state\""),
                ("paused", _) => Some("is paused"),
                ("dead", _) => Some("is dead: Docker could not remove it"),
                (_, "Up 3 minutes (unhealthy)") => Some("fails its health check"),
                _ => None,
            };
            assert_eq!(container.problem.as_deref(), problem, "{state}, {status}");
            assert_eq!(container.name, "a");
        }
    }
}
