//! Runs an action: like a hook, with parameters, a time limit of its own and results.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use mlua::{Table, Value};
use serde_json::Map;

use crate::model::action::MOST_RESULTS;
use crate::model::{ConfigValue, Hook};

use super::super::fault::Fault;
use super::super::host::type_name;
use super::super::journal::Journal;
use super::super::json::{shown, to_json};
use super::super::scene::{Draft, Scene};
use super::super::secret::Secrets;
use super::super::{CharmFiles, HookContext, HookOutcome, HookSink, MachineAccess, lua_unit};
use super::{CharmHost, Entry, HookError, explain, function, known_secrets, names, raised, written};

/// Everything an action may know.
pub struct ActionContext {
    /// As for a hook; its `hook` names the action.
    pub hook: HookContext,
    /// What was given over the defaults; those with neither are absent.
    pub params: IndexMap<String, ConfigValue>,
    pub secret_params: BTreeSet<String>,
    /// In place of [`Limits::total`](super::super::vm::Limits::total).
    pub timeout: Option<Duration>,
}

impl fmt::Debug for ActionContext {
    /// Parameters may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActionContext({} of {})", self.hook.hook, self.hook.unit)
    }
}

/// What an action that returned without error gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActionOutcome {
    pub writes: HookOutcome,
    /// Secrets are replaced.
    pub results: Map<String, serde_json::Value>,
}

impl CharmHost {
    /// Runs the action that `context` names. The guarantees are those of [`CharmHost::run_hook`].
    ///
    /// # Errors
    /// As of a hook; or the charm, which was upgraded meanwhile, does not declare the action any more.
    pub async fn run_action(
        &self,
        files: &CharmFiles,
        context: ActionContext,
        machine: Arc<dyn MachineAccess>,
        sink: Arc<dyn HookSink>,
    ) -> Result<ActionOutcome, HookError> {
        let _slot = self.vms.acquire().await;
        let secrets = known_secrets(&context.hook);
        let secret = context.params.iter().filter(|(key, _)| context.secret_params.contains(*key));
        secret.for_each(|(_, value)| secrets.add(&value.to_string()));
        let journal = Journal::new(Some(sink), secrets, self.limits.log_lines);
        let scene = self.scene(files, machine, &journal, context.timeout.unwrap_or(self.limits.total));
        let result = self.action(&scene, context).await;
        result.map_err(|fault| explain(&fault, files, &journal))
    }

    async fn action(&self, scene: &Arc<Scene>, context: ActionContext) -> Result<ActionOutcome, Fault> {
        let ActionContext { hook, params, .. } = context;
        let Hook::Action(name) = hook.hook.clone() else {
            return Err(raised(format!("{} is not an action", hook.hook)));
        };
        let draft = Draft::new(hook);
        let mut charm = self.evaluate(scene).await?;
        let Some(function) = function(&charm.declaration, &Entry::Action(name.to_string())) else {
            return Err(raised(format!("the charm does not declare action \"{name}\" any more")));
        };
        let known = declared(&charm.declaration, name.as_str()).map(|action| names(&action, "params"));
        let known: BTreeSet<String> = known.into_iter().flatten().collect();
        let internal = |error: mlua::Error| Fault::internal(&error);
        let (unit, _) = charm.tables(scene, &draft).map_err(internal)?;
        let params = lua_unit::values(charm.vm.lua(), &charm.host, "params", (&params, &known)).map_err(internal)?;
        let returned: Value = charm.vm.run(function, (unit.object, params), scene.deadline).await?;
        let results = results(&returned, &scene.journal.secrets).map_err(raised)?;
        Ok(ActionOutcome { writes: written(&unit.state, scene, &draft)?, results })
    }
}

/// An action's table in the declaration.
pub(super) fn declared(declaration: &Table, name: &str) -> Option<Table> {
    declaration.raw_get::<Table>("actions").ok()?.raw_get(name).ok()
}

fn results(returned: &Value, secrets: &Secrets) -> Result<Map<String, serde_json::Value>, String> {
    let table = match returned {
        Value::Nil => return Ok(Map::new()),
        Value::Table(table) => table,
        other => return Err(format!("an action returns a table or nothing, not a {}", type_name(other))),
    };
    let results = shown(to_json(table, "results", secrets)?, secrets);
    let bytes = serde_json::to_vec(&results).map_or(0, |text| text.len());
    if bytes > MOST_RESULTS {
        return Err(format!("results: larger than {} KiB", MOST_RESULTS >> 10));
    }
    Ok(results)
}
