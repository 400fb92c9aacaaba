//! A strict parser for the part of the `OpenMetrics` text format that the controller uses.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// The metadata of a metric family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Family {
    /// The name, without the suffixes that the names of samples have.
    pub name: String,
    /// The type: `counter`, `gauge`, `histogram` or `info`.
    pub kind: String,
    /// The unit, or an empty string.
    pub unit: String,
    pub help: String,
}

/// The content of one response: the families and the value of each series.
#[derive(Debug, Default)]
pub struct Exposition {
    /// The text that was parsed.
    pub text: String,
    /// The families, in the order of the text.
    pub families: Vec<Family>,
    /// The value of each series. The key is the name and the labels, as in the text.
    samples: BTreeMap<String, f64>,
}

impl Family {
    /// Returns the suffixes that sample names may have in a family of this type.
    fn suffixes(&self) -> &'static [&'static str] {
        match self.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[],
        }
    }

    /// Returns the names that the samples of this family may have.
    pub fn sample_names(&self) -> impl Iterator<Item = String> {
        self.suffixes()
            .iter()
            .map(|suffix| format!("{}{suffix}", self.name))
    }
}

impl Exposition {
    /// Parses a response.
    ///
    /// # Errors
    /// If the text breaks the format or the project's rules for metrics. The error names the line
    /// or the family.
    pub fn parse(text: &str) -> Result<Self> {
        let body = text
            .strip_suffix("# EOF\n")
            .context("no # EOF at the end")?;
        let mut parsed = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        for line in body.lines() {
            parsed
                .parse_line(line)
                .with_context(|| format!("in {line:?}"))?;
        }
        for family in &parsed.families {
            ensure!(!family.kind.is_empty(), "{} has no type", family.name);
            let is_sentence = family.help.ends_with('.') && family.help.len() > 15;
            ensure!(
                is_sentence,
                "{} has no help: {:?}",
                family.name,
                family.help
            );
            parsed.check_histogram(family)?;
        }
        Ok(parsed)
    }

    fn parse_line(&mut self, line: &str) -> Result<()> {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let mut word = || words.next().context("fewer than three words");
            return self.parse_comment(word()?, word()?, word()?);
        }
        let (series, value) = line.rsplit_once(' ').context("no value")?;
        let value: f64 = value.parse()?;
        let name = series.split('{').next().unwrap_or_default();
        let family = self.families.last().context("a sample before its family")?;
        ensure!(
            family.sample_names().any(|allowed| allowed == name),
            "the sample does not belong to {}",
            family.name
        );
        ensure!(
            family.kind != "counter" || value >= 0.0,
            "a counter is negative"
        );
        if let Some((_, labels)) = series.split_once('{') {
            let labels = labels
                .strip_suffix("\"}")
                .context("the labels are not closed")?;
            for label in labels.split("\",") {
                let (key, value) = label.split_once("=\"").context("the label is not quoted")?;
                ensure!(
                    is_name(key) && !value.contains('"'),
                    "{label:?} is not a label"
                );
            }
        }
        let before = self.samples.insert(series.to_owned(), value);
        ensure!(before.is_none(), "the series is repeated");
        Ok(())
    }

    fn parse_comment(&mut self, keyword: &str, name: &str, text: &str) -> Result<()> {
        ensure!(is_name(name), "{name:?} is not a name");
        if keyword == "HELP" {
            let known = self.families.iter().any(|family| family.name == name);
            ensure!(!known, "the family is repeated");
            self.families.push(Family {
                name: name.to_owned(),
                help: text.to_owned(),
                ..Family::default()
            });
            return Ok(());
        }
        let family = self.families.last_mut().context("no HELP before it")?;
        ensure!(
            family.name == name,
            "the comment does not belong to {}",
            family.name
        );
        match keyword {
            "TYPE" => text.clone_into(&mut family.kind),
            "UNIT" => {
                ensure!(
                    name.ends_with(&format!("_{text}")),
                    "the name does not end with the unit"
                );
                text.clone_into(&mut family.unit);
            }
            _ => bail!("neither HELP, TYPE nor UNIT"),
        }
        ensure!(!family.suffixes().is_empty(), "an unknown type");
        Ok(())
    }

    /// Checks that the buckets of a histogram are cumulative, and that the last bucket is equal to
    /// the count. The project's histograms have no label other than `le`. Families of other types
    /// always pass.
    fn check_histogram(&self, Family { name, kind, .. }: &Family) -> Result<()> {
        if kind != "histogram" {
            return Ok(());
        }
        let prefix = format!("{name}_bucket{{le=\"");
        let buckets = self.samples.iter().filter_map(|(series, count)| {
            let bound = series.strip_prefix(&prefix)?.strip_suffix("\"}")?;
            Some((bound.parse::<f64>().ok()?, *count))
        });
        let mut buckets: Vec<(f64, f64)> = buckets.collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        ensure!(
            buckets.is_sorted_by_key(|(_, count)| *count),
            "{name}: {buckets:?}"
        );
        let (bound, total) = buckets.last().context("no buckets")?;
        let counted = self.value(&format!("{name}_count"))?;
        ensure!(
            bound.is_infinite() && (total - counted).abs() < 0.5,
            "{name}: {buckets:?}"
        );
        Ok(())
    }

    /// Returns the value of a series. `series` is the name with the labels, as in the text.
    ///
    /// # Errors
    /// If the response has no such series.
    pub fn value(&self, series: &str) -> Result<f64> {
        let value = self.samples.get(series).copied();
        value.with_context(|| format!("no {series} in\n{}", self.text))
    }
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !text.is_empty() && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::Exposition;

    #[test]
    fn the_parser_rejects_invalid_openmetrics() {
        let metadata = "# HELP a_things Things that exist.\n# TYPE a_things counter\n";
        let good =
            format!("{metadata}a_things_total{{b=\"c\",d=\"e\"}} 1\na_things_total 2.5\n# EOF\n");
        Exposition::parse(&good).expect("valid OpenMetrics");
        for (from, to) in [
            ("# EOF\n", ""),
            ("# HELP a_things Things that exist.\n", ""),
            ("Things that exist.", "."),
            ("# TYPE a_things counter\n", ""),
            (" counter", " thing"),
            ("counter\n", "counter\n# UNIT a_things seconds\n"),
            ("a_things_total 2.5", "a_things 2.5"),
            ("a_things_total 2.5", "a_things_total -1"),
            ("a_things_total 2.5", "a_things_total{b=\"c\",d=\"e\"} 2"),
            ("d=\"e\"}", "d=e}"),
            (" 1\n", " one\n"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            Exposition::parse(&bad).expect_err(&bad);
        }
    }
}
