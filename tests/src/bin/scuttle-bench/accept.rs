//! `accept`: durable accepts a second, beside a bare echo service's answers.
//!
//! In every round both services are asked the same way with requests of the same size, one after the other, the
//! first one in turn. Each round has a new controller, so that no round carries what an earlier one accepted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use async_nats::Subject;
use bytes::Bytes;
use scuttle_schemas::{HostId, subjects};
use scuttle_tests::Client;
use scuttle_tests::nats::program;
use serde::Deserialize;
use uuid::Uuid;

use crate::AcceptArgs;
use crate::load::{Load, Measured};
use crate::report::{Figures, Report, Round};
use crate::server::{self, Server};
use crate::swarm::{self, Swarm};
use crate::{disk, echo};

/// Measures, prints, and says whether the target is reached.
pub(crate) async fn run(args: &AcceptArgs) -> Result<ExitCode> {
    let dir = on_disk()?;
    let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(dir)?;
    let server = Server::start(dir.path()).await?;
    let mut bench = Bench {
        args,
        dir: dir.path(),
        client: server::connect(&server.url).await?,
        server: &server,
        most_echoes: 0,
    };
    let subject = bench.client.nats().new_inbox();
    let _echo = echo::start(&server.url, &subject, dir.path()).await?;
    let mut report = Report::new(args, &server.version);
    if !args.json {
        report.print_head();
    }
    for number in 1..=args.rounds {
        let round = bench.round(number, &subject).await;
        let round = round.with_context(|| format!("round {number}"))?;
        if !args.json {
            round.print();
        }
        report.rounds.push(round);
    }
    report.finish();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print_end();
    }
    let code = if args.check && !report.reached() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    };
    Ok(code)
}

struct Bench<'a> {
    args: &'a AcceptArgs,
    dir: &'a Path,
    client: Client,
    server: &'a Server,
    /// The most that the echo service answered in a round.
    most_echoes: usize,
}

impl Bench<'_> {
    async fn round(&mut self, number: u32, subject: &str) -> Result<Round> {
        let appends_per_second = disk::appends_per_second(self.dir)?;
        let (echo, accept) = if number % 2 == 1 {
            let echo = self.echo(subject).await?;
            (echo, self.accept().await?)
        } else {
            let accept = self.accept().await?;
            (self.echo(subject).await?, accept)
        };
        Ok(Round {
            number: Some(number),
            ratio: accept.per_second / echo.per_second,
            echo: Figures::of(&echo),
            accept: Figures::of(&accept),
            appends_per_second,
        })
    }

    async fn echo(&mut self, subject: &str) -> Result<Measured> {
        let host: HostId = Uuid::now_v7().to_string().parse()?;
        let request = swarm::request(&host, "decky-0001");
        let same = |answer: &Bytes| {
            ensure!(*answer == request, "not what was sent");
            Ok(())
        };
        let requests = std::iter::repeat(&request);
        let measured = self.ask(subject.into(), requests, same).await;
        let measured = measured.context("ask the echo service")?;
        self.most_echoes = self.most_echoes.max(measured.answers);
        Ok(measured)
    }

    async fn accept(&mut self) -> Result<Measured> {
        // Twice the target's share: a faster controller only ends its round earlier.
        let shards = self.most_echoes * 2 / 3 + usize::from(self.args.in_flight);
        let swarm = Swarm::start(&self.server.url, &self.client, self.dir, shards).await;
        let swarm = swarm.context("prepare the swarm")?;
        let requests = swarm.requests.iter();
        let measured = self.ask(subjects::TEARDOWN.into(), requests, newly_accepted);
        measured.await.context("ask the controller")
    }

    async fn ask<'a>(
        &self,
        subject: Subject,
        payloads: impl Iterator<Item = &'a Bytes>,
        check: impl Fn(&Bytes) -> Result<()>,
    ) -> Result<Measured> {
        let load = Load {
            client: self.client.nats(),
            subject,
            payloads,
            in_flight: self.args.in_flight,
            time: self.args.seconds,
            check,
        };
        load.run().await
    }
}

/// The part of an answer that tells a new operation from a repeat, and both from a refusal.
#[derive(Deserialize)]
struct Answer {
    accepted: bool,
    repeated: bool,
}

fn newly_accepted(answer: &Bytes) -> Result<()> {
    let Answer { accepted, repeated } = serde_json::from_slice(answer)?;
    ensure!(accepted && !repeated, "not a new operation");
    Ok(())
}

/// The build's own folder: a real disk, where /tmp may be memory.
fn on_disk() -> Result<PathBuf> {
    let controller = program("scuttle-controller");
    if !controller.is_file() {
        bail!(
            "no {}: run `cargo xtask bench accept`, which builds it",
            controller.display()
        );
    }
    let dir = controller.parent().and_then(Path::parent);
    Ok(dir.context("the controller's folder")?.to_owned())
}
