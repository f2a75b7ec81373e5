//! Tables of actions.

use indexmap::IndexMap;

use super::record::moment;
use super::table::{Cell, columns};
use crate::api::{ActionInfo, ActionTask};
use crate::cli::output::{BOLD, DIM, Paint, state_style};

pub fn actions(paint: Paint, actions: &IndexMap<String, ActionInfo>) -> String {
    let row = |(name, action): (&String, &ActionInfo)| -> [Cell; 2] {
        [Cell::styled(name.as_str(), BOLD), action.description.as_str().into()]
    };
    columns(paint, ["ACTION", "DESCRIPTION"], &actions.iter().map(row).collect::<Vec<_>>())
}

pub fn tasks(paint: Paint, tasks: &[ActionTask]) -> String {
    let row = |task: &ActionTask| -> [Cell; 6] {
        let last = task.timing.completed.as_ref().or(task.timing.started.as_ref()).unwrap_or(&task.timing.enqueued);
        [
            task.id.to_string().into(),
            task.unit.as_str().into(),
            task.action.as_str().into(),
            Cell::styled(task.status.as_str(), state_style(&task.status)),
            Cell::styled(moment(last), DIM),
            task.message.as_str().into(),
        ]
    };
    columns(paint, ["ID", "UNIT", "ACTION", "STATUS", "SINCE", "MESSAGE"], &tasks.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ActionTiming;

    #[test]
    fn each_action_has_a_line() {
        let task = |id: u32, status: &str, completed: Option<&str>| ActionTask {
            id,
            unit: "mysql/0".into(),
            action: "backup".into(),
            status: status.into(),
            message: if status == "failed" { "charm.lua:3: no room".into() } else { String::new() },
            parameters: IndexMap::new(),
            results: serde_json::Map::new(),
            timing: ActionTiming {
                enqueued: "2026-11-23T15:46:30.123Z".into(),
                started: None,
                completed: completed.map(str::to_owned),
            },
            asked_by: "action do mysql/0 backup".into(),
            log: Vec::new(),
        };
        let tasks = [task(9, "failed", Some("2026-11-23T15:47:00.000Z")), task(10, "pending", None)];
        insta::assert_snapshot!(super::tasks(Paint { colour: false }, &tasks), @r"
        ID UNIT    ACTION STATUS  SINCE                MESSAGE
        9  mysql/0 backup failed  2026-11-23 15:47:00Z charm.lua:3: no room
        10 mysql/0 backup pending 2026-11-23 15:46:30Z
        ");
    }
}
