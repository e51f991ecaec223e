//! `benches/RESULTS.md`: one table of bars, and one section for each part and engine. What is
//! measured again is replaced in place; everything else stays as it was.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stats::figure;
use crate::{Engine, PARTS, machine};

const HEAD: &str = "# Results

Written by `cargo bench --bench speed`, whose documentation (`benches/speed/main.rs`) says how. Each
ratio is the median of several series in which the two took turns, with the least and the most of
them beside it; p50, p95 and p99 are of all runs together.
";

const BARS: &str = "| | | figure | bar | aim | | measured |\n|---|---|---|---|---|---|---|\n";

/// A figure that has to reach something.
pub struct Bar {
    name: String,
    value: f64,
    bound: Bound,
    aim: Option<f64>,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
    Reported,
}

impl Bar {
    pub fn at_most(name: String, value: f64, most: f64, aim: Option<f64>) -> Self {
        Self { name, value, bound: Bound::AtMost(most), aim }
    }

    pub fn at_least(name: String, value: f64, least: f64, aim: Option<f64>) -> Self {
        Self { name, value, bound: Bound::AtLeast(least), aim }
    }

    /// Only to be told.
    pub fn reported(name: String, value: f64) -> Self {
        Self { name, value, bound: Bound::Reported, aim: None }
    }

    fn row(&self, engine: Engine, when: &str) -> String {
        let met = |met: bool| if met { "met" } else { "**not met**" };
        let (bound, verdict) = match self.bound {
            Bound::AtMost(most) => (format!("≤ {most}"), met(self.value <= most)),
            Bound::AtLeast(least) => (format!("≥ {least}"), met(self.value >= least)),
            Bound::Reported => (String::new(), ""),
        };
        let (name, value) = (&self.name, figure(self.value));
        let aim = self.aim.map(|aim| aim.to_string()).unwrap_or_default();
        format!("| {engine} | {name} | {value} | {bound} | {aim} | {verdict} | {when} |")
    }
}

/// What one part has found on one engine.
#[derive(Default)]
pub struct Report {
    pub bars: Vec<Bar>,
    text: String,
}

impl Report {
    pub fn note(&mut self, text: &str) {
        self.text += &format!("\n{text}\n");
    }

    pub fn table(&mut self, title: &str, table: &Table) {
        self.text += &format!("\n{title}:\n\n{table}");
    }
}

/// A table in Markdown.
pub struct Table(String);

impl Table {
    pub fn new(columns: &[&str]) -> Self {
        let line = "|---".repeat(columns.len());
        Self(format!("| {} |\n{line}|\n", columns.join(" | ")))
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0 += &format!("| {} |\n", cells.join(" | "));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The file, as it stands.
pub struct Results {
    path: PathBuf,
    /// Rows of the table of bars.
    bars: Vec<String>,
    /// Titles and texts.
    sections: Vec<(String, String)>,
    /// Which bars this run has measured.
    fresh: Vec<String>,
    settings: String,
}

impl Results {
    /// A quick run has a file of its own.
    pub fn open(quick: bool, settings: &[(String, String)]) -> Self {
        let folder = if quick {
            PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        } else {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("benches")
        };
        let path = folder.join("RESULTS.md");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let rows = text.lines().filter(|line| bar_key(line).is_some());
        let sections = text.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'));
        let settings = settings.iter().map(|(key, value)| format!(", {key}={value}"));
        Self {
            path,
            bars: rows.map(str::to_owned).collect(),
            sections: sections.map(|(title, text)| (title.into(), text.trim().into())).collect(),
            fresh: Vec::new(),
            settings: settings.collect(),
        }
    }

    /// Puts one part's findings in their place, and writes the file.
    pub fn record(&mut self, engine: Engine, part: &str, report: Report) {
        let when = format!("{}, {}", said_by("date", &["-u", "+%F"]), commit());
        for bar in &report.bars {
            let row = bar.row(engine, &when);
            let key = bar_key(&row);
            match self.bars.iter_mut().find(|old| bar_key(old) == key) {
                Some(old) => old.clone_from(&row),
                None => self.bars.push(row.clone()),
            }
            self.fresh.push(row);
        }
        let mut text = format!("{when}; {}{}.\n", machine::description(), self.settings);
        let restless = machine::restless();
        if restless > 0 {
            text += &format!("\n{restless} turns began though the machine had not come to rest.\n");
        }
        text += &report.text;
        println!("\n## {engine}: {part}\n\n{text}");
        let title = format!("{engine}: {part}");
        match self.sections.iter_mut().find(|(old, _)| *old == title) {
            Some((_, old)) => *old = text,
            None => self.sections.push((title, text)),
        }
        self.write();
    }

    /// The bars of this run, on the terminal.
    pub fn summary(&self) {
        println!("{BARS}{}\n\nwritten to {}", self.fresh.join("\n"), self.path.display());
    }

    fn write(&mut self) {
        let place = |title: &str| {
            let part = |name: &str| title.ends_with(&format!(": {name}"));
            (!title.starts_with("native"), PARTS.iter().position(|(name, _)| part(name)))
        };
        self.sections.sort_by_key(|(title, _)| place(title));
        self.bars.sort_by_key(|row| !row.starts_with("| native "));
        let mut text = format!("{HEAD}\n{BARS}{}\n", self.bars.join("\n"));
        for (title, section) in &self.sections {
            text += &format!("\n## {title}\n\n{}\n", section.trim());
        }
        std::fs::write(&self.path, text).expect("the results can be written");
    }
}

/// Engine and name of a row of the table of bars.
fn bar_key(row: &str) -> Option<(&str, &str)> {
    let mut cells = row.strip_prefix("| ")?.split(" | ");
    let engine = cells.next().filter(|cell| matches!(*cell, "native" | "docker"))?;
    Some((engine, cells.next()?))
}

fn commit() -> String {
    said_by("git", &["describe", "--always", "--dirty", "--exclude=*"])
}

fn said_by(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".into())
}
