//! Runs the rules, bed by bed, and says of each how it went and how long it took.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;

use crate::bed::{Bed, Environment};

/// Longer than any rule takes on the slowest bed.
const PATIENCE: Duration = Duration::from_secs(400);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the environment that the bed's rules share: what is there beside a rule's own machines is none of its business.
    Shared,
    /// In an environment that nobody else has.
    Own,
}

pub struct Rule {
    pub name: &'static str,
    pub place: Place,
    pub beds: &'static [Bed],
    pub run: for<'a> fn(&'a Environment) -> BoxFuture<'a, ()>,
}

/// What was asked for, in the words of the usual harness.
#[derive(Default)]
struct Arguments {
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
}

impl Arguments {
    fn read() -> Self {
        let mut read = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--exact" => read.exact = true,
                "--list" => read.list = true,
                "--skip" => read.skipped.extend(words.next()),
                // Their value is the next word.
                "--test-threads" | "--format" | "--color" => drop(words.next()),
                _ if word.starts_with('-') => {}
                _ => read.filters.push(word),
            }
        }
        read
    }

    fn want(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skipped.iter().any(fits)
    }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
}

pub fn run(contract: &[Rule]) -> ExitCode {
    let arguments = Arguments::read();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut tally = Tally::default();
    let mut skipped = 0;
    for bed in Bed::ALL {
        let wanted = |rule: &&Rule| rule.beds.contains(&bed) && arguments.want(&full_name(bed, rule.name));
        let rules: Vec<&Rule> = contract.iter().filter(wanted).collect();
        if arguments.list {
            rules.iter().for_each(|rule| println!("{}: test", full_name(bed, rule.name)));
        } else if rules.is_empty() {
        } else if let Some(why) = bed.is_left_out() {
            println!("skipped: {} rules on {}: {why}", rules.len(), bed.name());
            skipped += rules.len();
        } else {
            let begun = Instant::now();
            try_bed(&runtime, bed, &rules, &mut tally);
            println!("{}: {:.1} s", bed.name(), begun.elapsed().as_secs_f64());
        }
    }
    if arguments.list {
        return ExitCode::SUCCESS;
    }
    for name in &tally.failed {
        println!("failed: {name}");
    }
    let verdict = if tally.failed.is_empty() { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {} passed; {} failed; {skipped} skipped\n", tally.passed, tally.failed.len());
    if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn full_name(bed: Bed, rule: &str) -> String {
    format!("{}::{rule}", bed.name().replace('-', "_"))
}

fn try_bed(runtime: &Runtime, bed: Bed, rules: &[&Rule], tally: &mut Tally) {
    for place in [Place::Shared, Place::Own] {
        let mut shared = None;
        for rule in rules.iter().filter(|rule| rule.place == place) {
            // The bed is made within the first rule's time.
            let name = full_name(bed, rule.name);
            tally.one(runtime, &name, async {
                let environment = match &shared {
                    Some(environment) => environment,
                    None => shared.insert(Environment::open(bed, place == Place::Own).await),
                };
                (rule.run)(environment).await;
            });
            if place == Place::Own {
                clear(runtime, shared.take(), &format!("{name}, what it left"), tally);
            }
        }
        clear(runtime, shared.take(), &full_name(bed, "nothing_is_left"), tally);
    }
}

fn clear(runtime: &Runtime, environment: Option<Environment>, name: &str, tally: &mut Tally) {
    if let Some(environment) = environment {
        tally.one(runtime, name, environment.close());
    }
}

impl Tally {
    /// A rule that is broken says so by a panic, and the next one has its turn.
    fn one(&mut self, runtime: &Runtime, name: &str, rule: impl Future<Output = ()>) {
        let begun = Instant::now();
        let guarded = AssertUnwindSafe(async { tokio::time::timeout(PATIENCE, rule).await }).catch_unwind();
        let went = match runtime.block_on(guarded) {
            Ok(Ok(())) => "ok",
            Ok(Err(_)) => "FAILED: it does not end",
            Err(_) => "FAILED",
        };
        println!("test {name} ... {went} ({:.2} s)", begun.elapsed().as_secs_f64());
        if went == "ok" { self.passed += 1 } else { self.failed.push(name.to_owned()) }
    }
}
