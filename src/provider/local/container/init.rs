//! The first process of a machine, watched by a handle that no other process can take over.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::provider::{InstanceName, ProviderError};

/// How long systemd may take until it accepts orders. Usually a tenth of a second.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How long a machine may be without init while it restarts itself.
pub const RESTART_LIMIT: Duration = Duration::from_secs(5);

/// The first process of a machine.
#[derive(Debug)]
pub struct Init {
    pub pid: i32,
    pub handle: OwnedFd,
}

impl Init {
    pub fn watch(pid: i32) -> std::io::Result<Self> {
        let number = Pid::from_raw(pid).ok_or(std::io::ErrorKind::NotFound)?;
        Ok(Self { pid, handle: pidfd_open(number, PidfdFlags::empty())? })
    }

    pub fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()), // it has ended
            sent => sent,
        }
    }

    /// Has systemd power the machine off, once it listens.
    pub fn ask_to_halt(&self) -> rustix::io::Result<()> {
        // SAFETY: a signal that the C library leaves to programs.
        self.signal(unsafe { Signal::from_raw_unchecked(libc::SIGRTMIN() + 3) })
    }

    pub fn is_alive(&self) -> bool {
        // A process handle becomes readable when the process ends.
        let mut watched = [PollFd::new(&self.handle, PollFlags::IN)];
        matches!(poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }

    pub async fn ended(&self) {
        // It cannot be watched when the controller has no more handles: look again later then.
        // SAFETY: `self` owns the handle and is borrowed for as long as it is watched, so it stays the same open file.
        let watched = unsafe { AsyncFd::register_with_interest(self.handle.as_fd(), Interest::READABLE) };
        match watched {
            Ok(watched) => drop(watched.readable().await),
            Err(_) => tokio::time::sleep(RESTART_LIMIT).await,
        }
    }
}

/// Waits until systemd takes orders: its private socket accepts.
pub async fn wait_ready(name: &InstanceName, init: &Init) -> Result<(), ProviderError> {
    let socket = PathBuf::from(format!("/proc/{}/root/run/systemd/private", init.pid));
    let begun = Instant::now();
    loop {
        let last = match tokio::net::UnixStream::connect(&socket).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if !init.is_alive() {
            return Err(ProviderError::NotRunning { name: name.clone() });
        }
        if begun.elapsed() > READY_LIMIT {
            let output = format!("systemd does not answer: {last}");
            return Err(ProviderError::NotReady { name: name.clone(), seconds: READY_LIMIT.as_secs(), output });
        }
        // Nobody tells, from outside, when it listens. To ask again after a sixteenth of the time adds as much at most.
        let pause = begun.elapsed() / 16;
        tokio::time::sleep(pause.clamp(Duration::from_millis(2), Duration::from_millis(50))).await;
    }
}
