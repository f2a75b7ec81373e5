//! What instances are called.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ProviderError;
use crate::model::LONGEST_INSTANCE_NAME;

/// The name of an instance as the hypervisor knows it, e.g. `ana-local-machine-3`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceName(String);

impl InstanceName {
    /// Letters, digits, `-`, `_` and `.`; at most [`LONGEST_INSTANCE_NAME`] characters; begins with a letter or digit.
    pub fn new(name: impl Into<String>) -> Result<Self, ProviderError> {
        let name = name.into();
        let fits =
            !name.is_empty() && name.len() <= LONGEST_INSTANCE_NAME && name.as_bytes()[0].is_ascii_alphanumeric();
        if fits && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            Ok(Self(name))
        } else {
            Err(ProviderError::BadName(name))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for InstanceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
