//! The part that runs in a process of its own: entering a machine, and mounting its root.
//!
//! Joining a user namespace is only allowed to a process with a single thread, and a thread that changed its mount
//! namespace could never go back to a pool. So the binary runs itself again with [`HELPER_ARGUMENT`] before any runtime
//! exists, does one thing and ends. It reads its order from standard input, so nothing shows in a process list.

mod enter;
mod exec;
mod files;
mod overlay;
mod protocol;

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

pub use enter::payload_folders;
pub use overlay::{ID_COUNT, is_mount_point};
pub use protocol::*;

/// A step that the kernel refused.
#[derive(Debug)]
pub(super) struct Refused {
    step: String,
    errno: i32,
}

type Step<T> = Result<T, Refused>;

/// Names the step at which a call failed.
trait At<T> {
    fn at(self, step: impl Into<String>) -> Step<T>;
}

impl<T, E: Into<std::io::Error>> At<T> for Result<T, E> {
    fn at(self, step: impl Into<String>) -> Step<T> {
        self.map_err(|e| Refused { step: step.into(), errno: e.into().raw_os_error().unwrap_or(libc::EIO) })
    }
}

/// The result of a raw system call.
fn checked(result: libc::c_long) -> std::io::Result<libc::c_long> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}

/// Does the helper's work if the process was started as the helper. To be called first in `main`.
pub fn run_if_asked() -> Option<ExitCode> {
    let asked = std::env::args_os().nth(1).is_some_and(|argument| argument == HELPER_ARGUMENT);
    asked.then(|| match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(refused) => {
            reply_line(&HelperReply::Failed { step: refused.step, errno: refused.errno });
            ExitCode::SUCCESS
        }
    })
}

fn serve() -> Step<()> {
    let (head, passed) = exec::receive_head().at("read the request")?;
    let mut input = std::io::stdin().lock();
    let mut json = vec![0; u32::from_le_bytes(head) as usize];
    input.read_exact(&mut json).at("read the request")?;
    match serde_json::from_slice(&json).at("understand the request")? {
        HelperRequest::Mount(order) => {
            overlay::mount(&order)?;
            reply_line(&HelperReply::Done);
        }
        HelperRequest::View(order) => {
            overlay::mount_view(&order)?;
            reply_line(&HelperReply::Done);
        }
        HelperRequest::Share(order) => {
            overlay::share(&order)?;
            reply_line(&HelperReply::Done);
        }
        HelperRequest::File(order) => {
            let mut content = Vec::new();
            if matches!(order.action, FileAction::Write { .. }) {
                input.read_to_end(&mut content).at("read the content")?;
            }
            drop(input);
            // Folders that are made get their usual mode whatever the controller was started with.
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
            let (reply, body) = files::serve(&order, &content)?;
            reply_line(&reply);
            let _ = std::io::stdout().write_all(&body);
        }
        HelperRequest::Exec(order) => {
            drop(input);
            exec::serve(&order, passed);
        }
    }
    Ok(())
}

fn reply_line(reply: &HelperReply) {
    let mut line = serde_json::to_vec(reply).unwrap_or_default();
    line.push(b'\n');
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(&line).and_then(|()| output.flush());
}
