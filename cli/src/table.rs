//! Tables that fit: columns as wide as what stands in them, cut where the terminal is narrower. What stands in them is each
//! verb's own.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::look::{Look, Paint, Tone, plain};

/// Between two columns.
const GAP: usize = 2;

/// The least that a column is cut to: what is narrower says nothing any more, and is left out.
const LEAST: usize = 8;

/// The columns that are never left out: what it is, and how it is. They are cut to this only when all others are gone.
const ALWAYS: usize = 3;
const NAME: usize = 20;

/// A column's heading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    head: &'static str,
    /// Cut when nothing else helps: ids, which are of no use in part.
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
        let heads = self.columns.iter();
        let heads: Vec<Cell> = heads
            .map(|column| Cell::toned(Tone::Head, column.head))
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            let mut blank = 0;
            for (cell, width) in row.iter().zip(&widths) {
                let shown = cut(&cell.text, *width);
                if !shown.is_empty() {
                    line += &" ".repeat(blank);
                    line += &paint.text(cell.tone, &shown);
                    blank = 0;
                }
                blank += width - shown.width() + GAP;
            }
            text += &line;
            text.push('\n');
        }
        text
    }

    /// How wide each column is that is shown: the widest is cut first; what would be too narrow is left out, the last first; ids
    /// are cut last.
    fn widths(&self, most: Option<usize>) -> Vec<usize> {
        let of = |number: usize| {
            let cells = self.rows.iter().map(|row| row[number].text.width());
            cells.chain([self.columns[number].head.width()]).max()
        };
        let natural: Vec<usize> = (0..self.columns.len()).filter_map(of).collect();
        let Some(most) = most else { return natural };
        let fits =
            |widths: &[usize]| widths.iter().sum::<usize>() + GAP * (widths.len() - 1) <= most;
        let shrink = |widths: &mut Vec<usize>, whole: bool, least: [usize; 2]| {
            while !fits(widths) {
                let may = |number: &usize| self.columns[*number].whole == whole;
                let least = |number: usize| least[usize::from(number >= ALWAYS)];
                let all = (0..widths.len()).filter(may);
                let all = all.filter(|number| widths[*number] > least(*number));
                let Some(widest) = all.max_by_key(|number| widths[*number]) else {
                    return;
                };
                widths[widest] -= 1;
            }
        };
        let mut widths = natural.clone();
        for shown in (ALWAYS.min(natural.len())..=natural.len()).rev() {
            widths = natural[..shown].to_vec();
            shrink(&mut widths, false, [NAME, LEAST]);
            if fits(&widths) {
                return widths;
            }
        }
        for least in [LEAST, 1] {
            shrink(&mut widths, false, [least; 2]);
            shrink(&mut widths, true, [least; 2]);
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
            Column::whole("OPERATION"),
            Column::new("DECKY"),
            Column::new("STATE"),
            Column::new("ERROR"),
        ]);
        table.row([
            "01990000-0000".into(),
            "decky-03".into(),
            "failed".into(),
            "network decnet_lan has active endpoints".into(),
        ]);
        table.row(["-".into(), "d".into(), "".into(), "x".into()]);
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
