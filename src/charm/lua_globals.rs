//! The globals: `charm`, `secret`, `random_hex`, `sleep`, `print`, `require`.

use std::sync::Arc;
use std::time::Duration;

use mlua::{Lua, Table, Value};
use ring::rand::{SecureRandom, SystemRandom};

use crate::model::LogLevel;

use super::CharmFiles;
use super::host::{Host, now, text, type_name, waiting};
use super::journal::Journal;
use super::meter::Meter;
use super::modules;
use super::secret;
use super::vm::Limits;

/// Name in Lua's registry of the table that `charm` got.
const DECLARED: &str = "declared";
const MAX_HEX: usize = 1024;

/// What the globals need of their surroundings.
pub struct Globals<'a> {
    pub journal: &'a Arc<Journal>,
    pub files: &'a Arc<CharmFiles>,
    pub limits: &'a Limits,
    /// Whether a machine is there; else `sleep` is an error.
    pub runs: bool,
}

impl Globals<'_> {
    pub fn install(&self, lua: &Lua, host: &Host, meter: &Arc<Meter>) -> mlua::Result<()> {
        let globals = lua.globals();
        globals.raw_set("charm", host.plain(now(lua, |lua, declared: Value| declare(lua, declared))?)?)?;
        globals.raw_set("require", modules::require(lua, host, self.files, self.limits)?)?;
        let journal = self.journal.clone();
        let log = now(lua, move |_, line: Value| {
            journal.log(LogLevel::Info, &lossy(&line)?);
            Ok(())
        })?;
        globals.raw_set("print", host.print(log)?)?;
        let secrets = self.journal.secrets.clone();
        let wrap = now(lua, move |lua, value: Value| secret::wrap(lua, &secrets, &value))?;
        globals.raw_set("secret", host.plain(wrap)?)?;
        globals.raw_set("random_hex", host.plain(now(lua, |_, length: Value| random_hex(&length))?)?)?;
        let runs = self.runs;
        let sleep = waiting(lua, meter, move |time: Value| {
            if !runs {
                return Err("sleep can be called in a hook only".to_owned());
            }
            let time = time.as_f64().or(time.as_i64().map(|whole| whole as f64)).unwrap_or(-1.0);
            let time = Duration::try_from_secs_f64(time);
            let time = time.map_err(|_| "sleep expects a number of seconds".to_owned())?;
            Ok(async move {
                tokio::time::sleep(time).await;
                Ok(())
            })
        })?;
        globals.raw_set("sleep", host.plain(sleep)?)
    }
}

/// A text for a log: bytes that are not UTF-8 are replaced.
pub fn lossy(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.to_string_lossy()),
        Value::Nil => Ok("nil".to_owned()),
        Value::Boolean(flag) => Ok(flag.to_string()),
        Value::UserData(_) => Ok(secret::SHOWN.to_owned()),
        other => text(other, "the message"),
    }
}

fn declare(lua: &Lua, declared: Value) -> Result<Table, String> {
    let Value::Table(table) = declared else {
        return Err(format!("charm expects a table, got {}", type_name(&declared)));
    };
    if lua.named_registry_value::<Option<Table>>(DECLARED).ok().flatten().is_some() {
        return Err("charm is called a second time".to_owned());
    }
    lua.set_named_registry_value(DECLARED, &table).map_err(|error| error.to_string())?;
    Ok(table)
}

/// What `charm.lua` returned, if that is what it declared.
pub fn declared(lua: &Lua, returned: &Value) -> Result<Table, String> {
    let declared = lua.named_registry_value::<Option<Table>>(DECLARED).ok().flatten();
    match (declared, returned) {
        (Some(table), Value::Table(other)) if table.to_pointer() == other.to_pointer() => Ok(table),
        _ => Err("charm.lua must end with `return charm { … }`".to_owned()),
    }
}

fn random_hex(length: &Value) -> Result<String, String> {
    let length = length.as_f64().or(length.as_i64().map(|whole| whole as f64)).unwrap_or(-1.0);
    if !(1.0..=MAX_HEX as f64).contains(&length) || length.fract() != 0.0 {
        return Err(format!("random_hex expects a length from 1 to {MAX_HEX}"));
    }
    let mut bytes = [0; MAX_HEX / 2];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random numbers".to_owned())?;
    let mut text: String = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit).collect();
    text.truncate(length as usize);
    Ok(text)
}

fn hex_digit(digit: u8) -> char {
    char::from_digit(digit.into(), 16).unwrap_or('0')
}
