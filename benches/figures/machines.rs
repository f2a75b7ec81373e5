//! Single machines of each kind, through a provider and by hand, in turns: `benches/machine-by-hand.sh`.
//!
//! Both sides have the same image, bridge and processor. What is measured is the provider, with neither a controller nor
//! a process of the command line before it. By hand an LXC container is privileged, which is less to do.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use encanto::provider::local::LocalSettings;
use encanto::provider::{ExecEnd, ExecRequest, Instance, InstanceName, InstanceSpec, Kind, Provider, doctor, registry};
use tokio::runtime::Runtime;

use crate::report::{Pairs, Report};

const ENVIRONMENT: &str = "benchmachines";
const EXECS: usize = 50;
/// What is by hand on the bridge has the last numbers, which the provider comes to last.
const LAST: u32 = 1000;

/// An environment with machines and nothing else, which is gone when it is dropped.
struct Bed {
    /// Always the same, so that the next run takes down what an interrupted one left.
    folder: PathBuf,
    runtime: Runtime,
    provider: Arc<dyn Provider>,
}

impl Bed {
    fn open(kind: &str) -> anyhow::Result<Bed> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(ENVIRONMENT);
        let settings = LocalSettings {
            helper: env!("CARGO_BIN_EXE_encanto").into(),
            default_kind: Some(kind.to_owned()),
            ..LocalSettings::new("bench", ENVIRONMENT, &folder)
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(registry::local(settings.clone())?.teardown())?;
        let bed = Bed { folder, runtime, provider: registry::local(settings)? };
        bed.runtime.block_on(bed.provider.open(Arc::new(|_| {})))?;
        Ok(bed)
    }

    fn name(&self, tag: &str) -> anyhow::Result<InstanceName> {
        Ok(InstanceName::new(format!("bench-{ENVIRONMENT}-{tag}"))?)
    }

    fn create(&self, kind: &str, name: &InstanceName) -> anyhow::Result<Instance> {
        let spec = InstanceSpec {
            name: name.clone(),
            kind: Some(kind.to_owned()),
            series: "bookworm".to_owned(),
            layers: Vec::new(),
            memory: None,
            cores: None,
            build: false,
        };
        Ok(self.runtime.block_on(self.provider.create(&spec))?)
    }

    fn exec(&self, name: &InstanceName) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let request = ExecRequest { argv: vec!["/bin/true".to_owned()], ..ExecRequest::default() };
            let mut run = self.provider.exec(name, request).await?;
            ensure!(run.control.wait().await? == ExecEnd::Exited(0), "true failed");
            Ok(())
        })
    }

    /// What the environment's network is like: bridge and length of its prefix.
    fn network(&self) -> anyhow::Result<(String, u8)> {
        let text = std::fs::read_to_string(self.folder.join("lxc/network.json"))?;
        let network: serde_json::Value = serde_json::from_str(&text)?;
        let word = |key: &str| network[key].as_str().map(str::to_owned).context("no network");
        let prefix = word("subnet")?.rsplit('/').next().context("no prefix")?.parse()?;
        Ok((word("bridge")?, prefix))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let ended = self.runtime.block_on(self.provider.teardown());
        if let Err(error) = ended {
            tracing::error!("environment {ENVIRONMENT} is left: {error}");
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The machine by hand, which is gone when it is dropped.
struct ByHand {
    kind: &'static str,
    variables: BTreeMap<&'static str, String>,
    work: PathBuf,
    there: bool,
}

impl ByHand {
    /// Like one of ours, which runs.
    fn like(bed: &Bed, kind: &'static str, ours: &Instance) -> anyhow::Result<ByHand> {
        let (bridge, prefix) = bed.network()?;
        let gateway = bed.provider.host_address();
        let address = Ipv4Addr::from(u32::from(gateway) + LAST);
        let base = bed.provider.base_key(Some(kind), "bookworm");
        let cache = LocalSettings::new("bench", ENVIRONMENT, &bed.folder).cache_dir;
        // Where libvirt's QEMU may read, for it is another user's.
        let place = if kind == "kvm" { "/var/lib/libvirt/images" } else { "/var/tmp" };
        let work = Path::new(place).join(format!("bench-{ENVIRONMENT}-by-hand"));
        let variables = BTreeMap::from([
            ("NAME", format!("bench-{ENVIRONMENT}-by-hand")),
            ("WORK", work.display().to_string()),
            ("BRIDGE", bridge),
            ("ADDRESS", address.to_string()),
            ("PREFIX", prefix.to_string()),
            ("GATEWAY", gateway.to_string()),
            (
                "BASE",
                cache
                    .join("images")
                    .join(format!("bookworm-{}", base.get(..16).context("a short key")?))
                    .display()
                    .to_string(),
            ),
            ("LIKE", ours.name.to_string()),
            ("LIKE_ADDRESS", ours.address.to_string()),
        ]);
        let mut by_hand = ByHand { kind, variables, work, there: false };
        if by_hand.work.exists() {
            by_hand.verb("destroy")?;
        }
        Ok(by_hand)
    }

    fn verb(&mut self, verb: &str) -> anyhow::Result<()> {
        self.there = true;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/machine-by-hand.sh");
        succeeds(Command::new(script).args([self.kind, verb]).envs(&self.variables))?;
        self.there = verb != "destroy";
        Ok(())
    }

    fn name(&self) -> String {
        self.variables.get("NAME").cloned().unwrap_or_default()
    }

    fn exec(&self) -> anyhow::Result<()> {
        let name = self.name();
        match self.kind {
            "lxc" => succeeds(Command::new("lxc-attach").args(["-n", &name, "--", "/bin/true"])),
            "kvm" => self.exec_by_agent(),
            _ => succeeds(virsh("lxc:///").args(["lxc-enter-namespace", &name, "--noseclabel", "/bin/true"])),
        }
    }

    fn exec_by_agent(&self) -> anyhow::Result<()> {
        let ask = |question: &str| -> anyhow::Result<serde_json::Value> {
            let output = virsh("qemu:///system").args(["qemu-agent-command", &self.name(), question]).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(serde_json::from_slice(&output.stdout)?)
        };
        let begun = ask(r#"{"execute":"guest-exec","arguments":{"path":"/bin/true","capture-output":true}}"#)?;
        let pid = begun["return"]["pid"].as_u64().context("no pid")?;
        let question = format!(r#"{{"execute":"guest-exec-status","arguments":{{"pid":{pid}}}}}"#);
        while ask(&question)?["return"]["exited"] != true {}
        Ok(())
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        if self.there && self.verb("destroy").is_err() {
            tracing::error!("{} is left", self.work.display());
        }
    }
}

fn virsh(uri: &str) -> Command {
    let mut command = Command::new("virsh");
    command.args(["-q", "-c", uri]);
    command
}

fn succeeds(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let program = command.get_program().display();
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Runs something and adds how long it took.
fn timed<T>(times: &mut Vec<Duration>, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let begun = Instant::now();
    let done = work()?;
    times.push(begun.elapsed());
    Ok(done)
}

pub fn measure(kinds: Vec<Kind>, report: &mut Report) -> anyhow::Result<()> {
    doctor::mend_host()?;
    for kind in kinds {
        if let Err(error) = measure_kind(kind, report) {
            report.note(&format!("not measured: machines of kind {}: {error:#}", kind.name))?;
        }
    }
    Ok(())
}

fn measure_kind(kind: Kind, report: &mut Report) -> anyhow::Result<()> {
    if let Some(caution) = kind.caution {
        report.note(&format!("{}: {caution}", kind.name))?;
    }
    let bed = Bed::open(kind.name)?;
    // One that is not measured: what is made once for all machines is made for it.
    let like = bed.name("like")?;
    let mut by_hand = ByHand::like(&bed, kind.name, &bed.create(kind.name, &like)?)?;
    let rounds = if kind.container == "kvm" { 3 } else { 9 };
    let mut pairs = ["create, until a command ran", "exec of true", "stop", "start, until a command ran", "destroy"]
        .map(Pairs::new);
    for round in 0..rounds {
        let ours = bed.name(&format!("machine-{round}"))?;
        let [create, exec, stop, start, destroy] = &mut pairs;
        timed(&mut create.ours, || bed.create(kind.name, &ours).and_then(|_| bed.exec(&ours)))?;
        timed(&mut create.by_hand, || by_hand.verb("create"))?;
        for _ in 0..EXECS.div_ceil(rounds) {
            timed(&mut exec.ours, || bed.exec(&ours))?;
            timed(&mut exec.by_hand, || by_hand.exec())?;
        }
        timed(&mut stop.ours, || Ok(bed.runtime.block_on(bed.provider.stop(&ours))?))?;
        timed(&mut stop.by_hand, || by_hand.verb("stop"))?;
        timed(&mut start.ours, || {
            bed.runtime.block_on(bed.provider.start(&ours))?;
            bed.exec(&ours)
        })?;
        timed(&mut start.by_hand, || by_hand.verb("start"))?;
        timed(&mut destroy.ours, || Ok(bed.runtime.block_on(bed.provider.destroy(&ours))?))?;
        timed(&mut destroy.by_hand, || by_hand.verb("destroy"))?;
    }
    report.pairs(kind.name, &pairs)
}
