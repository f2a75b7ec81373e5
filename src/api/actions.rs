//! What is asked about actions and commands in machines, and the answers.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::requests::{Done, Verb, verbs};
use super::status::LogLine;

/// The actions that a service's charm declares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListActions {
    pub service: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionsAnswer {
    pub actions: IndexMap<String, ActionInfo>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionInfo {
    #[serde(default)]
    pub description: String,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub params: IndexMap<String, ParamInfo>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParamInfo {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Bounds of a number, both inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// The only values allowed; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunAction {
    pub unit: String,
    pub action: String,
    /// Strings are read by the parameter's type; other values must have it.
    pub params: IndexMap<String, Value>,
    /// Seconds it may run; `None` is as long as a hook.
    pub timeout: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionQueued {
    pub id: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShowAction {
    pub id: String,
    /// The answer comes when it is over, or after so many seconds.
    pub wait: bool,
    pub timeout: Option<u64>,
    /// The answer has what it said after this line of the log, and comes also when it says something.
    pub after: Option<u64>,
}

/// What was asked, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ActionTask {
    pub id: u32,
    pub unit: String,
    pub action: String,
    /// `pending`, `running`, `completed`, `failed` or `cancelled`.
    pub status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Secret ones are replaced.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub parameters: IndexMap<String, Value>,
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub results: serde_json::Map<String, Value>,
    pub timing: ActionTiming,
    /// The command that asked.
    pub asked_by: String,
    /// What it said, as far as that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
}

/// RFC 3339, UTC, milliseconds each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActionTiming {
    pub enqueued: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<String>,
}

impl ActionTask {
    pub fn is_over(&self) -> bool {
        !matches!(self.status.as_str(), "pending" | "running")
    }
}

/// Those that wait or run, and the newest of those that are over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionTasks {
    /// Units or services, `*` allowed; none is all.
    pub patterns: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionTasksAnswer {
    pub actions: Vec<ActionTask>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CancelAction {
    pub ids: Vec<String>,
}

/// A line for the shell of machines; the answer comes when it has ended everywhere. It is ended if the client goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub units: Vec<String>,
    /// All units of these.
    pub services: Vec<String>,
    pub machines: Vec<String>,
    /// Every machine but the host.
    pub all: bool,
    pub command: String,
    /// Seconds.
    pub timeout: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunAnswer {
    pub results: Vec<RunResult>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    pub machine: String,
    pub unit: Option<String>,
    pub code: i32,
    /// In base64, for it may be anything; the end of it, if it was long.
    pub stdout: String,
    pub stderr: String,
    /// More was said than is told here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Why it was not run or did not end.
    pub error: Option<String>,
}

verbs! {
    ListActions => "actions" -> ActionsAnswer;
    RunAction => "run-action" -> ActionQueued;
    ShowAction => "show-action" -> ActionTask;
    ActionTasks => "action-tasks" -> ActionTasksAnswer;
    CancelAction => "cancel-action" -> Done;
    Run => "run" -> RunAnswer;
}
