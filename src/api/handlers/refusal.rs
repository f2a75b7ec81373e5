//! What to type next, for each way in which a change is refused.

use crate::model::{
    ChangeError, ConfigError, KindError, MachineError, MachineId, MachineRefusal, Model, NameError, ServiceName,
    UnitRefusal,
};

use super::super::requests::Refusal;

/// The error's words, with hints that the model gives.
pub fn of(error: &ChangeError, model: &Model) -> Refusal {
    let refusal = Refusal::new(error.to_string());
    match error {
        ChangeError::NoService(name) => {
            suggest(refusal, name.as_str(), model.services.keys().map(|name| name.to_string()), "services")
        }
        ChangeError::NoUnit(name) => {
            suggest(refusal, &name.to_string(), model.units.keys().map(|name| name.to_string()), "units")
        }
        ChangeError::NoMachine(_) => refusal.hint("`encanto status` lists the machines"),
        ChangeError::ServiceExists(name) => {
            let hint =
                format!("give it another name, e.g. `encanto deploy CHARM {name}-b`, or `encanto add-unit {name}`");
            refusal.hint(hint)
        }
        ChangeError::ServiceStillDying(name) => {
            refusal.hint(format!("`encanto wait {name} --for gone` returns when it is gone"))
        }
        ChangeError::Series { known, .. } => refusal.hint(format!("it supports {}", known.join(", "))),
        ChangeError::Config(ConfigError::Unknown { key, known }) => {
            suggest(refusal, key, known.iter().cloned(), "options")
        }
        ChangeError::NoEndpoint { endpoint, known, .. } => {
            suggest(refusal, endpoint.as_str(), known.iter().cloned(), "relations")
        }
        ChangeError::NoCommonInterface { one, other, one_has, other_has } => refusal
            .hint(format!("{one} {}", list_or(one_has, "has no endpoints")))
            .hint(format!("{other} {}", list_or(other_has, "has no endpoints"))),
        ChangeError::Ambiguous { candidates, .. } => match candidates.first() {
            Some(first) => refusal.hint(format!("name the endpoints, e.g. `encanto add-relation {first}`")),
            None => refusal,
        },
        ChangeError::RelationExists(_) => refusal.hint("`encanto status` shows the relations of each service"),
        ChangeError::HostPortTaken { service, .. } => {
            refusal.hint(format!("publish another port, or `encanto unexpose {service}`"))
        }
        ChangeError::NoRelation(_) => refusal.hint("`encanto status` shows the relations of each service"),
        ChangeError::PeerRelation(_) => refusal.hint("it goes with its service"),
        ChangeError::UnitNotInError(_) | ChangeError::MachineNotInError(_) => {
            refusal.hint("`encanto status` shows what is in error")
        }
        ChangeError::AlreadyResolved(_) => refusal.hint("its hook is being tried again; `encanto status` shows it"),
        ChangeError::NoMachinesReleased(refused) => refused.iter().map(why_it_is_kept).fold(refusal, with_new_hint),
        ChangeError::AlreadyAdopted { machine, .. } => {
            refusal.hint(format!("`encanto deploy CHARM --to {machine}` puts a unit on it"))
        }
        ChangeError::NoMachinesDestroyed(refused) => refused.iter().map(why_it_stays).fold(refusal, with_new_hint),
        ChangeError::CannotAssign { .. } => refusal.hint("without --to it gets a machine of its own"),
        ChangeError::CannotHost { .. } => refusal.hint("name another machine, e.g. `lxc:1`, or `lxc` for a new one"),
        ChangeError::Arch { .. } => refusal.hint("machines run on this host's processor"),
        ChangeError::Kind(error) => bad_kind(error),
        ChangeError::OneService => refusal.hint("name two services, e.g. `encanto add-relation wordpress mysql`"),
        ChangeError::NoAction { action, known, .. } => {
            suggest(refusal, action.as_str(), known.iter().cloned(), "actions")
        }
        ChangeError::ActionParams { error: ConfigError::Unknown { key, known }, .. } => {
            suggest(refusal, key, known.iter().cloned(), "parameters")
        }
        ChangeError::ActionParams { .. } | ChangeError::NoParam { .. } => {
            refusal.hint("`encanto action list SERVICE --schema` shows the parameters")
        }
        ChangeError::TooManyActions | ChangeError::NoActionId(_) => {
            refusal.hint("`encanto action status` lists the actions")
        }
        ChangeError::ActionOver { action, .. } => refusal.hint(format!("`encanto action show {action}`")),
        ChangeError::NoUnitsDestroyed(refused) => {
            refused.iter().map(|unit| why_it_lives(unit, model)).fold(refusal, with_new_hint)
        }
        ChangeError::ServiceIsSubordinate(name) => refusal
            .hint(format!("its units come with those it is related to, e.g. `encanto add-relation {name} mysql`")),
        ChangeError::UnitsOfSubordinate
        | ChangeError::SubordinateWithConstraints
        | ChangeError::ConstraintsOfSubordinate => {
            refusal.hint("its units live on the machines of the services that you relate it to")
        }
        ChangeError::Machine(error) => why_nothing_is_done(error).into_iter().fold(refusal, Refusal::hint),
        _ => refusal,
    }
}

/// What to do about a machine that is not stopped, started or copied.
fn why_nothing_is_done(error: &MachineError) -> Vec<String> {
    match error {
        MachineError::Host { .. } => vec!["its machines have numbers from 1 on: `encanto machine list`".to_owned()],
        MachineError::NotThere { machine, .. } => {
            vec![format!("`encanto wait {machine} --for started` returns when it is")]
        }
        MachineError::Farewell { unit, .. } => vec![
            format!("`encanto wait {unit} --for gone` returns when it is removed"),
            format!("`encanto destroy-unit {unit} --force` removes it without its hooks"),
        ],
        MachineError::BeingRestored { machine, .. } => vec![format!("encanto machine list # shows machine {machine}")],
        MachineError::NameTaken { .. } | MachineError::NameOfKind(_) => {
            vec!["give it another name, or none".to_owned()]
        }
        MachineError::SeveralNamed => vec!["make them one by one, or name none".to_owned()],
        MachineError::OtherKind { machine } => {
            vec![format!("a copy is of the kind of machine {machine}: leave out virt-type and container")]
        }
        MachineError::OriginGone { machine, .. } => vec![format!("encanto destroy-machine {machine}")],
        MachineError::NotAlive { .. } | MachineError::Adopted { .. } => Vec::new(),
    }
}

/// A machine whose instance is gone.
pub fn lost(machine: MachineId, noun: &str) -> Refusal {
    Refusal::new(format!("machine {machine} has lost its {noun}"))
        .hint(format!("`encanto destroy-machine {machine} --force` removes what is left of it"))
}

/// What to do about a machine that is not destroyed.
fn why_it_stays(refused: &MachineRefusal) -> String {
    match refused {
        MachineRefusal::Missing(_) => "`encanto status` lists the machines".to_owned(),
        MachineRefusal::Required(_) => {
            "machine 0 is this host; `encanto destroy-environment` takes everything down".to_owned()
        }
        MachineRefusal::HostsContainers { .. } => {
            "destroy its containers first, or use --force to destroy them with it".to_owned()
        }
        MachineRefusal::HasUnit { .. } => "destroy its units first, or use --force to destroy both at once".to_owned(),
        MachineRefusal::Adopted { machine, .. } => {
            format!("`encanto machine release {machine}` gives it back as it was found")
        }
        MachineRefusal::OwnMake(machine) => format!("`encanto destroy-machine {machine}` removes it"),
    }
}

/// What to do about a machine that is not released.
fn why_it_is_kept(refused: &MachineRefusal) -> String {
    match refused {
        MachineRefusal::HostsContainers { .. } => "destroy its containers first".to_owned(),
        MachineRefusal::HasUnit { machine, .. } => {
            format!(
                "destroy its units first; `encanto destroy-machine {machine} --force` does not wait for their hooks"
            )
        }
        other => why_it_stays(other),
    }
}

/// What to do about a unit that is not destroyed.
fn why_it_lives(refused: &UnitRefusal, model: &Model) -> String {
    match refused {
        UnitRefusal::Missing(_) => "`encanto status` lists the units".to_owned(),
        UnitRefusal::Subordinate { unit, principal } => {
            let (one, other) = ends(model, &unit.service, &principal.service);
            format!("`encanto destroy-relation {one} {other}` takes it off, `encanto destroy-unit {principal}` both")
        }
    }
}

/// Both services as `destroy-relation` wants them: with their endpoints where the services alone would be ambiguous.
fn ends(model: &Model, one: &ServiceName, other: &ServiceName) -> (String, String) {
    let relations = model.services.get(one).into_iter().flat_map(|service| &service.relations);
    let between = relations.filter_map(|id| model.relations.get(id)).filter(|r| r.remote_service(one) == other);
    let mut between = between.collect::<Vec<_>>().into_iter();
    match (between.next(), between.next()) {
        (Some(first), Some(_)) => {
            let end = |service| first.endpoint_of(service).map(|end| format!("{service}:{}", end.endpoint));
            (end(one).unwrap_or_default(), end(other).unwrap_or_default())
        }
        _ => (one.to_string(), other.to_string()),
    }
}

/// The same advice is given once.
fn with_new_hint(refusal: Refusal, hint: String) -> Refusal {
    if refusal.hints.contains(&hint) { refusal } else { refusal.hint(hint) }
}

/// Which kinds of machines there are.
pub fn bad_kind(error: &KindError) -> Refusal {
    let refusal = Refusal::new(error.to_string());
    match error {
        KindError::Unknown { wanted, known } => suggest(refusal, wanted, known.iter().cloned(), "kinds"),
        KindError::Absent { known, .. } => refusal.hint(format!("kinds: {}", known.join(", "))),
        KindError::Container { known, .. } => refusal.hint(format!("container types: {}, none", known.join(", "))),
        KindError::Contradiction { .. } => refusal.hint("`virt-type` alone says all"),
    }
}

pub fn bad_name(error: &NameError) -> Refusal {
    let refusal = Refusal::new(error.to_string());
    match error {
        NameError::Service(_) => refusal.hint(
            "lower-case letters, digits and dashes, at most 63, a letter first and behind each dash, e.g. `my-wiki`",
        ),
        NameError::Unit(_) => refusal.hint("a unit is a service's name and a number, e.g. `mysql/0`"),
        NameError::Action(_) => refusal.hint("`encanto action list SERVICE` lists the actions"),
        NameError::ActionId(_) => refusal.hint("an action's id is a number; `encanto action status` lists them"),
        NameError::Machine(_) => refusal.hint(
            "a machine is a number, e.g. `1`, a container on one, e.g. `1/lxc/0`, or the name of one; `encanto status` \
             lists them",
        ),
        NameError::MachineName(_) => {
            refusal.hint("lower-case letters, digits and dashes, beginning with a letter, e.g. `big-box`")
        }
        NameError::Snapshot(_) => refusal.hint("letters, digits, `-`, `_` and `.`, e.g. `before-upgrade`"),
        NameError::NestedMachine(_) => refusal.hint("`lxc:1` makes a container on machine 1"),
        NameError::Port(_) => refusal.hint("a port is a number from 1 to 65535, e.g. `80` or `53/udp`"),
        _ => refusal,
    }
}

fn list_or(list: &[String], none: &str) -> String {
    if list.is_empty() { none.to_owned() } else { list.join(", ") }
}

/// "did you mean", or else what there is.
pub fn suggest(refusal: Refusal, asked: &str, known: impl Iterator<Item = String>, what: &str) -> Refusal {
    let known: Vec<String> = known.collect();
    let near = known.iter().map(|name| (strsim::osa_distance(asked, name), name)).min();
    match near {
        Some((distance, name)) if distance <= 2.max(asked.len() / 4) => refusal.hint(format!("did you mean `{name}`?")),
        Some(_) => refusal.hint(format!("{what}: {}", known.join(", "))),
        None => refusal.hint(format!("there are no {what} yet")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_else_all_are_told() {
        let known = || ["mysql", "mediawiki"].map(String::from).into_iter();
        let hint = |asked| suggest(Refusal::new("x"), asked, known(), "services").hints.join("");
        assert_eq!(hint("mysqk"), "did you mean `mysql`?");
        assert_eq!(hint("haproxy"), "services: mysql, mediawiki");
        assert_eq!(suggest(Refusal::new("x"), "a", std::iter::empty(), "units").hints, ["there are no units yet"]);
    }
}
