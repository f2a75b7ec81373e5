//! The inside of virtual machines: one link a machine, made when it is first needed and again when it is lost.

use std::collections::HashMap;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::boot;
use super::exec::{execution, lost, order, refused};
use super::frame::FromGuest;
use super::link::{Begun, Link};
use super::way::Way;
use crate::provider::local::locked;
use crate::provider::{ExecRequest, Execution, InstanceName, ProviderError};

/// A command starts within milliseconds; only a machine that is held still or drowns in work takes longer.
const START_LIMIT: Duration = Duration::from_secs(30);

/// After so long it is asked whether anybody is there.
const START_DOUBT: Duration = Duration::from_secs(2);

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Link>>>>;

/// The links to all machines.
#[derive(Default)]
pub struct Insides {
    slots: Mutex<HashMap<InstanceName, Slot>>,
}

impl Insides {
    pub fn of(&self, way: Arc<dyn Way>) -> Inside {
        let slot = locked(&self.slots).entry(way.name().clone()).or_default().clone();
        Inside { way, slot }
    }

    /// Gives the link of a machine up that was stopped or is gone; what runs over it ends.
    pub fn leave(&self, name: &InstanceName) {
        let mut slots = locked(&self.slots);
        let Some(slot) = slots.get(name).cloned() else { return };
        // Whoever is connecting right now fails by himself.
        if let Ok(mut link) = slot.try_lock()
            && let Some(link) = link.take()
        {
            link.cut();
        }
        // One slot a machine, whoever has it: two would each end what the other's controller runs.
        if Arc::strong_count(&slot) == 2 {
            slots.remove(name);
        }
    }
}

/// The inside of one machine.
pub struct Inside {
    way: Arc<dyn Way>,
    pub(super) slot: Slot,
}

impl Inside {
    pub fn name(&self) -> &InstanceName {
        self.way.name()
    }

    /// Whether the link was made, and not lost since.
    pub async fn is_linked(&self) -> bool {
        self.slot.lock().await.as_ref().is_some_and(|link| !link.is_lost())
    }

    /// Makes the link unless there is one.
    async fn link(&self) -> Result<Arc<Link>, ProviderError> {
        let mut slot = self.slot.lock().await;
        if let Some(link) = slot.as_ref().filter(|link| !link.is_lost()) {
            return Ok(link.clone());
        }
        *slot = None;
        let link = boot::connect(&self.way).await?;
        Ok(slot.insert(link).clone())
    }

    /// Has everything ready for the first command, so that it need not wait.
    pub async fn prepare(&self) -> Result<(), ProviderError> {
        self.link().await.map(drop)
    }

    pub async fn exec(&self, request: ExecRequest) -> Result<Execution, ProviderError> {
        self.begin(order(&request), request.timeout).await
    }

    /// Begins a command. One that was lost before it began is begun again, once: the machine may just have been reset.
    pub(super) async fn begin(
        &self,
        words: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<Execution, ProviderError> {
        for _ in 0..2 {
            let link = self.link().await?;
            let Some(mut begun) = link.begin(&words) else { continue };
            match self.first_word(&link, &mut begun).await? {
                Some(FromGuest::Running) => return Ok(execution(self.name(), begun, timeout)),
                None => {}
                other => return Err(refused(self.name(), other)),
            }
        }
        let running = self.way.is_running().await?;
        Err(if running { lost(self.name()) } else { ProviderError::NotRunning { name: self.name().clone() } })
    }

    /// Why a machine whose port is served does not answer. Unless it is paused, the next command tries another link.
    async fn silent(&self, link: &Link) -> Result<ProviderError, ProviderError> {
        let source = if self.way.is_paused().await? {
            Error::new(ErrorKind::TimedOut, "the machine is paused")
        } else {
            link.cut();
            ErrorKind::TimedOut.into()
        };
        Ok(ProviderError::Enter { name: self.name().clone(), source })
    }

    /// What the machine says to a new command; `None` if it did not get it.
    async fn first_word(&self, link: &Link, begun: &mut Begun) -> Result<Option<FromGuest>, ProviderError> {
        let asked = Instant::now();
        loop {
            if let Ok(word) = tokio::time::timeout(START_DOUBT, begun.words.recv()).await {
                return Ok(word);
            }
            if !self.way.is_served().await? {
                link.cut();
                return Ok(None);
            }
            if asked.elapsed() > START_LIMIT {
                return Err(self.silent(link).await?);
            }
        }
    }
}
