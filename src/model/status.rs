//! Statuses that a charm or the controller gives to what it manages.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the software of a unit is doing, in its charm's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadStatus {
    pub state: WorkloadState,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadState {
    Unknown,
    Active,
    Waiting,
    Maintenance,
    Blocked,
    Error,
}

impl WorkloadState {
    /// The states a charm may set.
    pub const SETTABLE: [WorkloadState; 4] =
        [WorkloadState::Active, WorkloadState::Waiting, WorkloadState::Maintenance, WorkloadState::Blocked];

    pub fn as_str(self) -> &'static str {
        match self {
            WorkloadState::Unknown => "unknown",
            WorkloadState::Active => "active",
            WorkloadState::Waiting => "waiting",
            WorkloadState::Maintenance => "maintenance",
            WorkloadState::Blocked => "blocked",
            WorkloadState::Error => "error",
        }
    }
}

impl fmt::Display for WorkloadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogLevel::Debug => "DEBUG",
            LogLevel::Info => "INFO",
            LogLevel::Warning => "WARNING",
            LogLevel::Error => "ERROR",
        })
    }
}
