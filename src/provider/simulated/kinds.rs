//! The kinds of machines that are simulated, and what a test makes of them.

use super::SimulatedProvider;
use crate::provider::{Kind, ProviderError};

/// The kinds of a real host, so that what is planned here can be made there.
const ALL: [Kind; 3] = [
    Kind { name: "lxc", noun: "container", container: "lxc", caution: None },
    Kind {
        name: "libvirt-lxc",
        noun: "libvirt container",
        container: "lxc",
        caution: Some("a real one is privileged: root in it is root on its host"),
    },
    Kind { name: "kvm", noun: "virtual machine", container: "kvm", caution: None },
];

const EMULATED: &str = "a real one is emulated here, and slow";

/// What of [`ALL`] there is.
#[derive(Default)]
pub(super) struct Kinds {
    /// The default's place among them.
    first: usize,
    /// Of those that are not there, the name and why.
    absent: Vec<(String, String)>,
    emulated: bool,
}

impl Kinds {
    pub fn made(&self) -> Vec<Kind> {
        let mut kinds = ALL.to_vec();
        kinds[2].caution = self.emulated.then_some(EMULATED);
        kinds.rotate_left(self.first);
        kinds.retain(|kind| !self.absent.iter().any(|(name, _)| name == kind.name));
        kinds
    }

    pub fn absent(&self) -> Vec<(Kind, String)> {
        let known = |name: &str| ALL.into_iter().find(|kind| kind.name == name);
        self.absent.iter().filter_map(|(name, why)| Some((known(name)?, why.clone()))).collect()
    }

    /// # Errors
    /// No machine of this kind can be made.
    pub fn check(&self, kind: Option<&str>) -> Result<(), ProviderError> {
        let made = self.made();
        match kind.filter(|wanted| !made.iter().any(|kind| kind.name == *wanted)) {
            None => Ok(()),
            Some(wanted) => {
                let known: Vec<&str> = made.iter().map(|kind| kind.name).collect();
                Err(ProviderError::UnknownKind { kind: wanted.to_owned(), known: known.join(", ") })
            }
        }
    }

    /// Those that share layers have the same base.
    pub fn base_key(kind: Option<&str>, series: &str) -> String {
        match kind.filter(|kind| *kind == "kvm") {
            Some(kind) => format!("base-{kind}-{series}"),
            None => format!("base-{series}"),
        }
    }
}

impl SimulatedProvider {
    /// No machine of this kind can be made from now on.
    pub fn lack_kind(&self, name: &str, why: &str) {
        self.world().kinds.absent.push((name.to_owned(), why.to_owned()));
    }

    /// As a real host may find out when it makes its first virtual machine.
    pub fn emulate(&self) {
        self.world().kinds.emulated = true;
    }

    /// The kind that is made when nothing is said from now on.
    pub fn prefer_kind(&self, name: &str) {
        self.world().kinds.first = ALL.iter().position(|kind| kind.name == name).unwrap_or_default();
    }
}
