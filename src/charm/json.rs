//! Between Lua and JSON, with budgets: mlua's own conversion follows shared tables until memory is gone.
//!
//! Secrets survive the way: a `secret` is kept as `{"$secret": …}`, a plain text that is a known secret as
//! `{"$secret_text": …}`, so that what reads it back can keep it out of logs. An empty table is an object.

use mlua::{Lua, LuaString, Table, Value};
use serde_json::{Map, Value as Json};

use super::host::type_name;
use super::secret::{SHOWN, Secret, Secrets};

const MAX_NODES: usize = 100_000;
const MAX_BYTES: usize = 4 << 20;
const MAX_DEPTH: usize = 64;

pub const WRAPPED: &str = "$secret";
pub const PLAIN: &str = "$secret_text";

/// Converts a table; the error says which value cannot be kept, by its path below `name`.
pub fn to_json(table: &Table, name: &str, secrets: &Secrets) -> Result<Map<String, Json>, String> {
    let mut budget = Budget { nodes: MAX_NODES, bytes: MAX_BYTES, path: vec![name.to_owned()], secrets };
    match budget.table(table) {
        Ok(Json::Object(map)) => Ok(map),
        Ok(_) => Err(format!("{name} must have names as keys, not numbers")),
        Err(message) => Err(format!("{}: {message}", budget.path.join("."))),
    }
}

/// The same for somebody to read: every secret is replaced.
pub fn shown(map: Map<String, Json>, secrets: &Secrets) -> Map<String, Json> {
    map.into_iter().map(|(key, value)| (secrets.redact(&key, MAX_BYTES), shown_value(value, secrets))).collect()
}

fn shown_value(value: Json, secrets: &Secrets) -> Json {
    match value {
        Json::String(text) => Json::String(secrets.redact(&text, MAX_BYTES)),
        Json::Array(values) => Json::Array(values.into_iter().map(|value| shown_value(value, secrets)).collect()),
        Json::Object(map) if map.len() == 1 && (map.contains_key(WRAPPED) || map.contains_key(PLAIN)) => {
            Json::String(SHOWN.to_owned())
        }
        Json::Object(map) => Json::Object(shown(map, secrets)),
        other => other,
    }
}

struct Budget<'a> {
    nodes: usize,
    bytes: usize,
    /// Left as it is when an error occurs.
    path: Vec<String>,
    secrets: &'a Secrets,
}

impl Budget<'_> {
    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.nodes = self.nodes.checked_sub(1).ok_or_else(|| format!("more than {MAX_NODES} values"))?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| format!("larger than {} MiB", MAX_BYTES >> 20))?;
        Ok(())
    }

    fn value(&mut self, value: &Value) -> Result<Json, String> {
        match value {
            Value::Boolean(flag) => self.spend(1).map(|()| Json::Bool(*flag)),
            Value::Integer(number) => self.spend(8).map(|()| Json::from(*number)),
            Value::Number(number) => self.spend(8).and_then(|()| json_number(*number)),
            Value::String(text) => {
                let text = self.text(text)?;
                Ok(if self.secrets.is_secret(&text) { marked(PLAIN, text) } else { Json::String(text) })
            }
            Value::Table(table) => self.table(table),
            Value::UserData(data) => match data.borrow::<Secret>() {
                Ok(secret) => {
                    self.spend(secret.text().len())?;
                    Ok(marked(WRAPPED, secret.text().to_owned()))
                }
                Err(_) => Err("cannot be kept".to_owned()),
            },
            other => Err(format!("a {} cannot be kept", type_name(other))),
        }
    }

    fn text(&mut self, text: &LuaString) -> Result<String, String> {
        self.spend(text.as_bytes().len())?;
        text.to_str().map(|text| text.to_string()).map_err(|_| "text is not UTF-8".to_owned())
    }

    fn table(&mut self, table: &Table) -> Result<Json, String> {
        self.spend(2)?;
        if self.path.len() > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH}"));
        }
        let length = table.raw_len();
        if length > 0 {
            return self.array(table, length);
        }
        let mut entries = Vec::new();
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair.map_err(|error| error.to_string())?;
            let Value::String(key) = key else {
                return Err(format!("a key is a {}; keys are texts", type_name(&key)));
            };
            let key = self.text(&key)?;
            self.path.push(key.clone());
            let value = self.value(&value)?;
            self.path.pop();
            entries.push((key, value));
        }
        // Lua's order is arbitrary; what is stored should not be.
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Json::Object(entries.into_iter().collect()))
    }

    fn array(&mut self, table: &Table, length: usize) -> Result<Json, String> {
        let mut values = Vec::new();
        for index in 1..=length {
            self.path.push(index.to_string());
            let value: Value = table.raw_get(index).map_err(|error| error.to_string())?;
            values.push(self.value(&value)?);
            self.path.pop();
        }
        if table.pairs::<Value, Value>().count() != length {
            return Err("mixes a list with named values".to_owned());
        }
        Ok(Json::Array(values))
    }
}

fn marked(kind: &str, text: String) -> Json {
    Json::Object(Map::from_iter([(kind.to_owned(), Json::String(text))]))
}

fn json_number(number: f64) -> Result<Json, String> {
    if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
        return Ok(Json::from(number as i64));
    }
    serde_json::Number::from_f64(number).map(Json::Number).ok_or_else(|| "not a finite number".to_owned())
}

/// The table for a stored object. Secrets in it are made known to `secrets`.
pub fn from_json(lua: &Lua, map: &Map<String, Json>, secrets: &Secrets) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (key, value) in map {
        table.raw_set(key.as_str(), lua_value(lua, value, secrets)?)?;
    }
    Ok(table)
}

fn lua_value(lua: &Lua, value: &Json, secrets: &Secrets) -> mlua::Result<Value> {
    Ok(match value {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Boolean(*flag),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or_default()),
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(values) => {
            let table = lua.create_table()?;
            for (index, value) in values.iter().enumerate() {
                table.raw_set(index + 1, lua_value(lua, value, secrets)?)?;
            }
            Value::Table(table)
        }
        Json::Object(map) => match map.iter().next() {
            Some((kind, Json::String(text))) if map.len() == 1 && kind == PLAIN => {
                secrets.add(text);
                Value::String(lua.create_string(text)?)
            }
            Some((kind, Json::String(text))) if map.len() == 1 && kind == WRAPPED => {
                Value::UserData(lua.create_userdata(Secret::new(secrets, text))?)
            }
            _ => Value::Table(from_json(lua, map, secrets)?),
        },
    })
}
