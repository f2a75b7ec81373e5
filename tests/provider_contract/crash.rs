//! Controllers that are killed, hosts that are restarted, and what the next controller finds.
//!
//! A process of this same program plays the controller that is killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use encanto::provider::{InstanceState, Provider, ProviderError, PublishedPort};

use crate::bed::{Bed, Environment, controller};
use crate::tools::{counted, exec, instance, read, run, shell, shell_on_host, write};

const PART: &str = "ENCANTO_TEST_PLAYS";

/// Plays the part that was given to this process, if one was.
pub fn plays_a_part() -> bool {
    let Ok(part) = std::env::var(PART) else { return false };
    let [bed, environment, folder, machine, deed] = part.split('|').collect::<Vec<_>>()[..] else { return true };
    let bed = Bed::ALL.into_iter().find(|known| known.name() == bed).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let provider = controller(bed, environment, Path::new(folder));
        play(&*provider, bed, machine, deed).await;
        std::future::pending::<()>().await;
    });
    true
}

async fn play(provider: &dyn Provider, bed: Bed, machine: &str, deed: &str) {
    let name = instance(machine);
    match deed {
        "exec" => drop(exec(provider, &name, shell("touch /run/began; sleep 4324 & sleep 4324"), b"").await),
        "snapshot" => drop(provider.snapshot(&name, "half").await.unwrap()),
        "restore" => provider.restore(&name, "whole").await.unwrap(),
        _ => drop(provider.create(&crate::bed::spec(bed, &name)).await.unwrap()),
    }
}

struct Victim(Child);

impl Victim {
    fn begin(on: &Environment, machine: &str, deed: &str) -> Victim {
        let part = [on.bed.name(), &on.name, &on.folder.display().to_string(), machine, deed].join("|");
        let program: PathBuf = std::env::current_exe().unwrap();
        Victim(Command::new(program).env(PART, part).stdout(Stdio::null()).spawn().unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub async fn commands_die_with_their_controller(on: &Environment) {
    // One that this controller is not in: a virtual machine has one at a time.
    let one = on.fresh_machine().await;
    let victim = Victim::begin(on, one.as_str(), "exec");
    if on.bed == Bed::Kvm {
        began_by_its_own_tools(one.as_str());
    } else {
        counted(&*on.provider, &one, "sleep 4324", "2").await;
    }
    victim.kill();
    counted(&*on.provider, &one, "sleep 4324", "0").await;
}

/// Waits for the file that the command begins with, without entering the machine.
fn began_by_its_own_tools(machine: &str) {
    let question = r#"{"execute":"guest-file-open","arguments":{"path":"/run/began"}}"#;
    let ask = format!("virsh -q -c qemu:///system qemu-agent-command {machine} '{question}' >/dev/null 2>&1");
    shell_on_host(&format!("for try in $(seq 100); do {ask} && exit 0; sleep 0.2; done; exit 1"));
}

/// Kills a controller at any moment of a creation, and lets another one finish or clear it.
pub async fn a_killed_controller_leaves_nothing_undone(on: &Environment) {
    let name = on.name_of_one();
    for (round, moment) in on.bed.killing_times().into_iter().enumerate() {
        let victim = Victim::begin(on, name.as_str(), "create");
        tokio::time::sleep(Duration::from_millis(moment)).await;
        victim.kill();
        let next = on.another_controller();
        if round % 2 == 0 {
            next.create(&on.spec(&name)).await.unwrap();
            assert_eq!(run(&*next, &name, "id -u").await, "0");
        }
        next.destroy(&name).await.unwrap();
        assert!(next.list().await.unwrap().is_empty(), "after {moment} ms");
        let left = crate::host::traces(&on.name).into_iter().filter(|trace| trace.contains(name.as_str()));
        assert_eq!(left.collect::<Vec<_>>(), [""; 0], "after {moment} ms");
    }
}

pub async fn half_a_snapshot_is_none(on: &Environment) {
    let name = on.fresh_machine().await;
    let bulk = on.bed.much() / 4;
    run(
        &*on.provider,
        &name,
        &format!("head -c {bulk} /dev/urandom > /srv/bulk; sha256sum /srv/bulk > /srv/sum; sync"),
    )
    .await;
    on.provider.snapshot(&name, "whole").await.unwrap();
    for (round, moment) in on.bed.killing_times().into_iter().step_by(3).enumerate() {
        let deed = ["snapshot", "restore"][round % 2];
        let victim = Victim::begin(on, name.as_str(), deed);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        victim.kill();
        let next = on.another_controller();
        // A tool that the killed one had begun goes on, and may be about to stop the machine.
        next.stop(&name).await.unwrap();
        next.start(&name).await.unwrap();
        let listed = next.snapshots(&name).await.unwrap();
        for snapshot in listed.iter().map(|snapshot| snapshot.name.as_str()) {
            next.restore(&name, snapshot).await.unwrap();
            assert!(run(&*next, &name, "sha256sum -c /srv/sum").await.contains("OK"), "{snapshot} after {moment} ms");
        }
        next.snapshot(&name, "half").await.unwrap();
        next.restore(&name, "half").await.unwrap();
        assert!(run(&*next, &name, "sha256sum -c /srv/sum").await.contains("OK"), "{deed} after {moment} ms");
        next.drop_snapshot(&name, "half").await.unwrap();
        assert_eq!(next.snapshots(&name).await.unwrap().len(), 1);
    }
    on.provider.destroy(&name).await.unwrap();
}

pub async fn a_new_controller_finds_its_machines(on: &Environment) {
    let name = on.fresh_machine().await;
    write(&*on.provider, &name, "/srv/kept", "data").await;
    let next = on.another_controller();
    assert_eq!(next.list().await.unwrap().get(&name), Some(&InstanceState::Running));
    assert_eq!(read(&*next, &name, "/srv/kept").await, "data");
    let address = on.provider.create(&on.spec(&name)).await.unwrap().address;
    assert_eq!(next.create(&on.spec(&name)).await.unwrap().address, address);
    // One that has lost its records takes nothing for its own, and what was on it stays.
    let (records, elsewhere) = (on.folder.join("lxc/instances"), on.folder.join("elsewhere"));
    std::fs::rename(&records, &elsewhere).unwrap();
    let forgetful = on.another_controller();
    forgetful.open(Arc::new(|_| {})).await.unwrap();
    let refused = forgetful.create(&on.spec(&name)).await.unwrap_err();
    assert!(matches!(refused, ProviderError::Forgotten(_)), "{refused}");
    std::fs::rename(&elsewhere, &records).unwrap();
    assert_eq!(read(&*on.provider, &name, "/srv/kept").await, "data");
    // Even one that has lost its folder takes down what bears its name.
    std::fs::remove_dir_all(&on.folder).unwrap();
    on.another_controller().teardown().await.unwrap();
    assert!(on.provider.list().await.unwrap().is_empty());
}

/// Takes away what a reboot does: processes, mounts, links, firewall. Everything must come again.
pub async fn a_reboot_is_survived(on: &Environment) {
    let name = on.fresh_machine().await;
    let address = on.provider.create(&on.spec(&name)).await.unwrap().address;
    let port = PublishedPort { protocol: "tcp".into(), host_port: None, address, port: 81 };
    on.provider.publish(&[port]).await.unwrap();
    run(&*on.provider, &name, "echo 1 > /srv/before; sync").await;
    on.stop_behind(&name);
    // By its bridge: somebody else may have an environment of this name.
    shell_on_host(&format!(
        "grep -o '[^ ]*{name}[^ ]*' /proc/self/mounts | sort -u | grep ^/ | xargs -r umount; \
         bridge=$(ip -j route get {address} | grep -o 'enc[0-9a-f]*' | head -n1); own=${{bridge#enc}}; \
         kill $(cat /run/encanto/*-$own/dnsmasq.pid) && rm -r /run/encanto/*-$own && \
         nft delete $(nft list tables | grep $own) && ip link delete $bridge"
    ));
    let next = on.another_controller();
    next.open(Arc::new(|_| {})).await.unwrap();
    assert_eq!(next.list().await.unwrap().get(&name), Some(&InstanceState::Stopped));
    next.start(&name).await.unwrap();
    let tag = name.as_str().rsplit_once("-machine").map_or("", |(_, number)| number);
    assert_eq!(run(&*next, &name, &format!("cat /srv/before; getent ahostsv4 machine{tag} | wc -l")).await, "1\n3");
    shell_on_host(&format!("nft list ruleset | grep -q '{address} . tcp . 81'"));
}
