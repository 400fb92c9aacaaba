//! `scuttle protect` and `unprotect`, and how other commands show a protection.

use scuttle_tests::{Cluster, Role, TestResult};

use super::cli_runner::Cli;

#[tokio::test]
async fn a_protected_decky_is_marked_and_needs_an_override() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["d1", "d2"]).await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let protect = ["protect", "worker-a", "--decky", "d1", "--reason", "case 7"];
    let result = cli.run_json(&protect, 0, "cli/protection").await?;
    assert_eq!(result["host_uuid"], agent.host.as_str());
    assert_eq!(
        (&result["decky_id"], &result["protected"]),
        (&"d1".into(), &true.into())
    );

    let shards = cli.run(&["shards"]).await?.expect_success()?;
    assert!(shards.contains("● running, protected"), "{shards}");
    let plan = ["teardown", "worker-a", "--dry-run"];
    let plan = cli.run(&plan).await?.expect_success()?;
    assert_eq!(plan.matches("● running, protected").count(), 1, "{plan}");
    for target in [&["--decky", "d1"][..], &["--yes"]] {
        let teardown = [&["teardown", "worker-a"][..], target].concat();
        let refused = cli.run(&teardown).await?;
        refused.expect_failure(4, &["protected", "d1", "--override-protection"])?;
    }
    let override_it = [
        "teardown",
        "worker-a",
        "--decky",
        "d1",
        "--override-protection",
    ];
    cli.run(&override_it).await?.expect_success()?;
    Ok(())
}

#[tokio::test]
async fn lifting_a_protection_says_what_still_protects_the_decky() -> TestResult {
    let cluster = Cluster::start().await?;
    cluster.start_agent("worker-a", &["d1"]).await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let out = cli.run(&["protect", "worker-a"]).await?.expect_success()?;
    assert!(out.contains("protected."), "{out}");
    let hosts = cli.run(&["hosts"]).await?.expect_success()?;
    assert!(hosts.contains("● online, protected"), "{hosts}");
    let one = ["unprotect", "worker-a", "--decky", "d1"];
    let out = cli.run(&one).await?.expect_success()?;
    assert!(
        out.contains("still protected") && out.contains("its host"),
        "{out}"
    );
    let out = cli
        .run(&["unprotect", "worker-a"])
        .await?
        .expect_success()?;
    assert!(out.contains("no longer protected."), "{out}");
    let hosts = cli.run(&["hosts"]).await?.expect_success()?;
    assert!(!hosts.contains("protected"), "{hosts}");
    Ok(())
}

#[tokio::test]
async fn a_target_that_does_not_exist_is_not_protected_and_a_viewer_may_not_protect() -> TestResult
{
    let cluster = Cluster::start().await?;
    cluster.start_agent("worker-a", &["d1"]).await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    for arguments in [
        &["protect", "worker-b"][..],
        &["protect", "worker-a", "--decky", "d9"],
        &["unprotect", "worker-a", "--decky", "d9"],
    ] {
        cli.run(arguments).await?.expect_failure(3, &[])?;
    }
    let viewer = Cli::with_role(&cluster, Role::Viewer)?;
    let denied = viewer.run(&["protect", "worker-a"]).await?;
    denied.expect_failure(4, &["viewer may read, but cannot protect deckies"])?;
    Ok(())
}
