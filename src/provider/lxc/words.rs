//! What LXC's tools say, without what only its developers want to know.

use crate::provider::ProviderError;

/// Lines that follow any failure and tell nothing of it.
const IDLE: [&str; 4] = [
    "Additional information can be obtained",
    "To get more details, run the container",
    "The container failed to start",
    "Failed to receive the container state",
];

/// The error with LXC's log lines cut down to their messages, each once, the cause first.
pub fn plainly(error: ProviderError) -> ProviderError {
    let ProviderError::Command { command, status, output } = error else { return error };
    let mut said: Vec<String> = Vec::new();
    for line in output.lines() {
        let message = message(line);
        if !said.contains(&message) && !IDLE.iter().any(|idle| message.starts_with(idle)) {
            said.push(message);
        }
    }
    let output = if said.is_empty() { output } else { said.join("; ") };
    // The command line names folders and options that the reader did not choose.
    let command = command.split(' ').next().unwrap_or_default().to_owned();
    ProviderError::Command { command, status, output }
}

/// `tool name time ERROR module - file:function:line - errno - text` → `text: errno`; without an errno LXC leaves it out.
fn message(line: &str) -> String {
    let parts: Vec<&str> = line.split(" - ").map(str::trim).collect();
    match parts.as_slice() {
        [_, place, text] if place.contains(".c:") => (*text).to_owned(),
        [_, place, errno, text @ ..] if place.contains(".c:") => format!("{}: {errno}", text.join(" - ")),
        _ => line.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_left_and_said_once() {
        let output = "lxc-start m-1 20261123173131.315 ERROR    cgfsng - ../src/lxc/cgroups/cgfsng.c:init:3672 - Not a directory - Failed to open 9/cpuacct\n\
                      lxc-start m-1 20261123173131.315 ERROR    start - ../src/lxc/start.c:lxc_init:862 - Failed to initialize cgroup driver\n\
                      lxc-start m-1 20261123173131.315 ERROR    lxc_start - ../src/lxc/tools/lxc_start.c:main:306 - The container failed to start\n\
                      lxc-start m-1 20261123173131.315 ERROR    lxc_start - ../src/lxc/tools/lxc_start.c:main:311 - Additional information can be obtained by setting the --logfile and --logpriority options";
        let error = ProviderError::Command {
            command: "lxc-start -P /var/lib/lxc -n m-1".into(),
            status: "exit status: 1".into(),
            output: output.into(),
        };
        assert_eq!(
            plainly(error).to_string(),
            "`lxc-start` failed (exit status: 1): Failed to open 9/cpuacct: Not a directory; Failed to initialize cgroup driver"
        );
    }

    #[test]
    fn other_words_are_kept() {
        let error =
            ProviderError::Command { command: "lxc-info".into(), status: "1".into(), output: "m doesn't exist".into() };
        assert_eq!(plainly(error).to_string(), "`lxc-info` failed (1): m doesn't exist");
    }
}
