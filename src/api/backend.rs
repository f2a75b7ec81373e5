//! What the handlers need of the controller.

use std::sync::RwLockReadGuard;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use crate::model::{Change, CharmMeta, Event, MachineId, Millis, Model, Observed, RelationId, ServiceName, UnitName};

use super::requests::{CharmSource, ControllerAnswer, DebugHooks, Exec, Frame, Refusal};
use super::status::{LogLine, WaitEvent};

/// A charm that was read and found good; its files are kept under `digest`.
#[derive(Clone, Debug)]
pub struct LoadedCharm {
    pub meta: CharmMeta,
    pub digest: String,
}

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub sequence: u64,
    pub at: Millis,
    /// A command, or a worker: its name begins with `@`.
    pub by: String,
    pub event: Event,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitTarget {
    Machine(MachineId),
    Unit(UnitName),
    Service(ServiceName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    Active,
    Started,
    Settled,
    Gone,
}

/// Where a command is to run, and as whom; nobody named is root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecPlace {
    pub machine: MachineId,
    pub user: Option<String>,
}

/// A command that runs in a machine. Frames go both ways; the last that comes is `Exit` or `Failed`.
pub struct Session {
    pub input: mpsc::Sender<Frame>,
    pub output: mpsc::Receiver<Frame>,
}

/// Something that may be on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dying<'a> {
    Machine(MachineId),
    Service(&'a ServiceName),
    Unit(&'a UnitName),
    Relation(RelationId),
}

#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Makes the change for good and tells what came of it.
    async fn commit(&self, by: &str, change: Change) -> Result<Vec<Event>, Refusal>;
    fn model(&self) -> RwLockReadGuard<'_, Model>;
    fn observed(&self) -> RwLockReadGuard<'_, Observed>;
    /// Finds, reads and keeps a charm.
    async fn load_charm(&self, source: &CharmSource) -> Result<LoadedCharm, Refusal>;
    /// Letters and digits that nobody can guess.
    fn random_text(&self, length: u8) -> String;
    /// Told whenever the model or what is observed changes.
    fn changes(&self) -> watch::Receiver<u64>;
    /// What stands in the way of what is being removed, in words; `None` if it is not, or goes in a moment.
    fn waits_for(&self, model: &Model, observed: &Observed, dying: Dying<'_>) -> Option<String>;
    fn wait(&self, targets: Vec<WaitTarget>, what: WaitFor, timeout: Option<Duration>) -> mpsc::Receiver<WaitEvent>;
    /// Kept log lines after number `after`.
    fn log_after(&self, after: u64, wanted: &dyn Fn(&LogLine) -> bool) -> Vec<LogLine>;
    /// The number of the last log line; told of each new one.
    fn log_last(&self) -> watch::Receiver<u64>;
    /// The newest so many entries of the journal, the oldest first.
    async fn recorded(&self, newest: u64) -> Result<Vec<Recorded>, Refusal>;
    async fn exec(&self, place: ExecPlace, request: &Exec) -> Result<Session, Refusal>;
    /// Begins a session of `debug-hooks`; `by` is the command.
    async fn debug_hooks(&self, by: &str, unit: UnitName, request: DebugHooks) -> Result<Session, Refusal>;
    /// Inconsistencies and leaks.
    async fn problems(&self) -> Vec<String>;
    fn info(&self) -> ControllerAnswer;
    /// Ends the controller; machines keep running.
    fn stop(&self);
    /// Takes everything down; ends the controller when nothing is left.
    async fn destroy(&self) -> Result<(), Refusal>;
}
