//! Which options of a verb were given, as `history` shows them: all but what settings are given as, so that no secret is
//! among them.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

/// What may be a secret; of `KEY=VALUE` the key is shown.
const SETTINGS: &str = "config";

/// The first changes nothing in the environment, the second is shown as what it stands for: `unset`.
const UNTOLD: [&str; 2] = ["wait", "reset"];

/// `--force`, `--to lxc:3`, say, by their long names. Not those that every verb has: they change nothing in the environment.
pub fn given(command: &Command, matches: &ArgMatches) -> Vec<String> {
    if let Some((name, below)) = matches.subcommand() {
        return command.find_subcommand(name).map(|verb| given(verb, below)).unwrap_or_default();
    }
    let own = command.get_arguments().filter(|arg| {
        let typed = matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        typed && !arg.is_global_set() && !UNTOLD.contains(&arg.get_id().as_str())
    });
    own.filter_map(|arg| Some(shown(arg.get_long()?, arg, matches))).flatten().collect()
}

fn shown(name: &str, arg: &Arg, matches: &ArgMatches) -> Vec<String> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return vec![format!("--{name}")];
    }
    let values = matches.get_raw(arg.get_id().as_str()).unwrap_or_default().map(|value| value.to_string_lossy());
    values
        .map(|value| {
            let value = if arg.get_id() == SETTINGS { key(&value) } else { &value };
            format!("--{name} {}", quoted(value))
        })
        .collect()
}

fn key(setting: &str) -> &str {
    setting.split_once('=').map_or(setting, |(key, _)| key)
}

/// As a shell takes it for one word.
fn quoted(value: &str) -> String {
    shlex::try_quote(value).map_or_else(|_| value.to_owned(), |word| word.into_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn given_in(line: &str) -> String {
        let command = Cli::command();
        let matches = command.clone().try_get_matches_from(shlex::split(line).unwrap()).unwrap();
        given(&command, &matches).join(" ")
    }

    #[test]
    fn what_was_given_can_be_given_again() {
        let line = "encanto deploy mysql -n 2 --to lxc:3 --constraints 'mem=1G cpu-cores=2' --expose -e sim --wait=5m";
        assert_eq!(given_in(line), "--num-units 2 --to lxc:3 --constraints 'mem=1G cpu-cores=2' --expose");
        assert_eq!(given_in("encanto machine adopt web --kind lxc --ram 512"), "--kind lxc --ram 512");
        assert_eq!(given_in("encanto deploy mysql"), "");
    }

    #[test]
    fn no_setting_is_told() {
        let line = "encanto deploy app --config password=very=secret --config settings.yaml";
        assert_eq!(given_in(line), "--config password --config settings.yaml");
    }
}
