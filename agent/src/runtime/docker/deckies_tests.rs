//! Tests of the rules in `deckies`, with handwritten listings.

use scuttle_schemas::agents::ReportedState;

use super::container::{Condition, Container};
use super::deckies::{Deckies, Preset, ProjectFilter};

/// Builds a container. If `base` is given, the container shares the network of the container with
/// that name.
fn container(project: &str, name: &str, service: &str, base: Option<&str>) -> Container {
    Container {
        id: format!("id of {name}"),
        name: name.to_owned(),
        project: project.to_owned(),
        service: service.to_owned(),
        depends_on: Vec::new(),
        managed: false,
        shares_network_of: base.map(|name| format!("id of {name}")),
        condition: Condition::Running,
        addresses: Vec::new(),
        image: String::new(),
        volumes: Vec::new(),
    }
}

fn group_decnet(rows: &[(&str, &str, Option<&str>)]) -> Deckies {
    let preset = Preset::Decnet {
        project: "decnet".to_owned(),
    };
    let containers = rows
        .iter()
        .map(|(name, service, base)| container("decnet", name, service, *base));
    preset.group_by_decky(containers.collect())
}

/// Formats deckies as `decky: service service; decky: …`.
fn describe(deckies: &Deckies) -> String {
    let shards = deckies.to_reported_shards();
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
    let anchors = |decky: &str| {
        let members = deckies.members_of(&decky.parse().expect("a decky"));
        let anchors = members.into_iter().filter(|member| member.is_anchor);
        anchors
            .map(|member| member.container.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(anchors("decky-01"), ["decky-01-docker-api"]);
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
        (
            vec![("decky-01-docker-api", "decky-01-docker_api", None)],
            "decky-01: docker_api",
        ),
        // A base container whose service containers are gone.
        (vec![("decky-01", "decky-01", None)], "decky-01: "),
        // A service container whose base container is gone.
        (
            vec![("decky-01-ssh", "decky-01-ssh", Some("decky-01"))],
            "decky-01: ssh",
        ),
        (vec![("log", "log", None)], "log: "),
    ] {
        assert_eq!(describe(&group_decnet(&rows)), expected, "{rows:?}");
    }
    // The Compose dependency names the missing base container.
    let mut orphan = container("decnet", "a-b-ssh", "a-b-ssh", Some("a-b"));
    orphan.depends_on = vec!["a-b".to_owned()];
    let preset = Preset::Decnet {
        project: "decnet".to_owned(),
    };
    assert_eq!(describe(&preset.group_by_decky(vec![orphan])), "a-b: ssh");
}

#[test]
fn a_lone_base_container_belongs_to_the_decky_of_its_name() {
    let deckies = group_decnet(&[("mail-relay", "mail-relay", None)]);
    let count = |decky: &str| deckies.members_of(&decky.parse().expect("a decky")).len();
    assert_eq!((count("mail-relay"), count("other")), (1, 0));
}

#[test]
fn a_compose_decky_is_a_project_that_the_filter_selects() {
    let mut containers = vec![
        container("trap", "trap-web-1", "web", None),
        container("trap", "trap-db-1", "db", None),
        container("shop", "shop-web-1", "web", None),
    ];
    containers[0].managed = true;
    let managed = Preset::Compose(ProjectFilter::Managed).group_by_decky(containers.clone());
    assert_eq!(describe(&managed), "trap: db web");
    let trap = managed.members_of(&"trap".parse().expect("a decky"));
    let anchors: Vec<_> = trap.iter().filter(|member| member.is_anchor).collect();
    assert!(anchors.len() == 1 && anchors[0].container.managed);
    assert!(managed.projects.contains("shop"));
    let prefixed = Preset::Compose(ProjectFilter::Prefixed("sh".to_owned()));
    assert_eq!(describe(&prefixed.group_by_decky(containers)), "shop: web");
}

#[test]
fn a_project_whose_name_is_no_valid_decky_name_is_left_out() {
    let long = "a".repeat(65);
    let containers = vec![container(&long, "x", "web", None)];
    let deckies =
        Preset::Compose(ProjectFilter::Prefixed("a".to_owned())).group_by_decky(containers);
    assert_eq!(
        (describe(&deckies).as_str(), deckies.invalid_names),
        ("", vec![long])
    );
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
        let shards = preset
            .group_by_decky(containers.collect())
            .to_reported_shards();
        assert_eq!(shards[0].state, expected, "{conditions:?}");
    }
}

/// At every point of a teardown, the remaining containers are grouped under the same names as
/// before. It therefore does not matter when the agent lists the deckies or is killed.
#[test]
fn a_decky_keeps_its_name_to_its_last_container() {
    let service = |name: &str, base: &str| Container {
        depends_on: vec![base.to_owned()],
        ..container("decnet", name, name, Some(base))
    };
    let all = [
        container("decnet", "mail-relay", "mail-relay", None),
        service("mail-relay-smtp", "mail-relay"),
        service("mail-relay-ssh", "mail-relay"),
        container("decnet", "web", "web", None),
        service("web-http", "web"),
    ];
    let preset = Preset::Decnet {
        project: "decnet".to_owned(),
    };
    let group = |chosen: &dyn Fn(usize) -> bool| {
        let left = (0..all.len()).filter(|number| chosen(*number));
        preset.group_by_decky(left.map(|number| all[number].clone()).collect())
    };
    let members = group(&|_| true).members;
    let is_anchor = |number: usize| {
        let id = &all[number].id;
        (members.values().flatten()).any(|member| member.is_anchor && member.container.id == *id)
    };
    for left in 0_usize..1 << all.len() {
        let is_left = |number: usize| left & (1 << number) != 0;
        let others = (0..all.len()).any(|number| is_left(number) && !is_anchor(number));
        let all_anchors = (0..all.len()).all(|number| is_left(number) || !is_anchor(number));
        // Anchors are removed only after all other containers.
        if all_anchors || !others {
            let names = group(&is_left).members.into_keys();
            let names: Vec<_> = names.filter(|name| !members.contains_key(name)).collect();
            assert!(names.is_empty(), "{left:b}: {names:?}");
        }
    }
}
