//! The event loop of the `scuttle watch` screen: reads keys, draws frames, and sends requests in
//! the background. `app` decides what each key does, and `draw` draws the frames.

use std::io;
use std::time::{Duration, Instant};

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::StreamExt;
use futures_util::future::join_all;
use ratatui::DefaultTerminal;
use scuttle_schemas::operations::{CancelAccepted, CancelRequest};
use scuttle_schemas::shards::{ShardState, ShardsListRequest};
use scuttle_schemas::teardown::DEFAULT_TIMEOUT_S;
use scuttle_schemas::{HostId, OperationId, subjects};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::app::{Action, App, Command, Message, Popup, RowKey, SwarmView};
use super::draw::{POPUP_MARGIN, Scene};
use crate::client::client_error::ClientError;
use crate::client::lists;
use crate::client::live_view::{LiveView, ShardKey, Update};
use crate::client::nats_client::Client;
use crate::client::teardown::{
    Target, TeardownOptions, TeardownPermission, query_teardown_permission, request_plan,
    request_teardown, retry_teardown, select_retry_targets,
};
use crate::clock;
use crate::failure::Failure;
use crate::output::format;
use crate::output::operation::describe;
use crate::output::style::{self, Colors, Tone, is_no_color};

/// The maximum number of request results that wait to be shown.
const MAX_BUFFERED_RESULTS: usize = 64;

/// The minimum time between two frames, however many changes arrive, except that a key press draws
/// a frame immediately.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);

/// The number of frame intervals after which a frame is drawn even if nothing has changed, so that
/// relative times stay up to date.
const MAX_SKIPPED_FRAMES: u32 = 10;

/// The result of a request that ran in the background.
enum RequestResult {
    Message(Message),
    /// The plan to tear down a whole host.
    Plan {
        host: HostId,
        plan: String,
        deckies: usize,
    },
    /// The description of an operation, to be shown in a popup.
    Operation(String),
    /// The user may not change anything, for this reason.
    Denied(String),
}

impl RequestResult {
    fn message(tone: Tone, text: impl Into<String>) -> Self {
        let text = text.into();
        Self::Message(Message { tone, text })
    }
}

/// The terminal in full-screen mode. Dropping this value restores the terminal.
struct Terminal(DefaultTerminal);

impl Terminal {
    /// Switches the terminal to full-screen mode. A panic also restores the terminal.
    fn init() -> Result<Self, Failure> {
        ratatui::try_init().map(Self).map_err(Failure::Terminal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows the screen until the operator quits or a signal arrives.
pub(crate) async fn run(client: Client) -> Result<(), Failure> {
    let mut view = LiveView::open(&client).await?;
    let (result_sender, mut results) = mpsc::channel(MAX_BUFFERED_RESULTS);
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Terminal)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(Failure::Terminal)?;
    let mut app = App::new();
    start_permission_check(&client, &result_sender);
    let mut terminal = Terminal::init()?;
    let mut keys = EventStream::new();
    let mut frames = interval(FRAME_INTERVAL);
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut is_dirty, mut skipped) = (true, 0);
    loop {
        tokio::select! {
            event = keys.next() => {
                let event = event.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
                if let Event::Key(key) = event.map_err(Failure::Terminal)?
                    && key.kind == KeyEventKind::Press
                {
                    match app.handle_key(key, swarm_view(&view), Instant::now()) {
                        Some(Command::Quit) => return Ok(()),
                        Some(command) => start_request(&client, command, &view, &result_sender),
                        None => {}
                    }
                }
                draw(&mut terminal, &app, &view, client.swarm())?;
                is_dirty = false;
            }
            update = view.next() => {
                let problem = match update {
                    Update::Problem(text) => Some(text),
                    Update::ListingFailed(error) => Some(error.to_string()),
                    _ => None,
                };
                if let Some(text) = problem {
                    app.message = Some(Message { tone: Tone::Warning, text });
                }
                is_dirty = true;
            }
            Some(result) = results.recv() => {
                apply_result(&mut app, result);
                is_dirty = true;
            }
            _ = frames.tick() => {
                skipped += 1;
                if is_dirty || skipped >= MAX_SKIPPED_FRAMES {
                    app.expire(Instant::now());
                    draw(&mut terminal, &app, &view, client.swarm())?;
                    (is_dirty, skipped) = (false, 0);
                }
            }
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
    }
}

fn swarm_view(view: &LiveView) -> SwarmView<'_> {
    SwarmView {
        hosts: &view.hosts,
        shards: &view.shards,
        operations: &view.operations,
    }
}

fn draw(
    terminal: &mut Terminal,
    app: &App,
    view: &LiveView,
    swarm_name: &str,
) -> Result<(), Failure> {
    let scene = Scene {
        app,
        swarm: swarm_view(view),
        swarm_name,
        stale_reason: view.stale_reason(),
        is_complete: view.is_complete(),
        now: clock::now(),
        has_colors: !is_no_color(),
    };
    let drawn = terminal.0.draw(|frame| scene.draw(frame));
    drawn.map(|_| ()).map_err(Failure::Terminal)
}

fn apply_result(app: &mut App, result: RequestResult) {
    match result {
        RequestResult::Message(message) => app.message = Some(message),
        RequestResult::Plan {
            host,
            plan,
            deckies,
        } => app.set_plan(&host, plan, deckies),
        RequestResult::Operation(text) => app.popup = Some(Popup::Operation(text)),
        RequestResult::Denied(reason) => {
            app.pending = None;
            app.denied = Some(reason);
        }
    }
}

/// Checks in the background whether the user may tear down, so that the key of an action is
/// answered before the operator confirms the action.
fn start_permission_check(client: &Client, results: &mpsc::Sender<RequestResult>) {
    let (client, results) = (client.clone(), results.clone());
    tokio::spawn(async move {
        // An operator who is limited to hosts sees the server's denial for another host.
        if let Ok(TeardownPermission::Denied(error)) = query_teardown_permission(&client).await {
            // Sending fails only when the screen has been closed.
            let _ = results.send(RequestResult::Denied(error.to_string())).await;
        }
    });
}

/// Runs the requests of a command in the background. Sends the result to `results`.
fn start_request(
    client: &Client,
    command: Command,
    view: &LiveView,
    results: &mpsc::Sender<RequestResult>,
) {
    let (client, results) = (client.clone(), results.clone());
    let target = match &command {
        Command::Run { row, .. } => find_target(row, view),
        _ => None,
    };
    tokio::spawn(async move {
        let result = run_command(&client, command, target).await;
        let result =
            result.unwrap_or_else(|error| RequestResult::message(Tone::Error, error.to_string()));
        // Sending fails only when the screen has been closed.
        let _ = results.send(result).await;
    });
}

/// Returns the teardown target that the row shows, or `None` for an operation or a removed record.
fn find_target(row: &RowKey, view: &LiveView) -> Option<Target> {
    match row {
        RowKey::Host(host) => view.hosts.get(host).map(|host| Target {
            host_uuid: host.host_uuid.clone(),
            host_name: host.name.clone(),
            decky_id: None,
        }),
        RowKey::Shard(shard) => view.shards.get(shard).map(|shard| Target {
            host_uuid: shard.host_uuid.clone(),
            host_name: shard.host_name.clone(),
            decky_id: Some(shard.decky_id.clone()),
        }),
        RowKey::Operation(_) => None,
    }
}

async fn run_command(
    client: &Client,
    command: Command,
    target: Option<Target>,
) -> Result<RequestResult, ClientError> {
    match command {
        Command::Quit => Ok(RequestResult::message(Tone::Plain, "")),
        Command::Describe(id) => {
            let operation = lists::get_operation(client, id).await?;
            let width = format::terminal_width().map(|width| width.saturating_sub(POPUP_MARGIN));
            let text = describe(&operation, None, clock::now(), width, Colors::NONE);
            Ok(RequestResult::Operation(text))
        }
        Command::Plan(host) => show_plan(client, host).await,
        Command::Run {
            action: Action::TearDown,
            plan,
            ..
        } => match target {
            Some(target) => tear_down(client, &target, plan).await,
            None => Ok(RequestResult::message(
                Tone::Warning,
                "no longer exists: nothing was torn down",
            )),
        },
        Command::Run {
            action: Action::Retry,
            row,
            ..
        } => retry(client, row).await,
        Command::Run {
            action: Action::Cancel,
            row: RowKey::Operation(operation_id),
            ..
        } => {
            let request = CancelRequest { operation_id };
            let _: CancelAccepted = client
                .request(subjects::OPERATIONS_CANCEL, &request)
                .await?;
            Ok(RequestResult::message(
                Tone::Success,
                "✓ cancelled: nothing was removed",
            ))
        }
        Command::Run {
            action: Action::Cancel,
            ..
        } => Ok(RequestResult::message(
            Tone::Warning,
            "only operations can be cancelled",
        )),
    }
}

async fn show_plan(client: &Client, host: HostId) -> Result<RequestResult, ClientError> {
    let plan = request_plan(client, &host, None).await?;
    Ok(RequestResult::Plan {
        host,
        plan: plan.plan,
        deckies: plan.total,
    })
}

async fn tear_down(
    client: &Client,
    target: &Target,
    expect_plan: Option<String>,
) -> Result<RequestResult, ClientError> {
    let options = TeardownOptions {
        expect_plan,
        ..default_options()
    };
    let request = options.to_request(target);
    let accepted = request_teardown(client, &request).await?;
    Ok(RequestResult::message(
        Tone::Success,
        format!("✓ {target}: {}", accepted.detail),
    ))
}

fn default_options() -> TeardownOptions {
    TeardownOptions {
        timeout_s: DEFAULT_TIMEOUT_S,
        reason: None,
        expect_plan: None,
        override_protection: false,
        wait: false,
    }
}

/// Retries all failed deckies of a host or an operation, or one failed decky. `row` is the record
/// that the operator has selected.
async fn retry(client: &Client, row: RowKey) -> Result<RequestResult, ClientError> {
    let (host, operation, shard): (HostId, Option<OperationId>, Option<ShardKey>) = match row {
        RowKey::Host(host) => (host, None, None),
        RowKey::Shard(shard) => (shard.0.clone(), None, Some(shard)),
        RowKey::Operation(id) => {
            let operation = lists::get_operation(client, id).await?;
            (operation.host_uuid, Some(id), None)
        }
    };
    let request = ShardsListRequest {
        host_uuid: Some(host),
        state: Some(ShardState::TeardownFailed),
        ..ShardsListRequest::default()
    };
    let shards = lists::list_shards(client, request).await?.shards;
    let mut failed = select_retry_targets(&shards, operation);
    if let Some((_, decky)) = shard {
        failed.retain(|failed| failed.target.decky_id.as_ref() == Some(&decky));
    }
    let options = default_options();
    let requests = failed
        .iter()
        .map(|failed| retry_teardown(client, failed, &options));
    let results = join_all(requests).await;
    match results.iter().filter(|result| result.is_ok()).count() {
        _ if failed.is_empty() => Ok(RequestResult::message(
            Tone::Warning,
            "nothing to retry: no failed deckies are left",
        )),
        count if count == failed.len() => Ok(RequestResult::message(
            Tone::Success,
            format!("✓ retrying {}", style::format_decky_count(count)),
        )),
        _ => match results.into_iter().find_map(Result::err) {
            Some(error) => Err(error),
            None => Ok(RequestResult::message(Tone::Warning, "some were rejected")),
        },
    }
}
