//! What every provider promises, tried on the simulated one always and on LXC when asked to.
//!
//! The LXC part needs root and minutes the first time (it builds an image): `ENCANTO_TEST_LXC=1 cargo test --test
//! provider_contract`.

#![allow(clippy::disallowed_methods, reason = "tests look at the host from outside the provider")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code outside of test functions too")]

#[path = "provider_contract/commands.rs"]
mod commands;
#[path = "provider_contract/network.rs"]
mod network;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use encanto::provider::local::LocalSettings;
use encanto::provider::simulated::{ExecScript, SimulatedProvider};
use encanto::provider::{
    ExecEnd, ExecRequest, FileKind, InstanceName, InstanceSpec, InstanceState, Provider, ProviderError, PublishedPort,
    WriteOptions, doctor, registry,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const ENVIRONMENT: &str = "h1contract";

fn name(text: &str) -> InstanceName {
    InstanceName::new(text).unwrap()
}

fn machine(number: u32) -> InstanceName {
    name(&format!("test-{ENVIRONMENT}-machine-{number}"))
}

fn spec(name: InstanceName) -> InstanceSpec {
    InstanceSpec {
        name,
        kind: None,
        series: "bookworm".into(),
        layers: Vec::new(),
        memory: None,
        cores: None,
        build: false,
    }
}

fn shell(script: &str) -> ExecRequest {
    ExecRequest { argv: ["sh", "-c", script].map(str::to_owned).into(), ..ExecRequest::default() }
}

struct Ended {
    end: ExecEnd,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Ended {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

async fn exec(provider: &dyn Provider, name: &InstanceName, request: ExecRequest, input: &[u8]) -> Ended {
    let mut run = provider.exec(name, request).await.unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let feed = async {
        let _ = run.stdin.write_all(input).await;
        drop(run.stdin);
    };
    let (_, out, err, end) = tokio::join!(
        feed,
        run.stdout.read_to_end(&mut stdout),
        run.stderr.read_to_end(&mut stderr),
        run.control.wait()
    );
    out.unwrap();
    err.unwrap();
    Ended { end: end.unwrap(), stdout, stderr }
}

/// Runs a script as root that must succeed.
async fn run(provider: &dyn Provider, name: &InstanceName, script: &str) -> String {
    let ended = exec(provider, name, shell(script), b"").await;
    let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.end, ExecEnd::Exited(0), "{script}: {errors}");
    ended.text()
}

// --- The contract that both keep ---

async fn life_goes_round(provider: &dyn Provider) {
    let one = machine(1);
    let created = provider.create(&spec(one.clone())).await.unwrap();
    assert_eq!(provider.create(&spec(one.clone())).await.unwrap().address, created.address);
    assert_eq!(provider.list().await.unwrap(), BTreeMap::from([(one.clone(), InstanceState::Running)]));
    provider.write_file(&one, "/srv/kept", b"data", &WriteOptions::default()).await.unwrap();
    provider.stop(&one).await.unwrap();
    provider.stop(&one).await.unwrap();
    assert_eq!(provider.list().await.unwrap()[&one], InstanceState::Stopped);
    let refused = provider.exec(&one, shell("true")).await.err();
    assert!(matches!(refused, Some(ProviderError::NotRunning { .. })), "{refused:?}");
    provider.start(&one).await.unwrap();
    provider.start(&one).await.unwrap();
    assert_eq!(provider.read_file(&one, "/srv/kept", 100).await.unwrap(), b"data");
    assert_eq!(provider.create(&spec(one.clone())).await.unwrap().address, created.address);
    provider.destroy(&one).await.unwrap();
    provider.destroy(&one).await.unwrap();
    assert!(provider.list().await.unwrap().is_empty());
    let refused = provider.exec(&one, shell("true")).await.err();
    assert!(matches!(refused, Some(ProviderError::NoInstance(_))), "{refused:?}");
}

async fn files_are_kept(provider: &dyn Provider) {
    let one = machine(1);
    provider.create(&spec(one.clone())).await.unwrap();
    let owned = WriteOptions { mode: Some(0o640), user: Some("www-data".into()), group: None };
    let binary: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    provider.write_file(&one, "/srv/a/b/file", &binary, &owned).await.unwrap();
    assert_eq!(provider.read_file(&one, "/srv/a/b/file", 300_000).await.unwrap(), binary);
    let stat = provider.stat_file(&one, "/srv/a/b/file").await.unwrap().unwrap();
    assert_eq!((stat.kind, stat.mode, stat.uid, stat.gid, stat.size), (FileKind::File, 0o640, 33, 33, 300_000));
    provider.write_file(&one, "/srv/a/b/file", b"new", &WriteOptions::default()).await.unwrap();
    let stat = provider.stat_file(&one, "/srv/a/b/file").await.unwrap().unwrap();
    assert_eq!((stat.mode, stat.uid, stat.size), (0o640, 33, 3));
    let stat = provider.stat_file(&one, "/srv/a").await.unwrap().unwrap();
    assert_eq!((stat.kind, stat.mode), (FileKind::Directory, 0o755));
    let refused = provider.read_file(&one, "/srv/a/b/file", 2).await;
    assert!(matches!(refused, Err(ProviderError::FileTooLarge { .. })), "{refused:?}");
    provider.remove_file(&one, "/srv/a").await.unwrap();
    provider.remove_file(&one, "/srv/a").await.unwrap();
    assert_eq!(provider.stat_file(&one, "/srv/a/b/file").await.unwrap(), None);
    let refused = provider.read_file(&one, "/srv/a/b/file", 2).await;
    assert!(matches!(refused, Err(ProviderError::NoFile { .. })), "{refused:?}");
    provider.destroy(&one).await.unwrap();
}

async fn a_layer_carries_over(provider: &dyn Provider, key: &str) {
    let key = key.to_owned();
    let build = name(&format!("test-{ENVIRONMENT}-build-1"));
    provider.create(&InstanceSpec { build: true, ..spec(build.clone()) }).await.unwrap();
    provider.write_file(&build, "/srv/prepared", b"yes", &WriteOptions::default()).await.unwrap();
    provider.seal(&build, &key).await.unwrap();
    provider.seal(&build, &key).await.unwrap();
    assert!(provider.has_layer(&key).await.unwrap());
    assert!(provider.list().await.unwrap().is_empty());
    let one = machine(1);
    let stacked = InstanceSpec { layers: vec![key], ..spec(one.clone()) };
    provider.create(&stacked).await.unwrap();
    assert_eq!(provider.read_file(&one, "/srv/prepared", 100).await.unwrap(), b"yes");
    provider.destroy(&one).await.unwrap();
    let unknown = InstanceSpec { layers: vec!["0".repeat(64)], ..spec(one) };
    assert!(matches!(provider.create(&unknown).await, Err(ProviderError::NoLayer(_))));
}

async fn several_at_once(provider: &dyn Provider) {
    let specs: Vec<InstanceSpec> = (1..=5).map(|number| spec(machine(number))).collect();
    let created = futures_util::future::join_all(specs.iter().map(|spec| provider.create(spec))).await;
    let addresses: std::collections::BTreeSet<_> = created.into_iter().map(|made| made.unwrap().address).collect();
    assert_eq!(addresses.len(), 5);
    assert_eq!(provider.list().await.unwrap().len(), 5);
    let ended = futures_util::future::join_all(specs.iter().map(|spec| provider.destroy(&spec.name))).await;
    ended.into_iter().for_each(|end| end.unwrap());
    assert!(provider.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_simulated_provider_keeps_the_contract() {
    let provider = SimulatedProvider::new();
    provider.open(Arc::new(|_| {})).await.unwrap();
    life_goes_round(&provider).await;
    files_are_kept(&provider).await;
    a_layer_carries_over(&provider, "aa").await;
    several_at_once(&provider).await;
    provider.teardown().await.unwrap();
    provider.teardown().await.unwrap();
}

#[tokio::test]
async fn the_simulated_provider_fails_when_told_and_answers_as_scripted() {
    let provider = SimulatedProvider::new();
    provider.fail_nth("create", 2, "no room");
    provider.create(&spec(machine(1))).await.unwrap();
    assert_eq!(provider.create(&spec(machine(2))).await.unwrap_err().to_string(), "no room");
    provider.create(&spec(machine(2))).await.unwrap();
    provider.answer_exec(|_, request| match request.argv[0].as_str() {
        "fail" => ExecScript { exit: 7, stderr: b"oh".to_vec(), ..ExecScript::default() },
        _ => ExecScript { hangs: true, ..ExecScript::default() },
    });
    let fail = ExecRequest { argv: vec!["fail".into()], ..ExecRequest::default() };
    let ended = exec(&provider, &machine(1), fail, b"").await;
    assert_eq!((ended.end, ended.stderr.as_slice()), (ExecEnd::Exited(7), &b"oh"[..]));
    let limited = ExecRequest { timeout: Some(Duration::from_millis(1)), ..shell("x") };
    assert_eq!(exec(&provider, &machine(1), limited, b"").await.end, ExecEnd::TimedOut);
    let mut run = provider.exec(&machine(1), shell("x")).await.unwrap();
    run.control.kill();
    assert_eq!(run.control.wait().await.unwrap(), ExecEnd::Exited(137));
    provider.vanish(&machine(1));
    provider.stop_behind(&machine(2));
    assert_eq!(provider.list().await.unwrap(), BTreeMap::from([(machine(2), InstanceState::Stopped)]));
}

// --- What only real machines can show ---

fn lxc_is_wanted() -> bool {
    let wanted = std::env::var_os("ENCANTO_TEST_LXC").is_some_and(|value| value == "1");
    if !wanted {
        println!("skipped: real LXC machines are tried with ENCANTO_TEST_LXC=1 as root");
    }
    wanted
}

fn host(script: &str) -> bool {
    Command::new("sh").args(["-c", script]).status().unwrap().success()
}

/// A failed run must not spoil the next.
struct CleanUp {
    folder: PathBuf,
}

impl Drop for CleanUp {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let folder = self.folder.clone();
        let teardown = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let provider = registry::local(settings(&folder)).unwrap();
            runtime.block_on(provider.teardown())
        });
        println!("after a failure: {:?}, {}", teardown.join(), host("ip netns delete h1out 2>/dev/null"));
    }
}

fn settings(folder: &Path) -> LocalSettings {
    LocalSettings { helper: env!("CARGO_BIN_EXE_encanto").into(), ..LocalSettings::new("test", ENVIRONMENT, folder) }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lxc_keeps_the_contract() {
    if !lxc_is_wanted() {
        return;
    }
    doctor::mend_host().unwrap();
    let findings = doctor::check_host();
    assert!(findings.iter().all(|finding| !finding.blocking), "{findings:?}");
    let folder = tempfile::tempdir().unwrap();
    let provider = registry::local(settings(folder.path())).unwrap();
    let begun = Instant::now();
    provider.open(Arc::new(|line| println!("  {line}"))).await.unwrap();
    println!("open: {:?}", begun.elapsed());
    provider.open(Arc::new(|_| {})).await.unwrap();
    let _clean_up = CleanUp { folder: folder.path().to_owned() };
    let layers: Vec<String> = (0..3).map(|number| format!("{ENVIRONMENT}{number}{}", std::process::id())).collect();

    life_goes_round(&*provider).await;
    files_are_kept(&*provider).await;
    a_layer_carries_over(&*provider, &layers[0]).await;
    several_at_once(&*provider).await;
    measure(&*provider).await;

    let one = machine(1);
    provider.create(&spec(one.clone())).await.unwrap();
    commands::commands_run_as_asked(&*provider, &one).await;
    commands::many_commands_run_at_once(&*provider, &one).await;
    commands::terminals_work(&*provider, &one).await;
    commands::groups_are_killed(&*provider, &one).await;
    commands::files_stay_inside(&*provider, &one).await;
    the_lifeline_holds(&*provider, &one, folder.path()).await;
    network::names_are_known(&*provider, &one).await;
    network::ports_open_and_close(&*provider, &one).await;
    deletion_by_hand_is_survived(&*provider).await;
    layers_stack(&*provider, &layers).await;
    limits_hold(&*provider).await;
    a_reboot_is_survived(&*provider, &one).await;
    a_killed_controller_leaves_nothing_undone(&*provider, folder.path()).await;

    let other = registry::local(settings(folder.path())).unwrap();
    assert_eq!(other.list().await.unwrap()[&one], InstanceState::Running, "a new controller finds its machines");
    other.teardown().await.unwrap();
    other.teardown().await.unwrap();
    for key in &layers {
        let _ = std::fs::remove_dir_all(Path::new("/var/cache/encanto/layers").join(key));
    }
    nothing_is_left();
}

async fn measure(provider: &dyn Provider) {
    let one = machine(1);
    let (mut created, mut first, mut running, mut destroyed) = (vec![], vec![], vec![], vec![]);
    for _ in 0..5 {
        let begun = Instant::now();
        provider.create(&spec(one.clone())).await.unwrap();
        created.push(begun.elapsed());
        run(provider, &one, "systemctl show -p Version").await;
        first.push(begun.elapsed());
        exec(provider, &one, shell("systemctl is-system-running --wait"), b"").await;
        running.push(begun.elapsed());
        let begun = Instant::now();
        provider.destroy(&one).await.unwrap();
        destroyed.push(begun.elapsed());
    }
    provider.create(&spec(one.clone())).await.unwrap();
    let state = exec(provider, &one, shell("systemctl is-system-running --wait; systemctl --failed"), b"").await.text();
    println!("state: {state}");
    let request = ExecRequest { argv: vec!["/bin/true".into()], ..ExecRequest::default() };
    let mut execs = vec![];
    for _ in 0..20 {
        let begun = Instant::now();
        exec(provider, &one, request.clone(), b"").await;
        execs.push(begun.elapsed());
    }
    provider.destroy(&one).await.unwrap();
    println!("create {:?}, first systemctl {:?}, running {:?}", median(created), median(first), median(running));
    println!("destroy {:?}, exec {:?}", median(destroyed), median(execs));
}

/// Another process plays the controller, and is killed while its command runs.
async fn the_lifeline_holds(provider: &dyn Provider, one: &InstanceName, folder: &Path) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "plays_a_controller_that_is_killed", "--nocapture"])
        .env("ENCANTO_TEST_VICTIM", folder)
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while commands::count(provider, one, "sleep 4324").await != "2" {
        assert!(begun.elapsed() < Duration::from_secs(10), "the command did not start");
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    commands::gone(provider, one, "sleep 4324").await;
}

#[tokio::test]
async fn plays_a_controller_that_is_killed() {
    let Some(folder) = std::env::var_os("ENCANTO_TEST_VICTIM") else { return };
    let provider = registry::local(settings(&PathBuf::from(folder))).unwrap();
    let mut run = provider.exec(&machine(1), shell("sleep 4324 & sleep 4324")).await.unwrap();
    run.control.wait().await.unwrap();
}

async fn deletion_by_hand_is_survived(provider: &dyn Provider) {
    let three = machine(3);
    let address = provider.create(&spec(three.clone())).await.unwrap().address;
    assert!(host(&format!(
        "lxc-stop -k -n {three}; lxc-destroy -n {three} 2>/dev/null; rm -f /var/lib/lxc/{three}/config"
    )));
    assert!(!provider.list().await.unwrap().contains_key(&three));
    assert_eq!(provider.create(&spec(three.clone())).await.unwrap().address, address);
    run(provider, &three, "test -x /usr/bin/apt-get").await;
    assert!(host(&format!("lxc-stop -k -n {three}")));
    assert_eq!(provider.list().await.unwrap()[&three], InstanceState::Stopped);
    provider.start(&three).await.unwrap();
    assert!(host(&format!("rm -f /var/lib/lxc/{three}/config")));
    provider.destroy(&three).await.unwrap();
}

/// Package installations on two layers, then on three: renamed folders, whiteouts, replaced files.
async fn layers_stack(provider: &dyn Provider, keys: &[String]) {
    let build = |number: usize| name(&format!("test-{ENVIRONMENT}-build-{number}"));
    let steps = [
        "apt-get install -y --no-install-recommends less >/dev/null 2>&1; mkdir -p /srv/d/e; echo 1 > /srv/d/e/f; \
         ln -s / /tmp/trap; rm -rf /var/tmp; ln -s / /var/tmp",
        "apt-get install -y --no-install-recommends nano >/dev/null 2>&1; mv /srv/d /srv/moved; mkdir /srv/d; \
         echo 2 > /srv/d/new; dpkg --remove less >/dev/null",
    ];
    for (number, step) in (1..).zip(steps) {
        let layers = keys[..number].to_vec();
        provider.create(&InstanceSpec { build: true, layers, ..spec(build(number)) }).await.unwrap();
        run(provider, &build(number), step).await;
        provider.seal(&build(number), &keys[number]).await.unwrap();
    }
    assert!(Path::new("/usr/bin/env").exists());
    let four = machine(4);
    provider.create(&InstanceSpec { layers: keys.to_vec(), ..spec(four.clone()) }).await.unwrap();
    assert_eq!(run(provider, &four, "cat /srv/moved/e/f; ls /srv/d; cat /srv/prepared").await, "1\nnew\nyes");
    let script = "! command -v less && command -v nano && mv /srv/moved/e /srv/moved/g && mv /usr/share/perl5 /srv/p && \
                  apt-get install -y --no-install-recommends less 2>&1 | tail -n1; dpkg --audit; less --version | head -n1";
    assert!(run(provider, &four, script).await.contains("less 5"));
    provider.stop(&four).await.unwrap();
    provider.start(&four).await.unwrap();
    assert_eq!(
        run(provider, &four, "cat /srv/moved/g/f; stat -c %u:%a /usr/bin/less /etc/shadow").await,
        "1\n0:755\n0:640"
    );
    assert_eq!(run(provider, &four, "cat /etc/hostname").await, four.to_string());
    provider.destroy(&four).await.unwrap();
}

async fn limits_hold(provider: &dyn Provider) {
    let five = machine(5);
    let limited = InstanceSpec { memory: Some(128), cores: Some(1), ..spec(five.clone()) };
    let made = provider.create(&limited).await.unwrap();
    assert_eq!((made.hardware.memory, made.hardware.cores), (128, 1));
    let ended = exec(provider, &five, shell("perl -e '$x = \"a\" x (400*1024*1024); print length $x'"), b"").await;
    assert_eq!(ended.end, ExecEnd::Exited(137));
    provider.destroy(&five).await.unwrap();
}

/// Takes away what a reboot does: processes, mounts, links, firewall. Everything must come again.
async fn a_reboot_is_survived(provider: &dyn Provider, one: &InstanceName) {
    let address = provider.create(&spec(one.clone())).await.unwrap().address;
    let port = PublishedPort { protocol: "tcp".into(), host_port: None, address, port: 81 };
    provider.publish(&[port]).await.unwrap();
    run(provider, one, "echo 1 > /srv/before; sync").await;
    let script = format!(
        "lxc-stop -k -n {one}; umount /var/lib/lxc/{one}/rootfs; t=$(nft list tables | grep {ENVIRONMENT}); \
         kill $(cat /run/encanto/test-{ENVIRONMENT}-*/dnsmasq.pid); rm -r /run/encanto/test-{ENVIRONMENT}-*; \
         ip link delete $(ip -j route get {address} | grep -o 'enc[0-9a-f]*' | head -n1); nft delete $t"
    );
    assert!(host(&script));
    provider.open(Arc::new(|_| {})).await.unwrap();
    assert_eq!(provider.list().await.unwrap()[one], InstanceState::Stopped);
    provider.start(one).await.unwrap();
    assert_eq!(run(provider, one, "cat /srv/before; getent ahostsv4 machine-1 | wc -l").await, "1\n3");
    assert!(host(&format!("nft list ruleset | grep -q '{address} . tcp . 81'")));
}

/// Kills a controller at any moment of a creation, and lets another one finish or clear it.
async fn a_killed_controller_leaves_nothing_undone(provider: &dyn Provider, folder: &Path) {
    let six = machine(6);
    for moment in (0..150).step_by(7) {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "plays_a_controller_that_creates", "--nocapture"])
            .env("ENCANTO_TEST_CREATOR", folder)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(moment)).await;
        victim.kill().unwrap();
        victim.wait().unwrap();
        let next = registry::local(settings(folder)).unwrap();
        if moment % 2 == 0 {
            next.create(&spec(six.clone())).await.unwrap();
            assert_eq!(run(&*next, &six, "id -u").await, "0");
        }
        next.destroy(&six).await.unwrap();
        assert!(!Path::new("/var/lib/lxc").join(six.as_str()).exists());
    }
    assert_eq!(provider.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn plays_a_controller_that_creates() {
    let Some(folder) = std::env::var_os("ENCANTO_TEST_CREATOR") else { return };
    let provider = registry::local(settings(&PathBuf::from(folder))).unwrap();
    provider.create(&spec(machine(6))).await.unwrap();
    std::future::pending::<()>().await;
}

fn nothing_is_left() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(ENVIRONMENT), "{mounts}");
    let find = format!(
        "nft list tables | grep {ENVIRONMENT}; ls /var/lib/lxc /run/encanto /var/cache/encanto/scratch | grep {ENVIRONMENT}; \
         pgrep -a 'lxc|dnsmasq|encanto' | grep {ENVIRONMENT}; pgrep -af __enter$; \
         find /sys/fs/cgroup -maxdepth 3 -name '*{ENVIRONMENT}*'; ls /sys/class/net | grep -x h1a"
    );
    let output = Command::new("sh").args(["-c", &find]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}
