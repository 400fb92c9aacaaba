//! What is printed: tables as they come, and at the end what was to be reached; or all of it as one JSON object.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::How;
use crate::samples::{Sample, Samples};
use crate::stage::Stage;

/// The whole run.
pub(crate) struct Report {
    how: How,
    nats_server: String,
    measured: Map<String, Value>,
    reach: Vec<Row>,
}

/// A figure that is to be reached.
#[derive(Debug, Serialize)]
struct Row {
    figure: &'static str,
    /// Of the measured and of the target.
    unit: &'static str,
    measured: f64,
    at_least: Option<f64>,
    at_most: Option<f64>,
    reached: bool,
}

impl Report {
    pub(crate) fn new(how: &How, stage: &Stage) -> Self {
        let report = Self {
            how: how.clone(),
            nats_server: stage.server.version.clone(),
            measured: Map::new(),
            reach: Vec::new(),
        };
        report.say(&format!(
            "{} rounds, {} s each; nats-server {}, {} cores",
            how.rounds,
            how.seconds.as_secs_f64(),
            report.nats_server,
            cores()
        ));
        report
    }

    /// Prints a line, unless JSON was asked for.
    pub(crate) fn say(&self, line: &str) {
        if !self.how.json {
            println!("{line}");
        }
    }

    /// Keeps what was measured, whole.
    pub(crate) fn keep(&mut self, name: &str, measured: &impl Serialize) -> Result<()> {
        let measured = serde_json::to_value(measured)?;
        self.measured.insert(name.to_owned(), measured);
        Ok(())
    }

    pub(crate) fn at_least(
        &mut self,
        figure: &'static str,
        unit: &'static str,
        least: f64,
        measured: f64,
    ) {
        self.reach.push(Row {
            figure,
            unit,
            measured,
            at_least: Some(least),
            at_most: None,
            reached: measured >= least,
        });
    }

    pub(crate) fn at_most(
        &mut self,
        figure: &'static str,
        unit: &'static str,
        most: f64,
        measured: f64,
    ) {
        self.reach.push(Row {
            figure,
            unit,
            measured,
            at_least: None,
            at_most: Some(most),
            reached: measured <= most,
        });
    }

    /// The medians of those that were compared, one a line.
    pub(crate) fn table(
        &self,
        title: &str,
        samples: &Samples,
        lines: &[(&str, u16)],
    ) -> Result<()> {
        self.say(&format!("\n{title}: medians\n"));
        self.say(
            "                            in                                  CPU µs an answer\n\
             \x20                       flight     per s      p50       p99   generator  nats-server  service",
        );
        for line in lines {
            let figure = |figure: fn(&Sample) -> f64| samples.median(*line, figure);
            let cpu = |figure: fn(&Sample) -> Option<f64>| {
                samples.median(*line, |sample| figure(sample).unwrap_or(f64::NAN))
            };
            let shown = format!(
                "{:<25} {:>4} {:>9.0} {:>8} {:>9} {:>11} {:>12} {:>8}",
                line.0,
                in_flight(line.1),
                figure(|sample| sample.per_second)?,
                micros(figure(|sample| sample.p50_us)?),
                micros(figure(|sample| sample.p99_us)?),
                tenths(cpu(|sample| Some(sample.cpu_us?.generator))?),
                tenths(cpu(|sample| Some(sample.cpu_us?.nats_server))?),
                tenths(cpu(|sample| sample.cpu_us?.service)?),
            );
            self.say(shown.trim_end());
        }
        Ok(())
    }

    /// Prints what was to be reached, or all of it as JSON; fails if that was asked for.
    pub(crate) fn finish(self) -> Result<ExitCode> {
        let missed = self.reach.iter().any(|row| !row.reached);
        if self.how.json {
            let all = json!({
                "nats_server": self.nats_server,
                "cores": cores(),
                "rounds": self.how.rounds,
                "seconds": self.how.seconds.as_secs_f64(),
                "measured": self.measured,
                "reach": self.reach,
            });
            println!("{}", serde_json::to_string_pretty(&all)?);
        } else if !self.reach.is_empty() {
            println!("\nReach: medians over the rounds\n");
            self.reach.iter().for_each(Row::print);
        }
        let fails = self.how.check && missed;
        Ok(ExitCode::from(u8::from(fails)))
    }
}

impl Row {
    fn print(&self) {
        let (sign, word) = if self.reached {
            ("✓", "reached")
        } else {
            ("✗", "missed")
        };
        let (bound, target) = match (self.at_least, self.at_most) {
            (Some(least), _) => ("at least", least),
            (None, most) => ("at most", most.unwrap_or(f64::NAN)),
        };
        println!(
            "{sign} {:<52} {:>7} {:<32} {bound:>8} {:<7} {word}",
            self.figure,
            digits(self.measured),
            self.unit,
            digits(target)
        );
    }
}

/// Three digits or so: no more is true.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Nothing in an open loop, where nobody waits for an answer before the next is asked.
fn in_flight(count: u16) -> String {
    match count {
        0 => String::new(),
        count => count.to_string(),
    }
}

fn tenths(value: f64) -> String {
    if value.is_nan() {
        String::new()
    } else {
        format!("{value:.1}")
    }
}

fn micros(value: f64) -> String {
    if value < 9_999.5 {
        format!("{value:.0}µs")
    } else {
        format!("{:.1}ms", value / 1e3)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
