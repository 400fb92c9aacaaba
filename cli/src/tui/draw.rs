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
use crate::output::table::{self, Column, Shown};
use crate::output::truncate::truncate;

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

const HOST_COLUMNS: &[Column] = &[
    Column::name("NAME"),
    Column::new("STATUS"),
    Column::new("DECKIES"),
    Column::new("OPEN"),
    Column::new("LAST SEEN"),
    Column::new("AGENT"),
    Column::explanation("PROBLEM OR NOTES"),
];

const DECKY_COLUMNS: &[Column] = &[
    Column::name("HOST"),
    Column::name("DECKY"),
    Column::new("STATUS"),
    Column::new("ADDRESS"),
    Column::new("SERVICES"),
    Column::explanation("PROBLEM"),
];

const OPERATION_COLUMNS: &[Column] = &[
    Column::new("AGE"),
    Column::name("TARGET"),
    Column::new("STATUS"),
    Column::new("REQUESTED BY"),
    Column::new("DECKIES"),
    Column::explanation("PROGRESS OR PROBLEM"),
];

/// The keys that the bottom line names, the most important first. Those that do not fit are left
/// out.
pub(super) const BOTTOM_KEYS: [&str; 10] = [
    "? help",
    "q quit",
    "t tear down",
    "r retry",
    "c cancel",
    "Enter open",
    "/ filter",
    "f problems",
    "Tab table",
    "↑↓ move",
];

/// The maximum height of the bottom line, which wraps if it is too long for the screen.
const MAX_BOTTOM_HEIGHT: u16 = 4;

/// The maximum width of a word in the bottom line: a host id in parentheses.
const MAX_WORD_WIDTH: usize = 66;

/// The width of a popup's border and margin, in terminal columns.
pub(super) const POPUP_MARGIN: usize = 4;

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
        let bottom_line = self.bottom_line(frame.area().width);
        let bottom_height = self.bottom_height(&bottom_line, frame.area().width);
        let mut top_lines = self.summary(frame.area().width);
        let top_height = top_lines.len() as u16 + 1;
        let [top, warning, table, bottom] = Layout::vertical([
            Constraint::Length(top_height),
            Constraint::Length(banner),
            Constraint::Min(3),
            Constraint::Length(bottom_height),
        ])
        .areas(frame.area());
        let tabs = self.tabs();
        let left = u16::try_from(tabs.width()).unwrap_or(u16::MAX);
        top_lines.push(tabs);
        frame.render_widget(Paragraph::new(top_lines), top);
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

    /// Summarizes the swarm in one line, or in more lines on a narrow screen.
    fn summary(&self, width: u16) -> Vec<Line<'_>> {
        if !self.is_complete {
            return vec![Line::from(Span::styled(
                " Loading …",
                self.style(Tone::Active),
            ))];
        }
        let mut hosts = Line::from(self.group(" hosts "));
        for status in [
            HostStatus::Online,
            HostStatus::Offline,
            HostStatus::Enrolled,
        ] {
            let all = self.swarm.hosts.iter();
            let count = all.filter(|(_, host)| host.status == status).count();
            if count > 0 || status == HostStatus::Online {
                hosts.push_span(self.count(count, style::host_label(status)));
            }
        }
        let mut deckies = Line::from(self.group(" deckies "));
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
                deckies.push_span(self.count(count, style::shard_label(state)));
            }
        }
        let operations = self.swarm.operations.iter();
        let open = operations.filter(|(_, operation)| operation.finished_at.is_none());
        let open = self.count(open.count(), StateLabel::new("▶", "open", Tone::Active));
        let operations = Line::from(vec![self.group(" operations "), open]);
        let mut lines = vec![hosts];
        for group in [deckies, operations] {
            match lines.last_mut() {
                // The last two columns of a group are spaces.
                Some(line) if line.width() + group.width() <= usize::from(width) + 2 => {
                    line.spans.extend(group.spans);
                }
                _ => lines.push(group),
            }
        }
        lines
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
            y: top.y + top.height.saturating_sub(1),
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
        let columns = match self.app.tab {
            Tab::Hosts => HOST_COLUMNS,
            Tab::Shards => DECKY_COLUMNS,
            Tab::Operations => OPERATION_COLUMNS,
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
        let places = place_columns(columns, &rows, usize::from(area.width));
        let rows = rows.iter().map(|row| {
            let cells = places.iter().map(|Shown { column, width }| {
                let (tone, text) = &row[*column];
                let text = columns[*column].fit(text, *width);
                Cell::from(Span::styled(text, self.style(*tone)))
            });
            Row::new(cells)
        });
        let headings = places.iter().map(|place| columns[place.column].heading);
        let widths = places
            .iter()
            .map(|place| Constraint::Length(place.width as u16));
        let table = Table::new(rows, widths)
            .header(Row::new(headings).style(self.style(Tone::Heading)))
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
            .column_spacing(table::COLUMN_GAP as u16);
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
        let protectable = |label: StateLabel, protected| {
            (label.tone, style::mark_protected(&label.text(), protected))
        };
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
                // while the host is online. An online host was seen a moment ago.
                let heartbeat = match host.status {
                    HostStatus::Online => "now",
                    _ => heartbeat.as_deref().unwrap_or("never"),
                };
                vec![
                    text(host.name.as_str()),
                    protectable(style::host_label(host.status), host.protected),
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
                    protectable(style::shard_label(shard.state), shard.protected),
                    text(shard.decky_ip.as_deref().unwrap_or("")),
                    text(&shard.services.join(",")),
                    error(Tone::Error, shard.last_error.as_ref()),
                ]
            }
            RowKey::Operation(id) => {
                let operation = self.swarm.operations.get(id)?;
                let message = match (&operation.error, &operation.waiting_for) {
                    (Some(_), _) => error(Tone::Error, operation.error.as_ref()),
                    (None, Some(waiting)) => text(&style::shorten_waiting(&waiting.detail)),
                    (None, None) => text(""),
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
    fn bottom_line(&self, width: u16) -> Line<'_> {
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
            " Type to filter · Enter applies · Esc clears".to_owned()
        } else {
            join_keys(usize::from(width))
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
        let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
        let width = (widest + POPUP_MARGIN).min(usize::from(area.width));
        let room = width.saturating_sub(2).max(1);
        let height = text.lines().map(|line| line.width().div_ceil(room).max(1));
        let height = (height.sum::<usize>() + 2).min(usize::from(area.height));
        let (width, height) = (width as u16, height as u16);
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

/// Joins the keys that fit into one line.
fn join_keys(width: usize) -> String {
    let mut line = format!(" {}", BOTTOM_KEYS[0]);
    for key in &BOTTOM_KEYS[1..] {
        let longer = format!("{line} · {key}");
        if longer.width() > width {
            break;
        }
        line = longer;
    }
    line
}

/// Returns the columns that fit into the table, and their widths. The last one gets the remaining
/// width.
fn place_columns(
    columns: &[Column],
    rows: &[Vec<(Tone, String)>],
    table_width: usize,
) -> Vec<Shown> {
    let content_width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].1.width());
        // States and times change often. A minimum width keeps the columns from moving each time.
        let min_width = match columns[column].heading {
            "STATUS" => 12,
            "AGE" => 6,
            _ => 0,
        };
        cells.chain([min_width]).max().unwrap_or(0)
    };
    let content: Vec<usize> = (0..columns.len()).map(content_width).collect();
    let mut places = table::fit_columns(columns, &content, Some(table_width));
    let taken: usize = places
        .iter()
        .map(|place| place.width + table::COLUMN_GAP)
        .sum();
    if let Some(last) = places.last_mut() {
        last.width += (table_width + table::COLUMN_GAP).saturating_sub(taken);
    }
    places
}
