//! The order in which the containers of a decky are stopped: a container is stopped after the
//! containers that depend on it, as in Compose. Containers that do not depend on each other are
//! stopped at the same time.
//!
//! Unlike in Compose, a base container does not wait for the containers that share its network.
//! The network exists until the last of them stops. If the base container waited, the stop of a
//! `decnet` decky would take up to two grace periods.

use super::super::deckies::grouping::Member;

/// Returns, for each member, the indices of the members that must have stopped before it.
/// Ignores members that are part of a dependency cycle, or that depend on one.
pub(super) fn find_dependents(members: &[Member]) -> Vec<Vec<usize>> {
    let mut dependents = vec![Vec::new(); members.len()];
    let mut dependencies = vec![0_usize; members.len()];
    for (index, member) in members.iter().enumerate() {
        for (other_index, other) in members.iter().enumerate() {
            if index != other_index && depends_on(member, other) {
                dependents[other_index].push(index);
                dependencies[index] += 1;
            }
        }
    }
    // A member is in a cycle, or depends on one, if it never runs out of dependencies.
    let mut free: Vec<_> = (0..members.len())
        .filter(|index| dependencies[*index] == 0)
        .collect();
    while let Some(index) = free.pop() {
        for &dependent in &dependents[index] {
            dependencies[dependent] -= 1;
            if dependencies[dependent] == 0 {
                free.push(dependent);
            }
        }
    }
    for waits_for in &mut dependents {
        waits_for.retain(|index| dependencies[*index] == 0);
    }
    dependents
}

fn depends_on(member: &Member, other: &Member) -> bool {
    let (container, other) = (&member.container, &other.container);
    let mut services = container.depends_on.iter();
    container.shares_network_of.as_ref() != Some(&other.id)
        && services.any(|dependency| dependency.service == other.service)
}

#[cfg(test)]
mod tests {
    use super::super::super::deckies::grouping::Member;
    use super::super::super::engine::container::{Container, Dependency};
    use super::find_dependents;

    fn build_members(services: &[(&str, &[&str])]) -> Vec<Member> {
        let build = |(service, depends_on): &(&str, &[&str])| {
            let dependency = |service: &&str| Dependency {
                service: (*service).to_owned(),
                must_complete: false,
            };
            let container = Container {
                id: (*service).to_owned(),
                service: (*service).to_owned(),
                depends_on: depends_on.iter().map(dependency).collect(),
                ..Container::default()
            };
            Member {
                container,
                service: None,
            }
        };
        services.iter().map(build).collect()
    }

    #[test]
    fn a_container_waits_for_the_containers_that_depend_on_it() {
        let members = build_members(&[("db", &[]), ("web", &["db"]), ("proxy", &["web", "db"])]);
        assert_eq!(find_dependents(&members), [vec![1, 2], vec![2], vec![]]);
    }

    #[test]
    fn a_container_does_not_wait_for_the_containers_that_share_its_network() {
        let mut members = build_members(&[("base", &[]), ("ssh", &["base"]), ("log", &["base"])]);
        members[1].container.shares_network_of = Some("base".to_owned());
        assert_eq!(find_dependents(&members), [vec![2], vec![], vec![]]);
    }

    #[test]
    fn a_cycle_does_not_wait() {
        let members = build_members(&[("a", &["b"]), ("b", &["a"]), ("c", &[]), ("d", &["c"])]);
        assert_eq!(find_dependents(&members), [vec![], vec![], vec![3], vec![]]);
        let members = build_members(&[("a", &["a", "gone"])]);
        assert_eq!(find_dependents(&members), [Vec::<usize>::new()]);
    }
}
