//! What is asked of libvirt about virtual machines.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::path::Path;

use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;

use super::adopted::{Seen, see};
use super::way::LibvirtWay;
use crate::provider::libvirt::connection::{Hypervisor, absent_is_none, each};
use crate::provider::libvirt::ownership::Owner;
use crate::provider::{InstanceName, ProviderError};

/// How a domain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainState {
    Absent,
    Off,
    Running,
    Paused,
}

/// The domains of one environment.
#[derive(Clone)]
pub struct Domains {
    pub hypervisor: Hypervisor,
    /// A connection of its own for the guest agents: an answer may take long.
    pub agents: Hypervisor,
    pub owner: Owner,
}

impl Domains {
    pub fn new(uri: &str, owner: Owner) -> Self {
        Self { hypervisor: Hypervisor::new(uri), agents: Hypervisor::new(uri), owner }
    }

    pub async fn state(&self, name: &InstanceName) -> Result<DomainState, ProviderError> {
        let state = self.hypervisor.domain((name, &self.owner), |domain| domain.get_state()).await?;
        Ok(match state {
            None => DomainState::Absent,
            Some((virt_sys::VIR_DOMAIN_SHUTOFF | virt_sys::VIR_DOMAIN_CRASHED, _)) => DomainState::Off,
            Some((virt_sys::VIR_DOMAIN_PAUSED, _)) => DomainState::Paused,
            Some(_) => DomainState::Running,
        })
    }

    /// Does something with a domain that must be there.
    pub async fn with<T: Send + 'static>(
        &self,
        name: &InstanceName,
        work: impl Fn(&Domain) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let done = self.hypervisor.domain((name, &self.owner), work).await?;
        done.ok_or_else(|| ProviderError::NoInstance(name.clone()))
    }

    /// Tells libvirt of the domain, anew if it knows it.
    ///
    /// # Errors
    /// [`ProviderError::NameTaken`] if somebody else has one of this name.
    pub async fn define(&self, name: &InstanceName, xml: String) -> Result<(), ProviderError> {
        self.state(name).await?;
        self.hypervisor.call(move |connection| Domain::define_xml(connection, &xml).map(drop)).await
    }

    /// Starts a defined machine; nothing if it runs.
    pub async fn start(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.with(name, |domain| match domain.create() {
            // The start of a controller that was killed came first.
            Err(_) if domain.is_active().unwrap_or(false) => Ok(()),
            other => other.map(drop),
        })
        .await
    }

    /// Holds it still, with what its guest has written in its disk.
    pub async fn suspend(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.with(name, |domain| domain.suspend().map(drop)).await
    }

    /// Lets it go on; nothing if it does.
    pub async fn resume(&self, name: &InstanceName) -> Result<(), ProviderError> {
        self.with(name, |domain| match domain.get_state()? {
            (virt_sys::VIR_DOMAIN_PAUSED, _) => domain.resume().map(drop),
            _ => Ok(()),
        })
        .await
    }

    /// Starts what libvirt shall forget when it ends.
    pub async fn start_transient(&self, name: &InstanceName, xml: String) -> Result<(), ProviderError> {
        self.state(name).await?;
        self.hypervisor.call(move |connection| Domain::create_xml(connection, &xml, 0).map(drop)).await
    }

    /// The definition as it stands in front of a saved memory.
    pub async fn definition(&self, name: &InstanceName) -> Result<String, ProviderError> {
        self.with(name, |domain| domain.get_xml_desc(virt_sys::VIR_DOMAIN_XML_MIGRATABLE)).await
    }

    /// Keeps the memory in a file; the domain does not run afterwards.
    pub async fn save(&self, name: &InstanceName, file: &Path) -> Result<(), ProviderError> {
        let file = c_path(file)?;
        self.with(name, move |domain| {
            // SAFETY: both pointers outlive the call.
            let saved = unsafe { virt_sys::virDomainSave(domain.as_ptr(), file.as_ptr()) };
            if saved == 0 { Ok(()) } else { Err(Error::last_error()) }
        })
        .await
    }

    /// Starts the machine that stands in front of a saved memory.
    pub async fn restore(&self, file: &Path) -> Result<(), ProviderError> {
        let file = file.display().to_string();
        self.hypervisor.call(move |connection| Domain::domain_restore(connection, &file)).await
    }

    /// Ends it at once; nothing if it does not run.
    pub async fn destroy(&self, name: &InstanceName) -> Result<(), ProviderError> {
        let ended = |domain: &Domain| match domain.destroy() {
            // It may have ended by itself meanwhile.
            Err(_) if !domain.is_active().unwrap_or(false) => Ok(()),
            other => other,
        };
        self.hypervisor.domain((name, &self.owner), ended).await.map(drop)
    }

    /// Has libvirt forget it and what it kept of it; nothing if it does not know it.
    pub async fn undefine(&self, name: &InstanceName) -> Result<(), ProviderError> {
        let flags = virt_sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | virt_sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | virt_sys::VIR_DOMAIN_UNDEFINE_NVRAM;
        let forgotten = move |domain: &Domain| absent_is_none(domain.undefine_flags(flags)).map(drop);
        self.hypervisor.domain((name, &self.owner), forgotten).await.map(drop)
    }

    /// Names of all that run, whoever made them.
    pub async fn running(&self) -> Result<BTreeSet<String>, ProviderError> {
        let active = virt_sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE;
        self.hypervisor.call(move |connection| names(connection, active)).await
    }

    /// Ours, whether they run or not, whose names have the prefix.
    pub async fn named(&self, prefix: &str) -> Result<Vec<InstanceName>, ProviderError> {
        let (owner, prefix) = (self.owner.clone(), prefix.to_owned());
        let names = self.hypervisor.call(move |connection| {
            each(connection, 0, |domain| {
                let name = domain.get_name()?;
                Ok((name.starts_with(&prefix) && owner.owns(domain)?).then_some(name))
            })
        });
        Ok(names.await?.into_iter().filter_map(|name| InstanceName::new(name).ok()).collect())
    }

    /// Those that this environment did not make.
    pub async fn others(&self) -> Result<Vec<Seen>, ProviderError> {
        let owner = self.owner.clone();
        self.hypervisor
            .call(move |connection| {
                each(connection, 0, |domain| (!owner.owns(domain)?).then(|| see(domain)).transpose())
            })
            .await
    }

    /// The way into one of them.
    pub fn way(&self, name: InstanceName) -> LibvirtWay {
        LibvirtWay::new(name, self.owner.clone(), (self.hypervisor.clone(), self.agents.clone()))
    }

    /// The same among those that nobody's environment made.
    pub fn of_nobody(&self) -> Self {
        Self { owner: Owner::nobody(), ..self.clone() }
    }
}

fn names(connection: &Connect, flags: u32) -> Result<BTreeSet<String>, Error> {
    connection.list_all_domains(flags)?.iter().map(Domain::get_name).collect()
}

fn c_path(path: &Path) -> Result<CString, ProviderError> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| ProviderError::Io {
        action: "name",
        path: path.to_owned(),
        source: error.into(),
    })
}
