//! The helper itself, on this host in place of a machine: all but libvirt and the virtio port is the real thing.

mod commands;
mod files;
mod loss;

use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Child;

use super::boot::HELPER;
use super::inside::{Inside, Insides};
use super::way::{Way, Wire};
use crate::provider::{ExecEnd, ExecRequest, InstanceName, ProviderError, command};

/// How a helper is run whose port is a socket.
const PLAIN: &str = "perl guest.pl -";

/// As one whose port is a virtio port: what is said there comes by another way than the word that somebody is at its other
/// end, and may be first. So once something was read, it is told one time that nobody is there, and that this changes.
const EARLY: &str = r#"perl -e '
BEGIN {
    *CORE::GLOBAL::sysopen = sub (*$$;$) {
        return open $_[0], "+<&", \*STDIN if $_[1] eq "port";
        return CORE::sysopen $_[0], $_[1], $_[2], $_[3] // 0666;
    };
    my $is_early = 1;
    *CORE::GLOBAL::sysread = sub (*\$$;$) {
        my ($handle, $into, $count, $offset) = @_;
        my $got = CORE::sysread $handle, $$into, $count, $offset // 0;
        return $got unless $is_early and !defined $got and defined $offset and length $$into;
        $is_early = 0;
        kill "IO", $$;
        return 0;
    };
}
do "./guest.pl" or die $@ || $!' port"#;

/// A machine whose helper is a child of the test.
struct FakeMachine {
    name: InstanceName,
    folder: tempfile::TempDir,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Its command line, without the rest of the arguments.
    helper: &'static str,
    off: bool,
    paused: bool,
    calls: usize,
    /// The call that fails, counted from 1.
    fails_at: Option<usize>,
    /// How the starter ends.
    starter: Option<Value>,
    port: Option<StdUnixStream>,
    helpers: Vec<Child>,
}

impl FakeMachine {
    fn new() -> Arc<Self> {
        let name = InstanceName::new("fake").unwrap();
        let state = State { helper: PLAIN, ..State::default() };
        Arc::new(Self { name, folder: tempfile::tempdir().unwrap(), state: Mutex::new(state) })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn call(&self) -> Result<(), ProviderError> {
        let mut state = self.state();
        state.calls += 1;
        if state.fails_at == Some(state.calls) {
            return Err(ProviderError::Libvirt { words: "no".into(), remedy: None });
        }
        Ok(())
    }

    /// Ends the newest helper with no chance to clean up.
    fn kill_helper(&self) {
        let mut state = self.state();
        let helper = state.helpers.last_mut().unwrap();
        helper.start_kill().unwrap();
        while helper.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
    }

    fn helper(&self) -> u32 {
        self.state().helpers.last().unwrap().id().unwrap()
    }

    fn begin_helper(&self, arguments: &Value) {
        let word = |place: usize| arguments["arg"][place].as_str().unwrap();
        let at = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(at("guest.pl"), HELPER).unwrap();
        let folder = self.folder.path().display();
        // As the starter's shell, which has what it starts beside itself ignore both.
        let mut state = self.state();
        let (helper, version, mark) = (state.helper, word(3), word(5));
        let line = format!("trap '' INT QUIT; cd {folder}; exec {helper} {version} {folder} {mark} 2>log");
        std::fs::write(at("start"), line).unwrap();
        let port = state.port.take().unwrap();
        let helper = command::spawn_helper(Path::new("/bin/sh"), &at("start"), port.into()).unwrap();
        state.helpers.push(helper);
    }
}

impl Drop for FakeMachine {
    fn drop(&mut self) {
        for helper in &mut self.state().helpers {
            let _ = helper.start_kill();
        }
    }
}

#[async_trait]
impl Way for FakeMachine {
    fn name(&self) -> &InstanceName {
        &self.name
    }

    async fn is_running(&self) -> Result<bool, ProviderError> {
        self.call()?;
        Ok(!self.state().off)
    }

    async fn is_paused(&self) -> Result<bool, ProviderError> {
        self.call()?;
        Ok(self.state().paused)
    }

    async fn ask(&self, question: Value) -> Result<Value, ProviderError> {
        self.call()?;
        match question["execute"].as_str().unwrap() {
            "guest-exec" if self.state().starter.is_none() => {
                self.begin_helper(&question["arguments"]);
                Ok(json!({"pid": 7}))
            }
            "guest-exec" => Ok(json!({"pid": 7})),
            "guest-exec-status" => Ok(self.state().starter.clone().unwrap_or(json!({"exited": true, "exitcode": 0}))),
            _ => Ok(json!({})),
        }
    }

    async fn connect(&self) -> Result<Wire, ProviderError> {
        self.call()?;
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        self.state().port = Some(theirs);
        let (output, input) = UnixStream::from_std(ours).unwrap().into_split();
        Ok(Wire { input: Box::new(input), output: Box::new(output) })
    }

    async fn is_served(&self) -> Result<bool, ProviderError> {
        self.call()?;
        Ok(self.state().helpers.last_mut().is_some_and(|helper| helper.try_wait().unwrap().is_none()))
    }
}

fn inside(machine: &Arc<FakeMachine>) -> Inside {
    Insides::default().of(machine.clone())
}

fn shell(script: &str) -> ExecRequest {
    request(&["sh", "-c", script])
}

/// As whoever runs the tests: only root can become somebody else.
fn request(argv: &[&str]) -> ExecRequest {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let uid = rustix::process::getuid().as_raw().to_string();
    let user = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid)).unwrap();
    let user = user.split(':').next().map(str::to_owned);
    ExecRequest { argv: argv.iter().map(|word| (*word).to_owned()).collect(), user, ..ExecRequest::default() }
}

struct Ended {
    end: ExecEnd,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Ended {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

async fn exec(inside: &Inside, request: ExecRequest, input: &[u8]) -> Ended {
    let mut run = inside.exec(request).await.unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let feed = async {
        let _ = run.stdin.write_all(input).await;
        drop(run.stdin);
    };
    let (_, out, err, end) = tokio::join!(
        feed,
        run.stdout.read_to_end(&mut stdout),
        run.stderr.read_to_end(&mut stderr),
        run.control.wait()
    );
    out.unwrap();
    err.unwrap();
    Ended { end: end.unwrap(), stdout, stderr }
}
