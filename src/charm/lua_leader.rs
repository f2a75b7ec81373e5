//! `unit:leader_get` and `unit:leader_set`: what the leader of a service tells its other units.

use std::sync::Arc;

use mlua::{Lua, Table, Value};

use super::host::{now, optional_text};
use super::lua_relation::{change, pick};
use super::scene::Draft;
use super::secret::Secrets;

pub fn add(lua: &Lua, methods: &Table, (draft, secrets): (&Arc<Draft>, &Secrets)) -> mlua::Result<()> {
    let on = draft.clone();
    let get = now(lua, move |lua, key: Value| pick(lua, &on.leader_settings(), optional_text(&key, "the key")?))?;
    methods.raw_set("leader_get", get)?;
    let (on, known) = (draft.clone(), secrets.clone());
    methods.raw_set("leader_set", now(lua, move |_, values: Value| set(&on, &known, &values))?)
}

fn set(draft: &Draft, secrets: &Secrets, values: &Value) -> Result<(), String> {
    let Value::Table(table) = values else {
        return Err("leader_set expects a table: unit:leader_set{ key = value }".to_owned());
    };
    let context = &draft.context;
    match &context.leader {
        _ if context.is_leader => {}
        Some(leader) => return Err(format!("cannot write leader settings: {leader} leads {}", context.unit.service)),
        None => return Err(format!("cannot write leader settings: {} has no leader any more", context.unit.service)),
    }
    draft.set_leader(change(table, "the leader's settings", secrets)?);
    Ok(())
}
