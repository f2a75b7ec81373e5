//! What the journal, the history and a backup remember, told to a real controller on the simulated provider.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use encanto::api::{History, HistoryEntry, StatusLog};
use encanto::model::Change;
use encanto::store::MemoryJournal;
use encanto::worker::ledger::{Ledger, LedgerError, Writing};
use support::scenario::{Scenario, story};

async fn history(scenario: &Scenario, request: History) -> Vec<HistoryEntry> {
    scenario.ask(request).await.unwrap().entries
}

async fn last(scenario: &Scenario, lines: usize) -> Vec<HistoryEntry> {
    history(scenario, History { lines, ..History::default() }).await
}

/// Writes entries until snapshots stand in for most of what was.
async fn live_on(scenario: &Scenario) {
    let before = scenario.journal.entries().len();
    for size in 0..120 {
        scenario.set("db", "size", &(1 + size % 100).to_string()).await;
        scenario.settle().await;
    }
    let (ever, kept) = (scenario.journal.entries().len(), scenario.journal.kept().len());
    assert!(ever > before + 200 && kept < ever, "{before} {ever} {kept}");
}

story!(a_compacted_journal_gives_the_same_environment_and_remembers_commands, s, {
    s.journal.snapshot_every(20);
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.settle().await;
    live_on(&s).await;
    let before = s.model();
    s.kill_controller().await;
    s.start_controller().await;
    s.settle().await;
    assert_eq!(s.model(), before);
    // What a worker reported of what is neither a unit nor a machine is gone; what was asked for is not.
    let kept = s.journal.kept();
    assert!(kept.iter().any(|entry| matches!(entry.event, encanto::model::Event::RelationAdded { .. })));
    let admitted = |entries: &[encanto::store::Entry]| {
        entries.iter().filter(|entry| matches!(entry.event, encanto::model::Event::ScopeAdmitted { .. })).count()
    };
    assert!(admitted(&s.journal.entries()) > 0 && admitted(&kept) == 0);
    assert!(last(&s, 500).await[0].effects.contains(&"environment test created".to_owned()));
    let log = s.ask(StatusLog { entity: "db/0".into(), lines: 500 }).await.unwrap().entries;
    assert!(log.len() >= 100, "{}", log.len());
    s.destroy_service("db", false).await;
    s.destroy_service("app", false).await;
    s.settle().await;
});

story!(a_spoilt_snapshot_costs_nothing, s, {
    s.journal.snapshot_every(20);
    s.deploy("db", 1).await;
    s.settle().await;
    live_on(&s).await;
    let before = s.model();
    s.kill_controller().await;
    s.journal.spoil_newest_snapshot();
    s.start_controller().await;
    s.settle().await;
    assert_eq!(s.model(), before);
    // It goes on, and the spoilt one is never what the others are dropped for.
    live_on(&s).await;
    let before = s.model();
    s.kill_controller().await;
    s.journal.spoil_newest_snapshot();
    s.start_controller().await;
    s.settle().await;
    assert_eq!(s.model(), before);
});

story!(a_controller_that_is_killed_often_still_makes_snapshots, s, {
    s.journal.snapshot_every(60);
    s.deploy("db", 1).await;
    s.settle().await;
    for size in 2..62 {
        s.set("db", "size", &size.to_string()).await;
        s.settle().await;
        if size % 6 == 0 {
            s.kill_controller().await;
            s.start_controller().await;
            s.settle().await;
        }
    }
    assert!(s.journal.kept().len() < s.journal.entries().len());
});

story!(the_history_says_who_asked_for_what, s, {
    s.deploy("db", 2).await;
    s.deploy("app", 1).await;
    s.relate("app", "db").await;
    s.set("db", "size", "7").await;
    s.settle().await;
    let all = last(&s, 50).await;
    assert_eq!(all[0].effects, ["environment test created"]);
    assert!(all.iter().skip(2).all(|entry| entry.user == "ana"), "{all:#?}");
    let set = last(&s, 1).await;
    assert_eq!(set[0].effects, ["service db: size set"]);
    let about = |name: &str| History { lines: 50, about: Some(name.to_owned()), ..History::default() };
    let of_app: Vec<usize> = history(&s, about("app")).await.iter().map(|entry| entry.effects.len()).collect();
    assert_eq!(of_app, [3, 1], "deployed and related");
    assert_eq!(history(&s, about("db/1")).await.len(), 1);
    let by = |user: &str| History { lines: 50, user: Some(user.to_owned()), ..History::default() };
    assert_eq!(history(&s, by("eva")).await, []);
    assert_eq!(history(&s, by("ana")).await.len(), 4);
    let recent = History { lines: 50, since: Some(3600), ..History::default() };
    assert_eq!(history(&s, recent).await.len(), all.len());
});

story!(a_long_history_is_read_in_pages, s, {
    for _ in 0..6 {
        s.ask(encanto::api::AddMachine { count: 199, series: None, constraints: None, placement: None, name: None })
            .await
            .unwrap();
    }
    let all = last(&s, 50).await;
    let added = |entry: &&HistoryEntry| entry.command == "add-machine";
    assert_eq!(all.iter().filter(added).map(|entry| entry.effects.len()).sum::<usize>(), 1194);
    assert_eq!(all.last().unwrap().effects.last().unwrap(), "machine 1194 added");
    assert_eq!(last(&s, 2).await, all[all.len() - 2..]);
    s.settle().await;
});

#[tokio::test(start_paused = true)]
async fn a_refusal_holds_only_if_what_it_was_found_with_is_written() {
    let journal = MemoryJournal::default();
    journal.fail_after(Some(0));
    let (nudges, _concerned) = tokio::sync::mpsc::unbounded_channel();
    let writing = Writing::Task(Duration::from_secs(1));
    let ledger = Ledger::open(Box::new(journal.clone()), Arc::new(|| 0), nudges, writing).unwrap();
    let create = || Change::CreateEnvironment { name: "local".parse().unwrap(), series: "bookworm".into() };
    let absurd = || Change::Unexpose { service: "db".parse().unwrap() };
    // Written together: the third is refused for the second.
    let told = tokio::join!(
        ledger.commit("a", absurd()),
        ledger.commit("b", create()),
        ledger.commit("c", create()),
        ledger.commit("d", absurd())
    );
    assert!(matches!(told.0, Err(LedgerError::Refused(_))), "{:?}", told.0);
    for lost in [told.1, told.2, told.3] {
        assert!(matches!(lost, Err(LedgerError::Journal(_))), "{lost:?}");
    }
    journal.fail_after(None);
    let told = tokio::join!(ledger.commit("b", create()), ledger.commit("c", create()));
    assert!(told.0.is_ok() && matches!(told.1, Err(LedgerError::Refused(_))), "{told:?}");
}
