//! Draws the `scuttle watch` screen from the state in `app`.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState, Wrap};
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::explain_error;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{Text, Timestamp, escape_hidden};
use unicode_width::UnicodeWidthStr;

use super::app::{App, Popup, RowKey, SwarmView, Tab};
use crate::output::operation::{format_counts, format_operation_target};
use crate::output::style::{self, StateLabel, Tone, format_age, format_relative};
use crate::output::table::truncate;

const HELP: &str = " Tab 1 2 3      hosts, deckies, operations
 ↑ ↓ PgUp PgDn  move; also j k g G
 Enter          open: deckies of a host, an operation
 /              filter by text
 f              show only problems
 t y            tear down a decky or a whole host
 r y            retry failed deckies
 c y            cancel a queued operation
 Esc            drop an action, a message or a filter
 ?              help
 q              quit

 After t, r or c, press y within 4 s to confirm.";

/// The number of spaces between two columns.
const COLUMN_GAP: u16 = 2;

/// The maximum width of each column except the last.
const MAX_COLUMN_WIDTH: usize = 28;

/// The maximum height of the bottom line, which wraps if it is too long for the screen.
const MAX_BOTTOM_HEIGHT: u16 = 4;

/// The maximum width of a word in the bottom line: a host id in parentheses.
const MAX_WORD_WIDTH: usize = 66;

/// Everything that a frame shows.
pub(super) struct Scene<'a> {
    pub(super) app: &'a App,
    pub(super) swarm: SwarmView<'a>,
    /// A description of the swarm: the server, and where its address and the login come from.
    pub(super) swarm_name: &'a str,
    /// The reason why the records may be out of date. `None` if they are current.
    pub(super) stale_reason: Option<String>,
    /// Whether every kind of record has been listed at least once.
    pub(super) is_complete: bool,
    pub(super) now: Timestamp,
    pub(super) has_colors: bool,
}

impl Scene<'_> {
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let banner = u16::from(self.stale_reason.is_some());
        let bottom_line = self.bottom_line();
        let bottom_height = self.bottom_height(&bottom_line, frame.area().width);
        let [top, warning, table, bottom] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(banner),
            Constraint::Min(3),
            Constraint::Length(bottom_height),
        ])
        .areas(frame.area());
        let tabs = self.tabs();
        let left = u16::try_from(tabs.width()).unwrap_or(u16::MAX);
        frame.render_widget(Paragraph::new(vec![self.summary(), tabs]), top);
        self.swarm_name(frame, top, left);
        if let Some(reason) = &self.stale_reason {
            let style = self.style(Tone::Warning).add_modifier(Modifier::REVERSED);
            let text = format!(" ! Data may be out of date: {reason}");
            frame.render_widget(Paragraph::new(escape_hidden(&text)).style(style), warning);
        }
        self.table(frame, table);
        let bottom_line = Paragraph::new(bottom_line).wrap(Wrap { trim: false });
        frame.render_widget(bottom_line, bottom);
        match &self.app.popup {
            Some(Popup::Help) => self.popup(frame, " Keys ", HELP),
            Some(Popup::Operation(text)) => self.popup(frame, " Operation (any key closes) ", text),
            None => {}
        }
    }

    fn style(&self, tone: Tone) -> Style {
        let style = Style::new();
        match tone {
            Tone::Heading => style.add_modifier(Modifier::BOLD),
            Tone::Dim => style.add_modifier(Modifier::DIM),
            _ if !self.has_colors => style,
            Tone::Plain => style,
            Tone::Success => style.fg(Color::Green),
            Tone::Active => style.fg(Color::Cyan),
            Tone::Warning => style.fg(Color::Yellow),
            Tone::Error => style.fg(Color::Red),
        }
    }

    /// Summarizes the swarm in one line.
    fn summary(&self) -> Line<'_> {
        if !self.is_complete {
            return Line::from(Span::styled(" Loading …", self.style(Tone::Active)));
        }
        let mut parts = vec![self.group(" hosts ")];
        for status in [
            HostStatus::Online,
            HostStatus::Offline,
            HostStatus::Enrolled,
        ] {
            let hosts = self.swarm.hosts.iter();
            let count = hosts.filter(|(_, host)| host.status == status).count();
            if count > 0 || status == HostStatus::Online {
                parts.push(self.count(count, style::host_label(status)));
            }
        }
        parts.push(self.group(" deckies "));
        for state in [
            ShardState::Running,
            ShardState::TeardownFailed,
            ShardState::Failed,
            ShardState::Degraded,
            ShardState::TearingDown,
            ShardState::Pending,
        ] {
            let shards = self.swarm.shards.iter();
            let count = shards.filter(|(_, shard)| shard.state == state).count();
            if count > 0 || state == ShardState::Running {
                parts.push(self.count(count, style::shard_label(state)));
            }
        }
        parts.push(self.group(" operations "));
        let operations = self.swarm.operations.iter();
        let open = operations.filter(|(_, operation)| operation.finished_at.is_none());
        parts.push(self.count(open.count(), StateLabel::new("▶", "open", Tone::Active)));
        Line::from(parts)
    }

    fn group(&self, name: &'static str) -> Span<'static> {
        Span::styled(name, self.style(Tone::Dim))
    }

    fn count(&self, count: usize, label: StateLabel) -> Span<'static> {
        let tone = if count == 0 { Tone::Dim } else { label.tone };
        Span::styled(
            format!("{} {count} {}  ", label.symbol, label.word),
            self.style(tone),
        )
    }

    fn tabs(&self) -> Line<'_> {
        let mut parts = Vec::new();
        for (number, tab) in (1..).zip(Tab::ALL) {
            let style = if tab == self.app.tab {
                Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED)
            } else {
                self.style(Tone::Dim)
            };
            parts.push(Span::raw(" "));
            parts.push(Span::styled(format!(" {number} {} ", tab.title()), style));
        }
        if self.app.problems_only {
            parts.push(Span::styled(
                "   problems only (f)",
                self.style(Tone::Warning),
            ));
        }
        if self.app.is_typing_filter || !self.app.filter.is_empty() {
            let cursor = if self.app.is_typing_filter { "▏" } else { "" };
            let text = format!("   /{}{cursor}", escape_hidden(&self.app.filter));
            parts.push(Span::styled(text, self.style(Tone::Active)));
        }
        Line::from(parts)
    }

    /// Draws the description of the swarm to the right of the tabs, shortened to the free columns.
    fn swarm_name(&self, frame: &mut Frame<'_>, top: Rect, left: u16) {
        let free = top.width.saturating_sub(left + 2);
        let place = Rect {
            x: top.x + top.width - free,
            y: top.y + 1,
            width: free,
            height: 1.min(top.height.saturating_sub(1)),
        };
        let name = escape_hidden(self.swarm_name);
        let text = Paragraph::new(truncate(&name, usize::from(free)));
        let text = text.style(self.style(Tone::Dim)).right_aligned();
        frame.render_widget(text, place);
    }

    fn table(&self, frame: &mut Frame<'_>, area: Rect) {
        let keys = self.app.rows(self.swarm);
        let selected = self.app.position(&keys);
        let headings: &[&str] = match self.app.tab {
            Tab::Hosts => &[
                "NAME",
                "STATUS",
                "DECKIES",
                "OPEN",
                "LAST SEEN",
                "AGENT",
                "PROBLEM OR NOTES",
            ],
            Tab::Shards => &["HOST", "DECKY", "STATUS", "ADDRESS", "SERVICES", "PROBLEM"],
            Tab::Operations => &[
                "AGE",
                "TARGET",
                "STATUS",
                "REQUESTED BY",
                "DECKIES",
                "PROBLEM",
            ],
        };
        // Only the visible rows are built, so that drawing stays fast with many rows.
        let visible = usize::from(area.height.saturating_sub(1)).max(1);
        let position = selected.unwrap_or(0);
        let first = (position + 1).saturating_sub(visible);
        let first = first
            .max(position.saturating_sub(visible / 2))
            .min(keys.len().saturating_sub(visible));
        let shown = keys.iter().skip(first).take(visible);
        let rows: Vec<_> = shown.filter_map(|key| self.row(key)).collect();
        let widths = column_widths(headings, &rows, usize::from(area.width));
        let rows = rows.into_iter().map(|row| {
            let cells = row.into_iter().zip(&widths).map(|((tone, text), width)| {
                let text = truncate(&text, usize::from(*width));
                Cell::from(Span::styled(text, self.style(tone)))
            });
            Row::new(cells)
        });
        let table = Table::new(rows, widths.iter().copied().map(Constraint::Length))
            .header(Row::new(headings.iter().copied()).style(self.style(Tone::Heading)))
            // The selected row has one colour from end to end. The words still tell the state.
            .row_highlight_style(
                Style::new()
                    .fg(Color::Reset)
                    .add_modifier(Modifier::REVERSED),
            )
            .style(self.style(if self.stale_reason.is_some() {
                Tone::Dim
            } else {
                Tone::Plain
            }))
            .column_spacing(COLUMN_GAP);
        let mut state = TableState::new().with_selected(selected.map(|position| position - first));
        frame.render_stateful_widget(table, area, &mut state);
        if keys.is_empty() && self.is_complete {
            let filtered = self.app.problems_only || !self.app.filter.is_empty();
            let text = match (filtered, self.app.tab) {
                (true, _) => "No rows match the filter. Esc clears the filter.",
                (false, Tab::Hosts) => "No hosts. `scuttle enroll NAME` adds a host.",
                (false, Tab::Shards) => "No deckies.",
                (false, Tab::Operations) => "No operations. Press t on a decky to tear it down.",
            };
            let place = Rect {
                y: area.y + 2,
                height: 1.min(area.height.saturating_sub(2)),
                ..area
            };
            let text = Paragraph::new(text).style(self.style(Tone::Dim)).centered();
            frame.render_widget(text, place);
        }
    }

    fn row(&self, key: &RowKey) -> Option<Vec<(Tone, String)>> {
        let styled = |tone, text: &str| (tone, escape_hidden(text).into_owned());
        let state = |label: StateLabel| (label.tone, label.text());
        let text = |text: &str| styled(Tone::Plain, text);
        let error = |tone, error: Option<&Text>| {
            styled(tone, &explain_error(error.map_or("", Text::as_str)))
        };
        Some(match key {
            RowKey::Host(id) => {
                let host = self.swarm.hosts.get(id)?;
                let heartbeat = host.last_heartbeat;
                let heartbeat = heartbeat.map(|at| format_relative(at, self.now));
                // Heartbeats alone are not broadcast, so the time of the last one is out of date
                // while the host is online.
                let heartbeat = match host.status {
                    HostStatus::Online => "",
                    _ => heartbeat.as_deref().unwrap_or("never"),
                };
                vec![
                    text(host.name.as_str()),
                    state(style::host_label(host.status)),
                    text(&host.shards.to_string()),
                    text(&host.open_operations.to_string()),
                    styled(Tone::Dim, heartbeat),
                    error(Tone::Plain, host.agent_version.as_ref()),
                    match &host.inventory_error {
                        Some(_) => error(Tone::Warning, host.inventory_error.as_ref()),
                        None => text(&style::format_notes(&host.notes)),
                    },
                ]
            }
            RowKey::Shard(key) => {
                let shard = self.swarm.shards.get(key)?;
                vec![
                    text(shard.host_name.as_str()),
                    text(shard.decky_id.as_str()),
                    state(style::shard_label(shard.state)),
                    text(shard.decky_ip.as_deref().unwrap_or("")),
                    text(&shard.services.join(",")),
                    error(Tone::Error, shard.last_error.as_ref()),
                ]
            }
            RowKey::Operation(id) => {
                let operation = self.swarm.operations.get(id)?;
                let message = match (&operation.error, &operation.waiting_for) {
                    (Some(_), _) => error(Tone::Error, operation.error.as_ref()),
                    (None, Some(waiting)) => text(&style::shorten_times(&waiting.detail)),
                    (None, None) => text(operation.reason.as_deref().unwrap_or("")),
                };
                vec![
                    styled(Tone::Dim, &format_age(operation.accepted_at, self.now)),
                    text(&format_operation_target(operation)),
                    state(style::operation_label(operation.state)),
                    text(&operation.requested_by),
                    text(&format_counts(operation)),
                    message,
                ]
            }
        })
    }

    /// Returns the bottom line: the pending action, or else the last message, or else help on the
    /// keys.
    fn bottom_line(&self) -> Line<'_> {
        if let Some(pending) = &self.app.pending {
            let style = self
                .style(Tone::Error)
                .add_modifier(Modifier::BOLD | Modifier::REVERSED);
            let text = format!(" Press y within 4 s to {}. Esc cancels. ", pending.text);
            return Line::from(Span::styled(text, style));
        }
        if let Some(message) = &self.app.message {
            let text = format!(" {}", escape_hidden(&message.text));
            return Line::from(Span::styled(text, self.style(message.tone)));
        }
        let keys = if self.app.is_typing_filter {
            " Type to filter · Enter applies · Esc clears"
        } else {
            " ? help · q quit · ↑↓ move · Tab table · Enter open · / filter · f problems · t tear down · r retry · c cancel"
        };
        Line::from(Span::styled(keys, self.style(Tone::Dim)))
    }

    /// Returns the height of the bottom line, in rows. A question or a message that is too long for
    /// one row wraps, because its end may name the target. The help on the keys does not wrap.
    fn bottom_height(&self, line: &Line<'_>, width: u16) -> u16 {
        let is_help = self.app.pending.is_none() && self.app.message.is_none();
        if is_help || line.width() <= usize::from(width) {
            return 1;
        }
        // A line breaks between words, which wastes less than the width of one word.
        let needed = (line.width() + MAX_WORD_WIDTH).div_ceil(usize::from(width.max(1)));
        u16::try_from(needed).map_or(MAX_BOTTOM_HEIGHT, |needed| needed.min(MAX_BOTTOM_HEIGHT))
    }

    fn popup(&self, frame: &mut Frame<'_>, title: &str, text: &str) {
        let area = frame.area();
        let lines = text.lines().count() as u16;
        let widest = text
            .lines()
            .map(|line| line.chars().count())
            .max()
            .unwrap_or(0) as u16;
        let (width, height) = ((widest + 4).min(area.width), (lines + 2).min(area.height));
        let place = Rect {
            x: area.x + (area.width - width) / 2,
            y: area.y + (area.height - height) / 2,
            width,
            height,
        };
        frame.render_widget(Clear, place);
        let block = Block::bordered()
            .title(title)
            .border_style(self.style(Tone::Active));
        let text = Paragraph::new(text).wrap(Wrap { trim: false }).block(block);
        frame.render_widget(text, place);
    }
}

/// Returns the width of each column. A column is as wide as its content, within bounds, and the
/// last column gets the remaining width.
fn column_widths(headings: &[&str], rows: &[Vec<(Tone, String)>], table_width: usize) -> Vec<u16> {
    let last = headings.len() - 1;
    let content_width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].1.width());
        // States and times change often. A minimum width keeps the columns from moving each time.
        let min_width = match headings[column] {
            "STATUS" => 12,
            "AGE" | "HEARTBEAT" => 10,
            other => other.width(),
        };
        let width = cells.chain([min_width]).max().unwrap_or(0);
        width.min(MAX_COLUMN_WIDTH)
    };
    let mut widths: Vec<usize> = (0..last).map(content_width).collect();
    let taken = widths.iter().sum::<usize>() + last * usize::from(COLUMN_GAP);
    widths.push(table_width.saturating_sub(taken));
    widths.into_iter().map(|width| width as u16).collect()
}
