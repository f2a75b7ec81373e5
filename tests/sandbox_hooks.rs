//! What a hook sees, what it gives back, and what its errors tell.

mod sandbox_support;

use std::time::Duration;

use encanto::charm::fake::said;
use encanto::charm::{FaultKind, HookOutcome, Limits, OUTPUT_LIMIT};
use encanto::model::{ConfigValue, Hook, RelationHook, RelationId, Setting};
use sandbox_support::*;

#[test]
fn a_hook_commits_what_it_wrote() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let body = "unit:open_port(80) unit:open_port('53/udp') unit:close_port(22)
            unit.state.count = 1 unit.state.list = { 'a', true }
            assert(table.concat(unit:open_ports(), ' ') == '80/tcp 53/udp')
            assert(unit.state.count == 1 and unit.name == 'app/0' and unit.hook == 'install')
            unit:set_status('active', 'ready')";
        let mut before = context(Hook::Install);
        before.open_ports = ["22".parse().unwrap()].into();
        let outcome = stage.hook(&install(body), before).await.unwrap();
        assert_eq!(outcome.opened.iter().map(|p| p.to_string()).collect::<Vec<_>>(), ["80/tcp", "53/udp"]);
        assert_eq!(outcome.closed.iter().map(|p| p.to_string()).collect::<Vec<_>>(), ["22/tcp"]);
        let state = serde_json::Value::Object(outcome.state.unwrap());
        assert_eq!(state, serde_json::json!({ "count": 1, "list": ["a", true] }));
        assert_eq!(stage.sink.statuses()[0].message, "ready");
    });
}

#[test]
fn state_comes_back_and_is_not_written_if_it_stays() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let mut before = context(Hook::Install);
        before.state = serde_json::from_str(r#"{ "n": 3, "deep": { "list": [1, 2] } }"#).unwrap();
        let body = "assert(unit.state.n == 3 and unit.state.deep.list[2] == 2)";
        let outcome = stage.hook(&install(body), before).await.unwrap();
        assert_eq!(outcome, HookOutcome::default());
    });
}

#[test]
fn an_undeclared_hook_succeeds() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let outcome = stage.hook(&install(""), context(Hook::Start)).await.unwrap();
        assert_eq!(outcome, HookOutcome::default());
    });
}

const RELATION: &str = r#"
return charm { name = "app", summary = "s", series = { "bookworm" }, provides = { db = "mysql" }, hooks = {
  ["db-relation-joined"] = function(unit, relation)
    assert(relation.id == "db:4" and relation.endpoint == "db" and relation.service == "wiki")
    assert(relation.remote == "wiki/1" and relation:get("host") == "b" and relation:get("host", "wiki/0") == "a")
    assert(table.concat(relation:units(), " ") == "wiki/0 wiki/1" and relation:get().host == "b")
    assert(relation:own("old") == "1" and relation:get("nothing") == nil)
    relation:set { host = unit.private_address, password = secret("s3cret-word"), old = "", port = 3306 }
    assert(relation:own("password") == "s3cret-word" and relation:own("old") == nil)
    assert(unit:relations("db")[1]:own("port") == "3306")
    print("password is s3cret-word and token is", relation:get("token"), secret("abc"))
  end,
  ["db-relation-broken"] = function(unit, relation)
    assert(relation.remote == nil and #relation:units() == 0 and relation:get("host") == nil)
    unit:relations("bd")
  end,
} }"#;

#[test]
fn joined_sets_relation_data() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let joined = related(RelationHook::Joined("wiki/1".parse().unwrap()));
        let outcome = stage.hook(&files(RELATION, &[]), joined).await.unwrap();
        let change = &outcome.relation_settings[&RelationId(4)];
        assert_eq!(change["host"], Some(Setting::plain("10.0.3.7")));
        assert_eq!(change["port"], Some(Setting::plain("3306")));
        assert_eq!(change["password"], Some(Setting::secret("s3cret-word")));
        assert_eq!(change["old"], None);
        assert_eq!(stage.sink.text(), "password is (secret) and token is\t(secret)\t(secret)\n");
    });
}

#[test]
fn a_broken_relation_has_no_units() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let mut broken = related(RelationHook::Broken);
        broken.relations.get_mut(&RelationId(4)).unwrap().remotes.clear();
        let error = stage.hook(&files(RELATION, &[]), broken).await.unwrap_err();
        assert_eq!(error.summary(), "charm.lua:15: the charm declares no endpoint \"bd\", did you mean \"db\"?");
    });
}

#[test]
fn a_failed_command_is_told_with_its_place() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        stage.machine.on(&["mysql"], [said(1, "warning\nERROR 1045 (28000): Access denied, hunter2\n")]);
        let body = "local function setup()\n  unit:exec { 'mysql', '-e', secret('hunter2') }\nend\nsetup()";
        let error = stage.install(body).await.unwrap_err();
        assert_eq!(
            error.summary(),
            "charm.lua:5: command \"mysql -e (secret)\" failed with code 1: ERROR 1045 (28000): Access denied, (secret)"
        );
        let report = error.report();
        for part in ["    5 |   unit:exec {", "charm.lua:5 in setup", "charm.lua:7", "last output:\n  warning\n"] {
            assert!(report.contains(part), "{part} in:\n{report}");
        }
        assert!(!report.contains("hunter2") && !stage.sink.text().contains("hunter2"));
        assert_eq!(stage.machine.execs()[0].argv[2], "hunter2");
    });
}

#[test]
fn a_caught_error_is_a_text_with_its_place() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        stage.machine.fail_call(1, "machine is gone");
        let body = "local ok, message = pcall(function() return unit:read('/x') end)
            assert(not ok and type(message) == 'string', typeof(message))
            print(message)";
        stage.install(body).await.unwrap();
        assert_eq!(stage.sink.text(), "charm.lua:4: cannot read /x: machine is gone\n");
    });
}

#[test]
fn plain_mistakes_show_the_line() {
    on_runtime(async {
        for (body, expected) in [
            ("local x\nprint(x.y)", "charm.lua:5: attempt to index nil with 'y'"),
            ("unit.exec { 'ls' }", "charm.lua:4: call it as unit:exec(…), with a colon"),
            ("unit:exce { 'ls' }", "charm.lua:4: unit has no field \"exce\", did you mean \"exec\"?"),
            ("unit:exec { 'ls', chek = 1 }", "charm.lua:4: unknown option \"chek\", did you mean \"check\"?"),
            ("unit:exec 'ls'", "charm.lua:4: exec expects a table: exec{ \"command\", \"argument\" }"),
            ("unit.name = 'x'", "charm.lua:4: attempt to modify a readonly table"),
            ("string.format = 1", "charm.lua:4: attempt to modify a readonly table"),
            ("return unit.config.prot", "charm.lua:4: the charm declares no option \"prot\""),
            ("unit:write('x', '')", "charm.lua:4: \"x\" is not an absolute path"),
            ("unit:write('/x', '', { mode = 644 })", "charm.lua:4: mode must be a text of octal digits, as \"0644\""),
            (
                "unit:set_status('actve')",
                "charm.lua:4: unknown status \"actve\", did you mean \"active\"?; a charm may set active, waiting, maintenance, blocked",
            ),
            ("unit.state.f = print", "unit.state.f: a function cannot be kept"),
            ("require('@std/atp')", "charm.lua:4: there is no module \"@std/atp\", did you mean \"apt\"?"),
            ("error({ message = 'm' })", "charm.lua:4: m"),
            ("require('./../x')", "charm.lua:4: cannot require \"./../x\": it leads out of the charm's folder"),
            (
                "require('/etc/passwd')",
                "charm.lua:4: cannot require \"/etc/passwd\": a module is \"@std/name\" or \"./path\" in the charm's folder",
            ),
        ] {
            let summary = Stage::new(Limits::default()).install(body).await.unwrap_err().summary();
            assert!(summary.starts_with(expected), "{body}: {summary}");
        }
    });
}

#[test]
fn secrets_reach_the_machine_and_no_log() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        stage.machine.on(&["env"], [said(0, "P=conf-secret Q=made-up-word")]);
        let mut before = context(Hook::Install);
        before.config.insert("password".into(), ConfigValue::String("conf-secret".into()));
        before.secret_config.insert("password".into());
        let body = "local s = secret('made-up-word')
            unit:exec { 'env', env = { P = unit.config.password, Q = s }, stdin = 'x' .. s }
            unit:write('/secret', s)
            unit:log('warning', 'it is ' .. s:reveal())
            print(s, `{s}`, 'p=' .. s, s == secret('made-up-word'))
            unit:set_status('blocked', 'with ' .. s:reveal())
            unit.state.kept = s
            unit.state.text = s:reveal()
            error('failed with ' .. unit.config.password)";
        let error = stage.hook(&install(body), before.clone()).await.unwrap_err();
        let call = &stage.machine.execs()[0];
        assert_eq!(call.env["Q"], "made-up-word");
        assert_eq!(call.stdin, b"xmade-up-word");
        assert_eq!(stage.machine.text("/secret"), "made-up-word");
        let said = stage.sink.text() + &error.report() + &format!("{:?}{before:?}{call:?}", stage.sink.statuses());
        assert!(!said.contains("made-up-word") && !said.contains("conf-secret"), "{said}");
        assert!(stage.sink.text().contains("(secret)\t(secret)\t(secret)\ttrue"), "{}", stage.sink.text());

        let body = body.replace("error('failed", "print('failed");
        let outcome = stage.hook(&install(&body), before.clone()).await.unwrap();
        before.state = outcome.state.unwrap();
        let next = Stage::new(Limits::default());
        let body = "print(unit.state.kept, unit.state.text, type(unit.state.text), unit.state.kept:reveal())";
        next.hook(&install(body), before).await.unwrap();
        assert_eq!(next.sink.text(), "(secret)\t(secret)\tstring\t(secret)\n");
    });
}

#[test]
fn a_file_is_written_only_if_it_differs() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let body = "assert(unit:write('/a', 'x', { mode = '0600' }) == true)
            assert(unit:write('/a', 'x', { mode = '0600' }) == false)
            assert(unit:write('/a', 'x', { mode = '0644' }) == true)
            assert(unit:write('/a', 'y') == true and unit:read('/a') == 'y')
            assert(unit:read('/none') == nil and not unit:exists('/none') and unit:exists('/a'))
            assert(unit:stat('/a').kind == 'file' and unit:stat('/a').size == 1)
            assert(unit:remove('/a') == true and unit:remove('/a') == false)
            assert(unit:push('templates/x', '/x') and unit:file('templates/x') == 'text')";
        let mut charm = install(body);
        charm.insert("templates/x".into(), b"text".to_vec());
        stage.hook(&charm, context(Hook::Install)).await.unwrap();
    });
}

#[test]
fn a_command_may_fail_or_be_quiet() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        stage.machine.on(&["/bin/sh", "-c", "a | b"], [said(3, "no")]);
        stage.machine.on(&["big"], [said(0, &"x".repeat(OUTPUT_LIMIT + 10))]);
        let body = "local r = unit:exec { shell = 'a | b', check = false, quiet = true }
            assert(r.code == 3 and r.stderr == 'no' and r.stdout == '')
            assert(#unit:exec({ 'big', quiet = true }).stdout == 1048576)";
        stage.install(body).await.unwrap();
        assert_eq!(stage.sink.text(), "");
    });
}

#[test]
fn log_lines_have_an_end() {
    on_runtime(async {
        let stage = Stage::new(Limits { log_lines: 3, ..Limits::default() });
        stage.install("for i = 1, 100 do print(i) end").await.unwrap();
        assert_eq!(stage.sink.text(), "1\n2\n3\nthis hook logged 3 lines; what follows is dropped\n");
    });
}

#[test]
fn time_limits_say_which_and_where() {
    on_paused_clock(async {
        let stage = Stage::new(Limits { total: Duration::from_secs(1800), ..Limits::default() });
        stage.machine.hang(&["sleep"]);
        let error = stage.install("unit:exec { 'sleep', '9', timeout = 5 }").await.unwrap_err();
        assert_eq!(error.summary(), "charm.lua:4: command \"sleep 9\" was ended after its limit of 5 s");
        let error = stage.install("\nsleep(7200)").await.unwrap_err();
        assert_eq!(error.summary(), "charm.lua:5: ran longer than the limit of 30 min");
        assert_eq!(error.kind, FaultKind::TooLong);
        let error = stage.install("unit:exec { 'sleep' }").await.unwrap_err();
        assert!(error.summary().starts_with("charm.lua:4: "), "{error}");
    });
}

#[test]
fn dropping_a_hook_ends_its_command() {
    on_runtime(async {
        for body in [
            "unit:exec { 'hang' }",
            "pcall(function() unit:exec { 'hang' } end)",
            "coroutine.wrap(function() unit:exec { 'hang' } end)()",
        ] {
            let stage = Stage::new(Limits::default());
            stage.machine.hang(&["hang"]);
            let charm = install(body);
            let hook = stage.hook(&charm, context(Hook::Install));
            assert!(tokio::time::timeout(Duration::from_millis(300), hook).await.is_err());
            assert_eq!((stage.machine.commands().len(), stage.machine.running()), (1, 0), "{body}");
        }
    });
}

#[test]
fn modules_are_loaded_once_and_not_in_circles() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let mut charm = install("assert(require('./lib/a') == require('./lib/a')) require('./lib/b')");
        charm.insert("lib/a.lua".into(), b"return { n = 1 }".to_vec());
        charm.insert("lib/b.lua".into(), b"return require('./lib/c')".to_vec());
        charm.insert("lib/c.lua".into(), b"\nreturn require('./lib/b')".to_vec());
        let error = stage.hook(&charm, context(Hook::Install)).await.unwrap_err();
        assert_eq!(error.summary(), "lib/c.lua:2: modules require each other: lib/b.lua -> lib/c.lua -> lib/b.lua");
        charm.insert("lib/b.lua".into(), b"local x = = 1".to_vec());
        let error = stage.hook(&charm, context(Hook::Install)).await.unwrap_err();
        assert!(error.summary().starts_with("lib/b.lua:1: Expected"), "{error}");
        assert_eq!(error.kind, FaultKind::Syntax);
    });
}

#[test]
fn prepare_has_no_identity() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let charm =
            |body: &str| files(&format!("return charm {{ name = 'a', prepare = function(machine) {body} end }}"), &[]);
        let run = |body: &str| {
            let (files, machine, sink) = (charm(body), stage.machine.clone(), stage.sink.clone());
            let host = &stage.host;
            async move { host.prepare(&files, machine, sink).await }
        };
        run("machine:exec { 'true' } machine:write('/a', 'b')").await.unwrap();
        assert_eq!(stage.machine.text("/a"), "b");
        let error = run("return machine.private_address").await.unwrap_err();
        assert!(error.summary().contains("not there in prepare"), "{error}");
    });
}
