//! Tells how the environment gets on until it is as asked, or cannot get there by itself.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::plan::settled::{self, Condition, Progress, Target, Verdict};

use super::ledger::Ledger;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Progress(Progress),
    Ready,
    Failed(Vec<String>),
    TimedOut(Vec<String>),
}

/// Between two looks, at least.
const GAP: Duration = Duration::from_millis(40);
/// A look costs as much as what is looked at is large: at most one part of so many of the time is spent on looking.
const PATIENCE: u32 = 10;

/// Tells on `out` until the end, or until nobody listens.
pub async fn wait(
    ledger: Ledger,
    targets: Vec<Target>,
    condition: Condition,
    timeout: Option<Duration>,
    out: mpsc::Sender<Told>,
) {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut changes = ledger.changes();
    let mut shown: BTreeMap<String, Progress> = BTreeMap::new();
    if condition == Condition::Gone {
        let gone = settled::gone_already(&ledger.model(), &targets);
        for progress in gone {
            if out.send(Told::Progress(progress)).await.is_err() {
                return;
            }
        }
    }
    loop {
        changes.mark_unchanged();
        let begun = Instant::now();
        let (all, end, fresh) = {
            let (model, observed) = (ledger.model(), ledger.observed());
            let all = settled::progress(&model, &observed, &targets, condition);
            let exists = |entity: &str| {
                let machine = entity.strip_prefix("machine ").and_then(|number| number.parse().ok());
                machine.is_some_and(|id| model.machines.contains_key(&id))
            };
            let fresh = news(&mut shown, &all, exists);
            let end = verdict(&all, || settled::at_rest(&model, &observed));
            (all, end, fresh)
        };
        let gap = GAP.max(begun.elapsed() * PATIENCE);
        for progress in fresh {
            if out.send(Told::Progress(progress)).await.is_err() {
                return;
            }
        }
        if let Some(end) = end {
            // Nobody listens any more: all the same.
            let _ = out.send(end).await;
            return;
        }
        let changed = async {
            let told = changes.changed().await;
            tokio::time::sleep(gap).await;
            told
        };
        let over = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            told = changed => if told.is_err() { return },
            () = over => {
                let _ = out.send(Told::TimedOut(reasons(&all, |verdict| verdict != Verdict::Reached))).await;
                return;
            }
            () = out.closed() => return,
        }
    }
}

/// What changed since it was shown last; what is gone is told once. A machine whose last unit has gone is not looked at
/// any more, but not gone.
fn news(shown: &mut BTreeMap<String, Progress>, all: &[Progress], exists: impl Fn(&str) -> bool) -> Vec<Progress> {
    let mut news = Vec::new();
    for progress in all {
        if shown.get(&progress.entity) != Some(progress) {
            shown.insert(progress.entity.clone(), progress.clone());
            news.push(progress.clone());
        }
    }
    let there: HashSet<&str> = all.iter().map(|progress| progress.entity.as_str()).collect();
    let gone: Vec<String> = shown.keys().filter(|entity| !there.contains(entity.as_str())).cloned().collect();
    for entity in gone {
        if let Some(last) = shown.remove(&entity).filter(|_| !exists(&entity)) {
            news.push(Progress {
                state: "gone".into(),
                message: String::new(),
                doing: None,
                verdict: Verdict::Reached,
                ..last
            });
        }
    }
    news
}

/// `at_rest` looks through the whole model: it is asked only if that decides.
fn verdict(all: &[Progress], at_rest: impl FnOnce() -> bool) -> Option<Told> {
    let any = |wanted: Verdict| all.iter().any(|progress| progress.verdict == wanted);
    if any(Verdict::Busy) {
        return None;
    }
    if any(Verdict::Failed) {
        return Some(Told::Failed(reasons(all, |verdict| verdict != Verdict::Reached)));
    }
    if !any(Verdict::Resting) {
        return Some(Told::Ready);
    }
    // Somebody else may still be at work on what this one waits for.
    at_rest().then(|| Told::Failed(reasons(all, |verdict| verdict == Verdict::Resting)))
}

fn reasons(all: &[Progress], wanted: impl Fn(Verdict) -> bool) -> Vec<String> {
    let named = all.iter().filter(|progress| wanted(progress.verdict));
    named
        .map(|progress| {
            let state = if progress.state == "error" { "in error" } else { &progress.state };
            let doing = progress.doing.as_ref().map(|doing| format!(" ({doing})")).unwrap_or_default();
            match progress.message.as_str() {
                "" => format!("{} is {state}{doing}", progress.entity),
                message => format!("{} is {state}{doing}: {message}", progress.entity),
            }
        })
        .collect()
}
