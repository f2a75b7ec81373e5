//! What only the simulated provider does: as it is told.

use std::collections::BTreeMap;

use encanto::provider::simulated::ExecScript;
use encanto::provider::{ExecEnd, InstanceState};

use crate::bed::Environment;
use crate::tools::{command, exec};

pub async fn it_fails_when_told(on: &Environment) {
    let (one, two) = (on.name_of_one(), on.name_of_one());
    on.simulated().fail_nth("create", 2, "no room");
    on.provider.create(&on.spec(&one)).await.unwrap();
    assert_eq!(on.provider.create(&on.spec(&two)).await.unwrap_err().to_string(), "no room");
    assert_eq!(on.provider.list().await.unwrap(), BTreeMap::from([(one, InstanceState::Running)]));
    on.provider.create(&on.spec(&two)).await.unwrap();
}

pub async fn it_answers_as_scripted(on: &Environment) {
    let one = on.machine().await;
    on.simulated().answer_exec(|_, request| match request.argv[0].as_str() {
        "fail" => ExecScript { exit: 7, stderr: b"oh".to_vec(), ..ExecScript::default() },
        _ => ExecScript { stdout: b"well".to_vec(), ..ExecScript::default() },
    });
    let ended = exec(&*on.provider, &one, command(&["fail"]), b"").await;
    assert_eq!((ended.end, ended.stdout.as_slice(), ended.errors().as_str()), (ExecEnd::Exited(7), &b""[..], "oh"));
    let ended = exec(&*on.provider, &one, command(&["other"]), b"").await;
    assert_eq!((ended.end, ended.text().as_str()), (ExecEnd::Exited(0), "well"));
}
