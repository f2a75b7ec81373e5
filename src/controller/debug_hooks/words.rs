//! What an operator types at the prompt of a hook, and what he is told; nothing here does anything.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::Refusal;
use crate::charm::HookContext;
use crate::model::{Hook, UnitName};
use crate::worker::debugging::Holder;
use crate::worker::logbook::time_text;

/// Longest message of `.fail`, in bytes: a status shows it.
const MAX_MESSAGE: usize = 400;

/// A line at the prompt.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    Lua(&'a str),
    Commit,
    Fail(&'a str),
    Run,
    Shell(Option<&'a str>),
    Help,
    Leave,
    Unknown(&'a str),
}

impl<'a> Command<'a> {
    /// No Lua begins with a dot.
    pub fn of(line: &'a str) -> Self {
        let Some(rest) = line.trim().strip_prefix('.') else { return Command::Lua(line) };
        let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let rest = rest.trim();
        match word {
            "commit" if rest.is_empty() => Command::Commit,
            "fail" if rest.is_empty() => Command::Fail("the operator says so"),
            "fail" => Command::Fail(&rest[..rest.floor_char_boundary(MAX_MESSAGE)]),
            "run" if rest.is_empty() => Command::Run,
            "shell" => Command::Shell((!rest.is_empty()).then_some(rest)),
            "help" => Command::Help,
            "leave" if rest.is_empty() => Command::Leave,
            _ => Command::Unknown(line.trim()),
        }
    }
}

pub const HELP: &str = "a line is Lua, with `unit`, `relation` and `hook()`, the charm's own function for this hook
.commit           what was written counts, as if the hook had returned
.fail [MESSAGE]   the unit is in error with this message
.run              the controller runs the charm's own hook now
.shell [COMMAND]  a shell in the machine, or one command, with the hook's variables
.leave            ends the session, as Ctrl-D does; the hook is run as usual";

/// What is said first.
pub fn greeting(unit: &UnitName, hooks: &BTreeSet<String>) -> String {
    let which = match hooks.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => "a hook".to_owned(),
        [one] => format!("hook {one}"),
        several => format!("one of {}", several.join(", ")),
    };
    format!("debugging {unit}: waiting for {which} to become due; Ctrl-C leaves")
}

/// A hook is due.
pub fn heading(context: &HookContext, failure: Option<&str>) -> String {
    let mut text = format!("{}: hook {} is due", context.unit, context.hook);
    if let Hook::Relation { relation, endpoint, kind } = &context.hook {
        text += &format!(", relation {endpoint}:{relation}");
        if let Some(other) = context.relations.get(relation) {
            text += &format!(" with {}", other.remote_service);
        }
        if let Some(remote) = kind.remote() {
            text += &format!(", remote unit {remote}");
        }
    }
    if let Some(failure) = failure {
        text += &format!("\nit failed before: {failure}");
    }
    text + "\n`hook()` runs the charm's own function; `.commit`, `.fail` or `.run` says what comes of it; `.help`"
}

/// The unit has a session already.
pub fn taken(unit: &UnitName, holder: &Holder) -> Refusal {
    let (who, since) = (&holder.who, time_text(holder.since));
    Refusal::new(format!("unit \"{unit}\" is being debugged already, by {who} since {since}"))
        .hint("it is free again when that session ends")
}

/// The environment variables of a shell at this hook: ours, and Juju's for those who know them.
pub fn variables(context: &HookContext, environment: &str) -> BTreeMap<String, String> {
    let mut named = vec![
        ("ENCANTO_ENVIRONMENT", "JUJU_ENV_NAME", environment.to_owned()),
        ("ENCANTO_UNIT_NAME", "JUJU_UNIT_NAME", context.unit.to_string()),
        ("ENCANTO_MACHINE_ID", "JUJU_MACHINE_ID", context.machine.to_string()),
        ("ENCANTO_HOOK_NAME", "JUJU_HOOK_NAME", context.hook.to_string()),
    ];
    if let Hook::Relation { relation, endpoint, kind } = &context.hook {
        named.push(("ENCANTO_RELATION", "JUJU_RELATION", endpoint.to_string()));
        named.push(("ENCANTO_RELATION_ID", "JUJU_RELATION_ID", format!("{endpoint}:{relation}")));
        if let Some(remote) = kind.remote() {
            named.push(("ENCANTO_REMOTE_UNIT", "JUJU_REMOTE_UNIT", remote.to_string()));
        }
    }
    let both = named.into_iter().flat_map(|(own, jujus, value)| [(own, value.clone()), (jujus, value)]);
    both.map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MachineId, RelationHook, RelationId};

    #[test]
    fn a_hook_of_a_relation_is_described_by_its_variables() {
        let unit: UnitName = "db/0".parse().unwrap();
        let kind = RelationHook::Joined("app/1".parse().unwrap());
        let hook = Hook::Relation { relation: RelationId(4), endpoint: "sql".parse().unwrap(), kind };
        let context = HookContext {
            hook,
            unit,
            machine: MachineId::new(3),
            private_address: String::new(),
            public_address: String::new(),
            is_leader: true,
            leader: None,
            leader_settings: Default::default(),
            config: Default::default(),
            secret_config: Default::default(),
            state: Default::default(),
            open_ports: Default::default(),
            relations: Default::default(),
        };
        let variables = variables(&context, "local");
        let value = |name: &str| variables[name].as_str();
        assert_eq!((value("ENCANTO_RELATION_ID"), value("JUJU_RELATION")), ("sql:4", "sql"));
        assert_eq!((value("ENCANTO_REMOTE_UNIT"), value("JUJU_HOOK_NAME")), ("app/1", "sql-relation-joined"));
        assert_eq!((variables.len(), value("ENCANTO_MACHINE_ID")), (14, "3"));
        let told = heading(&context, Some("no room"));
        assert!(told.starts_with(
            "db/0: hook sql-relation-joined is due, relation sql:4, remote unit app/1\nit failed before: no room\n"
        ));
    }

    #[test]
    fn a_dot_begins_a_command_and_anything_else_is_lua() {
        assert_eq!(Command::of(" x = 1"), Command::Lua(" x = 1"));
        assert_eq!(Command::of(".commit "), Command::Commit);
        assert_eq!(Command::of(".fail  no room left"), Command::Fail("no room left"));
        assert_eq!(Command::of(".fail"), Command::Fail("the operator says so"));
        assert_eq!(Command::of(".shell"), Command::Shell(None));
        assert_eq!(Command::of(".shell ls -l"), Command::Shell(Some("ls -l")));
        assert_eq!(
            (Command::of(".run"), Command::of(".leave"), Command::of(".help")),
            (Command::Run, Command::Leave, Command::Help)
        );
        for line in [".", ".quit", ".commit now", ".run it"] {
            assert_eq!(Command::of(line), Command::Unknown(line));
        }
    }
}
