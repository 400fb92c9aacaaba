//! The terminal and what goes on between it and the swarm: keys in, frames out, requests beside them. What the keys mean is `app`,
//! how a frame looks is `draw`.

use std::io;
use std::time::{Duration, Instant};

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::StreamExt;
use ratatui::DefaultTerminal;
use scuttle_schemas::operations::{CancelAccepted, CancelRequest};
use scuttle_schemas::shards::{ShardState, ShardsListRequest};
use scuttle_schemas::teardown::{
    DEFAULT_TIMEOUT_S, TeardownAccepted, TeardownPlan, TeardownRequest,
};
use scuttle_schemas::{HostId, OperationId, subjects};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::app::{Action, App, Command, Key, Popup, Swarm};
use super::draw::Scene;
use crate::ask::{AskError, Bus};
use crate::failure::Failure;
use crate::live::{Heard, Live, ShardKey};
use crate::look::{Paint, Tone, no_color};
use crate::request::{Order, Target};
use crate::verbs::op::describe;
use crate::verbs::retry::left;
use crate::{lists, look};

/// The most answers that wait to be shown: one for each key that a person can press.
const ANSWERS: usize = 64;

/// How often the screen is drawn at the most, whatever the swarm does.
const FRAME: Duration = Duration::from_millis(100);

/// How many frames pass until times are told anew.
const CLOCK: u32 = 10;

/// What came of a request.
enum Answer {
    Said(Tone, String),
    Planned(HostId, String, usize),
    Operation(String),
}

/// The terminal, as it was before once this is dropped.
struct Terminal(DefaultTerminal);

impl Terminal {
    fn take() -> Result<Self, Failure> {
        // A panic gives it back, too.
        ratatui::try_init().map(Self).map_err(Failure::Terminal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows the swarm until a key or a signal ends it.
pub(crate) async fn run(bus: Bus) -> Result<(), Failure> {
    let mut live = Live::open(&bus).await?;
    let (tell, mut answers) = mpsc::channel(ANSWERS);
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Terminal)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(Failure::Terminal)?;
    let mut app = App::new();
    let mut terminal = Terminal::take()?;
    let mut keys = EventStream::new();
    let mut frames = interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut dirty, mut passed) = (true, 0);
    loop {
        tokio::select! {
            event = keys.next() => {
                let event = event.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
                if let Event::Key(key) = event.map_err(Failure::Terminal)?
                    && key.kind == KeyEventKind::Press
                {
                    match app.key(key, swarm(&live), Instant::now()) {
                        Some(Command::Quit) => return Ok(()),
                        Some(command) => start(&bus, command, &live, &tell),
                        None => {}
                    }
                }
                draw(&mut terminal, &app, &live)?;
                dirty = false;
            }
            heard = live.next() => {
                if let Heard::Trouble(trouble) = heard {
                    app.message = Some((Tone::Warn, trouble));
                }
                dirty = true;
            }
            Some(answer) = answers.recv() => {
                take(&mut app, answer);
                dirty = true;
            }
            _ = frames.tick() => {
                passed += 1;
                if dirty || passed >= CLOCK {
                    app.expire(Instant::now());
                    draw(&mut terminal, &app, &live)?;
                    (dirty, passed) = (false, 0);
                }
            }
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
    }
}

fn swarm(live: &Live) -> Swarm<'_> {
    Swarm {
        hosts: &live.hosts,
        shards: &live.shards,
        operations: &live.operations,
    }
}

fn draw(terminal: &mut Terminal, app: &App, live: &Live) -> Result<(), Failure> {
    let scene = Scene {
        app,
        swarm: swarm(live),
        stale: live.stale(),
        complete: live.is_complete(),
        now: look::now(),
        colours: !no_color(),
    };
    let drawn = terminal.0.draw(|frame| scene.draw(frame));
    drawn.map(|_| ()).map_err(Failure::Terminal)
}

fn take(app: &mut App, answer: Answer) {
    match answer {
        Answer::Said(tone, text) => app.message = Some((tone, text)),
        Answer::Planned(host, plan, deckies) => app.planned(&host, plan, deckies),
        Answer::Operation(text) => app.popup = Some(Popup::Operation(text)),
    }
}

/// Asks beside all else; the answer comes when it comes.
fn start(bus: &Bus, command: Command, live: &Live, tell: &mpsc::Sender<Answer>) {
    let (bus, tell) = (bus.clone(), tell.clone());
    let target = match &command {
        Command::Do(_, key, _) => target_of(key, live),
        _ => None,
    };
    tokio::spawn(async move {
        let answer = answer(&bus, command, target).await;
        let answer = answer.unwrap_or_else(|error| Answer::Said(Tone::Bad, error.to_string()));
        // The screen may be gone by now.
        let _ = tell.send(answer).await;
    });
}

fn target_of(key: &Key, live: &Live) -> Option<Target> {
    match key {
        Key::Host(host) => live.hosts.get(host).map(|host| Target {
            host_uuid: host.host_uuid.clone(),
            host_name: host.name.clone(),
            decky_id: None,
        }),
        Key::Shard(shard) => live.shards.get(shard).map(|shard| Target {
            host_uuid: shard.host_uuid.clone(),
            host_name: shard.host_name.clone(),
            decky_id: Some(shard.decky_id.clone()),
        }),
        Key::Operation(_) => None,
    }
}

async fn answer(bus: &Bus, command: Command, target: Option<Target>) -> Result<Answer, AskError> {
    match command {
        Command::Quit => Ok(Answer::Said(Tone::Plain, String::new())),
        Command::Show(id) => {
            let operation = lists::operation(bus, id).await?;
            let text = describe(&operation, look::now(), None, Paint::NONE);
            Ok(Answer::Operation(text))
        }
        Command::Plan(host) => {
            let request = TeardownRequest {
                dry_run: true,
                ..whole(&host)
            };
            let plan: TeardownPlan = bus.ask(subjects::TEARDOWN, &request).await?;
            Ok(Answer::Planned(host, plan.plan, plan.targets.len()))
        }
        Command::Do(Action::TearDown, _, expect_plan) => match target {
            Some(target) => tear_down(bus, &target, expect_plan).await,
            None => Ok(Answer::Said(Tone::Warn, "it is gone already".to_owned())),
        },
        Command::Do(Action::Retry, key, _) => retry(bus, key).await,
        Command::Do(Action::Cancel, Key::Operation(operation_id), _) => {
            let request = CancelRequest { operation_id };
            let _: CancelAccepted = bus.ask(subjects::OPERATIONS_CANCEL, &request).await?;
            Ok(Answer::Said(
                Tone::Good,
                "✓ cancelled: nothing was removed".to_owned(),
            ))
        }
        Command::Do(Action::Cancel, ..) => Ok(Answer::Said(
            Tone::Warn,
            "only operations are cancelled".to_owned(),
        )),
    }
}

fn whole(host: &HostId) -> TeardownRequest {
    TeardownRequest {
        host_uuid: host.clone(),
        decky_id: None,
        timeout_s: DEFAULT_TIMEOUT_S,
        dry_run: false,
        expect_plan: None,
        reason: None,
    }
}

async fn tear_down(
    bus: &Bus,
    target: &Target,
    expect_plan: Option<String>,
) -> Result<Answer, AskError> {
    let order = Order {
        timeout_s: DEFAULT_TIMEOUT_S,
        reason: None,
        expect_plan,
        wait: false,
    };
    let request = order.request(target);
    let accepted: TeardownAccepted = bus.ask_once(subjects::TEARDOWN, &request).await?;
    Ok(Answer::Said(
        Tone::Good,
        format!("✓ {}: {}", target.text(), accepted.detail),
    ))
}

/// Asks again for what failed: of a host, of an operation, or one shard.
async fn retry(bus: &Bus, key: Key) -> Result<Answer, AskError> {
    let (host, operation, shard): (HostId, Option<OperationId>, Option<ShardKey>) = match key {
        Key::Host(host) => (host, None, None),
        Key::Shard(shard) => (shard.0.clone(), None, Some(shard)),
        Key::Operation(id) => (lists::operation(bus, id).await?.host_uuid, Some(id), None),
    };
    let request = ShardsListRequest {
        host_uuid: Some(host),
        state: Some(ShardState::TeardownFailed),
        ..ShardsListRequest::default()
    };
    let mut targets = left(&lists::shards(bus, request).await?.shards, operation);
    if let Some((_, decky)) = shard {
        targets.retain(|target| target.decky_id.as_ref() == Some(&decky));
    }
    let asked =
        futures_util::future::join_all(targets.iter().map(|target| tear_down(bus, target, None)));
    let asked = asked.await;
    match asked.iter().filter(|answer| answer.is_ok()).count() {
        _ if targets.is_empty() => Ok(Answer::Said(
            Tone::Warn,
            "nothing to retry: nothing of it is left from a teardown that failed".to_owned(),
        )),
        count if count == targets.len() => Ok(Answer::Said(
            Tone::Good,
            format!("✓ asked again for {}", look::deckies(count)),
        )),
        _ => asked
            .into_iter()
            .find(Result::is_err)
            .unwrap_or_else(|| Ok(Answer::Said(Tone::Warn, "not all was accepted".to_owned()))),
    }
}
