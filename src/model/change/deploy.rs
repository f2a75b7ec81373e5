//! deploy, add-unit, add-machine, set.

use indexmap::IndexMap;

use super::super::charm::{CharmMeta, CharmUrl};
use super::super::config::{self, ConfigError, ConfigValue, OptionDecl};
use super::super::constraints::Constraints;
use super::super::entities::{Life, Machine, Provision};
use super::super::event::Event;
use super::super::names::{MachineId, MachineName, ServiceName, UnitName};
use super::{ChangeError, Decider, Deployment, MOST_AT_ONCE, Placement};

impl Decider<'_> {
    pub(super) fn deploy(&mut self, deployment: Deployment) -> Result<(), ChangeError> {
        let Deployment { service: name, charm, digest, units, placement, config, generated, constraints, expose } =
            deployment;
        if let Some(existing) = self.model.services.get(&name) {
            return Err(match existing.life {
                Life::Alive => ChangeError::ServiceExists(name),
                Life::Dying => ChangeError::ServiceStillDying(name),
            });
        }
        let series = self.series_for(&charm)?;
        if charm.subordinate {
            check_subordinate(units, &placement, &constraints)?;
        } else {
            check_count(units, &placement)?;
        }
        self.placeable(&format!("{name}/0"), &placement, &series)?;
        self.satisfiable(&constraints)?;
        if !charm.subordinate {
            self.fitted(&constraints, &placement)?;
        }
        let mut settings = parse_settings(&charm.config, &config)?;
        for (key, value) in generated {
            if charm.config.contains_key(&key) && !settings.contains_key(&key) {
                settings.insert(key, ConfigValue::String(value));
            }
        }

        let url = self.add_charm(&charm, digest, series);
        self.emit(Event::ServiceAdded { service: name.clone(), charm: url, config: settings, constraints });
        self.add_peers(&name, &charm);
        if expose {
            self.emit(Event::ServiceExposed { service: name.clone(), published: Default::default() });
        }
        // Units of a subordinate come with those that it is related to.
        if charm.subordinate { Ok(()) } else { self.add_units(&name, units, &placement) }
    }

    pub(super) fn add_units(
        &mut self,
        name: &ServiceName,
        count: u32,
        placement: &Placement,
    ) -> Result<(), ChangeError> {
        let service = self.alive(name)?;
        let (series, constraints) = (service.charm.series.clone(), service.constraints.clone());
        if self.model.is_subordinate(name) {
            return Err(ChangeError::ServiceIsSubordinate(name.clone()));
        }
        check_count(count, placement)?;
        self.placeable(&self.next_unit(name).to_string(), placement, &series)?;
        let constraints = match placement {
            Placement::On(_) => constraints,
            _ => self.fitted(&constraints, placement)?,
        };
        for _ in 0..count {
            let unit = self.next_unit(name);
            let machine = match placement {
                Placement::On(machine) => *machine,
                Placement::Inside(machine) => self.new_container(*machine, &series, &constraints),
                Placement::New | Placement::Kind(_) => self.new_machine(&series, &constraints),
                Placement::Automatic => {
                    self.clean_machine(&series, &constraints).unwrap_or_else(|| self.new_machine(&series, &constraints))
                }
            };
            self.emit(Event::UnitAdded { unit, machine, principal: None });
        }
        Ok(())
    }

    /// The unit that a principal has of each subordinate service it is related to, on the principal's own machine.
    pub(super) fn add_subordinate(&mut self, principal: &UnitName, service: &ServiceName) {
        if !self.model.is_subordinate(service) || self.model.subordinate_of(principal, service).is_some() {
            return;
        }
        let Some(machine) = self.model.units.get(principal).map(|unit| unit.machine) else { return };
        let unit = self.next_unit(service);
        self.emit(Event::UnitAdded { unit, machine, principal: Some(principal.clone()) });
    }

    fn next_unit(&self, service: &ServiceName) -> UnitName {
        let number = self.model.next_unit.get(service).copied().unwrap_or(0);
        UnitName { service: service.clone(), number }
    }

    pub(super) fn add_machines(
        &mut self,
        (count, name): (u32, Option<MachineName>),
        series: Option<String>,
        constraints: &Constraints,
    ) -> Result<(), ChangeError> {
        check_count(count, &Placement::New)?;
        self.name_is_free(name.as_ref(), count)?;
        self.satisfiable(constraints)?;
        let constraints = self.fitted(constraints, &Placement::New)?;
        let series = series.unwrap_or_else(|| self.model.series.clone());
        for _ in 0..count {
            let machine = self.new_machine(&series, &constraints);
            self.name_machine(machine, name.as_ref());
        }
        Ok(())
    }

    pub(super) fn set_config(
        &mut self,
        name: ServiceName,
        values: &IndexMap<String, serde_json::Value>,
    ) -> Result<(), ChangeError> {
        let service = self.service(&name)?;
        if values.is_empty() {
            return Err(ChangeError::NoSettings);
        }
        let declared = self.model.charms.get(&service.charm).map(|charm| charm.meta.clone());
        let declared = declared.ok_or_else(|| ChangeError::NoService(name.clone()))?;
        let mut changes = parse_settings(&declared.config, values)?;
        let effective = self.model.effective_config(service);
        changes.retain(|key, value| effective.get(key) != Some(value));
        if !changes.is_empty() {
            self.emit(Event::ServiceConfigured { service: name, changes });
        }
        Ok(())
    }

    pub(super) fn unset_config(
        &mut self,
        name: ServiceName,
        keys: &[String],
        generated: &IndexMap<String, String>,
    ) -> Result<(), ChangeError> {
        let service = self.service(&name)?;
        if keys.is_empty() {
            return Err(ChangeError::NoSettings);
        }
        let charm = self.model.charms.get(&service.charm).ok_or_else(|| ChangeError::NoService(name.clone()))?;
        for key in keys {
            config::option(&charm.meta.config, key)?;
        }
        let set: Vec<String> = keys.iter().filter(|key| service.config.contains_key(*key)).cloned().collect();
        let fresh: IndexMap<String, ConfigValue> = set
            .iter()
            .filter_map(|key| Some((key.clone(), ConfigValue::String(generated.get(key)?.clone()))))
            .collect();
        let dropped: Vec<String> = set.into_iter().filter(|key| !fresh.contains_key(key)).collect();
        if !dropped.is_empty() {
            self.emit(Event::ServiceUnset { service: name.clone(), keys: dropped });
        }
        if !fresh.is_empty() {
            self.emit(Event::ServiceConfigured { service: name, changes: fresh });
        }
        Ok(())
    }

    fn series_for(&self, charm: &CharmMeta) -> Result<String, ChangeError> {
        if charm.series.contains(&self.model.series) {
            return Ok(self.model.series.clone());
        }
        Err(ChangeError::Series {
            charm: charm.name.to_string(),
            series: self.model.series.clone(),
            known: charm.series.clone(),
        })
    }

    /// The url of this very content; a new revision if the environment has not seen it.
    pub(super) fn add_charm(&mut self, charm: &CharmMeta, digest: String, series: String) -> CharmUrl {
        let first = CharmUrl { series: series.clone(), name: charm.name.clone(), revision: 0 };
        let last = CharmUrl { revision: u32::MAX, ..first.clone() };
        if let Some((url, _)) = self.model.charms.range(first..=last).find(|(_, known)| known.digest == digest) {
            return url.clone();
        }
        let revision = self.model.next_revision.get(&format!("{series}/{}", charm.name)).copied().unwrap_or(0);
        let url = CharmUrl { series, name: charm.name.clone(), revision };
        self.emit(Event::CharmAdded { url: url.clone(), digest, meta: Box::new(charm.clone()) });
        url
    }

    /// `constraints` fit.
    fn new_machine(&mut self, series: &str, constraints: &Constraints) -> MachineId {
        let machine = MachineId::new(self.model.next_machine);
        let (series, constraints) = (series.to_owned(), constraints.clone());
        self.emit(Event::MachineAdded { machine, series, constraints });
        machine
    }

    /// Juju's "clean and empty": alive, not broken, never used, without containers, of the kind and made with the
    /// limits of what is wanted.
    fn clean_machine(&self, series: &str, wanted: &Constraints) -> Option<MachineId> {
        let clean = |machine: &&Machine| {
            machine.id != MachineId::HOST
                && machine.id.host().is_none()
                && self.model.containers_of(machine.id).next().is_none()
                && machine.life == Life::Alive
                && !machine.used
                && !machine.is_off()
                && !matches!(machine.provision, Provision::Failed { .. })
                && machine.series == series
                && machine.constraints.same_limits(wanted)
        };
        self.model.unused_machines().find(clean).map(|machine| machine.id)
    }

    fn placeable(&self, unit: &str, placement: &Placement, series: &str) -> Result<(), ChangeError> {
        match placement {
            Placement::On(machine) => self.assignable(unit, *machine, series),
            Placement::Inside(machine) => self.can_host(*machine),
            Placement::Automatic | Placement::New | Placement::Kind(_) => Ok(()),
        }
    }

    fn assignable(&self, unit: &str, machine: MachineId, series: &str) -> Result<(), ChangeError> {
        let Some(found) = self.model.machines.get(&machine) else { return Err(ChangeError::NoMachine(machine)) };
        let reason = if machine == MachineId::HOST {
            "units run in containers; use --to lxc for a new one"
        } else if found.life != Life::Alive {
            "machine is not alive"
        } else if found.series != series {
            "series does not match"
        } else {
            return Ok(());
        };
        Err(ChangeError::CannotAssign { unit: unit.to_owned(), machine, reason })
    }
}

pub(super) fn check_count(units: u32, placement: &Placement) -> Result<(), ChangeError> {
    match (units, placement) {
        (0, _) => Err(ChangeError::NoUnits),
        (asked, _) if asked > MOST_AT_ONCE => Err(ChangeError::TooMany { asked }),
        (2.., Placement::On(_) | Placement::Inside(_)) => Err(ChangeError::SeveralToOneMachine),
        _ => Ok(()),
    }
}

/// One unit is what is asked when nothing is said.
fn check_subordinate(units: u32, placement: &Placement, constraints: &Constraints) -> Result<(), ChangeError> {
    if *constraints != Constraints::default() {
        return Err(ChangeError::SubordinateWithConstraints);
    }
    if units != 1 || *placement != Placement::Automatic {
        return Err(ChangeError::UnitsOfSubordinate);
    }
    Ok(())
}

/// Strings are read by the option's type; other values must have it. `null` is refused like a wrong type.
pub(super) fn parse_settings(
    declared: &IndexMap<String, OptionDecl>,
    values: &IndexMap<String, serde_json::Value>,
) -> Result<IndexMap<String, ConfigValue>, ConfigError> {
    let mut settings = IndexMap::new();
    for (key, value) in values {
        let decl = config::option(declared, key)?;
        let parsed = match value {
            serde_json::Value::String(text) => decl.parse(key, text)?,
            serde_json::Value::Bool(flag) => ConfigValue::Boolean(*flag),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => ConfigValue::Int(whole),
                None => ConfigValue::Float(number.as_f64().unwrap_or_default()),
            },
            other => decl.parse(key, &other.to_string())?,
        };
        decl.check(key, &parsed)?;
        settings.insert(key.clone(), parsed);
    }
    Ok(settings)
}
