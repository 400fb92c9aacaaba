//! The state of the `scuttle watch` screen and the effect of keys, without a terminal: the table,
//! its rows, the selection, and the action that waits for confirmation. `draw` draws the screen,
//! and `screen` runs commands.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use scuttle_schemas::hosts::{HostRecord, HostStatus};
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::shards::{ShardRecord, ShardState};
use scuttle_schemas::{HostId, OperationId};

use super::filter::{
    host_filter_text, host_has_problem, operation_filter_text, operation_has_problem,
    shard_filter_text, shard_has_problem,
};
use crate::client::live_view::ShardKey;
use crate::client::replica_view::ReplicaView;
use crate::client::teardown::format_host;
use crate::output::operation::describe_target;
use crate::output::style::{self, Tone};

/// The maximum time between the key press that proposes an action and the key press that confirms
/// it.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(4);

/// The number of rows by which the page keys move.
const PAGE_ROWS: usize = 20;

/// One of the three tables, each of which has a tab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Hosts,
    Shards,
    Operations,
}

impl Tab {
    pub(super) const ALL: [Self; 3] = [Self::Hosts, Self::Shards, Self::Operations];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Hosts => "Hosts",
            Self::Shards => "Deckies",
            Self::Operations => "Operations",
        }
    }

    fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}

/// The key of the record that a row shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RowKey {
    Host(HostId),
    Shard(ShardKey),
    Operation(OperationId),
}

/// References to the records of the live view.
#[derive(Debug, Clone, Copy)]
pub(super) struct SwarmView<'a> {
    pub(super) hosts: &'a ReplicaView<HostId, HostRecord>,
    pub(super) shards: &'a ReplicaView<ShardKey, ShardRecord>,
    pub(super) operations: &'a ReplicaView<OperationId, OperationRecord>,
}

/// A command that a key press issues and that `screen` runs. Keys that only change the screen issue
/// no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    /// A request to describe an operation in a popup.
    Describe(OperationId),
    /// A request for the plan to tear down a whole host.
    Plan(HostId),
    /// A confirmed action to run.
    Run {
        action: Action,
        row: RowKey,
        /// The plan that the operator has seen and confirmed. `None` unless the action tears down a
        /// whole host.
        plan: Option<String>,
    },
}

/// An action that must be confirmed by pressing y, which is not the key of any action: a key that
/// is held down confirms nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    TearDown,
    Retry,
    Cancel,
}

/// An action that waits for confirmation.
#[derive(Debug, Clone)]
pub(super) struct PendingAction {
    pub(super) action: Action,
    pub(super) row: RowKey,
    since: Instant,
    /// The plan to tear down a whole host. `None` for other actions, and until the controller has
    /// replied.
    pub(super) plan: Option<String>,
    /// A description of the action, such as `tear down worker-a/decky-03`.
    pub(super) text: String,
}

/// A message at the bottom of the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) tone: Tone,
    pub(super) text: String,
}

/// A popup that is drawn over the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Popup {
    Help,
    /// The description of an operation, as printed by `scuttle op`.
    Operation(String),
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct App {
    pub(super) tab: Tab,
    /// The selected row of each table, indexed by `Tab`. `None` selects the first row.
    selected: [Option<RowKey>; 3],
    pub(super) filter: String,
    /// Whether key presses edit the filter instead of acting on the table.
    pub(super) is_typing_filter: bool,
    /// Whether only rows with a problem are shown.
    pub(super) problems_only: bool,
    pub(super) pending: Option<PendingAction>,
    pub(super) popup: Option<Popup>,
    /// The message at the bottom of the screen, such as the result of the last action.
    pub(super) message: Option<Message>,
    /// The reason why the user may not change anything, once that is known. It is the answer to the
    /// key of every action.
    pub(super) denied: Option<String>,
}

impl App {
    pub(super) fn new() -> Self {
        Self {
            tab: Tab::Hosts,
            selected: [const { None }; 3],
            filter: String::new(),
            is_typing_filter: false,
            problems_only: false,
            pending: None,
            popup: None,
            message: None,
            denied: None,
        }
    }

    /// Returns the rows of the current table, filtered and sorted.
    pub(super) fn rows(&self, swarm: SwarmView<'_>) -> Vec<RowKey> {
        let filter = self.filter.to_lowercase();
        let is_shown = |has_problem: bool, text: &dyn Fn() -> String| {
            (!self.problems_only || has_problem)
                && (filter.is_empty() || text().to_lowercase().contains(&filter))
        };
        match self.tab {
            Tab::Hosts => {
                let mut hosts: Vec<_> = swarm.hosts.iter().map(|(_, host)| host).collect();
                hosts.retain(|host| {
                    host.status != HostStatus::Decommissioned
                        && is_shown(host_has_problem(host), &|| host_filter_text(host))
                });
                hosts.sort_by(|a, b| a.name.cmp(&b.name));
                let key = |host: &HostRecord| RowKey::Host(host.host_uuid.clone());
                hosts.into_iter().map(key).collect()
            }
            Tab::Shards => {
                let shards = swarm.shards.iter();
                let mut shards: Vec<_> = shards
                    .filter(|(_, shard)| {
                        is_shown(shard_has_problem(shard), &|| shard_filter_text(shard))
                    })
                    .collect();
                shards.sort_by(|(_, a), (_, b)| {
                    (&a.host_name, &a.decky_id).cmp(&(&b.host_name, &b.decky_id))
                });
                let key = |(key, _): (&ShardKey, _)| RowKey::Shard(key.clone());
                shards.into_iter().map(key).collect()
            }
            Tab::Operations => {
                let operations = swarm.operations.iter();
                let mut keys: Vec<_> = operations
                    .filter(|(_, operation)| {
                        is_shown(operation_has_problem(operation), &|| {
                            operation_filter_text(operation)
                        })
                    })
                    .map(|(id, _)| RowKey::Operation(*id))
                    .collect();
                // Ids sort by time, so this puts the newest first.
                keys.reverse();
                keys
            }
        }
    }

    /// Returns the position of the selected row, or of the first row if the selected row no longer
    /// exists. Returns `None` if there are no rows.
    pub(super) fn position(&self, rows: &[RowKey]) -> Option<usize> {
        let selected = self.selected[self.tab as usize].as_ref();
        let found = selected.and_then(|selected| rows.iter().position(|key| key == selected));
        found.or((!rows.is_empty()).then_some(0))
    }

    /// Drops the pending action if it was not confirmed in time.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_expired =
            |pending: &PendingAction| now.duration_since(pending.since) > CONFIRM_TIMEOUT;
        if self.pending.as_ref().is_some_and(is_expired) {
            self.pending = None;
        }
    }

    /// Adds the plan to the pending teardown of this host, if there is such a teardown. `deckies`
    /// is the number of deckies that the plan would remove.
    pub(super) fn set_plan(&mut self, host: &HostId, plan: String, deckies: usize) {
        if let Some(pending) = &mut self.pending
            && pending.row == RowKey::Host(host.clone())
        {
            let deckies = style::format_decky_count(deckies);
            pending.text = format!("{}: {deckies} would be removed", pending.text);
            pending.plan = Some(plan);
        }
    }

    /// Handles a key press. Returns the command to run, if any.
    pub(super) fn handle_key(
        &mut self,
        event: KeyEvent,
        swarm: SwarmView<'_>,
        now: Instant,
    ) -> Option<Command> {
        self.expire(now);
        if event.modifiers.contains(KeyModifiers::CONTROL) {
            return (event.code == KeyCode::Char('c')).then_some(Command::Quit);
        }
        if self.is_typing_filter {
            self.type_filter(event.code);
            return None;
        }
        if self.popup.is_some() {
            self.popup = None;
            return (event.code == KeyCode::Char('q')).then_some(Command::Quit);
        }
        let rows = self.rows(swarm);
        match event.code {
            KeyCode::Char('q') => return Some(Command::Quit),
            KeyCode::Esc => self.step_back(),
            KeyCode::Tab => self.switch_to(self.tab.next()),
            KeyCode::BackTab => self.switch_to(self.tab.next().next()),
            KeyCode::Char('1') => self.switch_to(Tab::Hosts),
            KeyCode::Char('2') => self.switch_to(Tab::Shards),
            KeyCode::Char('3') => self.switch_to(Tab::Operations),
            KeyCode::Char('/') => self.is_typing_filter = true,
            KeyCode::Char('f') => self.problems_only = !self.problems_only,
            KeyCode::Char('?' | 'h') => self.popup = Some(Popup::Help),
            KeyCode::Char('t') => return self.press_action(Action::TearDown, &rows, swarm, now),
            KeyCode::Char('r') => return self.press_action(Action::Retry, &rows, swarm, now),
            KeyCode::Char('c') => return self.press_action(Action::Cancel, &rows, swarm, now),
            KeyCode::Char('y') => return self.confirm(),
            KeyCode::Enter => return self.open_row(&rows, swarm),
            code => self.move_selection(code, &rows),
        }
        None
    }

    fn switch_to(&mut self, tab: Tab) {
        self.tab = tab;
        self.pending = None;
        self.message = None;
    }

    /// Drops the pending action. If there is no pending action, removes the message. If there is no
    /// message either, clears the filters.
    fn step_back(&mut self) {
        if self.pending.take().is_none() && self.message.take().is_none() {
            self.filter.clear();
            self.problems_only = false;
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
                self.is_typing_filter = false;
            }
            KeyCode::Enter => self.is_typing_filter = false,
            _ => {}
        }
    }

    fn move_selection(&mut self, code: KeyCode, rows: &[RowKey]) {
        let Some(position) = self.position(rows) else {
            return;
        };
        let last = rows.len() - 1;
        let new_position = match code {
            KeyCode::Up | KeyCode::Char('k') => position.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => (position + 1).min(last),
            KeyCode::PageUp => position.saturating_sub(PAGE_ROWS),
            KeyCode::PageDown => (position + PAGE_ROWS).min(last),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => return,
        };
        self.pending = None;
        self.message = None;
        self.selected[self.tab as usize] = Some(rows[new_position].clone());
    }

    /// Opens the selected row. For a host, shows its shards. For an operation, or a shard with an
    /// operation, returns the command that describes the operation.
    fn open_row(&mut self, rows: &[RowKey], swarm: SwarmView<'_>) -> Option<Command> {
        match rows[self.position(rows)?].clone() {
            RowKey::Host(host) => {
                self.filter = swarm.hosts.get(&host)?.name.to_string();
                self.switch_to(Tab::Shards);
                None
            }
            RowKey::Shard(shard) => {
                let operation = swarm.shards.get(&shard)?.operation_id;
                if operation.is_none() {
                    self.set_message(Tone::Dim, "this decky has no operation".to_owned());
                }
                operation.map(Command::Describe)
            }
            RowKey::Operation(id) => Some(Command::Describe(id)),
        }
    }

    /// Handles the key of an action on the selected row. Makes the action pending and, for the
    /// teardown of a whole host, returns the command that requests the plan. A repeat of the key of
    /// the pending action is ignored.
    fn press_action(
        &mut self,
        action: Action,
        rows: &[RowKey],
        swarm: SwarmView<'_>,
        now: Instant,
    ) -> Option<Command> {
        let row = rows[self.position(rows)?].clone();
        // Rows may move before the confirmation. The selection must follow this row.
        self.selected[self.tab as usize] = Some(row.clone());
        let is_pending = |pending: &PendingAction| pending.action == action && pending.row == row;
        if self.pending.as_ref().is_some_and(is_pending) {
            return None;
        }
        self.message = None;
        let allowed = match &self.denied {
            Some(reason) => Err(reason.clone()),
            None => check_action(action, &row, swarm),
        };
        match allowed {
            Err(reason) => {
                self.pending = None;
                self.set_message(Tone::Warning, reason);
                None
            }
            Ok(text) => {
                let command = match (&row, action) {
                    (RowKey::Host(host), Action::TearDown) => Some(Command::Plan(host.clone())),
                    _ => None,
                };
                self.pending = Some(PendingAction {
                    action,
                    row,
                    since: now,
                    plan: None,
                    text,
                });
                command
            }
        }
    }

    /// Returns the command that runs the pending action, unless the plan of a teardown has not
    /// arrived yet.
    fn confirm(&mut self) -> Option<Command> {
        let pending = self.pending.take()?;
        let is_whole_host =
            pending.action == Action::TearDown && matches!(pending.row, RowKey::Host(_));
        if is_whole_host && pending.plan.is_none() {
            let text = "waiting for the plan of the teardown: press y again".to_owned();
            self.set_message(Tone::Warning, text);
            self.pending = Some(pending);
            return None;
        }
        self.message = None;
        Some(Command::Run {
            action: pending.action,
            row: pending.row,
            plan: pending.plan,
        })
    }

    fn set_message(&mut self, tone: Tone, text: String) {
        self.message = Some(Message { tone, text });
    }
}

/// Returns a description of an action on a row, or an error with the reason why the action is not
/// possible.
fn check_action(action: Action, row: &RowKey, swarm: SwarmView<'_>) -> Result<String, String> {
    let removed = || "no longer exists".to_owned();
    match (action, row) {
        (Action::TearDown, RowKey::Host(host)) => {
            let host = swarm.hosts.get(host).ok_or_else(removed)?;
            let host = format_host(&host.name, &host.host_uuid);
            Ok(format!("tear down ALL of {host}"))
        }
        (Action::TearDown, RowKey::Shard(shard)) => {
            let shard = swarm.shards.get(shard).ok_or_else(removed)?;
            let host = format_host(&shard.host_name, &shard.host_uuid);
            Ok(format!("tear down {} on {host}", shard.decky_id))
        }
        (Action::TearDown, RowKey::Operation(_)) => Err(
            "only hosts and deckies can be torn down; r retries the failed deckies of an operation"
                .to_owned(),
        ),
        (Action::Retry, RowKey::Host(host)) => {
            let host = swarm.hosts.get(host).ok_or_else(removed)?;
            let host = format_host(&host.name, &host.host_uuid);
            Ok(format!("retry all failed deckies on {host}"))
        }
        (Action::Retry, RowKey::Shard(shard)) => {
            let shard = swarm.shards.get(shard).ok_or_else(removed)?;
            if shard.state != ShardState::TeardownFailed {
                return Err("the teardown of this decky has not failed; t tears it down".to_owned());
            }
            let host = format_host(&shard.host_name, &shard.host_uuid);
            Ok(format!("retry {} on {host}", shard.decky_id))
        }
        (Action::Retry, RowKey::Operation(id)) => {
            let operation = swarm.operations.get(id).ok_or_else(removed)?;
            if operation.finished_at.is_none() {
                return Err("this operation has not ended".to_owned());
            }
            let target = describe_target(operation);
            Ok(format!("retry the failed deckies of {target}"))
        }
        (Action::Cancel, RowKey::Operation(id)) => {
            let operation = swarm.operations.get(id).ok_or_else(removed)?;
            if operation.state != OperationState::Queued {
                return Err("only a queued operation can be cancelled".to_owned());
            }
            let target = describe_target(operation);
            Ok(format!("cancel the teardown of {target}"))
        }
        (Action::Cancel, _) => {
            Err("only operations can be cancelled: press 3 and select one".to_owned())
        }
    }
}
