//! Relation settings: what one unit tells the others of a relation.

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// A value in a relation's settings. A secret one never reaches a log, a status or an export.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    pub value: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

impl Setting {
    pub fn plain(value: impl Into<String>) -> Self {
        Setting { value: value.into(), secret: false }
    }

    pub fn secret(value: impl Into<String>) -> Self {
        Setting { value: value.into(), secret: true }
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret { f.write_str("(secret)") } else { write!(f, "{:?}", self.value) }
    }
}

pub type Settings = IndexMap<String, Setting>;

/// What a hook wrote: `None` deletes the key.
pub type SettingsChange = IndexMap<String, Option<Setting>>;
