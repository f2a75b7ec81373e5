//! add-machine

use async_trait::async_trait;

use crate::model::{Change, Constraints, Event, Kinds, Model};

use super::super::backend::{Asker, Backend};
use super::super::requests::{AddMachine, Done, Refusal};
use super::super::server::Handle;
use super::{Place, PlaceError, cautions, constraint_notes, constraints, done, name, place, refusal};

#[async_trait]
impl Handle for AddMachine {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Done, Refusal> {
        let place = host(self.placement.as_deref(), &backend.model())?;
        let known = backend.model().series.clone();
        if let Some(series) = self.series.as_ref().filter(|series| **series != known) {
            return Err(Refusal::new(format!("series \"{series}\" is not supported"))
                .hint(format!("this environment makes machines of {known}")));
        }
        let mut constraints = constraints(self.constraints.as_deref())?;
        if let Some(container) = constraints.container.as_ref().filter(|word| !matches!(word.as_str(), "" | "none")) {
            let words = format!("container constraint \"{container}\" not allowed when adding a machine");
            return Err(Refusal::new(words)
                .hint(format!("`encanto add-machine {container}` makes a machine of that kind"))
                .hint("`encanto add-machine lxc:1` makes a container on machine 1"));
        }
        if let Some(Place::New(word)) = &place {
            constraints.virt_type = of_kind(word, &constraints, &backend.model().kinds)?;
        }
        let notes = constraint_notes(&backend.model(), &constraints);
        let (count, called) = (self.count, self.name.as_deref().map(name).transpose()?);
        let change = match place {
            Some(Place::Inside(machine)) => Change::AddContainers { machine, count, constraints, name: called },
            _ => Change::AddMachines { count, series: self.series, constraints, name: called },
        };
        let events = backend.commit(by, change).await?;
        let mut done = done(&events);
        done.notes.extend(notes);
        done.notes.extend(cautions(&backend.model(), &events));
        done.targets = events
            .iter()
            .filter_map(|event| match event {
                Event::MachineAdded { machine, .. } => Some(machine.to_string()),
                _ => None,
            })
            .collect();
        Ok(done)
    }
}

/// Nothing is a machine of the default kind, `kvm` one of that kind, `lxc:1` a container on machine 1.
fn host(placement: Option<&str>, model: &Model) -> Result<Option<Place>, Refusal> {
    let Some(text) = placement else { return Ok(None) };
    match place(text, model) {
        Ok(place) => Ok(Some(place)),
        Err(PlaceError::Refused(refusal)) => Err(refusal),
        Err(PlaceError::Unknown) => Err(Refusal::new(format!("malformed container argument \"{text}\""))
            .hint(format!("a kind of machine: {}", model.kinds.words()))
            .hint("`encanto add-machine` makes a machine, `encanto add-machine lxc:1` a container on machine 1")),
    }
}

/// The kind that both the word and the constraints mean.
fn of_kind(word: &str, constraints: &Constraints, kinds: &Kinds) -> Result<Option<String>, Refusal> {
    let kind = kinds.placed(word, constraints).map_err(|error| refusal::bad_kind(&error))?;
    match constraints.virt_type.as_ref().filter(|said| !said.is_empty()) {
        Some(said) if kind.as_ref() != Some(said) => {
            Err(Refusal::new(format!("cannot satisfy virt-type={said} with \"{word}\"")).hint("say one of both"))
        }
        _ => Ok(kind),
    }
}
