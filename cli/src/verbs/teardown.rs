//! `scuttle teardown`: a decky, several, or a whole host goes.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use futures_util::future::join_all;
use scuttle_schemas::teardown::{DEFAULT_TIMEOUT_S, TeardownPlan, TeardownRequest};
use scuttle_schemas::{DeckyId, subjects};

use crate::ask::{AskError, Bus};
use crate::connect::Connect;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::outputs::{DryRun, Plans, Refused};
use crate::request::{Order, Target, targets_text, tear_down};
use crate::words::seconds;
use crate::{complete, lists};

/// Tears down deckies, or a whole host: its deckies and their networks.
///
/// Several deckies are several requests, all sent at once. Before a whole host goes, it is shown what would go, and asked, unless
/// --yes says so. With --wait the exit code is the worst outcome's: 0 all gone, 5 one timed out, 1 one failed, 3 or 4 one was not
/// accepted. Ctrl-C ends the waiting, not the teardown.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle teardown worker-a --decky decky-03 --wait
  scuttle teardown worker-a --decky decky-01 --decky decky-02 --reason 'rotating lures'
  scuttle teardown worker-a --dry-run
  scuttle teardown worker-a --yes --wait --timeout 30m -o json")]
pub(crate) struct Teardown {
    /// The host's name or its id.
    #[arg(add = complete::hosts())]
    host: String,
    /// Only this decky; may be given more than once.
    #[arg(long = "decky", value_name = "DECKY", add = complete::deckies())]
    deckies: Vec<DeckyId>,
    /// Stay until it has ended, and say what became of it.
    #[arg(long)]
    wait: bool,
    /// Only tell what would go.
    #[arg(long, conflicts_with_all = ["wait", "yes"])]
    dry_run: bool,
    /// How long the host may take: 90s, 10m, 1h.
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "10m")]
    timeout: u32,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask before a whole host goes.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    nats: Connect,
}

impl Teardown {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let whole = self.deckies.is_empty();
        let asks = whole && !self.yes && !self.dry_run;
        if asks && !io::stdin().is_terminal() {
            return Err(Failure::Usage(format!(
                "the whole host {} would go, and there is no terminal to ask: give --yes, or --decky for single deckies",
                self.host
            )));
        }
        let bus = Bus::connect(&self.nats.connection()?).await?;
        let host = lists::host(&bus, &self.host).await?;
        let target = |decky_id| Target {
            host_uuid: host.host_uuid.clone(),
            host_name: host.name.clone(),
            decky_id,
        };
        let mut deckies = self.deckies.clone();
        deckies.sort_unstable();
        deckies.dedup();
        let mut targets: Vec<_> = deckies
            .into_iter()
            .map(|decky| target(Some(decky)))
            .collect();
        if whole {
            targets.push(target(None));
        }
        if self.dry_run {
            return dry_run(&bus, format, &targets).await;
        }
        let mut order = Order {
            timeout_s: self.timeout,
            reason: self.reason,
            expect_plan: None,
            wait: self.wait,
        };
        if asks {
            order.expect_plan = Some(ask_first(&bus, &targets[0]).await?);
        }
        tear_down(&bus, format, &targets, &order).await
    }
}

async fn plan(bus: &Bus, target: &Target) -> Result<TeardownPlan, AskError> {
    let request = TeardownRequest {
        host_uuid: target.host_uuid.clone(),
        decky_id: target.decky_id.clone(),
        timeout_s: DEFAULT_TIMEOUT_S,
        dry_run: true,
        expect_plan: None,
        reason: None,
    };
    bus.ask(subjects::TEARDOWN, &request).await
}

/// Shows what would go, and asks whether it may; gives the plan that was agreed to.
async fn ask_first(bus: &Bus, target: &Target) -> Result<String, Failure> {
    let plan = plan(bus, target).await?;
    eprint!("{}", targets_text(target, &plan.targets));
    eprint!("Tear down all of {}? [y/N] ", target.text());
    io::stderr().flush().map_err(Failure::Terminal)?;
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    let answer = answer.await.map_err(io::Error::from);
    let answer = answer.flatten().map_err(Failure::Terminal)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(plan.plan)
    } else {
        Err(Failure::Conflict("nothing was torn down".to_owned()))
    }
}

async fn dry_run(bus: &Bus, format: Format, targets: &[Target]) -> Result<(), Failure> {
    let answers = join_all(targets.iter().map(|target| plan(bus, target))).await;
    let mut plans = Vec::new();
    let mut text = String::new();
    let mut code = 0;
    for (target, answer) in targets.iter().zip(answers) {
        let (plan, refused) = match answer {
            Ok(plan) => (Some(plan), None),
            Err(error) => {
                let failure = Failure::from(error);
                if targets.len() == 1 {
                    return Err(failure);
                }
                eprintln!("scuttle: {}: {failure}", target.text());
                code = code.max(failure.exit_code());
                (None, Some(Refused::from(&failure)))
            }
        };
        if let Some(plan) = &plan {
            text += &targets_text(target, &plan.targets);
        }
        let (plan, targets) =
            plan.map_or((None, Vec::new()), |plan| (Some(plan.plan), plan.targets));
        plans.push(DryRun {
            host_uuid: target.host_uuid.clone(),
            host_name: target.host_name.clone(),
            decky_id: target.decky_id.clone(),
            plan,
            targets,
            refused,
        });
    }
    let all = Plans { plans };
    match format {
        Format::Jsonl => all.plans.iter().try_for_each(output::line)?,
        _ => format.one(&all, || text)?,
    }
    match code {
        0 => Ok(()),
        code => Err(Failure::Told(code)),
    }
}
