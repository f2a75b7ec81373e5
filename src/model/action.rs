//! Actions: what an operator has a charm do once, and what came of it.
//!
//! # Guarantees
//! An action runs at most once. One that is not over has a unit, which lists it; with its unit it ends. Those that are
//! over are kept for the operator, the newest [`KEPT`] of them.

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize};

use super::config::{ConfigValue, OptionDecl};
use super::entities::Millis;
use super::names::{ActionId, ActionName, UnitName};

/// Actions that are over and still told about.
pub const KEPT: usize = 200;
/// Most actions that wait or run at a time.
pub const MOST_PENDING: usize = 1000;
/// How long an action may be given.
pub const TIMEOUTS: std::ops::RangeInclusive<Millis> = 1_000..=24 * 3_600_000;
/// Bytes of an action's results: all of them are held in memory.
pub const MOST_RESULTS: usize = 64 << 10;

/// One action as a charm declares it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionDecl {
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub params: IndexMap<String, ParamDecl>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamDecl {
    #[serde(flatten)]
    pub option: OptionDecl,
    #[serde(default)]
    pub required: bool,
}

impl ActionDecl {
    /// The parameters as options, which have the same rules.
    pub fn options(&self) -> IndexMap<String, OptionDecl> {
        self.params.iter().map(|(name, decl)| (name.clone(), decl.option.clone())).collect()
    }
}

/// What was asked, and how far it is.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    pub id: ActionId,
    pub unit: UnitName,
    pub name: ActionName,
    /// What the operator gave, over the defaults.
    pub params: IndexMap<String, ConfigValue>,
    /// Names of those parameters that are secret.
    #[serde(default)]
    pub secret: Vec<String>,
    /// How long it may run; `None` is as long as a hook.
    pub timeout: Option<Millis>,
    /// The command that asked.
    pub by: String,
    pub enqueued: Millis,
    pub state: ActionState,
}

impl fmt::Debug for Action {
    /// Parameters and results may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Action({} {} of {}, {})", self.id, self.name, self.unit, self.state.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionState {
    Queued,
    Running {
        started: Millis,
        /// Somebody wants it ended.
        cancelled: bool,
    },
    Over {
        started: Option<Millis>,
        completed: Millis,
        end: ActionEnd,
    },
}

/// How an action ended.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionEnd {
    Completed { results: serde_json::Map<String, serde_json::Value> },
    Failed { message: String },
    Cancelled { message: String },
}

impl fmt::Debug for ActionEnd {
    /// Results may be long, and are nobody's business but the operator's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.as_str(), self.message())
    }
}

impl ActionEnd {
    pub fn as_str(&self) -> &'static str {
        match self {
            ActionEnd::Completed { .. } => "completed",
            ActionEnd::Failed { .. } => "failed",
            ActionEnd::Cancelled { .. } => "cancelled",
        }
    }

    pub fn message(&self) -> &str {
        match self {
            ActionEnd::Completed { .. } => "",
            ActionEnd::Failed { message } | ActionEnd::Cancelled { message } => message,
        }
    }
}

impl ActionState {
    /// Juju's word for it; one that is being cancelled is still running.
    pub fn as_str(&self) -> &'static str {
        match self {
            ActionState::Queued => "pending",
            ActionState::Running { .. } => "running",
            ActionState::Over { end, .. } => end.as_str(),
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self, ActionState::Over { .. })
    }

    /// Whether it runs and nobody wants it ended.
    pub fn goes_on(&self) -> bool {
        matches!(self, ActionState::Running { cancelled: false, .. })
    }
}

/// Actions of a charm. Until actions could be run a list of their names was stored; what could not be the name of an
/// action now could never be asked for either.
pub fn declared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IndexMap<ActionName, ActionDecl>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Names(Vec<String>),
        Declared(IndexMap<ActionName, ActionDecl>),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Declared(actions) => actions,
        Stored::Names(names) => {
            names.iter().filter_map(|name| Some((name.parse().ok()?, ActionDecl::default()))).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Charm {
        #[serde(deserialize_with = "declared")]
        actions: IndexMap<ActionName, ActionDecl>,
    }

    fn read(text: &str) -> IndexMap<ActionName, ActionDecl> {
        serde_json::from_str::<Charm>(text).unwrap().actions
    }

    #[test]
    fn names_alone_are_read_as_actions_without_parameters() {
        let actions = read(r#"{ "actions": ["backup", "no_name"] }"#);
        assert_eq!(actions.keys().map(ActionName::as_str).collect::<Vec<_>>(), ["backup"]);
        assert!(actions[0].params.is_empty());
        assert!(read(r#"{ "actions": [] }"#).is_empty());
    }

    #[test]
    fn a_declaration_comes_back_as_it_was_stored() {
        let text = r#"{ "actions": { "backup": { "description": "d", "params": {
            "file": { "type": "string", "required": true }, "keep": { "type": "int", "default": 3, "min": 1 } } } } }"#;
        let actions = read(text);
        let keep = &actions[0].params["keep"];
        assert_eq!(
            (keep.option.default.clone(), keep.option.min, keep.required),
            (Some(ConfigValue::Int(3)), Some(1), false)
        );
        assert!(actions[0].params["file"].required);
        let stored = serde_json::to_string(&Charm { actions: actions.clone() }).unwrap();
        assert_eq!(read(&stored), actions);
    }
}
