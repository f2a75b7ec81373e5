//! The program: the helper that enters machines, the other end of a controller elsewhere, or the command line.

use std::process::ExitCode;

use encanto::controller::LocalHost;

fn main() -> ExitCode {
    // The hidden mode needs a process with a single thread: before any runtime.
    if let Some(code) = encanto::provider::local::helper::run_if_asked() {
        return code;
    }
    if let Some(code) = encanto::provider::remote::there::run_if_asked() {
        return code;
    }
    ExitCode::from(encanto::cli::run(std::env::args_os(), &LocalHost))
}
