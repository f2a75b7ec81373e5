//! One seed: a controller that lives and dies in a world that goes wrong, until that is over and all is taken down.

use std::sync::Arc;
use std::time::Duration;

use encanto::api::{EnvironmentKind, LOG_SIZE};
use encanto::charm::{CharmHost, Limits};
use encanto::controller::{Controller, Origin, Parts};
use encanto::model::{Change, MachineId, Millis, ServiceName};
use encanto::plan::settled::{Condition, at_rest};
use encanto::provider::simulated::SimulatedProvider;
use encanto::provider::{InstanceName, InstanceState};
use encanto::store::Entry;
use encanto::worker::World;
use encanto::worker::ledger::Writing;
use encanto::worker::waiter::{self, Told};

use crate::charms::Charms;
use crate::checks;
use crate::hooks::FakeHooks;
use crate::operator::{Operator, failed_machines, shown};
use crate::provider::FlakyProvider;
use crate::sim::{Faults, Sim, WatchedJournal};

/// Once nothing fails any more all must be well after so long: hooks hang for five minutes, and are tried again as late.
const PATIENCE: Millis = 40 * 60_000;

/// What is left of a seed's world.
#[derive(Debug)]
pub struct Report {
    pub journal: Vec<Entry>,
    pub hooks: u64,
    pub crashes: u64,
}

/// # Errors
/// What went wrong, in words.
pub fn run(seed: u64, traced: bool) -> Result<Report, String> {
    let sim = Sim::new(seed, traced);
    let mut play = Play::new(sim.clone());
    loop {
        // A life of the controller is a runtime: it ends with all that was going on in it.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        // How many tasks run before the script has a look: with one, it gets between any two.
        let interval = 1 + sim.state().rng.below(8) as u32;
        let runtime = runtime.enable_time().start_paused(true).event_interval(interval).build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let ended = runtime.block_on(play.live())?;
        let at = {
            let _inside = runtime.enter();
            sim.now()
        };
        drop(runtime);
        sim.buried(at + play.pause());
        if let Life::Over = ended {
            let state = sim.state();
            let (hooks, crashes) = (state.hooks_run, state.crashes);
            return Ok(Report { journal: state.journal.entries(), hooks, crashes });
        }
    }
}

enum Life {
    Crashed,
    Over,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// So many more things happen.
    Storm(u64),
    Heal,
    /// Everything is destroyed; it goes on failing until then.
    Destroy(Millis),
}

struct Play {
    sim: Arc<Sim>,
    provider: Arc<FlakyProvider>,
    charms: Charms,
    phase: Phase,
    storms: u64,
    faults: Faults,
    retry_hooks: Option<Millis>,
    update_status: Option<Duration>,
    /// How long a write takes.
    disk: Duration,
}

impl Play {
    fn new(sim: Arc<Sim>) -> Play {
        let mut state = sim.state();
        let rng = &mut state.rng;
        let charms = Charms::new(rng);
        let mut up_to = |most: u64| if rng.chance(300) { 0 } else { rng.below(most) };
        let faults = Faults {
            provider: up_to(200),
            hooks: up_to(250),
            hangs: up_to(60),
            for_good: up_to(100),
            crashes: up_to(40),
            delay: up_to(5_000),
        };
        let phase = Phase::Storm(10 + rng.below(40));
        let storms = rng.below(2);
        let retry_hooks = rng.chance(700).then_some(5_000);
        let update_status = rng.chance(500).then_some(Duration::from_secs(300));
        let disk = match rng.below(10) {
            0..5 => 0,
            5..9 => 1 + rng.below(50),
            _ => 1 + rng.below(3_000),
        };
        let disk = Duration::from_millis(disk);
        drop(state);
        let provider = Arc::new(FlakyProvider { inner: SimulatedProvider::new(), sim: sim.clone() });
        Play { sim, provider, charms, phase, storms, faults, retry_hooks, update_status, disk }
    }

    /// How long nobody was there, in milliseconds.
    fn pause(&self) -> Millis {
        self.sim.state().rng.below(20_000) as Millis
    }

    fn parts(&self) -> Parts {
        let writing = Writing::Task(self.disk);
        let (retry_hooks, update_status) = (self.retry_hooks, self.update_status);
        Parts { writing, retry_hooks, update_status, ..parts(&self.sim, &self.provider) }
    }

    async fn live(&mut self) -> Result<Life, String> {
        self.sim.born();
        self.sim.say("--- a controller starts");
        let controller = Controller::start(self.parts()).await.map_err(|error| error.to_string())?;
        let world = controller.world.clone();
        for charm in self.charms.all() {
            world.charms.keep(&charm.digest, charm.files.clone()).await.map_err(|error| error.to_string())?;
        }
        let sim = self.sim.clone();
        tokio::select! {
            biased;
            () = sim.crashed() => Ok(Life::Crashed),
            () = world.ledger.ended() => Err("the ledger ended by itself".to_owned()),
            done = self.script(&world) => done.map(|()| Life::Over),
        }
    }

    async fn script(&mut self, world: &World) -> Result<(), String> {
        loop {
            match self.phase {
                Phase::Storm(0) => self.phase = Phase::Heal,
                Phase::Storm(left) => {
                    self.phase = Phase::Storm(left - 1);
                    self.sim.state().faults = self.faults;
                    self.happen(world).await?;
                }
                Phase::Heal => {
                    self.calm();
                    self.heal(world).await?;
                    self.next_storm();
                }
                Phase::Destroy(until) => {
                    self.destroy(world, until).await?;
                    return self.nothing_is_left(world).await;
                }
            }
        }
    }

    /// Nothing fails any more, but what is broken for good.
    fn calm(&self) {
        let mut state = self.sim.state();
        state.say("--- calm");
        state.faults = Faults::default();
        state.journal_full = false;
        state.crash_after = None;
    }

    fn next_storm(&mut self) {
        let now = self.sim.now();
        let mut state = self.sim.state();
        if self.storms > 0 {
            self.storms -= 1;
            self.phase = Phase::Storm(5 + state.rng.below(20));
        } else {
            let storm = if state.rng.chance(500) { 60_000 } else { 0 };
            self.phase = Phase::Destroy(now + storm);
        }
    }

    /// One thing happens, and some time goes by.
    async fn happen(&mut self, world: &World) -> Result<(), String> {
        let dice = self.sim.state().rng.below(100);
        match dice {
            0..70 => self.command(world).await,
            70..76 => self.lose(world),
            76..80 => self.sim.state().crash_after = Some(1 + dice % 4),
            80..82 => {
                let mut state = self.sim.state();
                state.journal_full = !state.journal_full;
                let words = if state.journal_full { "--- the disk is full" } else { "--- the disk has room" };
                state.say(words);
            }
            82 => self.reboot().await,
            83 => self.sim.crash(),
            84 => {
                self.sim.say("--- somebody takes the network away");
                self.provider.inner.disturb("the network was taken away");
            }
            85..87 => self.keep(world).await,
            _ => {}
        }
        self.pass_time().await;
        judge(&checks::always(world, &self.sim))
    }

    async fn command(&self, world: &World) {
        let asked = {
            let mut state = self.sim.state();
            let model = world.ledger.model();
            Operator { rng: &mut state.rng, charms: &self.charms, model: &model }.ask()
        };
        let Some((name, change)) = asked else { return };
        self.sim.say(&format!("> {}", shown(name, &change)));
        // Some do not wait for the answer.
        if self.sim.state().rng.chance(300) {
            world.ledger.submit(name, change);
        } else if let Err(error) = world.ledger.commit(name, change).await {
            self.sim.say(&format!("  refused: {error}"));
        }
    }

    /// An instance stops or vanishes.
    fn lose(&self, world: &World) {
        let machines: Vec<MachineId> = world.ledger.model().machines.keys().skip(1).copied().collect();
        let (machine, gone) = {
            let mut state = self.sim.state();
            (state.rng.pick(&machines).copied(), state.rng.chance(300))
        };
        let Some(Ok(name)) = machine.map(|machine| world.instance_name(machine)) else { return };
        self.sim.say(&format!("--- {name} {}", if gone { "vanishes" } else { "stops" }));
        if gone { self.provider.inner.vanish(&name) } else { self.provider.inner.stop_behind(&name) }
    }

    /// Somebody takes a snapshot, which an operator may restore.
    async fn keep(&self, world: &World) {
        let machines: Vec<MachineId> = world.ledger.model().machines.keys().skip(1).copied().collect();
        let machine = self.sim.state().rng.pick(&machines).copied();
        if let Some(Ok(name)) = machine.map(|machine| world.instance_name(machine)) {
            // It may not be there.
            let kept = encanto::provider::Provider::snapshot(&self.provider.inner, &name, "monday").await;
            self.sim.say(&format!("--- snapshot of {name}: {}", if kept.is_ok() { "taken" } else { "none" }));
        }
    }

    /// Everything stops, the controller first.
    async fn reboot(&self) {
        let running = encanto::provider::Provider::list(&self.provider.inner).await.unwrap_or_default();
        let running: Vec<InstanceName> =
            running.into_iter().filter(|(_, state)| *state == InstanceState::Running).map(|(name, _)| name).collect();
        self.sim.say("--- the host reboots");
        self.sim.crash();
        running.iter().for_each(|name| self.provider.inner.stop_behind(name));
    }

    async fn pass_time(&self) {
        let (kind, dice) = {
            let mut state = self.sim.state();
            (state.rng.below(10), state.rng.next())
        };
        let millis = match kind {
            0..4 => {
                for _ in 0..dice % 24 {
                    tokio::task::yield_now().await;
                }
                return;
            }
            4..6 => dice % 1_000,
            6..9 => dice % 30_000,
            _ => dice % 600_000,
        };
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    async fn heal(&self, world: &World) -> Result<(), String> {
        let deadline = world.ledger.now() + PATIENCE;
        loop {
            tokio::time::sleep(Duration::from_secs(20)).await;
            let busy = self.mend(world).await || !stays_at_rest(world).await;
            if !busy {
                break;
            }
            judge(&checks::always(world, &self.sim))?;
            if world.ledger.now() > deadline {
                return Err(format!("it never came to rest: {}", standing(world).await));
            }
        }
        judge(&checks::at_rest(world, &self.sim, &self.provider).await)?;
        self.sim.say("--- at rest, as it should be");
        let verdict = verdict(world).await;
        if matches!(verdict, Some(Told::TimedOut(_)) | None) {
            return Err(format!("wait does not end when all is at rest: {verdict:?}"));
        }
        Ok(())
    }

    /// What an operator would do about what he is shown. True if there was something, or soon will be.
    async fn mend(&self, world: &World) -> bool {
        let model = world.ledger.model().clone();
        // Nothing can be copied of what is gone.
        let gone = checks::lost_machines(world);
        let can_be_made = |id: &MachineId| {
            let machine = &model.machines[id];
            model.can_be_made(machine) && machine.copy_of.is_none_or(|from| !gone.contains(&from))
        };
        let (machines, orphans): (Vec<MachineId>, Vec<MachineId>) =
            failed_machines(&model).into_iter().partition(can_be_made);
        if !orphans.is_empty() {
            world.ledger.submit("destroy-machine", Change::DestroyMachines { machines: orphans, force: true });
            return true;
        }
        let curable = checks::curable(&model, world, &self.sim);
        let something = !machines.is_empty() || !curable.is_empty();
        if !machines.is_empty() {
            world.ledger.submit("retry-provisioning", Change::RetryProvisioning { machines });
        }
        if self.retry_hooks.is_none() {
            for unit in curable {
                world.ledger.submit("resolved", Change::Resolve { unit, retry: true });
            }
        }
        something
    }

    async fn destroy(&mut self, world: &World, until: Millis) -> Result<(), String> {
        self.sim.state().faults = self.faults;
        self.sim.say("--- everything is destroyed");
        let deadline = until.max(world.ledger.now()) + PATIENCE;
        loop {
            let now = world.ledger.now();
            if now >= until {
                self.calm();
            }
            let (services, machines, empty) = {
                let model = world.ledger.model();
                let services: Vec<ServiceName> = model.services.keys().cloned().collect();
                let machines = model.machines.keys().filter(|id| **id != MachineId::HOST).copied();
                let (containers, hosts): (Vec<MachineId>, Vec<MachineId>) =
                    machines.partition(|id| id.host().is_some());
                let machines = if containers.is_empty() { hosts } else { containers };
                (services, machines, model.units.is_empty())
            };
            let force = self.sim.state().rng.chance(100);
            if services.is_empty() && machines.is_empty() && now >= until && stays_at_rest(world).await {
                return Ok(());
            }
            if !services.is_empty() {
                let name = if force { "destroy-service --force" } else { "destroy-service" };
                world.ledger.submit(name, Change::DestroyServices { services, force });
            } else if empty && !machines.is_empty() {
                world.ledger.submit("destroy-machine", Change::DestroyMachines { machines, force });
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
            judge(&checks::always(world, &self.sim))?;
            if now > deadline {
                return Err(format!("it cannot be destroyed: {}", standing(world).await));
            }
        }
    }

    async fn nothing_is_left(&self, world: &World) -> Result<(), String> {
        let mut found = checks::at_rest(world, &self.sim, &self.provider).await;
        let model = world.ledger.model();
        let left = [model.services.len(), model.units.len(), model.relations.len(), model.charms.len()];
        if left != [0; 4] || model.machines.len() != 1 || !model.unused.is_empty() {
            found.push(format!("something is left: {model:#?}"));
        }
        judge(&found)
    }
}

/// A controller in the world of `sim`.
pub fn parts(sim: &Arc<Sim>, provider: &Arc<FlakyProvider>) -> Parts {
    let clock = sim.clone();
    Parts {
        environment: "sim".parse().unwrap(),
        series: "bookworm".into(),
        origin: Origin { kind: EnvironmentKind::Simulated, user: "me".into() },
        prefix: PREFIX.into(),
        log_size: LOG_SIZE,
        folder: None,
        repository: None,
        journal: Box::new(WatchedJournal(sim.clone())),
        provider: provider.clone(),
        writing: Writing::Task(Duration::ZERO),
        charm_host: Arc::new(CharmHost::new(Limits::default())),
        hooks: Arc::new(FakeHooks(sim.clone())),
        clock: Arc::new(move || clock.now()),
        retry_hooks: None,
        update_status: None,
        instances_in_memory: false,
    }
}

const PREFIX: &str = "me-sim-";

pub fn rests(world: &World) -> bool {
    at_rest(&world.ledger.model(), &world.ledger.observed())
}

/// Ports are opened a moment after the last hook, and nobody waits for that.
async fn stays_at_rest(world: &World) -> bool {
    if !rests(world) {
        return false;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    rests(world)
}

fn judge(found: &[String]) -> Result<(), String> {
    if found.is_empty() { Ok(()) } else { Err(found.join("\n  ")) }
}

/// What `encanto wait` says in the end.
pub async fn verdict(world: &World) -> Option<Told> {
    let (out, mut told) = tokio::sync::mpsc::channel(8);
    let limit = Some(Duration::from_secs(10));
    tokio::spawn(waiter::wait(world.ledger.clone(), Vec::new(), Condition::Active, limit, out));
    let mut last = None;
    while let Some(next) = told.recv().await {
        last = Some(next);
    }
    last.filter(|told| !matches!(told, Told::Progress(_)))
}

/// What stands in the way.
async fn standing(world: &World) -> String {
    let (model, observed) = (world.ledger.model(), world.ledger.observed());
    let all = encanto::plan::settled::progress(&model, &observed, &[], Condition::Settled);
    let all: Vec<String> =
        all.iter().map(|progress| format!("{}: {} {}", progress.entity, progress.state, progress.message)).collect();
    format!("{}\n  {observed:?}", all.join("\n  "))
}
