//! What only a provider on another host does: it is reached over a connection, which may break.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use encanto::provider::remote::client::{Keeper, Line, greet};
use encanto::provider::remote::protocol::{Errand, Frame, Hello, Place, Tag};
use encanto::provider::remote::{Connector, RemoteProvider, RemoteSettings, server};
use encanto::provider::simulated::{ExecScript, SimulatedProvider};
use encanto::provider::{ExecEnd, Provider, ProviderError, WriteOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::task::AbortHandle;

use crate::bed::Environment;
use crate::tools::{command, exec};

/// The other ends of all connections of this process, by their environment's folder, to be cut by rules.
static ENDS: Mutex<Vec<(String, AbortHandle)>> = Mutex::new(Vec::new());

const MUCH: usize = 100 << 20;

struct NextDoor {
    provider: Arc<SimulatedProvider>,
    name: String,
}

struct Nobody;

#[async_trait]
impl Keeper for Nobody {
    async fn why(&mut self) -> ProviderError {
        ProviderError::Remote { words: "the wire was cut".into(), remedy: None }
    }
}

#[async_trait]
impl Connector for NextDoor {
    fn host(&self) -> &str {
        "next-door"
    }

    async fn connect(&self) -> Result<Line, ProviderError> {
        let (line, end) = line(self.provider.clone());
        ENDS.lock().unwrap().push((self.name.clone(), end));
        Ok(line)
    }
}

/// A line, and what ends its other end.
fn line(provider: Arc<SimulatedProvider>) -> (Line, AbortHandle) {
    let (here, there) = duplex(1 << 16);
    let (input, output) = tokio::io::split(there);
    let end = tokio::spawn(async move {
        let provider: Arc<dyn Provider> = provider;
        let _ = server::attend(input, output, async |_: Place| Ok(provider)).await;
    });
    let (input, output) = tokio::io::split(here);
    (Line { input: Box::new(input), output: Box::new(output), keeper: Box::new(Nobody) }, end.abort_handle())
}

fn place(folder: &Path) -> RemoteSettings {
    let place = Place {
        user: "test".into(),
        environment: "contractremote".into(),
        controller: "this".into(),
        mirror: None,
        series: "bookworm".into(),
        default_kind: None,
    };
    std::fs::create_dir_all(folder).unwrap();
    RemoteSettings { place, mark: folder.join("mark") }
}

/// A simulated provider as if it were on another host.
pub fn far_away(provider: Arc<SimulatedProvider>, folder: &Path) -> Arc<dyn Provider> {
    let kinds = (provider.kinds(), Vec::new());
    let connector = NextDoor { provider, name: folder.display().to_string() };
    Arc::new(RemoteProvider::new(Box::new(connector), place(folder), kinds))
}

/// Cuts the connections of an environment.
fn cut(on: &Environment) {
    let name = on.folder.display().to_string();
    ENDS.lock().unwrap().iter().filter(|(of, _)| *of == name).for_each(|(_, end)| end.abort());
}

async fn calls_come(on: &Environment, kind: &str, wanted: usize) {
    let seen = || on.simulated().calls().iter().filter(|call| call.kind == kind).count();
    let come = async {
        while seen() < wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(on.bed.moment(), come).await.is_ok(), "{} calls of {kind}", seen());
}

fn sleeping(on: &Environment) {
    on.simulated().answer_exec(|_, _| ExecScript { hangs: true, ..ExecScript::default() });
}

#[track_caller]
fn is_cut<T>(result: Result<T, ProviderError>) {
    let words = result.map(|_| ()).unwrap_err().to_string();
    assert!(words.contains("the wire was cut") || words.contains("is lost"), "{words}");
}

/// Each kind of call is in its middle when the connection breaks.
pub async fn whoever_waits_learns_that_the_connection_is_lost(on: &Environment) {
    let one = on.machine().await;
    let (provider, simulated) = (&*on.provider, on.simulated());
    let many = ["start", "stop", "list", "read_file", "write_file", "publish"];
    many.iter().for_each(|kind| simulated.hold(kind));
    let before = |kind: &str| simulated.calls().iter().filter(|call| call.kind == kind).count();
    let wanted: Vec<(&str, usize)> = many.iter().map(|kind| (*kind, before(kind) + 1)).collect();
    sleeping(on);
    let mut run = provider.exec(&one, command(&["sleep", "9"])).await.unwrap();
    let big = vec![0; 3 << 20];
    let options = WriteOptions::default();
    let cutting = async {
        for (kind, wanted) in wanted {
            calls_come(on, kind, wanted).await;
        }
        cut(on);
    };
    let ended = tokio::join!(
        provider.start(&one),
        provider.stop(&one),
        provider.list(),
        provider.read_file(&one, "/x", 9),
        provider.write_file(&one, "/x", &big, &options),
        provider.publish(&[]),
        run.control.wait(),
        provider.disturbed(),
        cutting
    );
    many.iter().for_each(|kind| simulated.let_go(kind));
    is_cut(ended.0);
    is_cut(ended.1);
    is_cut(ended.2);
    is_cut(ended.3);
    is_cut(ended.4);
    is_cut(ended.5);
    is_cut(ended.6);
    assert!(ended.7.contains("the wire was cut"), "a lost connection is damage: {}", ended.7);
    // Its streams are at their end, and it takes nothing more.
    let mut rest = Vec::new();
    run.stdout.read_to_end(&mut rest).await.unwrap();
    assert!(run.stdin.write_all(&big).await.is_err());
}

pub async fn the_next_call_connects_again(on: &Environment) {
    let one = on.machine().await;
    let watcher = (on.provider.clone(), one.clone());
    let watched = tokio::spawn(async move { watcher.0.ended(&watcher.1).await });
    for _ in 0..3 {
        cut(on);
        // The end may be noticed by this call.
        let mut listed = on.provider.list().await;
        if listed.is_err() {
            listed = on.provider.list().await;
        }
        assert!(listed.unwrap().contains_key(&one));
    }
    assert!(!watched.is_finished(), "the machine has not ended, only the connection");
    on.simulated().stop_behind(&one);
    assert!(tokio::time::timeout(on.bed.moment(), watched).await.is_ok());
    on.provider.mend().await.unwrap();
}

pub async fn what_nobody_waits_for_is_dropped(on: &Environment) {
    let one = on.machine().await;
    let until = tokio::sync::watch::channel(false);
    let receiver = until.1;
    on.simulated().answer_exec(move |_, _| ExecScript {
        hangs: true,
        until: Some(receiver.clone()),
        ..ExecScript::default()
    });
    // The answer itself, and the command.
    assert_eq!(until.0.receiver_count(), 1);
    let run = on.provider.exec(&one, command(&["sleep", "9"])).await.unwrap();
    assert!(until.0.receiver_count() > 1, "it runs");
    drop(run);
    let gone = async {
        while until.0.receiver_count() > 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(on.bed.moment(), gone).await.is_ok(), "the command was not dropped");
    // A call that is held there and dropped here holds up nobody.
    on.simulated().hold("stop");
    let before = on.simulated().calls().iter().filter(|call| call.kind == "stop").count();
    tokio::select! {
        stopped = on.provider.stop(&one) => panic!("{stopped:?}"),
        () = calls_come(on, "stop", before + 1) => {}
    }
    on.provider.list().await.unwrap();
    on.simulated().let_go("stop");
    assert_eq!(on.provider.list().await.unwrap()[&one], encanto::provider::InstanceState::Running);
}

/// A command that nobody reads has much to say, while files go to and fro.
pub async fn much_goes_both_ways_beside_what_nobody_reads(on: &Environment) {
    let one = on.machine().await;
    let provider = &*on.provider;
    on.simulated().answer_exec(|_, _| ExecScript { stdout: vec![7; 20 << 20], ..ExecScript::default() });
    let mut unread = provider.exec(&one, command(&["much"])).await.unwrap();
    let content: Vec<u8> = (0..MUCH).map(|at| u8::try_from((at + at / 251) % 251).unwrap()).collect();
    let options = WriteOptions::default();
    let quick = async {
        for _ in 0..50 {
            provider.list().await.unwrap();
        }
    };
    let (written, ()) = tokio::join!(provider.write_file(&one, "/srv/much", &content, &options), quick);
    written.unwrap();
    assert!(provider.read_file(&one, "/srv/much", MUCH as u64).await.unwrap() == content);
    let mut said = Vec::new();
    let (read, end) = tokio::join!(unread.stdout.read_to_end(&mut said), unread.control.wait());
    assert_eq!((read.unwrap(), end.unwrap()), (20 << 20, ExecEnd::Exited(0)));
}

pub async fn lines_about_long_work_come_through(on: &Environment) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = lines.clone();
    on.provider.open(Arc::new(move |line| kept.lock().unwrap().push(line.to_owned()))).await.unwrap();
    assert_eq!(*lines.lock().unwrap(), ["connecting to the other host", "opening the simulated provider"]);
    assert_eq!(on.provider.host_address(), on.simulated().host_address());
    assert_eq!(on.provider.base_key(None, "bookworm"), on.simulated().base_key(None, "bookworm"));
    assert_eq!(on.provider.base_key(Some("kvm"), "trixie"), on.simulated().base_key(Some("kvm"), "trixie"));
    // What a kind is like may be found out later.
    on.simulated().emulate();
    on.provider.list().await.unwrap();
    on.provider.list().await.unwrap();
    assert_eq!(on.provider.kinds(), on.simulated().kinds());
}

pub async fn errors_keep_their_meaning(on: &Environment) {
    let one = on.machine().await;
    let missing = on.provider.read_file(&one, "/none", 9).await.unwrap_err();
    assert!(matches!(missing, ProviderError::NoFile { .. }), "{missing:?}");
    on.simulated().fail_next("list", "no room");
    assert_eq!(on.provider.list().await.unwrap_err().to_string(), "no room");
    let ended = exec(&*on.provider, &one, command(&["true"]), b"x").await;
    assert_eq!(ended.end, ExecEnd::Exited(0));
}

pub async fn another_version_is_refused(on: &Environment) {
    let (mut far, _end) = line(Arc::new(SimulatedProvider::new()));
    let errand = Errand::Serve(place(&on.folder).place);
    let hello = Hello { version: "0.0.1".into(), errand: errand.clone() };
    Frame::json(0, Tag::Call, &hello).write(&mut far.output).await.unwrap();
    let answer = Frame::read(&mut far.input).await.unwrap().unwrap();
    let answer = String::from_utf8(answer.payload).unwrap();
    assert!(answer.contains("the controller is encanto 0.0.1, and on the other host there is"), "{answer}");
    // And what is no encanto at all.
    let (here, mut there) = duplex(1 << 10);
    there.write_all(b"Welcome to far.example.org\n").await.unwrap();
    let (input, output) = tokio::io::split(here);
    let mut odd = Line { input: Box::new(input), output: Box::new(output), keeper: Box::new(Nobody) };
    let error = greet(&mut odd, errand).await.unwrap_err();
    assert!(error.to_string().contains("Welcome"), "{error}");
}
