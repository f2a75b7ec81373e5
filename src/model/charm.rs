//! What a charm declares: plain data, read once when the charm is loaded.

use std::collections::BTreeSet;
use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::action::{self, ActionDecl};
use super::config::OptionDecl;
use super::hook::{Hook, RELATION_HOOK_KINDS, UNIT_HOOKS};
use super::names::{ActionName, CharmName, EndpointName, InterfaceName};

/// Names one version of a charm, e.g. `local:bookworm/mysql-3`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CharmUrl {
    pub series: String,
    pub name: CharmName,
    /// Counts the different contents of this charm that an environment has seen.
    pub revision: u32,
}

impl fmt::Display for CharmUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "local:{}/{}-{}", self.series, self.name, self.revision)
    }
}

impl fmt::Debug for CharmUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Everything `charm.lua` declares, without its functions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharmMeta {
    pub name: CharmName,
    pub summary: String,
    #[serde(default)]
    pub description: String,
    /// Releases it runs on, the preferred first; never empty.
    pub series: Vec<String>,
    #[serde(default)]
    pub subordinate: bool,
    #[serde(default)]
    pub provides: IndexMap<EndpointName, EndpointDecl>,
    #[serde(default)]
    pub requires: IndexMap<EndpointName, EndpointDecl>,
    #[serde(default)]
    pub peers: IndexMap<EndpointName, EndpointDecl>,
    #[serde(default)]
    pub config: IndexMap<String, OptionDecl>,
    /// Names of the hooks that have a function.
    #[serde(default)]
    pub hooks: BTreeSet<String>,
    #[serde(default, deserialize_with = "action::declared")]
    pub actions: IndexMap<ActionName, ActionDecl>,
    /// Whether it has a `prepare` step, whose result is kept as a layer.
    #[serde(default)]
    pub prepares: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointDecl {
    pub interface: InterfaceName,
    #[serde(default)]
    pub scope: Scope,
    /// A `requires` without which the charm can work too.
    #[serde(default)]
    pub optional: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    #[default]
    Global,
    Container,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Requirer,
    Provider,
    Peer,
}

impl CharmMeta {
    /// All endpoints with their role, in the order in which they are declared.
    pub fn endpoints(&self) -> impl Iterator<Item = (Role, &EndpointName, &EndpointDecl)> {
        let requires = self.requires.iter().map(|(name, decl)| (Role::Requirer, name, decl));
        let provides = self.provides.iter().map(|(name, decl)| (Role::Provider, name, decl));
        let peers = self.peers.iter().map(|(name, decl)| (Role::Peer, name, decl));
        requires.chain(provides).chain(peers)
    }

    /// Whether it has a function for the hook; one that it does not declare succeeds.
    pub fn declares(&self, hook: &Hook) -> bool {
        self.hooks.contains(&hook.to_string())
    }

    /// Every hook that a unit of it can have, whether it declares a function for it or not.
    pub fn hook_names(&self) -> Vec<String> {
        let of_relations = self
            .endpoints()
            .flat_map(|(_, endpoint, _)| RELATION_HOOK_KINDS.map(|kind| format!("{endpoint}-relation-{kind}")));
        UNIT_HOOKS.iter().map(|hook| (*hook).to_owned()).chain(of_relations).collect()
    }
}
