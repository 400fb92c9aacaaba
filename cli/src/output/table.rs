//! Tables that fit the terminal. Each column is as wide as its content. On a narrow terminal, empty
//! columns are dropped first. Then wide columns are narrowed, and other columns are dropped, the
//! last column first.

use scuttle_schemas::escape_hidden;
use unicode_width::UnicodeWidthStr;

use crate::output::style::{Colors, StateLabel, Tone, mark_protected};
use crate::output::truncate::{truncate, truncate_middle, wrap};

/// The number of spaces between two columns.
pub(crate) const COLUMN_GAP: usize = 2;

/// The number of leading columns that are never dropped, because they contain the name and the
/// status of the record.
const KEPT_COLUMNS: usize = 3;

/// The minimum width of a column while other columns can still be dropped.
const MIN_WIDTH: usize = 20;

/// The minimum width of an explanation while other columns can still be dropped.
const MIN_EXPLANATION_WIDTH: usize = 24;

/// The minimum width of a column of a table that does not fit otherwise.
const NARROWEST: usize = 8;

/// How a column is shown if it is wider than its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overflow {
    /// The end is cut off.
    CutEnd,
    /// The middle is cut out, because names often differ only at their ends.
    CutMiddle,
    /// Nothing is cut off, except as a last resort: a part of an id is useless.
    Uncut,
    /// The end is cut off, but other columns are dropped first.
    Explanation,
    /// The text continues on further lines.
    Wrap,
}

/// The heading of a column, and how the column is narrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) heading: &'static str,
    overflow: Overflow,
}

impl Column {
    /// Defines a column whose content may be truncated at its end.
    pub(crate) const fn new(heading: &'static str) -> Self {
        Self::with(heading, Overflow::CutEnd)
    }

    /// Defines a column of names. A long name is truncated in the middle.
    pub(crate) const fn name(heading: &'static str) -> Self {
        Self::with(heading, Overflow::CutMiddle)
    }

    /// Defines a column that is truncated only as a last resort, such as a column of ids.
    pub(crate) const fn uncut(heading: &'static str) -> Self {
        Self::with(heading, Overflow::Uncut)
    }

    /// Defines a column that explains the status. Other columns are dropped to make room for it.
    pub(crate) const fn explanation(heading: &'static str) -> Self {
        Self::with(heading, Overflow::Explanation)
    }

    /// Defines a column that explains the status, and continues on further lines if it is too long
    /// for one.
    pub(crate) const fn wrapped(heading: &'static str) -> Self {
        Self::with(heading, Overflow::Wrap)
    }

    const fn with(heading: &'static str, overflow: Overflow) -> Self {
        Self { heading, overflow }
    }

    fn is_explanation(self) -> bool {
        matches!(self.overflow, Overflow::Explanation | Overflow::Wrap)
    }

    /// Returns the lines that show a text in `width` terminal columns.
    fn lines(self, text: &str, width: usize) -> Vec<String> {
        match self.overflow {
            Overflow::CutMiddle => vec![truncate_middle(text, width)],
            Overflow::Wrap => wrap(text, width),
            Overflow::CutEnd | Overflow::Uncut | Overflow::Explanation => {
                vec![truncate(text, width)]
            }
        }
    }

    /// Returns a text in one line of at most `width` terminal columns.
    pub(crate) fn fit(self, text: &str, width: usize) -> String {
        match self.overflow {
            Overflow::CutMiddle => truncate_middle(text, width),
            _ => truncate(text, width),
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

    /// Creates the cell of a state, which also says whether the decky or host is protected.
    pub(crate) fn protectable(label: StateLabel, protected: bool) -> Self {
        Self::styled(label.tone, &mark_protected(&label.text(), protected))
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

    /// Returns a table with only the columns at these positions, in this order.
    pub(crate) fn select(self, columns: &[usize]) -> Self {
        let select = |row: &Vec<Cell>| columns.iter().map(|at| row[*at].clone()).collect();
        Self {
            rows: self.rows.iter().map(select).collect(),
            columns: columns.iter().map(|at| self.columns[*at]).collect(),
        }
    }

    /// Renders the table with lines of at most `max_width` columns, or of any width if `None`. A
    /// table without rows renders as an empty string, without headings.
    pub(crate) fn render(&self, max_width: Option<usize>, colors: Colors) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let shown = self.shown_columns(max_width);
        let mut text = String::new();
        let headings: Vec<Cell> = (self.columns.iter())
            .map(|column| Cell::styled(Tone::Heading, column.heading))
            .collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let cells: Vec<_> = (shown.iter())
                .map(|Shown { column, width }| {
                    self.columns[*column].lines(&row[*column].text, *width)
                })
                .collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(1);
            for line in 0..height {
                // Spaces are written only before further text, so that no line ends in spaces.
                let mut padding = 0;
                for (Shown { column, width }, lines) in shown.iter().zip(&cells) {
                    let part = lines.get(line).map_or("", String::as_str);
                    if !part.is_empty() {
                        text += &" ".repeat(padding);
                        text += &colors.apply(row[*column].tone, part);
                        padding = 0;
                    }
                    padding += width.saturating_sub(part.width()) + COLUMN_GAP;
                }
                text.push('\n');
            }
        }
        text
    }

    /// Returns whether the column with this heading is left out of a table of this width.
    pub(crate) fn drops(&self, heading: &str, max_width: Option<usize>) -> bool {
        let shown = self.shown_columns(max_width);
        let is_shown = |column: usize| shown.iter().any(|shown| shown.column == column);
        let mut columns = self.columns.iter().enumerate();
        columns.any(|(column, of)| of.heading == heading && !is_shown(column))
    }

    fn shown_columns(&self, max_width: Option<usize>) -> Vec<Shown> {
        let content_width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].text.width());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(content_width).collect();
        fit_columns(&self.columns, &widths, max_width)
    }
}

/// A column that has a place in the table, and the width of the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The index of the column.
    pub(crate) column: usize,
    pub(crate) width: usize,
}

/// Selects the columns that fit into `max_width`, and their widths. `content` has the width of the
/// widest cell of each column.
///
/// Empty columns are dropped first. Then the widest column is narrowed first. Columns that would
/// become too narrow are dropped, the last column first, but not the explanation.
pub(crate) fn fit_columns(
    columns: &[Column],
    content: &[usize],
    max_width: Option<usize>,
) -> Vec<Shown> {
    let mut shown: Vec<Shown> = (columns.iter().zip(content).enumerate())
        .map(|(column, (of, content))| Shown {
            column,
            width: of.heading.width().max(*content),
        })
        .collect();
    let Some(max_width) = max_width else {
        return shown;
    };
    if !fits(&shown, max_width) {
        shown.retain(|shown| shown.column < KEPT_COLUMNS || content[shown.column] > 0);
    }
    loop {
        let mut narrowed = shown.clone();
        narrow(&mut narrowed, max_width, |shown| {
            match columns[shown.column].overflow {
                Overflow::Uncut => shown.width,
                Overflow::Explanation | Overflow::Wrap => MIN_EXPLANATION_WIDTH,
                Overflow::CutEnd | Overflow::CutMiddle => MIN_WIDTH,
            }
        });
        if fits(&narrowed, max_width) {
            return narrowed;
        }
        let droppable =
            |shown: &Shown| shown.column >= KEPT_COLUMNS && !columns[shown.column].is_explanation();
        match shown.iter().rposition(droppable) {
            Some(position) => shown.remove(position),
            None => break,
        };
    }
    for min in [NARROWEST, 1] {
        for is_uncut in [false, true] {
            narrow(&mut shown, max_width, |shown| {
                if (columns[shown.column].overflow == Overflow::Uncut) == is_uncut {
                    min
                } else {
                    shown.width
                }
            });
        }
    }
    shown
}

/// Narrows the widest columns until the table fits or all columns have their minimum widths.
fn narrow(columns: &mut [Shown], max_width: usize, min_width: impl Fn(&Shown) -> usize) {
    while !fits(columns, max_width) {
        let candidates = columns
            .iter_mut()
            .filter(|shown| shown.width > min_width(shown));
        let Some(widest) = candidates.max_by_key(|shown| shown.width) else {
            return;
        };
        widest.width -= 1;
    }
}

fn fits(columns: &[Shown], max_width: usize) -> bool {
    let widths: usize = columns.iter().map(|shown| shown.width).sum();
    widths + COLUMN_GAP * columns.len().saturating_sub(1) <= max_width
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::{Column, Table};
    use crate::output::style::Colors;

    fn table(explanation: Column) -> Table {
        let mut table = Table::new(&[
            Column::uncut("OPERATION"),
            Column::name("DECKY"),
            Column::new("STATE"),
            explanation,
            Column::new("NOTES"),
            Column::new("LAST SEEN"),
        ]);
        table.add_row([
            "01990000-0000".into(),
            "decky-03".into(),
            "failed".into(),
            "network decnet_lan has active endpoints".into(),
            "".into(),
            "3 min ago".into(),
        ]);
        table.add_row(["-", "d", "", "x", "", ""].map(Into::into));
        table
    }

    fn check(table: &Table, width: Option<usize>, lines: &[&str]) {
        let text = table.render(width, Colors::NONE);
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{width:?}");
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let table = table(Column::explanation("ERROR"));
        check(
            &table,
            None,
            &[
                "OPERATION      DECKY     STATE   ERROR                                    NOTES  LAST SEEN",
                "01990000-0000  decky-03  failed  network decnet_lan has active endpoints         3 min ago",
                "-              d                 x",
            ],
        );
        check(
            &table,
            Some(35),
            &[
                "OPERATI…  DECKY     STATE   ERROR",
                "0199000…  decky-03  failed  networ…",
                "-         d                 x",
            ],
        );
        for width in 12..100 {
            for line in table.render(Some(width), Colors::NONE).lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn an_explanation_stays_when_empty_and_other_columns_are_dropped() {
        let table = table(Column::explanation("ERROR"));
        check(
            &table,
            Some(70),
            &[
                "OPERATION      DECKY     STATE   ERROR                       LAST SEEN",
                "01990000-0000  decky-03  failed  network decnet_lan has ac…  3 min ago",
                "-              d                 x",
            ],
        );
        check(
            &table,
            Some(60),
            &[
                "OPERATION      DECKY     STATE   ERROR",
                "01990000-0000  decky-03  failed  network decnet_lan has act…",
                "-              d                 x",
            ],
        );
        assert!(!table.drops("LAST SEEN", None) && !table.drops("LAST SEEN", Some(70)));
        assert!(table.drops("LAST SEEN", Some(60)) && !table.drops("ERROR", Some(60)));
    }

    #[test]
    fn a_wrapped_explanation_continues_below_itself() {
        check(
            &table(Column::wrapped("ERROR")),
            Some(60),
            &[
                "OPERATION      DECKY     STATE   ERROR",
                "01990000-0000  decky-03  failed  network decnet_lan has",
                "                                 active endpoints",
                "-              d                 x",
            ],
        );
    }

    #[test]
    fn a_table_without_rows_renders_nothing() {
        let table = Table::new(&[Column::new("HOST")]);
        assert_eq!(table.render(Some(80), Colors::NONE), "");
    }
}
