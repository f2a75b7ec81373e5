//! Who wants to be asked before a hook of a unit runs: the sessions of `debug-hooks`.
//!
//! # Guarantees
//! One session a unit. A session that goes, with a hook in its hands or not, leaves nothing behind: the hook is run as
//! usual. Nothing of a session is in the journal but what it commits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::charm::{CharmFiles, HookContext, HookOutcome, HookSink, MachineAccess};
use crate::model::{Hook, Millis, UnitName};
use crate::plan::debug;
use crate::provider::InstanceName;

/// The sessions; clones share them.
#[derive(Clone, Default)]
pub struct Debugging(Arc<Mutex<BTreeMap<UnitName, Seat>>>);

struct Seat {
    holder: Holder,
    hooks: BTreeSet<String>,
    tells: mpsc::UnboundedSender<Told>,
    failure: Option<(Hook, String)>,
}

/// Who has a session, for whoever wants another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub who: String,
    pub since: Millis,
}

/// A hook that is due and waits for a verdict. Dropping it lets the hook run as usual.
#[derive(Clone)]
pub struct DueHook {
    pub context: HookContext,
    pub files: Arc<CharmFiles>,
    pub machine: Arc<dyn MachineAccess>,
    pub instance: InstanceName,
    /// Where its log lines and statuses go.
    pub sink: Arc<dyn HookSink>,
}

/// What a session is told.
pub enum Told {
    /// A hook waits for a verdict; dropping that lets it run as usual.
    Due {
        due: Box<DueHook>,
        /// Why it failed before, if this is another try.
        failure: Option<String>,
        verdict: oneshot::Sender<Verdict>,
    },
    /// What became of a hook of the unit that the charm's own function was run for.
    Ran { hook: Hook, failure: Option<String> },
}

/// What comes of a hook.
pub enum Verdict {
    /// This is written, as if the hook had returned.
    Commit(HookOutcome),
    /// The unit is in error with these words.
    Fail(String),
    /// The charm's own function runs, and says what it says to this.
    Run(Arc<dyn HookSink>),
}

/// A session's end of it. Dropping it ends the session.
pub struct Watch {
    pub unit: UnitName,
    pub tells: mpsc::UnboundedReceiver<Told>,
    sessions: Debugging,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.unit);
    }
}

impl Debugging {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<UnitName, Seat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session for these hooks, none being all.
    ///
    /// # Errors
    /// Who has the unit's session already.
    pub fn open(&self, unit: UnitName, hooks: BTreeSet<String>, holder: Holder) -> Result<Watch, Holder> {
        let mut seats = self.lock();
        if let Some(seat) = seats.get(&unit) {
            return Err(seat.holder.clone());
        }
        let (tells, told) = mpsc::unbounded_channel();
        seats.insert(unit.clone(), Seat { holder, hooks, tells, failure: None });
        Ok(Watch { unit, tells: told, sessions: self.clone() })
    }

    /// Whether somebody is to be asked before this hook.
    pub fn wants(&self, unit: &UnitName, hook: &Hook, declared: bool) -> bool {
        self.lock().get(unit).is_some_and(|seat| debug::stops_at(&seat.hooks, hook, declared))
    }

    /// Waits for the operator's verdict; `None` if he went without one.
    pub async fn ask(&self, unit: &UnitName, due: DueHook) -> Option<Verdict> {
        let (verdict, decided) = oneshot::channel();
        {
            let seats = self.lock();
            let seat = seats.get(unit)?;
            let before = seat.failure.as_ref().filter(|(hook, _)| *hook == due.context.hook);
            let failure = before.map(|(_, message)| message.clone());
            // A session that ends at this moment has dropped its end: so has the verdict.
            let _ = seat.tells.send(Told::Due { due: Box::new(due), failure, verdict });
        }
        decided.await.ok()
    }

    /// A hook of the unit failed, or not, to be told when it is tried again. `ran` says that the charm's own function
    /// was run for the operator.
    pub fn ended(&self, unit: &UnitName, hook: &Hook, failure: Option<&str>, ran: bool) {
        if let Some(seat) = self.lock().get_mut(unit) {
            seat.failure = failure.map(|message| (hook.clone(), message.to_owned()));
            if ran {
                // As above.
                let _ = seat.tells.send(Told::Ran { hook: hook.clone(), failure: failure.map(str::to_owned) });
            }
        }
    }
}
