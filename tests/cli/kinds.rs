//! Machines of several kinds, as an operator types and sees them.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Env, Running};

#[test]
fn kinds_are_chosen_by_a_word_and_told_by_status() {
    let env = Running::bootstrapped();
    env.run("add-machine").succeeds().stderr_is("created machine 1\n");
    env.run("add-machine kvm").succeeds().stderr_is("created machine 2\n");
    env.run("add-machine --constraints virt-type=libvirt-lxc")
        .succeeds()
        .stderr_is("created machine 3\nlibvirt-lxc: a real one is privileged: root in it is root on its host\n");
    env.run("wait --timeout 30s").succeeds();
    let status = env.status();
    let kind = |machine: &str| status["machines"][machine]["virt-type"].as_str();
    assert_eq!(["0", "1", "2", "3"].map(kind), [None, Some("lxc"), Some("kvm"), Some("libvirt-lxc")]);
    assert_eq!(status["cautions"]["libvirt-lxc"], "a real one is privileged: root in it is root on its host");
    let table = env.run("status --format tabular").succeeds().stdout;
    let ends: Vec<&str> = table.lines().rev().take(6).map(|line| &line[line.find(" mem=").unwrap_or(0)..]).collect();
    assert_eq!(
        ends,
        [
            "libvirt-lxc: a real one is privileged: root in it is root on its host",
            "",
            " mem=8192M virt-type=libvirt-lxc",
            " mem=8192M virt-type=kvm",
            " mem=8192M",
            " mem=8192M",
        ]
    );
}

#[test]
fn a_kind_that_is_not_there_is_refused_with_those_that_are() {
    let env = Running::bootstrapped();
    env.run("add-machine kwm").fails().stdout_is("").stderr_is(
        "error: malformed container argument \"kwm\"\n\
         hint: a kind of machine: `lxc`, `libvirt-lxc` or `kvm`\n\
         hint: `encanto add-machine` makes a machine, `encanto add-machine lxc:1` a container on machine 1\n",
    );
    env.run("add-machine kvm:0").fails().stderr_is(
        "error: cannot put a virtual machine on machine 0\n\
         hint: `lxc:0` makes a container on machine 0\n\
         hint: `kvm` makes a machine of its own: it would be no part of machine 0 anyway\n",
    );
    env.run("add-machine --constraints container=kvm").fails().stderr_is(
        "error: container constraint \"kvm\" not allowed when adding a machine\n\
         hint: `encanto add-machine kvm` makes a machine of that kind\n\
         hint: `encanto add-machine lxc:1` makes a container on machine 1\n",
    );
    env.run("set-constraints virt-type=xen")
        .fails()
        .stderr_is("error: there is no kind of machines \"xen\" here\nhint: kinds: lxc, libvirt-lxc, kvm\n");
    env.run("set-constraints container=xen").fails().stderr_is(
        "error: bad \"container\" constraint: invalid container type \"xen\"\nhint: container types: lxc, kvm, none\n",
    );
    env.run("set-constraints container=lxc virt-type=kvm")
        .fails()
        .stderr_is("error: cannot satisfy container=lxc with virt-type=kvm\nhint: `virt-type` alone says all\n");
    assert_eq!(env.status()["machines"].as_object().unwrap().len(), 1);
}

#[test]
fn a_host_that_ssh_does_not_reach_is_told_in_its_words() {
    let env = Env::bare();
    let far = "environments: {far: {type: libvirt, uri: 'qemu+ssh://ana@big.example.org:2222/system'}}\n";
    env.write("home/environments.yaml", far);
    env.write("bin/ssh", "#!/bin/sh\necho 'ana@big.example.org: Permission denied (publickey).' >&2\nexit 255\n");
    std::fs::set_permissions(env.path("bin/ssh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", env.path("bin").display());
    let env = env.with("PATH", &path);
    env.run("doctor").fails().stdout_is(
        "✗ no way to big.example.org: ana@big.example.org: Permission denied (publickey).\n    \
         let your key in: ssh-copy-id; `ssh -p 2222 ana@big.example.org` must log in without a question\n",
    );
    env.run("bootstrap").fails();
    assert!(!env.path("home/far").exists());
    env.run("status").fails().stderr_has("environment \"far\" is not bootstrapped");
}

#[test]
fn another_host_is_reached_by_ssh_or_not_at_all() {
    let env = Env::bare();
    env.write("home/environments.yaml", "environments: {far: {type: libvirt, uri: 'qemu+tcp://big/system'}}\n");
    env.run("bootstrap").fails().stderr_has("another host is reached by ssh only, as in `qemu+ssh://root@host/system`");
    env.write("home/environments.yaml", "environments: {far: {type: remote}}\n");
    env.run("bootstrap").fails().stderr_has("`type: remote` needs a `uri:` like `ssh://root@host`");
}
