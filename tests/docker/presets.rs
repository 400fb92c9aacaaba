//! The containers that form a decky, for both presets of the agent. The projects are started by the
//! real `docker compose`.

use scuttle_tests::TestResult;
use scuttle_tests::cluster::docker_host::{DockerHost, TRAP};
use scuttle_tests::servers::dockerd::Daemon;

const SHOP: &str = "
services:
  web:
    image: bait
    command: [sleep, '1000']
";

/// A Compose project with two deckies in the format of DECNET. Each decky has a base container with
/// an IP address, and service containers that share the network namespace of the base container.
const DECNET: &str = "
services:
  decky-01:
    image: bait
    container_name: decky-01
    command: [sleep, '1000']
    restart: unless-stopped
    networks: { decnet_lan: { ipv4_address: 10.99.0.11 } }
  decky-01-ssh:
    image: bait
    container_name: decky-01-ssh
    command: [sleep, '1000']
    network_mode: service:decky-01
    depends_on: [decky-01]
  decky-01-docker_api:
    image: bait
    container_name: decky-01-docker-api
    command: [sleep, '1000']
    network_mode: service:decky-01
    depends_on: [decky-01]
  mail-relay:
    image: bait
    container_name: mail-relay
    command: [sleep, '1000']
    networks: { decnet_lan: { ipv4_address: 10.99.0.12 } }
  mail-relay-smtp:
    image: bait
    container_name: mail-relay-smtp
    command: [sleep, '1000']
    network_mode: service:mail-relay
    depends_on: [mail-relay]
networks:
  decnet_lan: { external: true }
";

/// The project is removed with its network and its anonymous volume. Its named volume and its image
/// remain, as does a project without the label.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_compose_project_with_the_label_is_a_decky() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.compose("trap", TRAP, &["up", "--detach"]).await?;
    daemon.compose("shop", SHOP, &["up", "--detach"]).await?;
    let stage = DockerHost::start(daemon, &[]).await?;
    stage.wait_for_states("trap running").await?;
    let shard = stage
        .cluster
        .operator
        .find_shard(stage.host(), "trap")
        .await?;
    let shard = shard.expect("the shard is on record");
    assert_eq!(shard.services.join(" "), "http_proxy ssh");
    assert!(shard.decky_ip.is_some(), "{shard:?}");

    let operation = stage.tear_down("trap").await?;
    assert_eq!(operation.counts.removed, 1);
    stage.wait_for_states("").await?;
    assert_eq!(stage.daemon.containers().await?, "shop-web-1");
    assert_eq!(stage.daemon.networks().await?, "shop_default");
    assert_eq!(stage.daemon.volumes().await?, "trap_lures");

    // Deployed again, it is a decky again, and the earlier teardown does not touch it.
    stage
        .daemon
        .compose("trap", TRAP, &["up", "--detach"])
        .await?;
    stage.wait_for_states("trap running").await
}

/// With `--name-prefix`, a project's name makes it a decky and the label does not matter. With
/// `--remove-volumes` and `--remove-images`, a teardown also removes named volumes, and images that
/// no other container uses.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_prefix_and_flags_decide_what_a_teardown_removes() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.docker(&["tag", "bait", "other"]).await?;
    daemon.compose("trap", TRAP, &["up", "--detach"]).await?;
    daemon.compose("shop", SHOP, &["up", "--detach"]).await?;
    let flags = ["--name-prefix", "tr", "--remove-volumes", "--remove-images"];
    let stage = DockerHost::start(daemon, &flags).await?;
    stage.wait_for_states("trap running").await?;
    stage.tear_down(None).await?;
    assert_eq!(stage.daemon.containers().await?, "shop-web-1");
    assert_eq!(stage.daemon.volumes().await?, "");
    // The container of the shop uses the image.
    stage.daemon.docker(&["image", "inspect", "bait"]).await?;
    Ok(())
}

/// The teardown of a single decky keeps the network. The teardown of the whole host also removes
/// it.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn deckies_of_a_decnet_project_share_a_macvlan_network() -> TestResult {
    let daemon = Daemon::start().await?;
    create_macvlan(&daemon).await?;
    daemon
        .compose("decnet", DECNET, &["up", "--detach"])
        .await?;
    daemon.compose("shop", SHOP, &["up", "--detach"]).await?;
    let stage = DockerHost::start(daemon, &["--preset", "decnet", "--grace-s", "1"]).await?;
    stage
        .wait_for_states("decky-01 running, mail-relay running")
        .await?;
    let shard = stage
        .cluster
        .operator
        .find_shard(stage.host(), "decky-01")
        .await?;
    let shard = shard.expect("the shard is on record");
    assert_eq!(shard.services.join(" "), "docker_api ssh");
    assert_eq!(shard.decky_ip.as_deref(), Some("10.99.0.11"));

    stage.tear_down("decky-01").await?;
    stage.wait_for_states("mail-relay running").await?;
    let left = "mail-relay mail-relay-smtp shop-web-1";
    assert_eq!(stage.daemon.containers().await?, left);
    assert_eq!(stage.daemon.networks().await?, "decnet_lan shop_default");

    stage.tear_down(None).await?;
    stage.wait_for_states("").await?;
    assert_eq!(stage.daemon.containers().await?, "shop-web-1");
    assert_eq!(stage.daemon.networks().await?, "shop_default");
    Ok(())
}

/// A container that belongs to no decky is attached to the network of the deckies. The container
/// and the network remain, and the error names both. The deckies are removed.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_decnet_network_with_a_foreign_container_stays() -> TestResult {
    let daemon = Daemon::start().await?;
    create_macvlan(&daemon).await?;
    daemon
        .compose("decnet", DECNET, &["up", "--detach"])
        .await?;
    let foreign = [
        "run",
        "--detach",
        "--name",
        "foreign",
        "--network",
        "decnet_lan",
    ];
    daemon
        .docker(&[&foreign[..], &["bait", "sleep", "1000"]].concat())
        .await?;
    let stage = DockerHost::start(daemon, &["--preset", "decnet", "--grace-s", "0"]).await?;
    stage
        .wait_for_states("decky-01 running, mail-relay running")
        .await?;
    let id = stage.start_teardown(None).await?;
    let operation = stage.wait_for_end(id).await?;
    let error = operation.error.as_ref().map(ToString::to_string);
    let expected = "network decnet_lan has active endpoints (foreign)";
    assert_eq!(error.as_deref(), Some(expected), "{operation:?}");
    assert_eq!(operation.counts.removed, 2);
    stage.wait_for_states("").await?;
    assert_eq!(stage.daemon.containers().await?, "foreign");
    Ok(())
}

/// Creates the macvlan network of the deckies. Its parent is one end of a veth pair, which stands
/// for the network card of a host.
async fn create_macvlan(daemon: &Daemon) -> TestResult {
    let links = "ip link add lan type veth peer name lan-peer && ip link set lan up && ip link set lan-peer up";
    let made = daemon
        .sandboxed_command("sh")
        .args(["-c", links])
        .status()
        .await?;
    anyhow::ensure!(made.success(), "creating {links}: {made}");
    let subnet = [
        "--subnet",
        "10.99.0.0/24",
        "--opt",
        "parent=lan",
        "decnet_lan",
    ];
    let create = ["network", "create", "--driver", "macvlan"];
    daemon.docker(&[&create[..], &subnet].concat()).await?;
    Ok(())
}
