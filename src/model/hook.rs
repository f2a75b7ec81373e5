//! Which hooks there are.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{ActionName, EndpointName, RelationId, UnitName};

/// One hook that is due for a unit, with what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// The charm's software, on a machine that has no layer with it.
    Prepare,
    Install,
    UpgradeCharm,
    /// The unit speaks for its service from now on.
    LeaderElected,
    /// The leader has written; for the units that do not lead.
    LeaderSettingsChanged,
    /// From time to time, while nothing else is due.
    UpdateStatus,
    ConfigChanged,
    Start,
    Stop,
    Relation {
        relation: RelationId,
        endpoint: EndpointName,
        kind: RelationHook,
    },
    /// An action, which is run as a hook is. It is never due by itself and has events of its own.
    Action(ActionName),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelationHook {
    Created,
    Joined(UnitName),
    Changed(UnitName),
    Departed(UnitName),
    Broken,
}

impl RelationHook {
    pub fn remote(&self) -> Option<&UnitName> {
        match self {
            RelationHook::Joined(unit) | RelationHook::Changed(unit) | RelationHook::Departed(unit) => Some(unit),
            RelationHook::Created | RelationHook::Broken => None,
        }
    }

    pub fn as_str(&self) -> &'static str {
        match self {
            RelationHook::Created => "created",
            RelationHook::Joined(_) => "joined",
            RelationHook::Changed(_) => "changed",
            RelationHook::Departed(_) => "departed",
            RelationHook::Broken => "broken",
        }
    }
}

impl Hook {
    /// Its name, and whom it is about: `db-relation-joined (mediawiki/0)`.
    pub fn told(&self) -> String {
        match self {
            Hook::Relation { kind, .. } => match kind.remote() {
                Some(remote) => format!("{self} ({remote})"),
                None => self.to_string(),
            },
            _ => self.to_string(),
        }
    }

    /// Whether it is a hook of this relation.
    pub fn is_of(&self, id: RelationId) -> bool {
        matches!(self, Hook::Relation { relation, .. } if *relation == id)
    }
}

/// Hooks every charm may declare; those of relations are `<endpoint>-relation-<kind>`.
pub const UNIT_HOOKS: [&str; 8] = [
    "install",
    "upgrade-charm",
    "leader-elected",
    "leader-settings-changed",
    "config-changed",
    "start",
    "update-status",
    "stop",
];
pub const RELATION_HOOK_KINDS: [&str; 5] = ["created", "joined", "changed", "departed", "broken"];

impl fmt::Display for Hook {
    /// The name under which a charm declares it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hook::Prepare => f.write_str("prepare"),
            Hook::Install => f.write_str("install"),
            Hook::UpgradeCharm => f.write_str("upgrade-charm"),
            Hook::LeaderElected => f.write_str("leader-elected"),
            Hook::LeaderSettingsChanged => f.write_str("leader-settings-changed"),
            Hook::UpdateStatus => f.write_str("update-status"),
            Hook::ConfigChanged => f.write_str("config-changed"),
            Hook::Start => f.write_str("start"),
            Hook::Stop => f.write_str("stop"),
            Hook::Relation { endpoint, kind, .. } => write!(f, "{endpoint}-relation-{}", kind.as_str()),
            Hook::Action(name) => write!(f, "{name}-action"),
        }
    }
}
