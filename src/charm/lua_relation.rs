//! `relation`.

use std::sync::Arc;

use mlua::{Lua, Table, Value};

use crate::model::{RelationId, Setting, Settings, SettingsChange, UnitName};

use super::host::{Host, now, optional_text, text, type_name};
use super::scene::Draft;
use super::secret::{Secret, Secrets};

/// Bytes of a setting's value, and of a key.
const MAX_VALUE: usize = 64 << 10;
const MAX_KEY: usize = 128;
const MAX_KEYS: usize = 1000;

/// The relation `about.0`; `about.1` is the unit that the hook is about.
pub fn object(
    lua: &Lua,
    host: &Host,
    shared: (&Arc<Draft>, &Secrets),
    about: (RelationId, Option<UnitName>),
) -> mlua::Result<Table> {
    let (draft, secrets) = shared;
    let (id, remote) = about;
    let (fields, methods, optional) = (lua.create_table()?, lua.create_table()?, lua.create_table()?);
    if let Some(relation) = draft.relation(id) {
        fields.raw_set("id", format!("{}:{id}", relation.endpoint))?;
        fields.raw_set("endpoint", relation.endpoint.as_str())?;
        fields.raw_set("service", relation.remote_service.as_str())?;
    }
    optional.raw_set("remote", true)?;
    if let Some(remote) = &remote {
        fields.raw_set("remote", remote.to_string())?;
    }
    let on = draft.clone();
    let get = now(lua, move |lua, (key, unit): (Value, Value)| {
        let settings = settings_of(&on, id, optional_text(&unit, "the unit")?, remote.as_ref())?;
        pick(lua, &settings, optional_text(&key, "the key")?)
    })?;
    methods.raw_set("get", get)?;
    let on = draft.clone();
    let own = now(lua, move |lua, key: Value| pick(lua, &on.own(id), optional_text(&key, "the key")?))?;
    methods.raw_set("own", own)?;
    let (on, known) = (draft.clone(), secrets.clone());
    methods.raw_set("set", now(lua, move |_, values: Value| set(&on, id, &known, &values))?)?;
    let on = draft.clone();
    let units = now(lua, move |_, ()| Ok(remotes(&on, id)))?;
    methods.raw_set("units", units)?;
    host.object("relation", fields, methods, optional)
}

fn remotes(draft: &Draft, id: RelationId) -> Vec<String> {
    let units = draft.relation(id).map(|relation| relation.remotes.keys().map(UnitName::to_string).collect());
    units.unwrap_or_default()
}

/// Settings of the unit asked for; else of the unit that the hook is about; else of the first one in the relation.
fn settings_of(
    draft: &Draft,
    id: RelationId,
    asked: Option<String>,
    about: Option<&UnitName>,
) -> Result<Settings, String> {
    let Some(relation) = draft.relation(id) else { return Ok(Settings::new()) };
    let unit = match asked {
        Some(name) => Some(name.parse::<UnitName>().map_err(|error| error.to_string())?),
        None => about.or(relation.remotes.keys().next()).cloned(),
    };
    let Some(unit) = unit else { return Ok(Settings::new()) };
    if unit == draft.context.unit {
        return Ok(draft.own(id));
    }
    let departed = relation.departed.as_ref().filter(|(name, _)| *name == unit).map(|(_, settings)| settings);
    match relation.remotes.get(&unit).or(departed) {
        Some(settings) => Ok(settings.clone()),
        // The hook's own unit may have gone meanwhile; another name is a mistake.
        None if about == Some(&unit) => Ok(Settings::new()),
        None => {
            let units = remotes(draft, id).join(", ");
            let units = if units.is_empty() { "no units".to_owned() } else { units };
            Err(format!("\"{unit}\" is not in relation {}:{id}, which has {units}", relation.endpoint))
        }
    }
}

pub(super) fn pick(lua: &Lua, settings: &Settings, key: Option<String>) -> Result<Value, String> {
    let value = match key {
        Some(key) => settings.get(&key).map(|setting| lua.create_string(&setting.value).map(Value::String)),
        None => {
            let pairs = settings.iter().map(|(key, setting)| (key.as_str(), setting.value.as_str()));
            Some(lua.create_table_from(pairs).map(Value::Table))
        }
    };
    value.unwrap_or(Ok(Value::Nil)).map_err(|error| error.to_string())
}

fn set(draft: &Draft, id: RelationId, secrets: &Secrets, values: &Value) -> Result<(), String> {
    let Value::Table(table) = values else {
        return Err("set expects a table: relation:set{ key = value }".to_owned());
    };
    draft.set(id, change(table, "a relation", secrets)?);
    Ok(())
}

/// What a table of new values asks for; `of` names whose settings they are to be.
pub(super) fn change(table: &Table, of: &str, secrets: &Secrets) -> Result<SettingsChange, String> {
    let mut change = SettingsChange::new();
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        let Value::String(key) = key else {
            return Err(format!("a key of {of} is a text, not a {}", type_name(&key)));
        };
        let key = key.to_string_lossy();
        let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'=';
        if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(allowed) || change.len() >= MAX_KEYS {
            return Err(format!("\"{key}\" cannot be a key of {of}"));
        }
        let setting = setting(&key, &value, secrets)?;
        change.insert(key, setting);
    }
    change.sort_unstable_keys();
    Ok(change)
}

/// `None` for an empty text, which deletes. What would give a known secret away is a secret too.
fn setting(key: &str, value: &Value, secrets: &Secrets) -> Result<Option<Setting>, String> {
    let wrapped = matches!(value, Value::UserData(data) if data.is::<Secret>());
    let value = match value {
        Value::Boolean(flag) => flag.to_string(),
        other => text(other, &format!("the value of \"{key}\""))?,
    };
    if value.len() > MAX_VALUE {
        return Err(format!("the value of \"{key}\" is larger than {} KiB", MAX_VALUE >> 10));
    }
    let secret = wrapped || secrets.gives_away(&value);
    Ok((!value.is_empty()).then_some(Setting { value, secret }))
}
