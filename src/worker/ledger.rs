//! The only writer of the model.
//!
//! # Guarantees
//! A change is answered only after its events are in the journal for good, and nobody is nudged before. Changes that
//! wait together are written together, so that a thousand units do not cost a thousand syncs. If the journal refuses
//! (a full disk), every change of the batch is answered with its words and the model is as it was.
//!
//! # Caveats
//! Readers wait while a batch is written (some milliseconds), so that nobody acts on what may be lost.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::model::{Change, ChangeError, Event, Millis, Model, Observed};
use crate::plan::nudge::Concerned;
use crate::store::{Entry, Journal, StoreError};

/// Entries after which the model is kept as a snapshot, so that a start reads at most about that many.
const SNAPSHOT_EVERY: u64 = 2_000;
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
    Change { change: Change, by: String, answer: Option<oneshot::Sender<Result<Committed, LedgerError>>> },
    Read { newest: u64, answer: oneshot::Sender<Result<Vec<Entry>, LedgerError>> },
    Probe { answer: oneshot::Sender<Result<(), LedgerError>> },
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
        let (model, last) = load(journal.as_mut())?;
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
            last_snapshot: last,
        };
        match writing {
            Writing::Thread => {
                std::thread::Builder::new()
                    .name("ledger".to_owned())
                    .spawn(move || writer.run(inbox))
                    .map_err(|error| StoreError::Simulated(format!("cannot start the ledger's thread: {error}")))?;
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
        let (answer, answered) = oneshot::channel();
        let request = Request::Change { change, by: by.to_owned(), answer: Some(answer) };
        self.requests.send(request).map_err(|_| LedgerError::Stopped)?;
        let result = answered.await.map_err(|_| LedgerError::Stopped)?;
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
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Probe { answer }).map_err(|_| LedgerError::Stopped)?;
        let result = answered.await.map_err(|_| LedgerError::Stopped)?;
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
        let _ = self.requests.send(Request::Change { change, by: by.to_owned(), answer: None });
    }

    /// The newest so many entries of the journal, the oldest first.
    ///
    /// # Errors
    /// The journal's words.
    pub async fn entries(&self, newest: u64) -> Result<Vec<Entry>, LedgerError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Read { newest, answer }).map_err(|_| LedgerError::Stopped)?;
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

/// The model that the journal adds up to, and the number of its last entry.
fn load(journal: &mut dyn Journal) -> Result<(Model, u64), StoreError> {
    // A snapshot only saves time: one that this version cannot read is passed over.
    let snapshot = journal.read_snapshot()?;
    let known = snapshot.and_then(|(sequence, bytes)| Some((serde_json::from_slice(&bytes).ok()?, sequence)));
    let (mut model, mut last): (Model, u64) = known.unwrap_or_default();
    for entry in journal.read_after(last)? {
        model.apply(&entry.event, entry.at);
        last = entry.sequence;
    }
    Ok((model, last))
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

type Answer = (Option<oneshot::Sender<Result<Committed, LedgerError>>>, Result<Committed, LedgerError>);

impl Writer {
    fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Request>) {
        let mut batch = Vec::new();
        while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
            if !self.write(std::mem::take(&mut batch)) {
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
            if !self.write(std::mem::take(&mut batch)) {
                return;
            }
        }
    }

    /// False if the model in memory is not to be trusted any more.
    fn write(&mut self, batch: Vec<Request>) -> bool {
        let at = (self.clock)();
        let model_lock = self.model.clone();
        let mut model = model_lock.write().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<Entry> = Vec::new();
        let mut answers: Vec<Answer> = Vec::new();
        for request in batch {
            let (change, by, answer) = match request {
                Request::Change { change, by, answer } => (change, by, answer),
                Request::Read { newest, answer } => {
                    let from = self.last.saturating_sub(newest);
                    let read = self.journal.read_after(from);
                    // Who asked may have gone away meanwhile.
                    let _ = answer.send(read.map_err(|error| LedgerError::Journal(super::chain(&error))));
                    continue;
                }
                Request::Probe { answer } => {
                    let _ =
                        answer.send(self.journal.probe().map_err(|error| LedgerError::Journal(super::chain(&error))));
                    continue;
                }
            };
            let result = model.change(change, at).map_err(LedgerError::Refused).map(|events| {
                for event in &events {
                    let sequence = self.last + entries.len() as u64 + 1;
                    entries.push(Entry { sequence, at, by: by.clone(), event: event.clone() });
                }
                Committed { sequence: self.last + entries.len() as u64, events }
            });
            answers.push((answer, result));
        }
        debug_assert!(
            consistent(&model),
            "the model is inconsistent: {:?}",
            crate::model::check::inconsistencies(&model)
        );
        if entries.is_empty() {
            drop(model);
            answers.into_iter().for_each(|(answer, result)| reply(answer, result));
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
                Ok((restored, last)) => {
                    *model = restored;
                    self.last = last;
                }
                Err(error) => tracing::error!("the journal cannot be read: {}; stopping", super::chain(&error)),
            }
            drop(model);
            for (answer, result) in answers {
                let result = result.and_then(|_| Err(LedgerError::Journal(words.clone())));
                reply(answer, result);
            }
            return trusted;
        }
        self.last += entries.len() as u64;
        let mut concerned = Concerned::default();
        for entry in &entries {
            concerned.add(&model, &entry.event);
        }
        let snapshot = (self.last - self.last_snapshot >= SNAPSHOT_EVERY).then(|| serde_json::to_vec(&*model));
        drop(model);

        if concerned.departure {
            self.departures.notify_waiters();
        }
        // Whoever is concerned may be gone already when the controller stops.
        let _ = self.nudges.send(concerned);
        self.sequence.send_replace(self.last);
        self.version.send_modify(|version| *version += 1);
        for (answer, result) in answers {
            reply(answer, result);
        }
        if let Some(Ok(bytes)) = snapshot {
            self.last_snapshot = self.last;
            if let Err(error) = self.journal.write_snapshot(self.last, &bytes) {
                tracing::warn!("no snapshot: {}", super::chain(&error));
            }
        }
        true
    }
}

fn reply(answer: Option<oneshot::Sender<Result<Committed, LedgerError>>>, result: Result<Committed, LedgerError>) {
    match (answer, result) {
        (Some(answer), result) => {
            // Who asked may have gone away meanwhile.
            let _ = answer.send(result);
        }
        (None, Err(error)) => tracing::debug!("a change was refused: {error}"),
        (None, Ok(_)) => {}
    }
}

/// The whole check costs as much as the model is large: only small ones are checked each time.
fn consistent(model: &Model) -> bool {
    model.units.len() > 50 || crate::model::check::inconsistencies(model).is_empty()
}
