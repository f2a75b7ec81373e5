//! Containers and folders that were there before: adopted, used and given back on this host. Needs root and LXC:
//! `ENCANTO_TEST_LXC=1 cargo test --test adopt`.

#![allow(clippy::disallowed_methods, reason = "tests look at the host from outside the provider")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use support::RealEnv;
use support::host::{browse, soon, tool, traces, within};

/// A service that answers on a port; it keeps a file, so that one sees what is left of it.
const CHARM: &str = r#"
local server = [[
use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalPort => 8099, Listen => 5, ReuseAddr => 1) or die;
while (my $c = $s->accept) { print $c "HTTP/1.0 200 OK\r\n\r\nhello from " . $c->peerhost; close $c }
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
      unit:write("/opt/probe.pl", server)
      unit:write("/etc/systemd/system/probe.service", unit_file)
    end,
    start = function(unit)
      unit:exec{ "systemctl", "enable", "--now", "probe" }
      unit:open_port(8099)
      unit:set_status("active", "answers")
    end,
    stop = function(unit) unit:exec{ "systemctl", "disable", "--now", "probe" } end } }
"#;

/// One environment at a time: they have one name.
static TURN: Mutex<()> = Mutex::new(());

/// A container that somebody made with LXC's own tools; it is removed with the test.
struct Somebodys {
    name: &'static str,
}

impl Somebodys {
    fn new(name: &'static str, ids: &str) -> Self {
        let made = Somebodys { name };
        made.remove();
        let config = format!(
            "lxc.include = /usr/share/lxc/config/common.conf\n{ids}lxc.apparmor.profile = unconfined\n\
             lxc.signal.halt = SIGRTMIN+3\nlxc.net.0.type = empty\nlxc.uts.name = {name}\n"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config).unwrap();
        tool("lxc-create", &["-n", name, "-t", "none", "-f", &file.path().display().to_string()]);
        copy_of_image(&made.folder().join("rootfs"));
        let mut config = std::fs::read_to_string(made.config()).unwrap();
        config.push_str(&format!("\nlxc.rootfs.path = dir:{}\n", made.folder().join("rootfs").display()));
        if !ids.is_empty() {
            config.push_str("lxc.rootfs.options = idmap=container\n");
        }
        std::fs::write(made.config(), config).unwrap();
        made
    }

    fn folder(&self) -> PathBuf {
        Path::new("/var/lib/lxc").join(self.name)
    }

    fn config(&self) -> PathBuf {
        self.folder().join("config")
    }

    /// All that is in its folder, but not below its root.
    fn entries(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn state(&self) -> String {
        tool("lxc-info", &["-n", self.name, "-s", "-H"]).trim().to_owned()
    }

    fn inside(&self, script: &str) -> String {
        tool("lxc-attach", &["-n", self.name, "--clear-env", "--", "/bin/sh", "-c", script])
    }

    fn remove(&self) {
        if self.config().exists() {
            let _ = Command::new("lxc-stop").args(["-k", "-n", self.name]).output();
        }
        let _ = std::fs::remove_dir_all(self.folder());
        let _ = std::fs::remove_file(format!("/run/lxc/lock/var/lib/lxc/.{}", self.name));
    }
}

impl Drop for Somebodys {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A container that somebody defined with virsh. Its systemd is given groups of its own, without which it would take the
/// host's for its own.
struct Domain {
    root: PathBuf,
}

const VIRT: &str = "adoptee-virt";

impl Domain {
    fn new(root: &Path) -> Self {
        let made = Domain { root: root.to_owned() };
        made.remove();
        copy_of_image(root);
        let escaped = include_str!("../src/provider/libvirt/lxc/init.sh").replace('&', "&amp;").replace('<', "&lt;");
        let xml = format!(
            "<domain type='lxc'><name>{VIRT}</name><memory unit='MiB'>512</memory><vcpu>1</vcpu><os><type>exe</type>\
             <init>/bin/sh</init><initarg>-c</initarg><initarg>{escaped}</initarg><initarg>libvirt-{VIRT}</initarg>\
             <initarg>/sbin/init</initarg></os><features><privnet/></features><devices><filesystem type='mount' \
             accessmode='passthrough'><source dir='{}'/><target dir='/'/></filesystem><console type='pty'/></devices>\
             </domain>",
            root.display()
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), xml).unwrap();
        tool("virsh", &["-c", "lxc:///", "define", &file.path().display().to_string()]);
        made
    }

    fn virsh(verb: &str) -> String {
        tool("virsh", &["-q", "-c", "lxc:///", verb, VIRT]).trim().to_owned()
    }

    fn remove(&self) {
        for verb in ["destroy", "undefine"] {
            let _ = Command::new("virsh").args(["-q", "-c", "lxc:///", verb, VIRT]).output();
        }
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
            let group = hierarchy.unwrap().path().join(format!("libvirt-{VIRT}"));
            let _ = Command::new("find").arg(group).args(["-depth", "-type", "d", "-delete"]).output();
        }
        let _ = std::fs::remove_file(format!("/var/log/libvirt/lxc/{VIRT}.log"));
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The root of a Debian, as `debootstrap` would make it, from what is in the cache anyway.
fn copy_of_image(to: &Path) {
    let images = std::fs::read_dir("/var/cache/encanto/images").unwrap();
    let names = images.map(|image| image.unwrap().path());
    let image = names.filter(|path| path.join("sbin/init").exists() && !path.to_string_lossy().contains("machine"));
    let image = image.min().expect("the environment has made its image");
    let _ = std::fs::remove_dir(to);
    tool("cp", &["-a", &image.display().to_string(), &to.display().to_string()]);
}

fn started(env: &RealEnv, machine: &str) -> bool {
    env.status()["machines"][machine]["agent-state"] == "started"
}

fn hardware(env: &RealEnv, machine: &str) -> String {
    env.status()["machines"][machine]["hardware"].as_str().unwrap().to_owned()
}

fn address(env: &RealEnv) -> String {
    env.address("probe/0")
}

#[test]
fn a_container_hosts_a_service_and_is_given_back_as_it_was() {
    let (_turn, before) = (TURN.lock(), traces("adopt"));
    let Some(env) = RealEnv::bootstrapped("adopt") else { return };
    env.write("probe/charm.lua", CHARM);
    let web = Somebodys::new("adoptee", "");
    let (config, entries) = (std::fs::read(web.config()).unwrap(), web.entries());
    env.run("machine adopt adoptee --wait=90s").succeeds().stderr_has("adopting lxc adoptee as machine 1\n");
    assert_eq!(web.state(), "RUNNING", "it was started");
    env.run("machine adopt adoptee").fails().stderr_has("cannot adopt lxc adoptee: it is machine 1 already");
    assert_eq!(env.run("ssh 1 hostname").succeeds().stdout.trim(), "adoptee");

    env.run("deploy ./probe --to 1 --wait=90s").succeeds();
    let answers = || browse(&format!("http://{}:8099/", address(&env))).1;
    soon("an answer", || answers().starts_with("hello from 10."));
    env.run("expose probe --publish 18099:8099").succeeds();
    soon("an answer at the host's port", || browse("http://127.0.0.1:18099/").1.starts_with("hello"));

    // Stopped behind our back it is started again, and connected.
    tool("lxc-stop", &["-k", "-n", "adoptee"]);
    soon("it is missed", || !started(&env, "1"));
    soon("it runs again", || started(&env, "1"));
    soon("an answer after that", || answers().starts_with("hello from 10."));
    // The cable is laid again when it is pulled out.
    web.inside("ip link delete encanto0");
    soon("an answer by a new cable", || answers().starts_with("hello from 10."));

    env.run("machine release 1").fails().stderr_has("machine 1 has unit \"probe/0\" assigned");
    env.run("destroy-machine 1").fails().stderr_has("hint: `encanto machine release 1` gives it back");
    env.run("destroy-service probe --wait=90s").succeeds();
    env.run("machine release 1 --wait=60s").succeeds();
    assert_eq!(web.state(), "RUNNING");
    assert_eq!(
        (std::fs::read(web.config()).unwrap(), web.entries()),
        (config, entries),
        "nothing of ours is beside it"
    );
    assert!(web.folder().join("rootfs/opt/probe.pl").exists(), "what the unit wrote stays");
    let network = web.inside("ip -brief link; ip rule; ip route show table all; ip -brief address");
    assert!(!network.contains("encanto0") && !network.contains("60416") && !network.contains("10.1"), "{network}");
    // Whoever takes the environment down leaves it, too.
    env.run("machine adopt adoptee --wait=90s").succeeds();
    env.run("destroy-environment adopt -y").succeeds();
    assert_eq!((web.state().as_str(), traces("adopt")), ("RUNNING", before));
    assert!(!Path::new("/var/cache/encanto/adopted").exists(), "no claim is left");
    assert!(!web.inside("ip -brief link").contains("encanto0"));
}

#[test]
fn an_unprivileged_container_and_a_folder() {
    let (_turn, before) = (TURN.lock(), traces("adopt"));
    let Some(env) = RealEnv::bootstrapped("adopt") else { return };
    env.write("probe/charm.lua", CHARM);
    let ids = "lxc.include = /usr/share/lxc/config/userns.conf\nlxc.idmap = u 0 1000000 65536\nlxc.idmap = g 0 1000000 65536\n";
    let web = Somebodys::new("adoptee", ids);
    tool("lxc-start", &["-d", "-n", "adoptee"]);
    env.run("machine adopt adoptee --wait=90s").succeeds();
    let root = env.path("root");
    copy_of_image(&root);
    let hostname = std::fs::read(root.join("etc/hostname")).ok();
    let folder = root.display().to_string();
    env.run(&format!("machine adopt --filesystem {folder} --name shop --ram 256 --wait=90s")).succeeds();
    env.run(&format!("machine adopt --filesystem {folder}/.")).fails().stderr_has("it is machine 2 already");
    env.run("machine adopt --filesystem /").fails().stderr_has("it is this host's own root");
    env.run("machine adopt --filesystem /var/lib/lxc/adoptee/rootfs")
        .fails()
        .stderr_has("it belongs to the container adoptee");
    env.run("machine adopt --filesystem /proc").fails().stderr_has("it has no /sbin/init");

    for machine in ["1", "2"] {
        assert_eq!(env.run(&format!("ssh {machine} id -u")).succeeds().stdout.trim(), "0");
        let map = env.run(&format!("ssh {machine} cat /proc/self/uid_map")).succeeds().stdout;
        assert!(!map.split_whitespace().eq(["0", "0", "4294967295"]), "machine {machine} has ids of its own: {map}");
    }
    env.run("deploy ./probe --to 2 --wait=90s").succeeds();
    soon("an answer", || browse(&format!("http://{}:8099/", address(&env))).1.starts_with("hello from 10."));
    let kept = root.join("opt/probe.pl");
    assert_eq!(std::fs::metadata(&kept).unwrap().uid(), 0, "what is written lands in the folder as it is inside");
    env.run("ssh 2 reboot");
    soon("it runs after a reboot", || env.run("ssh 2 true").code == Some(0) && started(&env, "2"));

    env.run("destroy-machine 1 2 --force --wait=60s").succeeds();
    assert_eq!(web.state(), "RUNNING", "force releases, too");
    assert!(!web.inside("ip -brief link").contains("encanto0"));
    assert!(kept.exists() && root.join("sbin/init").exists());
    assert_eq!(std::fs::read(root.join("etc/hostname")).ok(), hostname);
    env.run("destroy-environment adopt -y").succeeds();
    assert_eq!(traces("adopt"), before);
    assert!(kept.exists());
}

#[test]
fn a_domain_that_virsh_defined() {
    if std::env::var_os("ENCANTO_TEST_LIBVIRT").is_none_or(|value| value != "1") {
        return;
    }
    let _turn = TURN.lock();
    let Some(env) = RealEnv::bootstrapped("adopt") else { return };
    env.write("probe/charm.lua", CHARM);
    let domain = Domain::new(Path::new("/var/lib/libvirt/filesystems/adoptee-virt"));
    // libvirt itself adds above what it has chosen at a start.
    let devices = || Domain::virsh("dumpxml").split_once("<devices>").unwrap().1.to_owned();
    let before = devices();
    let all = env.run("machine list --all --format tabular").succeeds().stdout;
    assert!(all.lines().any(|line| line.contains(VIRT) && line.contains("libvirt-lxc")), "{all}");
    env.run(&format!("machine adopt {VIRT} --wait=90s")).succeeds();
    assert_eq!(Domain::virsh("domstate"), "running", "it was started");
    assert!(hardware(&env, "1").contains("mem=512M"), "its own limits: {}", hardware(&env, "1"));
    env.run("deploy ./probe --to 1 --wait=90s").succeeds();
    soon("an answer", || browse(&format!("http://{}:8099/", address(&env))).1.starts_with("hello from 10."));
    env.run("destroy-service probe --wait=90s").succeeds();
    env.run("machine release 1 --wait=60s").succeeds();
    assert_eq!(Domain::virsh("domstate"), "running");
    env.run("machine adopt adoptee-virt --wait=60s").succeeds();
    env.run("destroy-environment adopt -y").succeeds();
    assert_eq!(Domain::virsh("domstate"), "running");
    Domain::virsh("destroy");
    assert_eq!(devices(), before);
    assert!(domain.root.join("opt/probe.pl").exists());
}
/// A virtual machine that somebody defined with virsh; it is removed with the test.
struct Computer {
    disk: PathBuf,
}

const VM: &str = "adoptee-vm";

impl Computer {
    fn virsh(arguments: &[&str]) -> String {
        tool("virsh", &[&["-q", "-c", "qemu:///system"], arguments].concat())
    }

    /// On a copy of the disk of a machine that does not run, with its kernel.
    fn like(instance: &str) -> Self {
        let xml = Self::virsh(&["dumpxml", instance]);
        let between = |begin: &str, end: &str| xml.split_once(begin).unwrap().1.split_once(end).unwrap().0.to_owned();
        let machine = Computer { disk: "/var/lib/libvirt/images/adoptee-vm.qcow2".into() };
        machine.remove();
        std::fs::copy(between("<source file='", "'"), &machine.disk).unwrap();
        let (kernel, initrd) = (between("<kernel>", "</kernel>"), between("<initrd>", "</initrd>"));
        let definition = format!(
            "<domain type='qemu'><name>{VM}</name><memory unit='MiB'>512</memory><vcpu>1</vcpu>
             <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd>
              <cmdline>root=/dev/vda rw console=ttyS0 quiet net.ifnames=0</cmdline></os>
             <features><acpi/></features><devices>
              <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>
               <target dev='vda' bus='virtio'/></disk>
              <interface type='user'><model type='virtio'/></interface>
              <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
              <serial type='pty'/></devices></domain>",
            machine.disk.display()
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), definition).unwrap();
        Self::virsh(&["define", &file.path().display().to_string()]);
        machine
    }

    fn asks(&self, question: &str) -> bool {
        let words = ["-q", "-c", "qemu:///system", "qemu-agent-command", "--timeout", "5", VM, question];
        Command::new("virsh").args(words).output().unwrap().status.success()
    }

    fn remove(&self) {
        for verb in ["destroy", "undefine"] {
            let _ = Command::new("virsh").args(["-q", "-c", "qemu:///system", verb, VM]).output();
        }
        let _ = std::fs::remove_file(&self.disk);
        let _ = std::fs::remove_file(format!("/var/log/libvirt/qemu/{VM}.log"));
    }
}

impl Drop for Computer {
    fn drop(&mut self) {
        self.remove();
    }
}

#[test]
fn a_virtual_machine_that_virsh_defined() {
    if std::env::var_os("ENCANTO_TEST_LIBVIRT").is_none_or(|value| value != "1") {
        return;
    }
    let _turn = TURN.lock();
    let Some(env) = RealEnv::bootstrapped("adopt") else { return };
    env.write("probe/charm.lua", CHARM);
    env.run("add-machine kvm --wait=10m").succeeds();
    env.run("machine stop 1 --wait=3m").succeeds();
    let instance = Computer::virsh(&["list", "--all", "--name"])
        .lines()
        .find(|l| l.contains("-adopt-machine-1"))
        .unwrap()
        .to_owned();
    let vm = Computer::like(&instance);
    env.run(&format!("machine adopt {VM}")).fails().stderr_has("start adoptee-vm");
    Computer::virsh(&["start", VM]);
    within(Duration::from_secs(180), "the guest agent", || vm.asks(r#"{"execute":"guest-ping"}"#));
    let definition = Computer::virsh(&["dumpxml", "--inactive", VM]);

    let all = env.run("machine list --all --format tabular").succeeds().stdout;
    assert!(all.lines().any(|line| line.contains(VM) && line.contains("kvm")), "{all}");
    env.run(&format!("machine adopt {VM} --wait=3m")).succeeds();
    assert!(hardware(&env, "2").contains("cpu-cores=1 mem=512M"), "as it was defined: {}", hardware(&env, "2"));
    env.run("deploy ./probe --to 2 --wait=3m").succeeds();
    soon("an answer", || browse(&format!("http://{}:8099/", address(&env))).1.starts_with("hello from 10."));
    env.run("destroy-service probe --wait=3m").succeeds();
    env.run("machine release 2 --wait=2m").succeeds();

    assert_eq!(Computer::virsh(&["domstate", VM]).trim(), "running");
    assert_eq!(Computer::virsh(&["dumpxml", "--inactive", VM]), definition);
    let running = Computer::virsh(&["dumpxml", VM]);
    assert!(!running.contains("org.encanto") && !running.contains("<source bridge"), "neither card nor port of ours");
    let kept = |path: &str| vm.asks(&format!(r#"{{"execute":"guest-file-open","arguments":{{"path":"{path}"}}}}"#));
    assert!(kept("/opt/probe.pl") && !kept("/run/encanto/guest.pl"), "what the unit wrote stays, our helper does not");
    env.run("destroy-environment adopt -y").succeeds();
    assert_eq!(Computer::virsh(&["domstate", VM]).trim(), "running");
}
