//! A line for the shell of a machine, for an operator who waits for its end.
//!
//! # Guarantees
//! For a unit it has the machine for itself, as a hook has. Dropping the future ends what runs in the machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::charm::{ExecCall, ExecResult, MachineAccess};
use crate::model::{Life, LogLevel, MachineId, UnitActivity, UnitName};
use crate::provider::InstanceName;

use super::access::Access;
use super::activity::Activity;
use super::{World, chain};

/// What runs, and where.
pub struct Command<'a> {
    pub machine: MachineId,
    pub unit: Option<&'a UnitName>,
    pub line: &'a str,
    pub timeout: Duration,
    /// The command that asks.
    pub by: &'a str,
}

/// # Errors
/// One line: the machine refused, or is being removed.
pub async fn run(world: &World, instance: String, command: Command<'_>) -> Result<ExecResult, String> {
    let gone = world.ledger.until_gone(|model| match command.unit {
        Some(unit) => !model.units.contains_key(unit),
        None => model.machines.get(&command.machine).is_none_or(|m| m.life == Life::Dying),
    });
    tokio::select! {
        biased;
        ended = in_its_turn(world, instance, &command) => ended,
        () = gone => Err(match command.unit {
            Some(unit) => format!("unit {unit} was removed"),
            None => format!("machine {} is being removed", command.machine),
        }),
    }
}

async fn in_its_turn(world: &World, instance: String, command: &Command<'_>) -> Result<ExecResult, String> {
    let (mut alone, mut activity) = (None, None);
    let mut env = BTreeMap::from([("ENCANTO_MACHINE".to_owned(), command.machine.to_string())]);
    if let Some(unit) = command.unit {
        alone = Some(world.locks.hold(command.machine).await);
        activity = Some(Activity::begin(&world.ledger, unit, UnitActivity::Command));
        env.insert("ENCANTO_UNIT".to_owned(), unit.to_string());
    }
    let instance = InstanceName::new(instance).map_err(|error| chain(&error))?;
    let access = Access::new(world.provider.clone(), instance);
    // Neither the line nor what it says: an operator may have typed a password.
    log(world, command, &format!("a command begins, asked for by `{}`", command.by));
    let call = ExecCall {
        argv: ["/bin/sh", "-c", command.line].map(str::to_owned).into(),
        env,
        cwd: Some("/root".to_owned()),
        timeout: Some(command.timeout),
        ..ExecCall::default()
    };
    let ended = access.exec(call, Arc::new(|_, _| {})).await.map_err(|error| error.to_string());
    match &ended {
        Ok(end) if end.timed_out => log(world, command, "the command took too long and was ended"),
        Ok(end) => log(world, command, &format!("the command ended with code {}", end.code)),
        Err(error) => log(world, command, &format!("the command could not be run: {error}")),
    }
    drop((activity, alone));
    ended
}

fn log(world: &World, command: &Command<'_>, words: &str) {
    match command.unit {
        Some(unit) => world.logbook.unit(unit, command.machine, (LogLevel::Info, "run", words)),
        None => world.logbook.machine_info(command.machine, "run", words),
    }
}
