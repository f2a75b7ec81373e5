//! `machine`, as `prepare` gets it, and the methods that a unit shares with it.

use std::sync::Arc;

use mlua::{Lua, Table, Value};

use crate::model::{LogLevel, WorkloadState, WorkloadStatus};

use super::host::{Host, did_you_mean, now, text};
use super::journal::Journal;
use super::lua_globals::lossy;
use super::meter::Meter;
use super::scene::Scene;
use super::{lua_exec, lua_files};

/// Methods that reach the machine, the log and the status. To be made before the sandbox closes.
pub fn methods(lua: &Lua, meter: &Arc<Meter>, scene: &Arc<Scene>) -> mlua::Result<Table> {
    let methods = lua.create_table()?;
    methods.raw_set("exec", lua_exec::exec(lua, meter, scene)?)?;
    lua_files::add_methods(lua, &methods, meter, scene)?;
    let journal = scene.journal.clone();
    methods.raw_set("log", now(lua, move |_, (first, second): (Value, Value)| log(&journal, &first, &second))?)?;
    let journal = scene.journal.clone();
    let status = now(lua, move |_, (state, message): (Value, Value)| {
        journal.status(read_status(&text(&state, "the status")?, &message)?);
        Ok(())
    })?;
    methods.raw_set("set_status", status)?;
    Ok(methods)
}

/// The table for `prepare`: nothing of it differs between units.
pub fn object(lua: &Lua, host: &Host, methods: Table) -> mlua::Result<Table> {
    host.object("machine", lua.create_table()?, methods, lua.create_table()?)
}

fn log(journal: &Journal, first: &Value, second: &Value) -> Result<(), String> {
    if second.is_nil() {
        journal.log(LogLevel::Info, &lossy(first)?);
        return Ok(());
    }
    let level = match lossy(first)?.as_str() {
        "debug" => LogLevel::Debug,
        "info" => LogLevel::Info,
        "warning" => LogLevel::Warning,
        "error" => LogLevel::Error,
        other => return Err(format!("unknown log level \"{other}\": debug, info, warning or error")),
    };
    journal.log(level, &lossy(second)?);
    Ok(())
}

fn read_status(state: &str, message: &Value) -> Result<WorkloadStatus, String> {
    let message = if message.is_nil() { String::new() } else { lossy(message)? };
    let settable = WorkloadState::SETTABLE;
    let found = settable.into_iter().find(|known| known.as_str() == state);
    let names = settable.map(WorkloadState::as_str);
    let state = found.ok_or_else(|| {
        let hint = did_you_mean(state, names.into_iter());
        format!("unknown status \"{state}\"{hint}; a charm may set {}", names.join(", "))
    })?;
    Ok(WorkloadStatus { state, message })
}
