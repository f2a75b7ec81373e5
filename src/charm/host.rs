//! How a host function is made: it gives values or a message, and `host.luau` raises the message at the caller's line.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use mlua::{FromLuaMulti, Function, IntoLua, IntoLuaMulti, Lua, MultiValue, Table, Value};

use super::meter::Meter;
use super::secret::Secret;
use super::vm::Builtin;

static HOST: Builtin = Builtin::new("=host", include_str!("host.luau"));

/// What a host function gives Lua.
struct Reply<T>(Result<T, String>);

impl<T: IntoLuaMulti> IntoLuaMulti for Reply<T> {
    fn into_lua_multi(self, lua: &Lua) -> mlua::Result<MultiValue> {
        let (ok, mut values) = match self.0 {
            Ok(values) => (true, values.into_lua_multi(lua)?),
            Err(message) => (false, message.into_lua_multi(lua)?),
        };
        values.push_front(Value::Boolean(ok));
        Ok(values)
    }
}

/// A Lua string of any bytes, made without holding on to the VM.
pub struct Bytes(pub Vec<u8>);

impl IntoLua for Bytes {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        lua.create_string(&self.0).map(Value::String)
    }
}

/// A host function that answers at once.
pub fn now<A, T>(lua: &Lua, f: impl Fn(&Lua, A) -> Result<T, String> + Send + 'static) -> mlua::Result<Function>
where
    A: FromLuaMulti,
    T: IntoLuaMulti,
{
    lua.create_function(move |lua, arguments| Ok(Reply(f(lua, arguments))))
}

/// A host function that may wait. `f` reads its arguments; its future must not hold anything of the VM, so that
/// dropping the VM always drops the future.
pub fn waiting<A, T, F>(
    lua: &Lua,
    meter: &Arc<Meter>,
    f: impl Fn(A) -> Result<F, String> + Send + 'static,
) -> mlua::Result<Function>
where
    A: FromLuaMulti + 'static,
    T: IntoLuaMulti + Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let meter = meter.clone();
    lua.create_async_function(move |lua, arguments| {
        meter.waits(&lua);
        let started = f(arguments);
        let meter = meter.clone();
        async move {
            let result = match started {
                // A panic must end this hook, not the worker that runs it.
                Ok(future) => AssertUnwindSafe(future)
                    .catch_unwind()
                    .await
                    .unwrap_or_else(|_| Err("internal error in the call to the machine".to_owned())),
                Err(message) => Err(message),
            };
            meter.rested();
            Ok(Reply(result))
        }
    })
}

/// The functions of `host.luau`.
pub struct Host(Table);

impl Host {
    pub fn new(lua: &Lua) -> mlua::Result<Host> {
        let explain = lua.create_function(|_, (kind, key): (String, String)| Ok(no_field(&kind, &key)))?;
        let lock = lua.create_function(|_, table: Table| {
            table.set_readonly(true);
            Ok(table)
        })?;
        Ok(Host(HOST.load(lua)?.call((explain, lock))?))
    }

    /// A global function made from a host function.
    pub fn plain(&self, function: Function) -> mlua::Result<Function> {
        self.0.get::<Function>("plain")?.call(function)
    }

    pub fn print(&self, log: Function) -> mlua::Result<Function> {
        self.0.get::<Function>("print")?.call(log)
    }

    pub fn require(&self, resolve: Function, compile: Function) -> mlua::Result<Function> {
        self.0.get::<Function>("require")?.call((resolve, compile))
    }

    /// A read-only table: `fields`, `methods` (host functions by name), and names that may be nil.
    pub fn object(&self, kind: &str, fields: Table, methods: Table, optional: Table) -> mlua::Result<Table> {
        self.0.get::<Function>("object")?.call((kind, fields, methods, optional))
    }
}

const UNIT: &[&str] = &[
    "name",
    "service",
    "machine",
    "private_address",
    "public_address",
    "is_leader",
    "hook",
    "config",
    "state",
    "exec",
    "read",
    "write",
    "remove",
    "exists",
    "stat",
    "file",
    "push",
    "open_port",
    "close_port",
    "open_ports",
    "set_status",
    "log",
    "relations",
    "leader_get",
    "leader_set",
];
const RELATION: &[&str] = &["id", "endpoint", "service", "remote", "get", "set", "units", "own"];
const MACHINE: &[&str] = &["exec", "read", "write", "remove", "exists", "stat", "file", "push", "set_status", "log"];

fn no_field(kind: &str, key: &str) -> String {
    match kind {
        "unit" => format!("unit has no field \"{key}\"{}", did_you_mean(key, UNIT.iter().copied())),
        "relation" => format!("relation has no field \"{key}\"{}", did_you_mean(key, RELATION.iter().copied())),
        "machine" if UNIT.contains(&key) => {
            format!("\"{key}\" is not there in prepare: its result is shared by all units")
        }
        "machine" => format!("machine has no field \"{key}\"{}", did_you_mean(key, MACHINE.iter().copied())),
        "params" => format!("the action declares no parameter \"{key}\""),
        _ => format!("the charm declares no option \"{key}\""),
    }
}

/// `, did you mean "x"?`, or nothing if no known name is near.
pub fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.map(|other| (strsim::osa_distance(name, other), other)).min();
    match nearest {
        Some((steps, other)) if steps <= (name.len() / 3).max(1) => format!(", did you mean \"{other}\"?"),
        _ => String::new(),
    }
}

/// The type of a value as an author knows it: Luau's two kinds of numbers are one.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) | Value::Number(_) => "number",
        other => other.type_name(),
    }
}

/// A text argument: a string, a number or a secret, which is unwrapped.
pub fn bytes(value: &Value, what: &str) -> Result<Vec<u8>, String> {
    match value {
        Value::String(text) => Ok(text.as_bytes().to_vec()),
        Value::Integer(number) => Ok(number.to_string().into_bytes()),
        Value::Number(number) => Ok(number.to_string().into_bytes()),
        Value::UserData(data) => match data.borrow::<Secret>() {
            Ok(secret) => Ok(secret.text().as_bytes().to_vec()),
            Err(_) => Err(format!("{what} must be a text")),
        },
        Value::Nil => Err(format!("{what} is missing")),
        other => Err(format!("{what} must be a text, not a {}", type_name(other))),
    }
}

pub fn text(value: &Value, what: &str) -> Result<String, String> {
    String::from_utf8(bytes(value, what)?).map_err(|_| format!("{what} is not UTF-8"))
}

pub fn optional_text(value: &Value, what: &str) -> Result<Option<String>, String> {
    if value.is_nil() { Ok(None) } else { text(value, what).map(Some) }
}

/// An absolute path on the machine.
pub fn path(value: &Value) -> Result<String, String> {
    let path = text(value, "the path")?;
    match path.starts_with('/') && !path.contains('\0') {
        true => Ok(path),
        false => Err(format!("\"{path}\" is not an absolute path")),
    }
}

/// The named entries of an options table; a name that is not `known` is an error.
pub fn options(value: &Value, known: &[&str]) -> Result<Vec<(String, Value)>, String> {
    let table = match value {
        Value::Nil => return Ok(vec![]),
        Value::Table(table) => table,
        other => return Err(format!("options must be a table, not a {}", type_name(other))),
    };
    let mut found = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        match key {
            Value::String(key) => {
                let key = key.to_string_lossy();
                if !known.contains(&key.as_str()) {
                    return Err(format!("unknown option \"{key}\"{}", did_you_mean(&key, known.iter().copied())));
                }
                found.push((key, value));
            }
            // The list part belongs to the caller.
            Value::Integer(_) | Value::Number(_) => {}
            other => return Err(format!("an option's name is a text, not a {}", type_name(&other))),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        assert_eq!(did_you_mean("sumary", ["summary", "series"].into_iter()), ", did you mean \"summary\"?");
        assert_eq!(did_you_mean("ba", ["ab", "x"].into_iter()), ", did you mean \"ab\"?", "a swap counts once");
        assert_eq!(did_you_mean("ba", ["ab", "x"].into_iter()), ", did you mean \"ab\"?", "a swap counts once");
        assert_eq!(did_you_mean("start", ["stop", "install"].into_iter()), "");
    }
}
