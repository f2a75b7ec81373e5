//! Reads what a charm declares, without a machine, and says everything that is wrong with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mlua::Table;
use tokio::time::Instant;

use crate::model::CharmMeta;

use super::CharmFiles;
use super::declare::Declaration;
use super::fault::Fault;
use super::host::Host;
use super::journal::Journal;
use super::lua_globals::Globals;
use super::modules::is_source;
use super::run::{CharmHost, evaluate, source_line};
use super::secret::Secrets;
use super::source::MAIN;
use super::vm::{Vm, compile};

/// Evaluating a declaration takes a millisecond; what takes longer waits for something.
const LOAD_LIMIT: Duration = Duration::from_secs(10);

/// One thing that is wrong with a charm, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    pub message: String,
    pub source_line: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)?;
        match &self.source_line {
            Some(text) => write!(f, "\n{:>5} | {text}", self.line),
            None => Ok(()),
        }
    }
}

/// Why a charm cannot be used: at least one problem, in the order of their lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    pub problems: Vec<Problem>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

impl CharmHost {
    /// Evaluates `charm.lua` and checks everything that it declares. Its functions are not called.
    ///
    /// # Errors
    /// All problems of the declaration at once; a syntax or run-time error alone.
    pub async fn load(&self, files: &CharmFiles) -> Result<CharmMeta, LoadError> {
        let problem = |line: usize, file: &str, message: String| Problem {
            file: file.to_owned(),
            line,
            message,
            source_line: source_line(files, file, line),
        };
        let bytes: usize = files.values().map(Vec::len).sum();
        if bytes > self.limits.charm {
            let message = format!("the charm's files are larger than {} MiB", self.limits.charm >> 20);
            return Err(LoadError { problems: vec![problem(1, MAIN, message)] });
        }
        let failed = |fault: &Fault| {
            let (file, line) = fault.at().map_or((MAIN, 1), |at| (at.file.as_str(), at.line));
            LoadError { problems: vec![problem(line, file, fault.message.clone())] }
        };
        let (vm, declaration) = self.declaration(files).await.map_err(|fault| failed(&fault))?;
        self.check_sources(&vm, files).map_err(|fault| failed(&fault))?;
        let source = files.get(MAIN).map(|main| String::from_utf8_lossy(main)).unwrap_or_default();
        let read = Declaration::read(&declaration, &source);
        read.map_err(|found| {
            let mut found: Vec<(usize, String)> = found;
            found.sort();
            LoadError { problems: found.into_iter().map(|(line, message)| problem(line, MAIN, message)).collect() }
        })
    }

    async fn declaration(&self, files: &CharmFiles) -> Result<(Vm, Table), Fault> {
        let journal = Journal::new(None, Secrets::default(), 0);
        let shared = Arc::new(files.clone());
        let globals = Globals { journal: &journal, files: &shared, limits: &self.limits, runs: false };
        let vm = Vm::new(self.limits.clone(), |lua, meter| globals.install(lua, &Host::new(lua)?, meter));
        let mut vm = vm.map_err(|error| Fault::internal(&error))?;
        let table = evaluate(&mut vm, files, &self.limits, Instant::now() + LOAD_LIMIT).await?;
        Ok((vm, table))
    }

    /// Files that only a hook requires are compiled too: a typo should not wait for that hook.
    fn check_sources(&self, vm: &Vm, files: &CharmFiles) -> Result<(), Fault> {
        let mut sources = files.iter().filter(|(path, _)| is_source(path));
        sources.try_for_each(|(path, source)| compile(vm.lua(), path, source, &self.limits).map(drop))
    }
}
