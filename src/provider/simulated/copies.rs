//! Copies of what simulated instances have on their disks: clones and snapshots.

use super::super::{Instance, InstanceName, InstanceSpec, InstanceState, ProviderError, Snapshot};
use super::{SimulatedInstance, World, hardware};

impl World {
    pub fn copy(&mut self, from: &InstanceName, spec: &InstanceSpec) -> Result<Instance, ProviderError> {
        if !self.instances.contains_key(&spec.name) {
            let source = self.instance(from)?;
            let (files, own) = (source.files.clone(), source.spec.clone());
            // What it is made of follows from the other; its limits are its own.
            let spec = InstanceSpec { name: spec.name.clone(), memory: spec.memory, cores: spec.cores, ..own };
            let copy = SimulatedInstance {
                address: self.free_address(),
                state: InstanceState::Running,
                files,
                snapshots: Vec::new(),
                origin: None,
                ended: Default::default(),
                spec: spec.clone(),
            };
            self.instances.insert(spec.name, copy);
        }
        let copy = self.instance(&spec.name)?;
        copy.state = InstanceState::Running;
        Ok(Instance { name: spec.name.clone(), address: copy.address, hardware: hardware(&copy.spec) })
    }

    pub fn keep(&mut self, name: &InstanceName, snapshot: &str) -> Result<Snapshot, ProviderError> {
        InstanceName::new(snapshot)?;
        let instance = self.with_own_disk(name)?;
        if let Some((kept, _)) = instance.snapshots.iter().find(|(kept, _)| kept.name == snapshot) {
            return Ok(kept.clone());
        }
        let size = instance.files.values().map(|file| file.content.len() as u64).sum();
        let kept = Snapshot { name: snapshot.to_owned(), taken: now(), size };
        instance.snapshots.push((kept.clone(), instance.files.clone()));
        Ok(kept)
    }

    /// What was adopted is somebody's, and its disk with it.
    pub fn with_own_disk(&mut self, name: &InstanceName) -> Result<&mut SimulatedInstance, ProviderError> {
        let instance = self.instance(name)?;
        match instance.origin {
            Some(_) => Err(ProviderError::Unsupported { action: "snapshot", name: name.clone() }),
            None => Ok(instance),
        }
    }

    pub fn give_back(&mut self, name: &InstanceName, snapshot: &str) -> Result<(), ProviderError> {
        InstanceName::new(snapshot)?;
        let instance = self.with_own_disk(name)?;
        let Some((_, files)) = instance.snapshots.iter().find(|(kept, _)| kept.name == snapshot) else {
            return Err(ProviderError::NoSnapshot { name: name.clone(), snapshot: snapshot.to_owned() });
        };
        instance.files = files.clone();
        // One that runs is stopped and started: whoever watches it sees it end.
        instance.ended.notify_waiters();
        Ok(())
    }
}

/// When a snapshot is taken is of no consequence to anything that happens.
fn now() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "the hypervisor's clock, which its callers do not know")]
    jiff::Timestamp::now().as_millisecond()
}
