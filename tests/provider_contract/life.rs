//! Machines come, stop, start, end and vanish.

use std::collections::BTreeSet;
use std::time::Duration;

use encanto::provider::{ExecEnd, InstanceName, InstanceSpec, InstanceState, ProviderError};
use futures_util::future::join_all;

use crate::bed::{Bed, Environment};
use crate::tools::{command, exec, read, run, shell, try_to_finish, write};

pub async fn a_machine_is_made_once(on: &Environment) {
    let name = on.name_of_one();
    let made = on.provider.create(&on.spec(&name)).await.unwrap();
    let again = on.provider.create(&on.spec(&name)).await.unwrap();
    assert_eq!((&again, &made.name), (&made, &name));
    assert!(made.hardware.cores > 0 && made.hardware.memory > 0 && !made.hardware.arch.is_empty(), "{made:?}");
    assert_eq!(on.provider.list().await.unwrap().get(&name), Some(&InstanceState::Running));
    let other = on.name_of_one();
    assert_ne!(on.provider.create(&on.spec(&other)).await.unwrap().address, made.address);
    on.provider.destroy(&name).await.unwrap();
    on.provider.destroy(&other).await.unwrap();
}

pub async fn the_machine_comes_up_whole(on: &Environment) {
    let name = on.machine().await;
    let asked = shell("systemctl is-system-running --wait; systemctl --failed --no-legend");
    assert_eq!(exec(&*on.provider, &name, asked, b"").await.text(), "running");
    assert_eq!(run(&*on.provider, &name, "id -u; hostname; cat /etc/hostname").await, format!("0\n{name}\n{name}"));
    let address = on.provider.create(&on.spec(&name)).await.unwrap().address;
    let shown = run(&*on.provider, &name, "hostname -I").await;
    assert!(shown.split_whitespace().any(|shown| shown == address.to_string()), "{shown}, not {address}");
}

pub async fn a_stop_keeps_data_and_address(on: &Environment) {
    let name = on.name_of_one();
    let made = on.provider.create(&on.spec(&name)).await.unwrap();
    write(&*on.provider, &name, "/srv/kept", "data").await;
    on.provider.stop(&name).await.unwrap();
    on.provider.stop(&name).await.unwrap();
    assert_eq!(on.provider.list().await.unwrap().get(&name), Some(&InstanceState::Stopped));
    on.provider.start(&name).await.unwrap();
    on.provider.start(&name).await.unwrap();
    assert_eq!(read(&*on.provider, &name, "/srv/kept").await, "data");
    // Creating what is stopped starts it.
    on.provider.stop(&name).await.unwrap();
    assert_eq!(on.provider.create(&on.spec(&name)).await.unwrap(), made);
    assert_eq!(read(&*on.provider, &name, "/srv/kept").await, "data");
    on.provider.destroy(&name).await.unwrap();
}

pub async fn a_destroyed_machine_is_gone(on: &Environment) {
    let name = on.fresh_machine().await;
    write(&*on.provider, &name, "/srv/old", "data").await;
    on.provider.destroy(&name).await.unwrap();
    on.provider.destroy(&name).await.unwrap();
    assert!(!on.provider.list().await.unwrap().contains_key(&name));
    // A new one of that name has nothing of the old one.
    on.provider.create(&on.spec(&name)).await.unwrap();
    assert_eq!(on.provider.stat_file(&name, "/srv/old").await.unwrap(), None);
    on.provider.stop(&name).await.unwrap();
    on.provider.destroy(&name).await.unwrap();
    assert!(!on.provider.list().await.unwrap().contains_key(&name));
}

pub async fn a_stranger_is_told_apart(on: &Environment) {
    let nobody = on.name_of_one();
    let provider = &on.provider;
    let refusals = [
        provider.exec(&nobody, command(&["true"])).await.err(),
        provider.start(&nobody).await.err(),
        provider.stop(&nobody).await.err(),
        provider.read_file(&nobody, "/etc/hostname", 100).await.err(),
        provider.stat_file(&nobody, "/etc/hostname").await.err(),
        provider.remove_file(&nobody, "/etc/hostname").await.err(),
    ];
    for (at, refused) in refusals.into_iter().enumerate() {
        assert!(matches!(refused, Some(ProviderError::NoInstance(_))), "{at}: {refused:?}");
    }
    provider.destroy(&nobody).await.unwrap();
    provider.ended(&nobody).await;
}

pub async fn the_end_is_told(on: &Environment) {
    let name = on.fresh_machine().await;
    let mut ended = std::pin::pin!(on.provider.ended(&name));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut ended).await;
    assert!(early.is_err(), "it runs, and was told to have ended");
    on.stop_behind(&name);
    let told = tokio::time::timeout(Duration::from_secs(10), &mut ended).await;
    assert!(told.is_ok(), "its end was not told");
    // At once when there is nothing to wait for.
    tokio::time::timeout(Duration::from_secs(10), on.provider.ended(&name)).await.unwrap();
    on.provider.destroy(&name).await.unwrap();
}

pub async fn a_restart_from_inside_is_no_end(on: &Environment) {
    let name = on.fresh_machine().await;
    run(&*on.provider, &name, "echo kept > /srv/before; echo lost > /run/before; sync").await;
    let mut ended = std::pin::pin!(on.provider.ended(&name));
    // It may be gone before it answers.
    if let Ok(mut asked) = on.provider.exec(&name, command(&["systemctl", "reboot", "--force"])).await {
        let _ = tokio::time::timeout(Duration::from_secs(5), asked.control.wait()).await;
    }
    tokio::select! {
        () = &mut ended => panic!("a restart was told as an end"),
        () = comes_again(on, &name) => {}
    }
    on.provider.destroy(&name).await.unwrap();
}

/// The machine takes commands, has forgotten `/run/before`, and has kept `/srv/before`.
async fn comes_again(on: &Environment, name: &InstanceName) {
    let again = async {
        loop {
            let look = shell("test ! -e /run/before && cat /srv/before");
            if let Ok(asked) = on.provider.exec(name, look).await {
                let asked = tokio::time::timeout(Duration::from_secs(10), try_to_finish(asked, b"")).await;
                if matches!(asked, Ok(Ok(ended)) if ended.text() == "kept") {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(on.bed.while_it_boots(), again).await.expect("it comes again");
}

/// Else it would run and answer nobody, and whatever was begun in it would never end.
pub async fn one_whose_kernel_gives_up_boots_again(on: &Environment) {
    let name = on.fresh_machine().await;
    run(&*on.provider, &name, "echo kept > /srv/before; echo lost > /run/before; sync").await;
    let mut last = on.provider.exec(&name, shell("echo c > /proc/sysrq-trigger; sleep 4329")).await.unwrap();
    let ended = tokio::time::timeout(on.bed.while_it_boots(), last.control.wait()).await;
    ended.expect("its commands end").unwrap_err();
    comes_again(on, &name).await;
    on.provider.destroy(&name).await.unwrap();
}

/// They keep files of the kernel open and read them again.
pub async fn the_usual_tools_look_around(on: &Environment) {
    let name = on.machine().await;
    assert_eq!(run(&*on.provider, &name, "free -m | grep -c ^Mem; ps aux 2>&1 >/dev/null").await, "1");
}

pub async fn a_stop_behind_our_back_is_seen(on: &Environment) {
    let name = on.fresh_machine().await;
    let address = on.provider.create(&on.spec(&name)).await.unwrap().address;
    on.stop_behind(&name);
    assert_eq!(on.provider.list().await.unwrap().get(&name), Some(&InstanceState::Stopped));
    let refused = on.provider.exec(&name, command(&["true"])).await.err();
    assert!(matches!(refused, Some(ProviderError::NotRunning { .. })), "{refused:?}");
    on.provider.stop(&name).await.unwrap();
    on.provider.start(&name).await.unwrap();
    exec(&*on.provider, &name, command(&["true"]), b"").await;
    assert_eq!(on.provider.create(&on.spec(&name)).await.unwrap().address, address);
    on.provider.destroy(&name).await.unwrap();
}

pub async fn a_deletion_behind_our_back_is_survived(on: &Environment) {
    let name = on.fresh_machine().await;
    on.delete_behind(&name);
    assert!(!on.provider.list().await.unwrap().contains_key(&name));
    let refused = on.provider.exec(&name, command(&["true"])).await.err();
    assert!(matches!(refused, Some(ProviderError::NoInstance(_))), "{refused:?}");
    on.provider.create(&on.spec(&name)).await.unwrap();
    exec(&*on.provider, &name, command(&["true"]), b"").await;
    on.delete_behind(&name);
    on.provider.destroy(&name).await.unwrap();
}

pub async fn machines_are_made_at_once(on: &Environment) {
    let specs: Vec<InstanceSpec> = (0..on.bed.many()).map(|_| on.spec(&on.name_of_one())).collect();
    let made = join_all(specs.iter().map(|spec| on.provider.create(spec))).await;
    let addresses: BTreeSet<_> = made.into_iter().map(|made| made.unwrap().address).collect();
    assert_eq!(addresses.len(), specs.len());
    let trues = join_all(specs.iter().map(|spec| exec(&*on.provider, &spec.name, command(&["true"]), b""))).await;
    assert!(trues.iter().all(|ended| ended.end == ExecEnd::Exited(0)));
    let listed = on.provider.list().await.unwrap();
    assert!(specs.iter().all(|spec| listed.get(&spec.name) == Some(&InstanceState::Running)), "{listed:?}");
    let ended = join_all(specs.iter().map(|spec| on.provider.destroy(&spec.name))).await;
    ended.into_iter().for_each(|end| end.unwrap());
    let listed = on.provider.list().await.unwrap();
    assert!(!specs.iter().any(|spec| listed.contains_key(&spec.name)), "{listed:?}");
}

pub async fn an_unknown_kind_is_refused(on: &Environment) {
    let name = on.name_of_one();
    let kinds = on.provider.kinds();
    assert!(on.bed.kind().is_none_or(|own| kinds.iter().any(|kind| kind.name == own)), "{kinds:?}");
    let odd = InstanceSpec { kind: Some("zeppelin".into()), ..on.spec(&name) };
    let refused = on.provider.create(&odd).await.unwrap_err();
    assert!(matches!(refused, ProviderError::UnknownKind { .. }), "{refused:?}");
    assert!(kinds.iter().all(|kind| refused.to_string().contains(kind.name)), "{refused}");
    assert!(!on.provider.list().await.unwrap().contains_key(&name));
}

pub async fn limits_hold(on: &Environment) {
    let name = on.name_of_one();
    let megabytes = if on.bed.is_container() { 128 } else { 320 };
    let limited = InstanceSpec { memory: Some(megabytes), cores: Some(1), ..on.spec(&name) };
    let made = on.provider.create(&limited).await.unwrap();
    assert_eq!((made.hardware.memory, made.hardware.cores), (megabytes, 1));
    if on.bed == Bed::Kvm {
        assert_eq!(run(&*on.provider, &name, "nproc").await, "1");
        let total = run(&*on.provider, &name, "sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo").await;
        assert!(total.parse::<u64>().unwrap() <= megabytes * 1024, "{total} kB");
    } else {
        let greedy = shell("perl -e '$x = \"a\" x (400*1024*1024); print length $x'");
        assert_eq!(exec(&*on.provider, &name, greedy, b"").await.end, ExecEnd::Exited(137));
    }
    on.provider.destroy(&name).await.unwrap();
}

/// With a file that only an orderly end keeps, whatever it is written through.
pub async fn whoever_is_held_still_is_shut_down_all_the_same(on: &Environment) {
    let name = on.fresh_machine().await;
    write(&*on.provider, &name, "/srv/kept", "data").await;
    on.freeze_behind(&name);
    let stopped = tokio::time::timeout(on.bed.while_it_boots(), on.provider.stop(&name)).await;
    stopped.expect("it ends soon").unwrap();
    assert_eq!(on.provider.list().await.unwrap().get(&name), Some(&InstanceState::Stopped));
    on.provider.start(&name).await.unwrap();
    assert_eq!(read(&*on.provider, &name, "/srv/kept").await, "data");
    on.provider.destroy(&name).await.unwrap();
}

pub async fn whoever_is_held_still_is_destroyed_all_the_same(on: &Environment) {
    let name = on.fresh_machine().await;
    on.freeze_behind(&name);
    let destroyed = tokio::time::timeout(on.bed.while_it_boots(), on.provider.destroy(&name)).await;
    destroyed.expect("it ends soon").unwrap();
    assert!(!on.provider.list().await.unwrap().contains_key(&name));
}
