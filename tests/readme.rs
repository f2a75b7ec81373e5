//! What the documents tell their readers to type works, in the order in which they tell it.
//!
//! On simulated machines: what commands answer that look into a machine is not compared.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod support;

use std::ffi::OsString;
use std::fs;

use encanto::provider::local::LocalSettings;
use encanto::provider::registry;
use support::abilities::{abilities, columns, rows};
use support::document::{Shown, console, mentioned, read, root, section};
use support::{Env, Running};

const DOCUMENTS: [&str; 5] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/machines.md"];

fn folders(inside: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(inside)).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// The documents of the project, its charms and its examples.
fn documents() -> Vec<(String, String)> {
    let mut names: Vec<String> = DOCUMENTS.iter().map(|name| (*name).to_owned()).collect();
    names.push("stdlib/README.md".to_owned());
    for folder in ["charms-lua", "examples"] {
        names.extend(folders(folder).into_iter().map(|name| format!("{folder}/{name}/README.md")));
    }
    names.into_iter().map(|name| (name.clone(), read(&name))).collect()
}

#[test]
fn every_command_of_a_document_is_one_that_the_program_knows() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, text) in documents() {
        for shown in console(&text).into_iter().chain(mentioned(&text)) {
            seen += 1;
            let words = std::iter::once("encanto".to_owned()).chain(shown.words()).map(OsString::from);
            if let Err(error) = encanto::cli::understands(words)
                && !error.starts_with("Usage:")
                && !shown.line.contains("--help")
                && !shown.line.contains("--version")
            {
                wrong.push(format!("{name}: encanto {}: {}", shown.line, error.lines().next().unwrap_or_default()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 40, "only {seen} commands were found: is the way they are written still understood?");
}

/// Beginnings of lines whose wording the tour must have from the program.
const WORDS: [&str; 6] = ["error: ", "hint: ", "created machine ", "unit ", "Bootstrapped ", "Destroyed "];

/// `env` stands for the environment that the document calls `local`.
fn follow(env: &Env, tour: &[Shown]) {
    for shown in tour {
        let line = shown.line.replace("environment local", "environment sim");
        let ran = env.run_with_input(&line, "y\n");
        let said = format!("{}{}", ran.stdout, ran.stderr).replace("\"sim\"", "\"local\"");
        assert_eq!(ran.code, Some(shown.code()), "{said}\n{ran:#?}");
        let wording = |told: &&String| shown.code() != 0 || WORDS.iter().any(|word| told.starts_with(word));
        for told in shown.answer.iter().filter(wording) {
            let found = said.lines().any(|line| line == told);
            assert!(found, "`encanto {line}` does not say {told:?} but\n{said}");
        }
    }
}

#[test]
fn the_tour_can_be_followed() {
    let env = Env::bare();
    let readme = read("README.md");
    let tour = console(section(&readme, "## A tour in five minutes"));
    let (init, rest) = tour.split_first().unwrap();
    assert_eq!(init.line, "init");
    follow(&env, std::slice::from_ref(init));
    env.run("switch sim").succeeds();
    follow(&env, rest);
    assert!(!env.path("home/sim").exists(), "the tour ends with nothing left");
}

#[test]
fn what_the_readme_calls_missing_is_missing() {
    let readme = read("README.md");
    let (_, rest) = readme.split_once("**Not there yet**").unwrap();
    let list = rest.split(';').next().unwrap();
    let verbs: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
    assert!(!verbs.is_empty());
    for verb in verbs {
        let answer = encanto::cli::understands(["encanto", verb].map(OsString::from));
        let unknown = answer.is_err_and(|error| error.contains("unrecognized subcommand"));
        assert!(unknown, "`encanto {verb}` is there: take it off the list");
    }
}

#[test]
fn a_charm_that_cannot_work_is_refused_as_the_readme_shows() {
    let env = Running::bootstrapped();
    let readme = read("README.md");
    let shown = console(section(&readme, "## Write a charm"));
    // The lines of the charm are those that the answer quotes.
    let quoted = shown[0].answer.iter().filter_map(|line| line.strip_prefix("      ")?.split_once(" | "));
    let lines: Vec<&str> = quoted.map(|(_, line)| line).collect();
    assert_eq!(lines.len(), 2, "{shown:#?}");
    env.write("hello/charm.lua", &format!("return charm {{\n{}\n}}\n", lines.join("\n")));
    follow(&env, &shown);
}

#[test]
fn the_example_in_the_readme_is_the_one_that_is_tested() {
    assert!(read("README.md").contains(&read("examples/hello/charm.lua")));
}

#[test]
fn every_example_can_be_followed() {
    for name in folders("examples") {
        // What needs real machines is followed there (`tests/examples.rs`).
        if root().join("examples").join(&name).join("deploy.sh").exists() {
            continue;
        }
        let env = Running::bootstrapped();
        std::os::unix::fs::symlink(root().join("examples"), env.path("examples")).unwrap();
        let commands = console(&read(&format!("examples/{name}/README.md")));
        assert!(!commands.is_empty(), "examples/{name} shows no command");
        follow(&env, &commands);
    }
}

#[test]
fn pictures_and_files_that_documents_link_to_are_there() {
    for (name, text) in documents() {
        let folder = root().join(&name).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let outside = target.starts_with("http") || target.starts_with('#');
            assert!(outside || folder.join(target).exists(), "{name} links to {target}");
        }
    }
}

/// What is in the cells is tried by `tests/provider_contract` and `tests/scenarios_kinds.rs`.
#[test]
fn the_tables_of_machines_have_every_kind_and_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let provider = registry::local(LocalSettings::new("me", "test", folder.path())).unwrap();
    let absent = provider.absent_kinds().into_iter().map(|(kind, _)| kind);
    let mut kinds: Vec<&str> = provider.kinds().into_iter().chain(absent).map(|kind| kind.name).collect();
    assert_eq!(rows("## Kinds"), kinds);
    assert_eq!(columns("### What keeps a machine from its host"), kinds);
    kinds.push("adopted");
    assert_eq!(columns("## What can be done with a machine"), kinds);

    let help = Env::bare().run("machine --help").succeeds().stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|word| !word.is_empty()));
    // How a machine comes to be adopted, and ends to be, has a chapter of its own.
    let mut verbs: Vec<&str> = verbs.filter(|verb| !["adopt", "release", "help"].contains(verb)).collect();
    let mut told: Vec<String> = abilities().into_iter().map(|(verb, ..)| verb).collect();
    told.sort();
    told.dedup();
    verbs.sort_unstable();
    assert_eq!(told, verbs);
}
