//! What a decky is: both presets, with projects that the real `docker compose` has started.

use scuttle_tests::TestResult;

use crate::daemon::Daemon;
use crate::stage::{Stage, TRAP};

const SHOP: &str = "
services:
  web:
    image: bait
    command: [sleep, '1000']
";

/// Two deckies as DECNET writes them: a base that has the address, and services in its network.
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

/// A project with the label is a decky, is reported as it is, and goes with its network and its anonymous volume; named
/// volumes and images stay, and so does a project without the label.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_labelled_compose_project_is_a_decky() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.compose("trap", TRAP, &["up", "--detach"]).await?;
    daemon.compose("shop", SHOP, &["up", "--detach"]).await?;
    let stage = Stage::on(daemon, &[]).await?;
    stage.states("trap running").await?;
    let shard = stage
        .cluster
        .operator
        .find_shard(stage.host(), "trap")
        .await?;
    let shard = shard.expect("on the record");
    assert_eq!(shard.services.join(" "), "http_proxy ssh");
    assert!(shard.decky_ip.is_some(), "{shard:?}");

    let operation = stage.teardown("trap").await?;
    assert_eq!(operation.counts.removed, 1);
    stage.states("").await?;
    assert_eq!(stage.daemon.containers().await?, "shop-web-1");
    assert_eq!(stage.daemon.networks().await?, "shop_default");
    assert_eq!(stage.daemon.volumes().await?, "trap_lures");

    // Deployed again it is a decky again; nothing of the earlier teardown touches it.
    stage
        .daemon
        .compose("trap", TRAP, &["up", "--detach"])
        .await?;
    stage.states("trap running").await
}

/// With a prefix the label does not matter, and with the flags volumes and images go too: those that nobody else uses.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_prefix_and_the_flags_decide_what_goes() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.docker(&["tag", "bait", "other"]).await?;
    daemon.compose("trap", TRAP, &["up", "--detach"]).await?;
    daemon.compose("shop", SHOP, &["up", "--detach"]).await?;
    let flags = ["--name-prefix", "tr", "--remove-volumes", "--remove-images"];
    let stage = Stage::on(daemon, &flags).await?;
    stage.states("trap running").await?;
    stage.teardown(None).await?;
    assert_eq!(stage.daemon.containers().await?, "shop-web-1");
    assert_eq!(stage.daemon.volumes().await?, "");
    // The shop's container has it.
    stage.daemon.docker(&["image", "inspect", "bait"]).await?;
    Ok(())
}

/// One decky of a DECNET project goes alone, and leaves the network; the whole host takes the macvlan network with it.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_decnet_host_is_one_project_on_a_macvlan() -> TestResult {
    let daemon = Daemon::start().await?;
    macvlan(&daemon).await?;
    daemon
        .compose("decnet", DECNET, &["up", "--detach"])
        .await?;
    daemon.compose("shop", SHOP, &["up", "--detach"]).await?;
    let stage = Stage::on(daemon, &["--preset", "decnet", "--grace-s", "1"]).await?;
    stage.states("decky-01 running, mail-relay running").await?;
    let shard = stage
        .cluster
        .operator
        .find_shard(stage.host(), "decky-01")
        .await?;
    let shard = shard.expect("on the record");
    assert_eq!(shard.services.join(" "), "docker_api ssh");
    assert_eq!(shard.decky_ip.as_deref(), Some("10.99.0.11"));

    stage.teardown("decky-01").await?;
    stage.states("mail-relay running").await?;
    let left = "mail-relay mail-relay-smtp shop-web-1";
    assert_eq!(stage.daemon.containers().await?, left);
    assert_eq!(stage.daemon.networks().await?, "decnet_lan shop_default");

    stage.teardown(None).await?;
    stage.states("").await?;
    assert_eq!(stage.daemon.containers().await?, "shop-web-1");
    assert_eq!(stage.daemon.networks().await?, "shop_default");
    Ok(())
}

/// Somebody else's container in the deckies' network: it is left, so is the network, and both are named; the deckies
/// themselves are gone.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_foreign_endpoint_keeps_the_decnet_network() -> TestResult {
    let daemon = Daemon::start().await?;
    macvlan(&daemon).await?;
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
    let stage = Stage::on(daemon, &["--preset", "decnet", "--grace-s", "0"]).await?;
    stage.states("decky-01 running, mail-relay running").await?;
    let id = stage.begin(None).await?;
    let operation = stage.ended(id).await?;
    let error = operation.error.as_ref().map(ToString::to_string);
    let expected = "network decnet_lan has active endpoints (foreign)";
    assert_eq!(error.as_deref(), Some(expected), "{operation:?}");
    assert_eq!(operation.counts.removed, 2);
    stage.states("").await?;
    assert_eq!(stage.daemon.containers().await?, "foreign");
    Ok(())
}

/// The deckies' network, on one end of a veth pair, as it would be on a host's network card.
async fn macvlan(daemon: &Daemon) -> TestResult {
    let links = "ip link add lan type veth peer name lan-peer && ip link set lan up && ip link set lan-peer up";
    let made = daemon.inside("sh").args(["-c", links]).status().await?;
    anyhow::ensure!(made.success(), "{links}: {made}");
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
