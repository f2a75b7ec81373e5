//! What is known of each instance, and the way to its driver.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::cable::cable;
use super::driver::{Driver, Flavour, Machine, Wiring};
use super::image::{ImageRecipe, remove_tree};
use super::network::{NetworkChoice, PREFIX, hardware_address};
use super::record::InstanceRecord;
use super::turn::Turn;
use super::{LocalProvider, locked};
use crate::model::MachineId;
use crate::provider::{InstanceName, InstanceSpec, Origin, ProviderError};

impl LocalProvider {
    pub(super) fn recipe(&self, flavour: Flavour, series: &str) -> Result<ImageRecipe, ProviderError> {
        let key = (flavour, series.to_owned());
        if let Some(recipe) = locked(&self.recipes).get(&key) {
            return Ok(recipe.clone());
        }
        let recipe = ImageRecipe::for_host(series, flavour, self.settings.mirror.as_deref())?;
        locked(&self.recipes).insert(key, recipe.clone());
        Ok(recipe)
    }

    pub(super) fn record(&self, name: &InstanceName) -> Result<InstanceRecord, ProviderError> {
        locked(&self.records).get(name).cloned().ok_or_else(|| ProviderError::NoInstance(name.clone()))
    }

    pub(super) fn names(&self) -> Vec<InstanceName> {
        locked(&self.records).keys().cloned().collect()
    }

    /// The instance as its driver is told of it.
    pub(super) fn machine(&self, name: &InstanceName) -> Result<Machine, ProviderError> {
        Ok(self.described(name, self.record(name)?))
    }

    fn described(&self, name: &InstanceName, record: InstanceRecord) -> Machine {
        let network = locked(&self.network).clone();
        let interface = if matches!(record.origin, Some(Origin::Named(_))) { "encanto0" } else { "eth0" };
        let wiring = Wiring {
            bridge: network.as_ref().map_or_else(|| self.settings.bridge(), |network| network.bridge.clone()),
            cable: cable(name),
            interface: interface.into(),
            hardware: hardware_address(record.address),
            address: record.address,
            prefix: network.as_ref().map_or(PREFIX, |network| network.subnet.prefix_len()),
            gateway: network.as_ref().map_or(Ipv4Addr::UNSPECIFIED, NetworkChoice::gateway),
        };
        Machine { name: name.clone(), record, wiring }
    }

    /// The instance with its driver, opened.
    pub(super) async fn reach(&self, name: &InstanceName) -> Result<(&Arc<dyn Driver>, Machine), ProviderError> {
        let machine = self.machine(name)?;
        Ok((self.drivers.opened(&machine.record.kind).await?, machine))
    }

    /// The instance's record, made with the lowest free address if there is none. `template` has all but the address.
    pub(super) fn enrol(
        &self,
        name: &InstanceName,
        template: InstanceRecord,
        network: &NetworkChoice,
    ) -> Result<(), ProviderError> {
        let mut records = locked(&self.records);
        if records.contains_key(name) {
            return Ok(());
        }
        let taken: BTreeSet<Ipv4Addr> = records.values().map(|record| record.address).collect();
        let address = network
            .free_address(&taken)
            .ok_or_else(|| ProviderError::NoFreeAddress { subnet: network.subnet.to_string() })?;
        let record = InstanceRecord { address, ..template };
        self.record_folder.store(name, &record)?;
        records.insert(name.clone(), record);
        Ok(())
    }

    /// [`LocalProvider::enrol`] for an instance that is to be made.
    ///
    /// # Errors
    /// [`ProviderError::Forgotten`] if it was made already, and this environment knows nothing of it.
    pub(super) async fn enrol_new(
        &self,
        name: &InstanceName,
        template: InstanceRecord,
        network: &NetworkChoice,
    ) -> Result<(), ProviderError> {
        if !locked(&self.records).contains_key(name) {
            let driver = self.drivers.of(Some(&template.kind))?;
            let found = self.described(name, template.clone());
            if driver.is_made(&found).await? {
                if !template.build {
                    return Err(ProviderError::Forgotten(name.clone()));
                }
                driver.end(&found).await?;
            }
        }
        self.enrol(name, template, network)
    }

    /// What a new instance's record says before it has an address.
    pub(super) fn template(&self, spec: &InstanceSpec) -> Result<InstanceRecord, ProviderError> {
        let driver = self.drivers.of(spec.kind.as_deref())?;
        let image = self.recipe(driver.flavour(), &spec.series)?.name();
        let driver = if spec.build { self.drivers.builder()? } else { driver };
        let InstanceSpec { layers, memory, cores, build, .. } = spec.clone();
        let (kind, address) = (driver.kind().name.to_owned(), Ipv4Addr::UNSPECIFIED);
        Ok(InstanceRecord { kind, address, image, layers, memory, cores, build, origin: None })
    }

    pub(super) fn addresses(&self) -> BTreeMap<InstanceName, Ipv4Addr> {
        locked(&self.records).iter().map(|(name, record)| (name.clone(), record.address)).collect()
    }

    /// Waits until nobody else works on the instance.
    pub(super) async fn turn(&self, name: &InstanceName) -> Turn {
        let turn = locked(&self.turns).entry(name.clone()).or_default().clone();
        Arc::new(turn.lock_owned().await)
    }

    /// Takes the instance's turn and ends what an earlier holder left half done: [`LocalProvider::reach`] for whoever works
    /// on it.
    pub(super) async fn hold(&self, name: &InstanceName) -> Result<(Turn, &Arc<dyn Driver>, Machine), ProviderError> {
        let turn = self.turn(name).await;
        let (driver, machine) = self.reach(name).await?;
        self.end_pause(driver, &machine).await?;
        Ok((turn, driver, machine))
    }

    /// Removes everything of the instance, the record last. What was adopted is released.
    pub(super) async fn end(&self, name: &InstanceName) -> Result<(), ProviderError> {
        let (_turn, driver, machine) = match self.hold(name).await {
            Err(ProviderError::NoInstance(_)) => return Ok(()),
            other => other?,
        };
        if machine.record.origin.is_some() {
            return self.give_back(&machine).await;
        }
        remove_tree(&super::copies::shelf(&driver.data(&machine)))?;
        driver.end(&machine).await?;
        self.record_folder.remove(name)?;
        locked(&self.records).remove(name);
        Ok(())
    }

    /// Ends the machines of this environment that have no record: their state folder was lost.
    pub(super) async fn end_strays(&self) -> Result<(), ProviderError> {
        let prefix = self.settings.prefix();
        for kind in self.drivers.kinds() {
            let driver = match self.drivers.opened(kind.name).await {
                Ok(driver) => driver,
                Err(error) => {
                    tracing::debug!("machines of kind {} cannot be looked for: {error}", kind.name);
                    continue;
                }
            };
            let named = driver.named(&prefix).await?;
            let ours =
                |name: &&InstanceName| name.as_str().strip_prefix(&prefix).and_then(MachineId::from_tag).is_some();
            for name in named.iter().filter(ours) {
                let _turn = self.turn(name).await;
                driver.end(&self.described(name, InstanceRecord::lost(kind.name))).await?;
            }
            driver.close().await?;
        }
        Ok(())
    }
}
