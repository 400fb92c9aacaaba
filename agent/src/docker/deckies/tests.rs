//! The rules of `deckies`, over listings made by hand.

use scuttle_schemas::agents::ReportedState;

use super::super::container::{Condition, Container};
use super::{Deckies, Preset, Projects};

/// A container of a project: name, Compose service, and whose network it shares.
fn container(project: &str, name: &str, service: &str, shares: Option<&str>) -> Container {
    Container {
        id: format!("id of {name}"),
        name: name.to_owned(),
        project: project.to_owned(),
        service: service.to_owned(),
        needs: Vec::new(),
        managed: false,
        shares: shares.map(|name| format!("id of {name}")),
        condition: Condition::Up,
        addresses: Vec::new(),
        image: String::new(),
        volumes: Vec::new(),
    }
}

fn decnet(rows: &[(&str, &str, Option<&str>)]) -> Deckies {
    let preset = Preset::Decnet {
        project: "decnet".to_owned(),
    };
    let containers = rows
        .iter()
        .map(|(name, service, shares)| container("decnet", name, service, *shares));
    preset.sort(containers.collect())
}

/// `decky: service service; decky: …`
fn shown(deckies: &Deckies) -> String {
    let shards = deckies.reported();
    let one = |shard: &scuttle_schemas::agents::ReportedShard| {
        format!("{}: {}", shard.decky_id, shard.services.join(" "))
    };
    shards.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_decnet_decky_is_a_base_and_what_shares_its_network() {
    let deckies = decnet(&[
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
        shown(&deckies),
        "decky-01: docker_api ssh; mail-relay: ; web: ; web-2: http"
    );
    let anchors = |decky: &str| {
        let members = deckies.of(&decky.parse().expect("a decky"));
        let anchors = members.into_iter().filter(|member| member.anchor);
        anchors
            .map(|member| member.container.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(anchors("decky-01"), ["decky-01-docker-api"]);
}

#[test]
fn without_bases_a_decnet_name_is_cut_where_the_service_begins() {
    for (rows, expected) in [
        // The service's own name is the label, or the decky's name stands before it there too.
        (vec![("decky-01-ssh", "ssh", None)], "decky-01: ssh"),
        (
            vec![("decky-01-docker-api", "docker_api", None)],
            "decky-01: docker_api",
        ),
        (
            vec![("decky-01-docker-api", "decky-01-docker_api", None)],
            "decky-01: docker_api",
        ),
        // A base that has lost its services.
        (vec![("decky-01", "decky-01", None)], "decky-01: "),
        // A service whose base is gone: its id leads nowhere.
        (
            vec![("decky-01-ssh", "decky-01-ssh", Some("decky-01"))],
            "decky-01: ssh",
        ),
        (vec![("log", "log", None)], "log: "),
    ] {
        assert_eq!(shown(&decnet(&rows)), expected, "{rows:?}");
    }
    // What Compose started it after says whose it was.
    let mut orphan = container("decnet", "a-b-ssh", "a-b-ssh", Some("a-b"));
    orphan.needs = vec!["a-b".to_owned()];
    let preset = Preset::Decnet {
        project: "decnet".to_owned(),
    };
    assert_eq!(shown(&preset.sort(vec![orphan])), "a-b: ssh");
}

#[test]
fn a_lone_base_belongs_to_the_decky_of_its_name() {
    let deckies = decnet(&[("mail-relay", "mail-relay", None)]);
    let names = |decky: &str| deckies.of(&decky.parse().expect("a decky")).len();
    assert_eq!((names("mail-relay"), names("other")), (1, 0));
}

#[test]
fn a_compose_decky_is_a_project_that_is_the_swarms() {
    let mut containers = vec![
        container("trap", "trap-web-1", "web", None),
        container("trap", "trap-db-1", "db", None),
        container("shop", "shop-web-1", "web", None),
    ];
    containers[0].managed = true;
    let managed = Preset::Compose(Projects::Managed).sort(containers.clone());
    assert_eq!(shown(&managed), "trap: db web");
    let trap = managed.of(&"trap".parse().expect("a decky"));
    let anchors: Vec<_> = trap.iter().filter(|it| it.anchor).collect();
    assert!(anchors.len() == 1 && anchors[0].container.managed);
    assert!(managed.projects.contains("shop"));
    let prefixed = Preset::Compose(Projects::Prefixed("sh".to_owned()));
    assert_eq!(shown(&prefixed.sort(containers)), "shop: web");
}

#[test]
fn a_name_that_no_decky_may_have_is_left_out() {
    let long = "a".repeat(65);
    let containers = vec![container(&long, "x", "web", None)];
    let deckies = Preset::Compose(Projects::Prefixed("a".to_owned())).sort(containers);
    assert_eq!(
        (shown(&deckies).as_str(), deckies.unnamed),
        ("", vec![long])
    );
}

#[test]
fn a_deckys_state_is_that_of_its_containers() {
    use Condition::{Coming, Dead, Down, Unwell, Up};
    use ReportedState::{Degraded, Failed, Pending, Running};
    for (conditions, expected) in [
        (vec![Up, Up], Running),
        (vec![Up, Coming], Pending),
        (vec![Up, Down], Degraded),
        (vec![Coming, Down], Degraded),
        (vec![Up, Unwell], Degraded),
        (vec![Unwell], Degraded),
        (vec![Down, Down], Degraded),
        (vec![Up, Dead], Failed),
    ] {
        let containers = (0..).zip(&conditions).map(|(number, condition)| Container {
            condition: *condition,
            ..container("p", &format!("c{number}"), "web", None)
        });
        let preset = Preset::Compose(Projects::Prefixed(String::new()));
        let shards = preset.sort(containers.collect()).reported();
        assert_eq!(shards[0].state, expected, "{conditions:?}");
    }
}

/// Whatever a teardown has removed when the agent looks, or is killed: what is left has the names of before.
#[test]
fn a_decky_keeps_its_name_to_its_last_container() {
    let of = |name: &str, base: &str| Container {
        needs: vec![base.to_owned()],
        ..container("decnet", name, name, Some(base))
    };
    let all = [
        container("decnet", "mail-relay", "mail-relay", None),
        of("mail-relay-smtp", "mail-relay"),
        of("mail-relay-ssh", "mail-relay"),
        container("decnet", "web", "web", None),
        of("web-http", "web"),
    ];
    let preset = Preset::Decnet {
        project: "decnet".to_owned(),
    };
    let sort = |chosen: &dyn Fn(usize) -> bool| {
        let left = (0..all.len()).filter(|number| chosen(*number));
        preset.sort(left.map(|number| all[number].clone()).collect())
    };
    let members = sort(&|_| true).members;
    let is_anchor = |number: usize| {
        let id = &all[number].id;
        (members.values().flatten()).any(|member| member.anchor && member.container.id == *id)
    };
    for left in 0_usize..1 << all.len() {
        let is_left = |number: usize| left & (1 << number) != 0;
        let others = (0..all.len()).any(|number| is_left(number) && !is_anchor(number));
        let anchors = (0..all.len()).all(|number| is_left(number) || !is_anchor(number));
        // The anchors go when all others have gone.
        if anchors || !others {
            let names = sort(&is_left).members.into_keys();
            let names: Vec<_> = names.filter(|name| !members.contains_key(name)).collect();
            assert!(names.is_empty(), "{left:b}: {names:?}");
        }
    }
}
