//! What was: the status log of a unit or machine, and the history of commands.

use super::table::{Cell, columns};
use crate::api::{HistoryEntry, StatusLogEntry};
use crate::cli::output::{BOLD, DIM, Paint, state_style};

pub fn status_log(paint: Paint, entries: &[StatusLogEntry]) -> String {
    let row = |entry: &StatusLogEntry| -> [Cell; 4] {
        [
            Cell::styled(moment(&entry.time), DIM),
            entry.kind.as_str().into(),
            Cell::styled(entry.state.as_str(), state_style(&entry.state)),
            entry.message.as_str().into(),
        ]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    columns(paint, ["TIME", "TYPE", "STATUS", "MESSAGE"], &rows)
}

/// A line for each thing that came of a command; the command is named once, and not at all if nothing came of it.
pub fn history(paint: Paint, entries: &[HistoryEntry]) -> String {
    let mut rows: Vec<[Cell; 4]> = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.effects.is_empty()) {
        let (time, command) = (Cell::styled(moment(&entry.time), DIM), Cell::styled(entry.command.as_str(), BOLD));
        let first = entry.effects.first().map(String::as_str).unwrap_or_default();
        rows.push([time, entry.user.as_str().into(), command, first.into()]);
        let more = entry.effects.iter().skip(1);
        rows.extend(more.map(|effect| ["".into(), "".into(), "".into(), effect.as_str().into()]));
    }
    columns(paint, ["TIME", "USER", "COMMAND", "EFFECT"], &rows)
}

/// `2026-11-23T15:46:30.123Z` as `2026-11-23 15:46:30Z`.
pub fn moment(time: &str) -> String {
    match time.get(..19) {
        Some(seconds) => seconds.replacen('T', " ", 1) + "Z",
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Paint = Paint { colour: false };
    const TIME: &str = "2026-11-23T15:46:30.123Z";

    #[test]
    fn the_history_names_a_command_once() {
        let entry = |command: &str, effects: &[&str]| HistoryEntry {
            time: TIME.into(),
            user: "ana".into(),
            command: command.into(),
            effects: effects.iter().map(|effect| (*effect).to_owned()).collect(),
        };
        let entries = [entry("deploy mysql", &["machine 1 added", "unit mysql/0 added"]), entry("noop", &[])];
        insta::assert_snapshot!(history(PLAIN, &entries), @r"
        TIME                 USER COMMAND      EFFECT
        2026-11-23 15:46:30Z ana  deploy mysql machine 1 added
                                               unit mysql/0 added
        ");
    }

    #[test]
    fn the_status_log_has_jujus_columns() {
        let entry = |kind: &str, state: &str, message: &str| StatusLogEntry {
            time: TIME.into(),
            kind: kind.into(),
            state: state.into(),
            message: message.into(),
        };
        let entries = [entry("agent", "executed", "install"), entry("workload", "active", "ready")];
        insta::assert_snapshot!(status_log(PLAIN, &entries), @r"
        TIME                 TYPE     STATUS   MESSAGE
        2026-11-23 15:46:30Z agent    executed install
        2026-11-23 15:46:30Z workload active   ready
        ");
    }
}
