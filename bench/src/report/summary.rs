//! Prints the results: tables during the measurements and the targets at the end, or everything as
//! one JSON object.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::arguments::Options;
use crate::report::samples::{Sample, Samples, Series};

pub(crate) struct Report {
    options: Options,
    nats_server: String,
    measured: Map<String, Value>,
    targets: Vec<Target>,
}

/// A figure with the bound that it should reach.
#[derive(Debug, Serialize)]
struct Target {
    figure: String,
    /// The unit of the measured figure and of the bound.
    unit: &'static str,
    measured: f64,
    at_least: Option<f64>,
    at_most: Option<f64>,
    reached: bool,
}

impl Report {
    /// Starts a report and prints its first line. `nats_server` is the server's version.
    pub(crate) fn new(options: &Options, nats_server: &str) -> Self {
        let report = Self {
            options: options.clone(),
            nats_server: nats_server.to_owned(),
            measured: Map::new(),
            targets: Vec::new(),
        };
        report.print_line(&format!(
            "{} rounds, {} s each; nats-server {}, {} cores",
            options.rounds,
            options.seconds.as_secs_f64(),
            report.nats_server,
            count_cores()
        ));
        report
    }

    /// Prints a line, unless the output is JSON.
    pub(crate) fn print_line(&self, line: &str) {
        if !self.options.json {
            println!("{line}");
        }
    }

    /// Adds figures to the JSON output.
    pub(crate) fn record(&mut self, name: &str, measured: &impl Serialize) -> Result<()> {
        let measured = serde_json::to_value(measured)?;
        self.measured.insert(name.to_owned(), measured);
        Ok(())
    }

    pub(crate) fn expect_at_least(
        &mut self,
        figure: &str,
        unit: &'static str,
        bound: f64,
        measured: f64,
    ) {
        self.targets.push(Target {
            figure: figure.to_owned(),
            unit,
            measured,
            at_least: Some(bound),
            at_most: None,
            reached: measured >= bound,
        });
    }

    pub(crate) fn expect_at_most(
        &mut self,
        figure: &str,
        unit: &'static str,
        bound: f64,
        measured: f64,
    ) {
        self.targets.push(Target {
            figure: figure.to_owned(),
            unit,
            measured,
            at_least: None,
            at_most: Some(bound),
            reached: measured <= bound,
        });
    }

    /// Prints the medians of each series, one per line.
    pub(crate) fn print_table(
        &self,
        title: &str,
        samples: &Samples,
        lines: &[Series],
    ) -> Result<()> {
        self.print_line(&format!("\n{title}: medians\n"));
        self.print_line(
            "                            in                                  CPU µs per reply\n\
             \x20                       flight     per s      p50       p99   generator  nats-server  service",
        );
        for series in lines {
            let figure = |figure: fn(&Sample) -> f64| samples.median(*series, figure);
            let cpu = |figure: fn(&Sample) -> Option<f64>| {
                samples.median(*series, |sample| figure(sample).unwrap_or(f64::NAN))
            };
            let line = format!(
                "{:<25} {:>4} {:>9.0} {:>8} {:>9} {:>11} {:>12} {:>8}",
                series.name,
                show_in_flight(series.in_flight),
                figure(|sample| sample.per_second)?,
                show_micros(figure(|sample| sample.p50_us)?),
                show_micros(figure(|sample| sample.p99_us)?),
                show_tenths(cpu(|sample| Some(sample.cpu_us?.generator))?),
                show_tenths(cpu(|sample| Some(sample.cpu_us?.nats_server))?),
                show_tenths(cpu(|sample| sample.cpu_us?.service)?),
            );
            self.print_line(line.trim_end());
        }
        Ok(())
    }

    /// Prints the targets, or everything as JSON. The exit code is a failure if a target was missed
    /// and `--check` was given.
    pub(crate) fn finish(self) -> Result<ExitCode> {
        let missed = self.targets.iter().any(|target| !target.reached);
        if self.options.json {
            let all = json!({
                "nats_server": self.nats_server,
                "cores": count_cores(),
                "rounds": self.options.rounds,
                "seconds": self.options.seconds.as_secs_f64(),
                "measured": self.measured,
                "reach": self.targets,
            });
            println!("{}", serde_json::to_string_pretty(&all)?);
        } else if !self.targets.is_empty() {
            println!("\nTargets: medians over the rounds\n");
            self.targets.iter().for_each(Target::print);
        }
        let fails = self.options.check && missed;
        Ok(ExitCode::from(u8::from(fails)))
    }
}

impl Target {
    fn print(&self) {
        let (sign, word) = if self.reached {
            ("✓", "reached")
        } else {
            ("✗", "missed")
        };
        let (direction, bound) = match (self.at_least, self.at_most) {
            (Some(bound), _) => ("at least", bound),
            (None, bound) => ("at most", bound.unwrap_or(f64::NAN)),
        };
        println!(
            "{sign} {:<52} {:>7} {:<32} {direction:>8} {:<7} {word}",
            self.figure,
            show_digits(self.measured),
            self.unit,
            show_digits(bound)
        );
    }
}

/// Formats a figure with about three digits, because the measurement is not more precise.
fn show_digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Formats a number of requests in flight. Returns an empty string for an open loop, which has no
/// fixed number.
fn show_in_flight(count: u16) -> String {
    match count {
        0 => String::new(),
        count => count.to_string(),
    }
}

fn show_tenths(value: f64) -> String {
    if value.is_nan() {
        String::new()
    } else {
        format!("{value:.1}")
    }
}

fn show_micros(value: f64) -> String {
    if value < 9_999.5 {
        format!("{value:.0}µs")
    } else {
        format!("{:.1}ms", value / 1e3)
    }
}

fn count_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
