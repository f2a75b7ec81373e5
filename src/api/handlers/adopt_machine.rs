//! machine adopt, and what there is to adopt

use std::path::{Component, Path};

use async_trait::async_trait;

use crate::model::{Adopted, Adoption, Change, ChangeError, Constraints, MachineName, Model, Origin, Provision};

use super::super::adopt::{AdoptMachine, ForeignMachine, ForeignMachines, ForeignMachinesAnswer};
use super::super::backend::{Asker, Backend};
use super::super::requests::{Done, Refusal};
use super::super::server::Handle;
use super::{constraint_notes, done, refusal};

#[async_trait]
impl Handle for ForeignMachines {
    async fn handle(self, backend: &dyn Backend, _by: &Asker) -> Result<ForeignMachinesAnswer, Refusal> {
        Ok(ForeignMachinesAnswer { machines: backend.foreign().await? })
    }
}

#[async_trait]
impl Handle for AdoptMachine {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        if !backend.may_adopt(by) {
            return Err(Refusal::new(
                "only root can have a machine adopted: whoever commands it commands what is in it",
            )
            .hint(format!("sudo encanto {}", by.command)));
        }
        let found = match (&self.filesystem, &self.origin) {
            (Some(folder), _) => self.in_folder(backend, folder).await?,
            (None, Some(name)) => self.by_name(backend, name).await?,
            (None, None) => {
                return Err(
                    Refusal::new("no machine specified").hint("`encanto machine list --all` shows what there is")
                );
            }
        };
        let Found { adopted, machine } = found;
        let series = series(&machine, &adopted.to_string())?;
        let name = self.called(&backend.model(), &machine.name)?;
        let constraints = Constraints { mem: self.ram, cpu_cores: self.vcpu, ..Constraints::default() };
        let notes = constraint_notes(&backend.model(), &constraints);
        let adoption = Adoption { adopted, series, name, constraints };
        let events = backend.commit(by, Change::AdoptMachine(Box::new(adoption))).await?;
        let mut done = done(&events);
        done.notes.extend(notes);
        Ok(done)
    }
}

/// What was meant.
struct Found {
    adopted: Adopted,
    machine: ForeignMachine,
}

impl Found {
    fn new(machine: ForeignMachine, origin: Origin) -> Found {
        Found { adopted: Adopted { kind: machine.kind.clone(), origin }, machine }
    }
}

impl AdoptMachine {
    async fn in_folder(&self, backend: &dyn Backend, folder: &str) -> Result<Found, Refusal> {
        let path = Path::new(folder);
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return Err(Refusal::new(format!("\"{folder}\" is no absolute path")));
        }
        // In one spelling, so that it is adopted once.
        let origin = Origin::Folder(path.components().collect());
        not_held(&backend.model(), &origin, None)?;
        let found = backend.inspect(folder).await?;
        if let Some(kind) = self.kind.as_ref().filter(|kind| **kind != found.kind) {
            return Err(Refusal::new(format!("a folder becomes a machine of kind {}, not {kind}", found.kind))
                .hint(format!("encanto machine adopt --filesystem {folder}")));
        }
        Ok(Found::new(found, origin))
    }

    async fn by_name(&self, backend: &dyn Backend, name: &str) -> Result<Found, Refusal> {
        if self.ram.is_some() || self.vcpu.is_some() {
            return Err(Refusal::new(
                "--ram and --vcpu are for a folder: what is there already keeps the limits it has",
            )
            .hint(format!("encanto machine adopt {name}")));
        }
        is_no_instance(&backend.model(), name)?;
        if let Some(kind) = &self.kind {
            known_kind(&backend.model(), kind)?;
        }
        let (origin, kind) = (Origin::Named(name.to_owned()), self.kind.as_deref());
        let all = backend.foreign().await?;
        let named = all.iter().filter(|m| m.name == name && kind.is_none_or(|kind| kind == m.kind));
        match named.collect::<Vec<_>>().as_slice() {
            [one] => Ok(Found::new((*one).clone(), origin)),
            [] => {
                not_held(&backend.model(), &origin, kind)?;
                Err(none(name, kind, &all))
            }
            several => {
                let kinds: Vec<&str> = several.iter().map(|machine| machine.kind.as_str()).collect();
                Err(Refusal::new(format!("several are called \"{name}\": {}", kinds.join(", ")))
                    .hint(format!("encanto machine adopt {name} --kind {}", kinds[0])))
            }
        }
    }

    /// The name that was asked for; else its own, unless that is no name for a machine or is another's.
    fn called(&self, model: &Model, own: &str) -> Result<Option<MachineName>, Refusal> {
        match &self.name {
            Some(asked) => super::name(asked).map(Some),
            None => Ok(own.parse().ok().filter(|name| model.machine_named(name).is_none())),
        }
    }
}

/// What is ours is no foreign machine any more: the words are those of the change that would refuse it.
fn not_held(model: &Model, origin: &Origin, kind: Option<&str>) -> Result<(), Refusal> {
    let adopted = model.machines.values().filter_map(|machine| Some((machine.id, machine.adopted.as_ref()?)));
    let held =
        adopted.into_iter().find(|(_, held)| held.origin == *origin && kind.is_none_or(|kind| kind == held.kind));
    held.map_or(Ok(()), |(machine, held)| {
        Err(refusal::of(&ChangeError::AlreadyAdopted { what: held.to_string(), machine }, model))
    })
}

fn known_kind(model: &Model, kind: &str) -> Result<(), Refusal> {
    let asked = Constraints { virt_type: Some(kind.to_owned()), ..Constraints::default() };
    model.kinds.wanted(&asked).map(drop).map_err(|error| refusal::of(&error.into(), model))
}

/// Nor is what the environment made itself.
fn is_no_instance(model: &Model, name: &str) -> Result<(), Refusal> {
    let is = |provision: &Provision| matches!(provision, Provision::Running { instance, .. } if instance == name);
    match model.machines.values().find(|machine| is(&machine.provision)) {
        Some(machine) => {
            Err(refusal::of(&ChangeError::AlreadyAdopted { what: name.to_owned(), machine: machine.id }, model))
        }
        None => Ok(()),
    }
}

fn none(name: &str, kind: Option<&str>, all: &[ForeignMachine]) -> Refusal {
    let what = kind.map_or("container or virtual machine".to_owned(), |kind| format!("{kind} machine"));
    let refusal = Refusal::new(format!("there is no {what} \"{name}\" on this host"));
    let elsewhere = all.iter().find(|machine| machine.name == name);
    if let Some(other) = elsewhere {
        return refusal.hint(format!("encanto machine adopt {name} --kind {}", other.kind));
    }
    let names = all.iter().filter(|machine| kind.is_none_or(|kind| kind == machine.kind));
    let refusal = refusal::suggest(refusal, name, names.map(|machine| machine.name.clone()), "machines to adopt");
    refusal.hint("`encanto machine list --all` shows all that there is")
}

/// What was found can be adopted: the release that is in it.
fn series(found: &ForeignMachine, what: &str) -> Result<String, Refusal> {
    let reason = match (&found.obstacle, &found.series) {
        (Some(obstacle), _) => obstacle.as_str(),
        (None, Some(series)) => return Ok(series.clone()),
        (None, None) => "its /etc/os-release does not say which release it is (VERSION_CODENAME)",
    };
    // What to do about it follows a colon.
    let (reason, hint) = reason.split_once(": ").map_or((reason, None), |(reason, hint)| (reason, Some(hint)));
    let refusal = Refusal::new(format!("cannot adopt {what}: {reason}"));
    Err(hint.into_iter().fold(refusal, |refusal, hint| refusal.hint(hint)))
}
