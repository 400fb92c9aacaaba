//! `--columns`: the columns of a list, and their order.

use clap::Args;

use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::table::{Column, Table};

/// The `--columns` flag.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ColumnsOption {
    /// Show only these columns, in this order: the headings in lowercase, with - for a space,
    /// separated by commas.
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    columns: Vec<String>,
}

/// The columns to show. `None` for all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SelectedColumns(Option<Vec<usize>>);

impl ColumnsOption {
    /// Finds the columns among those that the list has.
    ///
    /// # Errors
    /// If the list has no column of a given name, or if the format is not a table.
    pub(super) fn select(
        &self,
        available: &[Column],
        format: Format,
    ) -> Result<SelectedColumns, Failure> {
        if self.columns.is_empty() {
            return Ok(SelectedColumns(None));
        }
        if !format.is_table() {
            return Err(Failure::Usage(
                "--columns works only with tables; select the fields of JSON with jq".to_owned(),
            ));
        }
        let find = |name: &String| {
            let position = available
                .iter()
                .position(|column| name_of(*column) == *name);
            position.ok_or_else(|| {
                let names: Vec<_> = available.iter().copied().map(name_of).collect();
                Failure::Usage(format!(
                    "the list has no column {name}; its columns are {}",
                    names.join(", ")
                ))
            })
        };
        let selected = self.columns.iter().map(find).collect::<Result<_, _>>()?;
        Ok(SelectedColumns(Some(selected)))
    }
}

impl SelectedColumns {
    pub(super) fn apply(&self, table: Table) -> Table {
        match &self.0 {
            Some(columns) => table.select(columns),
            None => table,
        }
    }
}

fn name_of(column: Column) -> String {
    column.heading.to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::{ColumnsOption, SelectedColumns};
    use crate::output::format::Format;
    use crate::output::style::Colors;
    use crate::output::table::{Column, Table};

    const COLUMNS: [Column; 3] = [
        Column::name("NAME"),
        Column::new("STATUS"),
        Column::new("LAST SEEN"),
    ];

    fn option(columns: &[&str]) -> ColumnsOption {
        ColumnsOption {
            columns: columns.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_list_shows_the_selected_columns_in_the_given_order() {
        let selected = option(&["last-seen", "name"]).select(&COLUMNS, Format::Table);
        let selected = selected.expect("both columns exist");
        assert_eq!(selected, SelectedColumns(Some(vec![2, 0])));
        let mut table = Table::new(&COLUMNS);
        table.add_row(["a".into(), "online".into(), "now".into()]);
        let text = selected.apply(table).render(None, Colors::NONE);
        assert_eq!(text, "LAST SEEN  NAME\nnow        a\n");
    }

    #[test]
    fn an_unknown_column_is_rejected_with_the_names_of_all_columns() {
        let error = option(&["host"]).select(&COLUMNS, Format::Table);
        let error = error.expect_err("no such column").to_string();
        assert!(error.contains("name, status, last-seen"), "{error}");
        let json = option(&["name"]).select(&COLUMNS, Format::Json);
        json.expect_err("JSON has no columns");
    }
}
