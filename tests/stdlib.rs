//! Every function of the standard library, on a machine in memory.

#![allow(clippy::panic)]

mod sandbox_support;

use encanto::charm::Limits;
use encanto::charm::fake::{FakeMachine, said};
use sandbox_support::*;

/// Runs a body on a machine that was set up; gives the commands and what was logged.
fn check(setup: impl FnOnce(&FakeMachine) + Send + 'static, body: &'static str, commands: &'static [&'static str]) {
    on_paused_clock(async move {
        let stage = Stage::new(Limits::default());
        setup(&stage.machine);
        if let Err(error) = stage.install(body).await {
            panic!("{}\n{body}\n{}", error.report(), stage.sink.text());
        }
        assert_eq!(stage.machine.commands(), commands, "{body}");
    });
}

const QUERY: &str = "dpkg-query -W -f ${Package} ${db:Status-Status}\\n mariadb-server php";
const INSTALL: &str = "apt-get install -y -q -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
                       -o DPkg::Lock::Timeout=300 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 \
                       --no-install-recommends php";
const UPDATE: &str = "apt-get update -q -o DPkg::Lock::Timeout=300 -o Acquire::http::Timeout=20 \
                      -o Acquire::https::Timeout=20";
const CALL: &str = "local apt = require('@std/apt')
    assert(apt.install(unit, { 'mariadb-server', 'php' }) == true)";

fn half(machine: &FakeMachine) {
    machine.on(&["dpkg-query"], [said(0, "mariadb-server installed\nphp config-files\n")]);
}

#[test]
fn apt_installs_what_is_missing() {
    check(half, CALL, &[QUERY, INSTALL]);
    check(
        |machine| machine.on(&["dpkg-query"], [said(0, "php installed\n")]),
        "local apt = require('@std/apt')
         assert(apt.installed(unit, 'php') and not apt.installed(unit, 'mysql'))
         assert(apt.install(unit, 'php:amd64') == false)",
        &[
            "dpkg-query -W -f ${Package} ${db:Status-Status}\\n php",
            "dpkg-query -W -f ${Package} ${db:Status-Status}\\n mysql",
            "dpkg-query -W -f ${Package} ${db:Status-Status}\\n php:amd64",
        ],
    );
}

#[test]
fn apt_fetches_lists_only_after_a_failure() {
    check(
        |machine| {
            half(machine);
            machine.on(&["apt-get", "install"], [said(100, "E: Unable to locate package php"), said(0, "")]);
        },
        CALL,
        &[QUERY, INSTALL, UPDATE, INSTALL],
    );
}

#[test]
fn apt_repairs_an_interrupted_dpkg_and_waits_for_a_lock() {
    check(
        |machine| {
            half(machine);
            let interrupted = said(100, "E: dpkg was interrupted, you must manually run 'dpkg --configure -a'");
            machine.on(&["apt-get", "install"], [interrupted, said(100, "Could not get lock"), said(0, "")]);
        },
        CALL,
        &[QUERY, INSTALL, "dpkg --configure -a --force-confdef --force-confold", INSTALL, INSTALL],
    );
}

#[test]
fn apt_tells_why_it_failed() {
    on_paused_clock(async {
        let stage = Stage::new(Limits::default());
        stage.machine.on(&["apt-get", "install"], [said(100, "x\nE: no such package\nE: run apt-get update")]);
        let error = stage.install(CALL).await.unwrap_err();
        assert!(
            error.summary().ends_with("apt-get install mariadb-server php failed with code 100: no such package"),
            "{error}"
        );
        assert!(error.summary().starts_with("charm.lua:5: "), "{error}");
    });
}

#[test]
fn systemd_changes_only_what_is_not_so() {
    check(
        |machine| {
            machine.on(&["systemctl", "is-active", "on"], [said(0, "active\n")]);
            machine.on(&["systemctl", "is-active", "off"], [said(0, "inactive\n")]);
            machine.on(&["systemctl", "is-enabled", "on"], [said(0, "enabled\n")]);
            machine.on(&["systemctl", "is-enabled", "off"], [said(0, "disabled\n")]);
        },
        "local s = require('@std/systemd')
         assert(s.active(unit, 'on') and not s.active(unit, 'off'))
         assert(not s.start(unit, 'on') and s.start(unit, 'off') and s.stop(unit, 'on') and not s.stop(unit, 'off'))
         assert(not s.enable(unit, 'on') and s.enable(unit, 'off'))
         assert(s.disable(unit, 'on') and not s.disable(unit, 'off'))
         assert(s.restart(unit, 'on') and s.reload(unit, 'on'))",
        &[
            "systemctl is-active on",
            "systemctl is-active off",
            "systemctl is-active on",
            "systemctl is-active off",
            "systemctl start off",
            "systemctl is-active on",
            "systemctl stop on",
            "systemctl is-active off",
            "systemctl is-enabled on",
            "systemctl is-enabled off",
            "systemctl enable off",
            "systemctl is-enabled on",
            "systemctl disable on",
            "systemctl is-enabled off",
            "systemctl restart on",
            "systemctl reload-or-restart on",
        ],
    );
}

#[test]
fn systemd_waits_until_a_unit_runs() {
    check(
        |machine| machine.on(&["systemctl", "is-active"], [said(0, "activating\n"), said(0, "active\n")]),
        "require('@std/systemd').wait_active(unit, 'db', 5)",
        &["systemctl is-active db", "systemctl is-active db"],
    );
    on_paused_clock(async {
        let stage = Stage::new(Limits::default());
        stage.machine.on(&["systemctl", "is-active"], [said(0, "activating\n")]);
        let error = stage.install("require('@std/systemd').wait_active(unit, 'db', 2)").await.unwrap_err();
        assert_eq!(error.summary(), "charm.lua:4: db is activating after 2 s");
    });
}

#[test]
fn systemd_tells_why_a_unit_cannot_start() {
    let said_by = |who: &str, words: &str| format!("Nov 26 08:18:39 machine-2 {who}: {words}\n");
    let journal = [
        said_by("systemd[1]", "Starting db.service - A database..."),
        said_by("dbd[40]", "[ERROR] unknown option: \"colour\""),
        said_by("dbd[40]", "[ERROR] Aborting"),
        said_by("systemd[1]", "db.service: Failed with result 'exit-code'."),
    ];
    on_paused_clock(async move {
        for (journal, why) in
            [(journal.concat(), "[ERROR] unknown option: \"colour\""), (String::new(), "exit-code, status 209")]
        {
            let stage = Stage::new(Limits::default());
            for verb in ["start", "restart", "reload-or-restart"] {
                stage.machine.on(&["systemctl", verb], [said(1, "See \"journalctl -xeu db.service\" for details.\n")]);
            }
            stage.machine.on(&["journalctl"], [said(0, &journal)]);
            stage.machine.on(&["systemctl", "show"], [said(0, "ExecMainStatus=209\nResult=exit-code\n")]);
            for (call, verb) in [("start", "start"), ("restart", "restart"), ("reload", "reload-or-restart")] {
                let error = stage.install(&format!("require('@std/systemd').{call}(unit, 'db')")).await.unwrap_err();
                assert_eq!(error.summary(), format!("charm.lua:4: db cannot {verb}: {why}"));
            }
        }
    });
}

#[test]
fn templates_are_filled() {
    check(
        |_| {},
        "local t = require('@std/template')
         assert(t.string('a={{a}} {{ b-c }} {{x y}} {d} {{a}}', { a = 1, ['b-c'] = true }) == 'a=1 true {{x y}} {d} 1')
         assert(t.string('p={{p}}', { p = secret('hunter2') }) == 'p=hunter2')
         assert(t.string('{{a}}', { a = '%1 {{a}}' }) == '%1 {{a}}')
         local ok, message = pcall(t.string, 'x\\n{{a}}\\n{{nope}}', { a = 'l\\nl' })
         assert(not ok and string.find(message, 'no value for \"nope\" (line 3)', 1, true), message)",
        &[],
    );
    on_paused_clock(async {
        let stage = Stage::new(Limits::default());
        let mut charm = install(
            "local t = require('@std/template')
             assert(t.render(unit, 'x.conf', '/x', { n = 1 }, { mode = '0600' }) == true)
             assert(t.render(unit, 'x.conf', '/x', { n = 1 }, { mode = '0600' }) == false)",
        );
        charm.insert("x.conf".into(), b"n = {{n}}".to_vec());
        stage.hook(&charm, context(encanto::model::Hook::Install)).await.unwrap();
        assert_eq!(stage.machine.text("/x"), "n = 1");
    });
}

#[test]
fn files_are_changed_once() {
    check(
        |machine| {
            machine.put_directory("/there");
            machine.on(&["readlink"], [said(0, "/target\n")]);
            machine.put("/lines", "a=1\nb=2\na=3\n");
            machine.put("/text", "old and old");
        },
        "local f = require('@std/files')
         assert(f.ensure_dir(unit, '/there', { mode = '0755' }) == false)
         assert(f.ensure_dir(unit, '/new', { mode = '0700', user = 'www-data' }) == true)
         assert(f.symlink(unit, '/target', '/link') == false and f.symlink(unit, '/other', '/link') == true)
         assert(f.line_in_file(unit, '/lines', 'a=9', 'a=') and unit:read('/lines') == 'a=9\\nb=2\\n')
         assert(f.line_in_file(unit, '/lines', 'a=9', 'a=') == false and f.line_in_file(unit, '/lines', 'b=2') == false)
         assert(f.line_in_file(unit, '/fresh', 'x') and unit:read('/fresh') == 'x\\n')
         assert(f.remove_line(unit, '/lines', 'b=2') and unit:read('/lines') == 'a=9\\n')
         assert(f.remove_line(unit, '/lines', 'b=2') == false and f.remove_line(unit, '/none', 'x') == false)
         assert(f.replace(unit, '/text', 'old', 'new') and unit:read('/text') == 'new and new')
         assert(f.replace(unit, '/text', 'old', 'new') == false)
         assert(f.replace(unit, '/text', 'new', 'newer') and f.replace(unit, '/text', 'new', 'newer') == false)
         local ok, message = pcall(f.replace, unit, '/text', 'x', 'y')
         assert(not ok and string.find(message, 'neither', 1, true))",
        &[
            "mkdir -p /new",
            "chmod 0700 /new",
            "chown -c www-data /new",
            "readlink /link",
            "readlink /link",
            "ln -sfn /other /link",
        ],
    );
}

#[test]
fn passwords_are_random_and_never_shown() {
    on_paused_clock(async {
        let stage = Stage::new(Limits::default());
        let body = "local p = require('@std/password')
            local one, two = p.generate(20), p.generate(20)
            assert(#one == 20 and one ~= two and string.match(one, '^%w+$') and #p.generate() == 24)
            assert(#random_hex(7) == 7 and string.match(random_hex(32), '^%x+$'))
            print(one)";
        stage.install(body).await.unwrap();
        assert_eq!(stage.sink.text(), "(secret)\n");
    });
}

#[test]
fn retry_gives_up_with_the_last_error() {
    check(
        |machine| machine.on(&["ping"], [said(1, ""), said(1, ""), said(0, "")]),
        "local a, b = require('@std/retry').call(5, 2, function() unit:exec { 'ping' } return 1, 2 end)
         assert(a == 1 and b == 2)",
        &["ping", "ping", "ping"],
    );
    on_paused_clock(async {
        let stage = Stage::new(Limits::default());
        stage.machine.on(&["ping"], [said(1, "nobody")]);
        let body = "require('@std/retry').call(3, 60, function()\nunit:exec { 'ping' }\nend)";
        let error = stage.install(body).await.unwrap_err();
        assert_eq!(error.summary(), "charm.lua:5: command \"ping\" failed with code 1: nobody");
        assert_eq!(stage.machine.commands().len(), 3);
    });
}
