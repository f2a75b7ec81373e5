//! `unit`.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;
use mlua::{Lua, Table, Value};

use crate::model::{ConfigValue, Port};

use super::host::{Host, did_you_mean, now, text};
use super::json::from_json;
use super::scene::Draft;
use super::secret::Secrets;
use super::{lua_leader, lua_relation};

/// Names that the charm declares, for errors and for what may be nil.
pub struct Declared {
    pub endpoints: BTreeSet<String>,
    pub options: BTreeSet<String>,
}

/// The unit and, as it is read back after the hook, its state.
pub struct Unit {
    pub object: Table,
    pub state: Table,
}

pub struct UnitParts<'a> {
    pub host: &'a Arc<Host>,
    pub draft: &'a Arc<Draft>,
    pub declared: Declared,
    pub secrets: &'a Secrets,
    /// Those of [`super::lua_machine::methods`].
    pub methods: Table,
}

pub fn object(lua: &Lua, parts: UnitParts<'_>) -> mlua::Result<Unit> {
    let UnitParts { host, draft, declared, secrets, methods } = parts;
    let context = &draft.context;
    let fields = lua.create_table()?;
    fields.raw_set("name", context.unit.to_string())?;
    fields.raw_set("service", context.unit.service.as_str())?;
    fields.raw_set("machine", context.machine.to_string())?;
    fields.raw_set("private_address", context.private_address.as_str())?;
    fields.raw_set("public_address", context.public_address.as_str())?;
    fields.raw_set("is_leader", context.is_leader)?;
    fields.raw_set("hook", context.hook.to_string())?;
    fields.raw_set("config", values(lua, host, "config", (&context.config, &declared.options))?)?;
    let state = from_json(lua, &context.state, secrets)?;
    fields.raw_set("state", &state)?;
    add_ports(lua, &methods, draft)?;
    add_relations(lua, &methods, (host, draft, secrets), declared.endpoints)?;
    lua_leader::add(lua, &methods, (draft, secrets))?;
    let object = host.object("unit", fields, methods, lua.create_table()?)?;
    Ok(Unit { object, state })
}

/// A read-only table of typed values; those that are declared and not there are nil.
pub fn values(
    lua: &Lua,
    host: &Host,
    kind: &str,
    (values, declared): (&IndexMap<String, ConfigValue>, &BTreeSet<String>),
) -> mlua::Result<Table> {
    let (fields, optional) = (lua.create_table()?, lua.create_table()?);
    for (key, value) in values {
        match value {
            ConfigValue::Boolean(flag) => fields.raw_set(key.as_str(), *flag)?,
            ConfigValue::Int(number) => fields.raw_set(key.as_str(), *number as f64)?,
            ConfigValue::Float(number) => fields.raw_set(key.as_str(), *number)?,
            ConfigValue::String(text) => fields.raw_set(key.as_str(), text.as_str())?,
        }
    }
    declared.iter().try_for_each(|key| optional.raw_set(key.as_str(), true))?;
    host.object(kind, fields, lua.create_table()?, optional)
}

fn add_ports(lua: &Lua, methods: &Table, draft: &Arc<Draft>) -> mlua::Result<()> {
    let on = draft.clone();
    let open = now(lua, move |_, port: Value| port_of(&port).map(|port| on.open(port)))?;
    methods.raw_set("open_port", open)?;
    let on = draft.clone();
    let close = now(lua, move |_, port: Value| port_of(&port).map(|port| on.close(port)))?;
    methods.raw_set("close_port", close)?;
    let on = draft.clone();
    let list = now(lua, move |_, ()| Ok(on.ports().iter().map(Port::to_string).collect::<Vec<_>>()))?;
    methods.raw_set("open_ports", list)
}

fn port_of(value: &Value) -> Result<Port, String> {
    let text = text(value, "the port")?;
    text.parse().map_err(|_| format!("\"{text}\" is not a port, as 80 or \"80/tcp\""))
}

fn add_relations(
    lua: &Lua,
    methods: &Table,
    shared: (&Arc<Host>, &Arc<Draft>, &Secrets),
    endpoints: BTreeSet<String>,
) -> mlua::Result<()> {
    let (host, draft, secrets) = (shared.0.clone(), shared.1.clone(), shared.2.clone());
    let relations = now(lua, move |lua, endpoint: Value| {
        let endpoint = text(&endpoint, "the endpoint")?;
        if !endpoints.contains(&endpoint) {
            let hint = did_you_mean(&endpoint, endpoints.iter().map(String::as_str));
            return Err(format!("the charm declares no endpoint \"{endpoint}\"{hint}"));
        }
        let ids = draft.context.relations.iter().filter(|(_, relation)| relation.endpoint.as_str() == endpoint);
        let objects = ids.map(|(id, _)| lua_relation::object(lua, &host, (&draft, &secrets), (*id, None)));
        objects.collect::<mlua::Result<Vec<_>>>().map_err(|error| error.to_string())
    })?;
    methods.raw_set("relations", relations)
}
