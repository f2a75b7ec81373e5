//! add-relation: which endpoints are meant.

use std::collections::BTreeSet;

use super::super::charm::{Role, Scope};
use super::super::entities::{Life, Relation, RelationEndpoint};
use super::super::event::Event;
use super::super::names::RelationId;
use super::{ChangeError, Decider, EndpointRef};

impl Decider<'_> {
    pub(super) fn add_relation(&mut self, one: &EndpointRef, other: &EndpointRef) -> Result<(), ChangeError> {
        let ones = self.candidates(one)?;
        let others = self.candidates(other)?;
        if one.service == other.service {
            return Err(ChangeError::OneService);
        }
        let endpoints = self.choose(one, other, (&ones, &others))?;
        let key = key_of(&endpoints);
        let exists = |relation: &Relation| relation.life == Life::Alive && relation.endpoints == endpoints;
        let service = self.service(&one.service)?;
        if service.relations.iter().filter_map(|id| self.model.relations.get(id)).any(exists) {
            return Err(ChangeError::RelationExists(key));
        }
        for name in [&one.service, &other.service] {
            if self.service(name)?.life != Life::Alive {
                return Err(ChangeError::RelationToDying { key, service: name.clone() });
            }
        }
        self.check_container(&endpoints, &key)?;
        let relation = RelationId(self.model.next_relation);
        self.emit(Event::RelationAdded { relation, endpoints });
        Ok(())
    }

    /// Two services can share containers only if one of them lives in those of the other.
    fn check_container(&self, endpoints: &[RelationEndpoint], key: &str) -> Result<(), ChangeError> {
        if endpoints.iter().all(|endpoint| endpoint.scope == Scope::Global) {
            return Ok(());
        }
        if !endpoints.iter().any(|endpoint| self.model.is_subordinate(&endpoint.service)) {
            return Err(ChangeError::NoSubordinate(key.to_owned()));
        }
        let series = |endpoint: &RelationEndpoint| self.model.services.get(&endpoint.service).map(|s| &s.charm.series);
        if endpoints.windows(2).any(|pair| series(&pair[0]) != series(&pair[1])) {
            return Err(ChangeError::SeriesOfSubordinate(key.to_owned()));
        }
        Ok(())
    }

    pub(super) fn destroy_relation(
        &mut self,
        one: &EndpointRef,
        other: &EndpointRef,
        force: bool,
    ) -> Result<(), ChangeError> {
        let asked = format!("{} {}", shown(one), shown(other));
        let service = self.service(&one.service)?;
        self.service(&other.service)?;
        let fits = |relation: &Relation, end: &EndpointRef| {
            let found = relation.endpoint_of(&end.service);
            found.is_some_and(|found| end.endpoint.as_ref().is_none_or(|wanted| found.endpoint == *wanted))
        };
        let relations = service.relations.iter().filter_map(|id| self.model.relations.get(id));
        let found: Vec<&Relation> = relations.filter(|relation| fits(relation, one) && fits(relation, other)).collect();
        let found: Vec<&Relation> = match one.service == other.service {
            true => found,
            false => found.into_iter().filter(|relation| !relation.is_peer()).collect(),
        };
        // One that is on its way out may have been made anew already.
        let keys: BTreeSet<String> = found.iter().map(|relation| relation.key()).collect();
        if keys.len() > 1 {
            return Err(ChangeError::Ambiguous { asked, candidates: keys.into_iter().collect() });
        }
        match found.first() {
            None => return Err(ChangeError::NoRelation(asked)),
            Some(relation) if relation.is_peer() => return Err(ChangeError::PeerRelation(relation.key())),
            Some(_) => {}
        }
        let ids: Vec<RelationId> = found.into_iter().map(|relation| relation.id).collect();
        for id in ids {
            if force {
                self.sever(id, |_| true);
            }
            self.end_relation(id, force);
        }
        Ok(())
    }

    /// The endpoints that `asked` may mean, peers left out, juju-info last; never empty.
    fn candidates(&self, asked: &EndpointRef) -> Result<Vec<RelationEndpoint>, ChangeError> {
        let service = self.service(&asked.service)?;
        let Some(charm) = self.model.charms.get(&service.charm) else { return Ok(Vec::new()) };
        let all: Vec<RelationEndpoint> = charm
            .meta
            .endpoints()
            .filter(|(role, ..)| *role != Role::Peer)
            .map(|(role, endpoint, decl)| RelationEndpoint {
                service: asked.service.clone(),
                endpoint: endpoint.clone(),
                interface: decl.interface.clone(),
                role,
                scope: decl.scope,
            })
            .chain([RelationEndpoint::juju_info(asked.service.clone())])
            .collect();
        let Some(wanted) = &asked.endpoint else { return Ok(all) };
        let known = all.iter().filter(|e| !e.is_implicit()).map(|e| e.endpoint.to_string()).collect();
        let found: Vec<RelationEndpoint> = all.into_iter().filter(|e| e.endpoint == *wanted).collect();
        if found.is_empty() {
            return Err(ChangeError::NoEndpoint { service: asked.service.clone(), endpoint: wanted.clone(), known });
        }
        Ok(found)
    }

    fn choose(
        &self,
        one: &EndpointRef,
        other: &EndpointRef,
        (ones, others): (&[RelationEndpoint], &[RelationEndpoint]),
    ) -> Result<Vec<RelationEndpoint>, ChangeError> {
        let mut pairs: Vec<Vec<RelationEndpoint>> = Vec::new();
        for left in ones {
            for right in others {
                let fits = left.interface == right.interface && left.role != right.role;
                if fits {
                    let (requirer, provider) = if left.role == Role::Requirer { (left, right) } else { (right, left) };
                    pairs.push(vec![with_scope(requirer, right, left), with_scope(provider, right, left)]);
                }
            }
        }
        // What a charm says of itself comes before what every service has.
        let declared = |pair: &Vec<RelationEndpoint>| !pair.iter().any(RelationEndpoint::is_implicit);
        if pairs.iter().any(declared) {
            pairs.retain(declared);
        }
        let asked = format!("{} {}", shown(one), shown(other));
        match pairs.len() {
            1 => Ok(pairs.remove(0)),
            0 if one.endpoint.is_some() && other.endpoint.is_some() => {
                Err(ChangeError::EndpointsDoNotRelate { key: asked })
            }
            0 => Err(ChangeError::NoCommonInterface {
                one: one.service.to_string(),
                other: other.service.to_string(),
                one_has: described(ones),
                other_has: described(others),
            }),
            _ => {
                let mut candidates: Vec<String> = pairs.iter().map(|pair| key_of(pair)).collect();
                candidates.sort();
                Err(ChangeError::Ambiguous { asked, candidates })
            }
        }
    }
}

/// If either side is container-scoped the relation is.
fn with_scope(endpoint: &RelationEndpoint, one: &RelationEndpoint, other: &RelationEndpoint) -> RelationEndpoint {
    let container = one.scope == Scope::Container || other.scope == Scope::Container;
    RelationEndpoint { scope: if container { Scope::Container } else { Scope::Global }, ..endpoint.clone() }
}

fn key_of(endpoints: &[RelationEndpoint]) -> String {
    let ends: Vec<String> = endpoints.iter().map(|e| format!("{}:{}", e.service, e.endpoint)).collect();
    ends.join(" ")
}

fn shown(asked: &EndpointRef) -> String {
    match &asked.endpoint {
        Some(endpoint) => format!("{}:{endpoint}", asked.service),
        None => asked.service.to_string(),
    }
}

fn described(endpoints: &[RelationEndpoint]) -> Vec<String> {
    // What every service has is worth a word where there is nothing else.
    let bare = endpoints.iter().all(RelationEndpoint::is_implicit);
    let told = endpoints.iter().filter(|endpoint| bare || !endpoint.is_implicit());
    let text = |endpoint: &RelationEndpoint| {
        let verb = if endpoint.role == Role::Requirer { "requires" } else { "provides" };
        format!("{verb} {}: {}", endpoint.endpoint, endpoint.interface)
    };
    told.map(text).collect()
}
