//! Tables that fit the terminal. Each column is as wide as its content. On a narrow terminal, wide
//! columns are truncated, and then columns are dropped, the last column first.

use scuttle_schemas::escape_hidden;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::output::style::{Colors, StateLabel, Tone};

/// The number of spaces between two columns.
const COLUMN_GAP: usize = 2;

/// The minimum width to which a column is truncated. If the table still does not fit, its last
/// column is dropped.
const MIN_WIDTH: usize = 8;

/// The number of leading columns that are never dropped, because they contain the name and the
/// status of the record.
const KEPT_COLUMNS: usize = 3;

/// The minimum width of each of the first [`KEPT_COLUMNS`] columns while other columns can still be
/// dropped.
const MIN_KEPT_WIDTH: usize = 20;

/// The heading of a column, and how the column may be truncated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    heading: &'static str,
    /// Whether the column is truncated only as a last resort. True for ids, because a part of an id
    /// is useless.
    uncut: bool,
}

impl Column {
    /// Defines a column whose content may be truncated.
    pub(crate) const fn new(heading: &'static str) -> Self {
        Self {
            heading,
            uncut: false,
        }
    }

    /// Defines a column that is truncated only as a last resort, such as a column of ids.
    pub(crate) const fn uncut(heading: &'static str) -> Self {
        Self {
            heading,
            uncut: true,
        }
    }
}

/// The text of a cell, with hidden characters escaped, and the text's tone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn styled(tone: Tone, text: &str) -> Self {
        Self {
            text: escape_hidden(text).into_owned(),
            tone,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::styled(Tone::Plain, text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<StateLabel> for Cell {
    fn from(label: StateLabel) -> Self {
        Self::styled(label.tone, &label.text())
    }
}

/// A table of rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn add_row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Renders the table with lines of at most `max_width` columns, or of any width if `None`. A
    /// table without rows renders as an empty string, without headings.
    pub(crate) fn render(&self, max_width: Option<usize>, colors: Colors) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let widths = self.column_widths(max_width);
        let headings = self.columns.iter();
        let headings: Vec<Cell> = headings
            .map(|column| Cell::styled(Tone::Heading, column.heading))
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            // Spaces are written only before further text, so that no line ends in spaces.
            let mut padding = 0;
            for (cell, width) in row.iter().zip(&widths) {
                let shown = truncate(&cell.text, *width);
                if !shown.is_empty() {
                    line += &" ".repeat(padding);
                    line += &colors.apply(cell.tone, &shown);
                    padding = 0;
                }
                padding += width - shown.width() + COLUMN_GAP;
            }
            text += &line;
            text.push('\n');
        }
        text
    }

    /// Returns the width of each shown column. Dropped columns have no width.
    ///
    /// The widest column is truncated first. Columns that would become too narrow are dropped, the
    /// last column first. Ids are truncated only as a last resort.
    fn column_widths(&self, max_width: Option<usize>) -> Vec<usize> {
        let content_width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].text.width());
            cells.chain([self.columns[column].heading.width()]).max()
        };
        let natural: Vec<usize> = (0..self.columns.len()).filter_map(content_width).collect();
        let Some(max_width) = max_width else {
            return natural;
        };
        let mut widths = natural.clone();
        for shown in (KEPT_COLUMNS.min(natural.len())..=natural.len()).rev() {
            widths = natural[..shown].to_vec();
            let limits = Shrink {
                uncut: false,
                min_kept: MIN_KEPT_WIDTH,
                min_other: MIN_WIDTH,
                max_width,
            };
            self.shrink(&mut widths, limits);
            if fits(&widths, max_width) {
                return widths;
            }
        }
        for min in [MIN_WIDTH, 1] {
            for uncut in [false, true] {
                let limits = Shrink {
                    uncut,
                    min_kept: min,
                    min_other: min,
                    max_width,
                };
                self.shrink(&mut widths, limits);
            }
        }
        widths
    }

    /// Narrows the widest columns until the table fits or no column may be narrowed further.
    fn shrink(&self, widths: &mut [usize], limits: Shrink) {
        while !fits(widths, limits.max_width) {
            let min = |column: usize| {
                if column < KEPT_COLUMNS {
                    limits.min_kept
                } else {
                    limits.min_other
                }
            };
            let candidates = (0..widths.len())
                .filter(|column| self.columns[*column].uncut == limits.uncut)
                .filter(|column| widths[*column] > min(*column));
            let Some(widest) = candidates.max_by_key(|column| widths[*column]) else {
                return;
            };
            widths[widest] -= 1;
        }
    }
}

/// The columns that `Table::shrink` narrows, and their minimum widths.
#[derive(Debug, Clone, Copy)]
struct Shrink {
    /// Whether to narrow the columns marked as `uncut`. If false, all other columns are narrowed.
    uncut: bool,
    /// The minimum width of each of the first [`KEPT_COLUMNS`] columns.
    min_kept: usize,
    /// The minimum width of each column after the first [`KEPT_COLUMNS`].
    min_other: usize,
    max_width: usize,
}

fn fits(widths: &[usize], max_width: usize) -> bool {
    widths.iter().sum::<usize>() + COLUMN_GAP * (widths.len() - 1) <= max_width
}

/// Truncates text to at most `width` terminal columns. Truncated text ends in `…`.
pub(crate) fn truncate(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let mut shown = String::new();
    for letter in text.chars() {
        let columns = letter.width().unwrap_or(0);
        if columns > left {
            break;
        }
        left -= columns;
        shown.push(letter);
    }
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::{Column, Table, truncate};
    use crate::output::style::Colors;

    fn table() -> Table {
        let mut table = Table::new(&[
            Column::uncut("OPERATION"),
            Column::new("DECKY"),
            Column::new("STATE"),
            Column::new("ERROR"),
        ]);
        table.add_row([
            "01990000-0000".into(),
            "decky-03".into(),
            "failed".into(),
            "network decnet_lan has active endpoints".into(),
        ]);
        table.add_row(["-".into(), "d".into(), "".into(), "x".into()]);
        table
    }

    fn check(width: Option<usize>, lines: [&str; 3]) {
        let text = table().render(width, Colors::NONE);
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{width:?}");
    }

    #[test]
    fn a_table_fits_the_terminal() {
        check(
            None,
            [
                "OPERATION      DECKY     STATE   ERROR",
                "01990000-0000  decky-03  failed  network decnet_lan has active endpoints",
                "-              d                 x",
            ],
        );
        check(
            Some(50),
            [
                "OPERATION      DECKY     STATE   ERROR",
                "01990000-0000  decky-03  failed  network decnet_l…",
                "-              d                 x",
            ],
        );
        check(
            Some(35),
            [
                "OPERATION      DECKY     STATE",
                "01990000-0000  decky-03  failed",
                "-              d",
            ],
        );
        for width in 10..90 {
            for line in table().render(Some(width), Colors::NONE).lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn truncation_counts_terminal_columns_and_keeps_characters_whole() {
        assert_eq!(truncate("añb", 3), "añb");
        assert_eq!(truncate("añbc", 3), "añ…");
        assert_eq!(truncate("日本語", 4), "日…");
        assert_eq!(truncate("ab", 0), "…");
    }

    #[test]
    fn a_table_without_rows_renders_nothing() {
        let table = Table::new(&[Column::new("HOST")]);
        assert_eq!(table.render(Some(80), Colors::NONE), "");
    }
}
