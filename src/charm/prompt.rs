//! A Lua prompt at the moment of a hook: its tables, its sandbox and its limits, line by line, and `hook()` for the
//! charm's own function.
//!
//! # Guarantees
//! - What lines write to relations, ports and state is in [`Prompt::outcome`] and nowhere else; statuses, log lines
//!   and what is done to the machine leave at once, as in a hook.
//! - A line has the limits of a hook. One that a limit ended, or whose future was dropped, takes its VM with it: the
//!   variables are gone, what was written is not.
//! - Nothing that is printed shows a secret.
//!
//! # Caveats
//! A prompt takes none of the host's slots for VMs: it waits for a person, and hooks must not wait for that.

use std::sync::Arc;
use std::time::Duration;

use mlua::{Function, MultiValue, Table, Value};
use serde_json::{Map, Value as Json};
use tokio::time::Instant;

use super::fault::{Fault, FaultKind};
use super::journal::Journal;
use super::json::{from_json, to_json};
use super::run::{CharmHost, Entry, Evaluated, explain, function, known_secrets};
use super::scene::{Draft, Scene};
use super::vm::{Builtin, Limits, compile};
use super::{CharmFiles, HookContext, HookOutcome, HookSink, MachineAccess, show};

static PROMPT: Builtin = Builtin::new("=prompt", include_str!("prompt.luau"));

/// The name of its lines in errors.
pub(super) const CHUNK: &str = "prompt";

/// A prompt has no end of its own; each line has.
const UNLIMITED: Duration = Duration::from_secs(30 * 24 * 3600);

/// What came of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is the beginning of something: the next line goes on.
    More,
    /// Its values as text; empty if it gave none.
    Said(String),
    /// The whole of what went wrong.
    Failed(String),
}

pub struct Prompt<'a> {
    host: &'a CharmHost,
    scene: Arc<Scene>,
    draft: Arc<Draft>,
    /// `unit.state` after the last line that left it well, for the next VM.
    state: Map<String, Json>,
    /// Lines of an unfinished chunk.
    begun: String,
    /// `None` before the first line, and after one that was ended.
    seat: Option<Seat>,
}

/// A VM with the hook's tables in it.
struct Seat {
    charm: Evaluated,
    environment: Table,
    state: Table,
}

impl CharmHost {
    /// A prompt for the hook that `context` names. The charm is evaluated with the first line.
    pub fn prompt(
        &self,
        files: &CharmFiles,
        context: HookContext,
        machine: Arc<dyn MachineAccess>,
        sink: Arc<dyn HookSink>,
    ) -> Prompt<'_> {
        let journal = Journal::new(Some(sink), known_secrets(&context), self.limits.log_lines);
        let deadline = Instant::now() + UNLIMITED;
        let scene = Arc::new(Scene { machine, files: Arc::new(files.clone()), journal, deadline });
        let state = context.state.clone();
        Prompt { host: self, scene, draft: Draft::new(context), state, begun: String::new(), seat: None }
    }
}

impl Prompt<'_> {
    /// Whether a chunk is unfinished.
    pub fn has_begun(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Gives the unfinished chunk up.
    pub fn abandon(&mut self) {
        self.begun.clear();
    }

    /// Runs a line, together with those before that it finishes. Dropping the future ends what runs on the machine.
    pub async fn line(&mut self, line: &str) -> Reply {
        self.begun.push_str(line);
        self.begun.push('\n');
        let seat = match self.seat.take() {
            Some(seat) => seat,
            None => match self.sit_down().await {
                Ok(seat) => seat,
                Err(fault) => {
                    self.begun.clear();
                    return self.failed(&fault);
                }
            },
        };
        match seat.chunk(&self.begun, &self.host.limits) {
            Ok(Some(chunk)) => {
                self.begun.clear();
                self.run(seat, chunk).await
            }
            Ok(None) => {
                self.seat = Some(seat);
                Reply::More
            }
            Err(fault) => {
                self.begun.clear();
                self.seat = Some(seat);
                self.failed(&fault)
            }
        }
    }

    async fn run(&mut self, mut seat: Seat, chunk: Function) -> Reply {
        self.scene.journal.begin();
        let deadline = Instant::now() + self.host.limits.total;
        let fault = match seat.charm.vm.run::<MultiValue>(chunk, (), deadline).await {
            Ok(values) => {
                let shown = show::values(&values, &self.scene.journal.secrets);
                self.keep(seat);
                return Reply::Said(shown);
            }
            Err(fault) => fault,
        };
        let mut reply = self.failed(&fault);
        if fault.kind == FaultKind::Raised {
            self.keep(seat);
        } else if let Reply::Failed(text) = &mut reply {
            text.push_str("\nthe variables of this prompt are gone; what it wrote is kept");
        }
        reply
    }

    fn keep(&mut self, seat: Seat) {
        // A state that cannot be kept is told when it is to be committed.
        if let Ok(state) = to_json(&seat.state, "unit.state", &self.scene.journal.secrets) {
            self.state = state;
        }
        self.seat = Some(seat);
    }

    fn failed(&self, fault: &Fault) -> Reply {
        Reply::Failed(explain(fault, &self.scene.files, &self.scene.journal).report())
    }

    /// What the lines have written, to be committed as if the hook had returned.
    ///
    /// # Errors
    /// `unit.state` holds what cannot be kept.
    pub fn outcome(&self) -> Result<HookOutcome, String> {
        let state = match &self.seat {
            Some(seat) => to_json(&seat.state, "unit.state", &self.scene.journal.secrets)?,
            None => self.state.clone(),
        };
        let state = (state != self.draft.context.state).then_some(state);
        Ok(HookOutcome { state, ..self.draft.outcome() })
    }

    async fn sit_down(&self) -> Result<Seat, Fault> {
        let charm = self.host.evaluate(&self.scene).await?;
        let made = self.environment(&charm);
        let (environment, state) = made.map_err(|error| Fault::internal(&error))?;
        Ok(Seat { charm, environment, state })
    }

    fn environment(&self, charm: &Evaluated) -> mlua::Result<(Table, Table)> {
        let lua = charm.vm.lua();
        let (unit, relation) = charm.tables(&self.scene, &self.draft)?;
        unit.state.clear()?;
        for pair in from_json(lua, &self.state, &self.scene.journal.secrets)?.pairs::<Value, Value>() {
            let (key, value) = pair?;
            unit.state.raw_set(key, value)?;
        }
        let name = self.draft.context.hook.to_string();
        let body = function(&charm.declaration, &Entry::Hook(name.clone()));
        let environment = PROMPT.load(lua)?.call((unit.object, relation, body, name, lua.globals()))?;
        Ok((environment, unit.state))
    }
}

impl Seat {
    /// The chunk as an expression, else as statements; `None` if it is only the beginning of one.
    fn chunk(&self, source: &str, limits: &Limits) -> Result<Option<Function>, Fault> {
        let compiled = |source: &str| compile(self.charm.vm.lua(), CHUNK, source.as_bytes(), limits);
        let chunk = match compiled(&format!("return {source}")) {
            Ok(chunk) => chunk,
            Err(as_values) => match compiled(source) {
                Ok(chunk) => chunk,
                Err(fault) if is_unfinished(&fault) || is_unfinished(&as_values) => return Ok(None),
                Err(fault) => return Err(fault),
            },
        };
        let set = chunk.set_environment(self.environment.clone());
        set.map(|_| Some(chunk)).map_err(|error| Fault::internal(&error))
    }
}

/// Luau names the end of the source as what it got in place of more.
fn is_unfinished(fault: &Fault) -> bool {
    fault.kind == FaultKind::Syntax && fault.message.contains("got <eof>")
}
