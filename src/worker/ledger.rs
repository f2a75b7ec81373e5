//! The only writer of the model.
//!
//! # Guarantees
//! A change is answered only after its events are in the journal for good, and nobody is nudged before. Changes that
//! wait together are written together, so that a thousand units do not cost a thousand syncs. If the journal refuses
//! (a full disk), every change of the batch, and every refusal that may have had its reason in one, is answered with its
//! words, and the model is as it was.
//!
//! # Caveats
//! Readers wait while a batch is written (some milliseconds), so that nobody acts on what may be lost.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::model::{Change, ChangeError, Event, Millis, Model, Observed};
use crate::plan::nudge::Concerned;
use crate::store::{Entry, Journal, Page, StoreError, Wanted};

/// Entries from one snapshot to the next for each unit, at least: a snapshot costs as much as the model is large, and so
/// each entry its share of a few units, however many there are.
const SNAPSHOT_PER_UNIT: u64 = 4;
/// Most changes written in one transaction.
const BATCH: usize = 256;

/// The time, as an argument to all that needs it.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Refused(#[from] ChangeError),
    #[error("the change was not made: {0}")]
    Journal(String),
    #[error("the controller is stopping")]
    Stopped,
}

#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// Number of the last entry written for it.
    pub sequence: u64,
    pub events: Vec<Event>,
}

enum Request {
    Change(Asked),
    Read { wanted: Wanted, page: Page, answer: oneshot::Sender<Result<Vec<Entry>, LedgerError>> },
    Probe { answer: oneshot::Sender<Result<(), LedgerError>> },
    Copy { path: PathBuf, answer: oneshot::Sender<Result<(), LedgerError>> },
}

struct Asked {
    change: Change,
    by: String,
    user: Option<String>,
    answer: Option<oneshot::Sender<Result<Committed, LedgerError>>>,
}

/// Where the writer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// In a thread of its own, so that the disk holds up nobody who does not wait for it.
    Thread,
    /// In a task of the caller's runtime: for a journal in memory, in simulations that are to be repeated. Each batch
    /// waits first for as long as a disk would take.
    Task(Duration),
}

/// A handle; clones share one ledger.
#[derive(Clone)]
pub struct Ledger {
    model: Arc<RwLock<Model>>,
    observed: Arc<RwLock<Observed>>,
    requests: mpsc::UnboundedSender<Request>,
    /// Grows with every commit and every change of what is observed.
    version: Arc<watch::Sender<u64>>,
    /// Tells of commits by which a unit is gone or a machine is to go.
    departures: Arc<Notify>,
    sequence: watch::Receiver<u64>,
    clock: Clock,
}

impl Ledger {
    /// Reads the journal and starts the writer, which ends when the last handle is dropped. Whom each commit concerns
    /// is sent to `nudges`.
    ///
    /// # Errors
    /// The journal's.
    pub fn open(
        mut journal: Box<dyn Journal>,
        clock: Clock,
        nudges: mpsc::UnboundedSender<Concerned>,
        writing: Writing,
    ) -> Result<Ledger, StoreError> {
        let Loaded { model, last, snapshot } = load(journal.as_mut())?;
        let model = Arc::new(RwLock::new(model));
        let (requests, inbox) = mpsc::unbounded_channel();
        let version = Arc::new(watch::Sender::new(0));
        let (sequence_sender, sequence) = watch::channel(last);
        let departures = Arc::new(Notify::new());
        let writer = Writer {
            journal,
            model: model.clone(),
            clock: clock.clone(),
            nudges,
            version: version.clone(),
            departures: departures.clone(),
            sequence: sequence_sender,
            last,
            last_snapshot: snapshot,
        };
        match writing {
            Writing::Thread => {
                std::thread::Builder::new()
                    .name("ledger".to_owned())
                    .spawn(move || writer.run(inbox))
                    .map_err(|source| StoreError::Thread { source })?;
            }
            Writing::Task(lag) => drop(tokio::spawn(writer.run_as_task(inbox, lag))),
        }
        Ok(Ledger { model, observed: Arc::default(), requests, version, departures, sequence, clock })
    }

    /// Makes the change for good. `by` is the command or worker that asks.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was changed then.
    pub async fn commit(&self, by: &str, change: Change) -> Result<Committed, LedgerError> {
        self.change(Asked { change, by: by.to_owned(), user: None, answer: None }).await
    }

    /// The same for a command that `user` has typed.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was changed then.
    pub async fn commit_for(&self, user: &str, by: &str, change: Change) -> Result<Committed, LedgerError> {
        let (user, by) = (Some(user.to_owned()), by.to_owned());
        self.change(Asked { change, by, user, answer: None }).await
    }

    async fn change(&self, asked: Asked) -> Result<Committed, LedgerError> {
        let result = self.ask(|answer| Request::Change(Asked { answer: Some(answer), ..asked })).await;
        if let Err(LedgerError::Journal(words)) = &result {
            self.observe_journal(Some(words));
        }
        result
    }

    /// Finds out whether the journal can be written, and tells what it found.
    ///
    /// # Errors
    /// The journal's words.
    pub async fn probe(&self) -> Result<(), LedgerError> {
        let result = self.ask(|answer| Request::Probe { answer }).await;
        match &result {
            Ok(()) => self.observe_journal(None),
            Err(LedgerError::Journal(words)) => self.observe_journal(Some(words)),
            Err(_) => {}
        }
        result
    }

    /// So that `status` tells of a full disk as long as it is full.
    fn observe_journal(&self, fault: Option<&str>) {
        let fault = fault.map(|words| format!("the journal cannot be written: {words}"));
        let known = self.observed().journal_fault.clone();
        if known != fault {
            self.observe(|observed| observed.journal_fault = fault);
        }
    }

    /// Asks for a change without waiting; it comes before any later one. A refusal is dropped.
    pub fn submit(&self, by: &str, change: Change) {
        // A ledger that has stopped takes no more: the controller is going down.
        let _ = self.requests.send(Request::Change(Asked { change, by: by.to_owned(), user: None, answer: None }));
    }

    /// A look back into the journal, the oldest first.
    ///
    /// # Errors
    /// The journal's words.
    pub async fn past(&self, wanted: Wanted, page: Page) -> Result<Vec<Entry>, LedgerError> {
        self.ask(|answer| Request::Read { wanted, page, answer }).await
    }

    /// Writes a copy of the journal to a new file, as it is between two commits.
    ///
    /// # Errors
    /// The journal's words.
    pub async fn copy_to(&self, path: PathBuf) -> Result<(), LedgerError> {
        self.ask(|answer| Request::Copy { path, answer }).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, LedgerError>>) -> Request,
    ) -> Result<T, LedgerError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).map_err(|_| LedgerError::Stopped)?;
        answered.await.map_err(|_| LedgerError::Stopped)?
    }

    pub fn model(&self) -> RwLockReadGuard<'_, Model> {
        self.model.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn observed(&self) -> RwLockReadGuard<'_, Observed> {
        self.observed.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn observe(&self, change: impl FnOnce(&mut Observed)) {
        change(&mut self.observed.write().unwrap_or_else(PoisonError::into_inner));
        self.version.send_modify(|version| *version += 1);
    }

    pub fn now(&self) -> Millis {
        (self.clock)()
    }

    /// Number of the last journal entry.
    pub fn sequence(&self) -> u64 {
        *self.sequence.borrow()
    }

    /// Returns when the ledger has ended: by itself (the controller must end too), or because nobody holds it any more.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut sequence = self.sequence.clone();
        async move { while sequence.changed().await.is_ok() {} }
    }

    /// Told of every commit and observation.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Returns as soon as `gone` holds, which must come by a unit's removal, a machine's dying or an action's
    /// cancelling: whoever does work waits for that, and a thousand who do must not all wake at every commit of the others.
    pub async fn until_gone(&self, gone: impl Fn(&Model) -> bool) {
        loop {
            let mut departure = std::pin::pin!(self.departures.notified());
            departure.as_mut().enable();
            if gone(&self.model()) {
                return;
            }
            departure.await;
        }
    }
}

/// What a journal adds up to.
pub(crate) struct Loaded {
    pub model: Model,
    /// Number of the last entry.
    pub last: u64,
    /// Number of the last entry in the snapshot that it began with; 0 is none.
    snapshot: u64,
}

/// Begins with the newest snapshot that can be read: the one before and the entries after it give the same. One that
/// cannot be read is forgotten only when it is known that all is there without it.
pub(crate) fn load(journal: &mut dyn Journal) -> Result<Loaded, StoreError> {
    let (mut model, mut last) = (Model::default(), 0);
    let mut unreadable = Vec::new();
    while let Some((sequence, bytes)) = journal.read_snapshot(unreadable.len() as u32)? {
        match serde_json::from_slice(&bytes) {
            Ok(read) => {
                (model, last) = (read, sequence);
                break;
            }
            Err(error) => {
                tracing::warn!("the snapshot of entry {sequence} cannot be read: {error}");
                unreadable.push(sequence);
            }
        }
    }
    let snapshot = last;
    for entry in journal.read_after(last)? {
        if entry.sequence != last + 1 {
            return Err(StoreError::Gap { expected: last + 1 });
        }
        model.apply(&entry.event, entry.at);
        last = entry.sequence;
    }
    for sequence in unreadable {
        journal.forget_snapshot(sequence)?;
    }
    Ok(Loaded { model, last, snapshot })
}

struct Writer {
    journal: Box<dyn Journal>,
    model: Arc<RwLock<Model>>,
    clock: Clock,
    nudges: mpsc::UnboundedSender<Concerned>,
    version: Arc<watch::Sender<u64>>,
    departures: Arc<Notify>,
    sequence: watch::Sender<u64>,
    last: u64,
    last_snapshot: u64,
}

struct Answer {
    to: Option<oneshot::Sender<Result<Committed, LedgerError>>>,
    result: Result<Committed, LedgerError>,
    /// It was found with a model that is in the journal whole; else it holds only if what came before is written.
    firm: bool,
}

impl Writer {
    fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Request>) {
        let mut batch = Vec::new();
        while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
            if !self.serve(std::mem::take(&mut batch)) {
                return; // the controller sees that the ledger has ended, and ends
            }
        }
    }

    async fn run_as_task(mut self, mut inbox: mpsc::UnboundedReceiver<Request>, lag: Duration) {
        let mut batch = Vec::new();
        while inbox.recv_many(&mut batch, BATCH).await > 0 {
            if !lag.is_zero() {
                tokio::time::sleep(lag).await;
                while batch.len() < BATCH
                    && let Ok(request) = inbox.try_recv()
                {
                    batch.push(request);
                }
            }
            if !self.serve(std::mem::take(&mut batch)) {
                return;
            }
        }
    }

    /// The changes in one transaction, then what only looks. False if the model in memory is not to be trusted any more.
    fn serve(&mut self, batch: Vec<Request>) -> bool {
        let (mut changes, mut others) = (Vec::new(), Vec::new());
        for request in batch {
            match request {
                Request::Change(asked) => changes.push(asked),
                other => others.push(other),
            }
        }
        if !self.write(changes) {
            return false;
        }
        others.into_iter().for_each(|request| self.look(request));
        self.keep_snapshot();
        true
    }

    /// What needs the journal and not the model: nobody waits for it but who asked, and later commits.
    fn look(&mut self, request: Request) {
        let told = |error: StoreError| LedgerError::Journal(super::chain(&error));
        // Who asked may have gone away meanwhile.
        match request {
            Request::Change(_) => {}
            Request::Read { wanted, page, answer } => {
                let _ = answer.send(self.journal.read_past(&wanted, page).map_err(told));
            }
            Request::Probe { answer } => {
                let _ = answer.send(self.journal.probe().map_err(told));
            }
            Request::Copy { path, answer } => {
                let _ = answer.send(self.journal.copy_to(&path).map_err(told));
            }
        }
    }

    /// Readers go on meanwhile; only the next commit waits.
    fn keep_snapshot(&mut self) {
        let bytes = {
            let model = self.model.read().unwrap_or_else(PoisonError::into_inner);
            let spacing = self.journal.snapshot_every().max(SNAPSHOT_PER_UNIT * model.units.len() as u64);
            if self.last - self.last_snapshot < spacing {
                return;
            }
            serde_json::to_vec(&*model)
        };
        self.last_snapshot = self.last;
        // Entries are dropped in its favour: it must be readable.
        let readable = bytes.and_then(|bytes| serde_json::from_slice::<Model>(&bytes).map(|_| bytes));
        let kept = match readable {
            Ok(bytes) => self.journal.write_snapshot(self.last, &bytes).map_err(|error| super::chain(&error)),
            Err(error) => Err(error.to_string()),
        };
        if let Err(words) = kept {
            tracing::warn!("no snapshot: {words}");
        }
    }

    /// False if the model in memory is not to be trusted any more.
    fn write(&mut self, batch: Vec<Asked>) -> bool {
        if batch.is_empty() {
            return true;
        }
        let at = (self.clock)();
        let model_lock = self.model.clone();
        let mut model = model_lock.write().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<Entry> = Vec::new();
        let mut answers: Vec<Answer> = Vec::new();
        for Asked { change, by, user, answer: to } in batch {
            let firm = entries.is_empty();
            let result = model.change(change, at).map_err(LedgerError::Refused).map(|events| {
                for event in &events {
                    let sequence = self.last + entries.len() as u64 + 1;
                    entries.push(Entry { sequence, at, by: by.clone(), user: user.clone(), event: event.clone() });
                }
                Committed { sequence: self.last + entries.len() as u64, events }
            });
            answers.push(Answer { to, result, firm });
        }
        debug_assert!(
            consistent(&model),
            "the model is inconsistent: {:?}",
            crate::model::check::inconsistencies(&model)
        );
        if entries.is_empty() {
            drop(model);
            answers.into_iter().for_each(reply);
            return true;
        }
        let appended = self.journal.append(&entries);
        if let Err(error) = appended {
            let words = super::chain(&error);
            tracing::error!("the journal cannot be written: {words}");
            // Back to what the journal says.
            let restored = load(self.journal.as_mut());
            let trusted = restored.is_ok();
            match restored {
                Ok(restored) => {
                    *model = restored.model;
                    self.last = restored.last;
                }
                Err(error) => tracing::error!("the journal cannot be read: {}; stopping", super::chain(&error)),
            }
            drop(model);
            for answer in answers {
                let result = match answer.result {
                    Err(refused) if answer.firm => Err(refused),
                    _ => Err(LedgerError::Journal(words.clone())),
                };
                reply(Answer { result, ..answer });
            }
            return trusted;
        }
        self.last += entries.len() as u64;
        let mut concerned = Concerned::default();
        for entry in &entries {
            concerned.add(&model, &entry.event);
        }
        drop(model);

        if concerned.departure {
            self.departures.notify_waiters();
        }
        // Whoever is concerned may be gone already when the controller stops.
        let _ = self.nudges.send(concerned);
        self.sequence.send_replace(self.last);
        self.version.send_modify(|version| *version += 1);
        answers.into_iter().for_each(reply);
        true
    }
}

fn reply(answer: Answer) {
    match (answer.to, answer.result) {
        (Some(to), result) => {
            // Who asked may have gone away meanwhile.
            let _ = to.send(result);
        }
        (None, Err(error)) => tracing::debug!("a change was refused: {error}"),
        (None, Ok(_)) => {}
    }
}

/// The whole check costs as much as the model is large: only small ones are checked each time.
fn consistent(model: &Model) -> bool {
    model.units.len() > 50 || crate::model::check::inconsistencies(model).is_empty()
}
