//! The beds: one for each kind of machines, with what it can bear and how it is tampered with from outside.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use encanto::provider::local::LocalSettings;
use encanto::provider::simulated::SimulatedProvider;
use encanto::provider::{InstanceName, InstanceSpec, Provider, doctor, registry};

use crate::host::{tool, traces};
use crate::remote::far_away;
use crate::tools::{instance, shell_on_host};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bed {
    Simulated,
    /// Simulated machines, over a connection.
    Remote,
    Lxc,
    LibvirtLxc,
    Kvm,
}

impl Bed {
    pub const ALL: [Bed; 5] = [Bed::Simulated, Bed::Remote, Bed::Lxc, Bed::LibvirtLxc, Bed::Kvm];

    /// Also the name of its kind of machines.
    pub fn name(self) -> &'static str {
        match self {
            Bed::Simulated => "simulated",
            Bed::Remote => "remote",
            Bed::Lxc => "lxc",
            Bed::LibvirtLxc => "libvirt-lxc",
            Bed::Kvm => "kvm",
        }
    }

    pub fn kind(self) -> Option<String> {
        self.is_real().then(|| self.name().to_owned())
    }

    /// Why it is not tried here.
    pub fn is_left_out(self) -> Option<String> {
        let variable = match self {
            Bed::Simulated | Bed::Remote => return None,
            Bed::Lxc => "ENCANTO_TEST_LXC",
            Bed::LibvirtLxc | Bed::Kvm => "ENCANTO_TEST_LIBVIRT",
        };
        let wanted = std::env::var_os(variable).is_some_and(|value| value == "1");
        (!wanted).then(|| format!("real machines are tried with {variable}=1 as root"))
    }

    /// How many machines are made at once.
    pub fn many(self) -> u32 {
        if self == Bed::Kvm { 2 } else { 20 }
    }

    /// How many commands run at once.
    pub fn many_commands(self) -> i32 {
        if self == Bed::Kvm { 12 } else { 60 }
    }

    /// How much is much: an emulated processor moves a few megabytes a second.
    pub fn much(self) -> usize {
        if self == Bed::Kvm { 16 << 20 } else { 100 << 20 }
    }

    /// How long a thing may take that takes no time.
    pub fn moment(self) -> Duration {
        Duration::from_secs(if self == Bed::Kvm { 20 } else { 5 })
    }

    /// How long a machine may take to come up or go down.
    pub fn while_it_boots(self) -> Duration {
        Duration::from_secs(if self == Bed::Kvm { 120 } else { 30 })
    }

    /// Moments at which a controller is killed while it makes a machine or a copy, in milliseconds.
    pub fn killing_times(self) -> Vec<u64> {
        match self {
            Bed::Kvm => vec![40, 400, 1500],
            _ => (0..150).step_by(7).collect(),
        }
    }

    pub fn is_real(self) -> bool {
        !matches!(self, Bed::Simulated | Bed::Remote)
    }

    pub fn is_container(self) -> bool {
        matches!(self, Bed::Lxc | Bed::LibvirtLxc)
    }
}

/// An environment on a bed.
pub struct Environment {
    pub bed: Bed,
    pub name: String,
    /// Its state; always the same, so that the next run takes down what a killed one left.
    pub folder: PathBuf,
    pub provider: Arc<dyn Provider>,
    simulated: Option<Arc<SimulatedProvider>>,
    /// Machine 1 is the one that rules share.
    next: AtomicU32,
    before: Vec<String>,
}

impl Environment {
    pub async fn open(bed: Bed, own: bool) -> Self {
        let name = format!("contract{}{}", if own { "own" } else { "" }, bed.name().replace('-', ""));
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&name);
        let mut environment = match bed {
            Bed::Simulated | Bed::Remote => {
                let simulated = Arc::new(SimulatedProvider::new());
                let provider: Arc<dyn Provider> = match bed {
                    Bed::Remote => far_away(simulated.clone(), &folder),
                    _ => simulated.clone(),
                };
                let (next, before) = (AtomicU32::new(2), Vec::new());
                Self { bed, name, folder, provider, simulated: Some(simulated), next, before }
            }
            _ => {
                doctor::mend_host().unwrap();
                let findings = doctor::check_host(bed.kind().as_deref());
                assert!(findings.iter().all(|finding| !finding.blocking), "{findings:?}");
                let provider = controller(bed, &name, &folder);
                let (next, before) = (AtomicU32::new(2), Vec::new());
                Self { bed, name, folder, provider, simulated: None, next, before }
            }
        };
        environment.provider.teardown().await.unwrap();
        if bed.is_real() {
            let _ = std::fs::remove_dir_all(&environment.folder);
            environment.provider = controller(bed, &environment.name, &environment.folder);
            environment.before = traces(&environment.name);
        }
        environment.provider.open(Arc::new(|line| println!("  {line}"))).await.unwrap();
        environment.provider.open(Arc::new(|_| {})).await.unwrap();
        environment
    }

    /// Takes all of it down, twice; nothing may be left.
    pub async fn close(self) {
        self.provider.teardown().await.unwrap();
        self.provider.teardown().await.unwrap();
        assert!(self.provider.list().await.unwrap().is_empty());
        if !self.bed.is_real() {
            return;
        }
        self.remove_layers();
        let _ = std::fs::remove_dir_all(&self.folder);
        let left: Vec<String> = traces(&self.name).into_iter().filter(|trace| !self.before.contains(trace)).collect();
        assert_eq!(left, [""; 0], "on the host");
    }

    /// A second controller of this environment, as after the first was killed.
    pub fn another_controller(&self) -> Arc<dyn Provider> {
        controller(self.bed, &self.name, &self.folder)
    }

    pub fn simulated(&self) -> &SimulatedProvider {
        self.simulated.as_ref().unwrap()
    }

    /// A name that no other machine has.
    pub fn name_of_one(&self) -> InstanceName {
        self.named(&format!("machine-{}", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    pub fn named(&self, tag: &str) -> InstanceName {
        instance(&format!("test-{}-{tag}", self.name))
    }

    pub fn spec(&self, name: &InstanceName) -> InstanceSpec {
        spec(self.bed, name)
    }

    /// The machine that rules share, running: they leave in it what they like, under `/srv/<name of the rule>`.
    pub async fn machine(&self) -> InstanceName {
        let name = self.named("machine-1");
        self.provider.create(&self.spec(&name)).await.unwrap();
        name
    }

    /// A machine for one rule alone, running.
    pub async fn fresh_machine(&self) -> InstanceName {
        let name = self.name_of_one();
        self.provider.create(&self.spec(&name)).await.unwrap();
        name
    }

    /// The key of a layer that is removed with the environment.
    pub fn layer_key(&self, tag: &str) -> String {
        format!("{}-{tag}-{}", self.name, std::process::id())
    }

    fn remove_layers(&self) {
        let cache = LocalSettings::new("test", self.name.as_str(), &self.folder).cache_dir.join("layers");
        for entry in std::fs::read_dir(cache).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with(&self.name) {
                let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
                removed.unwrap();
            }
        }
    }

    /// The hypervisor's own tool stops it, as if the power had failed.
    pub fn stop_behind(&self, name: &InstanceName) {
        match self.bed {
            Bed::Simulated | Bed::Remote => self.simulated().stop_behind(name),
            Bed::Lxc => drop(tool("lxc-stop", &["-k", "-n", name.as_str()])),
            Bed::LibvirtLxc | Bed::Kvm => drop(self.virsh("destroy", name)),
        }
    }

    /// Somebody else gives what he makes a name that is one of ours. Answers what is there of it.
    pub fn take_name(&self, name: &InstanceName) -> String {
        let define = |uri: &str, kind: &str, os: &str| {
            let xml = format!("<domain type='{kind}'><name>{name}</name><memory unit='MiB'>64</memory>{os}</domain>");
            shell_on_host(&format!(
                "echo \"{xml}\" > /tmp/{name}.xml; virsh -c {uri} define /tmp/{name}.xml; rm /tmp/{name}.xml"
            ));
        };
        match self.bed {
            Bed::Simulated | Bed::Remote => {}
            Bed::Lxc => shell_on_host(&format!(
                "mkdir -p /var/lib/lxc/{name}/rootfs; echo data > /var/lib/lxc/{name}/rootfs/data; \
                 echo lxc.net.0.type = empty > /var/lib/lxc/{name}/config"
            )),
            Bed::LibvirtLxc => define("lxc:///", "lxc", "<os><type>exe</type><init>/bin/true</init></os>"),
            Bed::Kvm => define("qemu:///system", "qemu", "<os><type>hvm</type></os>"),
        }
        self.left_of(name)
    }

    pub fn left_of(&self, name: &InstanceName) -> String {
        match self.bed {
            Bed::Simulated | Bed::Remote => String::new(),
            Bed::Lxc => tool(
                "cat",
                &[format!("/var/lib/lxc/{name}/config"), format!("/var/lib/lxc/{name}/rootfs/data")]
                    .each_ref()
                    .map(String::as_str),
            ),
            Bed::LibvirtLxc | Bed::Kvm => self.virsh("dumpxml", name),
        }
    }

    pub fn give_name_back(&self, name: &InstanceName) {
        match self.bed {
            Bed::Lxc => shell_on_host(&format!("rm -r /var/lib/lxc/{name}")),
            _ => drop(self.virsh("undefine", name)),
        }
    }

    /// The hypervisor's own tool holds it still, until somebody lets it go on.
    pub fn freeze_behind(&self, name: &InstanceName) {
        match self.bed {
            Bed::Simulated | Bed::Remote => {}
            Bed::Lxc => drop(tool("lxc-freeze", &["-n", name.as_str()])),
            Bed::LibvirtLxc | Bed::Kvm => drop(self.virsh("suspend", name)),
        }
    }

    /// The hypervisor's own tools delete it.
    pub fn delete_behind(&self, name: &InstanceName) {
        match self.bed {
            Bed::Simulated | Bed::Remote => self.simulated().vanish(name),
            Bed::Lxc => shell_on_host(&format!(
                "lxc-stop -k -n {name}; lxc-destroy -n {name} 2>/dev/null; rm -f /var/lib/lxc/{name}/config"
            )),
            Bed::LibvirtLxc | Bed::Kvm => {
                self.virsh("destroy", name);
                self.virsh("undefine", name);
            }
        }
    }

    fn virsh(&self, verb: &str, name: &InstanceName) -> String {
        let uri = if self.bed == Bed::Kvm { "qemu:///system" } else { "lxc:///" };
        tool("virsh", &["-c", uri, verb, name.as_str()])
    }
}

pub fn controller(bed: Bed, name: &str, folder: &Path) -> Arc<dyn Provider> {
    let settings = LocalSettings {
        helper: env!("CARGO_BIN_EXE_encanto").into(),
        default_kind: bed.kind(),
        ..LocalSettings::new("test", name, folder)
    };
    registry::local(settings).unwrap()
}

pub fn spec(bed: Bed, name: &InstanceName) -> InstanceSpec {
    InstanceSpec {
        name: name.clone(),
        kind: bed.kind(),
        series: "bookworm".into(),
        layers: Vec::new(),
        memory: None,
        cores: None,
        build: false,
    }
}
