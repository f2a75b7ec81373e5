//! What the documents say that can be done with a machine of a kind is what the contract tries on its bed.

use crate::abilities::abilities;
use crate::bed::Bed;
use crate::runner::Rule;

/// The rule that does what a verb of `encanto machine` does.
fn rule_of(verb: &str) -> &'static str {
    match verb {
        "list" => "life::a_machine_is_made_once",
        "stop" | "start" | "restart" => "life::a_stop_keeps_data_and_address",
        "console" => "terminal::the_console_lets_root_in",
        "clone" => "copies::a_clone_is_a_machine_of_its_own",
        "snapshot" | "restore" => "copies::snapshots_are_given_back",
        other => panic!("no rule tries `encanto machine {other}`"),
    }
}

pub fn are_tried(contract: &[Rule]) {
    for (verb, column, can) in abilities() {
        // What was adopted is refused before a provider is asked: `tests/scenarios_kinds.rs`.
        let Some(bed) = Bed::ALL.into_iter().find(|bed| bed.name() == column) else { continue };
        let wanted = rule_of(&verb);
        let rule = contract.iter().find(|rule| rule.name == wanted);
        let tried = rule.is_some_and(|rule| rule.beds.contains(&bed));
        assert_eq!(tried, can, "docs/machines.md says of `machine {verb}` on {column}: {can}");
    }
}
