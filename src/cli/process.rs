//! A controller's process, watched until it ends; and the one that reads our output.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::error::Failure;

/// Returns when nobody can read our output any more, as after `encanto debug-log | head -1`: what is followed may never
/// say another word by which we would notice.
pub async fn output_closed() {
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    // A thread, because a file or a terminal cannot be watched as a socket can; it ends with the process.
    std::thread::spawn(move || {
        let stdout = io::stdout();
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        let closed = rustix::io::retry_on_intr(|| poll(&mut watched, None));
        if closed.is_ok() && watched[0].revents().contains(PollFlags::ERR) {
            let _ = tell.send(());
        }
    });
    if told.await.is_err() {
        std::future::pending().await
    }
}

/// A handle taken while the process lives: its number may become another's, the handle may not.
pub struct Process {
    pid: u32,
    handle: Option<OwnedFd>,
}

impl Process {
    pub fn watch(pid: u32) -> Self {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        Self { pid, handle: number.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) }
    }

    /// Returns when it has ended; one that was gone when the watch began has. Blocks the thread.
    pub fn ended(self, patience: Duration) -> Result<(), Failure> {
        let Some(handle) = self.handle else { return Ok(()) };
        let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: 0 };
        let ended = rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)));
        match ended {
            Ok(0) => Err(Failure::failed(format!("the controller (process {}) does not end", self.pid))),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::io("cannot watch the controller", &error.into())),
        }
    }
}
