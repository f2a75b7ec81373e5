//! A process of this host, watched by a handle that no other process can take over.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// When the controller has no more handles to watch one: look again then.
const BLIND: Duration = Duration::from_secs(5);

/// The first process of a machine, its QEMU, or a server of this host.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    pub handle: OwnedFd,
}

impl Process {
    pub fn watch(pid: i32) -> std::io::Result<Self> {
        let number = Pid::from_raw(pid).ok_or(std::io::ErrorKind::NotFound)?;
        Ok(Self { pid, handle: pidfd_open(number, PidfdFlags::empty())? })
    }

    /// Nothing if it has ended.
    pub fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            sent => sent,
        }
    }

    /// Has systemd, if it is one, power the machine off, once it listens.
    pub fn ask_to_halt(&self) -> rustix::io::Result<()> {
        // SAFETY: a signal that the C library leaves to programs.
        self.signal(unsafe { Signal::from_raw_unchecked(libc::SIGRTMIN() + 3) })
    }

    pub fn is_alive(&self) -> bool {
        // A process handle becomes readable when the process ends.
        let mut watched = [PollFd::new(&self.handle, PollFlags::IN)];
        matches!(poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }

    /// Returns when nothing of it is left but its exit code: all its files and sockets are closed.
    pub async fn ended(&self) {
        // SAFETY: `self` owns the handle and is borrowed for as long as it is watched, so it stays the same open file.
        let watched = unsafe { AsyncFd::register_with_interest(self.handle.as_fd(), Interest::READABLE) };
        match watched {
            Ok(watched) => drop(watched.readable().await),
            Err(_) => tokio::time::sleep(BLIND).await,
        }
    }
}
