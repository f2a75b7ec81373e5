//! What must hold however often and at whatever moment: with real containers, and the whole program as its user has it.
//!
//! Needs root and some minutes: `ENCANTO_TEST_LXC=1 cargo test --test endurance`.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions too")]
#![allow(clippy::print_stdout, reason = "figures of a run")]

mod support;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use encanto::provider::local::LocalSettings;
use encanto::provider::{InstanceName, InstanceSpec, Provider, registry};
use support::host::{browse, traces};
use support::{Env, RealEnv, document};

/// Both look at what is left on the host.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A number that looks random and is the same in every run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn the_wiki_works(env: &Env) {
    let (code, page) = browse(&format!("http://{}/", env.address(&env.units("mediawiki")[0])));
    assert!(code == "200" && page.contains("Main"), "{code}: {page}");
}

fn deploy_wiki(env: &Env) {
    env.run("deploy mysql").succeeds();
    env.run("deploy mediawiki --expose").succeeds();
    env.run("add-relation mediawiki mysql").succeeds();
}

/// Entries that the controller has written so far.
fn sequence(env: &Env) -> u64 {
    let state = env.run("controller status").succeeds().stdout;
    state.lines().find_map(|line| line.strip_prefix("sequence: ")).unwrap().parse().unwrap()
}

#[test]
fn a_controller_killed_at_twenty_moments_of_a_deployment_ends_with_a_wiki_each_time() {
    const ENVIRONMENT: &str = "killtest";
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let before = traces(ENVIRONMENT);
    let Some(env) = RealEnv::bootstrapped(ENVIRONMENT) else { return };
    let bare = traces(ENVIRONMENT);
    let remove = |force: &str| {
        env.run(&format!("destroy-service mediawiki mysql {force} --wait=2m")).succeeds();
        let machines =
            env.status()["machines"].as_object().unwrap().keys().skip(1).cloned().collect::<Vec<_>>().join(" ");
        env.run(&format!("destroy-machine {machines} --wait=2m")).succeeds();
    };

    // Once undisturbed: layers are made, and how long it takes is known.
    deploy_wiki(&env);
    env.run("wait --timeout 15m").succeeds();
    remove("");
    let (begun, first) = (Instant::now(), sequence(&env));
    deploy_wiki(&env);
    let asked = sequence(&env) - first;
    env.run("wait --timeout 5m").succeeds();
    let (takes, entries) = (begun.elapsed(), sequence(&env) - first);
    remove("--force");

    let mut points = Vec::new();
    for round in 0..5_u64 {
        let first = sequence(&env);
        deploy_wiki(&env);
        for kill in 0..4 {
            // Twenty points from what was asked for to the last entry; each round begins a little later.
            let point = first + asked + (entries - asked) * (kill * 5 + round) / 19;
            let patience = Instant::now() + takes * 3;
            let killed = loop {
                let enough = |sequence| sequence >= point || Instant::now() > patience;
                if let Some(sequence) = env.kill_controller_if(enough) {
                    break sequence;
                }
            };
            points.push(killed - first);
            env.run("controller start").succeeds();
        }
        env.run("wait --timeout 5m").succeeds();
        the_wiki_works(&env);
        env.run("doctor").succeeds();
        // Once by hooks, once without.
        remove(if round % 2 == 0 { "" } else { "--force" });
        assert_eq!(changes(&without_controller(bare.clone()), &without_controller(traces(ENVIRONMENT))), [""; 0]);
    }
    println!("a deployment takes {takes:?} and {entries} entries, {asked} of them at once; killed after {points:?}");
    let distinct: BTreeSet<u64> = points.iter().copied().collect();
    assert!(distinct.len() >= 12, "the kills are spread over the journal: {points:?}");
    // From before the first machine is up to after the last hook.
    assert!(distinct.first() <= Some(&(asked + 2)) && distinct.last() >= Some(&entries), "{points:?} of {entries}");
    env.run(&format!("destroy-environment {ENVIRONMENT} -y")).succeeds();
    assert_eq!(changes(&before, &traces(ENVIRONMENT)), [""; 0]);
}

/// What came (`+`) and what went (`-`).
fn changes(before: &[String], after: &[String]) -> Vec<String> {
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    new.chain(gone).collect()
}

/// A controller that was started another way has another command line.
fn without_controller(traces: Vec<String>) -> Vec<String> {
    traces.into_iter().filter(|trace| !trace.contains("controller run")).collect()
}

/// What of the host is changed for good, as `bootstrap` says: limits of the kernel and the range of ids.
fn settings_of_the_host() -> Vec<String> {
    let files = [
        "/etc/subuid",
        "/etc/subgid",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/fs/inotify/max_user_instances",
        "/proc/sys/fs/inotify/max_user_watches",
        "/proc/sys/kernel/keys/maxkeys",
        "/proc/sys/kernel/keys/maxbytes",
    ];
    files.iter().map(|file| format!("{file}: {}", std::fs::read_to_string(file).unwrap_or_default().trim())).collect()
}

/// What an environment may leave, and what it may change.
fn inventory(environment: &str) -> Vec<String> {
    let mut found = settings_of_the_host();
    found.extend(traces(environment));
    for folder in ["/var/cache/encanto", "/var/cache/encanto/images", "/var/cache/encanto/layers"] {
        let entries = std::fs::read_dir(folder).unwrap();
        found.extend(entries.map(|entry| entry.unwrap().path().display().to_string()));
    }
    found
}

/// How a cycle goes.
#[derive(Clone, Copy, Debug)]
enum Cycle {
    Whole,
    WhileDeploying,
    ForcedAfterKill,
    Wiki,
}

fn cycle(env: &RealEnv, name: &str, kind: Cycle, random: &mut Seeded) {
    if env.path(&format!("home/{name}")).exists() {
        // The first came with the environment.
    } else {
        env.run("bootstrap --wait=5m").succeeds();
    }
    let hello = document::root().join("examples/hello").display().to_string();
    match kind {
        Cycle::Whole => {
            env.run(&format!("deploy {hello} -n 2 --expose --wait=5m")).succeeds();
            assert_eq!(browse(&format!("http://{}/", env.address("hello/1"))).0, "200");
        }
        Cycle::WhileDeploying | Cycle::ForcedAfterKill => {
            env.run(&format!("deploy {hello} -n 3 --expose")).succeeds();
            std::thread::sleep(Duration::from_millis(random.below(1500)));
        }
        Cycle::Wiki => {
            deploy_wiki(env);
            env.run("wait --timeout 5m").succeeds();
            the_wiki_works(env);
        }
    }
    if matches!(kind, Cycle::ForcedAfterKill) {
        env.kill_controller();
        env.run(&format!("destroy-environment {name} -y --force")).succeeds();
    } else {
        env.run(&format!("destroy-environment {name} -y")).succeeds();
    }
    assert!(!env.path(&format!("home/{name}")).exists());
}

#[test]
fn machines_destroyed_by_force_while_they_are_made_leave_nothing() {
    const ENVIRONMENT: &str = "forcetest";
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(env) = RealEnv::bootstrapped(ENVIRONMENT) else { return };
    let bare = traces(ENVIRONMENT);
    // Once undisturbed, to know how long it takes.
    let begun = Instant::now();
    env.run("add-machine --wait=5m").succeeds();
    let takes = begun.elapsed();
    env.run("destroy-machine 1 --wait=2m").succeeds();
    let mut lefts = Vec::new();
    for round in 0..10 {
        env.run("add-machine").succeeds();
        // A creation has two seconds after its machine was destroyed, so the first ones may even come up.
        std::thread::sleep(takes * round / 9);
        let begun = Instant::now();
        env.run(&format!("destroy-machine {} --force --wait=2m", round + 2)).succeeds();
        lefts.push(begun.elapsed());
        assert_eq!(changes(&bare, &traces(ENVIRONMENT)), [""; 0], "after round {round}");
        let records = std::fs::read_dir(env.path(&format!("home/{ENVIRONMENT}/lxc/instances"))).unwrap();
        assert_eq!(records.count(), 0, "after round {round}");
    }
    // What came up late would be here by now.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(changes(&bare, &traces(ENVIRONMENT)), [""; 0]);
    println!("a machine takes {takes:?}; destroyed after {lefts:?}");
}

/// The whole program gives a creation two seconds, in which a real one is over: here it is cut anywhere.
#[test]
fn a_creation_that_is_cut_off_at_any_moment_leaves_nothing() {
    const ENVIRONMENT: &str = "cuttest";
    if std::env::var_os("ENCANTO_TEST_LXC").is_none_or(|value| value != "1") {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (before, folder) = (traces(ENVIRONMENT), tempfile::tempdir().unwrap());
    let helper = env!("CARGO_BIN_EXE_encanto").into();
    let settings = LocalSettings { helper, ..LocalSettings::new("test", ENVIRONMENT, folder.path()) };
    let (provider, runtime) = (registry::local(settings).unwrap(), tokio::runtime::Runtime::new().unwrap());
    let cut =
        || runtime.block_on(creations_are_cut_off(&*provider, (ENVIRONMENT, &folder.path().join("lxc/instances"))));
    let done = std::panic::catch_unwind(AssertUnwindSafe(cut));
    // A failed run must not spoil the next.
    runtime.block_on(provider.teardown()).unwrap();
    if let Err(failure) = done {
        std::panic::resume_unwind(failure);
    }
    assert_eq!(changes(&before, &traces(ENVIRONMENT)), [""; 0]);
}

async fn creations_are_cut_off(provider: &dyn Provider, (environment, records): (&str, &Path)) {
    provider.open(Arc::new(|_: &str| {})).await.unwrap();
    let bare = traces(environment);
    let name = |number: u32| InstanceName::new(format!("test-{environment}-machine-{number}")).unwrap();
    let spec = |number: u32| InstanceSpec {
        name: name(number),
        kind: None,
        series: "bookworm".into(),
        layers: Vec::new(),
        memory: None,
        cores: None,
        build: false,
    };
    let begun = Instant::now();
    provider.create(&spec(0)).await.unwrap();
    let takes = begun.elapsed();
    provider.destroy(&name(0)).await.unwrap();
    let mut cut = 0;
    for number in 1..=40 {
        let created = tokio::time::timeout(takes * number / 40, provider.create(&spec(number))).await;
        cut += u32::from(created.is_err());
        provider.destroy(&name(number)).await.unwrap();
        assert_eq!(std::fs::read_dir(records).unwrap().count(), 0, "no record is left");
        assert_eq!(changes(&bare, &traces(environment)), [""; 0], "after {number} of 40 parts of {takes:?}");
    }
    // What came up late would be here by now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(changes(&bare, &traces(environment)), [""; 0]);
    assert!(cut >= 10, "{cut} of 40 were cut off");
}

#[test]
fn thirty_environments_come_and_go_and_leave_nothing() {
    const ENVIRONMENT: &str = "cycletest";
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(env) = RealEnv::bootstrapped(ENVIRONMENT) else { return };
    let (mut random, begun) = (Seeded(30), Instant::now());
    // Makes the layers, which stay.
    deploy_wiki(&env);
    env.run("wait --timeout 15m").succeeds();
    cycle(&env, ENVIRONMENT, Cycle::Whole, &mut random);
    let before = inventory(ENVIRONMENT);
    for round in 0..30 {
        let kind = match round % 10 {
            3 | 6 | 8 => Cycle::WhileDeploying,
            2 | 5 => Cycle::ForcedAfterKill,
            9 => Cycle::Wiki,
            _ => Cycle::Whole,
        };
        cycle(&env, ENVIRONMENT, kind, &mut random);
        assert_eq!(changes(&before, &inventory(ENVIRONMENT)), [""; 0], "after round {round}, {kind:?}");
    }
    println!("30 environments in {:?}", begun.elapsed());
}
