//! A wiki and its database, from nothing to its main page: through the program and by hand, in turns.
//!
//! Both sides begin with the same cached image, and download and install the same packages. The charms get a mark of
//! their own each time, so that no layer of an earlier run fits; those layers are removed afterwards.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use encanto::api::{EnvironmentKind, Status};
use encanto::charm::{builtin_charm, prepare_key};
use encanto::model::Event;
use encanto::provider::local::LocalSettings;
use encanto::provider::registry;
use encanto::store::{Journal as _, SqliteJournal};

use crate::place::{Folder, Place};
use crate::report::{Report, median};

const ENVIRONMENT: &str = "bench";
const CHARMS: [&str; 2] = ["mediawiki", "mysql"];
const PAIRS: usize = 3;
/// How long the controller is watched at rest.
const REST: Duration = Duration::from_secs(20);
/// Between two looks at the page; by hand it is as long.
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(600);

/// A host that has the image.
pub struct Host {
    cache: PathBuf,
    image: PathBuf,
    base_key: String,
}

impl Host {
    pub fn ready(report: &mut Report) -> anyhow::Result<Host> {
        let place = Place::new(ENVIRONMENT, EnvironmentKind::Local)?;
        place.run("bootstrap --wait")?;
        let settings = LocalSettings::new("root", ENVIRONMENT, place.folder());
        let (cache, series) = (settings.cache_dir.clone(), settings.series.clone());
        let base_key = registry::local(settings)?.base_key(None, &series);
        let image = cache.join("images").join(format!("{series}-{}", &base_key[..16]));
        ensure!(image.is_dir(), "no image in {}", image.display());
        report.note(&format!("image {}", image.display()))?;
        Ok(Host { cache, image, base_key })
    }

    pub fn place(&self) -> anyhow::Result<Fresh> {
        let place = Place::new(ENVIRONMENT, EnvironmentKind::Local)?;
        let mark = format!("-- {}\n", place.home.path().display());
        let mut layers = Vec::new();
        for name in CHARMS {
            let mut files = builtin_charm(name).context("no such charm")?;
            files.entry("charm.lua".to_owned()).or_default().extend_from_slice(mark.as_bytes());
            for (file, content) in &files {
                let path = place.home.path().join("charms").join(name).join(file);
                std::fs::create_dir_all(path.parent().context("a charm is a folder")?)?;
                std::fs::write(path, content)?;
            }
            layers.push(Folder::new(self.cache.join("layers").join(prepare_key(&files, &self.base_key))));
        }
        place.run("bootstrap --wait")?;
        Ok(Fresh { place, _layers: layers })
    }
}

/// A bootstrapped environment whose charms nobody has a layer of.
pub struct Fresh {
    pub place: Place,
    /// Dropped after the machines that stand on them.
    _layers: Vec<Folder>,
}

impl Fresh {
    /// Deploys a wiki; the time to the first answer of its main page.
    pub fn wiki(&self, wiki: &str, database: &str) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        self.place.run(&format!("deploy mediawiki {wiki}"))?;
        self.place.run(&format!("deploy mysql {database}"))?;
        self.place.run(&format!("add-relation {wiki}:db {database}:db"))?;
        self.place.run(&format!("expose {wiki}"))?;
        while !self.answers(wiki)? {
            ensure!(begun.elapsed() < PATIENCE, "{wiki} does not answer");
            std::thread::sleep(LOOK);
        }
        Ok(begun.elapsed())
    }

    fn answers(&self, wiki: &str) -> anyhow::Result<bool> {
        let status = self.place.ask(&Status { patterns: vec![wiki.to_owned()] })?;
        let unit = status.services.get(wiki).and_then(|service| service.units.values().next());
        let Some(unit) = unit else { return Ok(false) };
        ensure!(unit.workload_status.current != "error", "{wiki}: {}", unit.workload_status.message);
        let Some(address) = &unit.public_address else { return Ok(false) };
        let url = format!("http://{address}/");
        let page = Command::new("curl").args(["-sL", "--max-time", "60", "-w", "%{http_code}", &url]).output()?;
        let text = String::from_utf8_lossy(&page.stdout);
        Ok(text.ends_with("200") && text.contains("MediaWiki has been installed"))
    }

    /// When what happened, from the log and the journal, in seconds since the first service.
    fn story(&self) -> anyhow::Result<Vec<(f64, String)>> {
        let mut moments: Vec<(i64, String)> = Vec::new();
        let entries = SqliteJournal::open(&self.place.folder().join("journal.db"))?.read_after(0)?;
        let begun = entries.iter().find(|entry| matches!(entry.event, Event::ServiceAdded { .. }));
        let begun = begun.context("nothing was deployed")?.at;
        for entry in &entries {
            match &entry.event {
                Event::MachineProvisioned { machine, .. } => {
                    moments.push((entry.at, format!("machine {machine} is up")))
                }
                Event::HookCommitted { unit, hook, .. } => moments.push((entry.at, format!("{unit} {hook}"))),
                _ => {}
            }
        }
        for number in 1..=CHARMS.len() {
            let text = std::fs::read_to_string(self.place.folder().join(format!("log/machine-{number}.log")))?;
            moments.extend(preparation(number, &text));
        }
        moments.sort();
        Ok(moments.into_iter().map(|(at, what)| ((at - begun) as f64 / 1000.0, what)).collect())
    }
}

/// The first line of each phase of making a layer.
fn preparation(machine: usize, log: &str) -> Vec<(i64, String)> {
    const PHASES: [(&str, &str); 6] = [
        ("preparing a layer", "layer begun"),
        ("Reading package lists", "booted"),
        ("Get:1 ", "packages chosen"),
        ("Fetched ", "downloaded"),
        ("Setting up ", "unpacked"),
        ("creating the container", "layer kept"),
    ];
    let lines = log.lines().filter_map(|line| {
        let (_, rest) = line.split_once(": ")?;
        let (time, text) = rest.split_once(' ')?;
        Some((time.parse::<jiff::Timestamp>().ok()?.as_millisecond(), text))
    });
    let lines: Vec<(i64, &str)> = lines.collect();
    let find = |(mark, name): (&str, &str)| {
        let (at, _) = lines.iter().find(|(_, text)| text.contains(mark))?;
        Some((*at, format!("machine {machine}: {name}")))
    };
    let mut phases: Vec<(i64, String)> = PHASES.into_iter().filter_map(find).collect();
    let configured = lines.iter().rfind(|(_, text)| text.contains("Setting up ") || text.contains("triggers for "));
    phases.extend(configured.map(|(at, _)| (*at, format!("machine {machine}: last package begun"))));
    phases
}

pub fn measure(host: &Host, report: &mut Report) -> anyhow::Result<()> {
    let (mut ours, mut theirs, mut second) = (Vec::new(), Vec::new(), Vec::new());
    let mut ratios = Vec::new();
    for pair in 1..=PAIRS {
        let (by_hand, steps) = by_hand(host)?;
        let fresh = host.place()?;
        let through = fresh.wiki("wiki", "mysql").with_context(|| fresh.place.last_words())?;
        let ratio = through.as_secs_f64() / by_hand.as_secs_f64();
        report.note(&format!(
            "pair {pair}: through the program {:.1} s, by hand {:.1} s: {ratio:.2}",
            through.as_secs_f64(),
            by_hand.as_secs_f64()
        ))?;
        if pair == PAIRS {
            let story = fresh.story()?;
            let lines: Vec<String> = story.iter().map(|(at, what)| format!("{at:6.1} s  {what}")).collect();
            report.note(&format!("through the program, the last time:\n{}", lines.join("\n")))?;
            report.note(&format!("by hand, the last time:\n{steps}"))?;
        }
        second.push(fresh.wiki("wiki2", "mysql2")?);
        if pair == PAIRS {
            at_rest(&fresh.place, report)?;
        }
        ours.push(through);
        theirs.push(by_hand);
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    let seconds = |times: &[Duration]| median(times).as_secs_f64();
    report.figure("wiki by hand, from an image", seconds(&theirs), "s", None)?;
    report.figure("wiki through the program, no layer", seconds(&ours), "s", None)?;
    report.figure(&format!("beside by hand (median of {PAIRS} pairs)"), ratios[PAIRS / 2], "ratio", Some(1.1))?;
    report.figure("a second wiki, with layers", seconds(&second), "s", None)
}

/// The script says what it did and when; the last line is the answer of the main page.
fn by_hand(host: &Host) -> anyhow::Result<(Duration, String)> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/wiki-by-hand.sh");
    let mut command = Command::new(script);
    command.arg(&host.image).env("BRIDGE", "benchhand0").env("SUBNET", "10.219.221");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().context("no output")?;
    let lines = BufReader::new(out).lines().collect::<Result<Vec<String>, _>>()?;
    ensure!(child.wait()?.success(), "the wiki by hand failed");
    let last = lines.iter().find(|line| line.contains("HTTP 200")).context("it did not tell the end")?;
    let seconds = last.split_whitespace().next().unwrap_or_default().parse::<f64>()?;
    Ok((Duration::from_secs_f64(seconds), lines.join("\n")))
}

fn at_rest(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    place.settle(&[])?;
    std::thread::sleep(Duration::from_secs(2));
    let controller = place.controller()?;
    let before = controller.ticks()?;
    std::thread::sleep(REST);
    let ticks = controller.ticks()? - before;
    report.figure("controller at rest with two wikis: resident", controller.megabytes("VmRSS")?, "MB", Some(30.0))?;
    report.figure("controller at rest: on a core in 20 s", ticks as f64, "ticks", Some(0.0))
}
