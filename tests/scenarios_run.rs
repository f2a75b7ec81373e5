//! `run`: commands in machines, told to a real controller on the simulated provider.
//!
//! A line of the shell is `/bin/sh -c LINE` there, so that a story lets it fail or hang as a hook of unit `-c`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

mod support;

use std::future::IntoFuture;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use encanto::api::server::Peer;
use encanto::api::{self, Refusal, RunAnswer, RunResult};
use support::scenario::{Scenario, story};
use tokio::io::AsyncWriteExt;

fn request(line: &str) -> api::Run {
    let none = Vec::new();
    api::Run {
        units: none.clone(),
        services: none.clone(),
        machines: none,
        all: false,
        command: line.into(),
        timeout: 300,
    }
}

fn on_units(line: &str, units: &[&str]) -> api::Run {
    api::Run { units: units.iter().map(|unit| (*unit).to_owned()).collect(), ..request(line) }
}

async fn results(s: &Scenario, run: api::Run) -> Vec<RunResult> {
    s.ask(run).await.unwrap().results
}

/// `1 db/0 code 1: E: no room left`
fn told(result: &RunResult) -> String {
    let said = String::from_utf8(BASE64_STANDARD.decode(&result.stderr).unwrap()).unwrap();
    let words = result.error.as_deref().unwrap_or(said.trim_end());
    format!("{} {} code {}: {words}", result.machine, result.unit.as_deref().unwrap_or("-"), result.code)
}

fn log(s: &Scenario) -> String {
    use encanto::api::backend::Backend;
    s.backend().log_after(0, &|_| true).iter().map(|l| format!("{} {} {}\n", l.entity, l.module, l.message)).collect()
}

story!(a_line_runs_on_every_target_once, s, {
    s.deploy("db", 2).await;
    s.deploy("app", 1).await;
    s.settle().await;
    let wanted = api::Run {
        services: vec!["db".into()],
        machines: vec!["3".into(), "3".into()],
        ..on_units("uptime", &["app/0", "db/1"])
    };
    let all: Vec<String> = results(&s, wanted).await.iter().map(told).collect();
    assert_eq!(all, ["3 app/0 code 0: ", "1 db/0 code 0: ", "2 db/1 code 0: ", "3 - code 0: "]);
    let everywhere = results(&s, api::Run { all: true, ..request("uptime") }).await;
    assert_eq!(everywhere.iter().map(|result| result.machine.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
});

story!(a_line_that_fails_has_its_code_and_the_log_who_asked, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.fail_hook("-c", "mysql -p hunter22");
    let failed = results(&s, on_units("mysql -p hunter22", &["db/0"])).await;
    assert_eq!(told(&failed[0]), "1 db/0 code 1: reading the list\nE: no room left");
    let said = log(&s);
    assert!(said.contains("unit-db-0 run a command begins, asked for by `ana: run`\n"), "{said}");
    assert!(said.contains("unit-db-0 run the command ended with code 1\n") && !said.contains("hunter22"), "{said}");
});

story!(what_takes_too_long_is_ended, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.hang_hook("-c", "sleep 1000");
    let run = api::Run { timeout: 1, ..on_units("sleep 1000", &["db/0"]) };
    assert_eq!(told(&results(&s, run).await[0]), "1 db/0 code 137: command timed out after 1 s");
});

story!(a_line_for_a_unit_has_the_machine_for_itself_until_its_client_goes, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.hang_hook("-c", "sleep 1000");
    let before = s.hooks_of("db/0").len();
    let folder = tempfile::tempdir().unwrap();
    let listener = tokio::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let server =
        tokio::spawn(axum::serve(listener, s.api().into_make_service_with_connect_info::<Peer>()).into_future());

    let mut client = tokio::net::UnixStream::connect(folder.path().join("socket")).await.unwrap();
    let body = serde_json::to_string(&on_units("sleep 1000", &["db/0"])).unwrap();
    let head = format!("POST /v1/run HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
    let request = format!("{head}Encanto-Version: {}\r\n\r\n{body}", api::VERSION);
    client.write_all(request.as_bytes()).await.unwrap();
    let unit = "db/0".parse().unwrap();
    let running = |observed: &encanto::model::Observed| {
        observed.unit_activity.get(&unit).is_some_and(|doing| *doing == encanto::model::UnitActivity::Command)
    };
    s.until_observed("the command runs", running).await;
    s.set("db", "size", "7").await;
    assert_eq!(s.hooks_of("db/0").len(), before, "the hook waits");

    drop(client);
    s.settle().await;
    assert_eq!(s.hooks_of("db/0")[before..], ["config-changed"]);
    server.abort();
});

story!(with_its_unit_a_line_ends, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.hang_hook("-c", "sleep 1000");
    let run = s.ask(on_units("sleep 1000", &["db/0"]));
    let destroy = async {
        let busy = |model: &encanto::model::Model| model.units.len() == 1;
        s.until("the unit is there", busy).await;
        s.destroy_unit("db/0", true).await;
    };
    let (ran, ()): (Result<RunAnswer, Refusal>, ()) = tokio::join!(run, destroy);
    assert_eq!(told(&ran.unwrap().results[0]), "1 db/0 code 0: unit db/0 was removed");
});

story!(what_is_not_there_is_refused_and_what_is_not_up_is_told, s, {
    s.provider.fail_next("create", "no room");
    s.deploy("db", 2).await;
    s.settle().await;
    let errors: Vec<_> = results(&s, api::Run { services: vec!["db".into()], ..request("true") }).await;
    let errors: Vec<String> = errors.iter().filter_map(|result| result.error.clone()).collect();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].contains("could not be created: ") && errors[0].contains("no room"), "{errors:?}");
    let refused = |run| async { s.ask(run).await.unwrap_err().error };
    assert_eq!(refused(on_units("true", &["db/0", "db/7"])).await, "unit \"db/7\" not found");
    assert_eq!(
        refused(api::Run { services: vec!["app".into()], ..request("true") }).await,
        "service \"app\" not found"
    );
    assert_eq!(refused(api::Run { machines: vec!["9".into()], ..request("true") }).await, "machine 9 not found");
    assert!(refused(request("true")).await.starts_with("no targets"));
    let host = results(&s, api::Run { machines: vec!["0".into()], ..request("true") }).await;
    assert_eq!(host[0].error.as_deref(), Some("machine 0 is this host"));
    // Either may have come first.
    let failed = if errors[0].contains("machine 1 ") { "1" } else { "2" };
    s.destroy_machine(failed, true).await;
});

story!(a_machine_that_is_lost_is_why_a_line_could_not_be_run, s, {
    s.deploy("db", 1).await;
    s.settle().await;
    s.provider.vanish(&s.instance(1));
    s.until_instance(1, "missing", 0).await;
    let refused = results(&s, on_units("uptime", &["db/0"])).await;
    assert_eq!(told(&refused[0]), "1 db/0 code 0: machine 1 has lost its container");
    s.destroy_machine("1", true).await;
});
