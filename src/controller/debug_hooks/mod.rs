//! A session of `debug-hooks`: one operator, one unit, and its hooks as they become due.
//!
//! # Guarantees
//! - A session ends with its connection; a hook in its hands is then run as usual, so nothing waits for somebody who
//!   has gone.
//! - What the operator wrote is committed only when he says so, by the same way as what a hook wrote.
//! - The unit's removal and the end of the controller end it, and he is told.

mod screen;
mod wire;
mod words;

use std::collections::BTreeSet;

use tokio::sync::{mpsc, oneshot, watch};

use crate::api::backend::{Asker, Session};
use crate::api::{DebugHooks, Frame, Refusal};
use crate::charm::{Prompt, Reply};
use crate::model::{Change, Life, LogLevel, UnitName};
use crate::plan::debug;
use crate::provider::ExecRequest;
use crate::worker::debugging::{DueHook, Holder, Told, Verdict, Watch};
use crate::worker::ledger::{Ledger, LedgerError};
use crate::worker::{World, chain};

use super::session;
use screen::{Lines, Screen};
use wire::{Wire, Word};
use words::Command;

/// Characters of who has a session.
const MAX_WHO: usize = 80;

/// Begins a session. A hook that failed and is wanted is tried again at once, within it.
pub async fn open(world: &World, by: &Asker, unit: UnitName, request: DebugHooks) -> Result<Session, Refusal> {
    let hooks: BTreeSet<String> = request.hooks.into_iter().collect();
    // It stands in log lines.
    let who: String = request.who.chars().filter(|c| !c.is_control()).take(MAX_WHO).collect();
    let holder = Holder { who: who.clone(), since: world.ledger.now() };
    let opened = world.debugging.open(unit.clone(), hooks.clone(), holder);
    let watch = opened.map_err(|holder| words::taken(&unit, &holder))?;
    retry(world, by, &unit, &hooks).await?;
    let (input, frames) = mpsc::channel(16);
    let (out, output) = mpsc::channel(16);
    let talk = Talk {
        life: LifeOf::new(world.ledger.clone(), unit),
        world: world.clone(),
        watch,
        wire: Wire::new(frames, out, request.terminal),
        who,
        term: request.term,
        shell_first: request.shell,
        running: None,
    };
    tokio::spawn(talk.run(hooks));
    Ok(Session { input, output })
}

async fn retry(world: &World, by: &Asker, unit: &UnitName, hooks: &BTreeSet<String>) -> Result<(), Refusal> {
    let failed = world.ledger.model().units.get(unit).and_then(|unit| unit.failed.clone());
    let Some(failed) = failed.filter(|failed| debug::stops_at(hooks, &failed.hook, true)) else { return Ok(()) };
    world.debugging.ended(unit, &failed.hook, Some(&failed.message), false);
    match world.ledger.commit_for(&by.user, &by.command, Change::Resolve { unit: unit.clone(), retry: true }).await {
        // Refused: its own retry came first.
        Ok(_) | Err(LedgerError::Refused(_)) => Ok(()),
        Err(error) => Err(Refusal::new(error.to_string())),
    }
}

struct Talk {
    world: World,
    watch: Watch,
    life: LifeOf,
    wire: Wire,
    who: String,
    term: Option<String>,
    shell_first: bool,
    /// What the charm's own hook says, while the controller runs it for the operator.
    running: Option<Lines>,
}

/// How it goes on.
enum Step {
    Next,
    /// The operator has left.
    Leave,
    /// He did not want to wait any more.
    Interrupted,
    /// The operator's connection is gone.
    Lost,
    /// The hook is not due any more: the unit is gone, or the controller stops.
    Over,
}

impl Talk {
    async fn run(mut self, hooks: BTreeSet<String>) {
        self.wire.tell(&words::greeting(&self.watch.unit, &hooks)).await;
        let unit = self.watch.unit.clone();
        let last = match self.session().await {
            Step::Lost => return,
            Step::Next | Step::Leave => Frame::Exit(0),
            Step::Interrupted => Frame::Exit(130),
            Step::Over if self.world.ledger.model().units.contains_key(&unit) => Frame::Failed(format!(
                "the controller stops: the hooks of unit \"{unit}\" are due again when it is started"
            )),
            Step::Over => Frame::Failed(format!("unit \"{unit}\" is removed: the session is over")),
        };
        let Talk { wire, watch, .. } = self;
        // Whoever sees the end may begin the next one.
        drop(watch);
        wire.send(last).await;
    }

    /// Until somebody ends it.
    async fn session(&mut self) -> Step {
        let stopped = self.world.stopped();
        tokio::pin!(stopped);
        loop {
            if self.wire.is_used_up() && self.running.is_none() {
                return Step::Leave;
            }
            let step = tokio::select! {
                biased;
                () = &mut stopped => Step::Over,
                line = said(&mut self.running) => {
                    self.wire.show(&line).await;
                    Step::Next
                }
                Some(told) = self.watch.tells.recv() => self.told(told).await,
                news = self.life.news() => self.news(news).await,
                word = self.wire.disturbance() => match word {
                    Word::Gone => Step::Lost,
                    Word::Interrupt => Step::Interrupted,
                    Word::End | Word::Line(_) => Step::Next,
                },
            };
            if !matches!(step, Step::Next) {
                return step;
            }
        }
    }

    async fn news(&mut self, news: News) -> Step {
        match news {
            News::Removed => Step::Over,
            News::Dying => {
                self.wire.tell(&format!("unit \"{}\" is dying: its last hooks are due", self.watch.unit)).await;
                Step::Next
            }
        }
    }

    async fn told(&mut self, told: Told) -> Step {
        match told {
            Told::Due { due, failure, verdict } => self.hook(*due, failure, verdict).await,
            Told::Ran { hook, failure } => {
                if let Some(mut running) = self.running.take() {
                    self.show_all(running.rest()).await;
                }
                let end = failure.map_or_else(|| "returned".to_owned(), |failure| format!("failed: {failure}"));
                self.wire.tell(&format!("hook {hook} {end}")).await;
                Step::Next
            }
        }
    }

    async fn show_all(&self, lines: Vec<String>) {
        for line in lines {
            self.wire.show(&line).await;
        }
    }

    /// The operator has the hook, until he says what comes of it.
    async fn hook(&mut self, due: DueHook, failure: Option<String>, verdict: oneshot::Sender<Verdict>) -> Step {
        // A hook of a dying unit explains itself by that.
        if let Some(news) = self.life.look()
            && let step @ Step::Over = self.news(news).await
        {
            return step;
        }
        self.wire.tell(&words::heading(&due.context, failure.as_deref())).await;
        due.sink.log(LogLevel::Info, &format!("debug-hooks: {} has this hook", self.who));
        let (screen, lines) = Screen::new(due.sink.clone());
        let host = self.world.charm_host.clone();
        let prompt = host.prompt(&due.files, due.context.clone(), due.machine.clone(), screen.clone());
        let mut hand = Hand { due, screen, lines, prompt, verdict };
        if self.shell_first && self.wire.terminal.is_some() {
            let step = self.shell(&mut hand, None).await;
            if !matches!(step, Step::Next) {
                return step;
            }
        }
        loop {
            let line = match self.line(&mut hand).await {
                Ok(line) => line,
                Err(Some(step)) => return step,
                Err(None) => continue,
            };
            match self.obey(&mut hand, &line).await {
                Ok(verdict) => return self.decide(hand, verdict).await,
                Err(Step::Next) => {}
                Err(step) => return step,
            }
        }
    }

    /// What comes of the hook, if the line says so.
    async fn obey(&mut self, hand: &mut Hand<'_>, line: &str) -> Result<Verdict, Step> {
        // An unfinished chunk may go on with a dot.
        let command = if hand.prompt.has_begun() { Command::Lua(line) } else { Command::of(line) };
        match command {
            Command::Lua(line) => return Err(self.lua(hand, line).await),
            Command::Shell(command) => return Err(self.shell(hand, command).await),
            Command::Leave => return Err(Step::Leave),
            Command::Fail(message) => return Ok(Verdict::Fail(message.to_owned())),
            Command::Run => return Ok(Verdict::Run(hand.screen.clone())),
            Command::Commit => match hand.prompt.outcome() {
                Ok(outcome) => return Ok(Verdict::Commit(outcome)),
                Err(message) => self.wire.tell(&format!("this cannot be committed: {message}")).await,
            },
            Command::Help => self.wire.tell(words::HELP).await,
            Command::Unknown(line) => {
                self.wire.tell(&format!("there is no command `{line}`: `.help` lists them")).await;
            }
        }
        Err(Step::Next)
    }

    /// A line from the operator. `Err(None)` if it came to nothing.
    async fn line(&mut self, hand: &mut Hand<'_>) -> Result<String, Option<Step>> {
        self.wire.want(hand.ask()).await;
        loop {
            tokio::select! {
                biased;
                () = hand.verdict.closed() => return Err(Some(Step::Over)),
                word = self.wire.word() => return match word {
                    Word::Line(line) => Ok(line),
                    Word::Interrupt => {
                        hand.prompt.abandon();
                        Err(None)
                    }
                    Word::End => Err(Some(Step::Leave)),
                    Word::Gone => Err(Some(Step::Lost)),
                },
                news = self.life.news() => match self.news(news).await {
                    Step::Next => {}
                    step => return Err(Some(step)),
                },
            }
        }
    }

    async fn lua(&mut self, hand: &mut Hand<'_>, line: &str) -> Step {
        let Hand { prompt, lines, verdict, .. } = hand;
        let reply = {
            let work = prompt.line(line);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    biased;
                    reply = &mut work => break Some(reply),
                    line = lines.next() => self.wire.show(&line).await,
                    () = verdict.closed() => return Step::Over,
                    word = self.wire.disturbance() => match word {
                        Word::Gone => return Step::Lost,
                        Word::Interrupt => break None,
                        Word::End | Word::Line(_) => {}
                    },
                }
            }
        };
        self.show_all(lines.rest()).await;
        match reply {
            Some(Reply::More) => {}
            Some(Reply::Said(text)) if text.is_empty() => {}
            Some(Reply::Said(text)) => self.wire.show(&text).await,
            Some(Reply::Failed(text)) => self.wire.tell(&text).await,
            None => self.wire.tell("interrupted: the variables of this prompt are gone; what it wrote is kept").await,
        }
        Step::Next
    }

    /// A shell that has the keys, or a command that has none.
    async fn shell(&mut self, hand: &mut Hand<'_>, command: Option<&str>) -> Step {
        let terminal = self.wire.terminal.filter(|_| command.is_none());
        let argv = match (command, terminal) {
            (Some(line), _) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()],
            (None, Some(_)) => vec!["/bin/bash".to_owned(), "-l".to_owned()],
            (None, None) => {
                self.wire.tell("a shell needs a terminal; `.shell COMMAND` runs one command").await;
                return Step::Next;
            }
        };
        let environment = self.world.ledger.model().environment.as_ref().map(ToString::to_string);
        let mut env = words::variables(&hand.due.context, &environment.unwrap_or_default());
        env.extend(self.term.iter().map(|term| ("TERM".to_owned(), term.clone())));
        let request = ExecRequest { argv, env, cwd: Some("/root".to_owned()), terminal, ..ExecRequest::default() };
        hand.due.sink.log(LogLevel::Info, &format!("debug-hooks: {} uses a shell", self.who));
        let inside = match session::start(self.world.provider.as_ref(), &hand.due.instance, request).await {
            Ok(inside) => inside,
            Err(error) => {
                self.wire.tell(&chain(&error)).await;
                return Step::Next;
            }
        };
        if terminal.is_some() {
            self.wire.send(Frame::Raw(true)).await;
        }
        let step = tokio::select! {
            biased;
            there = self.wire.lend(inside, terminal.is_some()) => if there { Step::Next } else { Step::Lost },
            () = hand.verdict.closed() => Step::Over,
        };
        if terminal.is_some() {
            self.wire.send(Frame::Raw(false)).await;
        }
        step
    }

    async fn decide(&mut self, hand: Hand<'_>, verdict: Verdict) -> Step {
        let hook = &hand.due.context.hook;
        let told = match &verdict {
            Verdict::Commit(_) => format!("hook {hook} is committed"),
            Verdict::Fail(_) => format!("hook {hook} has failed"),
            Verdict::Run(_) => format!("running hook {hook}"),
        };
        self.running = matches!(verdict, Verdict::Run(_)).then_some(hand.lines);
        hand.due.sink.log(LogLevel::Info, &format!("debug-hooks: {} says: {told}", self.who));
        match hand.verdict.send(verdict) {
            Ok(()) => {
                self.wire.tell(&told).await;
                Step::Next
            }
            Err(_) => Step::Over,
        }
    }
}

/// A hook in the operator's hands.
struct Hand<'a> {
    due: DueHook,
    screen: std::sync::Arc<Screen>,
    lines: Lines,
    prompt: Prompt<'a>,
    verdict: oneshot::Sender<Verdict>,
}

impl Hand<'_> {
    fn ask(&self) -> String {
        let (unit, hook) = (&self.due.context.unit, &self.due.context.hook);
        let asked = format!("{unit} {hook}> ");
        if self.prompt.has_begun() { format!("{:>1$}", "> ", asked.len()) } else { asked }
    }
}

async fn said(running: &mut Option<Lines>) -> String {
    match running {
        Some(lines) => lines.next().await,
        None => std::future::pending().await,
    }
}

/// What becomes of the unit while its operator waits.
enum News {
    /// Once.
    Dying,
    Removed,
}

struct LifeOf {
    ledger: Ledger,
    unit: UnitName,
    changes: watch::Receiver<u64>,
    told: bool,
}

impl LifeOf {
    fn new(ledger: Ledger, unit: UnitName) -> Self {
        LifeOf { changes: ledger.changes(), ledger, unit, told: false }
    }

    /// What he was not told yet.
    fn look(&mut self) -> Option<News> {
        let life = self.ledger.model().units.get(&self.unit).map(|unit| unit.life);
        match life {
            None => Some(News::Removed),
            Some(Life::Dying) if !self.told => {
                self.told = true;
                Some(News::Dying)
            }
            Some(_) => None,
        }
    }

    /// May be dropped and called again.
    async fn news(&mut self) -> News {
        loop {
            self.changes.mark_unchanged();
            if let Some(news) = self.look() {
                return news;
            }
            if self.changes.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}
