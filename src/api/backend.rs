//! What the handlers need of the controller.

use std::fmt;
use std::fs::File;
use std::sync::RwLockReadGuard;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use crate::model::{
    Change, CharmMeta, Event, MachineId, Millis, Model, Observed, RelationId, ServiceName, SnapshotName, Subject,
    UnitName,
};

use super::adopt::ForeignMachine;
use super::backup::Manifest;
use super::machines::SnapshotInfo;
use super::requests::{CharmSource, ControllerAnswer, DebugHooks, Exec, Frame, Refusal};
use super::status::{LogLine, WaitEvent};

/// A charm that was read and found good; its files are kept under `digest`.
#[derive(Clone, Debug)]
pub struct LoadedCharm {
    pub meta: CharmMeta,
    pub digest: String,
}

/// Who asks, and by which command: what the journal will say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The user at the other end of the socket, as the kernel tells: not what the client says.
    pub user: String,
    /// What was typed, without values.
    pub command: String,
}

/// Longer ones are cut: a thousand units may be named in one command.
const LONGEST_COMMAND: usize = 400;

impl Asker {
    /// The client has left out the values of settings; whatever still looks like one is left out here.
    pub fn new(user: String, command: &str) -> Asker {
        let words = command.split_whitespace().map(|word| word.split_once('=').map_or(word, |(key, _)| key));
        let mut command = words.collect::<Vec<_>>().join(" ");
        if let Some((end, _)) = command.char_indices().nth(LONGEST_COMMAND) {
            command.truncate(end);
            command.push('…');
        }
        // A name that begins so is a worker's.
        let command = command.trim_start_matches('@').to_owned();
        Asker { user, command }
    }
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.user, self.command)
    }
}

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub sequence: u64,
    pub at: Millis,
    /// A command, or a worker: its name begins with `@`.
    pub by: String,
    /// Who typed the command; unknown in journals of 0.1.
    pub user: Option<String>,
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

/// Where a line is run: in a machine, or in a unit's when nothing else works on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTarget {
    pub machine: MachineId,
    pub unit: Option<UnitName>,
}

/// A line for the shell of machines.
#[derive(Clone, Debug)]
pub struct RunLine {
    pub text: String,
    pub timeout: Duration,
    /// The command that asks.
    pub by: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunEnd {
    pub code: i32,
    pub timed_out: bool,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Only the end of one of them is here.
    pub cut: bool,
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
    async fn commit(&self, by: &Asker, change: Change) -> Result<Vec<Event>, Refusal>;
    fn model(&self) -> RwLockReadGuard<'_, Model>;
    fn observed(&self) -> RwLockReadGuard<'_, Observed>;
    /// Finds, reads and keeps a charm.
    async fn load_charm(&self, source: &CharmSource, purpose: &str) -> Result<LoadedCharm, Refusal>;
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
    /// The newest `count` entries before number `before`, the oldest first: of a unit or machine, or (`None`) those
    /// that commands asked for.
    async fn recorded(&self, of: Option<&Subject>, before: u64, count: usize) -> Result<Vec<Recorded>, Refusal>;
    fn now(&self) -> Millis;
    /// A copy of the environment's state: what it is, and its content at the beginning.
    async fn backup(&self, by: &Asker) -> Result<(Manifest, File), Refusal>;
    async fn exec(&self, place: ExecPlace, request: &Exec) -> Result<Session, Refusal>;
    /// Begins a session of `debug-hooks`; `by` is the command.
    async fn debug_hooks(&self, by: &Asker, unit: UnitName, request: DebugHooks) -> Result<Session, Refusal>;
    /// The console of a machine.
    async fn console(&self, machine: MachineId, terminal: (u16, u16)) -> Result<Session, Refusal>;
    /// By age.
    async fn snapshots(&self, machine: MachineId) -> Result<Vec<SnapshotInfo>, Refusal>;
    /// Between two hooks; it is taken to the end also if the future is dropped.
    async fn take_snapshot(&self, machine: MachineId, name: &SnapshotName) -> Result<SnapshotInfo, Refusal>;
    async fn drop_snapshot(&self, machine: MachineId, name: &SnapshotName) -> Result<(), Refusal>;
    /// Runs a line to its end. Dropping the future ends it.
    async fn run(&self, target: &RunTarget, line: &RunLine) -> Result<RunEnd, Refusal>;
    /// What else there is on the host, by name and kind.
    async fn foreign(&self) -> Result<Vec<ForeignMachine>, Refusal>;
    /// A folder with a root filesystem, as something that could be adopted.
    async fn inspect(&self, folder: &str) -> Result<ForeignMachine, Refusal>;
    /// Whether who asks has power over the whole host: machines would give it to him otherwise.
    fn may_adopt(&self, by: &Asker) -> bool;
    /// Inconsistencies and leaks.
    async fn problems(&self) -> Vec<String>;
    fn info(&self) -> ControllerAnswer;
    /// Ends the controller; machines keep running.
    fn stop(&self);
    /// Takes everything down; ends the controller when nothing is left.
    async fn destroy(&self) -> Result<(), Refusal>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_holds_no_values_and_cannot_pass_for_a_worker() {
        let asked = |command: &str| Asker::new("ana".into(), command).command;
        assert_eq!(asked("set mysql password=hunter2 b="), "set mysql password b");
        assert_eq!(asked("@unit-agent"), "unit-agent");
        assert_eq!(asked(&"ü".repeat(1000)).chars().count(), LONGEST_COMMAND + 1);
    }
}
