//! Clones and snapshots.

use encanto::provider::{ExecEnd, InstanceName, InstanceState, ProviderError};

use crate::bed::Environment;
use crate::tools::{command, count, exec, read, run, write};

async fn state(on: &Environment, name: &InstanceName) -> Option<InstanceState> {
    on.provider.list().await.unwrap().get(name).copied()
}

pub async fn a_clone_is_a_machine_of_its_own(on: &Environment) {
    let provider = &*on.provider;
    let (from, clone) = (on.fresh_machine().await, on.name_of_one());
    write(provider, &from, "/srv/data", "of the first").await;
    let made = provider.clone_instance(&from, &on.spec(&clone)).await.unwrap();
    assert_eq!(made.name, clone);
    assert_ne!(made.address, provider.create(&on.spec(&from)).await.unwrap().address);
    assert_eq!(provider.clone_instance(&from, &on.spec(&clone)).await.unwrap(), made, "once is enough");
    assert_eq!(
        (state(on, &from).await, state(on, &clone).await),
        (Some(InstanceState::Running), Some(InstanceState::Running))
    );
    assert_eq!(read(provider, &clone, "/srv/data").await, "of the first");
    write(provider, &clone, "/srv/data", "of the clone").await;
    assert_eq!(read(provider, &from, "/srv/data").await, "of the first", "the source is untouched");
    provider.destroy(&from).await.unwrap();
    provider.stop(&clone).await.unwrap();
    provider.start(&clone).await.unwrap();
    assert_eq!(read(provider, &clone, "/srv/data").await, "of the clone", "it needs its source no more");
    let nobody = provider.clone_instance(&from, &on.spec(&on.name_of_one())).await;
    assert!(matches!(nobody, Err(ProviderError::NoInstance(_))), "{nobody:?}");
    provider.destroy(&clone).await.unwrap();
}

pub async fn a_clone_has_a_name_and_an_id_of_its_own(on: &Environment) {
    let provider = &*on.provider;
    let (from, clone) = (on.fresh_machine().await, on.name_of_one());
    let mut at_work = provider.exec(&from, command(&["sleep", "4328"])).await.unwrap();
    run(provider, &from, "echo kept > /srv/data; mkdir -p /srv/a; chown 33:33 /srv/a").await;
    let made = provider.clone_instance(&from, &on.spec(&clone)).await.unwrap();
    let asked = "hostname; cat /etc/hostname; cat /srv/data; stat -c %u:%g /srv/a";
    assert_eq!(run(provider, &clone, asked).await, format!("{clone}\n{clone}\nkept\n33:33"));
    let addresses = run(provider, &clone, "hostname -I").await;
    assert!(addresses.split_whitespace().any(|shown| shown == made.address.to_string()), "{addresses}");
    let ids = (run(provider, &from, "cat /etc/machine-id").await, run(provider, &clone, "cat /etc/machine-id").await);
    assert_ne!(ids.0, ids.1);
    assert_eq!(ids.1.len(), 32, "{}", ids.1);
    assert_eq!(count(provider, &from, "sleep 4328").await, "1", "the source worked on");
    assert_eq!(count(provider, &clone, "sleep 4328").await, "0", "the clone is as after a power cut");
    at_work.control.kill();
    at_work.control.wait().await.unwrap();
    // Both reach each other: neither has what belongs to the other.
    assert!(run(provider, &from, &format!("ping -c1 -W5 {}", made.address)).await.contains(" 0% packet loss"));
    provider.destroy(&from).await.unwrap();
    provider.destroy(&clone).await.unwrap();
}

pub async fn a_stopped_machine_is_cloned(on: &Environment) {
    let provider = &*on.provider;
    let (from, clone) = (on.fresh_machine().await, on.name_of_one());
    write(provider, &from, "/srv/data", "kept").await;
    provider.stop(&from).await.unwrap();
    provider.clone_instance(&from, &on.spec(&clone)).await.unwrap();
    assert_eq!(
        (state(on, &from).await, state(on, &clone).await),
        (Some(InstanceState::Stopped), Some(InstanceState::Running))
    );
    assert_eq!(read(provider, &clone, "/srv/data").await, "kept");
    provider.destroy(&from).await.unwrap();
    provider.destroy(&clone).await.unwrap();
}

async fn kept(on: &Environment, name: &InstanceName) -> Vec<String> {
    let snapshots = on.provider.snapshots(name).await.unwrap();
    assert!(snapshots.iter().all(|snapshot| snapshot.taken > 1_600_000_000_000), "{snapshots:?}");
    snapshots.into_iter().map(|snapshot| snapshot.name).collect()
}

pub async fn snapshots_are_given_back(on: &Environment) {
    let provider = &*on.provider;
    let name = on.fresh_machine().await;
    let address = provider.create(&on.spec(&name)).await.unwrap().address;
    assert_eq!(kept(on, &name).await, [""; 0]);
    write(provider, &name, "/srv/data", "first").await;
    let taken = provider.snapshot(&name, "zero").await.unwrap();
    assert_eq!((taken.name.as_str(), state(on, &name).await), ("zero", Some(InstanceState::Running)));
    write(provider, &name, "/srv/data", "second").await;
    write(provider, &name, "/srv/more", "second").await;
    provider.snapshot(&name, "a.second-1").await.unwrap();
    assert_eq!(kept(on, &name).await, ["zero", "a.second-1"], "the oldest first");
    write(provider, &name, "/srv/data", "third").await;
    assert_eq!(provider.snapshot(&name, "zero").await.unwrap(), taken, "what is kept is not taken again");

    for _ in 0..2 {
        provider.restore(&name, "zero").await.unwrap();
        assert_eq!(state(on, &name).await, Some(InstanceState::Running));
        assert_eq!(read(provider, &name, "/srv/data").await, "first");
        assert_eq!(provider.stat_file(&name, "/srv/more").await.unwrap(), None);
        write(provider, &name, "/srv/data", "spoiled").await;
    }
    provider.restore(&name, "a.second-1").await.unwrap();
    assert_eq!(read(provider, &name, "/srv/more").await, "second");
    assert_eq!(provider.create(&on.spec(&name)).await.unwrap().address, address);
    assert_eq!(exec(provider, &name, command(&["true"]), b"").await.end, ExecEnd::Exited(0));

    provider.drop_snapshot(&name, "zero").await.unwrap();
    provider.drop_snapshot(&name, "zero").await.unwrap();
    assert_eq!(kept(on, &name).await, ["a.second-1"]);
    let gone = provider.restore(&name, "zero").await.unwrap_err();
    assert!(gone.to_string().contains("zero"), "{gone}");
    assert_eq!(read(provider, &name, "/srv/more").await, "second", "a refusal changes nothing");
    provider.destroy(&name).await.unwrap();
}

pub async fn a_snapshot_of_a_stopped_machine(on: &Environment) {
    let provider = &*on.provider;
    let name = on.fresh_machine().await;
    write(provider, &name, "/srv/data", "first").await;
    provider.stop(&name).await.unwrap();
    provider.snapshot(&name, "still").await.unwrap();
    assert_eq!(state(on, &name).await, Some(InstanceState::Stopped));
    provider.start(&name).await.unwrap();
    write(provider, &name, "/srv/data", "second").await;
    provider.stop(&name).await.unwrap();
    provider.restore(&name, "still").await.unwrap();
    assert_eq!(state(on, &name).await, Some(InstanceState::Stopped), "what does not run is not started");
    provider.start(&name).await.unwrap();
    assert_eq!(read(provider, &name, "/srv/data").await, "first");
    provider.destroy(&name).await.unwrap();
}

pub async fn snapshots_go_with_their_machine(on: &Environment) {
    let name = on.fresh_machine().await;
    on.provider.snapshot(&name, "old").await.unwrap();
    on.provider.destroy(&name).await.unwrap();
    let nobody = on.provider.snapshots(&name).await;
    assert!(matches!(nobody, Err(ProviderError::NoInstance(_))), "{nobody:?}");
    on.provider.create(&on.spec(&name)).await.unwrap();
    assert_eq!(kept(on, &name).await, [""; 0]);
    on.provider.destroy(&name).await.unwrap();
}

pub async fn bad_snapshots_are_refused(on: &Environment) {
    let name = on.machine().await;
    for bad in ["", ".", "..", "../../x", "a/b", "a b", "-a", "ü"] {
        let refused = on.provider.snapshot(&name, bad).await;
        assert!(refused.is_err(), "{bad:?}");
        assert!(on.provider.restore(&name, bad).await.is_err(), "{bad:?}");
    }
    let nobody = on.provider.snapshot(&on.name_of_one(), "x").await;
    assert!(matches!(nobody, Err(ProviderError::NoInstance(_))), "{nobody:?}");
}
