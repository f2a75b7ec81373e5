//! The rules of actions on the pure core: what is refused, what is kept, what becomes of them with their unit.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

use encanto::model::action::{KEPT, MOST_PENDING};
use encanto::model::*;
use encanto::plan::actions::{self, ActionStep};
use encanto::plan::nudge::Concerned;
use indexmap::IndexMap;
use serde_json::json;

const CHARM: &str = r#"{ "name": "db", "summary": "", "series": ["bookworm"], "config": {}, "hooks": [],
  "actions": {
    "backup": { "params": { "file": { "type": "string", "required": true },
                            "keep": { "type": "int", "default": 3, "min": 1 },
                            "password": { "type": "string", "secret": true } } },
    "check": {} } }"#;

struct Table {
    model: Model,
    now: Millis,
}

fn unit() -> UnitName {
    "db/0".parse().unwrap()
}

impl Table {
    /// db/0 on machine 1, which is up.
    fn new() -> Table {
        let mut table = Table { model: Model::default(), now: 0 };
        table.does(Change::CreateEnvironment { name: "test".parse().unwrap(), series: "bookworm".into() });
        table.does(Change::Deploy(Box::new(Deployment {
            service: "db".parse().unwrap(),
            charm: serde_json::from_str(CHARM).unwrap(),
            digest: "d".into(),
            units: 1,
            placement: Placement::Automatic,
            config: IndexMap::new(),
            generated: IndexMap::new(),
            constraints: Constraints::default(),
            expose: false,
        })));
        table.does(Change::MachineProvisioned {
            machine: "1".parse().unwrap(),
            instance: "i".into(),
            address: "10.0.0.2".parse().unwrap(),
            hardware: HardwareFacts::default(),
            prepared: None,
        });
        table
    }

    /// The same, after its start hook.
    fn started() -> Table {
        let mut table = Table::new();
        [Hook::Install, Hook::ConfigChanged, Hook::Start].into_iter().for_each(|hook| table.ran(hook));
        table
    }

    fn change(&mut self, change: Change) -> Result<Vec<Event>, String> {
        self.now += 1;
        let before = self.model.clone();
        let result = self.model.change(change, self.now).map_err(|error| error.to_string());
        assert_eq!(check::inconsistencies(&self.model), Vec::<String>::new());
        if result.is_err() {
            assert_eq!(self.model, before, "what is refused changes nothing");
        }
        result
    }

    fn does(&mut self, change: Change) {
        self.change(change).unwrap();
    }

    fn ran(&mut self, hook: Hook) {
        self.does(Change::CommitHook { unit: unit(), hook, writes: Box::default() });
    }

    fn ask(&mut self, action: &str, params: serde_json::Value) -> Result<ActionId, String> {
        let events = self.change(call(action, params))?;
        match &events[..] {
            [Event::ActionQueued { action, .. }] => Ok(*action),
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, action: ActionId, end: ActionEnd) -> Result<Vec<Event>, String> {
        let state = Some(serde_json::Map::from_iter([("last".to_owned(), action.0.into())]));
        self.change(Change::EndAction { action, end, writes: Box::new(HookWrites { state, ..HookWrites::default() }) })
    }

    fn next(&self) -> Option<ActionStep> {
        actions::next(&self.model, &unit())
    }

    fn state(&self, action: ActionId) -> &'static str {
        self.model.actions[&action].state.as_str()
    }
}

fn call(action: &str, params: serde_json::Value) -> Change {
    Change::QueueAction(Box::new(ActionCall {
        unit: unit(),
        name: action.parse().unwrap(),
        params: serde_json::from_value(params).unwrap(),
        timeout: None,
        by: "test".into(),
    }))
}

fn completed() -> ActionEnd {
    ActionEnd::Completed { results: serde_json::Map::new() }
}

#[test]
fn what_is_asked_wrongly_is_refused() {
    let mut table = Table::started();
    let mut refused = |action: &str, params| table.ask(action, params).unwrap_err();
    assert_eq!(refused("restore", json!({})), "action \"restore\" not defined on service \"db\"");
    assert_eq!(refused("backup", json!({})), "action \"backup\": parameter \"file\" is missing");
    assert_eq!(
        refused("backup", json!({ "file": "a", "keep": "0" })),
        "action \"backup\": option \"keep\" must be at least 1, got 0"
    );
    assert_eq!(
        refused("backup", json!({ "file": "a", "keep": "x" })),
        "action \"backup\": option \"keep\" expected int, got \"x\""
    );
    assert_eq!(refused("check", json!({ "file": "a" })), "action \"check\": unknown option \"file\"");
    let timed = |timeout| {
        let Change::QueueAction(call) = call("check", json!({})) else { panic!() };
        Change::QueueAction(Box::new(ActionCall { timeout: Some(timeout), ..*call }))
    };
    for timeout in [0, 999, 24 * 3_600_000 + 1] {
        assert_eq!(table.change(timed(timeout)).unwrap_err(), "the timeout of an action is from 1 second to 24 hours");
    }
    table.does(timed(1_000));
    assert_eq!(
        table.change(Change::CancelActions { actions: vec![ActionId(0), ActionId(7)] }).unwrap_err(),
        "action 7 not found"
    );
    table.does(Change::DestroyUnits { units: vec![unit()], force: false });
    assert_eq!(table.ask("check", json!({})).unwrap_err(), "unit \"db/0\" is not alive");
}

#[test]
fn given_values_are_typed_and_secrets_are_marked() {
    let mut table = Table::started();
    let id = table.ask("backup", json!({ "file": "a", "keep": "5", "password": "hunter22" })).unwrap();
    let action = &table.model.actions[&id];
    assert_eq!(action.params["keep"], ConfigValue::Int(5));
    assert_eq!(action.secret, ["password"]);
    assert!(!format!("{action:?}").contains("hunter22"));
}

#[test]
fn a_unit_runs_actions_when_it_has_started_or_when_only_one_can_mend_it() {
    let mut table = Table::new();
    let id = table.ask("check", json!({})).unwrap();
    let early = table.change(Change::StartAction { action: id }).unwrap_err();
    assert_eq!(early, "action 0 is not there any more", "whatever an agent saw before");
    let fail = |hook| Change::FailHook { unit: unit(), hook, message: "no".into() };
    table.does(fail(Hook::Install));
    assert_eq!(table.next(), None, "it is not installed");
    table.does(Change::Resolve { unit: unit(), retry: true });
    table.ran(Hook::Install);
    assert_eq!(table.next(), None, "it has not started");
    table.does(fail(Hook::ConfigChanged));
    assert_eq!(table.next(), Some(ActionStep::Run(id)), "it is in error");
    table.does(Change::Resolve { unit: unit(), retry: false });
    assert_eq!(table.next(), None);
    let events = table.change(Change::CommitHook { unit: unit(), hook: Hook::Start, writes: Box::default() }).unwrap();
    assert_eq!(table.next(), Some(ActionStep::Run(id)));
    let mut concerned = Concerned::default();
    concerned.add(&table.model, &events[0]);
    assert!(concerned.actions.contains(&unit()), "nobody polls: the start hook nudges");
}

#[test]
fn one_at_a_time_in_order_and_never_twice() {
    let mut table = Table::started();
    let (first, second) = (table.ask("check", json!({})).unwrap(), table.ask("check", json!({})).unwrap());
    assert_eq!(table.next(), Some(ActionStep::Run(first)));
    table.does(Change::StartAction { action: first });
    assert_eq!(table.next(), Some(ActionStep::CutOff(first)), "whoever looks anew did not see it begin");
    assert_eq!(table.change(Change::StartAction { action: first }).unwrap_err(), "action 0 is not there any more");
    table.end(first, completed()).unwrap();
    assert_eq!(table.model.units[&unit()].state["last"], 0);
    assert_eq!(table.end(first, completed()).unwrap_err(), "action 0 is not there any more");
    assert_eq!(table.next(), Some(ActionStep::Run(second)));
    table.does(Change::StartAction { action: second });
    table.end(second, ActionEnd::Failed { message: "no".into() }).unwrap();
    assert_eq!(table.model.units[&unit()].state["last"], 0, "a failed action writes nothing");
    assert_eq!((table.state(first), table.state(second)), ("completed", "failed"));
}

#[test]
fn cancelling_takes_what_waits_at_once_and_tells_what_runs() {
    let mut table = Table::started();
    let (first, second) = (table.ask("check", json!({})).unwrap(), table.ask("check", json!({})).unwrap());
    table.does(Change::StartAction { action: first });
    let events = table.change(Change::CancelActions { actions: vec![first, second] }).unwrap();
    let mut concerned = Concerned::default();
    events.iter().for_each(|event| concerned.add(&table.model, event));
    assert!(concerned.departure, "whoever runs it must hear");
    assert_eq!((table.state(first), table.state(second)), ("running", "cancelled"));
    assert!(!table.model.actions[&first].state.goes_on());
    assert!(table.change(Change::CancelActions { actions: vec![first] }).unwrap().is_empty(), "once is enough");
    let again = table.change(Change::CancelActions { actions: vec![second] }).unwrap_err();
    assert_eq!(again, "action 1 is cancelled already");
}

#[test]
fn a_dying_unit_begins_no_action_and_a_removed_one_has_none() {
    let mut table = Table::started();
    let (first, second) = (table.ask("check", json!({})).unwrap(), table.ask("check", json!({})).unwrap());
    table.does(Change::StartAction { action: first });
    table.does(Change::DestroyUnits { units: vec![unit()], force: false });
    assert_eq!((table.state(first), table.state(second)), ("running", "cancelled"));
    table.does(Change::DestroyUnits { units: vec![unit()], force: true });
    assert_eq!(table.state(first), "cancelled");
    assert!(table.model.units.is_empty());
    assert_eq!(table.end(first, completed()).unwrap_err(), "action 0 is not there any more");
}

#[test]
fn what_is_over_is_kept_to_a_bound_and_so_is_what_waits() {
    let mut table = Table::started();
    let patient = table.ask("check", json!({})).unwrap();
    for _ in 0..KEPT + 5 {
        let id = table.ask("check", json!({})).unwrap();
        table.does(Change::CancelActions { actions: vec![id] });
    }
    assert_eq!(table.model.actions.len(), KEPT + 1);
    table.does(Change::StartAction { action: patient });
    table.end(patient, completed()).unwrap();
    assert_eq!(table.state(patient), "completed", "what ended last is kept, however long ago it was asked for");
    assert_eq!(table.model.actions.len(), KEPT);
    for _ in 0..MOST_PENDING {
        table.model.change(call("check", json!({})), 1).unwrap();
    }
    assert_eq!(table.ask("check", json!({})).unwrap_err(), "1000 actions are waiting already");
}
