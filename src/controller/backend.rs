//! What the API's handlers ask of the controller.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLockReadGuard};
use std::time::Duration;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use rand::RngExt;
use rand::distr::Alphanumeric;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::api::backend::{
    Asker, Backend, Dying, ExecPlace, LoadedCharm, Recorded, RunEnd, RunLine, RunTarget, Session, WaitFor, WaitTarget,
};
use crate::api::handlers::refusal;
use crate::api::{
    CharmSource, ControllerAnswer, DebugHooks, EnvironmentKind, Exec, ForeignMachine, LogLine, Manifest, ProgressLine,
    Refusal, SnapshotInfo, VERSION, WaitEvent,
};
use crate::charm::{self, CharmFiles, ExecResult, OUTPUT_LIMIT};
use crate::model::{
    Change, ChangeError, Event, Machine, MachineChange, MachineId, MachineWork, Millis, Model, Observed, Provision,
    Sighting, SnapshotName, Subject, UnitName, check,
};
use crate::plan::removal;
use crate::plan::settled::{Condition, Target, Verdict};
use crate::provider::Foreign;
use crate::store::{Entry, Page, Wanted};
use crate::worker::command::{self, Command};
use crate::worker::ledger::LedgerError;
use crate::worker::logbook::{Line, time_text};
use crate::worker::waiter::{self, Told};
use crate::worker::{World, chain, observer};

use super::backup::{self, Origin};
use super::machines::{self, Place};
use super::{Workers, debug_hooks, refused, session};

pub struct ControllerBackend {
    world: World,
    workers: Arc<Workers>,
    stopping: CancellationToken,
    repository: Option<PathBuf>,
    origin: Origin,
    started: String,
}

impl ControllerBackend {
    pub(super) fn new(
        world: World,
        workers: Arc<Workers>,
        stopping: CancellationToken,
        (repository, origin): (Option<PathBuf>, Origin),
    ) -> Self {
        let started = time_text(world.ledger.now());
        ControllerBackend { world, workers, stopping, repository, origin, started }
    }

    fn find(&self, source: &CharmSource) -> Result<CharmFiles, Refusal> {
        match source {
            CharmSource::Files { path, files } => {
                let decoded = files.iter().map(|(name, text)| {
                    let content = BASE64_STANDARD.decode(text);
                    content
                        .map(|content| (name.clone(), content))
                        .map_err(|_| Refusal::new(format!("file \"{name}\" of the charm {path} did not arrive whole")))
                });
                decoded.collect()
            }
            CharmSource::Named(text) => self.find_named(text),
        }
    }

    /// `mysql`, `local:bookworm/mysql`, `cs:precise/mysql-28`: series and revision of a store do not bind.
    fn find_named(&self, text: &str) -> Result<CharmFiles, Refusal> {
        let bare = text.split_once(':').map_or(text, |(_, rest)| rest);
        let bare = bare.rsplit('/').next().unwrap_or(bare);
        let name = match bare.rsplit_once('-') {
            Some((name, number)) if text.contains(':') && number.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => bare,
        };
        if name.parse::<crate::model::CharmName>().is_err() {
            return Err(Refusal::new(format!("invalid charm name \"{text}\""))
                .hint("a charm in a folder is given as a path: `encanto deploy ./my-charm`"));
        }
        let series = self.world.ledger.model().series.clone();
        let found = charm::find_charm(self.repository.as_deref(), Some(&series), name);
        match found.map_err(|error| Refusal::new(chain(&error)))? {
            Some(files) => Ok(files),
            None => {
                let refusal = Refusal::new(format!("charm not found: \"{text}\""));
                let refusal = refusal::suggest(refusal, name, charm::builtin_charms().into_iter(), "charms");
                Err(refusal.hint("a charm in a folder is given as a path: `encanto deploy ./my-charm`"))
            }
        }
    }
}

impl ControllerBackend {
    /// The instance in which commands can be run.
    fn instance_of(&self, machine: MachineId) -> Result<String, Refusal> {
        if self.model().machines.get(&machine).is_some_and(Machine::is_off) {
            return Err(
                Refusal::new(format!("machine {machine} is stopped")).hint(format!("encanto machine start {machine}"))
            );
        }
        Ok(self.place_of(machine)?.instance.to_string())
    }

    /// An instance that is there, whether it runs or not.
    fn place_of(&self, machine: MachineId) -> Result<Place, Refusal> {
        let provision = self.model().machines.get(&machine).map(|machine| machine.provision.clone());
        match provision {
            None => Err(refusal::of(&ChangeError::NoMachine(machine), &self.model())),
            Some(Provision::Running { instance, .. }) => Place::of(machine, instance),
            Some(Provision::Host { .. }) => Err(Refusal::new("machine 0 is this host").hint("open a terminal instead")),
            Some(Provision::Failed { message }) => {
                Err(Refusal::new(format!("machine {machine} could not be created: {message}"))
                    .hint(format!("`encanto retry-provisioning {machine}` tries again")))
            }
            _ => Err(Refusal::new(format!("machine {machine} is not there yet"))
                .hint(format!("`encanto wait {machine} --for started` returns when it is"))),
        }
    }

    /// A command could not be run: if the machine is known not to run, that is why.
    fn with_state_of(&self, machine: MachineId, refusal: Refusal) -> Refusal {
        let noun = self.model().noun(machine).to_owned();
        match self.observed().instances.get(&machine) {
            Some(Sighting::Missing) => refusal::lost(machine, &noun),
            Some(Sighting::Stopped | Sighting::Unknown) => Refusal::new(format!("machine {machine} is down"))
                .hint(format!("`encanto wait {machine} --for started` returns when it is up again")),
            Some(Sighting::Running) | None => refusal,
        }
    }
}

#[async_trait]
impl Backend for ControllerBackend {
    async fn commit(&self, by: &Asker, change: Change) -> Result<Vec<Event>, Refusal> {
        if let Change::Machine(MachineChange::Start { again, .. }) = &change {
            // Before its worker hears of it, which would wait still.
            self.world.ledger.observe(|observed| observed.forget_troubles(again, MachineWork::Start));
        }
        match self.world.ledger.commit_for(&by.user, &by.command, change).await {
            Ok(committed) => Ok(committed.events),
            Err(LedgerError::Refused(error)) => Err(refusal::of(&error, &self.world.ledger.model())),
            Err(error) => Err(Refusal::new(error.to_string())),
        }
    }

    fn model(&self) -> RwLockReadGuard<'_, Model> {
        self.world.ledger.model()
    }

    fn observed(&self) -> RwLockReadGuard<'_, Observed> {
        self.world.ledger.observed()
    }

    async fn load_charm(&self, source: &CharmSource, purpose: &str) -> Result<LoadedCharm, Refusal> {
        let files = self.find(source)?;
        let meta = self.world.charm_host.load(&files).await.map_err(|error| {
            let text = error.to_string();
            let mut lines = text.lines();
            let refusal = Refusal::new(format!("cannot {purpose}: {}", lines.next().unwrap_or_default()));
            lines.fold(refusal, |refusal, line| refusal.detail(line.trim_end()))
        })?;
        let digest = charm::digest(&files);
        self.world.charms.keep(&digest, files).await.map_err(|error| Refusal::new(chain(&error)))?;
        Ok(LoadedCharm { meta, digest })
    }

    fn random_text(&self, length: u8) -> String {
        rand::rng().sample_iter(Alphanumeric).take(length.into()).map(char::from).collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.world.ledger.changes()
    }

    fn waits_for(&self, model: &Model, observed: &Observed, dying: Dying<'_>) -> Option<String> {
        let obstacle = match dying {
            Dying::Machine(id) => removal::of_machine(model, observed, id),
            Dying::Service(name) => removal::of_service(model, observed, name),
            Dying::Unit(name) => removal::of_unit(model, observed, name),
            Dying::Relation(id) => removal::of_relation(model, observed, id),
        };
        obstacle.map(|obstacle| obstacle.to_string())
    }

    fn wait(&self, targets: Vec<WaitTarget>, what: WaitFor, timeout: Option<Duration>) -> mpsc::Receiver<WaitEvent> {
        let (told, mut tells) = mpsc::channel(64);
        let (out, events) = mpsc::channel(64);
        let targets = targets.into_iter().map(target).collect();
        let condition = match what {
            WaitFor::Active => Condition::Active,
            WaitFor::Started => Condition::Started,
            WaitFor::Settled => Condition::Settled,
            WaitFor::Gone => Condition::Gone,
        };
        tokio::spawn(waiter::wait(self.world.ledger.clone(), targets, condition, timeout, told));
        tokio::spawn(async move {
            while let Some(told) = tells.recv().await {
                if out.send(wait_event(told)).await.is_err() {
                    return;
                }
            }
        });
        events
    }

    fn log_after(&self, after: u64, wanted: &dyn Fn(&LogLine) -> bool) -> Vec<LogLine> {
        let lines = self.world.logbook.lines_after(after, |_| true);
        lines.into_iter().map(log_line).filter(|line| wanted(line)).collect()
    }

    fn log_last(&self) -> watch::Receiver<u64> {
        self.world.logbook.last()
    }

    async fn recorded(&self, of: Option<&Subject>, before: u64, count: usize) -> Result<Vec<Recorded>, Refusal> {
        let wanted = of.cloned().map_or(Wanted::Asked, Wanted::Of);
        let entries = self.world.ledger.past(wanted, Page { before, count }).await;
        let recorded = |entry: Entry| Recorded {
            sequence: entry.sequence,
            at: entry.at,
            by: entry.by,
            user: entry.user,
            event: entry.event,
        };
        let entries = entries.map_err(|error| Refusal::new(error.to_string()))?;
        Ok(entries.into_iter().map(recorded).collect())
    }

    fn now(&self) -> Millis {
        self.world.ledger.now()
    }

    async fn backup(&self, by: &Asker) -> Result<(Manifest, File), Refusal> {
        let taken = backup::take(&self.world, self.origin.clone(), &self.random_text(12)).await;
        let taken = taken.map_err(|error| Refusal::new(format!("cannot back up the environment: {error:#}")))?;
        self.commit(by, Change::BackUp).await?;
        Ok(taken)
    }

    async fn exec(&self, place: ExecPlace, request: &Exec) -> Result<Session, Refusal> {
        let instance = self.instance_of(place.machine)?;
        let opened = session::open(self.world.provider.as_ref(), instance, place.user, request).await;
        opened.map_err(|refusal| self.with_state_of(place.machine, refusal))
    }

    async fn console(&self, machine: MachineId, terminal: (u16, u16)) -> Result<Session, Refusal> {
        let place = Place::of(machine, self.instance_of(machine)?)?;
        let opened = machines::console(self.world.provider.as_ref(), place, terminal).await;
        opened.map_err(|refusal| self.with_state_of(machine, refusal))
    }

    async fn snapshots(&self, machine: MachineId) -> Result<Vec<SnapshotInfo>, Refusal> {
        machines::snapshots(self.world.provider.as_ref(), self.place_of(machine)?).await
    }

    async fn take_snapshot(&self, machine: MachineId, name: &SnapshotName) -> Result<SnapshotInfo, Refusal> {
        machines::take(&self.world, self.place_of(machine)?, name).await
    }

    async fn drop_snapshot(&self, machine: MachineId, name: &SnapshotName) -> Result<(), Refusal> {
        machines::drop_snapshot(self.world.provider.clone(), self.place_of(machine)?, name).await
    }

    async fn debug_hooks(&self, by: &Asker, unit: UnitName, request: DebugHooks) -> Result<Session, Refusal> {
        debug_hooks::open(&self.world, by, unit, request).await
    }

    async fn run(&self, target: &RunTarget, line: &RunLine) -> Result<RunEnd, Refusal> {
        let instance = self.instance_of(target.machine)?;
        let command = Command {
            machine: target.machine,
            unit: target.unit.as_ref(),
            line: &line.text,
            timeout: line.timeout,
            by: &line.by,
        };
        let ended = command::run(&self.world, instance, command).await;
        let ended = ended.map_err(|error| self.with_state_of(target.machine, Refusal::new(error)))?;
        let ExecResult { code, timed_out, stdout, stderr } = ended;
        // As much as is kept: whoever says just so much is taken for one who said more.
        let cut = stdout.len().max(stderr.len()) >= OUTPUT_LIMIT;
        Ok(RunEnd { code, timed_out, stdout, stderr, cut })
    }

    async fn foreign(&self) -> Result<Vec<ForeignMachine>, Refusal> {
        let found = self.world.provider.foreign().await.map_err(|error| refused::of(&error))?;
        let mut machines: Vec<ForeignMachine> = found.into_iter().map(foreign_machine).collect();
        machines.sort_by(|one, other| (&one.name, &one.kind).cmp(&(&other.name, &other.kind)));
        Ok(machines)
    }

    async fn inspect(&self, folder: &str) -> Result<ForeignMachine, Refusal> {
        let found = self.world.provider.inspect(Path::new(folder)).await;
        found.map(foreign_machine).map_err(|error| refused::of(&error))
    }

    fn may_adopt(&self, by: &Asker) -> bool {
        self.origin.kind == EnvironmentKind::Simulated || by.user == "root"
    }

    async fn problems(&self) -> Vec<String> {
        let mut problems = check::inconsistencies(&self.model());
        problems.extend(machine_problems(&self.model(), &self.observed()));
        match observer::leaked(&self.world).await {
            // What is on its disk may be all that is left of a machine which a restored backup did not know.
            Ok(leaked) => problems.extend(leaked.iter().map(|name| {
                format!("instance {name} belongs to no machine: it is left alone until the environment is destroyed")
            })),
            Err(error) => problems.push(format!("the instances cannot be listed: {}", chain(&error))),
        }
        problems
    }

    fn info(&self) -> ControllerAnswer {
        let model = self.model();
        ControllerAnswer {
            version: VERSION.to_owned(),
            environment: model.environment.as_ref().map(|name| name.to_string()).unwrap_or_default(),
            pid: std::process::id(),
            started: self.started.clone(),
            sequence: self.world.ledger.sequence(),
            machines: model.machines.len() as u64,
            units: model.units.len() as u64,
        }
    }

    fn stop(&self) {
        self.stopping.cancel();
    }

    async fn destroy(&self) -> Result<(), Refusal> {
        self.workers.stop().await;
        self.world.provider.teardown().await.map_err(|error| {
            refused::at("not everything could be taken down", &error)
                .hint("mend that and repeat the command; machines are not worked on any more until then")
        })?;
        super::daemon::mark_destroyed(&self.world);
        self.stopping.cancel();
        Ok(())
    }
}

/// What is wrong with the host and the machines now, each with the way out if there is one.
fn machine_problems(model: &Model, observed: &Observed) -> Vec<String> {
    let lost = observed.instances.iter().filter(|(_, sighting)| **sighting == Sighting::Missing);
    let lost = lost.map(|(id, _)| {
        format!("machine {id} has lost its {}: `encanto destroy-machine {id} --force`", model.noun(*id))
    });
    let troubled = observed.troubles.keys().filter_map(|id| {
        let trouble = observed.trouble(*id).filter(|_| observed.instances.get(id) != Some(&Sighting::Missing))?;
        let what = format!("machine {id} cannot be {}: {}", trouble.work.participle(), trouble.words);
        Some(match trouble.work {
            MachineWork::Destroy | MachineWork::Release | MachineWork::Stop | MachineWork::Restore => what,
            MachineWork::Create | MachineWork::Adopt | MachineWork::Start => {
                format!("{what}: `encanto destroy-machine {id} --force`")
            }
        })
    });
    observed.host_fault().cloned().into_iter().chain(lost).chain(troubled).collect()
}

fn foreign_machine(foreign: Foreign) -> ForeignMachine {
    let Foreign { kind, name, state, series, obstacle } = foreign;
    ForeignMachine { kind, name, state: Sighting::from(state).as_str().to_owned(), series, obstacle }
}

fn target(target: WaitTarget) -> Target {
    match target {
        WaitTarget::Machine(id) => Target::Machine(id),
        WaitTarget::Unit(name) => Target::Unit(name),
        WaitTarget::Service(name) => Target::Service(name),
    }
}

fn wait_event(told: Told) -> WaitEvent {
    match told {
        Told::Progress(progress) => WaitEvent::Progress(ProgressLine {
            entity: progress.entity,
            parent: progress.parent,
            state: progress.state,
            message: progress.message,
            doing: progress.doing,
            settled: progress.verdict != Verdict::Busy,
        }),
        Told::Ready => WaitEvent::Ready,
        Told::Failed(reasons) => WaitEvent::Failed { reasons },
        Told::TimedOut(reasons) => WaitEvent::TimedOut { reasons },
    }
}

fn log_line(line: Line) -> LogLine {
    LogLine {
        sequence: line.sequence,
        time: time_text(line.at),
        entity: line.entity,
        level: line.level.to_string(),
        module: line.module,
        message: line.message,
    }
}
