//! What is on the simulated host besides: it can be planted by a test, adopted, and found again after its release.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::Adopted;

use super::super::{Foreign, Instance, InstanceName, InstanceSpec, InstanceState, Origin, ProviderError};
use super::{Files, SimulatedInstance, SimulatedProvider, World, hardware};

#[derive(Default)]
pub struct Others {
    /// By kind and name.
    named: BTreeMap<(String, String), Planted>,
    folders: BTreeMap<PathBuf, Planted>,
}

#[derive(Clone)]
struct Planted {
    foreign: Foreign,
    files: Files,
}

impl SimulatedProvider {
    /// Somebody makes a container or a virtual machine on the host.
    pub fn plant(&self, foreign: Foreign) {
        let key = (foreign.kind.clone(), foreign.name.clone());
        self.world().others.named.insert(key, Planted { foreign, files: Files::new() });
    }

    /// Somebody puts a root filesystem into a folder.
    pub fn plant_folder(&self, folder: &str, series: &str) {
        let foreign = Foreign {
            kind: "lxc".into(),
            name: Path::new(folder).file_name().unwrap_or_default().to_string_lossy().into_owned(),
            state: InstanceState::Stopped,
            series: Some(series.to_owned()),
            obstacle: None,
        };
        self.world().others.folders.insert(folder.into(), Planted { foreign, files: Files::new() });
    }

    /// What is found of it on the host by whoever does not ask the environment: how it is, and the files that were
    /// written in it.
    pub fn planted(&self, kind: &str, origin: &Origin) -> Option<(InstanceState, Vec<String>)> {
        let mut world = self.world();
        let planted = world.others.find(kind, origin)?;
        Some((planted.foreign.state, planted.files.keys().cloned().collect()))
    }
}

impl Others {
    fn find(&mut self, kind: &str, origin: &Origin) -> Option<&mut Planted> {
        match origin {
            Origin::Named(name) => self.named.get_mut(&(kind.to_owned(), name.clone())),
            Origin::Folder(folder) => self.folders.get_mut(folder),
        }
    }

    pub fn inspect(&self, folder: &Path) -> Result<Foreign, ProviderError> {
        let found = self.folders.get(folder).map(|planted| planted.foreign.clone());
        found.ok_or_else(|| ProviderError::NoOrigin(format!("folder {}", folder.display())))
    }

    /// It is deleted together with the instance that it was.
    pub fn forget(&mut self, instance: &SimulatedInstance) {
        match &instance.origin {
            Some(Origin::Named(name)) => drop(self.named.remove(&(instance.kind().to_owned(), name.clone()))),
            Some(Origin::Folder(folder)) => drop(self.folders.remove(folder)),
            None => {}
        }
    }
}

impl SimulatedInstance {
    fn kind(&self) -> &str {
        self.spec.kind.as_deref().unwrap_or("lxc")
    }
}

impl World {
    pub fn foreign(&self) -> Vec<Foreign> {
        let ours = |foreign: &Foreign| {
            let is = |origin: &Origin| *origin == Origin::Named(foreign.name.clone());
            self.instances.values().any(|i| i.kind() == foreign.kind && i.origin.as_ref().is_some_and(is))
        };
        let all = self.others.named.values().map(|planted| &planted.foreign);
        all.filter(|foreign| !ours(foreign)).cloned().collect()
    }

    pub fn adopt(&mut self, spec: &InstanceSpec, origin: &Origin) -> Result<Instance, ProviderError> {
        let kind = spec.kind.clone().unwrap_or_else(|| "lxc".into());
        if !self.instances.contains_key(&spec.name) {
            let Some(planted) = self.others.find(&kind, origin) else {
                return Err(ProviderError::NoOrigin(Adopted { kind, origin: origin.clone() }.to_string()));
            };
            planted.foreign.state = InstanceState::Running;
            let files = planted.files.clone();
            let taken = SimulatedInstance {
                spec: spec.clone(),
                address: self.free_address(),
                state: InstanceState::Running,
                files,
                snapshots: Vec::new(),
                origin: Some(origin.clone()),
                ended: Default::default(),
            };
            self.instances.insert(spec.name.clone(), taken);
        }
        let instance = self.instance(&spec.name)?;
        instance.state = InstanceState::Running;
        Ok(Instance { name: spec.name.clone(), address: instance.address, hardware: hardware(&instance.spec) })
    }

    pub fn release(&mut self, name: &InstanceName) -> Result<(), ProviderError> {
        match self.instances.get(name) {
            Some(instance) if instance.origin.is_none() => Err(ProviderError::OwnMake(name.clone())),
            _ => {
                self.give_back_or_remove(name);
                Ok(())
            }
        }
    }

    /// What is somebody's stays on the host, with what was written in it. A folder's container ends: the folder had none.
    pub fn give_back_or_remove(&mut self, name: &InstanceName) {
        let Some(instance) = self.remove(name) else { return };
        let Some(origin) = &instance.origin else { return };
        let Some(planted) = self.others.find(instance.kind(), origin) else { return };
        planted.files = instance.files;
        planted.foreign.state = match origin {
            Origin::Named(_) => instance.state,
            Origin::Folder(_) => InstanceState::Stopped,
        };
    }
}
