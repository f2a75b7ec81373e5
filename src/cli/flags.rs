//! Which flags of a verb were given, as `history` shows them: those without a value, so that no secret is among them.

use clap::{ArgAction, ArgMatches, Command};

/// `--force`, say, by its long name. Not those that every verb has: they change nothing in the environment.
pub fn given(command: &Command, matches: &ArgMatches) -> Vec<String> {
    if let Some((name, below)) = matches.subcommand() {
        return command.find_subcommand(name).map(|verb| given(verb, below)).unwrap_or_default();
    }
    let own =
        command.get_arguments().filter(|arg| !arg.is_global_set() && matches!(arg.get_action(), ArgAction::SetTrue));
    let set = own.filter(|arg| matches.get_flag(arg.get_id().as_str()));
    set.filter_map(|arg| arg.get_long()).map(|name| format!("--{name}")).collect()
}
