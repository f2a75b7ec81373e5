//! An operator in the place of hooks, and in machines, on the simulated provider. Each story ends with: and now nothing
//! happens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

use std::time::Duration;

use encanto::api::backend::{Asker, Backend, ExecPlace, Session};
use encanto::api::{AddMachine, AddUnit, DebugHooks, DestroyRelation, Exec, Frame, Refusal, Resolved};
use encanto::model::{MachineId, UnitName};

use support::scenario::{Scenario, story};

const PATIENCE: Duration = Duration::from_secs(20);

/// An operator without a terminal: nobody asks him for lines.
struct Operator {
    session: Session,
    seen: String,
}

impl Operator {
    async fn sits_down(s: &Scenario, unit: &str, hooks: &[&str]) -> Operator {
        Self::tries_to(s, unit, hooks).await.map_err(|refusal| refusal.error).unwrap()
    }

    async fn tries_to(s: &Scenario, unit: &str, hooks: &[&str]) -> Result<Operator, Refusal> {
        let request = DebugHooks {
            unit: unit.into(),
            hooks: hooks.iter().map(|hook| hook.to_string()).collect(),
            who: "ana".into(),
            ..DebugHooks::default()
        };
        let by = Asker { user: "ana".into(), command: "debug-hooks".into() };
        let session = s.backend().debug_hooks(&by, unit.parse().unwrap(), request).await?;
        Ok(Operator { session, seen: String::new() })
    }

    /// Waits for what is said until it contains the text, and forgets all up to its end.
    async fn sees(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let frame = tokio::time::timeout(PATIENCE, self.session.output.recv()).await;
            match frame.unwrap_or_else(|_| panic!("{text:?} did not come: {:?}", self.seen)) {
                Some(Frame::Stdout(bytes) | Frame::Stderr(bytes)) => {
                    self.seen.push_str(&String::from_utf8(bytes).unwrap());
                }
                other => panic!("{other:?} in place of {text:?}: {:?}", self.seen),
            }
        }
    }

    async fn types(&self, line: &str) {
        self.session.input.send(Frame::Line(line.to_owned())).await.unwrap();
    }

    async fn sends(&self, frame: Frame) {
        self.session.input.send(frame).await.unwrap();
    }

    /// The last frame; `None` if there was no goodbye.
    async fn ends(mut self) -> Option<Frame> {
        let mut last = None;
        while let Some(frame) = tokio::time::timeout(PATIENCE, self.session.output.recv()).await.unwrap() {
            last = Some(frame).filter(|frame| !matches!(frame, Frame::Stdout(_) | Frame::Stderr(_)));
        }
        last
    }
}

/// Waits until the status of `unit` says that.
async fn says(s: &Scenario, unit: &str, info: &str) {
    let (ledger, name) = (s.ledger(), unit.parse::<UnitName>().unwrap());
    let mut changes = ledger.changes();
    let comes = async {
        loop {
            changes.mark_unchanged();
            if ledger.observed().unit_activity.get(&name).is_some_and(|doing| doing.to_string() == info) {
                return;
            }
            changes.changed().await.unwrap();
        }
    };
    let came = tokio::time::timeout(PATIENCE, comes).await;
    assert!(came.is_ok(), "{:?}", ledger.observed().unit_activity);
}

story!(a_due_hook_waits_and_what_the_operator_wrote_is_committed, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.fail_hook("db/0", "config-changed"); // the charm's own function is not run
    let mut ana = Operator::sits_down(&s, "db/0", &["config-changed"]).await;
    ana.sees("debugging db/0: waiting for hook config-changed").await;
    s.set("db", "size", "7").await;
    ana.sees("db/0: hook config-changed is due\n").await;
    says(&s, "db/0", "debug-hooks: waits for the operator at hook config-changed").await;
    let unit = s.status().await.services["db"].units["db/0"].clone();
    let info = "debug-hooks: waits for the operator at hook config-changed";
    assert_eq!((unit.agent_state.as_str(), unit.agent_state_info.as_deref()), ("started", Some(info)));
    ana.types("unit.config.size, unit.hook").await;
    ana.sees("7\t\"config-changed\"\n").await;
    ana.types("unit.state.by = \"hand\" unit:open_port(99) unit:set_status(\"active\", \"by hand\")").await;
    ana.sees("status active: by hand").await;
    assert!(s.model().units.values().all(|unit| unit.state.is_empty() && unit.open_ports.is_empty()));
    ana.types(".commit").await;
    ana.sees("hook config-changed is committed").await;
    s.settle().await;
    let db = s.model().units[&"db/0".parse().unwrap()].clone();
    assert_eq!((db.state["by"].as_str(), db.open_ports.len()), (Some("hand"), 1));
    assert_eq!(s.hooks_of("db/0").last().unwrap(), "config-changed");
    drop(ana);
});

story!(the_charms_own_function_is_tried_until_it_works, s, {
    s.deploy("db", 1).await;
    s.deploy("app", 1).await;
    s.settle().await;
    s.fail_hook("db/0", "db-relation-joined");
    let mut ana = Operator::sits_down(&s, "db/0", &[]).await;
    s.relate("app", "db").await;
    ana.sees("hook db-relation-created is due, relation db:").await;
    ana.types(".run").await;
    ana.sees("hook db-relation-created returned\n").await;
    ana.sees("with app, remote unit app/0\n").await;
    ana.types("hook()").await;
    ana.sees("E: no room left\n").await;
    ana.sees("command \"hook db/0 db-relation-joined\" failed with code 1").await;
    s.heal_hook("db/0", "db-relation-joined");
    ana.types("hook()").await;
    ana.types("relation.remote, relation:own(\"password\")").await;
    ana.sees("\"app/0\"\t\"(secret)\"\n").await;
    ana.types(".commit").await;
    ana.sees("hook db-relation-changed is due").await;
    ana.types(".shell true").await;
    ana.types(".leave").await;
    assert_eq!(ana.ends().await, Some(Frame::Exit(0)));
    s.settle().await;
    s.expect_status("app/0", "started", "active").await;
});

story!(a_failed_hook_is_tried_again_at_once_in_the_session, s, {
    s.fail_hook("db/0", "start");
    s.deploy("db", 1).await;
    s.settle().await;
    s.expect_status("db/0", "error", "error").await;
    let mut stop_only = Operator::sits_down(&s, "db/0", &["stop"]).await;
    stop_only.sees("waiting for hook stop").await;
    stop_only.sends(Frame::Interrupt).await;
    assert_eq!(stop_only.ends().await, Some(Frame::Exit(130)));
    s.expect_status("db/0", "error", "error").await;
    let mut ana = Operator::sits_down(&s, "db/0", &["start"]).await;
    ana.sees("hook start is due\nit failed before: charm.lua:").await;
    ana.types(".run").await;
    ana.sees("hook start failed: charm.lua:").await;
    s.settle().await;
    s.heal_hook("db/0", "start");
    s.ask(Resolved { unit: "db/0".into(), retry: true }).await.unwrap();
    ana.sees("it failed before: charm.lua:").await;
    ana.types(".run").await;
    ana.sees("hook start returned").await;
    s.settle().await;
    s.expect_status("db/0", "started", "active").await;
    drop(ana);
});

story!(a_hook_fails_with_the_operators_words_and_commits_nothing, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    let mut ana = Operator::sits_down(&s, "db/0", &[]).await;
    s.set("db", "size", "2").await;
    ana.sees("config-changed is due").await;
    ana.types("unit:open_port(1)").await;
    ana.types("unit.state.bad = print").await;
    ana.types(".commit").await;
    ana.sees("this cannot be committed: unit.state").await;
    ana.types(".fail the disk is too small").await;
    ana.sees("hook config-changed has failed").await;
    s.settle().await;
    let unit = s.status().await.services["db"].units["db/0"].clone();
    assert_eq!(unit.agent_state_info.unwrap(), "hook failed: \"config-changed\": the disk is too small");
    assert!(s.model().units.values().all(|unit| unit.open_ports.is_empty()));
    s.ask(Resolved { unit: "db/0".into(), retry: true }).await.unwrap();
    ana.sees("it failed before: the disk is too small").await;
    drop(ana); // the connection is lost: the hook runs as usual
    s.settle().await;
    s.expect_status("db/0", "started", "active").await;
    assert_eq!(s.hooks_of("db/0").last().unwrap(), "config-changed");
});

story!(a_unit_has_one_session, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    let mut ana = Operator::sits_down(&s, "db/0", &[]).await;
    ana.sees("waiting for a hook").await;
    let refused = Operator::tries_to(&s, "db/0", &[]).await.err().unwrap();
    assert!(refused.error.starts_with("unit \"db/0\" is being debugged already, by ana since 20"), "{refused:?}");
    ana.sends(Frame::Interrupt).await;
    assert_eq!(ana.ends().await, Some(Frame::Exit(130)));
    let mut next = Operator::sits_down(&s, "db/0", &["start", "stop"]).await;
    next.sees("waiting for one of start, stop").await;
    drop(next);
});

story!(a_killed_controller_ends_the_session_and_the_hook_is_due_again, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    let mut ana = Operator::sits_down(&s, "db/0", &[]).await;
    s.set("db", "size", "2").await;
    ana.sees("config-changed is due").await;
    ana.types("unit:open_port(1)").await;
    s.kill_controller().await;
    let words = "the controller stops: the hooks of unit \"db/0\" are due again when it is started";
    assert_eq!(ana.ends().await, Some(Frame::Failed(words.into())));
    s.start_controller().await;
    s.settle().await;
    assert_eq!(s.hooks_of("db/0").last().unwrap(), "config-changed");
    assert!(s.model().units.values().all(|unit| unit.open_ports.is_empty()));
    let ana = Operator::sits_down(&s, "db/0", &[]).await;
    s.kill_controller().await;
    assert!(matches!(ana.ends().await, Some(Frame::Failed(_))));
    s.start_controller().await;
});

story!(a_unit_that_goes_is_told_and_its_last_hooks_can_be_debugged, s, {
    s.deploy("db", 2).await;
    s.settle().await;
    let mut ana = Operator::sits_down(&s, "db/1", &["stop"]).await;
    s.destroy_unit("db/1", false).await;
    ana.sees("unit \"db/1\" is dying: its last hooks are due").await;
    ana.sees("hook stop is due").await;
    says(&s, "db/1", "debug-hooks: waits for the operator at hook stop").await;
    ana.types(".fail it will not stop").await;
    assert_eq!(ana.ends().await, Some(Frame::Failed("unit \"db/1\" is removed: the session is over".into())));
    s.settle().await;
    let mut ana = Operator::sits_down(&s, "db/0", &[]).await;
    s.set("db", "size", "2").await;
    ana.sees("config-changed is due").await;
    s.hang_hook("db/0", "config-changed");
    ana.types("hook()").await;
    s.destroy_unit("db/0", true).await;
    assert_eq!(ana.ends().await, Some(Frame::Failed("unit \"db/0\" is removed: the session is over".into())));
});

story!(the_other_units_of_the_machine_wait_and_say_so, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    let mut ana = Operator::sits_down(&s, "db/0", &[]).await;
    s.set("db", "size", "2").await;
    ana.sees("config-changed is due").await;
    s.ask(AddUnit { service: "db".into(), units: 1, to: Some("1".into()) }).await.unwrap();
    let doing = "waits for db/0 (debug-hooks: waits for the operator at hook config-changed) on machine 1";
    says(&s, "db/1", doing).await;
    s.destroy_unit("db/1", true).await;
    s.ask(AddUnit { service: "db".into(), units: 1, to: Some("1".into()) }).await.unwrap();
    says(&s, "db/2", doing).await;
    ana.types(".commit").await;
    ana.sees("is committed").await;
    for hook in ["cluster-relation-joined", "cluster-relation-changed"] {
        assert!(!s.hooks_of("db/0").iter().any(|known| known.starts_with(hook)));
    }
    s.settle().await;
    s.expect_status("db/2", "started", "active").await;
    drop(ana);
});

story!(only_declared_hooks_stop_unless_they_are_named, s, {
    s.deploy("app", 1).await;
    s.deploy("db", 1).await;
    s.settle().await;
    let mut ana = Operator::sits_down(&s, "app/0", &["db-relation-created"]).await;
    s.relate("app", "db").await;
    ana.sees("hook db-relation-created is due").await;
    ana.types("hook()").await;
    ana.sees("prompt:1: the charm declares no hook db-relation-created").await;
    ana.types(".run").await;
    ana.sees("hook db-relation-created returned").await;
    s.settle().await; // db-relation-joined did not stop
    ana.sends(Frame::Interrupt).await;
    assert_eq!(ana.ends().await, Some(Frame::Exit(130)));
    let mut ana = Operator::sits_down(&s, "app/0", &[]).await;
    s.ask(DestroyRelation { endpoints: vec!["app".into(), "db".into()], force: false }).await.unwrap();
    ana.sees("hook db-relation-departed is due").await;
    drop(ana);
});

story!(a_line_that_hangs_is_interrupted_and_what_was_written_stays, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.hang_hook("db/0", "config-changed");
    let mut ana = Operator::sits_down(&s, "db/0", &["config-changed"]).await;
    s.set("db", "size", "2").await;
    ana.sees("is due").await;
    ana.types("x = 1 unit:open_port(5)").await;
    ana.types("print(\"before\") hook()").await;
    ana.sees("before\n").await;
    ana.sends(Frame::Interrupt).await;
    ana.sees("interrupted: the variables of this prompt are gone; what it wrote is kept").await;
    ana.types("x, unit:open_ports()").await;
    ana.sees("nil\t{ \"5/tcp\" }").await;
    ana.types("if x then").await;
    ana.types(".commit").await; // within an unfinished chunk it is Lua
    ana.sees("prompt:2: ").await;
    ana.types(".commit").await;
    ana.sees("is committed").await;
    s.settle().await;
    s.release_hook("db/0", "config-changed");
    drop(ana);
});

story!(a_script_ends_with_its_input, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    let ana = Operator::sits_down(&s, "db/0", &[]).await;
    for line in ["unit.state.a = 1", ".commit"] {
        ana.types(line).await;
    }
    ana.sends(Frame::Stdin(Vec::new())).await;
    s.set("db", "size", "2").await;
    assert_eq!(ana.ends().await, Some(Frame::Exit(0)));
    s.settle().await;
    assert_eq!(s.model().units[&"db/0".parse().unwrap()].state["a"], 1);
    let silent = Operator::sits_down(&s, "db/0", &[]).await;
    silent.sends(Frame::Stdin(Vec::new())).await;
    assert_eq!(silent.ends().await, Some(Frame::Exit(0)));
    // Without a verdict the hook runs as usual.
    let ana = Operator::sits_down(&s, "db/0", &[]).await;
    ana.types("unit.state.a = 2").await;
    ana.sends(Frame::Stdin(Vec::new())).await;
    s.set("db", "size", "3").await;
    assert_eq!(ana.ends().await, Some(Frame::Exit(0)));
    s.settle().await;
    assert_eq!(s.model().units[&"db/0".parse().unwrap()].state["a"], 1);
});

/// What a command in the machine is refused with; nothing if it runs.
async fn refused(s: &Scenario, machine: u32, user: Option<&str>) -> Option<String> {
    let place = ExecPlace { machine: MachineId::new(machine), user: user.map(str::to_owned) };
    let request = Exec { argv: vec!["true".into()], ..Exec::default() };
    s.backend()
        .exec(place, &request)
        .await
        .err()
        .map(|refusal| format!("{}; {}", refusal.error, refusal.hints.join("; ")))
}

story!(a_shell_is_refused_with_the_state_of_the_machine, s, {
    s.provider.fail_next("create", "no room");
    s.ask(AddMachine { count: 1, series: None, constraints: None, placement: None, name: None }).await.unwrap();
    s.settle().await;
    let failed = "machine 1 could not be created: no room; `encanto retry-provisioning 1` tries again";
    assert_eq!(refused(&s, 1, None).await.unwrap(), failed);
    assert_eq!(refused(&s, 0, None).await.unwrap(), "machine 0 is this host; open a terminal instead");
    s.destroy_machine("1", true).await;
    s.deploy("db", 2).await;
    s.settle().await;
    assert_eq!(refused(&s, 2, None).await, None);
    assert_eq!(refused(&s, 2, Some("www-data")).await, None);
    s.provider.fail_next("start", "no bridge");
    s.provider.stop_behind(&s.instance(2));
    s.until_instance(2, "unknown", 1).await;
    let down = "machine 2 is down; `encanto wait 2 --for started` returns when it is up again";
    assert_eq!(refused(&s, 2, None).await.unwrap(), down);
    s.provider.vanish(&s.instance(3));
    s.until_instance(3, "missing", 1).await;
    let lost = "machine 3 has lost its container; `encanto destroy-machine 3 --force` removes what is left of it";
    assert_eq!(refused(&s, 3, None).await.unwrap(), lost);
    s.destroy_machine("2", true).await;
    s.destroy_machine("3", true).await;
});
