//! How the screen looks. What it shows is `app`'s matter.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState, Wrap};
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{Text, Timestamp};
use unicode_width::UnicodeWidthStr;

use super::app::{Action, App, Key, Popup, Swarm, Tab};
use crate::look::{self, Look, Tone, ago, plain};
use crate::table::cut;
use crate::verbs::ops::{counts, target};

const HELP: &str = " Tab 1 2 3      hosts, shards, operations
 ↑ ↓ PgUp PgDn  move; also j k g G
 Enter          a host's shards; an operation, whole
 /              show only what has this text
 f              show only what wants a look
 t t            tear down the decky, or the whole host
 r r            retry what could not be removed
 c c            cancel a queued operation
 Esc            back: what is armed, said, filtered
 ?              this help
 q              quit

 t, r and c arm first, and act when they are
 pressed again within 4 s.";

/// Between two columns.
const GAP: u16 = 2;

/// The widest column that is not the last.
const WIDEST: usize = 28;

/// Everything that a frame needs.
pub(super) struct Scene<'a> {
    pub(super) app: &'a App,
    pub(super) swarm: Swarm<'a>,
    /// Why what is shown may be old.
    pub(super) stale: Option<String>,
    /// Whether everything has been listed once.
    pub(super) complete: bool,
    pub(super) now: Timestamp,
    pub(super) colours: bool,
}

impl Scene<'_> {
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let banner = u16::from(self.stale.is_some());
        let [top, warning, table, bottom] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(banner),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(Paragraph::new(vec![self.summary(), self.tabs()]), top);
        if let Some(why) = &self.stale {
            let style = self.style(Tone::Warn).add_modifier(Modifier::REVERSED);
            let text = format!(" ! What is shown may be old: {why}");
            frame.render_widget(Paragraph::new(plain(&text)).style(style), warning);
        }
        self.table(frame, table);
        frame.render_widget(Paragraph::new(self.bottom()), bottom);
        match &self.app.popup {
            Some(Popup::Help) => self.popup(frame, " Keys ", HELP),
            Some(Popup::Operation(text)) => self.popup(frame, " Operation (any key closes) ", text),
            None => {}
        }
    }

    fn style(&self, tone: Tone) -> Style {
        let style = Style::new();
        match tone {
            Tone::Head => style.add_modifier(Modifier::BOLD),
            Tone::Dim => style.add_modifier(Modifier::DIM),
            _ if !self.colours => style,
            Tone::Plain => style,
            Tone::Good => style.fg(Color::Green),
            Tone::Busy => style.fg(Color::Cyan),
            Tone::Warn => style.fg(Color::Yellow),
            Tone::Bad => style.fg(Color::Red),
        }
    }

    /// The whole swarm in one line.
    fn summary(&self) -> Line<'_> {
        if !self.complete {
            return Line::from(Span::styled(
                " Reading what there is …",
                self.style(Tone::Busy),
            ));
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
                parts.push(self.count(count, look::host(status)));
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
                parts.push(self.count(count, look::shard(state)));
            }
        }
        parts.push(self.group(" operations "));
        let operations = self.swarm.operations.iter();
        let open = operations.filter(|(_, operation)| operation.finished_at.is_none());
        parts.push(self.count(open.count(), Look::new("▶", "open", Tone::Busy)));
        Line::from(parts)
    }

    fn group(&self, name: &'static str) -> Span<'static> {
        Span::styled(name, self.style(Tone::Dim))
    }

    fn count(&self, count: usize, look: Look) -> Span<'static> {
        let tone = if count == 0 { Tone::Dim } else { look.tone };
        Span::styled(
            format!("{} {count} {}  ", look.sign, look.word),
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
        if self.app.trouble_only {
            parts.push(Span::styled(
                "   only what wants a look (f)",
                self.style(Tone::Warn),
            ));
        }
        if self.app.typing || !self.app.filter.is_empty() {
            let cursor = if self.app.typing { "▏" } else { "" };
            let text = format!("   /{}{cursor}", plain(&self.app.filter));
            parts.push(Span::styled(text, self.style(Tone::Busy)));
        }
        Line::from(parts)
    }

    fn table(&self, frame: &mut Frame<'_>, area: Rect) {
        let keys = self.app.rows(self.swarm);
        let selected = self.app.position(&keys);
        let heads: &[&str] = match self.app.tab {
            Tab::Hosts => &[
                "HOST", "STATUS", "DECKIES", "OPEN", "HEARD", "AGENT", "TROUBLE",
            ],
            Tab::Shards => &["HOST", "DECKY", "STATE", "ADDRESS", "SERVICES", "ERROR"],
            Tab::Operations => &["ASKED", "TARGET", "STATE", "BY", "DECKIES", "WHY"],
        };
        // Only what is to be seen is made, so that it stays quick with many.
        let room = usize::from(area.height.saturating_sub(1)).max(1);
        let at = selected.unwrap_or(0);
        let first = (at + 1).saturating_sub(room);
        let first = first
            .max(at.saturating_sub(room / 2))
            .min(keys.len().saturating_sub(room));
        let shown = keys.iter().skip(first).take(room);
        let rows: Vec<_> = shown.filter_map(|key| self.row(key)).collect();
        let widths = widths(heads, &rows, usize::from(area.width));
        let rows = rows.into_iter().map(|row| {
            let cells = row.into_iter().zip(&widths).map(|((tone, text), width)| {
                let text = cut(&text, usize::from(*width));
                Cell::from(Span::styled(text, self.style(tone)))
            });
            Row::new(cells)
        });
        let table = Table::new(rows, widths.iter().copied().map(Constraint::Length))
            .header(Row::new(heads.iter().copied()).style(self.style(Tone::Head)))
            // One colour from end to end: the words say the rest.
            .row_highlight_style(
                Style::new()
                    .fg(Color::Reset)
                    .add_modifier(Modifier::REVERSED),
            )
            .style(self.style(if self.stale.is_some() {
                Tone::Dim
            } else {
                Tone::Plain
            }))
            .column_spacing(GAP);
        let mut state = TableState::new().with_selected(selected.map(|at| at - first));
        frame.render_stateful_widget(table, area, &mut state);
        if keys.is_empty() && self.complete {
            let filtered = self.app.trouble_only || !self.app.filter.is_empty();
            let text = match (filtered, self.app.tab) {
                (true, _) => "Nothing that fits what is filtered: Esc shows all.",
                (false, Tab::Hosts) => "There is no host yet: `scuttle enroll NAME` lets one in.",
                (false, Tab::Shards) => "No decky is on the record.",
                (false, Tab::Operations) => {
                    "Nothing was asked for yet: t on a shard tears it down."
                }
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

    fn row(&self, key: &Key) -> Option<Vec<(Tone, String)>> {
        let toned = |tone, text: &str| (tone, plain(text));
        let look = |look: Look| (look.tone, look.text());
        let text = |text: &str| (Tone::Plain, plain(text));
        let error = |tone, error: Option<&Text>| toned(tone, error.map_or("", Text::as_str));
        Some(match key {
            Key::Host(id) => {
                let host = self.swarm.hosts.get(id)?;
                let heard = host.last_heartbeat.map(|at| ago(at, self.now));
                // A heartbeat alone is told to nobody: only of a host that is not heard any more is it known when it was.
                let heard = match host.status {
                    HostStatus::Online => "",
                    _ => heard.as_deref().unwrap_or("never"),
                };
                vec![
                    text(host.name.as_str()),
                    look(look::host(host.status)),
                    text(&host.shards.to_string()),
                    text(&host.open_operations.to_string()),
                    toned(Tone::Dim, heard),
                    error(Tone::Plain, host.agent_version.as_ref()),
                    error(Tone::Warn, host.inventory_error.as_ref()),
                ]
            }
            Key::Shard(key) => {
                let shard = self.swarm.shards.get(key)?;
                vec![
                    text(shard.host_name.as_str()),
                    text(shard.decky_id.as_str()),
                    look(look::shard(shard.state)),
                    text(shard.decky_ip.as_deref().unwrap_or("")),
                    text(&shard.services.join(",")),
                    error(Tone::Bad, shard.last_error.as_ref()),
                ]
            }
            Key::Operation(id) => {
                let operation = self.swarm.operations.get(id)?;
                let why = match (&operation.error, &operation.waiting_for) {
                    (Some(_), _) => error(Tone::Bad, operation.error.as_ref()),
                    (None, Some(waiting)) => text(&look::short_times(&waiting.detail)),
                    (None, None) => text(operation.reason.as_deref().unwrap_or("")),
                };
                vec![
                    toned(Tone::Dim, &ago(operation.accepted_at, self.now)),
                    text(&target(operation)),
                    look(look::operation(operation.state)),
                    text(&operation.requested_by),
                    text(&counts(operation)),
                    why,
                ]
            }
        })
    }

    /// What is armed, what was done, or what the keys are.
    fn bottom(&self) -> Line<'_> {
        if let Some(armed) = &self.app.armed {
            let letter = match armed.action {
                Action::TearDown => 't',
                Action::Retry => 'r',
                Action::Cancel => 'c',
            };
            let style = self
                .style(Tone::Bad)
                .add_modifier(Modifier::BOLD | Modifier::REVERSED);
            let text = format!(
                " Press {letter} again within 4 s to {}. Esc forgets it. ",
                armed.text
            );
            return Line::from(Span::styled(text, style));
        }
        if let Some((tone, text)) = &self.app.message {
            return Line::from(Span::styled(format!(" {}", plain(text)), self.style(*tone)));
        }
        let keys = if self.app.typing {
            " Type to filter · Enter keeps it · Esc forgets it"
        } else {
            " ? help · q quit · ↑↓ move · Tab table · Enter more · / filter · f trouble · t tear down · r retry · c cancel"
        };
        Line::from(Span::styled(keys, self.style(Tone::Dim)))
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
            .border_style(self.style(Tone::Busy));
        let text = Paragraph::new(text).wrap(Wrap { trim: false }).block(block);
        frame.render_widget(text, place);
    }
}

/// How wide each column is: as wide as what is shown in it, within bounds; the last has the rest of all that there is.
fn widths(heads: &[&str], rows: &[Vec<(Tone, String)>], all: usize) -> Vec<u16> {
    let last = heads.len() - 1;
    let of = |column: usize| {
        let cells = rows.iter().map(|row| row[column].1.width());
        // States and times change while one looks: the table is not to jump each time.
        let narrowest = match heads[column] {
            "STATE" | "STATUS" => 12,
            "ASKED" | "HEARD" => 10,
            other => other.width(),
        };
        cells.chain([narrowest]).max().unwrap_or(0).min(WIDEST)
    };
    let mut widths: Vec<usize> = (0..last).map(of).collect();
    let taken = widths.iter().sum::<usize>() + last * usize::from(GAP);
    widths.push(all.saturating_sub(taken));
    widths.into_iter().map(|width| width as u16).collect()
}
