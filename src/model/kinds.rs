//! The kinds of machines that the provider makes, and which of them is meant: `virt-type=`, `container=`, `--to kvm`.

use serde::{Deserialize, Serialize};

use super::constraints::Constraints;
use super::entities::Machine;
use super::names::MachineId;
use super::state::Model;

/// What runs a machine, as the provider tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineKind {
    pub name: String,
    /// For sentences.
    pub noun: String,
    /// Juju's word for its like: what `container=` names.
    pub container: String,
    /// What keeps such a machine from its host, or its speed up, less well than one would expect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caution: Option<String>,
    /// Why none can be made here, of one that others have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

/// All kinds that are known, the default first; none before the provider was asked for the first time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kinds(pub Vec<MachineKind>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    #[error("there is no kind of machines \"{wanted}\" here")]
    Unknown { wanted: String, known: Vec<String> },
    #[error("no machine of kind \"{kind}\" can be made here: {reason}")]
    Absent { kind: String, reason: String, known: Vec<String> },
    #[error("bad \"container\" constraint: invalid container type \"{wanted}\"")]
    Container { wanted: String, known: Vec<String> },
    #[error("cannot satisfy container={container} with virt-type={kind}")]
    Contradiction { kind: String, container: String },
}

/// The container type of what is put on a machine: `lxc:1`, `1/lxc/0`.
pub const INSIDE: &str = "lxc";

impl Kinds {
    pub fn get(&self, name: &str) -> Option<&MachineKind> {
        self.0.iter().find(|kind| kind.name == name)
    }

    /// The names of all that can be made, as one types them.
    pub fn words(&self) -> String {
        let words: Vec<String> = self.made().map(|kind| format!("`{}`", kind.name)).collect();
        match words.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => format!("`{INSIDE}`"),
        }
    }

    /// The one that is made when nothing is said.
    pub fn default_kind(&self) -> Option<&MachineKind> {
        self.made().next()
    }

    /// What constraints ask for: `virt-type` by name, else the first of the type `container`, else the default. What
    /// is named is taken as it is, and nothing else is known, as long as no provider was asked.
    ///
    /// # Errors
    /// There is no such kind, or both words are there and do not fit.
    pub fn wanted(&self, constraints: &Constraints) -> Result<Option<String>, KindError> {
        let said = |word: &Option<String>| word.clone().filter(|word| !word.is_empty());
        let container = said(&constraints.container).filter(|container| container != "none");
        let Some(name) = said(&constraints.virt_type) else {
            return match container {
                Some(container) => self.of_type(&container),
                None => Ok(self.default_kind().map(|kind| kind.name.clone())),
            };
        };
        match (self.makeable(&name)?, container) {
            (Some(kind), Some(container)) if kind.container != container => {
                Err(KindError::Contradiction { kind: name, container })
            }
            _ => Ok(Some(name)),
        }
    }

    /// The kind that a word after `--to` or `add-machine` means: the first of this container type, else the one of this
    /// name.
    ///
    /// # Errors
    /// There is no such kind.
    pub fn named(&self, word: &str) -> Result<&MachineKind, KindError> {
        let like = |kind: &&MachineKind| kind.container == word;
        self.made()
            .find(like)
            .or_else(|| self.get(word).filter(|kind| kind.absent.is_none()))
            .ok_or_else(|| self.refusal(word, self.get(word).or_else(|| self.0.iter().find(like))))
    }

    /// The kind of a machine that is asked for by such a word: what `constraints` say where that fits it, else what the
    /// word means.
    ///
    /// # Errors
    /// There is no such kind.
    pub fn placed(&self, word: &str, constraints: &Constraints) -> Result<Option<String>, KindError> {
        let said = constraints.virt_type.as_deref().and_then(|name| self.get(name));
        match said.filter(|kind| kind.container == word && kind.absent.is_none()) {
            Some(kind) => Ok(Some(kind.name.clone())),
            None if self.0.is_empty() => Ok(None),
            None => self.named(word).map(|kind| Some(kind.name.clone())),
        }
    }

    fn made(&self) -> impl Iterator<Item = &MachineKind> {
        self.0.iter().filter(|kind| kind.absent.is_none())
    }

    /// `None` if nobody can tell yet.
    fn makeable(&self, name: &str) -> Result<Option<&MachineKind>, KindError> {
        match self.get(name) {
            Some(kind) if kind.absent.is_none() => Ok(Some(kind)),
            None if self.0.is_empty() => Ok(None),
            known => Err(self.refusal(name, known)),
        }
    }

    fn of_type(&self, container: &str) -> Result<Option<String>, KindError> {
        let like = |kind: &&MachineKind| kind.container == container;
        match (self.made().find(like), self.0.iter().find(like)) {
            (Some(kind), _) => Ok(Some(kind.name.clone())),
            (None, Some(absent)) => Err(self.refusal(container, Some(absent))),
            (None, None) if self.0.is_empty() => Ok(None),
            (None, None) => {
                let mut known: Vec<String> = self.made().map(|kind| kind.container.clone()).collect();
                known.dedup();
                Err(KindError::Container { wanted: container.to_owned(), known })
            }
        }
    }

    fn refusal(&self, wanted: &str, known: Option<&MachineKind>) -> KindError {
        let names = self.made().map(|kind| kind.name.clone()).collect();
        match known.and_then(|kind| Some((kind.name.clone(), kind.absent.clone()?))) {
            Some((kind, reason)) => KindError::Absent { kind, reason, known: names },
            None => KindError::Unknown { wanted: wanted.to_owned(), known: names },
        }
    }
}

impl Model {
    /// What a machine is called in sentences.
    pub fn noun(&self, id: MachineId) -> &str {
        let name = self.machines.get(&id).and_then(|machine| machine.constraints.virt_type.as_deref());
        name.and_then(|name| self.kinds.get(name)).map_or("container", |kind| &kind.noun)
    }

    /// What is wrong with a machine whose instance is gone, and what to do.
    pub fn lost(&self, machine: &Machine) -> String {
        let then = if machine.units.is_empty() { "" } else { ", then add its units again" };
        format!("its {} is gone: encanto destroy-machine {} --force{then}", self.noun(machine.id), machine.id)
    }

    /// Machines of journals that knew no kinds are of the one that was the default when kinds were told first.
    pub(super) fn find_kinds(&mut self, kinds: &Kinds) {
        self.kinds = kinds.clone();
        let default = self.kinds.default_kind().map(|kind| kind.name.clone());
        for machine in self.machines.values_mut().filter(|machine| machine.id != MachineId::HOST) {
            machine.constraints.virt_type = machine.constraints.virt_type.take().or_else(|| default.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, container: &str) -> MachineKind {
        MachineKind { name: name.into(), container: container.into(), ..MachineKind::default() }
    }

    fn all() -> Kinds {
        Kinds(vec![kind("lxc", "lxc"), kind("libvirt-lxc", "lxc"), kind("kvm", "kvm")])
    }

    /// As on a host where only plain containers can be made.
    fn without() -> Kinds {
        let absent = |kind: MachineKind| MachineKind { absent: Some("built without".into()), ..kind };
        Kinds(vec![kind("lxc", "lxc"), absent(kind("libvirt-lxc", "lxc")), absent(kind("kvm", "kvm"))])
    }

    fn wanted(kinds: &Kinds, constraints: &str) -> Result<String, String> {
        let wanted = kinds.wanted(&constraints.parse().unwrap());
        wanted.map(Option::unwrap_or_default).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_goes_before_a_type_and_a_type_before_the_default() {
        let mut kinds = all();
        for (constraints, kind) in [
            ("mem=1G", "lxc"),
            ("container=none", "lxc"),
            ("container= virt-type=", "lxc"),
            ("container=lxc", "lxc"),
            ("container=kvm", "kvm"),
            ("virt-type=libvirt-lxc", "libvirt-lxc"),
            ("virt-type=libvirt-lxc container=lxc", "libvirt-lxc"),
            ("virt-type=kvm container=none", "kvm"),
        ] {
            assert_eq!(wanted(&kinds, constraints).as_deref(), Ok(kind), "{constraints}");
        }
        kinds.0.rotate_left(1);
        assert_eq!(wanted(&kinds, "container=lxc").as_deref(), Ok("libvirt-lxc"), "the default's own type");
        assert_eq!(wanted(&kinds, "virt-type=lxc").as_deref(), Ok("lxc"));
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_is() {
        let refused = |constraints: &str| wanted(&all(), constraints).unwrap_err();
        assert_eq!(refused("virt-type=xen"), "there is no kind of machines \"xen\" here");
        assert_eq!(refused("container=xen"), "bad \"container\" constraint: invalid container type \"xen\"");
        assert_eq!(refused("virt-type=kvm container=lxc"), "cannot satisfy container=lxc with virt-type=kvm");
        let words = "no machine of kind \"kvm\" can be made here: built without";
        for constraints in ["virt-type=kvm", "container=kvm"] {
            assert_eq!(wanted(&without(), constraints).unwrap_err(), words);
        }
        assert_eq!(without().named("kvm").unwrap_err().to_string(), words);
        let known = vec!["lxc".to_owned()];
        assert_eq!(without().named("xen"), Err(KindError::Unknown { wanted: "xen".into(), known }));
    }

    #[test]
    fn a_word_alone_is_a_type_or_a_name() {
        let named = |word: &str| all().named(word).unwrap().name.clone();
        assert_eq!(["lxc", "libvirt-lxc", "kvm"].map(named), ["lxc", "libvirt-lxc", "kvm"]);
        let mut kinds = all();
        kinds.0.rotate_left(1);
        assert_eq!(kinds.named("lxc").unwrap().name, "libvirt-lxc");
    }

    #[test]
    fn what_is_put_on_a_machine_is_a_container() {
        let inside = |constraints: &str| all().placed(INSIDE, &constraints.parse().unwrap()).unwrap().unwrap();
        assert_eq!(inside(""), "lxc");
        assert_eq!(inside("virt-type=libvirt-lxc"), "libvirt-lxc");
        assert_eq!(inside("virt-type=kvm"), "lxc");
        assert_eq!(inside("container=kvm"), "lxc");
    }

    #[test]
    fn before_anybody_was_asked_a_name_is_taken_as_it_is() {
        let none = Kinds::default();
        assert_eq!(wanted(&none, "virt-type=kvm").as_deref(), Ok("kvm"));
        assert_eq!(wanted(&none, "container=lxc").as_deref(), Ok(""));
    }
}
