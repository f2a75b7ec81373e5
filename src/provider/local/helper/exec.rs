//! Runs one command in a machine and watches over it.
//!
//! The control socket is a lifeline: when the controller closes its end, or dies, the command's process group is killed.

use std::ffi::CString;
use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, kill_process_group, pidfd_open, waitpid};
use rustix::pty::OpenptFlags;

use super::enter::{Capabilities, MachineCgroups, User, become_user, c_string, join_namespaces};
use super::{At as _, ExecOrder, HelperReply, Refused, Step};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As a shell has it.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// Reads the request's length and the descriptors sent along with it (none if standard input is a pipe).
pub fn receive_head() -> std::io::Result<([u8; 4], Vec<OwnedFd>)> {
    let mut head = [0; 4];
    let mut passed = Vec::new();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let stdin = std::io::stdin();
    match recvmsg(&stdin, &mut [IoSliceMut::new(&mut head)], &mut control, RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL)
    {
        Ok(_) => {}
        Err(rustix::io::Errno::NOTSOCK) => stdin.lock().read_exact(&mut head)?,
        Err(error) => return Err(error.into()),
    }
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            passed.extend(descriptors);
        }
    }
    Ok((head, passed))
}

/// Serves one command to its end. Everything is told over the control socket.
pub fn serve(order: &ExecOrder, passed: Vec<OwnedFd>) {
    // SAFETY: standard input is the control socket and stays open until the process ends.
    let control = unsafe { BorrowedFd::borrow_raw(0) };
    let reply = match start(order, passed) {
        Ok(Ok(running)) => {
            tell(control, &HelperReply::Started, running.terminal.as_ref());
            // The controller holds the master now; a second holder would keep the terminal from ending.
            let Running { pid, terminal } = running;
            drop(terminal);
            watch(control, pid, order.timeout_ms.map(Duration::from_millis))
        }
        Ok(Err(reply)) => reply,
        Err(refused) => HelperReply::Failed { step: refused.step, errno: refused.errno },
    };
    tell(control, &reply, None);
}

struct Running {
    pid: Pid,
    terminal: Option<OwnedFd>,
}

/// The outer error is the kernel's, the inner one the caller's.
fn start(order: &ExecOrder, passed: Vec<OwnedFd>) -> Step<Result<Running, HelperReply>> {
    let mut place = (MachineCgroups::open(order.init)?, Capabilities::of(order.init)?);
    join_namespaces(order.init, true)?;
    let name = order.user.as_deref().unwrap_or("root");
    let root = || User { uid: 0, gid: 0, home: "/root".into(), groups: vec![0] };
    let user = match User::find(name) {
        Some(user) => user,
        None if name == "root" => root(),
        None => return Ok(Err(HelperReply::NoUser(name.to_owned()))),
    };
    match &order.cwd {
        Some(folder) => std::env::set_current_dir(folder).at(format!("enter the folder {folder}"))?,
        None => std::env::set_current_dir(&user.home).or_else(|_| std::env::set_current_dir("/")).at("enter /")?,
    }
    let program = Program::prepare(order, &user)?;
    let (master, streams) = match order.terminal {
        Some(size) => {
            let (master, slave) = open_terminal(size)?;
            let streams = vec![slave.try_clone().at("copy")?, slave.try_clone().at("copy")?, slave];
            (Some(master), streams)
        }
        None => (None, passed),
    };
    if streams.len() != 3 {
        return Err(Refused { step: "take over three streams".into(), errno: libc::EBADF });
    }
    // SAFETY: the process has one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = become_command(&mut place, &streams, &user, &program, order.terminal.is_some());
        // SAFETY: ends the child without running anything of its parent's.
        unsafe { libc::_exit(code) }
    }
    match Pid::from_raw(child) {
        Some(pid) if child > 0 => Ok(Ok(Running { pid, terminal: master })),
        _ => Err(std::io::Error::last_os_error()).at("fork"),
    }
}

/// Everything that needs memory, made before the fork.
struct Program {
    argv: Vec<CString>,
    env: Vec<CString>,
    candidates: Vec<CString>,
}

impl Program {
    fn prepare(order: &ExecOrder, user: &User) -> Step<Self> {
        let mut env = std::collections::BTreeMap::from([
            ("PATH", PATH),
            ("HOME", user.home.as_str()),
            ("USER", order.user.as_deref().unwrap_or("root")),
            ("LANG", "C.UTF-8"),
        ]);
        if order.terminal.is_some() {
            env.insert("TERM", "xterm-256color");
        }
        env.extend(order.env.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let name = order.argv.first().map(String::as_str).unwrap_or_default();
        let candidates = if name.contains('/') {
            vec![c_string(name)?]
        } else {
            let folders = env.get("PATH").copied().unwrap_or(PATH).split(':');
            folders.map(|folder| c_string(format!("{folder}/{name}"))).collect::<Step<_>>()?
        };
        Ok(Self {
            argv: order.argv.iter().map(c_string).collect::<Step<_>>()?,
            env: env.iter().map(|(key, value)| c_string(format!("{key}={value}"))).collect::<Step<_>>()?,
            candidates,
        })
    }

    /// Returns only if the program could not be run, with the exit code that a shell would give.
    fn replace_process(&self) -> i32 {
        let pointers =
            |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
        let (argv, env) = (pointers(&self.argv), pointers(&self.env));
        let mut reason = std::io::Error::from_raw_os_error(libc::ENOENT);
        for candidate in &self.candidates {
            // SAFETY: all pointers are to NUL-terminated strings that live as long as `self`.
            unsafe { libc::execve(candidate.as_ptr(), argv.as_ptr(), env.as_ptr()) };
            let error = std::io::Error::last_os_error();
            if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) {
                reason = error;
                break;
            }
        }
        let name = self.argv.first().map(|name| name.to_string_lossy()).unwrap_or_default();
        complain(&format!("{name}: {reason}"));
        if reason.raw_os_error() == Some(libc::ENOENT) { NOT_FOUND } else { NOT_EXECUTABLE }
    }
}

/// The child: becomes the command, or returns the exit code that tells why not.
fn become_command(
    (cgroups, capabilities): &mut (MachineCgroups, Capabilities),
    streams: &[OwnedFd],
    user: &User,
    program: &Program,
    terminal: bool,
) -> i32 {
    // SAFETY: plain system calls between fork and exec of a process with one thread.
    unsafe {
        libc::setsid();
        for (number, stream) in (0..).zip(streams) {
            libc::dup2(stream.as_raw_fd(), number);
        }
        if terminal {
            libc::ioctl(0, libc::TIOCSCTTY, 0);
        }
        libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int);
        // Rust ignores the first; a controller that a shell started in the background has the others ignored. Commands
        // expect to be ended by them.
        for signal in [libc::SIGPIPE, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM] {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::umask(0o022);
    }
    if let Err(refused) = cgroups.join() {
        complain(&format!("cannot {}: {}", refused.step, std::io::Error::from_raw_os_error(refused.errno)));
        return NOT_EXECUTABLE;
    }
    if let Err(error) = capabilities.keep_only() {
        complain(&format!("cannot give up capabilities: {error}"));
        return NOT_EXECUTABLE;
    }
    if let Err(error) = become_user(user.uid, user.gid, &user.groups) {
        complain(&format!("cannot become user {}: {error}", user.uid));
        return NOT_EXECUTABLE;
    }
    // Even if the helper itself is killed. A change of user clears it, hence the place.
    // SAFETY: a plain system call.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    program.replace_process()
}

fn complain(words: &str) {
    let _ = std::io::stderr().write_all(format!("{words}\n").as_bytes());
}

/// A terminal of the machine itself, so that its name means something inside.
fn open_terminal((columns, rows): (u16, u16)) -> Step<(OwnedFd, OwnedFd)> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, rustix::fs::Mode::empty())
        .or_else(|_| rustix::fs::open("/dev/ptmx", flags, rustix::fs::Mode::empty()))
        .at("open a terminal")?;
    rustix::pty::unlockpt(&master).at("unlock the terminal")?;
    // SAFETY: takes a flag word and returns a new descriptor.
    let slave = unsafe {
        libc::ioctl(
            master.as_raw_fd(),
            libc::TIOCGPTPEER,
            (OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).bits(),
        )
    };
    super::checked(slave.into()).at("open the terminal's other end")?;
    // SAFETY: the descriptor was just made and has no other owner.
    let slave = unsafe { OwnedFd::from_raw_fd(slave) };
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&slave, size).at("size the terminal")?;
    Ok((master, slave))
}

fn tell(control: BorrowedFd<'_>, reply: &HelperReply, descriptor: Option<&OwnedFd>) {
    let mut line = serde_json::to_vec(reply).unwrap_or_default();
    line.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.iter().map(|d| d.as_fd()).collect();
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    // Nobody may be there any more; then there is nobody to tell.
    let _ = sendmsg(control, &[IoSlice::new(&line)], &mut ancillary, SendFlags::NOSIGNAL);
}

/// Waits for the command's end, its time limit, a word from the controller (whatever it says: kill), or its death.
fn watch(control: BorrowedFd<'_>, pid: Pid, timeout: Option<Duration>) -> HelperReply {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let Ok(command) = pidfd_open(pid, PidfdFlags::empty()) else {
        return reap(pid);
    };
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    let mut watched = [PollFd::new(&command, PollFlags::IN), PollFd::from_borrowed_fd(control, PollFlags::IN)];
    let events = loop {
        match poll(&mut watched, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other,
        }
    };
    let timed_out = matches!(events, Ok(0));
    let ended = !watched[0].revents().is_empty();
    if !ended {
        // The command is not reaped yet, so its number cannot belong to anyone else. Itself first: one that has just been
        // forked has no group of its own yet.
        let _ = kill_process(pid, Signal::KILL);
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let reply = reap(pid);
    if timed_out { HelperReply::TimedOut } else { reply }
}

fn reap(pid: Pid) -> HelperReply {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                let by_signal = status.terminating_signal().map(|signal| 128 + signal);
                return HelperReply::Exited(status.exit_status().or(by_signal).unwrap_or(-1));
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return HelperReply::Failed { step: "wait for the command".into(), errno: error.raw_os_error() };
            }
        }
    }
}
