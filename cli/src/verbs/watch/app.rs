//! What the screen shows and what its keys do, without a terminal: which table, which rows, what is selected, what is armed. How
//! it is drawn is `draw`, what comes of a command is `screen`.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use scuttle_schemas::hosts::{HostRecord, HostStatus};
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::shards::{ShardRecord, ShardState};
use scuttle_schemas::{HostId, OperationId};

use crate::live::ShardKey;
use crate::look::{self, Tone};
use crate::mirror::Mirror;
use crate::verbs::ops::target;

/// How long a key stays armed.
pub(super) const ARMED: Duration = Duration::from_secs(4);

/// How far a page is.
const PAGE: usize = 20;

/// Which table is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Hosts,
    Shards,
    Operations,
}

impl Tab {
    pub(super) const ALL: [Self; 3] = [Self::Hosts, Self::Shards, Self::Operations];

    /// The word for it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Hosts => "Hosts",
            Self::Shards => "Shards",
            Self::Operations => "Operations",
        }
    }

    fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}

/// What a row is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Host(HostId),
    Shard(ShardKey),
    Operation(OperationId),
}

/// What is known of the swarm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Swarm<'a> {
    pub(super) hosts: &'a Mirror<HostId, HostRecord>,
    pub(super) shards: &'a Mirror<ShardKey, ShardRecord>,
    pub(super) operations: &'a Mirror<OperationId, OperationRecord>,
}

/// What a key asks for, apart from what only changes the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    /// Show an operation whole.
    Show(OperationId),
    /// Find out what would go with this host.
    Plan(HostId),
    /// The armed action was committed; a whole host with the plan that was shown.
    Do(Action, Key, Option<String>),
}

/// What is armed first, and committed by the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    TearDown,
    Retry,
    Cancel,
}

/// An action that waits for its key to be pressed again.
#[derive(Debug, Clone)]
pub(super) struct Armed {
    pub(super) action: Action,
    pub(super) key: Key,
    since: Instant,
    /// Of a whole host: what would go, once it is known.
    pub(super) plan: Option<String>,
    /// In words.
    pub(super) text: String,
}

/// What lies over the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Popup {
    Help,
    /// An operation, as `scuttle op` describes it.
    Operation(String),
}

/// The screen.
#[derive(Debug)]
pub(super) struct App {
    pub(super) tab: Tab,
    /// The selected row of each table.
    selected: [Option<Key>; 3],
    pub(super) filter: String,
    /// Whether the keys write the filter.
    pub(super) typing: bool,
    /// Only what wants a look.
    pub(super) trouble_only: bool,
    pub(super) armed: Option<Armed>,
    pub(super) popup: Option<Popup>,
    /// What was done last.
    pub(super) message: Option<(Tone, String)>,
}

impl App {
    pub(super) fn new() -> Self {
        Self {
            tab: Tab::Hosts,
            selected: [const { None }; 3],
            filter: String::new(),
            typing: false,
            trouble_only: false,
            armed: None,
            popup: None,
            message: None,
        }
    }

    /// The rows of the table that is shown, in order.
    pub(super) fn rows(&self, swarm: Swarm<'_>) -> Vec<Key> {
        let filter = self.filter.to_lowercase();
        let wanted = |trouble: bool, text: &dyn Fn() -> String| {
            (!self.trouble_only || trouble)
                && (filter.is_empty() || text().to_lowercase().contains(&filter))
        };
        match self.tab {
            Tab::Hosts => {
                let living = |host: &&HostRecord| host.status != HostStatus::Decommissioned;
                let mut hosts: Vec<_> = swarm.hosts.iter().map(|(_, host)| host).collect();
                hosts
                    .retain(|host| living(host) && wanted(host_trouble(host), &|| host_text(host)));
                hosts.sort_by(|a, b| a.name.cmp(&b.name));
                let key = |host: &HostRecord| Key::Host(host.host_uuid.clone());
                hosts.into_iter().map(key).collect()
            }
            Tab::Shards => {
                let shards = swarm.shards.iter();
                let mut shards: Vec<_> = shards
                    .filter(|(_, shard)| wanted(shard_trouble(shard), &|| shard_text(shard)))
                    .collect();
                shards.sort_by(|(_, a), (_, b)| {
                    (&a.host_name, &a.decky_id).cmp(&(&b.host_name, &b.decky_id))
                });
                let key = |(key, _): (&ShardKey, _)| Key::Shard(key.clone());
                shards.into_iter().map(key).collect()
            }
            Tab::Operations => {
                let operations = swarm.operations.iter();
                let mut keys: Vec<_> = operations
                    .filter(|(_, one)| wanted(operation_trouble(one), &|| operation_text(one)))
                    .map(|(id, _)| Key::Operation(*id))
                    .collect();
                // Ids sort by time: the newest first.
                keys.reverse();
                keys
            }
        }
    }

    /// Where the selection is in these rows: the first, where what was selected is gone.
    pub(super) fn position(&self, rows: &[Key]) -> Option<usize> {
        let selected = self.selected[self.tab as usize].as_ref();
        let found = selected.and_then(|selected| rows.iter().position(|key| key == selected));
        found.or((!rows.is_empty()).then_some(0))
    }

    /// Takes away what was armed too long ago.
    pub(super) fn expire(&mut self, now: Instant) {
        let late = |armed: &Armed| now.duration_since(armed.since) > ARMED;
        if self.armed.as_ref().is_some_and(late) {
            self.armed = None;
        }
    }

    /// What would go with a host that was armed has become known.
    pub(super) fn planned(&mut self, host: &HostId, plan: String, deckies: usize) {
        if let Some(armed) = &mut self.armed
            && armed.key == Key::Host(host.clone())
        {
            armed.text = format!("{}: {} would go", armed.text, look::deckies(deckies));
            armed.plan = Some(plan);
        }
    }

    /// Does what a key stands for.
    pub(super) fn key(
        &mut self,
        event: KeyEvent,
        swarm: Swarm<'_>,
        now: Instant,
    ) -> Option<Command> {
        self.expire(now);
        if event.modifiers.contains(KeyModifiers::CONTROL) {
            return (event.code == KeyCode::Char('c')).then_some(Command::Quit);
        }
        if self.typing {
            self.type_filter(event.code);
            return None;
        }
        if self.popup.is_some() {
            let quits = event.code == KeyCode::Char('q');
            self.popup = None;
            return quits.then_some(Command::Quit);
        }
        let rows = self.rows(swarm);
        match event.code {
            KeyCode::Char('q') => return Some(Command::Quit),
            KeyCode::Esc => self.step_back(),
            KeyCode::Tab => self.show(self.tab.next()),
            KeyCode::BackTab => self.show(self.tab.next().next()),
            KeyCode::Char('1') => self.show(Tab::Hosts),
            KeyCode::Char('2') => self.show(Tab::Shards),
            KeyCode::Char('3') => self.show(Tab::Operations),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('f') => self.trouble_only = !self.trouble_only,
            KeyCode::Char('?' | 'h') => self.popup = Some(Popup::Help),
            KeyCode::Char('t') => return self.arm(Action::TearDown, &rows, swarm, now),
            KeyCode::Char('r') => return self.arm(Action::Retry, &rows, swarm, now),
            KeyCode::Char('c') => return self.arm(Action::Cancel, &rows, swarm, now),
            KeyCode::Enter => return self.enter(&rows, swarm),
            code => self.move_by(code, &rows),
        }
        None
    }

    fn show(&mut self, tab: Tab) {
        self.tab = tab;
        self.armed = None;
        self.message = None;
    }

    /// What was done last is undone first.
    fn step_back(&mut self) {
        if self.armed.take().is_none() && self.message.take().is_none() {
            self.filter.clear();
            self.trouble_only = false;
        }
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Esc => {
                self.filter.clear();
                self.typing = false;
            }
            KeyCode::Enter => self.typing = false,
            _ => {}
        }
    }

    fn move_by(&mut self, code: KeyCode, rows: &[Key]) {
        let Some(at) = self.position(rows) else {
            return;
        };
        let last = rows.len() - 1;
        let to = match code {
            KeyCode::Up | KeyCode::Char('k') => at.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => (at + 1).min(last),
            KeyCode::PageUp => at.saturating_sub(PAGE),
            KeyCode::PageDown => (at + PAGE).min(last),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => return,
        };
        self.armed = None;
        self.message = None;
        self.selected[self.tab as usize] = Some(rows[to].clone());
    }

    /// A host leads to its shards, a shard and an operation to the operation, whole.
    fn enter(&mut self, rows: &[Key], swarm: Swarm<'_>) -> Option<Command> {
        match rows[self.position(rows)?].clone() {
            Key::Host(host) => {
                self.filter = swarm.hosts.get(&host)?.name.to_string();
                self.show(Tab::Shards);
                None
            }
            Key::Shard(shard) => {
                let operation = swarm.shards.get(&shard)?.operation_id;
                if operation.is_none() {
                    self.message = Some((Tone::Dim, "no operation has touched it".to_owned()));
                }
                operation.map(Command::Show)
            }
            Key::Operation(id) => Some(Command::Show(id)),
        }
    }

    /// Arms an action on the selected row, or commits it where it is armed already.
    fn arm(
        &mut self,
        action: Action,
        rows: &[Key],
        swarm: Swarm<'_>,
        now: Instant,
    ) -> Option<Command> {
        let key = rows[self.position(rows)?].clone();
        // The row may have moved: what is armed is what was selected then.
        self.selected[self.tab as usize] = Some(key.clone());
        self.message = None;
        if let Some(armed) = self
            .armed
            .take_if(|armed| armed.action == action && armed.key == key)
        {
            let whole = action == Action::TearDown && matches!(key, Key::Host(_));
            if whole && armed.plan.is_none() {
                self.message = Some((
                    Tone::Warn,
                    "what would go is not known yet: press again".to_owned(),
                ));
                self.armed = Some(armed);
                return None;
            }
            return Some(Command::Do(action, key, armed.plan));
        }
        match may(action, &key, swarm) {
            Err(why) => {
                self.armed = None;
                self.message = Some((Tone::Warn, why));
                None
            }
            Ok(text) => {
                let plan = match (&key, action) {
                    (Key::Host(host), Action::TearDown) => Some(Command::Plan(host.clone())),
                    _ => None,
                };
                self.armed = Some(Armed {
                    action,
                    key,
                    since: now,
                    plan: None,
                    text,
                });
                plan
            }
        }
    }
}

/// What an action on a row would do, or why it cannot be done.
fn may(action: Action, key: &Key, swarm: Swarm<'_>) -> Result<String, String> {
    let gone = || "it is gone".to_owned();
    match (action, key) {
        (Action::TearDown, Key::Host(host)) => {
            let host = swarm.hosts.get(host).ok_or_else(gone)?;
            Ok(format!("tear down ALL of {}", host.name))
        }
        (Action::TearDown, Key::Shard(shard)) => {
            let shard = swarm.shards.get(shard).ok_or_else(gone)?;
            Ok(format!("tear down {}/{}", shard.host_name, shard.decky_id))
        }
        (Action::TearDown, Key::Operation(_)) => Err(
            "hosts and shards are torn down; r asks again for what an operation left".to_owned(),
        ),
        (Action::Retry, Key::Host(host)) => {
            let host = swarm.hosts.get(host).ok_or_else(gone)?;
            Ok(format!("retry all that failed on {}", host.name))
        }
        (Action::Retry, Key::Shard(shard)) => {
            let shard = swarm.shards.get(shard).ok_or_else(gone)?;
            if shard.state != ShardState::TeardownFailed {
                return Err("its teardown has not failed; t tears it down".to_owned());
            }
            Ok(format!("retry {}/{}", shard.host_name, shard.decky_id))
        }
        (Action::Retry, Key::Operation(id)) => {
            let operation = swarm.operations.get(id).ok_or_else(gone)?;
            if operation.finished_at.is_none() {
                return Err("it has not ended".to_owned());
            }
            Ok(format!("retry what is left of {}", target(operation)))
        }
        (Action::Cancel, Key::Operation(id)) => {
            let operation = swarm.operations.get(id).ok_or_else(gone)?;
            if operation.state != OperationState::Queued {
                return Err("only a queued operation can be cancelled".to_owned());
            }
            Ok(format!("cancel the teardown of {}", target(operation)))
        }
        (Action::Cancel, _) => Err("operations are cancelled: press 3, and choose one".to_owned()),
    }
}

fn host_trouble(host: &HostRecord) -> bool {
    host.status == HostStatus::Offline || host.inventory_error.is_some() || host.open_operations > 0
}

fn shard_trouble(shard: &ShardRecord) -> bool {
    !matches!(shard.state, ShardState::Running | ShardState::Pending)
}

fn operation_trouble(operation: &OperationRecord) -> bool {
    !matches!(
        operation.state,
        OperationState::Succeeded | OperationState::Cancelled
    )
}

fn host_text(host: &HostRecord) -> String {
    format!(
        "{} {} {}",
        host.name,
        host.host_uuid,
        look::host(host.status).word
    )
}

fn shard_text(shard: &ShardRecord) -> String {
    let error = shard.last_error.as_ref().map_or("", |error| error.as_str());
    format!(
        "{}/{} {} {} {} {error}",
        shard.host_name,
        shard.decky_id,
        shard.decky_ip.as_deref().unwrap_or(""),
        look::shard(shard.state).word,
        shard.services.join(" ")
    )
}

fn operation_text(operation: &OperationRecord) -> String {
    let error = operation.error.as_ref().map_or("", |error| error.as_str());
    format!(
        "{} {} {} {} {error}",
        operation.operation_id,
        target(operation),
        look::operation(operation.state).word,
        operation.requested_by
    )
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
