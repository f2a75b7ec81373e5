//! The main job again, with machines of libvirt: a wiki in its containers, and a wiki whose database has a kernel of
//! its own.
//!
//! Needs root, libvirtd and some minutes: `ENCANTO_TEST_LIBVIRT=1 cargo test --test libvirt`.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions too")]

mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

use support::RealEnv;
use support::host::{browse, soon, tool, traces};
use support::wiki::{Host, PUBLISHED, another_host, browse_from_outside};

/// Both have the same neighbour on the network, and neither is to be slowed down by the other.
static TURN: Mutex<()> = Mutex::new(());

fn bootstrapped(name: &'static str, settings: &str) -> Option<(MutexGuard<'static, ()>, Host)> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = traces(name);
    Some((turn, Host::new(RealEnv::of_libvirt(name, settings)?, name, before)))
}

fn virsh(uri: &str) -> String {
    tool("virsh", &["-c", uri, "list", "--name"])
}

#[test]
fn a_wiki_and_a_blog_in_containers_of_libvirt() {
    let Some((_turn, host)) = bootstrapped("virttest", "type: libvirt\nuri: lxc:///") else { return };
    host.a_wiki_and_a_blog(|| virsh("lxc:///"));
}

/// One environment, two hypervisors: neither the units nor their operator see a difference.
#[test]
fn a_wiki_in_a_container_with_its_database_on_a_virtual_machine() {
    let Some((_turn, host)) = bootstrapped("mixedtest", "type: local") else { return };
    host.run("deploy mysql --constraints 'virt-type=kvm mem=1G cpu-cores=2'").succeeds();
    host.run("deploy mediawiki").succeeds();
    host.run("add-relation mediawiki mysql").succeeds();
    host.run("wait --timeout 15m").succeeds();
    assert!(virsh("qemu:///system").contains("-mixedtest-machine-1"));
    assert!(tool("lxc-ls", &["-1"]).contains("-mixedtest-machine-2"));

    let url = host.the_wiki_is_there();
    host.what_is_written_is_shown(&url);
    another_host();
    host.run("expose mediawiki --publish 18080:80").succeeds();
    soon("the published port", || browse_from_outside(PUBLISHED).starts_with(['2', '3']));

    operators_see_no_difference(&host);

    // It goes on without its controller, and with the next one.
    host.kill_controller();
    assert!(browse(&url).1.contains("Encanto test wiki"), "the machines do not need it");
    host.run("controller start").succeeds();
    host.run("wait --timeout 5m").succeeds();
    host.run("ssh mysql/0 true").succeeds();

    host.run("destroy-service mediawiki").succeeds();
    host.run("destroy-service mysql").succeeds();
    host.run("wait mysql --for gone --timeout 5m").succeeds();
    host.run("destroy-machine 1 2 --wait=5m").succeeds();
    assert!(!virsh("qemu:///system").contains("-mixedtest-"));
    host.nothing_is_left();
}

fn operators_see_no_difference(host: &Host) {
    let status = host.status();
    for machine in ["1", "2"] {
        assert_eq!(status["machines"][machine]["agent-state"], "started", "{status}");
    }
    host.run("status").succeeds().stdout_has("kvm");
    let kernel = host.run("ssh mysql/0 uname -r").succeeds().stdout;
    assert_ne!(kernel, host.run("ssh mediawiki/0 uname -r").succeeds().stdout, "a kernel of its own");
    assert_eq!(host.run("ssh mysql/0 'exit 7'").code, Some(7));
    let much = "a line of some length\n".repeat(50_000);
    host.write("much", &much);
    host.run("scp much mysql/0:/srv/much").succeeds();
    host.run("scp mysql/0:/srv/much back").succeeds();
    assert_eq!(host.read("back"), much);
    host.run("debug-log --no-tail --replay -i unit-mysql-0").succeeds().stdout_has("unit-mysql-0");
}
