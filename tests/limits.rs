//! What constraints do to real machines, and containers that were put on a machine. Needs root and LXC:
//! `ENCANTO_TEST_LXC=1 cargo test --test limits`.

#![allow(clippy::disallowed_methods, reason = "tests look at the host from outside the provider")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code outside of test functions too")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use encanto::model::MachineId;
use encanto::provider::local::LocalSettings;
use encanto::provider::{ExecEnd, ExecRequest, Hardware, InstanceName, InstanceSpec, Provider, doctor, registry};
use tokio::io::AsyncReadExt as _;

const ENVIRONMENT: &str = "limits";
/// Takes 400 MB and says so.
const HOG: &str = r#"perl -e '$x = "a" x (400 * 1024 * 1024); print "has ", length $x'"#;

fn settings(folder: &Path) -> LocalSettings {
    LocalSettings { helper: env!("CARGO_BIN_EXE_encanto").into(), ..LocalSettings::new("test", ENVIRONMENT, folder) }
}

fn instance(id: MachineId) -> InstanceName {
    InstanceName::new(format!("test-{ENVIRONMENT}-{}", id.tag())).unwrap()
}

fn limited(name: &InstanceName, memory: Option<u64>, cores: Option<u32>) -> InstanceSpec {
    InstanceSpec {
        name: name.clone(),
        kind: None,
        series: "bookworm".into(),
        layers: vec![],
        memory,
        cores,
        build: false,
    }
}

/// What a script said, and how it ended.
async fn run(provider: &dyn Provider, name: &InstanceName, script: &str) -> (ExecEnd, String) {
    let request = ExecRequest { argv: ["sh", "-c", script].map(str::to_owned).into(), ..ExecRequest::default() };
    let mut run = provider.exec(name, request).await.unwrap();
    drop(run.stdin);
    let (mut out, mut err) = (String::new(), String::new());
    let (end, _, _) =
        tokio::join!(run.control.wait(), run.stdout.read_to_string(&mut out), run.stderr.read_to_string(&mut err));
    (end.unwrap(), (out + &err).trim().to_owned())
}

/// A failed run must not spoil the next.
struct CleanUp(PathBuf);

impl Drop for CleanUp {
    fn drop(&mut self) {
        let folder = self.0.clone();
        let teardown = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(registry::local(settings(&folder)).unwrap().teardown())
        });
        println!("teardown: {:?}", teardown.join());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_keep_to_their_limits() {
    if std::env::var_os("ENCANTO_TEST_LXC").is_none_or(|value| value != "1") {
        println!("skipped: real LXC machines are tried with ENCANTO_TEST_LXC=1 as root");
        return;
    }
    doctor::mend_host().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let _clean_up = CleanUp(folder.path().to_owned());
    let provider = registry::local(settings(folder.path())).unwrap();
    provider.open(Arc::new(|line| println!("  {line}"))).await.unwrap();

    let one = instance(MachineId::new(1));
    hardware_is_what_the_machine_has(&*provider, &one).await;
    who_takes_too_much_is_killed_and_nobody_else(&*provider, &one).await;
    processors_are_shared_out(&*provider, &one).await;
    provider.stop(&one).await.unwrap();
    provider.start(&one).await.unwrap();
    who_takes_too_much_is_killed_and_nobody_else(&*provider, &one).await;
    the_least_memory_is_enough(&*provider).await;
    a_console_tells_what_was_shown_and_fills_no_disk(&*provider, &one).await;
    containers_on_a_machine_are_its_neighbours(&*provider, &one, folder.path()).await;
}

async fn hardware_is_what_the_machine_has(provider: &dyn Provider, one: &InstanceName) {
    let host = provider.host_hardware();
    let made = provider.create(&limited(one, Some(128), Some(1))).await.unwrap();
    assert_eq!(made.hardware, Hardware { arch: host.arch.clone(), cores: 1, memory: 128 });
    let wide = instance(MachineId::new(9));
    let made = provider.create(&limited(&wide, Some(host.memory * 2), Some(host.cores * 2))).await.unwrap();
    assert_eq!(made.hardware, host, "no machine has more than its host");
    assert_eq!(run(provider, &wide, HOG).await, (ExecEnd::Exited(0), format!("has {}", 400 << 20)));
    provider.destroy(&wide).await.unwrap();
}

async fn who_takes_too_much_is_killed_and_nobody_else(provider: &dyn Provider, one: &InstanceName) {
    let services = format!(
        "cd /run/systemd/system && printf '[Service]\\nExecStart=sleep 1000\\n' > bystander.service && \
         printf '#!/bin/sh\\nexec %s\\n' '{}' > /run/hog && chmod +x /run/hog && \
         printf '[Service]\\nType=oneshot\\nExecStart=/run/hog\\n' > hog.service && \
         systemctl daemon-reload && systemctl start bystander && systemctl show -P MainPID bystander",
        HOG.replace('\'', "'\\''")
    );
    let (end, bystander) = run(provider, one, &services).await;
    assert!(end == ExecEnd::Exited(0) && bystander != "0", "{bystander}");
    assert_eq!(run(provider, one, HOG).await.0, ExecEnd::Exited(137));
    // A service of the machine itself, not entered by us.
    let (_, said) = run(provider, one, "systemctl start hog 2> /dev/null; systemctl show -P Result hog").await;
    assert!(["oom-kill", "signal"].contains(&said.as_str()), "{said}");
    let (_, now) = run(provider, one, "systemctl is-active -q bystander && systemctl show -P MainPID bystander").await;
    assert_eq!(now, bystander, "the bystander goes on");
    let (end, said) = run(provider, one, "systemctl stop bystander; systemctl reset-failed; cat /proc/1/comm").await;
    assert_eq!((end, said.as_str()), (ExecEnd::Exited(0), "systemd"));
}

/// Two processes that never rest get the time of one processor.
async fn processors_are_shared_out(provider: &dyn Provider, one: &InstanceName) {
    // On a busy host they would get no more anyway.
    let find = format!(
        "cat $(find /sys/fs/cgroup -path '*lxc.payload.{one}/*' -prune '(' -name cpu.max -o -name cpu.cfs_quota_us ')')"
    );
    let quota = std::process::Command::new("sh").args(["-c", &find]).output().unwrap();
    let quota = String::from_utf8_lossy(&quota.stdout).into_owned();
    assert!(quota.starts_with("100000"), "{quota}");
    let burn = r#"perl -e 'my $child = fork; my $end = time + 3; 1 while time < $end; exit if !$child; wait; my ($u, $s, $cu, $cs) = times; print $u + $s + $cu + $cs'"#;
    let begun = Instant::now();
    let (end, used) = run(provider, one, burn).await;
    assert_eq!(end, ExecEnd::Exited(0), "{used}");
    let used = Duration::from_secs_f64(used.parse().unwrap());
    assert!(used < begun.elapsed().mul_f64(1.15), "{used:?} in {:?}", begun.elapsed());
}

/// The least that a constraint may say.
async fn the_least_memory_is_enough(provider: &dyn Provider) {
    let small = instance(MachineId::new(2));
    provider.create(&limited(&small, Some(32), None)).await.unwrap();
    let (_, state) = run(provider, &small, "systemctl is-system-running --wait").await;
    assert_eq!(state, "running");
    provider.destroy(&small).await.unwrap();
}

async fn a_console_tells_what_was_shown_and_fills_no_disk(provider: &dyn Provider, one: &InstanceName) {
    let shown = console_until(provider, one, "# ").await;
    assert!(shown.contains("Reached target") && shown.contains("Multi-User System"), "{shown}");
    run(provider, one, "yes 0123456789012345678901234567890123456789 | head -c 2000000 > /dev/console").await;
    run(provider, one, "echo the last of it > /dev/console").await;
    let shown = console_until(provider, one, "the last of it").await;
    assert!(shown.starts_with("0123456789"), "whole lines: {shown}");
    let logs = ["console.log", "console.log.1"].map(|log| Path::new("/var/lib/lxc").join(one.as_str()).join(log));
    let sizes = logs.map(|log| std::fs::metadata(log).unwrap().len());
    assert!(sizes.iter().all(|size| *size <= 64 << 10), "{sizes:?}");
}

/// What a console says up to these words.
async fn console_until(provider: &dyn Provider, name: &InstanceName, words: &str) -> String {
    let mut console = provider.console(name, (80, 24)).await.unwrap();
    let mut shown = String::new();
    let reading = async {
        let mut chunk = [0; 4096];
        while !shown.contains(words) {
            let count = console.stdout.read(&mut chunk).await.unwrap();
            assert!(count > 0, "it ended: {shown}");
            shown.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    };
    let heard = tokio::time::timeout(Duration::from_secs(20), reading).await;
    assert!(heard.is_ok(), "{words:?} is not in {shown}");
    shown
}

async fn containers_on_a_machine_are_its_neighbours(provider: &dyn Provider, one: &InstanceName, folder: &Path) {
    let container = instance(MachineId::new(1).container(0));
    let made = provider.create(&limited(&container, None, None)).await.unwrap();
    let (end, found) = run(provider, one, "getent ahostsv4 machine-1-lxc-0 | head -n 1 | cut -d' ' -f1").await;
    assert_eq!((end, found), (ExecEnd::Exited(0), made.address.to_string()));
    assert_eq!(made.hardware, provider.host_hardware(), "the limits of its machine are not its own");
    provider.destroy(one).await.unwrap();
    assert_eq!(run(provider, &container, "hostname").await.1, container.as_str());

    // Whose record was lost is found by its name.
    std::fs::remove_file(folder.join(format!("lxc/instances/{container}.json"))).unwrap();
    let next = registry::local(settings(folder)).unwrap();
    next.teardown().await.unwrap();
    assert!(!Path::new("/var/lib/lxc").join(container.as_str()).exists());
}
