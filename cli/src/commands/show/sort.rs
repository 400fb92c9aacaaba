//! `--sort`: the order of a list.

use std::cmp::Ordering;

use clap::ValueEnum;

/// A column to sort by, and the direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sort<C> {
    column: C,
    is_descending: bool,
}

impl<C: Copy> Sort<C> {
    /// Sorts records. `compare` compares two records by a column. Records that are equal keep their
    /// order.
    pub(crate) fn apply<R>(self, records: &mut [R], compare: impl Fn(C, &R, &R) -> Ordering) {
        records.sort_by(|one, other| {
            let order = compare(self.column, one, other);
            if self.is_descending {
                order.reverse()
            } else {
                order
            }
        });
    }
}

/// Parses a column such as `name`, or `-name` for the descending order.
pub(crate) fn parse_sort<C: ValueEnum>(text: &str) -> Result<Sort<C>, String> {
    let (name, is_descending) = match text.strip_prefix('-') {
        Some(name) => (name, true),
        None => (text, false),
    };
    match C::from_str(name, true) {
        Ok(column) => Ok(Sort {
            column,
            is_descending,
        }),
        Err(_) => Err(format!(
            "the list can be sorted by {}; a leading - reverses the order",
            column_names::<C>()
        )),
    }
}

fn column_names<C: ValueEnum>() -> String {
    let values = C::value_variants().iter();
    let names = values.filter_map(ValueEnum::to_possible_value);
    let names: Vec<String> = names.map(|value| value.get_name().to_owned()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::parse_sort;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
    enum Column {
        Name,
        LastSeen,
    }

    #[test]
    fn a_list_is_sorted_by_a_column_in_either_direction() {
        let sorted = |text: &str| {
            let mut records = [("b", 1), ("a", 2), ("c", 1)];
            let sort = parse_sort::<Column>(text).expect("a column");
            sort.apply(&mut records, |column, one, other| match column {
                Column::Name => one.0.cmp(other.0),
                Column::LastSeen => one.1.cmp(&other.1),
            });
            records.map(|(name, _)| name).concat()
        };
        assert_eq!(sorted("name"), "abc");
        assert_eq!(sorted("-name"), "cba");
        assert_eq!(sorted("last-seen"), "bca");
        assert_eq!(sorted("-last-seen"), "abc");
        let error = parse_sort::<Column>("age").expect_err("no such column");
        assert!(error.contains("name, last-seen"), "{error}");
    }
}
