//! Machines that were on the host before: found, adopted, released.
//!
//! **Invariant:** nothing of what is adopted is ever removed: neither its files nor its configuration, whoever ends it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::claims::Claims;
use super::driver::Machine;
use super::look::Root;
use super::record::{InstanceRecord, io_error};
use super::{LocalProvider, described, locked};
use crate::model::Adopted;
use crate::provider::{Foreign, Instance, InstanceName, InstanceSpec, InstanceState, Origin, ProviderError};

impl LocalProvider {
    fn claims(&self) -> Claims {
        Claims::new(&self.settings.cache_dir)
    }

    /// All that is of a kind which can be asked now.
    pub(super) async fn find_foreign(&self) -> Result<Vec<Foreign>, ProviderError> {
        let prefix = self.settings.prefix();
        let mut found = Vec::new();
        for kind in self.drivers.kinds() {
            let seen = match self.drivers.opened(kind.name).await {
                Ok(driver) => driver.foreign(&prefix).await,
                Err(error) => Err(error),
            };
            match seen {
                Ok(seen) => found.extend(seen),
                // Most hosts do not have every kind.
                Err(error) => tracing::debug!("others' machines of kind {} cannot be seen: {error}", kind.name),
            }
        }
        found.retain(|foreign| !self.holds(&foreign.kind, &foreign.name));
        let claims = self.claims();
        for foreign in &mut found {
            if claims.holder(&foreign.kind, &Origin::Named(foreign.name.clone())).is_some() {
                foreign.obstacle = Some("another environment has adopted it".to_owned());
            }
        }
        Ok(found)
    }

    fn holds(&self, kind: &str, name: &str) -> bool {
        let is = |record: &InstanceRecord| {
            record.kind == kind && matches!(&record.origin, Some(Origin::Named(held)) if held == name)
        };
        locked(&self.records).values().any(is)
    }

    /// A folder becomes a container: the first kind of them.
    pub(super) fn look_into(&self, folder: &Path) -> Result<Foreign, ProviderError> {
        let kind = self.drivers.builder()?.kind().name.to_owned();
        let real = std::fs::canonicalize(folder).map_err(|e| io_error("look into", folder, e))?;
        let root = Root::open(&real).map_err(|e| io_error("look into", folder, e))?;
        if !real.is_dir() {
            return Err(io_error("look into", folder, std::io::ErrorKind::NotADirectory.into()));
        }
        let claimed =
            self.claims().holder(&kind, &Origin::Folder(real.clone())).map(|_| "it is adopted already".to_owned());
        let obstacle = claimed.or_else(|| self.not_for_taking(&real));
        let obstacle = obstacle.or_else(|| match root.has("sbin/init") {
            true => root.obstacle().map(str::to_owned),
            false => Some("it has no /sbin/init: debootstrap or mmdebstrap make a folder that has".to_owned()),
        });
        Ok(Foreign {
            kind,
            name: real.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            state: InstanceState::Stopped,
            series: root.series(),
            obstacle,
        })
    }

    /// Whether a folder is in use already, by the host itself or by a container.
    fn not_for_taking(&self, folder: &Path) -> Option<String> {
        if folder == Path::new("/") {
            return Some("it is this host's own root".to_owned());
        }
        if folder.starts_with(&self.settings.cache_dir) {
            return Some("it is an image or a layer that machines stand on".to_owned());
        }
        let container = folder.strip_prefix(&self.settings.lxc_path).ok()?.iter().next()?.to_string_lossy();
        Some(format!("it belongs to the container {container}: encanto machine adopt {container}"))
    }

    pub(super) async fn adopt_as(&self, spec: &InstanceSpec, origin: &Origin) -> Result<Instance, ProviderError> {
        let network = self.opened_network()?;
        let turn = self.turn(&spec.name).await;
        let driver = self.drivers.of(spec.kind.as_deref())?;
        let kind = driver.kind().name.to_owned();
        self.drivers.opened(&kind).await?;
        let template = InstanceRecord {
            memory: spec.memory,
            cores: spec.cores,
            origin: Some(origin.clone()),
            address: Ipv4Addr::UNSPECIFIED,
            ..InstanceRecord::lost(&kind)
        };
        self.enrol(&spec.name, template, &network)?;
        if let Err(error) = self.claims().take(&kind, origin, &self.record_file(&spec.name)) {
            self.strike_off(&spec.name)?;
            return Err(error);
        }
        self.tell_names().await?;
        let (driver, machine) = self.reach(&spec.name).await?;
        driver.adopt(&machine, &turn).await.map_err(|error| match error {
            ProviderError::NoInstance(_) => {
                ProviderError::NoOrigin(Adopted { kind, origin: origin.clone() }.to_string())
            }
            other => other,
        })?;
        described(driver, &machine).await
    }

    pub(super) async fn release_machine(&self, name: &InstanceName) -> Result<(), ProviderError> {
        let _turn = self.turn(name).await;
        let Ok(machine) = self.machine(name) else { return Ok(()) };
        self.give_back(&machine).await?;
        self.tell_names().await
    }

    /// The caller has its turn.
    pub(super) async fn give_back(&self, machine: &Machine) -> Result<(), ProviderError> {
        let Some(origin) = &machine.record.origin else {
            return Err(ProviderError::OwnMake(machine.name.clone()));
        };
        self.drivers.opened(&machine.record.kind).await?.release(machine).await?;
        self.claims().drop(&machine.record.kind, origin, &self.record_file(&machine.name))?;
        self.strike_off(&machine.name)
    }

    fn record_file(&self, name: &InstanceName) -> PathBuf {
        self.record_folder.file(name)
    }

    fn strike_off(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.record_folder.remove(name)?;
        locked(&self.records).remove(name);
        Ok(())
    }
}
