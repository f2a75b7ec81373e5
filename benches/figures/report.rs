//! The table of figures.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

pub struct Report {
    rows: Vec<[String; 4]>,
    /// Tables of their own.
    tables: Vec<String>,
    notes: Vec<String>,
    begun: Instant,
}

/// One figure at several sizes, the smallest first.
pub struct Grown {
    what: &'static str,
    unit: &'static str,
    figures: Vec<f64>,
    limit: Option<f64>,
}

impl Grown {
    pub fn new(what: &'static str, unit: &'static str, figures: Vec<f64>) -> Grown {
        Grown { what, unit, figures, limit: None }
    }

    /// How often the largest size's figure may be the smallest one's.
    pub fn at_most(self, limit: f64) -> Grown {
        Grown { limit: Some(limit), ..self }
    }

    fn ratio(&self) -> f64 {
        match (self.figures.first(), self.figures.last()) {
            (Some(first), Some(last)) => last / first,
            _ => 1.0,
        }
    }
}

/// The same thing done twice, one after the other.
pub struct Pairs {
    what: &'static str,
    pub ours: Vec<Duration>,
    pub by_hand: Vec<Duration>,
}

impl Pairs {
    pub fn new(what: &'static str) -> Pairs {
        Pairs { what, ours: Vec::new(), by_hand: Vec::new() }
    }
}

/// What is printed while it runs goes to stderr, so that stdout has the table and nothing else.
fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stderr(), "{text}")?)
}

/// How many processes wanted to run in the last minute: above the number of cores, figures are too large.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

impl Report {
    pub fn begin() -> anyhow::Result<Report> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let mut report = Report { rows: Vec::new(), tables: Vec::new(), notes: Vec::new(), begun: Instant::now() };
        report.note(&format!("{cores} cores, load {} before", load()))?;
        Ok(report)
    }

    /// A figure and the most it may be.
    pub fn figure(&mut self, what: &str, figure: f64, unit: &str, limit: Option<f64>) -> anyhow::Result<()> {
        let verdict = match limit {
            Some(limit) if figure <= limit => "ok",
            Some(_) => "too much",
            None => "",
        };
        let limit = limit.map(|limit| written(limit, unit)).unwrap_or_default();
        let row = [what.to_owned(), written(figure, unit), limit, verdict.to_owned()];
        say(&format!("{}: {} {}", row[0], row[1], row[3]))?;
        self.rows.push(row);
        Ok(())
    }

    /// The median of several durations, in milliseconds.
    pub fn median(&mut self, what: &str, times: &[Duration], limit: Option<f64>) -> anyhow::Result<()> {
        let spread = match (times.iter().min(), times.iter().max()) {
            (Some(min), Some(max)) => format!("{:.0}–{:.0}", milliseconds(*min), milliseconds(*max)),
            _ => String::new(),
        };
        let what = format!("{what} (median of {}, {spread})", times.len());
        self.figure(&what, milliseconds(median(times)), "ms", limit)
    }

    /// A line a figure, a column a size, then how it has grown.
    pub fn growth(&mut self, sizes: Vec<String>, rows: Vec<Grown>) -> anyhow::Result<()> {
        let columns = sizes.join(" | ");
        let mut text =
            format!("| what | {columns} | grown | at most | |\n|---|{}--:|--:|---|\n", "--:|".repeat(sizes.len()));
        for row in rows {
            let figures: Vec<String> = row.figures.iter().map(|figure| written(*figure, row.unit)).collect();
            let verdict = match row.limit {
                Some(limit) if row.ratio() <= limit => "ok",
                Some(_) => "too much",
                None => "",
            };
            let limit = row.limit.map(|limit| format!("×{limit:.1}")).unwrap_or_default();
            let figures = figures.join(" | ");
            text.push_str(&format!("| {} | {figures} | ×{:.2} | {limit} | {verdict} |\n", row.what, row.ratio()));
        }
        self.table(text)
    }

    /// What was done by us and by hand in turns, for one kind of machines.
    pub fn pairs(&mut self, kind: &str, pairs: &[Pairs]) -> anyhow::Result<()> {
        let mut text = format!("| {kind} | through the provider | by hand | in pairs |\n|---|--:|--:|--:|\n");
        for Pairs { what, ours, by_hand } in pairs {
            let figure = |times: &[Duration]| written(milliseconds(median(times)), "ms");
            let mut ratios: Vec<f64> =
                ours.iter().zip(by_hand).map(|(ours, hand)| ours.as_secs_f64() / hand.as_secs_f64()).collect();
            ratios.sort_by(f64::total_cmp);
            let ratio = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
            let (count, ours, by_hand) = (ours.len(), figure(ours), figure(by_hand));
            text.push_str(&format!("| {what} (median of {count}) | {ours} | {by_hand} | {ratio:.2} |\n"));
        }
        self.table(text)
    }

    fn table(&mut self, text: String) -> anyhow::Result<()> {
        say(&text)?;
        self.tables.push(text);
        Ok(())
    }

    pub fn note(&mut self, text: &str) -> anyhow::Result<()> {
        say(text)?;
        self.notes.push(text.to_owned());
        Ok(())
    }

    pub fn finish(mut self, folder: &Path) -> anyhow::Result<()> {
        self.note(&format!("load {} after {:.0} s", load(), self.begun.elapsed().as_secs_f64()))?;
        let mut text = String::from("| what | measured | at most | |\n|---|--:|--:|---|\n");
        for [what, figure, limit, verdict] in &self.rows {
            text.push_str(&format!("| {what} | {figure} | {limit} | {verdict} |\n"));
        }
        if self.rows.is_empty() {
            text.clear();
        }
        for table in &self.tables {
            text.push_str(&format!("\n{table}"));
        }
        text.push('\n');
        for note in &self.notes {
            text.push_str(&format!("- {}\n", note.replace('\n', "\n  ")));
        }
        let path = folder.join("bench.md");
        std::fs::write(&path, &text)?;
        writeln!(std::io::stdout(), "{text}")?;
        say(&format!("written to {}", path.display()))
    }
}

fn written(figure: f64, unit: &str) -> String {
    let digits = if unit == "ratio" {
        2
    } else if figure >= 100.0 {
        0
    } else {
        1
    };
    format!("{figure:.digits$} {unit}")
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

pub fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
