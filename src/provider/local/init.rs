//! The first process of a machine, watched by a handle that no other process can take over.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::instance::RESTART_LIMIT;

/// The first process of a machine.
#[derive(Debug)]
pub struct Init {
    pub pid: i32,
    pub handle: OwnedFd,
}

impl Init {
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
