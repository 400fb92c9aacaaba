//! Tests of the rules in `deckies`, with handwritten listings.

use std::time::Instant;

use scuttle_schemas::agents::ReportedState;

use super::super::engine::container::{Condition, Container, Dependency, UnreadableContainer};
use super::super::preset::{Preset, ProjectFilter};
use super::grouping::{Deckies, group_by_decky};
use super::listing::{Listed, ListedNetwork};
use super::register::Register;

/// Builds a container. If `base` is given, the container shares the network of the container with
/// that name.
fn container(project: &str, name: &str, service: &str, base: Option<&str>) -> Container {
    Container {
        id: format!("id of {name}"),
        name: name.to_owned(),
        project: project.to_owned(),
        service: service.to_owned(),
        shares_network_of: base.map(|name| format!("id of {name}")),
        ..Container::default()
    }
}

fn network(project: &str, managed: bool) -> ListedNetwork {
    ListedNetwork {
        id: format!("id of {project}"),
        name: format!("{project}_default"),
        project: project.to_owned(),
        managed,
    }
}

fn dependency(service: &str, must_complete: bool) -> Dependency {
    Dependency {
        service: service.to_owned(),
        must_complete,
    }
}

fn list(containers: impl IntoIterator<Item = Container>, networks: &[ListedNetwork]) -> Listed {
    let by_id = |container: Container| (container.id.clone(), container);
    Listed {
        started: Instant::now(),
        is_full: true,
        containers: containers.into_iter().map(by_id).collect(),
        networks: networks.to_vec(),
        unreadable: Vec::new(),
    }
}

/// Returns a register that knows no decky. Its file is never written.
fn empty_register() -> Register {
    Register::open("/nowhere".as_ref(), "")
}

fn decnet() -> Preset {
    Preset::Decnet {
        project: "decnet".to_owned(),
    }
}

fn group(preset: &Preset, containers: impl IntoIterator<Item = Container>) -> Deckies {
    group_by_decky(preset, &list(containers, &[]), &empty_register())
}

fn group_decnet(rows: &[(&str, &str, Option<&str>)]) -> Deckies {
    let containers = rows
        .iter()
        .map(|(name, service, base)| container("decnet", name, service, *base));
    group(&decnet(), containers)
}

/// Formats deckies as `decky: service service; decky: …`.
fn describe(deckies: &Deckies) -> String {
    let shards = deckies.to_reported_shards(&empty_register());
    let describe_shard = |shard: &scuttle_schemas::agents::ReportedShard| {
        format!("{}: {}", shard.decky_id, shard.services.join(" "))
    };
    shards
        .iter()
        .map(describe_shard)
        .collect::<Vec<_>>()
        .join("; ")
}

#[test]
fn a_decnet_decky_is_a_base_container_and_the_containers_that_share_its_network() {
    let deckies = group_decnet(&[
        ("decky-01", "decky-01", None),
        ("decky-01-ssh", "decky-01-ssh", Some("decky-01")),
        (
            "decky-01-docker-api",
            "decky-01-docker_api",
            Some("decky-01"),
        ),
        ("web", "web", None),
        ("web-2", "web-2", None),
        ("web-2-http", "web-2-http", Some("web-2")),
        ("mail-relay", "mail-relay", None),
    ]);
    assert_eq!(
        describe(&deckies),
        "decky-01: docker_api ssh; mail-relay: ; web: ; web-2: http"
    );
}

#[test]
fn the_labels_of_decnet_name_the_decky_and_the_service() {
    let label = |decky: &str, service: Option<&str>, container: Container| Container {
        fleet_decky: Some(decky.to_owned()),
        fleet_service: service.map(ToOwned::to_owned),
        ..container
    };
    let deckies = group(
        &decnet(),
        [
            label(
                "mail-relay",
                None,
                container("decnet", "mail-relay", "x", None),
            ),
            label(
                "a-b",
                Some("ssh"),
                container("decnet", "a-b-ssh", "a-b-ssh", None),
            ),
        ],
    );
    assert_eq!(describe(&deckies), "a-b: ssh; mail-relay: ");
}

#[test]
fn without_base_containers_a_decnet_name_is_split_where_the_service_begins() {
    for (rows, expected) in [
        // The Compose service is named like the service, or like the container.
        (vec![("decky-01-ssh", "ssh", None)], "decky-01: ssh"),
        (
            vec![("decky-01-docker-api", "docker_api", None)],
            "decky-01: docker_api",
        ),
        // A base container whose service containers are gone.
        (vec![("decky-01", "decky-01", None)], "decky-01: "),
        // A base container with a dash in its name.
        (vec![("mail-relay", "mail-relay", None)], "mail-relay: "),
        (vec![("log", "log", None)], "log: "),
    ] {
        assert_eq!(describe(&group_decnet(&rows)), expected, "{rows:?}");
    }
    // The Compose dependency names the missing base container.
    let mut orphan = container("decnet", "a-b-ssh", "a-b-ssh", Some("a-b"));
    orphan.depends_on = vec![dependency("a-b", false)];
    assert_eq!(describe(&group(&decnet(), [orphan])), "a-b: ssh");
}

#[test]
fn a_compose_decky_is_a_project_that_the_filter_selects() {
    let mut containers = vec![
        container("trap", "trap-web-1", "web", None),
        container("trap", "trap-db-1", "db", None),
        container("shop", "shop-web-1", "web", None),
    ];
    containers[0].managed = true;
    let managed = group(&Preset::Compose(ProjectFilter::Managed), containers.clone());
    assert_eq!(describe(&managed), "trap: db web");
    let foreign: Vec<_> = managed.foreign.values().collect();
    assert_eq!(
        foreign,
        ["project shop has containers without the label scuttle.managed: shop-web-1"]
    );
    let prefixed = Preset::Compose(ProjectFilter::Prefixed("sh".to_owned()));
    let prefixed = group(&prefixed, containers);
    assert_eq!(describe(&prefixed), "shop: web");
    assert!(prefixed.foreign.is_empty());
}

#[test]
fn a_project_stays_a_decky_until_nothing_of_it_is_left() {
    let preset = Preset::Compose(ProjectFilter::Managed);
    let mut register = empty_register();
    let mut labelled = container("trap", "trap-web-1", "web", None);
    labelled.managed = true;
    let other = container("trap", "trap-db-1", "db", None);
    let mut states = |containers: Vec<Container>, networks: &[ListedNetwork]| {
        let deckies = group_by_decky(&preset, &list(containers, networks), &register);
        register.observe(deckies.to_seen(), Instant::now(), true);
        let shards = deckies.to_reported_shards(&register);
        let state = shards.first().map(|shard| shard.state);
        (state, deckies.foreign.len())
    };
    let networks = [network("trap", false)];
    let all = vec![labelled, other.clone()];
    assert_eq!(states(all, &networks), (Some(ReportedState::Running), 0));
    let left = states(vec![other.clone()], &networks);
    assert_eq!(left, (Some(ReportedState::Running), 0));
    assert_eq!(states(vec![], &networks), (Some(ReportedState::Failed), 0));
    assert_eq!(states(vec![], &[]), (None, 0));
    assert_eq!(states(vec![other], &networks), (None, 1));
}

#[test]
fn a_decky_stays_protected_without_its_labelled_container() {
    let preset = Preset::Compose(ProjectFilter::Prefixed(String::new()));
    let mut register = empty_register();
    let labelled = Container {
        protected: true,
        ..container("trap", "web", "web", None)
    };
    let other = container("trap", "db", "db", None);
    let new = container("trap", "db-2", "db", None);
    let mut is_protected = |containers: Vec<Container>| {
        let listed = list(containers, &[]);
        let deckies = group_by_decky(&preset, &listed, &register);
        register.observe(deckies.to_seen(), Instant::now(), true);
        let deckies = group_by_decky(&preset, &listed, &register);
        deckies.by_id.values().all(|decky| decky.protected)
    };
    assert!(is_protected(vec![labelled, other.clone()]));
    assert!(is_protected(vec![other.clone()]));
    assert!(!is_protected(vec![other, new]), "a new deployment");
}

#[test]
fn a_known_decky_is_listed_while_its_container_cannot_be_read() {
    let preset = Preset::Compose(ProjectFilter::Managed);
    let mut register = empty_register();
    let mut bait = container("trap", "bait", "bait", None);
    bait.managed = true;
    let deckies = group_by_decky(&preset, &list([bait], &[]), &register);
    register.observe(deckies.to_seen(), Instant::now(), true);
    for (project, expected) in [(Some("trap"), 1), (None, 1), (Some("other"), 0)] {
        let mut listed = list([], &[]);
        listed.unreadable.push(UnreadableContainer {
            name: "bait".to_owned(),
            project: project.map(ToOwned::to_owned),
            cause: "no state".to_owned(),
        });
        let deckies = group_by_decky(&preset, &listed, &register);
        assert_eq!(deckies.by_id.len(), expected, "{project:?}");
    }
}

#[test]
fn a_label_on_a_network_makes_its_project_a_decky() {
    let preset = Preset::Compose(ProjectFilter::Managed);
    let listed = list([], &[network("trap", true), network("shop", false)]);
    let deckies = group_by_decky(&preset, &listed, &empty_register());
    let shards = deckies.to_reported_shards(&empty_register());
    assert_eq!((shards.len(), shards[0].state), (1, ReportedState::Failed));
}

#[test]
fn a_project_whose_name_is_no_valid_decky_id_is_listed() {
    let preset = Preset::Compose(ProjectFilter::Prefixed(String::new()));
    let deckies = group(&preset, [container("_odd", "x", "web", None)]);
    assert_eq!(describe(&deckies), "n._odd: web");
}

#[test]
fn the_state_of_a_decky_depends_on_its_containers() {
    use Condition::{Dead, Running, Starting, Stopped, Unhealthy};
    use ReportedState as State;
    for (conditions, expected) in [
        (vec![Running, Running], State::Running),
        (vec![Running, Starting], State::Pending),
        (vec![Running, Stopped], State::Degraded),
        (vec![Starting, Stopped], State::Degraded),
        (vec![Running, Unhealthy], State::Degraded),
        (vec![Unhealthy], State::Degraded),
        (vec![Stopped, Stopped], State::Degraded),
        (vec![Running, Dead], State::Failed),
    ] {
        let containers = (0..).zip(&conditions).map(|(number, condition)| Container {
            condition: *condition,
            ..container("p", &format!("c{number}"), "web", None)
        });
        let preset = Preset::Compose(ProjectFilter::Prefixed(String::new()));
        let deckies = group(&preset, containers);
        let shards = deckies.to_reported_shards(&empty_register());
        assert_eq!(shards[0].state, expected, "{conditions:?}");
    }
}

#[test]
fn a_decky_that_does_not_run_completely_names_the_worst_container_and_its_problem() {
    use Condition::{Running, Stopped, Unhealthy};
    let reason = |containers: &[(&str, Condition, Option<&str>)]| {
        let containers = containers
            .iter()
            .map(|(name, condition, problem)| Container {
                condition: *condition,
                problem: problem.map(ToOwned::to_owned),
                ..container("p", name, name, None)
            });
        let preset = Preset::Compose(ProjectFilter::Prefixed(String::new()));
        let deckies = group(&preset, containers);
        let shards = deckies.to_reported_shards(&empty_register());
        let reason = shards[0].reason.as_ref();
        reason.map(|reason| reason.as_str().to_owned())
    };
    let paused = ("a", Unhealthy, Some("is paused"));
    let exited = ("b", Stopped, Some("exited with code 137"));
    let running = ("c", Running, None);
    assert_eq!(reason(&[running]), None);
    assert_eq!(
        reason(&[paused, running]).as_deref(),
        Some("container a is paused")
    );
    assert_eq!(
        reason(&[paused, exited, running]).as_deref(),
        Some("container b exited with code 137; 1 other container has a problem")
    );
}

#[test]
fn containers_that_were_meant_to_exit_do_not_degrade_a_decky() {
    let preset = Preset::Compose(ProjectFilter::Prefixed(String::new()));
    let web = Container {
        depends_on: vec![dependency("init", true), dependency("db", false)],
        ..container("p", "web", "web", None)
    };
    let exited = |name: &str| Container {
        condition: Condition::Stopped,
        completed: true,
        ..container("p", name, name, None)
    };
    for (other, expected) in [
        (exited("init"), ReportedState::Running),
        (exited("db"), ReportedState::Degraded),
        (
            Container {
                completed: false,
                ..exited("init")
            },
            ReportedState::Degraded,
        ),
        (
            Container {
                one_shot: true,
                ..exited("seed")
            },
            ReportedState::Running,
        ),
        (
            Container {
                one_off: true,
                completed: false,
                ..exited("web-run")
            },
            ReportedState::Running,
        ),
    ] {
        let deckies = group(&preset, [web.clone(), other.clone()]);
        let shards = deckies.to_reported_shards(&empty_register());
        assert_eq!(shards[0].state, expected, "{other:?}");
    }
}

/// At every point of a teardown, the remaining containers are grouped under the same names as
/// before. It therefore does not matter when the agent lists the deckies or is killed.
#[test]
fn a_decky_keeps_its_name_to_its_last_container() {
    let service = |name: &str, base: &str| Container {
        depends_on: vec![dependency(base, false)],
        ..container("decnet", name, name, Some(base))
    };
    let all = [
        container("decnet", "mail-relay", "mail-relay", None),
        service("mail-relay-smtp", "mail-relay"),
        container("decnet", "web", "web", None),
        service("web-http", "web"),
        // Without a base container and a dependency, only the register knows its decky.
        container("decnet", "lost-ssh", "lost-ssh", Some("mail-relay")),
    ];
    let names = |chosen: &dyn Fn(usize) -> bool, register: &Register| {
        let left = (0..all.len()).filter(|number| chosen(*number));
        let left = left.map(|number| all[number].clone());
        group_by_decky(&decnet(), &list(left, &[]), register)
    };
    let mut register = empty_register();
    let before = names(&|_| true, &register);
    register.observe(before.to_seen(), Instant::now(), true);
    for left in 0_usize..1 << all.len() {
        let now = names(&|number| left & (1 << number) != 0, &register);
        let is_known = |name| before.by_id.contains_key(name);
        assert!(now.by_id.keys().all(is_known), "{left:b}: {now:?}");
    }
}
