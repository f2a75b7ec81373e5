//! What changes when a person looks on: tables, colour, a tree that is drawn over, a shell in raw mode.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::Barrier;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::json;

use super::streams::{frame, progress, read_frame, waited};
use crate::support::Env;
use crate::support::fake::{Fake, Reply};

/// A terminal of 80 columns, and a program whose three streams it is.
struct Terminal {
    screen: File,
    /// Kept, so that the settings outlive the program.
    keyboard: File,
    child: Child,
    /// Read, and not looked at yet.
    rest: String,
}

impl Terminal {
    fn run(env: &Env, line: &str) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let keyboard = File::from(ioctl_tiocgptpeer(&screen, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
        tcsetwinsize(&screen, Winsize { ws_col: 80, ws_row: 24, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let end = || keyboard.try_clone().unwrap();
        let mut command = env.command(line);
        command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        Self { screen: File::from(screen), keyboard, child, rest: String::new() }
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.keyboard).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    /// Reads until the text has come; what came with it after the text is looked at by the next call too.
    fn shows(&mut self, text: &str) -> String {
        let mut seen = std::mem::take(&mut self.rest);
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = seen.find(text) {
                self.rest = seen[at + text.len()..].to_owned();
                return seen;
            }
            let mut awaited = [PollFd::new(&self.screen, PollFlags::IN)];
            let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
            assert!(poll(&mut awaited, Some(&patience)).unwrap() > 0, "{text:?} did not come: {seen:?}");
            let count = self.screen.read(&mut buffer).unwrap();
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    fn ends(mut self, code: i32) {
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code));
        assert!(!self.is_raw());
    }
}

/// No services, and the host.
fn bare(name: &str) -> serde_json::Value {
    let host = json!({ "instance-id": "localhost", "series": "bookworm" });
    json!({ "environment": name, "machines": { "0": host }, "services": {} })
}

#[test]
fn a_person_gets_a_table_and_advice() {
    let env = Env::simulated();
    Fake::always(&env, 200, bare("sim"));
    let mut terminal = Terminal::run(&env, "status");
    let shown = terminal.shows("encanto deploy mediawiki");
    assert!(shown.contains("\x1b[1m[Machines]\x1b[0m"), "{shown:?}");
    assert!(shown.contains("environment \"sim\" has no services yet"), "{shown:?}");
    terminal.ends(0);
}

#[test]
fn colour_can_be_refused() {
    for (line, variable) in [("status --no-color", ("X", "")), ("status", ("NO_COLOR", "1"))] {
        let env = Env::simulated().with(variable.0, variable.1);
        Fake::always(&env, 200, bare("sim"));
        let mut terminal = Terminal::run(&env, line);
        assert!(!terminal.shows("encanto deploy mediawiki").contains('\x1b'));
        terminal.ends(0);
    }
}

#[test]
fn waiting_draws_a_tree() {
    let (env, _fake) = waited(vec![
        progress("machine 1", "started", "ready"),
        progress("mysql/0", "active", "serving"),
        json!({ "event": "ready" }),
    ]);
    let mut terminal = Terminal::run(&env, "wait");
    let shown = terminal.shows("serving");
    assert!(shown.contains("✓") && shown.contains("\x1b[J"), "{shown:?}");
    terminal.ends(0);
}

#[test]
fn a_watched_status_is_drawn_over_until_it_is_interrupted() {
    let env = Env::simulated();
    Fake::controller(&env, move |_, _| Reply::Endless(vec![bare("a"), bare("b")]));
    let mut terminal = Terminal::run(&env, "status --watch");
    let shown = terminal.shows("\x1b[J\x1b[?7l\x1b[H\x1b[1m[Machines]");
    assert!(shown.contains("\x1b[2J"), "{shown:?}");
    let pid = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    terminal.shows("\x1b[?7h");
    terminal.ends(130);
}

/// Tells what it was asked to become, what is typed, and each new size.
fn shell(mut stream: UnixStream) {
    stream.write_all(&frame(1, b"ready")).unwrap();
    loop {
        let (kind, payload) = read_frame(&mut stream);
        let text = match (kind, &payload[..]) {
            (0, b"q") => break,
            (0, typed) => format!("typed {typed:?}"),
            (3, &[_, columns, _, rows]) => format!("resized {columns}x{rows}"),
            other => panic!("{other:?}"),
        };
        stream.write_all(&frame(1, text.as_bytes())).unwrap();
    }
    stream.write_all(&frame(4, &7i32.to_be_bytes())).unwrap();
}

#[test]
fn a_shell_gets_every_key_and_every_size() {
    let env = Env::simulated();
    let fake = Fake::controller(&env, |_, _| Reply::Upgraded(shell));
    let mut terminal = Terminal::run(&env, "ssh mysql/0");
    terminal.shows("ready");
    assert_eq!(fake.was_asked().body["terminal"], json!([80, 24]));
    assert_eq!(fake.was_asked().body["term"], json!("xterm"));
    assert_eq!(fake.was_asked().body["argv"], json!([]));
    // Ctrl-C is a key like any other.
    terminal.screen.write_all(b"\x03").unwrap();
    terminal.shows("typed [3]");
    assert!(terminal.is_raw());
    tcsetwinsize(&terminal.screen, Winsize { ws_col: 100, ws_row: 30, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let pid = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).unwrap();
    terminal.shows("resized 100x30");
    terminal.screen.write_all(b"q").unwrap();
    terminal.ends(7);
}

/// Asks for lines, gives the keys to a shell for a while, and ends when it is told.
fn debugged(mut stream: UnixStream) {
    stream.write_all(&frame(6, b"a/0 start> ")).unwrap();
    assert_eq!(read_frame(&mut stream), (7, b"x = 1".to_vec()));
    stream.write_all(&frame(6, b"a/0 start> ")).unwrap();
    assert_eq!(read_frame(&mut stream), (9, Vec::new()));
    stream.write_all(&[frame(8, b"\x01"), frame(1, b"in a shell")].concat()).unwrap();
    assert_eq!(read_frame(&mut stream), (3, vec![0, 80, 0, 24]));
    assert_eq!(read_frame(&mut stream), (0, b"\x03".to_vec()));
    stream.write_all(&[frame(8, b"\0"), frame(1, b"left it\n"), frame(6, b"a/0 start> ")].concat()).unwrap();
    assert_eq!(read_frame(&mut stream), (7, b"x = 1".to_vec()));
    stream.write_all(&[frame(6, b"a/0 start> "), frame(2, b"it is dying\n")].concat()).unwrap();
    assert_eq!(read_frame(&mut stream), (0, Vec::new()));
    stream.write_all(&frame(5, b"it is gone")).unwrap();
}

#[test]
fn lines_can_be_edited_and_a_shell_gets_every_key() {
    let env = Env::simulated();
    let fake = Fake::controller(&env, |_, _| Reply::Upgraded(debugged));
    let mut terminal = Terminal::run(&env, "debug-hooks a/0");
    terminal.shows("a/0 start> ");
    assert_eq!(
        (&fake.was_asked().body["terminal"], &fake.was_asked().body["term"]),
        (&json!([80, 24]), &json!("xterm"))
    );
    // Mistyped, deleted, typed anew.
    terminal.screen.write_all(b"y\x7fx = 1\r").unwrap();
    terminal.shows("a/0 start> ");
    // Ctrl-C gives the line up.
    terminal.screen.write_all(b"abc\x03").unwrap();
    terminal.shows("in a shell");
    // There it is a key like any other.
    terminal.screen.write_all(b"\x03").unwrap();
    terminal.shows("left it");
    terminal.shows("a/0 start> ");
    // The line before is one key away; Ctrl-D ends it all.
    terminal.screen.write_all(b"\x1b[A\r").unwrap();
    terminal.shows("it is dying");
    terminal.shows("a/0 start> ");
    terminal.screen.write_all(b"\x04").unwrap();
    terminal.shows("it is gone");
    terminal.ends(1);
}

#[test]
fn a_session_that_ends_while_a_line_is_typed_gives_the_terminal_back() {
    static RAW: Barrier = Barrier::new(2);
    let env = Env::simulated();
    Fake::controller(&env, |_, _| {
        Reply::Upgraded(|mut stream| {
            stream.write_all(&frame(6, b"a/0 start> ")).unwrap();
            RAW.wait();
        })
    });
    let mut terminal = Terminal::run(&env, "debug-hooks a/0");
    terminal.shows("a/0 start> ");
    assert!(terminal.is_raw());
    RAW.wait();
    terminal.shows("the controller has ended");
    terminal.ends(1);
}

#[test]
fn an_interrupted_wait_says_that_the_work_goes_on() {
    let env = Env::simulated();
    Fake::controller(&env, |_, _| Reply::Endless(vec![progress("machine 1", "pending", "making it")]));
    let mut terminal = Terminal::run(&env, "wait");
    terminal.shows("making it");
    let pid = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    terminal.shows("interrupted: what was begun goes on");
    terminal.ends(130);
}
