//! A strict reader of the `OpenMetrics` text format, as much of it as the controller may use.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// Metrics of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Family {
    /// Its name, without what its samples add.
    pub name: String,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: String,
    /// Its unit, or nothing.
    pub unit: String,
    /// What it is.
    pub help: String,
}

/// All that one answer says.
#[derive(Debug, Default)]
pub struct Exposition {
    /// As it was read.
    pub text: String,
    /// In their order.
    pub families: Vec<Family>,
    /// By name and labels, as they are written.
    samples: BTreeMap<String, f64>,
}

impl Family {
    /// What the name of a sample may add to that of its family.
    fn endings(&self) -> &'static [&'static str] {
        match self.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[],
        }
    }

    /// The names that its samples have.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.endings()
            .iter()
            .map(|ending| format!("{}{ending}", self.name))
    }
}

impl Exposition {
    /// Reads it all.
    ///
    /// # Errors
    /// What is wrong with it, and in which line.
    pub fn read(text: &str) -> Result<Self> {
        let body = text.strip_suffix("# EOF\n").context("it ends with # EOF")?;
        let mut read = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        for line in body.lines() {
            read.line(line).with_context(|| format!("in {line:?}"))?;
        }
        for family in &read.families {
            ensure!(!family.kind.is_empty(), "{} has no type", family.name);
            let whole = family.help.ends_with('.') && family.help.len() > 15;
            ensure!(whole, "{} has no help: {:?}", family.name, family.help);
            read.histogram(family)?;
        }
        Ok(read)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let mut word = || words.next().context("three words");
            return self.about(word()?, word()?, word()?);
        }
        let (series, value) = line.rsplit_once(' ').context("a value")?;
        let value: f64 = value.parse()?;
        let name = series.split('{').next().unwrap_or_default();
        let family = self
            .families
            .last()
            .context("a family before its samples")?;
        ensure!(
            family.names().any(|ours| ours == name),
            "not of {}",
            family.name
        );
        ensure!(family.kind != "counter" || value >= 0.0, "a counter counts");
        if let Some((_, labels)) = series.split_once('{') {
            let labels = labels.strip_suffix("\"}").context("closed labels")?;
            for label in labels.split("\",") {
                let (key, value) = label.split_once("=\"").context("a quoted label")?;
                ensure!(
                    is_name(key) && !value.contains('"'),
                    "{label:?} is no label"
                );
            }
        }
        let before = self.samples.insert(series.to_owned(), value);
        ensure!(before.is_none(), "it is there twice");
        Ok(())
    }

    fn about(&mut self, what: &str, name: &str, text: &str) -> Result<()> {
        ensure!(is_name(name), "{name:?} is no name");
        if what == "HELP" {
            let known = self.families.iter().any(|family| family.name == name);
            ensure!(!known, "it is there twice");
            self.families.push(Family {
                name: name.to_owned(),
                help: text.to_owned(),
                ..Family::default()
            });
            return Ok(());
        }
        let family = self.families.last_mut().context("a HELP first")?;
        ensure!(family.name == name, "it is not of {}", family.name);
        match what {
            "TYPE" => text.clone_into(&mut family.kind),
            "UNIT" => {
                ensure!(
                    name.ends_with(&format!("_{text}")),
                    "the name says the unit"
                );
                text.clone_into(&mut family.unit);
            }
            _ => bail!("neither HELP, TYPE nor UNIT"),
        }
        ensure!(!family.endings().is_empty(), "an unknown type");
        Ok(())
    }

    /// Checks that the buckets rise to the count. (Histograms here have no other label than `le`.)
    fn histogram(&self, Family { name, kind, .. }: &Family) -> Result<()> {
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
        let (bound, all) = buckets.last().context("buckets")?;
        let counted = self.value(&format!("{name}_count"))?;
        ensure!(
            bound.is_infinite() && (all - counted).abs() < 0.5,
            "{name}: {buckets:?}"
        );
        Ok(())
    }

    /// The value of a series, named as it is written.
    ///
    /// # Errors
    /// There is none.
    pub fn value(&self, series: &str) -> Result<f64> {
        let value = self.samples.get(series).copied();
        value.with_context(|| format!("no {series} among\n{}", self.text))
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
    fn what_is_not_openmetrics_is_refused() {
        let about = "# HELP a_things Things that there are.\n# TYPE a_things counter\n";
        let good =
            format!("{about}a_things_total{{b=\"c\",d=\"e\"}} 1\na_things_total 2.5\n# EOF\n");
        Exposition::read(&good).expect("it is");
        for (from, to) in [
            ("# EOF\n", ""),
            ("# HELP a_things Things that there are.\n", ""),
            ("Things that there are.", "."),
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
            Exposition::read(&bad).expect_err(&bad);
        }
    }
}
