//! The only allowed directions between modules, as ARCHITECTURE.md has them: the sources are read, and any other
//! `crate::` path fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use encanto::model::INSIDE;
use encanto::provider::Provider as _;
use encanto::provider::simulated::SimulatedProvider;

/// Module → modules it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("plan", &["model"]),
    ("store", &["model"]),
    ("provider", &["model"]),
    ("charm", &["model"]),
    ("api", &["model"]),
    ("worker", &["model", "plan", "store", "provider", "charm"]),
    ("cli", &["api"]),
    ("controller", &["model", "plan", "store", "provider", "charm", "worker", "api", "cli"]),
];

/// What must not be named in the pure modules.
const IMPURE: &[&str] =
    &["tokio", "mlua", "tracing", "std::fs", "std::io", "std::process", "SystemTime", "async fn", "rand::"];

fn sources(module: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut pending = vec![root.join(module)];
    let file = root.join(format!("{module}.rs"));
    if file.exists() {
        found.push((file.clone(), std::fs::read_to_string(file).unwrap()));
    }
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Every `crate::x` of a file, `use crate::{a, b}` included.
fn used_modules(text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let code: String = code_lines(text).collect::<Vec<_>>().join("\n");
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            None => drop(used.insert(word(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut item = String::new();
                for c in list.chars() {
                    match c {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => drop(used.insert(word(std::mem::take(&mut item).trim()))),
                        _ if depth == 0 => item.push(c),
                        _ => {}
                    }
                }
                used.insert(word(item.trim()));
            }
        }
    }
    used
}

#[test]
fn modules_use_only_what_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    for (module, may) in &allowed {
        let files = sources(module);
        assert!(!files.is_empty(), "module {module} has no sources");
        for (path, text) in files {
            for used in used_modules(&text) {
                let known = allowed.contains_key(used.as_str());
                if known && used != *module && !may.contains(&used.as_str()) {
                    wrong.push(format!("{} uses {used}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        let known = ALLOWED.iter().any(|(known, _)| *known == module);
        assert!(known || matches!(module, "main" | "lib"), "src/{name} is not in the table of directions");
    }
}

#[test]
fn model_and_plan_are_pure() {
    for module in ["model", "plan"] {
        for (path, text) in sources(module) {
            for line in code_lines(&text) {
                for impure in IMPURE {
                    assert!(!line.contains(impure), "{} names {impure}: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn processes_are_spawned_in_one_file_only() {
    for (module, _) in ALLOWED {
        for (path, text) in sources(module) {
            let spawns = code_lines(&text).any(|line| line.contains("Command::new("));
            assert!(!spawns || path.ends_with("provider/command.rs"), "{} spawns a process", path.display());
        }
    }
}

/// What a module outside `provider` may know of it besides its root: what all providers have in common.
const COMMON: &[&str] = &["command", "doctor", "local::LocalSettings", "registry", "systemd"];

/// Adding a provider or a kind changes nothing but `provider`: nobody else names one, and none is reached but by the
/// registry. `lxc` alone is also Juju's word for any container.
#[test]
fn nobody_but_provider_knows_what_runs_a_machine() {
    let kinds = SimulatedProvider::new().kinds();
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).filter(|name| *name != INSIDE).collect();
    assert!(names.len() > 1, "the kinds of a real host");
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_');
    let says = |line: &str, name: &str| {
        let mut found = line.match_indices(name).map(|(at, _)| line.split_at(at));
        found
            .any(|(before, after)| !is_part(before.chars().next_back()) && !is_part(after[name.len()..].chars().next()))
    };
    for (module, _) in ALLOWED.iter().filter(|(module, _)| *module != "provider") {
        for (path, text) in sources(module) {
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            for line in code_lines(code) {
                let named = names.iter().find(|name| says(line, name));
                assert_eq!(named, None, "{} names a kind of machines: {line}", path.display());
                for (at, path_of) in line.match_indices("provider::") {
                    let rest = line[at + path_of.len()..].trim_start_matches('{');
                    let inner = rest.starts_with(|c: char| c.is_ascii_lowercase());
                    let known = COMMON.iter().any(|common| rest.starts_with(common));
                    assert!(!inner || known, "{} reaches into provider: {line}", path.display());
                }
            }
        }
    }
}

/// A `select!` that is not biased takes at random what is ready, and no simulation could be repeated.
#[test]
fn workers_choose_in_a_fixed_order() {
    for (path, text) in sources("worker") {
        let code: String = code_lines(&text).collect::<Vec<_>>().join("\n");
        let loose = code.split("select! {").skip(1).filter(|rest| !rest.trim_start().starts_with("biased;")).count();
        assert_eq!(loose, 0, "{} has a select! that is not biased", path.display());
    }
}
