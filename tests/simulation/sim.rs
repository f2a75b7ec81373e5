//! What a simulated world shares: its dice, its clock, what is broken at the moment, and who judges.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use encanto::model::{Event, Millis, UnitName};
use encanto::store::{Entry, Journal, MemoryJournal, Page, StoreError, Wanted};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::oracle::Oracle;
use crate::rng::Rng;

/// How bad the world is; all in thousandths, but the delay.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub provider: u64,
    pub hooks: u64,
    /// Of the hooks: those that hang for minutes.
    pub hangs: u64,
    /// Of the hooks that fail: those that fail from now on each time.
    pub for_good: u64,
    /// At any call to the world the controller may end.
    pub crashes: u64,
    /// Milliseconds that a call may take.
    pub delay: u64,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Well,
    FailsBefore,
    FailsAfter,
    /// It has its effect, and nobody hears of it.
    Crash,
}

pub struct Sim {
    state: Mutex<State>,
    crashed: Notify,
}

pub struct State {
    pub rng: Rng,
    pub faults: Faults,
    pub oracle: Oracle,
    pub journal: MemoryJournal,
    pub journal_full: bool,
    /// The controller ends when so many more entries are written.
    pub crash_after: Option<u64>,
    /// What becomes of the next call that begins so; for stories, which leave nothing to the dice.
    pub forced: Vec<(&'static str, Fate)>,
    /// Hooks that fail each time.
    pub broken: BTreeSet<(UnitName, String)>,
    /// What is wrong, and not the oracle's matter.
    pub problems: Vec<String>,
    /// Units that were removed, and when: their hooks are to be cut off.
    pub removed: BTreeMap<UnitName, Millis>,
    /// Units whose running action somebody wants ended, and since when.
    pub cancelled: BTreeMap<UnitName, Millis>,
    pub hooks_run: u64,
    pub crashes: u64,
    /// The controller has ended: nothing that is left of it reaches the world.
    dead: bool,
    /// The time when this life of the controller began, in both clocks.
    base: Millis,
    born: Option<Instant>,
    traced: bool,
}

impl Sim {
    pub fn new(seed: u64, traced: bool) -> Arc<Sim> {
        let state = State {
            rng: Rng::new(seed),
            faults: Faults::default(),
            oracle: Oracle::default(),
            journal: MemoryJournal::default(),
            journal_full: false,
            crash_after: None,
            forced: Vec::new(),
            broken: BTreeSet::new(),
            problems: Vec::new(),
            removed: BTreeMap::new(),
            cancelled: BTreeMap::new(),
            hooks_run: 0,
            crashes: 0,
            dead: false,
            base: 1_000_000,
            born: None,
            traced,
        };
        Arc::new(Sim { state: Mutex::new(state), crashed: Notify::new() })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Millis {
        self.state().now()
    }

    /// A controller begins: the clock goes on where it was.
    pub fn born(&self) {
        let mut state = self.state();
        state.dead = false;
        state.born = Some(Instant::now());
    }

    /// The controller has ended, and everything of it is gone.
    pub fn buried(&self, at: Millis) {
        let mut state = self.state();
        state.base = at;
        state.born = None;
        state.crash_after = None;
        state.oracle.controller_died();
    }

    /// The controller ends at this very moment.
    pub fn crash(&self) {
        let mut state = self.state();
        state.say("--- the controller is killed");
        state.crashes += 1;
        state.dead = true;
        drop(state);
        self.crashed.notify_one();
    }

    pub async fn crashed(&self) {
        self.crashed.notified().await;
    }

    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Never returns in a controller that has ended.
    pub async fn alive(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    pub fn say(&self, line: &str) {
        self.state().say(line);
    }

    /// Rolls the dice for a call to the provider, and lets its time go by.
    pub async fn fate(&self, call: &str) -> Fate {
        self.alive().await;
        let (fate, delay) = {
            let mut state = self.state();
            let faults = state.faults;
            let forced = state.forced.iter().position(|(start, _)| call.starts_with(start));
            let forced = forced.map(|index| state.forced.remove(index).1);
            let fate = match forced {
                Some(fate) => fate,
                _ if state.rng.chance(faults.crashes) => Fate::Crash,
                _ if !state.rng.chance(faults.provider) => Fate::Well,
                _ if state.rng.chance(700) => Fate::FailsBefore,
                _ => Fate::FailsAfter,
            };
            let delay = if faults.delay > 0 && state.rng.chance(400) { state.rng.below(faults.delay) } else { 0 };
            if fate != Fate::Well {
                state.say(&format!("    {call}: {fate:?}"));
            }
            (fate, delay)
        };
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            self.alive().await;
        }
        fate
    }
}

impl State {
    pub fn now(&self) -> Millis {
        self.base + self.born.map_or(0, |born| born.elapsed().as_millis() as Millis)
    }

    pub fn say(&self, line: &str) {
        if self.traced {
            println!("{:>9.3} {line}", (self.now() - 1_000_000) as f64 / 1000.0);
        }
    }
}

/// Charms are long, and what hooks write follows from what they see.
fn shown(event: &Event) -> String {
    match event {
        Event::CharmAdded { url, digest, .. } => format!("CharmAdded {url} is {digest}"),
        Event::HookCommitted { unit, hook, writes } => {
            let mut text = format!("HookCommitted {unit} {hook:?}");
            if !writes.settings.is_empty() {
                text += &format!(" {:?}", writes.settings);
            }
            text
        }
        event => format!("{event:?}"),
    }
}

/// The journal of the world: it may be full, the oracle reads what is written, and the controller may end after it.
pub struct WatchedJournal(pub Arc<Sim>);

impl Journal for WatchedJournal {
    fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let mut state = self.0.state();
        if state.dead || state.journal_full {
            return Err(StoreError::Simulated("database or disk is full".to_owned()));
        }
        state.journal.append(entries)?;
        for entry in entries {
            state.say(&format!("  {} {}", entry.by, shown(&entry.event)));
            state.oracle.by_force(entry.by.ends_with("--force"));
            state.oracle.recorded(&entry.event);
            match &entry.event {
                Event::UnitRemoved { unit, .. } => drop(state.removed.insert(unit.clone(), entry.at)),
                Event::ActionCancelled { unit, .. } => drop(state.cancelled.insert(unit.clone(), entry.at)),
                Event::ActionEnded { unit, .. } => drop(state.cancelled.remove(unit)),
                _ => {}
            }
        }
        let left = state.crash_after.map(|left| left.saturating_sub(entries.len() as u64));
        state.crash_after = left;
        drop(state);
        if left == Some(0) {
            self.0.crash();
        }
        Ok(())
    }

    fn read_after(&mut self, sequence: u64) -> Result<Vec<Entry>, StoreError> {
        self.0.state().journal.read_after(sequence)
    }

    fn write_snapshot(&mut self, sequence: u64, model: &[u8]) -> Result<(), StoreError> {
        self.0.state().journal.write_snapshot(sequence, model)
    }

    fn read_snapshot(&mut self, back: u32) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.0.state().journal.read_snapshot(back)
    }

    fn read_past(&mut self, wanted: &Wanted, page: Page) -> Result<Vec<Entry>, StoreError> {
        self.0.state().journal.read_past(wanted, page)
    }

    fn forget_snapshot(&mut self, sequence: u64) -> Result<(), StoreError> {
        self.0.state().journal.forget_snapshot(sequence)
    }

    fn copy_to(&mut self, path: &Path) -> Result<(), StoreError> {
        self.0.state().journal.copy_to(path)
    }

    /// Often, so that controllers begin from a snapshot and what is left of a compacted journal.
    fn snapshot_every(&self) -> u64 {
        40
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        let mut state = self.0.state();
        if state.dead || state.journal_full {
            return Err(StoreError::Simulated("database or disk is full".to_owned()));
        }
        state.journal.probe()
    }
}
