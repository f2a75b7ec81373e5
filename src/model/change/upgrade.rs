//! upgrade-charm: another version of a service's charm.

use indexmap::IndexMap;

use super::super::charm::{CharmMeta, CharmUrl, EndpointDecl, Role, Scope};
use super::super::config::ConfigValue;
use super::super::entities::{Relation, RelationEndpoint, Service};
use super::super::event::Event;
use super::super::names::{RelationId, ServiceName, UnitName};
use super::{ChangeError, Decider};

impl Decider<'_> {
    pub(super) fn upgrade_charm(
        &mut self,
        name: &ServiceName,
        (charm, digest): (CharmMeta, String),
        generated: &IndexMap<String, String>,
        force: bool,
    ) -> Result<(), ChangeError> {
        let service = self.alive(name)?;
        let old = service.charm.clone();
        let refused = |reason: String| ChangeError::CannotUpgrade {
            service: name.clone(),
            charm: charm.name.to_string(),
            reason,
        };
        if self.model.charms.get(&old).is_some_and(|known| known.digest == digest) {
            // What is left of an earlier upgrade: a unit that was in error then has not begun with it.
            let retried = force && self.retry_failed(name);
            return if retried { Ok(()) } else { Err(ChangeError::SameCharm(old)) };
        }
        if charm.name != old.name {
            return Err(refused(format!("the service runs charm \"{}\"", old.name)));
        }
        if !charm.series.contains(&old.series) {
            return Err(refused("cannot change a service's series".to_owned()));
        }
        if self.model.charms.get(&old).is_some_and(|known| known.meta.subordinate != charm.subordinate) {
            return Err(refused("cannot change a service's subordinacy".to_owned()));
        }
        let relations = service.relations.iter().filter_map(|id| self.model.relations.get(id));
        if let Some(broken) = relations.into_iter().find(|relation| breaks(relation, name, &charm)) {
            return Err(refused(format!("would break relation \"{}\"", broken.key())));
        }
        let config = kept_settings(service, &charm, generated);

        let url = self.add_charm(&charm, digest, old.series.clone());
        self.emit(Event::ServiceUpgraded { service: name.clone(), charm: url, config });
        self.add_peers(name, &charm);
        self.forget_charm(old);
        if force {
            self.retry_failed(name);
        }
        Ok(())
    }

    /// A relation for each peer endpoint that has none yet.
    pub(super) fn add_peers(&mut self, name: &ServiceName, charm: &CharmMeta) {
        for (endpoint, decl) in &charm.peers {
            let Some(service) = self.model.services.get(name) else { return };
            let mut known = service.relations.iter().filter_map(|id| self.model.relations.get(id));
            if known.any(|relation| relation.is_peer() && relation.endpoints[0].endpoint == *endpoint) {
                continue;
            }
            let relation = RelationId(self.model.next_relation);
            let endpoint = RelationEndpoint {
                service: name.clone(),
                endpoint: endpoint.clone(),
                interface: decl.interface.clone(),
                role: Role::Peer,
                scope: decl.scope,
            };
            self.emit(Event::RelationAdded { relation, endpoints: vec![endpoint] });
        }
    }

    /// A charm that no service runs any more is not kept.
    pub(super) fn forget_charm(&mut self, url: CharmUrl) {
        if !self.model.services.values().any(|service| service.charm == url) {
            self.emit(Event::CharmRemoved { url });
        }
    }

    /// Whether there was one.
    fn retry_failed(&mut self, name: &ServiceName) -> bool {
        let Some(service) = self.model.services.get(name) else { return false };
        let units = service.units.iter().map(|number| UnitName { service: name.clone(), number: *number });
        let failed: Vec<UnitName> =
            units.filter(|unit| self.model.units.get(unit).is_some_and(|unit| unit.failed.is_some())).collect();
        let any = !failed.is_empty();
        for unit in failed {
            self.emit(Event::HookRetried { unit });
        }
        any
    }
}

/// Whether the charm lacks the endpoint by which `service` takes part, speaks another protocol there, or would see only
/// its own container where others see all.
fn breaks(relation: &Relation, service: &ServiceName, charm: &CharmMeta) -> bool {
    let Some(own) = relation.endpoint_of(service) else { return false };
    let declared = charm.endpoints().find(|(role, name, _)| *role == own.role && **name == own.endpoint);
    let narrows = |decl: &EndpointDecl| decl.scope == Scope::Container && own.scope == Scope::Global;
    !own.is_implicit() && declared.is_none_or(|(_, _, decl)| decl.interface != own.interface || narrows(decl))
}

/// What was set stays as far as the new charm knows it and takes its value.
fn kept_settings(
    service: &Service,
    charm: &CharmMeta,
    generated: &IndexMap<String, String>,
) -> IndexMap<String, ConfigValue> {
    let fits = |(key, value): &(&String, &ConfigValue)| {
        charm.config.get(*key).is_some_and(|decl| decl.check(key, value).is_ok())
    };
    let mut config: IndexMap<String, ConfigValue> =
        service.config.iter().filter(fits).map(|(key, value)| (key.clone(), value.clone())).collect();
    for (key, value) in generated {
        if charm.config.contains_key(key) && !config.contains_key(key) {
            config.insert(key.clone(), ConfigValue::String(value.clone()));
        }
    }
    config
}
