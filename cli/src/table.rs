//! Tables that fit: columns as wide as what stands in them, cut where the terminal is narrower. What stands in them is each
//! verb's own.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::look::{Look, Paint, Tone, plain};

/// Between two columns.
const GAP: usize = 2;

/// The least that a column is cut to: a letter or two and the sign of the cut.
const LEAST: usize = 4;

/// A column's heading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    head: &'static str,
    /// Cut after all others: ids, which are of no use in part.
    whole: bool,
}

impl Column {
    /// One that may be cut.
    pub(crate) const fn new(head: &'static str) -> Self {
        Self { head, whole: false }
    }

    /// One that is cut last.
    pub(crate) const fn whole(head: &'static str) -> Self {
        Self { head, whole: true }
    }
}

/// What stands in one place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Text in a tone.
    pub(crate) fn toned(tone: Tone, text: &str) -> Self {
        Self {
            text: plain(text),
            tone,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::toned(Tone::Plain, text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Look> for Cell {
    fn from(look: Look) -> Self {
        Self::toned(look.tone, &look.text())
    }
}

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// One without rows.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// The lines, at most so wide. Without rows there is nothing, not even headings.
    pub(crate) fn render(&self, width: Option<usize>, paint: Paint) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let widths = self.widths(width);
        let mut text = String::new();
        let heads = self.columns.iter();
        let heads: Vec<Cell> = heads
            .map(|column| Cell::toned(Tone::Head, column.head))
            .collect();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            let last = row.len() - 1;
            for (number, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let shown = cut(&cell.text, *width);
                let blank = if number == last {
                    0
                } else {
                    width - shown.width() + GAP
                };
                line += &paint.text(cell.tone, &shown);
                line += &" ".repeat(blank);
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    /// How wide each column is: the widest is cut first, ids last.
    fn widths(&self, most: Option<usize>) -> Vec<usize> {
        let of = |number: usize| {
            let cells = self.rows.iter().map(|row| row[number].text.width());
            cells.chain([self.columns[number].head.width()]).max()
        };
        let mut widths: Vec<usize> = (0..self.columns.len()).filter_map(of).collect();
        let Some(most) = most else { return widths };
        let gaps = GAP * (widths.len() - 1);
        for whole in [false, true] {
            while widths.iter().sum::<usize>() + gaps > most {
                let may = |number: &usize| self.columns[*number].whole == whole;
                let widest = (0..widths.len())
                    .filter(may)
                    .max_by_key(|number| widths[*number]);
                let Some(widest) = widest.filter(|number| widths[*number] > LEAST) else {
                    break;
                };
                widths[widest] -= 1;
            }
        }
        widths
    }
}

/// Text of at most so many columns; where some is left out, it ends in a sign that says so.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let mut shown = String::new();
    for letter in text.chars() {
        let wide = letter.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
        shown.push(letter);
    }
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::{Column, Table, cut};
    use crate::look::Paint;

    fn table() -> Table {
        let mut table = Table::new(&[
            Column::new("DECKY"),
            Column::new("ERROR"),
            Column::whole("OPERATION"),
        ]);
        table.row([
            "decky-03".into(),
            "network decnet_lan has active endpoints".into(),
            "01990000-0000".into(),
        ]);
        table.row(["d".into(), "".into(), "-".into()]);
        table
    }

    fn check(width: Option<usize>, lines: [&str; 3]) {
        let text = table().render(width, Paint::NONE);
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{width:?}");
    }

    #[test]
    fn a_table_fits_the_terminal() {
        check(
            None,
            [
                "DECKY     ERROR                                    OPERATION",
                "decky-03  network decnet_lan has active endpoints  01990000-0000",
                "d                                                  -",
            ],
        );
        check(
            Some(40),
            [
                "DECKY     ERROR            OPERATION",
                "decky-03  network decnet…  01990000-0000",
                "d                          -",
            ],
        );
        check(
            Some(24),
            [
                "DEC…  ERR…  OPERATION",
                "dec…  net…  01990000-00…",
                "d           -",
            ],
        );
        for width in 20..80 {
            for line in table().render(Some(width), Paint::NONE).lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_cut_falls_between_letters_and_counts_columns() {
        assert_eq!(cut("añb", 3), "añb");
        assert_eq!(cut("añbc", 3), "añ…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("ab", 0), "…");
    }

    #[test]
    fn an_empty_table_says_nothing() {
        let table = Table::new(&[Column::new("HOST")]);
        assert_eq!(table.render(Some(80), Paint::NONE), "");
    }
}
