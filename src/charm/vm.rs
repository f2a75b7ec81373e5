//! The sandbox: one Luau VM, what it may use, and what ends it.
//!
//! # Guarantees
//! - A script ends: at [`Limits::busy`] of CPU time without a call to the machine, at [`Limits::memory`], at the
//!   deadline of the call. No `pcall`, coroutine, metamethod or error handler of the script can prevent it.
//! - A script cannot load bytecode, cannot change a built-in or a table of the host, and reaches no file, process or
//!   other script.
//! - Dropping the future of [`Vm::run`] drops the host call it waits for.
//!
//! # Assumptions
//! - Threads that poll [`Vm::run`] have a stack of [`STACK_SIZE`]. Debug builds need half of it for nested calls.
//! - mlua is pinned exactly: `exec_raw_lua`, `poll_pending` and `set_fflag` are not in its documented interface.
//!
//! # Caveats
//! - The compiler's memory is not counted; [`Limits::source`] bounds it (256 KiB of source: 33 MiB, 70 ms).
//! - It guards against careless and nosy charms. Hostile ones belong in a process of their own as well.

use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use mlua::chunk::ChunkMode;
use mlua::{Error, FromLuaMulti, Function, IntoLuaMulti, Lua, LuaOptions, LuaString, StdLib, Table, Value};
use tokio::time::Instant;

use super::fault::{Fault, FaultKind, Stop, StopReason, split_position};
use super::meter::{LiftDrop, Meter, Metered};

/// Stack of a thread that runs charms.
pub const STACK_SIZE: usize = 8 << 20;

/// What a hook may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Live memory of the VM, in bytes.
    pub memory: usize,
    /// CPU time without a call to the machine.
    pub busy: Duration,
    /// A hook in all. Package installations are slow.
    pub total: Duration,
    /// CPU time after which other tasks get their turn.
    pub slice: Duration,
    /// Bytes of one source file.
    pub source: usize,
    /// Bytes of all files of a charm.
    pub charm: usize,
    /// Lines a hook may log; the rest is dropped and said to be.
    pub log_lines: usize,
    /// VMs that exist at the same time.
    pub vms: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: 64 << 20,
            busy: Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 }),
            total: Duration::from_secs(30 * 60),
            slice: Duration::from_millis(8),
            source: 256 << 10,
            charm: 10 << 20,
            log_lines: 20_000,
            vms: 64,
        }
    }
}

static HARDEN: Builtin = Builtin::new("=sandbox", include_str!("harden.luau"));
/// Calls a function so that what it raises is captured with its stack. `error(…, 0)` keeps the value as it is.
const GUARD: &str = "local xpcall, error, handler = xpcall, error, ...
local function finish(ok, ...) if ok then return ... end error((...), 0) end
return function(body, ...) return finish(xpcall(body, handler, ...)) end";
static GUARD_CHUNK: Builtin = Builtin::new("=guard", GUARD);

/// A source of ours, compiled once for all VMs. Bytecode is loaded from nowhere else.
pub(super) struct Builtin {
    name: &'static str,
    source: &'static str,
    bytecode: OnceLock<Vec<u8>>,
}

impl Builtin {
    pub(super) const fn new(name: &'static str, source: &'static str) -> Self {
        Builtin { name, source, bytecode: OnceLock::new() }
    }

    pub(super) fn load(&self, lua: &Lua) -> mlua::Result<Function> {
        let compiled = match self.bytecode.get() {
            Some(compiled) => compiled,
            None => {
                let compiled = mlua::chunk::Compiler::new().compile(self.source)?;
                self.bytecode.get_or_init(|| compiled)
            }
        };
        lua.load(compiled.as_slice()).set_name(self.name).set_mode(ChunkMode::Binary).into_function()
    }
}

/// Globals that would let a script out or in.
const REMOVED: [&str; 6] = ["loadstring", "getfenv", "setfenv", "require", "newproxy", "collectgarbage"];

/// Fixes of Luau that ship switched off: an interruptible table.move, collection that keeps up with allocation, a
/// table that survives a failed allocation, a frozen metatable of vectors. Process-wide, before the first VM.
fn switch_fixes_on() {
    static ONCE: Once = Once::new();
    let flags =
        ["LuauTableMoveTimeoutFix", "LuauBackedgeHeapCheck", "LuauTableRobustOom", "LuauSandboxFreezesVectorMetatable"];
    // A flag that is gone has become the default; the attack tests would tell otherwise.
    ONCE.call_once(|| {
        for flag in flags {
            let _ = Lua::set_fflag(flag, true);
        }
    });
}

pub struct Vm {
    lua: Lua,
    meter: Arc<Meter>,
    guard: Function,
    limits: Limits,
}

impl Vm {
    /// `api` puts the host's functions into the globals, before they become read-only.
    pub fn new(limits: Limits, api: impl FnOnce(&Lua, &Arc<Meter>) -> mlua::Result<()>) -> mlua::Result<Vm> {
        switch_fixes_on();
        let libraries = StdLib::COROUTINE
            | StdLib::TABLE
            | StdLib::OS
            | StdLib::STRING
            | StdLib::UTF8
            | StdLib::BIT
            | StdLib::BUFFER
            | StdLib::MATH
            | StdLib::DEBUG;
        let lua = Lua::new_with(libraries, LuaOptions::new())?;
        let globals = lua.globals();
        for name in REMOVED {
            globals.raw_set(name, mlua::Nil)?;
        }
        let meter = Arc::new(Meter::default());
        // Before `coroutine` is replaced: async host functions capture its yield when they are made.
        api(&lua, &meter)?;
        let find = lua.create_function(|_, (text, pattern, from)| Ok(plain_find(&text, &pattern, from)))?;
        HARDEN.load(&lua)?.call::<()>((find, Lua::poll_pending()))?;
        let handler = lua.create_function(|lua, raised: Value| {
            if let Value::Error(error) = &raised
                && (error.downcast_ref::<Stop>().is_some() || error.downcast_ref::<Fault>().is_some())
            {
                return Ok(raised);
            }
            Ok(Value::Error(Box::new(Error::external(Fault::capture(lua, &raised)))))
        })?;
        let guard = GUARD_CHUNK.load(&lua)?.call(handler)?;
        for pair in globals.pairs::<Value, Value>() {
            // `sandbox` freezes one level only. `_G` is the globals themselves.
            if let (Value::String(name), Value::Table(table)) = pair?
                && name.as_bytes() != b"_G".as_slice()
            {
                freeze(&table, 4)?;
            }
        }
        lua.sandbox(true)?;
        // A backstop for one giant allocation of a built-in; the limit itself is kept by the interrupt, because an
        // error at the allocator comes even if everything is garbage.
        lua.set_memory_limit(limits.memory * 2 + (4 << 20))?;
        let (measure, limit) = (meter.clone(), limits.clone());
        lua.set_interrupt(move |lua| measure.interrupt(lua, &limit));
        Ok(Vm { lua, meter, guard, limits })
    }

    pub fn lua(&self) -> &Lua {
        &self.lua
    }

    /// Runs `function` until it returns, fails or the deadline passes. One call at a time, hence `&mut`.
    ///
    /// After any error but [`FaultKind::Raised`] the VM is to be dropped.
    pub async fn run<R: FromLuaMulti + Send>(
        &mut self,
        function: Function,
        arguments: impl IntoLuaMulti,
        deadline: Instant,
    ) -> Result<R, Fault> {
        self.meter.reset();
        let granted = deadline.saturating_duration_since(Instant::now());
        let mut all = arguments.into_lua_multi(&self.lua).map_err(|error| Fault::internal(&error))?;
        all.push_front(Value::Function(function));
        // `call_async`, not `Thread::into_async`: only its drop ends the host call that is waited for at once.
        let future = LiftDrop::new(&self.lua, self.guard.call_async::<R>(all));
        match tokio::time::timeout_at(deadline, Metered { future, meter: self.meter.clone() }).await {
            Ok(result) => result.map_err(|error| self.fault(&error)),
            Err(_) => Err(Fault {
                kind: FaultKind::TooLong,
                message: format!("ran longer than the limit of {}", seconds(granted)),
                frames: self.meter.waiting_at(),
            }),
        }
    }

    fn fault(&self, error: &Error) -> Fault {
        let memory = format!("used more memory than the limit of {} MiB", self.limits.memory >> 20);
        if let Some(stop) = error.downcast_ref::<Stop>() {
            let (kind, message) = match stop.reason {
                StopReason::Memory => (FaultKind::Memory, memory),
                StopReason::Busy => {
                    let limit = seconds(self.limits.busy);
                    (FaultKind::Busy, format!("ran longer than the limit of {limit} without a call to the machine"))
                }
            };
            return Fault { kind, message, frames: stop.frames.clone() };
        }
        match error.downcast_ref::<Fault>() {
            Some(fault) if fault.kind == FaultKind::Memory => Fault { message: memory, ..fault.clone() },
            Some(fault) => fault.clone(),
            None if matches!(error, Error::MemoryError(_)) => {
                Fault { kind: FaultKind::Memory, message: memory, frames: vec![] }
            }
            None => Fault { kind: FaultKind::Raised, ..Fault::internal(error) },
        }
    }
}

/// Compiles text, never bytecode; `name` is what errors show.
pub fn compile(lua: &Lua, name: &str, source: &[u8], limits: &Limits) -> Result<Function, Fault> {
    let at = |line, message: String| {
        let frames = vec![super::fault::Frame { file: name.to_owned(), line, function: None }];
        Fault { kind: FaultKind::Syntax, message, frames }
    };
    if source.len() > limits.source {
        return Err(at(1, format!("file is larger than {} KiB", limits.source >> 10)));
    }
    // What it finds is Luau's magic of bytecode, which begins with a control character, or no text at all.
    if source.first().is_some_and(|byte| *byte < b'\t') || std::str::from_utf8(source).is_err() {
        return Err(at(1, "file is not text in UTF-8".to_owned()));
    }
    let chunk = lua.load(source).set_name(format!("@{name}")).set_mode(ChunkMode::Text);
    chunk.into_function().map_err(|error| match error {
        Error::SyntaxError { message, .. } => match split_position(&message) {
            Some((frame, rest)) if frame.file == name => at(frame.line, rest),
            _ => at(1, message),
        },
        Error::MemoryError(_) => Fault { kind: FaultKind::Memory, ..at(1, "not enough memory".to_owned()) },
        other => Fault { kind: FaultKind::Internal, ..at(1, other.to_string()) },
    })
}

fn freeze(table: &Table, depth: u8) -> mlua::Result<()> {
    table.set_readonly(true);
    for pair in table.pairs::<Value, Value>() {
        if let (_, Value::Table(inner)) = pair?
            && depth > 0
            && !inner.is_readonly()
        {
            freeze(&inner, depth - 1)?;
        }
    }
    Ok(())
}

/// `string.find(text, pattern, from, true)` in linear time; Luau's own is quadratic and not interrupted.
fn plain_find(text: &LuaString, pattern: &LuaString, from: Option<i64>) -> (Option<i64>, Option<i64>) {
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let length = text.len() as i64;
    let from = match from.unwrap_or(1) {
        from if from < 0 => (length.saturating_add(from) + 1).max(1),
        from => from.max(1),
    };
    if from > length + 1 {
        return (None, None);
    }
    match memchr::memmem::find(&text[(from - 1) as usize..], &pattern) {
        Some(found) => (Some(found as i64 + from), Some(found as i64 + from + pattern.len() as i64 - 1)),
        None => (None, None),
    }
}

/// `1.5 s`, `30 min`. What is left of a limit a moment after it was set is told as the limit.
pub fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis().saturating_add(50) / 100;
    match (tenths / 10, tenths % 10) {
        (whole, 0) if whole >= 120 && whole.is_multiple_of(60) => format!("{} min", whole / 60),
        (whole, 0) => format!("{whole} s"),
        (whole, part) => format!("{whole}.{part} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_as_it_was_set_also_a_moment_later() {
        let told =
            [999_309, 1_499_990, 2_500_000, 59_999_400, 1_799_999_200].map(|us| seconds(Duration::from_micros(us)));
        assert_eq!(told, ["1 s", "1.5 s", "2.5 s", "60 s", "30 min"]);
    }
}
