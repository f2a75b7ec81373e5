//! A small environment made of charms alone: services, units, relations, and hooks one at a time.
//!
//! What a hook wrote is committed as a controller would commit it, only if the hook succeeded. Which hooks come when is
//! the test's business. Machines may be of any kind.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

pub mod sites;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use encanto::charm::fake::FakeSink;
use encanto::charm::{
    ActionContext, CharmFiles, CharmHost, HookContext, HookError, Limits, MachineAccess, RelationContext, builtin_charm,
};
use encanto::model::config::effective;
use encanto::model::{
    ActionName, CharmMeta, ConfigValue, EndpointName, Hook, MachineId, Port, RelationHook, RelationId, Setting,
    Settings, UnitName,
};
use indexmap::IndexMap;

pub struct Service {
    pub files: CharmFiles,
    pub meta: CharmMeta,
    pub set: IndexMap<String, ConfigValue>,
}

pub struct Unit {
    pub machine: Arc<dyn MachineAccess>,
    pub address: String,
    pub state: serde_json::Map<String, serde_json::Value>,
    pub ports: BTreeSet<Port>,
    pub sink: Arc<FakeSink>,
}

/// Two services, each with its endpoint, and the settings of all units that are in it.
pub struct Relation {
    pub ends: [(String, EndpointName); 2],
    pub settings: BTreeMap<UnitName, Settings>,
}

pub struct World {
    pub host: CharmHost,
    pub services: BTreeMap<String, Service>,
    pub units: BTreeMap<UnitName, Unit>,
    pub relations: BTreeMap<RelationId, Relation>,
    pub dying: BTreeSet<UnitName>,
}

pub fn unit(name: &str) -> UnitName {
    name.parse().unwrap()
}

impl World {
    pub fn new() -> Self {
        World {
            host: CharmHost::new(Limits::default()),
            services: BTreeMap::new(),
            units: BTreeMap::new(),
            relations: BTreeMap::new(),
            dying: BTreeSet::new(),
        }
    }

    /// Deploys a charm that comes with the program, under its own name.
    pub async fn deploy(&mut self, charm: &str) {
        let files = builtin_charm(charm).unwrap();
        let meta = self.host.load(&files).await.unwrap_or_else(|error| panic!("{error}"));
        let mut set = IndexMap::new();
        for (key, decl) in &meta.config {
            if let Some(length) = decl.generate {
                let value = format!("{key}-").chars().cycle().take(length.into()).collect();
                set.insert(key.clone(), ConfigValue::String(value));
            }
        }
        self.services.insert(charm.to_owned(), Service { files, meta, set });
    }

    pub fn set(&mut self, service: &str, key: &str, text: &str) {
        let service = self.services.get_mut(service).unwrap();
        let value = service.meta.config[key].parse(key, text).unwrap();
        service.set.insert(key.to_owned(), value);
    }

    pub fn add_unit(&mut self, name: &str, address: &str, machine: Arc<dyn MachineAccess>) {
        let sink = FakeSink::new();
        let new = Unit { machine, address: address.into(), state: Default::default(), ports: BTreeSet::new(), sink };
        self.units.insert(unit(name), new);
    }

    /// Sets what a unit tells, as its own hook or the controller would.
    pub fn tell(&mut self, id: u32, name: &str, told: &[(&str, &str)]) {
        let settings = self.relations.get_mut(&RelationId(id)).unwrap().settings.get_mut(&unit(name)).unwrap();
        for (key, value) in told {
            settings.insert((*key).to_owned(), Setting::plain(*value));
        }
    }

    /// Takes a unit out of relation `id`, as the controller does after the departed hook.
    pub fn leave(&mut self, id: u32, name: &str) {
        self.relations.get_mut(&RelationId(id)).unwrap().settings.remove(&unit(name));
    }

    /// Relates `service:endpoint` to another; every unit there is takes part, as if it had joined.
    pub fn relate(&mut self, id: u32, one: &str, other: &str) {
        let ends = [one, other].map(|end| {
            let (service, endpoint) = end.split_once(':').unwrap();
            (service.to_owned(), endpoint.parse().unwrap())
        });
        let inside = |unit: &&UnitName| ends.iter().any(|(service, _)| service == unit.service.as_str());
        let settings = self.units.keys().filter(inside).map(|unit| (unit.clone(), Settings::new())).collect();
        self.relations.insert(RelationId(id), Relation { ends, settings });
    }

    /// The first unit that is not being removed.
    fn leader(&self, name: &UnitName) -> Option<UnitName> {
        let mut alive = self.units.keys().filter(|other| other.service == name.service && !self.dying.contains(other));
        alive.next().cloned()
    }

    fn context(&self, name: &UnitName, hook: Hook) -> HookContext {
        let (service, me) = (&self.services[name.service.as_str()], &self.units[name]);
        let secret = service.meta.config.iter().filter(|(_, decl)| decl.secret).map(|(key, _)| key.clone());
        let gone = match &hook {
            Hook::Relation { relation, kind: RelationHook::Departed(unit), .. } => {
                Some((*relation, Some(unit.clone())))
            }
            Hook::Relation { relation, kind: RelationHook::Broken, .. } => Some((*relation, None)),
            _ => None,
        };
        let mut relations = BTreeMap::new();
        for (id, relation) in &self.relations {
            let mine = relation.ends.iter().position(|(service, _)| service == name.service.as_str());
            let Some((mine, local)) = mine.zip(relation.settings.get(name)) else { continue };
            let remote = &relation.ends[1 - mine].0;
            // Of a peer relation both ends are the same service.
            let others = relation.settings.iter().filter(|(unit, _)| unit.service.as_str() == remote && *unit != name);
            let mut remotes: BTreeMap<_, _> = others.map(|(unit, set)| (unit.clone(), set.clone())).collect();
            let mut departed = None;
            match &gone {
                Some((about, Some(unit))) if about == id => departed = remotes.remove_entry(unit),
                Some((about, None)) if about == id => remotes.clear(),
                _ => {}
            }
            let endpoint = relation.ends[mine].1.clone();
            let remote_service = remote.parse().unwrap();
            let context = RelationContext { endpoint, remote_service, local: local.clone(), remotes, departed };
            relations.insert(*id, context);
        }
        HookContext {
            hook,
            unit: name.clone(),
            machine: MachineId::new(1),
            private_address: me.address.clone(),
            public_address: me.address.clone(),
            is_leader: self.leader(name).as_ref() == Some(name),
            leader: self.leader(name),
            leader_settings: Settings::new(),
            config: effective(&service.meta.config, &service.set),
            secret_config: secret.collect(),
            state: me.state.clone(),
            open_ports: me.ports.clone(),
            relations,
        }
    }

    async fn run(&mut self, name: &UnitName, hook: Hook) -> Result<(), HookError> {
        let context = self.context(name, hook);
        let (service, me) = (&self.services[name.service.as_str()], &self.units[name]);
        let outcome = self.host.run_hook(&service.files, context, me.machine.clone(), me.sink.clone()).await?;
        let me = self.units.get_mut(name).unwrap();
        me.ports.extend(outcome.opened);
        me.ports.retain(|port| !outcome.closed.contains(port));
        if let Some(state) = outcome.state {
            me.state = state;
        }
        for (id, change) in outcome.relation_settings {
            let own = self.relations.get_mut(&id).unwrap().settings.get_mut(name).unwrap();
            for (key, value) in change {
                match value {
                    Some(value) => drop(own.insert(key, value)),
                    None => drop(own.shift_remove(&key)),
                }
            }
        }
        Ok(())
    }

    pub async fn prepare(&self, name: &str) {
        let name = unit(name);
        let (service, me) = (&self.services[name.service.as_str()], &self.units[&name]);
        let done = self.host.prepare(&service.files, me.machine.clone(), me.sink.clone()).await;
        done.unwrap_or_else(|error| panic!("{}\n{}", error.report(), me.sink.text()));
    }

    /// Runs an action with parameters as they are typed.
    pub async fn action(&mut self, name: &str, action: &str, typed: &[(&str, &str)]) -> Result<String, HookError> {
        let name = unit(name);
        let hook = self.context(&name, Hook::Action(action.parse().unwrap()));
        let (service, me) = (&self.services[name.service.as_str()], &self.units[&name]);
        let declared = &service.meta.actions[&action.parse::<ActionName>().unwrap()].params;
        let given =
            typed.iter().map(|(key, text)| ((*key).to_owned(), declared[*key].option.parse(key, text).unwrap()));
        let options = declared.iter().map(|(key, param)| (key.clone(), param.option.clone())).collect();
        let secret = declared.iter().filter(|(_, param)| param.option.secret).map(|(key, _)| key.clone());
        let context = ActionContext {
            hook,
            params: effective(&options, &given.collect()),
            secret_params: secret.collect(),
            timeout: None,
        };
        let outcome = self.host.run_action(&service.files, context, me.machine.clone(), me.sink.clone()).await?;
        Ok(serde_json::to_string(&outcome.results).unwrap())
    }

    /// Runs a hook of the unit's own: `install`, `config-changed`, `start` or `stop`.
    pub async fn try_hook(&mut self, name: &str, hook: &str) -> Result<(), HookError> {
        let hook = match hook {
            "install" => Hook::Install,
            "config-changed" => Hook::ConfigChanged,
            "start" => Hook::Start,
            "stop" => Hook::Stop,
            other => panic!("{other}"),
        };
        self.run(&unit(name), hook).await
    }

    pub async fn hooks(&mut self, name: &str, hooks: &[&str]) {
        for hook in hooks {
            let done = self.try_hook(name, hook).await;
            done.unwrap_or_else(|error| panic!("{name} {hook}: {}", error.report()));
        }
    }

    /// Runs a hook of relation `id`: `joined`, `changed`, `departed` (each about `remote`) or `broken`.
    pub async fn try_relation_hook(&mut self, name: &str, id: u32, kind: &str, remote: &str) -> Result<(), HookError> {
        let kind = match kind {
            "joined" => RelationHook::Joined(unit(remote)),
            "changed" => RelationHook::Changed(unit(remote)),
            "departed" => RelationHook::Departed(unit(remote)),
            "broken" => RelationHook::Broken,
            other => panic!("{other}"),
        };
        let name = unit(name);
        let ends = &self.relations[&RelationId(id)].ends;
        let (_, endpoint) = ends.iter().find(|(service, _)| service == name.service.as_str()).unwrap();
        let hook = Hook::Relation { relation: RelationId(id), endpoint: endpoint.clone(), kind };
        self.run(&name, hook).await
    }

    pub async fn relation_hook(&mut self, name: &str, id: u32, kind: &str, remote: &str) {
        let done = self.try_relation_hook(name, id, kind, remote).await;
        done.unwrap_or_else(|error| panic!("{name} {kind}: {}\n{}", error.report(), self.log(name)));
    }

    /// What a unit tells the others of a relation; secret values as `(secret)`.
    pub fn told(&self, id: u32, name: &str) -> BTreeMap<String, String> {
        let settings = &self.relations[&RelationId(id)].settings[&unit(name)];
        let shown = |set: &encanto::model::Setting| if set.secret { "(secret)".into() } else { set.value.clone() };
        settings.iter().map(|(key, set)| (key.clone(), shown(set))).collect()
    }

    pub fn value(&self, id: u32, name: &str, key: &str) -> String {
        self.relations[&RelationId(id)].settings[&unit(name)][key].value.clone()
    }

    pub fn status(&self, name: &str) -> String {
        let last = self.units[&unit(name)].sink.statuses().pop();
        last.map(|status| format!("{}: {}", status.state, status.message)).unwrap_or_default()
    }

    pub fn log(&self, name: &str) -> String {
        self.units[&unit(name)].sink.text()
    }

    pub fn ports(&self, name: &str) -> Vec<String> {
        self.units[&unit(name)].ports.iter().map(Port::to_string).collect()
    }
}
