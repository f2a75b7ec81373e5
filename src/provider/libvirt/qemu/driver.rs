//! The driver of virtual machines.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::adopted::{Adopted, look_at};
use super::agent::Agent;
use super::console;
use super::disks::{DISK_SIZE, Disks, MachineDisk, Mark, blocking};
use super::domain::{Accelerator, DomainConfig, Platform, Shape, identity, render_domain};
use super::domains::{DomainState, Domains};
use super::hardware::{defined_hardware, own_hardware};
use super::inner::run_inside;
use super::inside::{Inside, Insides};
use super::probe;
use super::process;
use super::qcow2::{Format, overlay};
use super::template::{Templates, wake_up};
use super::way::LibvirtWay;
use crate::provider::libvirt::ownership::Owner;
use crate::provider::local::copies::copy;
use crate::provider::local::driver::{Driver, Flavour, Machine};
use crate::provider::local::host::allow_hairpin;
use crate::provider::local::record::{folder_entries, io_error};
use crate::provider::local::turn::{Turn, to_the_end};
use crate::provider::local::{LocalSettings, locked};
use crate::provider::{
    ExecRequest, Execution, FileStat, Foreign, Hardware, InstanceName, Kind, ProviderError, WriteOptions,
};

const NAME: &str = "kvm";

const EMULATED: &str = "processors are emulated, many times slower: no machine runs by /dev/kvm on this host";

/// How long a machine may take until its agent answers. Emulated on a busy host it may be a minute.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// How long a machine may take that was not booted but woken.
const WAKE_LIMIT: Duration = Duration::from_secs(30);

const POWER_OFF: [&str; 3] = ["/bin/systemctl", "--no-block", "poweroff"];

/// How long services get to end before the machine is switched off.
const HALT_LIMIT: Duration = Duration::from_secs(30);

/// Virtual machines by QEMU through libvirt.
pub struct QemuDriver {
    disks: Disks,
    domains: Domains,
    insides: Insides,
    templates: Templates,
    /// Found by a probe when the first machine is made.
    accelerator: OnceCell<Accelerator>,
    /// Templates that are being made. They end with the driver.
    work: Mutex<JoinSet<()>>,
}

impl QemuDriver {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// The environment's name is none for a machine.
    pub fn new(settings: &LocalSettings) -> Result<Self, ProviderError> {
        let domains = Domains::new(&settings.qemu_uri, Owner::new(settings.digest()));
        let disks = Disks::new(settings.clone());
        let template = InstanceName::new(format!("{}template", settings.prefix()))?;
        Ok(Self {
            templates: Templates::new(domains.clone(), disks.place("templates"), template),
            insides: Insides::default(),
            accelerator: OnceCell::new(),
            work: Mutex::default(),
            disks,
            domains,
        })
    }

    fn files(&self, machine: &Machine) -> MachineDisk {
        self.disks.machine(machine.label())
    }

    /// Where the machine's domain is to be looked for, and what it is called there.
    fn domain(&self, machine: &Machine) -> (Domains, InstanceName) {
        let domains = if machine.is_guest() { self.domains.of_nobody() } else { self.domains.clone() };
        // No other is ever adopted.
        (domains, InstanceName::new(machine.label()).unwrap_or_else(|_| machine.name.clone()))
    }

    async fn state(&self, machine: &Machine) -> Result<DomainState, ProviderError> {
        let (domains, name) = self.domain(machine);
        domains.state(&name).await
    }

    fn way(&self, machine: &Machine) -> LibvirtWay {
        let (domains, name) = self.domain(machine);
        domains.way(name)
    }

    /// An adopted one that was booted anew by others has lost what [`Adopted::plug`] gave it.
    async fn inside(&self, machine: &Machine) -> Result<Inside, ProviderError> {
        let inside = self.insides.of(Arc::new(self.way(machine)));
        if machine.is_guest() && !inside.is_linked().await && self.state(machine).await? == DomainState::Running {
            self.adopted(machine).plug().await?;
        }
        Ok(inside)
    }

    fn adopted<'a>(&self, machine: &'a Machine) -> Adopted<'a> {
        let (domains, name) = self.domain(machine);
        Adopted { way: domains.way(name.clone()), domains, name, wiring: &machine.wiring }
    }

    /// As others defined it.
    async fn begin_guest(&self, machine: &Machine, turn: &Turn) -> Result<(), ProviderError> {
        let (domains, name) = self.domain(machine);
        match domains.state(&name).await? {
            DomainState::Absent => return Err(ProviderError::NoInstance(name)),
            DomainState::Off => to_the_end(turn, async move { domains.start(&name).await }).await?,
            DomainState::Paused => domains.resume(&name).await?,
            DomainState::Running => {}
        }
        self.ready(machine).await?;
        self.adopted(machine).plug().await?;
        allow_hairpin(&machine.wiring.cable)
    }

    /// What machines run on; found once.
    async fn accelerator(&self, image: &str) -> Result<Accelerator, ProviderError> {
        let boot = self.disks.boot(image).await?;
        let kept = self.disks.place("kvm.json");
        let found = self.accelerator.get_or_init(|| async move {
            let found = probe::accelerator(&boot, &kept).await;
            if found == Accelerator::Emulation {
                tracing::warn!("virtual machines: {EMULATED}");
            }
            found
        });
        Ok(*found.await)
    }

    async fn shape(&self, machine: &Machine) -> Result<Shape, ProviderError> {
        let image = &machine.record.image;
        let Hardware { cores, memory, .. } = own_hardware(&machine.record);
        let (accelerator, boot) = (self.accelerator(image).await?, self.disks.boot(image).await?);
        Ok(Shape { accelerator, platform: Platform::host(), memory, cores, boot })
    }

    async fn define(&self, machine: &Machine, shape: &Shape) -> Result<(), ProviderError> {
        let files = self.files(machine);
        let (uuid, metadata) = (self.domains.owner.uuid(&machine.name), self.domains.owner.metadata());
        let xml = render_domain(&DomainConfig {
            name: machine.name.as_str(),
            uuid: &uuid,
            metadata: &metadata,
            shape,
            disk: &files.disk(),
            wiring: Some(&machine.wiring),
            console_log: &files.console_log(),
        });
        self.domains.define(&machine.name, xml).await
    }

    /// Writes the machine's own disk: a copy of another's, or an empty one over what it stands on.
    async fn make_disk(&self, machine: &Machine, shape: &Shape, seed: Option<&Path>) -> Result<(), ProviderError> {
        let files = self.files(machine);
        let cleared = files.clone();
        blocking(&files.disk(), move |_| cleared.clear()).await?;
        if let Some(seed) = seed {
            return copy(seed, &files.disk()).await;
        }
        let base = self.disks.base(&machine.record).await?;
        // Where processors are real a boot is as quick as that.
        let template = match shape.accelerator {
            Accelerator::Kvm => None,
            Accelerator::Emulation => self.templates.find(&self.templates.key(shape, &base).await?),
        };
        let disk = match &template {
            Some(template) => overlay(&self.templates.disk(template), Format::Qcow2, DISK_SIZE),
            None => overlay(&base, Format::Raw, DISK_SIZE),
        };
        blocking(&files.disk(), move |path| {
            std::fs::write(path, disk).map_err(|e| io_error("write", path, e))?;
            files.mark_unbegun(template.as_deref())
        })
        .await
    }

    /// Starts a machine that does not run.
    async fn start(&self, machine: &Machine, turn: &Turn) -> Result<(), ProviderError> {
        let shape = self.shape(machine).await?;
        self.define(machine, &shape).await?;
        self.insides.leave(&machine.name);
        let mark = self.files(machine).take_mark()?;
        if let Some(Mark::Template(template)) = &mark {
            let files = self.files(machine);
            files.begin_waking()?;
            match self.wake(machine, template, turn).await {
                Ok(()) => return files.end_waking(),
                Err(error) => {
                    tracing::warn!(
                        "{} boots the usual way: its template {template} does not serve: {error}",
                        machine.name
                    );
                    self.templates.spoil(template);
                    self.domains.destroy(&machine.name).await?;
                    files.end_waking()?;
                }
            }
        }
        let (domains, name) = (self.domains.clone(), machine.name.clone());
        to_the_end(turn, async move { domains.start(&name).await }).await?;
        self.ready(machine).await?;
        if mark.is_some() && shape.accelerator == Accelerator::Emulation {
            self.prepare_template(machine, shape).await?;
        }
        Ok(())
    }

    /// Begins a machine in the middle of a template's life.
    async fn wake(&self, machine: &Machine, template: &str, turn: &Turn) -> Result<(), ProviderError> {
        let (templates, files) = (self.templates.clone(), self.files(machine));
        let (name, told) = (machine.name.clone(), template.to_owned());
        to_the_end(turn, async move { templates.restore(&name, &told, &files).await }).await?;
        let way = self.way(machine);
        let agent = Agent::new(&way);
        agent.wait(WAKE_LIMIT).await?;
        let uuid = self.domains.owner.uuid(&machine.name);
        let (words, entropy) = wake_up(identity(machine.name.as_str(), &uuid, &machine.wiring));
        run_inside(&agent, &words, &entropy).await
    }

    /// Has a template made for the next machine of this shape, beside whatever else is done.
    async fn prepare_template(&self, machine: &Machine, shape: Shape) -> Result<(), ProviderError> {
        let base = self.disks.base(&machine.record).await?;
        let templates = self.templates.clone();
        let mut work = locked(&self.work);
        while work.try_join_next().is_some() {}
        work.spawn(async move {
            if let Err(error) = templates.make(&shape, &base).await {
                tracing::warn!("no template of virtual machines on {} was made: {error}", base.display());
            }
        });
        Ok(())
    }

    /// Waits until the machine takes orders.
    async fn ready(&self, machine: &Machine) -> Result<(), ProviderError> {
        let way = self.way(machine);
        Agent::new(&way).wait(READY_LIMIT).await.map_err(|error| match error {
            ProviderError::NotReady { name, seconds, output } => {
                let shown = console::last_words(&self.files(machine).console_log());
                ProviderError::NotReady { name, seconds, output: format!("{output}\n{shown}").trim().to_owned() }
            }
            other => other,
        })
    }
}

#[async_trait]
impl Driver for QemuDriver {
    fn kind(&self) -> Kind {
        let emulated = self.accelerator.get() == Some(&Accelerator::Emulation);
        Kind { name: NAME, noun: "virtual machine", container: "kvm", caution: emulated.then_some(EMULATED) }
    }

    fn flavour(&self) -> Flavour {
        Flavour::Machine
    }

    async fn hardware(&self, machine: &Machine) -> Result<Hardware, ProviderError> {
        match machine.is_guest() {
            true => defined_hardware(self.domain(machine)).await,
            false => Ok(own_hardware(&machine.record)),
        }
    }

    async fn open(&self) -> Result<(), ProviderError> {
        self.templates.clear_up().await?;
        // What a probe once showed is known again before the first machine is wanted.
        let images = folder_entries(&self.disks.place("boot"))?;
        if let Some(image) = images.iter().find(|name| !name.starts_with('.')) {
            self.accelerator(image).await?;
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), ProviderError> {
        locked(&self.work).abort_all();
        self.templates.clear_up().await
    }

    async fn is_made(&self, machine: &Machine) -> Result<bool, ProviderError> {
        let known = self.state(machine).await? != DomainState::Absent;
        Ok(known && (machine.is_guest() || self.files(machine).disk().exists()))
    }

    async fn make(&self, machine: &Machine, seed: Option<&Path>) -> Result<(), ProviderError> {
        if self.is_made(machine).await? {
            return Ok(());
        }
        // One whose disk was deleted by hand may run on without it.
        self.domains.destroy(&machine.name).await?;
        let shape = self.shape(machine).await?;
        self.make_disk(machine, &shape, seed).await?;
        self.define(machine, &shape).await
    }

    async fn begin(&self, machine: &Machine, turn: &Turn) -> Result<(), ProviderError> {
        if machine.is_guest() {
            return self.begin_guest(machine, turn).await;
        }
        if self.files(machine).is_waking() {
            self.domains.destroy(&machine.name).await?;
            self.files(machine).end_waking()?;
        }
        loop {
            match self.domains.state(&machine.name).await? {
                DomainState::Running => self.ready(machine).await?,
                // Somebody who copied it was killed; or a start that was cut off is still ending, and is waited for.
                DomainState::Paused => match self.resume(machine).await {
                    Err(_) if self.domains.state(&machine.name).await? != DomainState::Paused => continue,
                    other => other?,
                },
                DomainState::Off | DomainState::Absent => self.start(machine, turn).await?,
            }
            break;
        }
        allow_hairpin(&machine.wiring.cable)
    }

    async fn halt(&self, machine: &Machine) -> Result<(), ProviderError> {
        let (domains, name) = self.domain(machine);
        let state = domains.state(&name).await?;
        // One that somebody holds still hears nothing.
        let woken = state == DomainState::Paused && domains.resume(&name).await.is_ok();
        if woken || state == DomainState::Running {
            let way = self.way(machine);
            let agent = Agent::new(&way);
            let ended = async {
                // The agent's own shutdown wants a login service, which the image has not. Without an agent there is
                // nobody to ask, and whoever is at it inside may still end it.
                if let Err(error) = run_inside(&agent, &POWER_OFF, b"").await {
                    tracing::debug!("{} was asked to shut down: {error}", machine.name);
                }
                self.ended(machine).await;
            };
            if tokio::time::timeout(HALT_LIMIT, ended).await.is_err() {
                tracing::warn!("{} does not shut down, and is switched off", machine.name);
            }
        }
        self.insides.leave(&name);
        domains.destroy(&name).await
    }

    async fn end(&self, machine: &Machine) -> Result<(), ProviderError> {
        if machine.is_guest() {
            return self.release(machine).await;
        }
        self.insides.leave(&machine.name);
        // Nothing that it has not written yet is wanted any more.
        process::kill(machine.name.as_str());
        self.domains.destroy(&machine.name).await?;
        self.domains.undefine(&machine.name).await?;
        let files = self.files(machine);
        let name = machine.name.clone();
        blocking(&files.disk(), move |_| {
            process::remove_logs(name.as_str());
            files.remove()
        })
        .await
    }

    async fn running(&self) -> Result<BTreeSet<String>, ProviderError> {
        self.domains.running().await
    }

    async fn named(&self, prefix: &str) -> Result<Vec<InstanceName>, ProviderError> {
        let mut names: BTreeSet<InstanceName> = self.domains.named(prefix).await?.into_iter().collect();
        // A crash may have left files of one that libvirt does not know yet, or does not know any more.
        let folders = folder_entries(&self.disks.machines())?;
        names.extend(folders.into_iter().filter(|f| f.starts_with(prefix)).filter_map(|f| InstanceName::new(f).ok()));
        Ok(names.into_iter().collect())
    }

    async fn ended(&self, machine: &Machine) {
        let (domains, name) = self.domain(machine);
        loop {
            match domains.state(&name).await {
                Ok(DomainState::Running | DomainState::Paused) => process::ended(name.as_str()).await,
                _ => return,
            }
        }
    }

    /// The other end of a deleted one is in QEMU's hands: a new one comes with the next start.
    async fn expects_cable(&self, machine: &Machine) -> bool {
        Path::new("/sys/class/net").join(&machine.wiring.cable).exists()
    }

    async fn lay_cable(&self, machine: &Machine) -> Result<(), ProviderError> {
        Err(ProviderError::Unsupported { action: "new cable while it runs", name: machine.name.clone() })
    }

    async fn exec(&self, machine: &Machine, request: ExecRequest) -> Result<Execution, ProviderError> {
        self.inside(machine).await?.exec(request).await
    }

    async fn read_file(&self, machine: &Machine, path: &str, limit: u64) -> Result<Vec<u8>, ProviderError> {
        self.inside(machine).await?.read_file(path, limit).await
    }

    async fn write_file(
        &self,
        machine: &Machine,
        path: &str,
        content: &[u8],
        options: &WriteOptions,
    ) -> Result<(), ProviderError> {
        self.inside(machine).await?.write_file(path, content, options).await
    }

    async fn stat_file(&self, machine: &Machine, path: &str) -> Result<Option<FileStat>, ProviderError> {
        self.inside(machine).await?.stat_file(path).await
    }

    async fn remove_file(&self, machine: &Machine, path: &str) -> Result<(), ProviderError> {
        self.inside(machine).await?.remove_file(path).await
    }

    async fn console(&self, machine: &Machine, terminal: (u16, u16)) -> Result<Execution, ProviderError> {
        console::open(&self.way(machine), self.inside(machine).await?, terminal).await
    }

    fn data(&self, machine: &Machine) -> PathBuf {
        self.files(machine).disk()
    }

    async fn pause(&self, machine: &Machine) -> Result<(), ProviderError> {
        let way = self.way(machine);
        if let Err(error) = Agent::new(&way).freeze().await {
            // What comes out is as after a power cut then, which is what is promised.
            tracing::warn!("{} is copied without having written everything: {error}", machine.name);
        }
        self.domains.suspend(&machine.name).await
    }

    async fn resume(&self, machine: &Machine) -> Result<(), ProviderError> {
        self.domains.resume(&machine.name).await?;
        let way = self.way(machine);
        let agent = Agent::new(&way);
        agent.wait(WAKE_LIMIT).await?;
        agent.thaw().await
    }

    async fn foreign(&self, prefix: &str) -> Result<Vec<Foreign>, ProviderError> {
        let nobodys = self.domains.of_nobody();
        let others = self.domains.others().await?.into_iter().filter(|seen| !seen.name.starts_with(prefix));
        Ok(join_all(others.map(|seen| look_at(seen, NAME, &nobodys))).await)
    }

    async fn adopt(&self, machine: &Machine, turn: &Turn) -> Result<(), ProviderError> {
        InstanceName::new(machine.label())?;
        self.begin(machine, turn).await
    }

    async fn release(&self, machine: &Machine) -> Result<(), ProviderError> {
        let (domains, name) = self.domain(machine);
        // Nothing of what was added outlives a stop.
        if matches!(domains.state(&name).await?, DomainState::Absent | DomainState::Off) {
            return Ok(());
        }
        domains.resume(&name).await?;
        self.insides.leave(&name);
        self.adopted(machine).unplug().await
    }
}
