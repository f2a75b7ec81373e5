//! Names and ids: a newtype each, checked once, where they enter.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use super::machine_id::{LONGEST_INSTANCE_NAME, MachineId};

/// A name or id that does not have the form it must have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("invalid service name \"{0}\"")]
    Service(String),
    #[error("invalid unit name \"{0}\"")]
    Unit(String),
    #[error("invalid machine id \"{0}\"")]
    Machine(String),
    #[error("invalid machine name \"{0}\"")]
    MachineName(String),
    #[error("invalid snapshot name \"{0}\"")]
    Snapshot(String),
    #[error("invalid machine id \"{0}\": a container cannot hold containers")]
    NestedMachine(String),
    #[error("invalid relation name \"{0}\"")]
    Endpoint(String),
    #[error("invalid interface name \"{0}\"")]
    Interface(String),
    #[error("invalid charm name \"{0}\"")]
    Charm(String),
    #[error("invalid environment name \"{0}\"")]
    Environment(String),
    #[error("invalid action name \"{0}\"")]
    Action(String),
    #[error("invalid action id \"{0}\"")]
    ActionId(String),
    #[error("invalid port \"{0}\"")]
    Port(String),
}

/// `[a-z][a-z0-9]*` groups joined by `-`. With `letter_in_group` each later group holds a letter, as Juju asks of
/// service names so that `x-1` cannot be mistaken for a unit.
fn dashed(name: &str, letter_in_group: bool) -> bool {
    if name.is_empty() || name.len() > 63 || !name.as_bytes()[0].is_ascii_lowercase() {
        return false;
    }
    name.split('-').enumerate().all(|(index, group)| {
        !group.is_empty()
            && group.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && (index == 0 || !letter_in_group || group.bytes().any(|b| b.is_ascii_lowercase()))
    })
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $error:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(NameError::$error(text.to_owned())) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

text_name!(
    /// What the operator calls a deployed charm, e.g. `mysql`.
    ServiceName, Service, |name| dashed(name, true)
);
text_name!(
    /// One side of a relation as a charm declares it, e.g. `db`.
    EndpointName, Endpoint, |name| dashed(name, false)
);
text_name!(
    /// The protocol two endpoints speak, e.g. `mysql`.
    InterfaceName, Interface, |name| dashed(name, false)
);
text_name!(
    /// A charm's own name, e.g. `mediawiki`.
    CharmName, Charm, |name| dashed(name, true)
);
text_name!(
    /// The name of an environment in `environments.yaml`, e.g. `local`.
    EnvironmentName, Environment, |name| name.len() <= 32 && dashed(name, false)
);

text_name!(
    /// What a charm can be asked to do, e.g. `backup`.
    ActionName, Action, |name| dashed(name, false)
);

text_name!(
    /// What an operator calls a machine beside its number, e.g. `big-box`. None that means something else where a machine
    /// is named.
    MachineName, MachineName, |name| {
        dashed(name, false) && !["all", "new"].contains(&name) && MachineId::from_tag(name).is_none()
    }
);
text_name!(
    /// What a kept state of a machine's disk is called, e.g. `before-upgrade`; in the form of an instance's name.
    SnapshotName, Snapshot, |name| {
        let begins = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        let fits = begins && name.len() <= LONGEST_INSTANCE_NAME;
        fits && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    }
);

/// A number as Juju writes it: no sign, no leading zero.
pub(super) fn plain_number(text: &str) -> Option<u32> {
    let fits = text == "0" || (!text.starts_with('0') && !text.is_empty());
    if fits && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

/// The endpoint that every service has without declaring it, and its interface: whoever wants to know no more of a
/// service than where it is relates to this.
pub const JUJU_INFO: &str = "juju-info";

impl EndpointName {
    pub fn juju_info() -> Self {
        EndpointName(JUJU_INFO.to_owned())
    }

    /// Names that a charm may not give.
    pub fn is_reserved(&self) -> bool {
        self.0 == "juju" || self.0.starts_with("juju-")
    }
}

impl InterfaceName {
    pub fn juju_info() -> Self {
        InterfaceName(JUJU_INFO.to_owned())
    }

    /// Interfaces that a charm may not speak, but for requiring [`JUJU_INFO`].
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("juju")
    }
}

number_id!(
    /// A relation's number. Never reused.
    RelationId
);

number_id!(
    /// The number of an action that was asked for. Never reused.
    ActionId
);

impl FromStr for ActionId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        plain_number(text).map(ActionId).ok_or_else(|| NameError::ActionId(text.to_owned()))
    }
}

/// One instance of a service, e.g. `mysql/0`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName {
    pub service: ServiceName,
    pub number: u32,
}

impl FromStr for UnitName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let parsed = text
            .split_once('/')
            .and_then(|(service, number)| Some((service.parse().ok()?, plain_number(number)?)))
            .map(|(service, number)| UnitName { service, number });
        parsed.ok_or_else(|| NameError::Unit(text.to_owned()))
    }
}

impl TryFrom<String> for UnitName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<UnitName> for String {
    fn from(name: UnitName) -> String {
        name.to_string()
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.number)
    }
}

impl fmt::Debug for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A port of a unit, e.g. `80/tcp`. Ordered by protocol, then number, as Juju lists them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Port {
    pub protocol: Protocol,
    pub number: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

impl FromStr for Port {
    type Err = NameError;
    /// `80`, `80/tcp`, `53/udp`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = || NameError::Port(text.to_owned());
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(bad()),
        };
        match plain_number(number).and_then(|n| u16::try_from(n).ok()) {
            Some(number) if number > 0 => Ok(Port { protocol, number }),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for Port {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Port> for String {
    fn from(port: Port) -> String {
        port.to_string()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol.as_str())
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_juju() {
        for good in ["mysql", "a", "my-sql", "m2", "wiki-2a"] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a-1", "1a", "a_b", "a--b", &"a".repeat(64)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
        assert!("db-1".parse::<EndpointName>().is_ok());
        for good in ["big-box", "web-1", "machine"] {
            assert!(good.parse::<MachineName>().is_ok(), "{good}");
        }
        for bad in ["", "3", "new", "all", "machine-1", "a b", "a/0", "Web"] {
            assert_eq!(bad.parse::<MachineName>(), Err(NameError::MachineName(bad.into())));
        }
        for good in ["a", "2026-11-25.1", "Before_Upgrade"] {
            assert!(good.parse::<SnapshotName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "../x", "-a", "a b", &"a".repeat(64)] {
            assert!(bad.parse::<SnapshotName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn units_have_plain_numbers() {
        assert_eq!("mysql/0".parse::<UnitName>().map(|u| u.to_string()), Ok("mysql/0".into()));
        for bad in ["mysql", "mysql/", "mysql/01", "mysql/-1", "mysql/1/2", "/1", "mysql/99999999999"] {
            assert_eq!(bad.parse::<UnitName>(), Err(NameError::Unit(bad.into())));
        }
    }

    #[test]
    fn ports_sort_by_protocol_then_number() {
        let mut ports: Vec<Port> = ["53/udp", "443", "80/tcp"].iter().map(|p| p.parse().unwrap()).collect();
        ports.sort();
        assert_eq!(ports.iter().map(Port::to_string).collect::<Vec<_>>(), ["80/tcp", "443/tcp", "53/udp"]);
        for bad in ["0", "65536", "80/icmp", "x", "-1", "080"] {
            assert!(bad.parse::<Port>().is_err(), "{bad}");
        }
    }
}
