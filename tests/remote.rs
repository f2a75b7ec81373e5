//! Machines on another host. It is this one, reached through an ssh server of the test's own.
//!
//! Needs root, LXC and OpenSSH: `ENCANTO_TEST_LXC=1 cargo test --test remote`; with libvirt, too:
//! `ENCANTO_TEST_LIBVIRT=1`.

#![allow(clippy::disallowed_methods, reason = "tests look at the host from outside the provider")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use support::host::{browse, soon, tool, traces};
use support::{Env, RealEnv};

const ENVIRONMENT: &str = "fartest";
const VIRTUAL: &str = "farvirt";

/// One at a time: what is on the host is compared before and after.
static TURN: Mutex<()> = Mutex::new(());

/// Answers on a port. The first time it is installed it takes very long.
const CHARM: &str = r#"
local server = [[
use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalPort => 8099, Listen => 5, ReuseAddr => 1) or die;
while (my $c = $s->accept) { while (<$c>) { last if /^\r?$/ } print $c "HTTP/1.0 200 OK\r\n\r\nhello"; close $c }
]]
local unit_file = [[
[Service]
ExecStart=/usr/bin/perl /opt/probe.pl
[Install]
WantedBy=multi-user.target
]]
return charm { name = "probe", summary = "answers", series = { "bookworm" },
  hooks = {
    install = function(unit)
      unit:exec{ "sh", "-c", "test -e /srv/begun || { touch /srv/begun; exec sleep 4711; }" }
      unit:write("/opt/probe.pl", server)
      unit:write("/etc/systemd/system/probe.service", unit_file)
    end,
    start = function(unit)
      unit:exec{ "systemctl", "enable", "--now", "probe" }
      unit:open_port(8099)
      unit:set_status("active", "answers")
    end } }
"#;

/// An ssh server that lets root in with a key of its own.
struct Sshd {
    server: Child,
    port: u16,
}

impl Sshd {
    /// In a folder of `env`, with an `ssh` in front of the host's own that knows key and server.
    fn for_env(env: Env) -> (Self, Env) {
        std::fs::create_dir_all("/run/sshd").unwrap();
        env.write("ssh/config", "");
        let folder = env.path("ssh");
        let at = |name: &str| folder.join(name).display().to_string();
        for key in ["host_key", "key"] {
            tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]);
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server_key = env.read("ssh/host_key.pub");
        env.write("ssh/known_hosts", &format!("[127.0.0.1]:{port} {server_key}"));
        env.write(
            "ssh/config",
            &format!("IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\n", at("key"), at("known_hosts")),
        );
        env.write(
            "ssh/sshd_config",
            &format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
                 StrictModes no\nPermitRootLogin prohibit-password\nSetEnv XDG_CACHE_HOME={}\n",
                at("host_key"),
                at("key.pub"),
                at("cache")
            ),
        );
        env.write("bin/ssh", &format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", at("config")));
        tool("chmod", &["755", &env.path("bin/ssh").display().to_string()]);
        let server = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &at("sshd_config")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        soon("the ssh server", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let path = format!("{}:/usr/bin:/bin", env.path("bin").display());
        (Self { server, port }, env.with("PATH", &path))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Processes with these words in their command line.
fn processes(words: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let number: Option<i32> = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        if String::from_utf8_lossy(&command).replace('\0', " ").trim_end() == words {
            found.extend(number);
        }
    }
    found
}

fn the_other_end(ssh: &Path) -> Vec<i32> {
    let cache = ssh.join("cache/encanto");
    let binary = std::fs::read_dir(cache).unwrap().next().unwrap().unwrap().path();
    processes(&format!("{} __provider", binary.display()))
}

#[test]
fn an_environment_on_another_host() {
    if !RealEnv::wanted("ENCANTO_TEST_LXC") {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = traces(ENVIRONMENT);
    let (ssh, env) = Sshd::for_env(Env::bare());
    let env =
        RealEnv::bootstrapped_as(env, ENVIRONMENT, &format!("type: remote\nuri: ssh://root@127.0.0.1:{}", ssh.port));
    let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let state = Path::new("/var/lib/encanto").join(format!("{}-{ENVIRONMENT}", user.trim()));
    assert!(state.join("lxc").exists(), "what is remembered of machines is where they are");
    assert!(!env.path(&format!("home/{ENVIRONMENT}/lxc")).exists());

    // The controller dies in the middle of a hook: its command ends there, and the hook is run again.
    env.write("charms/probe/charm.lua", CHARM);
    env.run("deploy ./charms/probe").succeeds();
    soon_enough("the hook's command", || !processes("sleep 4711").is_empty());
    env.kill_controller();
    soon("the end of the hook's command", || processes("sleep 4711").is_empty());
    soon("the end of the other end", || the_other_end(&env.path("ssh")).is_empty());
    env.run("controller start").succeeds();
    env.run("wait --timeout 5m").succeeds();

    let status = env.status();
    assert_eq!(status["host"], "127.0.0.1", "{status}");
    env.run("run --unit probe/0 'hostname; echo oh >&2; exit 3'").stdout_has(&format!("{ENVIRONMENT}-machine-1"));
    env.run("ssh probe/0 'echo $((6 * 7))'").succeeds().stdout_is("42\n");
    env.run_with_input("ssh probe/0 'wc -c'", &"x".repeat(300_000)).succeeds().stdout_is("300000\n");
    assert_eq!(browse(&format!("http://{}:8099/", env.address("probe/0"))).1, "hello");
    env.run("expose probe --publish 18099:8099").succeeds();
    soon("the published port", || browse("http://127.0.0.1:18099/").1 == "hello");

    // The connection breaks: it is made again, and machines have gone on.
    for process in the_other_end(&env.path("ssh")) {
        rustix::process::kill_process(rustix::process::Pid::from_raw(process).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
    }
    soon("a new connection", || env.run("run --unit probe/0 'uptime'").code == Some(0));
    // If the ports were being written down just then, they are opened again.
    soon("the published port", || browse("http://127.0.0.1:18099/").1 == "hello");

    // Whoever kills the machine there: it is seen and started.
    tool("lxc-stop", &["-k", "-n", &format!("{}-{ENVIRONMENT}-machine-1", user.trim())]);
    soon_enough("the machine", || browse("http://127.0.0.1:18099/").1 == "hello");

    env.run(&format!("destroy-environment {ENVIRONMENT} -y")).succeeds();
    soon("the end of what was kept there", || !state.exists());
    assert_eq!(traces(ENVIRONMENT), before, "nothing is left on the host");
}

#[test]
fn containers_of_libvirt_on_another_host() {
    if !RealEnv::wanted("ENCANTO_TEST_LIBVIRT") {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = traces(VIRTUAL);
    let (ssh, env) = Sshd::for_env(Env::bare());
    let uri = format!("type: libvirt\nuri: lxc+ssh://root@127.0.0.1:{}/", ssh.port);
    let env = RealEnv::bootstrapped_as(env, VIRTUAL, &uri);
    env.run("add-machine --wait=5m").succeeds();
    assert_eq!(env.status()["machines"]["1"]["virt-type"], "libvirt-lxc");
    assert!(tool("virsh", &["-c", "lxc:///", "list", "--name"]).contains(&format!("-{VIRTUAL}-machine-1")));
    env.run("ssh 1 'echo $((6 * 7))'").succeeds().stdout_is("42\n");
    // Another kind beside it, by its constraint.
    env.run("add-machine lxc --constraints virt-type=lxc --wait=5m").succeeds();
    assert!(tool("lxc-ls", &["-1"]).contains(&format!("-{VIRTUAL}-machine-2")));
    env.run(&format!("destroy-environment {VIRTUAL} -y")).succeeds();
    assert_eq!(traces(VIRTUAL), before, "nothing is left on the host");
}

fn soon_enough(what: &str, holds: impl Fn() -> bool) {
    support::host::within(std::time::Duration::from_secs(120), what, holds);
}
