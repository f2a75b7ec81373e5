//! The charms of a simulated world: which hooks they have is up to the dice.

use std::collections::BTreeSet;

use encanto::charm::CharmFiles;
use encanto::model::{
    ActionDecl, ActionName, CharmMeta, EndpointDecl, EndpointName, OptionDecl, OptionKind, Scope, ServiceName,
};
use indexmap::IndexMap;

use crate::rng::Rng;

/// Services that operators know of; before `-` is the charm's name.
pub const SERVICES: [&str; 7] = ["db", "db-b", "app", "app-b", "web", "cache", "log"];
/// The last is a subordinate.
const CHARMS: [&str; 5] = ["db", "app", "web", "cache", "log"];
const VERSIONS: u64 = 3;
pub const ACTIONS: [&str; 2] = ["backup", "tune"];

/// One version of a charm.
#[derive(Clone)]
pub struct SimulatedCharm {
    pub meta: CharmMeta,
    pub digest: String,
    pub files: CharmFiles,
}

pub struct Charms(Vec<SimulatedCharm>);

impl Charms {
    pub fn new(rng: &mut Rng) -> Charms {
        let mut all = Vec::new();
        for name in CHARMS {
            for version in 0..VERSIONS {
                let digest = format!("{name}-{version}");
                let files = CharmFiles::from([("charm.lua".to_owned(), digest.clone().into_bytes())]);
                let prepares = rng.chance(300);
                let meta = CharmMeta { prepares, ..meta(name, version, |_| rng.chance(850)) };
                all.push(SimulatedCharm { meta, digest, files });
            }
        }
        Charms(all)
    }

    /// The first version of a charm with all its hooks.
    pub fn plain(name: &str, prepares: bool) -> SimulatedCharm {
        let digest = format!("{name}-0");
        let files = CharmFiles::from([("charm.lua".to_owned(), digest.clone().into_bytes())]);
        let meta = CharmMeta { prepares, ..meta(name, 0, |_| true) };
        SimulatedCharm { meta, digest, files }
    }

    pub fn all(&self) -> &[SimulatedCharm] {
        &self.0
    }

    /// Any version of the charm that a service of this name runs.
    pub fn of(&self, service: &ServiceName, rng: &mut Rng) -> SimulatedCharm {
        let name = service.as_str().split('-').next().unwrap_or_default();
        let first = CHARMS.iter().position(|charm| *charm == name).unwrap_or_default() as u64 * VERSIONS;
        self.0[(first + rng.below(VERSIONS)) as usize].clone()
    }
}

/// `has` says which of the hooks it may have it has.
fn meta(name: &str, version: u64, mut has: impl FnMut(&str) -> bool) -> CharmMeta {
    let mut peers = endpoints(if name == "cache" { &[] } else { &[("cluster", "cluster")] });
    if version == 2 {
        peers.extend(endpoints(&[("backup", "backup")]));
    }
    let (provides, requires) = match name {
        "db" => (endpoints(&[("db", "sql")]), endpoints(&[])),
        "app" => (endpoints(&[("website", "http")]), endpoints(&[("db", "sql"), ("cache", "memcache")])),
        "web" => (endpoints(&[("front", "http")]), endpoints(&[("reverseproxy", "http")])),
        "cache" => (endpoints(&[("cache", "memcache")]), endpoints(&[])),
        _ => (endpoints(&[]), endpoints(&[("info", "juju-info")])),
    };
    let mut meta = CharmMeta {
        name: name.parse().unwrap(),
        summary: String::new(),
        description: String::new(),
        series: vec!["bookworm".into()],
        subordinate: name == "log",
        provides,
        requires,
        peers,
        config: IndexMap::from([("size".to_owned(), option("1")), ("colour".to_owned(), option("red"))]),
        hooks: BTreeSet::new(),
        actions: actions_of(version).map(|action| (action, ActionDecl::default())).collect(),
        prepares: false,
    };
    let relations = meta.endpoints().map(|(_, endpoint, _)| endpoint.to_string()).collect::<Vec<_>>();
    let kinds = encanto::model::hook::RELATION_HOOK_KINDS;
    let of_relations = relations.iter().flat_map(|at| kinds.iter().map(move |kind| format!("{at}-relation-{kind}")));
    let hooks = encanto::model::hook::UNIT_HOOKS.iter().map(ToString::to_string).chain(of_relations);
    if meta.subordinate {
        meta.requires.values_mut().for_each(|decl| decl.scope = Scope::Container);
    }
    meta.hooks = hooks.filter(|hook| has(hook)).collect();
    meta
}

/// The second version has lost one.
fn actions_of(version: u64) -> impl Iterator<Item = ActionName> {
    ACTIONS.iter().take(if version == 1 { 1 } else { 2 }).map(|action| action.parse().unwrap())
}

/// Whether the charm with these files has the action.
pub fn declares(files: &CharmFiles, action: &ActionName) -> bool {
    let digest = files.values().next().map(|content| String::from_utf8_lossy(content).into_owned()).unwrap_or_default();
    let version = digest.rsplit('-').next().and_then(|version| version.parse().ok());
    version.is_some_and(|version| actions_of(version).any(|known| known == *action))
}

fn endpoints(all: &[(&str, &str)]) -> IndexMap<EndpointName, EndpointDecl> {
    let declared =
        |interface: &str| EndpointDecl { interface: interface.parse().unwrap(), scope: Scope::Global, optional: true };
    all.iter().map(|(name, interface)| (name.parse().unwrap(), declared(interface))).collect()
}

fn option(default: &str) -> OptionDecl {
    serde_json::from_value(serde_json::json!({ "type": OptionKind::String, "default": default })).unwrap()
}
