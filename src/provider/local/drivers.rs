//! The kinds of machines that an environment can have, each opened when it is first needed.

use std::sync::Arc;

use super::driver::{Driver, Flavour};
use crate::provider::{Kind, ProviderError};

/// All drivers; never empty.
pub struct Drivers {
    slots: Vec<Slot>,
    default: usize,
}

struct Slot {
    driver: Arc<dyn Driver>,
    /// Whether it was opened. The lock is held meanwhile: whoever else wants it waits for the answer.
    open: tokio::sync::Mutex<bool>,
}

impl Drivers {
    pub fn new(drivers: Vec<Arc<dyn Driver>>, default_kind: Option<&str>) -> Result<Self, ProviderError> {
        let slots = drivers.into_iter().map(|driver| Slot { driver, open: tokio::sync::Mutex::default() }).collect();
        let mut drivers = Self { slots, default: 0 };
        drivers.default = match default_kind {
            None if drivers.slots.is_empty() => return Err(drivers.unknown("")),
            None => 0,
            Some(kind) => drivers.position(kind)?,
        };
        Ok(drivers)
    }

    /// The default first.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.slots.iter().map(|slot| slot.driver.kind()).collect();
        kinds[..=self.default].rotate_right(1);
        kinds
    }

    /// The driver of a kind, opened or not; the default one's without a name.
    pub fn of(&self, kind: Option<&str>) -> Result<&Arc<dyn Driver>, ProviderError> {
        self.slot(kind).map(|slot| &slot.driver)
    }

    /// The driver of a kind, opened. One that does not open is tried again by the next call.
    pub async fn opened(&self, kind: &str) -> Result<&Arc<dyn Driver>, ProviderError> {
        let slot = self.slot(Some(kind))?;
        let mut open = slot.open.lock().await;
        if !*open {
            slot.driver.open().await?;
            *open = true;
        }
        Ok(&slot.driver)
    }

    /// The kind in which layers are made, also those of virtual machines: a container on the image's tree is there in a
    /// moment, and has all that an installation needs.
    pub fn builder(&self) -> Result<&Arc<dyn Driver>, ProviderError> {
        let container = self.slots.iter().find(|slot| slot.driver.flavour() == Flavour::Container);
        container.map(|slot| &slot.driver).ok_or_else(|| self.unknown("container"))
    }

    fn slot(&self, kind: Option<&str>) -> Result<&Slot, ProviderError> {
        kind.map_or(Ok(self.default), |kind| self.position(kind)).map(|at| &self.slots[at])
    }

    fn position(&self, kind: &str) -> Result<usize, ProviderError> {
        self.slots.iter().position(|slot| slot.driver.kind().name == kind).ok_or_else(|| self.unknown(kind))
    }

    fn unknown(&self, kind: &str) -> ProviderError {
        let known: Vec<&str> = self.slots.iter().map(|slot| slot.driver.kind().name).collect();
        ProviderError::UnknownKind { kind: kind.into(), known: known.join(", ") }
    }
}
