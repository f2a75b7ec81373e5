//! Files into a real machine and out of it.
//!
//! Needs root and a minute: `ENCANTO_TEST_LXC=1 cargo test --test scp`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code outside of test functions too")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use support::Env;

const ENVIRONMENT: &str = "scptest";

/// Ends the environment whatever becomes of the test.
struct Host(Env);

impl Drop for Host {
    fn drop(&mut self) {
        self.0.run(&format!("destroy-environment {ENVIRONMENT} -y --force"));
    }
}

fn bootstrapped() -> Host {
    let env = Env::bare();
    env.run("init").succeeds();
    let settings = env.read("home/environments.yaml");
    let own = format!("environments:\n  {ENVIRONMENT}:\n    type: local\n");
    env.write("home/environments.yaml", &settings.replace("environments:\n", &own));
    env.run(&format!("switch {ENVIRONMENT}")).succeeds();
    let host = Host(env);
    host.0.run("bootstrap --wait=15m").succeeds();
    host
}

fn mode(env: &Env, name: &str) -> u32 {
    fs::metadata(env.path(name)).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_and_folders_go_in_and_come_out_as_they_were() {
    if std::env::var_os("ENCANTO_TEST_LXC").is_none_or(|value| value != "1") {
        println!("skipped: real machines are tried with ENCANTO_TEST_LXC=1 as root");
        return;
    }
    let host = bootstrapped();
    let env = &host.0;
    env.run("add-machine --wait=5m").succeeds();

    // Every byte, and more of them than any buffer on the way holds.
    let much: Vec<u8> = (0..9_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(env.path("much"), &much).unwrap();
    fs::set_permissions(env.path("much"), fs::Permissions::from_mode(0o751)).unwrap();
    env.run("scp much 1:/srv").succeeds().stdout_is("").stderr_is("");
    env.run("ssh 1 stat -c %a:%s:%U /srv/much").succeeds().stdout_is("751:9000000:root\n");
    env.run("scp 1:/srv/much back").succeeds().stdout_is("").stderr_is("");
    assert!(fs::read(env.path("back")).unwrap() == much);
    assert_eq!(mode(env, "back"), 0o751);

    // What is there keeps its owner; nothing is left beside it.
    env.run("ssh 1 'chown www-data /srv/much'").succeeds();
    env.write("little", "hello");
    env.run("scp little 1:/srv/much").succeeds();
    env.run("ssh 1 'cat /srv/much; stat -c :%U /srv/much; ls /srv'").succeeds().stdout_is("hello:www-data\nmuch\n");
    env.run("scp little 1:").succeeds();
    env.run("ssh 1 cat /root/little").succeeds().stdout_is("hello");

    let long = format!("site/{}/{}", "d".repeat(90), "f".repeat(90));
    env.write(&long, "long").write("site/a b'c", "").write("site/empty/x", "");
    fs::remove_file(env.path("site/empty/x")).unwrap();
    fs::set_permissions(env.path("site/empty"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("a b'c", env.path("site/link")).unwrap();
    env.run("scp -r site 1:/srv").succeeds().stdout_is("").stderr_is("");
    env.run("ssh 1 'readlink /srv/site/link; stat -c %a /srv/site/empty'").succeeds().stdout_is("a b'c\n700\n");
    env.run("scp -r 1:/srv/site copy").succeeds().stdout_is("").stderr_is("");
    assert_eq!(env.read(&long.replacen("site", "copy", 1)), "long");
    assert_eq!(fs::read_link(env.path("copy/link")).unwrap().to_str(), Some("a b'c"));
    assert_eq!(mode(env, "copy/empty"), 0o700);

    fs::create_dir(env.path("seen")).unwrap();
    env.run("scp 1:/etc/hostname 1:/srv/much seen").succeeds().stdout_is("").stderr_is("");
    assert_eq!(env.read("seen/much"), "hello");
    env.run("scp -r seen little 1:/opt").succeeds().stdout_is("").stderr_is("");
    env.run("scp seen/hostname seen/much 1:").succeeds();
    let same = "ssh 1 'cmp /opt/seen/hostname /etc/hostname && cmp /root/hostname /etc/hostname && cat /opt/little'";
    env.run(same).succeeds().stdout_is("hello");

    for (line, why) in [
        ("scp -r site little 1:/no", "error: 1:/no/.: no such folder: /no\n"),
        ("scp little nothing 1:/mnt", "error: cannot read \"nothing\": no such file or directory\n"),
        ("scp 1:/etc/hosts 1:/etc/hostname no", "error: \"no\" is no folder: several files need one\n"),
        ("scp 1:/nothing .", "error: 1:/nothing: no such file or folder\n"),
        ("scp 1:/srv .", "error: 1:/srv: is a folder: give -r to copy it\n"),
        ("scp little 1:/no/where", "error: 1:/no/where: no such folder: /no\n"),
        ("scp -r site 1:/srv/much", "error: 1:/srv/much: is no folder: /srv/much\n"),
        ("scp 1:/dev/null .", "error: 1:/dev/null: is no file\n"),
        ("scp 1:/etc/hostname no/where", "error: cannot write \"no/where\": no such file or directory\n"),
        ("scp little 0:/tmp", "error: machine 0 is this host\nhint: open a terminal instead\n"),
    ] {
        env.run(line).fails().stdout_is("").stderr_is(why);
    }
    env.run("ssh 1 ls /mnt").succeeds().stdout_is("");
    env.run(&format!("destroy-environment {ENVIRONMENT} -y")).succeeds();
}
