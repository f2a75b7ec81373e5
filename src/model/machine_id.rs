//! What machines are called: `1`, and `1/lxc/0` for a container that was put on machine 1.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::names::{NameError, plain_number};

/// A machine or a container on one; machine 0 is the host. Never reused. A machine comes right before its containers.
///
/// Containers are one level deep, so that this stays small and `Copy`. Plain machines are stored as a number, as they
/// always were, containers as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId {
    number: u32,
    container: Option<u32>,
}

/// An instance is named as its host is, and the kernel takes no more for a host.
pub const LONGEST_INSTANCE_NAME: usize = 63;

const CONTAINER: &str = "/lxc/";

impl MachineId {
    /// The host itself, which the controller runs on.
    pub const HOST: MachineId = MachineId::new(0);

    pub const fn new(number: u32) -> MachineId {
        MachineId { number, container: None }
    }

    /// The container of this number on this machine.
    pub const fn container(self, container: u32) -> MachineId {
        MachineId { number: self.number, container: Some(container) }
    }

    /// The machine's number; of a container that of the machine it is on.
    pub const fn number(self) -> u32 {
        self.number
    }

    /// Of a container, its number on its machine.
    pub const fn container_number(self) -> Option<u32> {
        self.container
    }

    /// The machine that a container is on.
    pub fn host(self) -> Option<MachineId> {
        self.container.map(|_| MachineId::new(self.number))
    }

    /// All ids that containers on this machine can have; a container has none.
    pub fn containers(self) -> Option<RangeInclusive<MachineId>> {
        self.container.is_none().then(|| self.container(0)..=self.container(u32::MAX))
    }

    /// As long as a tag gets: numbers are not used again, but ten millions are far.
    pub const LONGEST_TAG: &str = "machine-9999999-lxc-9999999";

    /// Juju's word for it where no slash can be: `machine-1-lxc-0`, in names of instances, files and in the log.
    pub fn tag(self) -> String {
        format!("machine-{self}").replace('/', "-")
    }

    /// The machine of a tag; `None` if it is none.
    pub fn from_tag(tag: &str) -> Option<MachineId> {
        let rest = tag.strip_prefix("machine-")?;
        let id: MachineId = rest.replacen("-lxc-", CONTAINER, 1).parse().ok()?;
        (id.tag() == tag).then_some(id)
    }
}

impl FromStr for MachineId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let invalid = || NameError::Machine(text.to_owned());
        let (number, inside) = match text.split_once(CONTAINER) {
            None => (text, None),
            Some((number, container)) => (number, Some(container)),
        };
        let machine = plain_number(number).map(MachineId::new).ok_or_else(invalid)?;
        match inside {
            None => Ok(machine),
            Some(container) if container.contains(CONTAINER) => Err(NameError::NestedMachine(text.to_owned())),
            Some(container) => Ok(machine.container(plain_number(container).ok_or_else(invalid)?)),
        }
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.container {
            None => write!(f, "{}", self.number),
            Some(container) => write!(f, "{}{CONTAINER}{container}", self.number),
        }
    }
}

impl fmt::Debug for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for MachineId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.container {
            None => serializer.serialize_u32(self.number),
            Some(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for MachineId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Stored)
    }
}

/// A number, or text: a container, or any machine where it is the key of a map.
struct Stored;

impl Visitor<'_> for Stored {
    type Value = MachineId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a machine id")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<MachineId, E> {
        u32::try_from(number).map(MachineId::new).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<MachineId, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn any_id() -> impl Strategy<Value = MachineId> {
        (any::<u32>(), any::<Option<u32>>()).prop_map(|(number, container)| MachineId { number, container })
    }

    proptest! {
        #[test]
        fn an_id_is_the_same_in_every_form(id in any_id()) {
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(MachineId::from_tag(&id.tag()), Some(id));
            prop_assert_eq!(serde_json::from_str::<MachineId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
            let map = BTreeMap::from([(id, 1)]);
            let back: BTreeMap<MachineId, i32> = serde_json::from_str(&serde_json::to_string(&map).unwrap()).unwrap();
            prop_assert_eq!(back, map);
        }

        #[test]
        fn containers_come_between_their_machine_and_the_next(id in any_id(), next in any::<u32>()) {
            let host = MachineId::new(id.number());
            prop_assert!(host <= id && id.host().is_none_or(|h| h == host && host.containers().unwrap().contains(&id)));
            let next = MachineId::new(next);
            prop_assert_eq!(next > id, next.number() > id.number());
        }

        #[test]
        fn what_is_read_is_written_the_same(text in "(machine-)?[0-9]{1,3}([/-]lxc[/-][0-9]{1,2}){0,2}") {
            if let Ok(id) = text.parse::<MachineId>() {
                prop_assert_eq!(id.to_string(), text.clone());
            }
            if let Some(id) = MachineId::from_tag(&text) {
                prop_assert_eq!(id.tag(), text);
            }
        }
    }

    #[test]
    fn plain_machines_are_stored_as_numbers() {
        let read = |json: &str| serde_json::from_str::<MachineId>(json).ok();
        assert_eq!(serde_json::to_string(&MachineId::new(3)).unwrap(), "3");
        assert_eq!(serde_json::to_string(&MachineId::new(3).container(1)).unwrap(), "\"3/lxc/1\"");
        assert_eq!(read("3"), Some(MachineId::new(3)));
        assert_eq!(read("4294967296"), None);
    }

    #[test]
    fn containers_are_one_level_deep() {
        assert_eq!("1/lxc/0/lxc/2".parse::<MachineId>(), Err(NameError::NestedMachine("1/lxc/0/lxc/2".into())));
        for bad in ["", "03", "-1", "1/", "1/kvm/0", "1/lxc/", "1/lxc/00", "/lxc/0", "1/lxc", "lxc/0", "1lxc0"] {
            assert_eq!(bad.parse::<MachineId>(), Err(NameError::Machine(bad.into())));
        }
        for bad in ["machine-", "machine-1/lxc/0", "machine-1-lxc-0-lxc-0", "machine-01", "1", "machine-1-kvm-0"] {
            assert_eq!(MachineId::from_tag(bad), None, "{bad}");
        }
    }
}
