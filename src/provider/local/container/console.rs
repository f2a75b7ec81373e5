//! A container's console: what it showed last, and a login on it.
//!
//! Nobody waits on the console for somebody to come: a login is begun when one is asked for, on a terminal of its own. So
//! a console costs a machine nothing.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::provider::local::record::io_error;
use crate::provider::{ExecRequest, Execution, ProviderError};

/// Bytes of what was shown last: some screens.
const SHOWN: u64 = 8 << 10;

/// After what was cut off anywhere: usual colours and a line of its own.
const RESET: &[u8] = b"\x1b[0m\r\n";

/// A login of root, or what comes nearest to it in a machine without the program.
pub fn login(terminal: (u16, u16)) -> ExecRequest {
    let script = "command -v login > /dev/null && exec login -f root; exec sh -l";
    ExecRequest {
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        terminal: Some(terminal),
        ..ExecRequest::default()
    }
}

/// Puts what the console showed last before what a login on it says.
pub fn after(shown: Vec<u8>, login: Execution) -> Execution {
    if shown.is_empty() {
        return login;
    }
    let shown = std::io::Cursor::new([&shown[..], RESET].concat());
    Execution { stdout: Box::new(tokio::io::AsyncReadExt::chain(shown, login.stdout)), ..login }
}

/// The last lines of a console's log; none if there is no log. It may have been begun anew a moment ago: then the one
/// before it has the rest.
pub fn shown_last(log: &Path) -> Result<Vec<u8>, ProviderError> {
    let mut shown = end_of(log)?;
    if (shown.len() as u64) < SHOWN {
        let mut before = log.as_os_str().to_owned();
        before.push(".1");
        shown.splice(0..0, end_of(Path::new(&before))?);
    }
    Ok(last_lines(&shown).to_vec())
}

fn end_of(log: &Path) -> Result<Vec<u8>, ProviderError> {
    let mut file = match std::fs::File::open(log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| io_error("open", log, e))?,
    };
    let failed = |e| io_error("read", log, e);
    let length = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SHOWN))).map_err(failed)?;
    let mut end = Vec::new();
    file.take(SHOWN).read_to_end(&mut end).map_err(failed)?;
    Ok(end)
}

/// At most [`SHOWN`] bytes from the end, beginning with a whole line if more than one is there.
fn last_lines(text: &[u8]) -> &[u8] {
    let most = usize::try_from(SHOWN).unwrap_or(usize::MAX);
    let Some(cut) = text.len().checked_sub(most) else { return text };
    let line = memchr::memchr(b'\n', &text[cut..text.len() - 1]).map_or(cut, |at| cut + at + 1);
    &text[line..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_last_is_whole_lines_across_a_log_that_was_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("console.log");
        assert_eq!(shown_last(&log).unwrap(), b"");
        let line = |number: usize| format!("{number:099}\n");
        std::fs::write(folder.path().join("console.log.1"), (0..500).map(line).collect::<String>()).unwrap();
        std::fs::write(&log, (500..510).map(line).collect::<String>()).unwrap();
        let shown = String::from_utf8(shown_last(&log).unwrap()).unwrap();
        let numbers: Vec<usize> = shown.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (510 - 81..510).collect::<Vec<_>>());
        std::fs::write(&log, "x".repeat(10_000) + "\n").unwrap();
        assert_eq!(shown_last(&log).unwrap().len(), 8192, "one long line is cut");
    }
}
