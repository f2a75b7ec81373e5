//! What a machine must be like: `mem=512M cpu-cores=1`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::entities::HardwareFacts;

/// `None` leaves it to the environment. An empty value (0, no text) says "none", whatever the environment says; what a
/// machine was made with has no such values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Constraints {
    /// The most memory, in megabytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem: Option<u64>,
    /// The most processor time, in cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// What the machine is to be like, in Juju's words: a container or a virtual machine; `none` is whatever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Megabytes. Not enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_disk: Option<u64>,
    /// Not enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// The name of a kind of machines; of a machine, what it is ([`super::kinds`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virt_type: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    #[error("malformed constraint \"{0}\"")]
    Malformed(String),
    #[error("unknown constraint \"{0}\"")]
    Unknown(String),
    #[error("bad \"{key}\" constraint: {reason}")]
    Bad { key: String, reason: String },
}

/// Processors that Juju knows.
const ARCHES: [&str; 6] = ["amd64", "arm64", "armhf", "i386", "ppc64el", "s390x"];
const LONGEST_WORD: usize = 32;
/// With less, systemd does not come up in a container.
const LEAST_MEM: u64 = 32;

impl Constraints {
    /// These, and what they leave open as `environment` says: what a machine is made with.
    pub fn over(&self, environment: &Constraints) -> Constraints {
        let (own, mut other) = (self.clone(), environment.clone());
        // Both words say of what kind a machine is to be: whoever says one of them says it all.
        if own.container.is_some() || own.virt_type.is_some() {
            (other.container, other.virt_type) = (None, None);
        }
        Constraints {
            mem: own.mem.or(other.mem).filter(|mem| *mem > 0),
            cpu_cores: own.cpu_cores.or(other.cpu_cores).filter(|cores| *cores > 0),
            arch: own.arch.or(other.arch).filter(|arch| !arch.is_empty()),
            container: own.container.or(other.container).filter(|kind| !kind.is_empty()),
            root_disk: own.root_disk.or(other.root_disk).filter(|disk| *disk > 0),
            tags: own.tags.or(other.tags).filter(|tags| !tags.is_empty()),
            virt_type: own.virt_type.or(other.virt_type).filter(|kind| !kind.is_empty()),
        }
    }

    /// Whether a machine made with `other` is of the kind and limited as one made with these.
    pub fn same_limits(&self, other: &Constraints) -> bool {
        (self.mem, self.cpu_cores, &self.virt_type) == (other.mem, other.cpu_cores, &other.virt_type)
    }

    /// What an operator should know, who may believe otherwise: what is only recorded, and limits that limit nothing.
    pub fn notes(&self, host: &HardwareFacts) -> Vec<String> {
        let mut notes = Vec::new();
        let disk = self.root_disk.is_some_and(|disk| disk > 0).then_some("root-disk");
        let tags = self.tags.as_ref().is_some_and(|tags| !tags.is_empty()).then_some("tags");
        let recorded: Vec<&str> = disk.into_iter().chain(tags).collect();
        if !recorded.is_empty() {
            notes.push(format!("{}: recorded only, this provider does not enforce it", recorded.join(" and ")));
        }
        if self.mem.is_some_and(|mem| mem > host.mem && host.mem > 0) {
            notes.push(format!("mem: this host has {}M, that is all a machine can get", host.mem));
        }
        if self.cpu_cores.is_some_and(|cores| cores > host.cores && host.cores > 0) {
            notes.push(format!("cpu-cores: this host has {}, that is all a machine can get", host.cores));
        }
        notes
    }

    /// What is said, by Juju's keys in Juju's order.
    pub fn values(&self) -> Vec<(&'static str, String)> {
        let size = |megabytes: u64| if megabytes == 0 { String::new() } else { format!("{megabytes}M") };
        let count = |cores: u32| if cores == 0 { String::new() } else { cores.to_string() };
        let all = [
            ("arch", self.arch.clone()),
            ("container", self.container.clone()),
            ("cpu-cores", self.cpu_cores.map(count)),
            ("mem", self.mem.map(size)),
            ("root-disk", self.root_disk.map(size)),
            ("tags", self.tags.as_ref().map(|tags| tags.join(","))),
            ("virt-type", self.virt_type.clone()),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    fn set(&mut self, key: &'static str, value: &str) -> Result<(), ConstraintError> {
        let bad = |reason: &str| ConstraintError::Bad { key: key.to_owned(), reason: reason.to_owned() };
        let size = || if value.is_empty() { Some(0) } else { megabytes(value) };
        match key {
            "mem" => match size() {
                None => return Err(bad(MEM_FORM)),
                Some(1..LEAST_MEM) => return Err(bad(&format!("a machine needs at least {LEAST_MEM}M"))),
                mem => self.mem = mem,
            },
            "root-disk" => self.root_disk = Some(size().ok_or_else(|| bad(MEM_FORM))?),
            "cpu-cores" if value.is_empty() => self.cpu_cores = Some(0),
            "cpu-cores" => {
                self.cpu_cores = Some(value.parse().map_err(|_| bad("must be a non-negative integer"))?);
            }
            "container" if value.is_empty() || is_word(value) => self.container = Some(value.to_owned()),
            "container" => return Err(bad(&format!("invalid container type \"{value}\""))),
            "arch" if value.is_empty() || ARCHES.contains(&value) => self.arch = Some(value.to_owned()),
            "arch" => return Err(bad(&format!("\"{value}\" not recognized"))),
            "virt-type" if value.is_empty() || is_word(value) => self.virt_type = Some(value.to_owned()),
            "virt-type" => return Err(bad(&format!("invalid virt-type \"{value}\""))),
            _ => {
                let tags = value.split(',').filter(|tag| !tag.is_empty());
                self.tags = Some(tags.map(str::to_owned).collect());
            }
        }
        Ok(())
    }
}

/// Juju's name of a key, for its later name too.
fn known(key: &str) -> Option<&'static str> {
    let known = ["arch", "container", "cpu-cores", "mem", "root-disk", "tags", "virt-type"];
    let key = if key == "cores" { "cpu-cores" } else { key };
    known.into_iter().find(|known| *known == key)
}

impl FromStr for Constraints {
    type Err = ConstraintError;
    /// Pairs divided by blanks, or by commas as bundles have them; `tags` takes a list with commas itself.
    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        let mut constraints = Constraints::default();
        let mut seen: Vec<&str> = Vec::new();
        for pair in pairs(text) {
            let (key, value) = pair.split_once('=').ok_or_else(|| ConstraintError::Malformed(pair.clone()))?;
            let key = known(key).ok_or_else(|| ConstraintError::Unknown(key.to_owned()))?;
            if seen.contains(&key) {
                return Err(ConstraintError::Bad { key: key.to_owned(), reason: "already set".to_owned() });
            }
            seen.push(key);
            constraints.set(key, value)?;
        }
        Ok(constraints)
    }
}

/// A piece without `=` that follows `tags=…` after a comma is another tag.
fn pairs(text: &str) -> Vec<String> {
    let mut pairs: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        for (at, piece) in word.split(',').enumerate().filter(|(_, piece)| !piece.is_empty()) {
            match pairs.last_mut() {
                Some(tags) if at > 0 && tags.starts_with("tags=") && !piece.contains('=') => {
                    tags.push(',');
                    tags.push_str(piece);
                }
                _ => pairs.push(piece.to_owned()),
            }
        }
    }
    pairs
}

const MEM_FORM: &str = "must be a non-negative float with optional M/G/T/P suffix";

/// The form of a kind's name; which there are, the provider knows.
fn is_word(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() <= LONGEST_WORD && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(fits)
}

/// Rounds up, as Juju does. Values that no machine can have are refused.
fn megabytes(text: &str) -> Option<u64> {
    let (number, factor) = match text.as_bytes().last()? {
        b'M' => (&text[..text.len() - 1], 1.0),
        b'G' => (&text[..text.len() - 1], 1024.0),
        b'T' => (&text[..text.len() - 1], 1024.0 * 1024.0),
        b'P' => (&text[..text.len() - 1], 1024.0 * 1024.0 * 1024.0),
        _ => (text, 1.0),
    };
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let size = (number.parse::<f64>().ok()? * factor).ceil();
    (size < 1e15).then_some(size as u64)
}

impl fmt::Display for Constraints {
    /// As it would be typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.values().iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&pairs.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn read(text: &str) -> Constraints {
        text.parse().unwrap()
    }

    #[test]
    fn sizes_have_suffixes_and_round_up() {
        let shown = |text: &str| read(text).to_string();
        assert_eq!(shown("mem=1.5G cpu-cores=2"), "cpu-cores=2 mem=1536M");
        assert_eq!(shown("mem=63.5M,cores=1"), "cpu-cores=1 mem=64M");
        assert_eq!(shown("mem= cpu-cores=0 container="), "container= cpu-cores= mem=");
        assert_eq!(shown("tags=ssd,fast,root-disk=8G"), "root-disk=8192M tags=ssd,fast");
    }

    #[test]
    fn a_service_wins_over_its_environment_and_may_say_none() {
        let over = |own: &str, environment: &str| read(own).over(&read(environment)).to_string();
        assert_eq!(over("mem=64M", "mem=1G cpu-cores=2"), "cpu-cores=2 mem=64M");
        assert_eq!(over("mem= arch=", "mem=1G arch=amd64 tags=a"), "tags=a");
        assert_eq!(over("", "mem=0"), "");
        assert!(read("mem=64M tags=a").same_limits(&read("mem=64M root-disk=1G")));
        assert!(!read("mem=64M").same_limits(&read("mem=64M cpu-cores=1")));
        assert!(!read("virt-type=lxc").same_limits(&read("virt-type=kvm")));
    }

    #[test]
    fn whoever_says_of_what_kind_a_machine_is_says_it_in_both_words() {
        let over = |own: &str, environment: &str| read(own).over(&read(environment)).to_string();
        assert_eq!(over("container=lxc", "virt-type=kvm mem=1G"), "container=lxc mem=1024M");
        assert_eq!(over("virt-type=lxc", "container=kvm"), "virt-type=lxc");
        assert_eq!(over("virt-type=", "container=kvm virt-type=kvm"), "");
        assert_eq!(over("mem=64M", "container=kvm"), "container=kvm mem=64M");
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let host = HardwareFacts { arch: "amd64".into(), cores: 2, mem: 1024 };
        assert_eq!(read("mem=1G cpu-cores=2 arch=amd64 container=lxc").notes(&host), Vec::<String>::new());
        assert_eq!(
            read("mem=2G cores=3 root-disk=1G tags=a").notes(&host),
            [
                "root-disk and tags: recorded only, this provider does not enforce it",
                "mem: this host has 1024M, that is all a machine can get",
                "cpu-cores: this host has 2, that is all a machine can get",
            ]
        );
        assert_eq!(read("root-disk= tags= mem=").notes(&host), Vec::<String>::new());
    }

    #[test]
    fn old_journals_are_read() {
        let old: Constraints = serde_json::from_str(r#"{"mem":512,"cpu_cores":1}"#).unwrap();
        assert_eq!(old, read("mem=512M cpu-cores=1"));
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed(text in "((mem|root-disk|cores|tags|arch|container|virt-type)=([0-9]{0,5}|lxc|amd64|a,b)[ ,]){0,4}") {
            if let Ok(constraints) = text.parse::<Constraints>() {
                prop_assert_eq!(constraints.to_string().parse(), Ok(constraints));
            }
        }
    }

    #[test]
    fn errors_are_jujus() {
        let error = |text: &str| text.parse::<Constraints>().map_err(|e| e.to_string()).unwrap_err();
        assert_eq!(error("cheese"), "malformed constraint \"cheese\"");
        assert_eq!(error("cheese=1"), "unknown constraint \"cheese\"");
        assert_eq!(error("mem=much"), format!("bad \"mem\" constraint: {MEM_FORM}"));
        assert_eq!(error("mem=16GB"), format!("bad \"mem\" constraint: {MEM_FORM}"));
        assert_eq!(error("mem=1M"), "bad \"mem\" constraint: a machine needs at least 32M");
        assert_eq!(error("cpu-cores=-1"), "bad \"cpu-cores\" constraint: must be a non-negative integer");
        assert_eq!(error("cores=1 cpu-cores=2"), "bad \"cpu-cores\" constraint: already set");
        assert_eq!(error("container=LXC"), "bad \"container\" constraint: invalid container type \"LXC\"");
        assert_eq!(error("virt-type=a/b"), "bad \"virt-type\" constraint: invalid virt-type \"a/b\"");
        assert_eq!(error("arch=z80"), "bad \"arch\" constraint: \"z80\" not recognized");
    }
}
