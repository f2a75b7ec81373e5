//! Help, and what is said about a command line that makes no sense.

use std::io::Read;
use std::process::Stdio;

use crate::support::Env;

#[test]
fn help_lists_every_command() {
    insta::assert_snapshot!(Env::bare().run("--help").succeeds().stderr_is("").stdout);
    insta::assert_snapshot!(Env::bare().run("deploy --help").succeeds().stderr_is("").stdout);
    insta::assert_snapshot!("debug_log_help", Env::bare().run("debug-log --help").succeeds().stderr_is("").stdout);
    insta::assert_snapshot!("scp_help", Env::bare().run("scp --help").succeeds().stderr_is("").stdout);
    insta::assert_snapshot!("resolved_help", Env::bare().run("resolved -h").succeeds().stderr_is("").stdout);
}

#[test]
fn nothing_at_all_shows_the_help() {
    Env::bare().run("").misused().stdout_is("").stderr_has("Usage: encanto");
}

#[test]
fn the_version_is_told_in_both_ways() {
    let version = concat!("encanto ", env!("CARGO_PKG_VERSION"), "\n");
    Env::bare().run("version").succeeds().stdout_is(version);
    Env::bare().run("--version").succeeds().stdout_is(version);
}

/// Fifty libraries come with libvirt: nothing that does not ask it is to wait for them.
#[test]
#[cfg(all(feature = "libvirt", target_arch = "x86_64"))]
fn libvirt_is_not_loaded_with_the_program() {
    let env = Env::bare().with("LD_TRACE_LOADED_OBJECTS", "1");
    let loaded = env.run("version").stdout;
    assert!(loaded.contains("libc.so") && !loaded.contains("libvirt"), "{loaded}");
}

#[test]
fn wrong_usage_is_one_line_and_a_hint() {
    let cases = [
        ("stauts", "unrecognized command: encanto stauts\nhint: did you mean `status`?\nhint: encanto --help"),
        ("deploy", "no charm specified\nhint: encanto deploy --help"),
        ("expose", "no service specified\nhint: encanto expose --help"),
        ("destroy-unit", "no units specified\nhint: encanto destroy-unit mysql/0"),
        ("remove-machine", "no machines specified\nhint: encanto destroy-machine 3"),
        ("remove-application", "no services specified\nhint: encanto destroy-service mysql"),
        ("add-relation mysql", "a relation must involve two services\nhint: encanto add-relation wordpress mysql"),
        ("relate a b c", "a relation must involve two services\nhint: encanto add-relation wordpress mysql"),
        ("add-unit a b", "unrecognized args: [\"b\"]\nhint: encanto add-unit --help"),
        (
            "status --frmat yaml",
            "unrecognized option: --frmat\nhint: did you mean `--format`?\nhint: encanto status --help",
        ),
        ("remove-relation a", "a relation must involve two services\nhint: encanto destroy-relation wordpress mysql"),
        ("resolved", "no unit specified\nhint: encanto resolved --help"),
        ("retry-provisioning", "no machines specified\nhint: encanto retry-provisioning 3"),
        ("unset mysql", "no settings specified\nhint: encanto unset mysql KEY"),
        ("unset mysql a=1", "invalid option: \"a=1\"\nhint: only names are given: a setting gets its default again"),
        ("status-history", "no entity specified\nhint: encanto show-status-log --help"),
        ("history --format dot", "this command has no dot format\nhint: --format yaml or json"),
        ("scp a b", "what comes to this host must be in a machine\nhint: encanto scp mysql/0:/etc/mysql/my.cnf ."),
        ("scp 1:x a b", "what comes to this host must be in a machine\nhint: encanto scp mysql/0:/etc/mysql/my.cnf ."),
        ("scp 1:a 2:b", "what goes into a machine must be on this host\nhint: encanto scp mysql/0:/etc/mysql/my.cnf ."),
        (
            "scp mysql:/a b",
            "\"mysql\" is neither a unit nor a machine\nhint: for example `mysql/0:/etc/hosts` or `1:/etc/hosts`\n\
             hint: a file of this host with a colon in its name is given as \"./mysql:/a\"",
        ),
        ("set mysql", "no settings specified\nhint: encanto set SERVICE KEY=VALUE"),
        ("set mysql novalue", "invalid option: \"novalue\"\nhint: KEY=VALUE"),
        ("set mysql a=1 a=2", "option \"a\" is given twice"),
        ("set mysql a=1 --config x", "cannot specify --config when using key=value arguments"),
        ("config mysql a b=c", "one setting can be shown, or several changed, but not both"),
        (
            "debug-log -l LOUD",
            "invalid value 'LOUD' for '--level <LEVEL>'\nhint: one of DEBUG, INFO, WARNING, ERROR\nhint: encanto debug-log --help",
        ),
        (
            "wait --timeout 5d",
            "invalid value '5d' for '--timeout <TIMEOUT>': invalid duration \"5d\": write `30`, `30s`, `5m` or `1h`\n\
             hint: encanto wait --help",
        ),
    ];
    let env = Env::simulated();
    for (line, message) in cases {
        env.run(line).misused().stdout_is("").stderr_is(&format!("error: {message}\n"));
    }
}

#[test]
fn what_is_to_be_deployed_is_read_before_anyone_is_asked() {
    let env = Env::simulated();
    env.run("deploy ./nothing")
        .fails()
        .stderr_is("error: no charm was found at \"./nothing\"\nhint: there is no such folder\n");
    env.write("empty/README.md", "");
    env.run("deploy ./empty")
        .fails()
        .stderr_is("error: no charm was found at \"./empty\"\nhint: a charm is a folder with a file charm.lua in it\n");
    env.run("deploy mysql --repository empty").fails().stderr_has("charm \"mysql\" not found in \"empty\"");
    env.run("deploy mysql --config settings.yaml")
        .fails()
        .stderr_is("error: cannot read \"settings.yaml\": no such file or directory\n");
    env.write("settings.yaml", "wordpress: {a: 1}\n");
    env.run("deploy mysql --config settings.yaml").fails().stderr_has("no settings found for \"mysql\"");
}

#[test]
fn what_is_to_be_copied_is_looked_at_before_anyone_is_asked() {
    let env = Env::simulated();
    env.run("scp nothing 1:").fails().stderr_is("error: cannot read \"nothing\": no such file or directory\n");
    env.write("folder/file", "");
    env.run("scp folder 1:").fails().stderr_is("error: \"folder\" is a folder\nhint: -r copies it\n");
}

#[test]
fn every_shell_gets_its_completion() {
    for (shell, word) in
        [("bash", "complete -F _encanto"), ("zsh", "#compdef encanto"), ("fish", "complete -c encanto")]
    {
        Env::bare().run(&format!("completion {shell}")).succeeds().stderr_is("").stdout_has(word).stdout_has("scp");
    }
    Env::bare().run("completion cmd").misused().stderr_has("hint: one of bash, ");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let env = Env::bare();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = env.command("init --show");
    let mut child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    drop(reader);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}
