//! `scuttle teardown`: tears down one decky, several, or a whole host.

use std::fmt::Write as _;

use clap::Args;
use futures_util::future::join_all;
use scuttle_schemas::DeckyId;
use scuttle_schemas::teardown::TeardownPlan;

use super::submit::submit_teardowns;
use crate::client::connection::ConnectionArgs;
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::client::teardown::{Target, TeardownOptions, request_plan};
use crate::commands::confirmation::{confirm, require_terminal};
use crate::commands::shell::candidates;
use crate::failure::Failure;
use crate::output::format::{self, Format};
use crate::output::json_types::{DryRun, Plans, Rejection};
use crate::output::message::print_error;
use crate::output::style::{self, Colors};
use crate::output::table::{Cell, Column, Table};
use crate::parse::parse_timeout_s;

/// Tear down a decky, several deckies, or a whole host.
///
/// A teardown of a whole host removes all its deckies and their networks. The command first lists
/// these deckies and asks for confirmation, unless --yes is given. With --decky, each decky is a
/// separate request, and all requests are sent at the same time.
///
/// With --wait, the exit code shows the most serious result: 0 if everything is removed, 5 if an
/// operation timed out, 1 if an operation failed, 3 or 4 if a request was rejected. Ctrl-C stops
/// waiting and leaves the teardown running.
#[derive(Debug, Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command"
)]
#[command(after_help = "Examples:
  scuttle teardown worker-a --decky decky-03 --wait
  scuttle teardown worker-a --decky decky-01 --decky decky-02 \\
    --reason 'rotating lures'
  scuttle teardown worker-a --dry-run
  scuttle teardown worker-a --yes --wait --timeout 30m -o json")]
pub(crate) struct Teardown {
    /// Host name or ID.
    #[arg(add = candidates::complete_hosts())]
    host: String,
    /// Tear down only this decky; can be repeated.
    #[arg(long = "decky", value_name = "DECKY", add = candidates::complete_deckies())]
    deckies: Vec<DeckyId>,
    /// Wait until all operations have ended, and report their results.
    #[arg(long)]
    wait: bool,
    /// List the deckies that would be torn down, and tear down nothing.
    #[arg(long, conflicts_with_all = ["wait", "yes"])]
    dry_run: bool,
    /// Time after which each operation times out, such as 90s, 10m or 1h.
    #[arg(long, value_name = "TIME", value_parser = parse_timeout_s, default_value = "10m")]
    timeout: u32,
    /// Reason to record with each operation.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Tear down protected deckies too: those that `scuttle protect` or the label
    /// scuttle.protected=true protects.
    #[arg(long)]
    override_protection: bool,
    /// Tear down a whole host without asking for confirmation.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    nats: ConnectionArgs,
}

impl Teardown {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let whole_host = self.deckies.is_empty();
        let needs_confirmation = whole_host && !self.yes && !self.dry_run;
        if needs_confirmation {
            let action = format!("tear down the whole host {}", self.host);
            require_terminal(&action, "give --yes, or --decky for single deckies")?;
        }
        let client = Client::connect(&self.nats.resolve()?).await?;
        let host = lists::resolve_host(&client, &self.host).await?;
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
        if whole_host {
            targets.push(target(None));
        }
        if self.dry_run {
            return dry_run(&client, format, &targets).await;
        }
        let mut options = TeardownOptions {
            timeout_s: self.timeout,
            reason: self.reason,
            expect_plan: None,
            override_protection: self.override_protection,
            wait: self.wait,
        };
        if needs_confirmation {
            let plan = confirm_plan(&client, &targets[0], options.override_protection).await?;
            options.expect_plan = Some(plan);
        }
        submit_teardowns(&client, format, &targets, &options).await
    }
}

/// Lists the deckies that would be torn down, and asks the operator to confirm. Returns the
/// confirmed plan, or fails if the operator does not confirm, or if a decky is protected and the
/// protection is not overridden.
async fn confirm_plan(
    client: &Client,
    target: &Target,
    override_protection: bool,
) -> Result<String, Failure> {
    let plan = request_plan(client, &target.host_uuid, target.decky_id.as_ref()).await?;
    eprint!("{}", render_plan(target, &plan));
    let protected = plan.targets.iter().filter(|shard| shard.protected).count();
    let including = match protected {
        0 => String::new(),
        count => format!(", with {} protected,", style::format_decky_count(count)),
    };
    if protected > 0 && !override_protection {
        let deckies = style::format_decky_count(protected);
        return Err(Failure::Conflict(format!(
            "nothing was torn down: {target} has {deckies} protected; lift the protection with \
             `scuttle unprotect`, or give --override-protection"
        )));
    }
    let swarm = client.swarm();
    let question = format!(
        "Are you sure you want to tear down all of {target}{including} in the swarm at {swarm}?"
    );
    if confirm(&question).await? {
        Ok(plan.plan)
    } else {
        Err(Failure::Conflict(
            "aborted: nothing was torn down".to_owned(),
        ))
    }
}

/// Writes the deckies that each request would tear down. Fails if any of the requests is rejected
/// or gets no reply.
async fn dry_run(client: &Client, format: Format, targets: &[Target]) -> Result<(), Failure> {
    let requests = targets
        .iter()
        .map(|target| request_plan(client, &target.host_uuid, target.decky_id.as_ref()));
    let replies = join_all(requests).await;
    let mut plans = Vec::new();
    let mut text = String::new();
    let mut code = 0;
    for (target, reply) in targets.iter().zip(replies) {
        let (plan, refused) = match reply {
            Ok(plan) => (Some(plan), None),
            Err(error) => {
                let failure = Failure::from(error);
                if targets.len() == 1 {
                    return Err(failure);
                }
                print_error(format!("{target}: {failure}"));
                code = code.max(failure.exit_code());
                (None, Some(Rejection::from(&failure)))
            }
        };
        if let Some(plan) = &plan {
            text += &render_plan(target, plan);
        }
        let (plan, targets, total) = plan.map_or((None, Vec::new(), 0), |plan| {
            (Some(plan.plan), plan.targets, plan.total)
        });
        plans.push(DryRun {
            host_uuid: target.host_uuid.clone(),
            host_name: target.host_name.clone(),
            decky_id: target.decky_id.clone(),
            plan,
            targets,
            total,
            refused,
        });
    }
    let all = Plans { plans };
    match format {
        Format::Jsonl => all.plans.iter().try_for_each(format::write_json_line)?,
        _ => format.write_one(&all, || text)?,
    }
    match code {
        0 => Ok(()),
        code => Err(Failure::AlreadyReported(code)),
    }
}

/// Renders the list of the deckies that a request would tear down, as text for people.
fn render_plan(target: &Target, plan: &TeardownPlan) -> String {
    let mut text = match plan.total {
        0 => format!(
            "{target}: no deckies on record; the agent removes whatever it finds on the host.\n"
        ),
        count => format!(
            "{target}: {} would be torn down.\n",
            style::format_decky_count(count)
        ),
    };
    let mut table = Table::new(&[Column::name("  DECKY"), Column::new("STATUS")]);
    for shard in &plan.targets {
        table.add_row([
            format!("  {}", shard.decky_id).into(),
            Cell::protectable(style::shard_label(shard.state), shard.protected),
        ]);
    }
    text += &table.render(format::terminal_width(), Colors::NONE);
    let omitted = plan.total.saturating_sub(plan.targets.len());
    if omitted > 0 {
        let _ = writeln!(text, "  … and {omitted} more");
    }
    text
}
