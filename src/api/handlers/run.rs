//! run: a line for the shell of several machines.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use futures_util::{StreamExt, stream};

use crate::model::{ChangeError, MachineId, Model, ServiceName, UnitName};

use super::super::actions::{Run, RunAnswer, RunResult};
use super::super::backend::{Asker, Backend, RunLine, RunTarget};
use super::super::requests::Refusal;
use super::super::server::Handle;
use super::{name, refusal};

/// Commands that run at the same time.
const PARALLEL: usize = 64;
/// Bytes of output that an answer may hold; of many targets each gives less.
const OUTPUT: usize = 64 << 20;
const NO_TARGETS: &str = "no targets: name them with --unit, --service, --machine or --all";

#[async_trait]
impl Handle for Run {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<RunAnswer, Refusal> {
        let targets = targets(&backend.model(), &self)?;
        let share = OUTPUT / targets.len().max(1) / 2;
        let line = RunLine { text: self.command, timeout: Duration::from_secs(self.timeout), by: by.to_string() };
        // In the order of the targets, and ended with this future.
        let results = stream::iter(targets).map(|target| one(backend, target, &line, share)).buffered(PARALLEL);
        Ok(RunAnswer { results: results.collect().await })
    }
}

async fn one(backend: &dyn Backend, target: RunTarget, line: &RunLine, share: usize) -> RunResult {
    let ran = backend.run(&target, line).await;
    let result = RunResult {
        machine: target.machine.to_string(),
        unit: target.unit.map(|unit| unit.to_string()),
        ..RunResult::default()
    };
    match ran {
        Ok(end) => {
            let text = |bytes: &[u8]| BASE64_STANDARD.encode(&bytes[bytes.len().saturating_sub(share)..]);
            let error = end.timed_out.then(|| format!("command timed out after {} s", line.timeout.as_secs()));
            let cut = end.cut || end.stdout.len().max(end.stderr.len()) > share;
            RunResult { code: end.code, stdout: text(&end.stdout), stderr: text(&end.stderr), cut, error, ..result }
        }
        Err(refusal) => RunResult { error: Some(refusal.error), ..result },
    }
}

/// Units first, then machines, each once.
fn targets(model: &Model, asked: &Run) -> Result<Vec<RunTarget>, Refusal> {
    let mut units = BTreeSet::new();
    for text in &asked.units {
        let unit: UnitName = name(text)?;
        match model.units.contains_key(&unit) {
            true => units.insert(unit),
            false => return Err(refusal::of(&ChangeError::NoUnit(unit), model)),
        };
    }
    for text in &asked.services {
        let service: ServiceName = name(text)?;
        let Some(found) = model.services.get(&service) else {
            return Err(refusal::of(&ChangeError::NoService(service), model));
        };
        units.extend(found.units.iter().map(|number| UnitName { service: service.clone(), number: *number }));
    }
    let mut machines = BTreeSet::new();
    for text in &asked.machines {
        let machine = super::machine(model, text)?;
        match model.machines.contains_key(&machine) {
            true => machines.insert(machine),
            false => return Err(refusal::of(&ChangeError::NoMachine(machine), model)),
        };
    }
    if asked.all {
        machines.extend(model.machines.keys().copied().filter(|machine| *machine != MachineId::HOST));
    }
    let of_unit = |unit: UnitName| Some(RunTarget { machine: model.units.get(&unit)?.machine, unit: Some(unit) });
    let of_machine = |machine| RunTarget { machine, unit: None };
    let all: Vec<RunTarget> =
        units.into_iter().filter_map(of_unit).chain(machines.into_iter().map(of_machine)).collect();
    match all.is_empty() && asked.units.is_empty() && asked.services.is_empty() && !asked.all {
        true => Err(Refusal::new(NO_TARGETS)),
        false => Ok(all),
    }
}
