//! The Lua prompt of `debug-hooks`: a hook's tables, sandbox and limits, line by line.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod sandbox_support;

use std::time::Duration;

use encanto::charm::fake::said;
use encanto::charm::{CharmFiles, Limits, Prompt, Reply};
use encanto::model::{ConfigValue, Hook, RelationHook, RelationId};
use sandbox_support::*;

async fn says(prompt: &mut Prompt<'_>, line: &str) -> String {
    match prompt.line(line).await {
        Reply::Said(text) => text,
        other => panic!("{line}: {other:?}"),
    }
}

async fn fails(prompt: &mut Prompt<'_>, line: &str) -> String {
    match prompt.line(line).await {
        Reply::Failed(text) => text,
        other => panic!("{line}: {other:?}"),
    }
}

fn charm() -> CharmFiles {
    let main = r#"
local greeting = require("./lib/greeting")
return charm { name = "app", summary = "s", series = { "bookworm" },
  provides = { db = "mysql" }, config = { password = { type = "string", secret = true } },
  hooks = { install = function(unit)
    unit.state.tries = (unit.state.tries or 0) + 1
    unit:exec { "install", greeting }
    unit:open_port(80)
  end,
  ["db-relation-joined"] = function(unit, relation) relation:set { greeting = greeting } end } }"#;
    files(main, &[("lib/greeting.lua", "return \"hello\"")])
}

fn prompt<'a>(stage: &'a Stage, hook: Hook) -> Prompt<'a> {
    stage.host.prompt(&charm(), context(hook), stage.machine.clone(), stage.sink.clone())
}

#[test]
fn values_are_shown_and_globals_stay() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let mut prompt = prompt(&stage, Hook::Install);
        assert_eq!(says(&mut prompt, "1 + 1, \"a\\nb\", nil, true").await, "2\t\"a\\nb\"\tnil\ttrue");
        assert_eq!(says(&mut prompt, "x = { 1, 2, name = \"n\", [\"a-b\"] = { deep = { deeper = {1} } } }").await, "");
        let shown = "{ 1, 2, [\"a-b\"] = { deep = { deeper = { … } } }, name = \"n\" }";
        assert_eq!(says(&mut prompt, "x").await, shown);
        assert_eq!(says(&mut prompt, "").await, "");
        assert_eq!(says(&mut prompt, "unit.name, relation, unit.hook").await, "\"app/0\"\tnil\t\"install\"");
        assert_eq!(
            says(&mut prompt, "require(\"./lib/greeting\"), type(require(\"@std/apt\"))").await,
            "\"hello\"\t\"table\""
        );
    });
}

#[test]
fn a_chunk_may_have_several_lines_or_be_given_up() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let mut prompt = prompt(&stage, Hook::Install);
        for line in ["function twice(n)", "  if n then", "    return 2 * n", "  end"] {
            assert_eq!(prompt.line(line).await, Reply::More, "{line}");
        }
        assert_eq!(says(&mut prompt, "end").await, "");
        assert_eq!(prompt.line("twice(").await, Reply::More);
        assert!(prompt.has_begun());
        assert_eq!(says(&mut prompt, "21)").await, "42");
        assert_eq!(prompt.line("for").await, Reply::More);
        prompt.abandon();
        assert_eq!(says(&mut prompt, "twice(1)").await, "2");
    });
}

#[test]
fn an_error_names_its_line_and_is_not_the_end() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        stage.machine.on(&["install"], [said(3, "no room")]);
        let mut prompt = prompt(&stage, Hook::Install);
        says(&mut prompt, "kept = 1").await;
        assert!(fails(&mut prompt, "x x").await.starts_with("prompt:1: "));
        assert_eq!(prompt.line("function bad()").await, Reply::More);
        assert_eq!(prompt.line("  error(\"oh\")").await, Reply::More);
        says(&mut prompt, "end").await;
        let told = fails(&mut prompt, "bad()").await;
        assert!(told.starts_with("prompt:2: oh"), "{told}");
        // The charm's own function fails with its own place, and what the command said.
        let told = fails(&mut prompt, "hook()").await;
        assert!(told.starts_with("charm.lua:7: command \"install hello\" failed with code 3: no room"), "{told}");
        assert!(told.contains("    7 |     unit:exec { \"install\", greeting }"), "{told}");
        assert!(fails(&mut prompt, "unit.nme").await.contains("did you mean \"name\"?"));
        assert_eq!(says(&mut prompt, "kept").await, "1");
    });
}

#[test]
fn the_charms_own_function_is_tried_until_it_works_and_what_it_wrote_is_the_outcome() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        stage.machine.on(&["install"], [said(1, "not yet"), said(0, "done")]);
        let mut prompt = prompt(&stage, Hook::Install);
        fails(&mut prompt, "hook()").await;
        says(&mut prompt, "hook()").await;
        says(&mut prompt, "unit:open_port(443)").await;
        let outcome = prompt.outcome().unwrap();
        let ports: Vec<String> = outcome.opened.iter().map(ToString::to_string).collect();
        assert_eq!(ports, ["80/tcp", "443/tcp"]);
        assert_eq!(outcome.state.unwrap()["tries"], 2);
        assert!(stage.sink.text().contains("done\n"));
        says(&mut prompt, "unit.state.f = print").await;
        assert!(prompt.outcome().is_err());
    });
}

#[test]
fn a_relation_is_at_hand_and_secrets_are_not_shown() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let mut context = related(RelationHook::Joined("wiki/1".parse().unwrap()));
        context.config.insert("password".into(), ConfigValue::String("hunter2".into()));
        context.secret_config.insert("password".into());
        let mut prompt = stage.host.prompt(&charm(), context, stage.machine.clone(), stage.sink.clone());
        assert_eq!(says(&mut prompt, "relation.remote, relation:get(\"host\")").await, "\"wiki/1\"\t\"b\"");
        assert_eq!(says(&mut prompt, "relation:get()").await, "{ host = \"b\", token = \"(secret)\" }");
        let shown =
            says(&mut prompt, "unit.config.password .. \"\\n\", { [unit.config.password] = secret(\"x\") }").await;
        assert_eq!(shown, "\"(secret)\\n\"\t{ (secret) = (secret) }");
        says(&mut prompt, "print(unit.config.password)").await;
        assert!(fails(&mut prompt, "error(unit.config.password)").await.starts_with("prompt:1: (secret)"));
        assert_eq!(stage.sink.text(), "(secret)\n");
        says(&mut prompt, "hook() relation:set { old = \"\" }").await;
        let settings = &prompt.outcome().unwrap().relation_settings[&RelationId(4)];
        assert_eq!(settings["greeting"].as_ref().unwrap().value, "hello");
        assert_eq!(settings["old"], None);
    });
}

#[test]
fn a_hook_that_the_charm_does_not_declare_has_no_function() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let mut prompt = prompt(&stage, Hook::Stop);
        assert!(fails(&mut prompt, "hook()").await.starts_with("prompt:1: the charm declares no hook stop"));
    });
}

#[test]
fn the_sandbox_holds() {
    on_runtime(async {
        let stage = Stage::new(short_limits());
        let mut prompt = prompt(&stage, Hook::Install);
        for name in ["loadstring", "getfenv", "setfenv", "io", "debug.info", "os.execute", "newproxy"] {
            assert_eq!(says(&mut prompt, name).await, "nil", "{name}");
        }
        assert!(fails(&mut prompt, "string.rep = nil").await.contains("readonly"));
        assert!(fails(&mut prompt, "_G.x = 1").await.contains("readonly"));
        assert!(fails(&mut prompt, "unit.name = 1").await.contains("readonly"));
        assert_eq!(says(&mut prompt, "getmetatable(unit), string.rep ~= nil").await, "false\ttrue");
        let bytecode = fails(&mut prompt, "\u{1b}Lua").await;
        assert!(bytecode.starts_with("prompt:1: "), "{bytecode}");
        let large = fails(&mut prompt, &format!("x = \"{}\"", "x".repeat(short_limits().source))).await;
        assert!(large.contains("file is larger than 256 KiB"), "{large}");
    });
}

#[test]
fn each_line_has_a_hooks_limits_and_what_was_written_outlives_the_variables() {
    on_runtime(async {
        let stage = Stage::new(Limits { busy: Duration::from_secs(1), memory: 8 << 20, ..short_limits() });
        let mut prompt = prompt(&stage, Hook::Install);
        says(&mut prompt, "x = 1 unit.state.a = 1 unit:open_port(80)").await;
        let told = fails(&mut prompt, "while true do pcall(error) end").await;
        assert!(told.contains("ran longer than the limit") && told.contains("the variables of this prompt are gone"));
        assert_eq!(says(&mut prompt, "x, unit.state.a, unit:open_ports()").await, "nil\t1\t{ \"80/tcp\" }");
        let told =
            fails(&mut prompt, "local t = {} while true do t[#t + 1] = string.rep(\"x\", 100000) .. #t end").await;
        assert!(told.contains("used more memory than the limit"), "{told}");
        assert_eq!(prompt.outcome().unwrap().state.unwrap()["a"], 1);
    });
}

#[test]
fn a_line_that_is_given_up_ends_its_command() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        stage.machine.hang(&["sleep"]);
        let mut prompt = prompt(&stage, Hook::Install);
        says(&mut prompt, "unit.state.a = 1").await;
        let line = prompt.line("unit:exec { \"sleep\", \"infinity\" }");
        assert!(tokio::time::timeout(Duration::from_millis(50), line).await.is_err());
        assert_eq!(stage.machine.running(), 0);
        assert_eq!(says(&mut prompt, "unit.state.a").await, "1");
    });
}

#[test]
fn a_command_may_take_as_long_as_in_a_hook_however_old_the_prompt_is() {
    on_paused_clock(async {
        let stage = Stage::new(short_limits());
        stage.machine.hang(&["sleep"]);
        let mut prompt = prompt(&stage, Hook::Install);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        says(&mut prompt, "sleep(19)").await;
        let told = fails(&mut prompt, "unit:exec { \"sleep\", \"infinity\" }").await;
        assert!(told.contains("ran longer than the limit of 20 s"), "{told}");
    });
}
