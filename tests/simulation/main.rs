//! Deterministic simulation: the real controller with all its workers, on the simulated provider, a clock that stands
//! still while there is work, one thread, and a seed that decides what is asked and what goes wrong.
//!
//! `make simulate SEEDS=2000 FROM=1` runs many seeds, `make simulate SEED=4711` one, and tells it as it happens.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "test code outside of test functions too")]

mod charms;
mod checks;
mod hooks;
mod operator;
#[path = "../oracle/mod.rs"]
mod oracle;
mod provider;
mod rng;
mod run;
mod sim;
mod stories;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};

use run::Report;

/// Seeds of every `cargo test`.
const SEEDS: u64 = 2_000;
/// Failures after which it is enough.
const ENOUGH: usize = 5;

thread_local! {
    /// What panicked on this thread: a task's panic ends the task only, and would not be seen.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static SIMULATES: Cell<bool> = const { Cell::new(false) };
}

/// Panics of a simulation are kept for its report; all others are told as ever.
static LISTENING: LazyLock<()> = LazyLock::new(|| {
    let as_ever = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match SIMULATES.get() {
        true => PANIC.set(Some(panic.to_string())),
        false => as_ever(panic),
    }));
});

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().filter(|text| !text.is_empty()).map(|text| text.parse().unwrap())
}

fn seed(seed: u64, traced: bool) -> Result<Report, String> {
    LazyLock::force(&LISTENING);
    SIMULATES.set(true);
    let result = std::panic::catch_unwind(|| run::run(seed, traced)).unwrap_or(Err("it panicked".to_owned()));
    SIMULATES.set(false);
    match PANIC.take() {
        Some(panic) => Err(panic),
        None => result,
    }
}

/// Runs them on all cores; tells those that failed, the smallest first.
fn seeds(all: impl Iterator<Item = u64> + Send) -> Vec<(u64, String)> {
    let (all, failed) = (Mutex::new(all), Mutex::new(Vec::new()));
    let (hooks, crashes) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            threads.spawn(|| {
                while failed.lock().unwrap().len() < ENOUGH {
                    let Some(next) = all.lock().unwrap().next() else { return };
                    match seed(next, false) {
                        Ok(report) => {
                            hooks.fetch_add(report.hooks, Ordering::Relaxed);
                            crashes.fetch_add(report.crashes, Ordering::Relaxed);
                        }
                        Err(words) => failed.lock().unwrap().push((next, words)),
                    }
                }
            });
        }
    });
    println!("{} hooks ran, the controller was killed {} times", hooks.into_inner(), crashes.into_inner());
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    failed
}

fn expect_none(failed: &[(u64, String)]) {
    let told = failed.iter().map(|(seed, words)| format!("seed {seed} (make simulate SEED={seed}):\n  {words}\n"));
    assert!(failed.is_empty(), "{}", told.collect::<String>());
}

#[test]
fn seeds_that_failed_once() {
    let kept = include_str!("seeds.txt").lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
    expect_none(&seeds(kept));
}

#[test]
fn random_worlds_heal_and_leave_nothing() {
    if let Some(one) = number("ENCANTO_SEED") {
        let result = seed(one, true);
        assert!(result.is_ok(), "seed {one}:\n  {}", result.unwrap_err());
        return;
    }
    let from = number("ENCANTO_FROM").unwrap_or(1);
    expect_none(&seeds(from..from + number("ENCANTO_SEEDS").unwrap_or(SEEDS)));
}

#[test]
fn a_seed_is_the_same_each_time() {
    for one in 1..40 {
        let journal = || {
            let entries = seed(one, false).unwrap().journal;
            let line = |entry: &encanto::store::Entry| {
                let event = serde_json::to_string(&entry.event).unwrap();
                format!("{} {} {} {event}\n", entry.sequence, entry.at, entry.by)
            };
            entries.iter().map(line).collect::<String>()
        };
        assert_eq!(journal(), journal(), "seed {one}");
    }
}
