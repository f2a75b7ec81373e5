//! What a machine must be like: `mem=512M cpu-cores=1`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraints {
    /// Megabytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    #[error("malformed constraint \"{0}\"")]
    Malformed(String),
    #[error("unknown constraint \"{0}\"")]
    Unknown(String),
    #[error("bad \"{key}\" constraint: {reason}")]
    Bad { key: String, reason: &'static str },
}

impl FromStr for Constraints {
    type Err = ConstraintError;
    /// Pairs divided by blanks or commas; an empty value means no constraint.
    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        let mut constraints = Constraints::default();
        let mut seen: Vec<&str> = Vec::new();
        for pair in text.split([' ', ',']).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| ConstraintError::Malformed(pair.to_owned()))?;
            let bad = |reason| ConstraintError::Bad { key: key.to_owned(), reason };
            if seen.contains(&key) {
                return Err(bad("already set"));
            }
            seen.push(key);
            match (key, value) {
                (_, "") if matches!(key, "mem" | "cpu-cores" | "container" | "arch") => {}
                ("mem", _) => constraints.mem = Some(megabytes(value).ok_or_else(|| bad(MEM_FORM))?),
                ("cpu-cores", _) => {
                    constraints.cpu_cores = Some(value.parse().map_err(|_| bad("must be a non-negative integer"))?);
                }
                ("container", "lxc" | "none") => {}
                ("container", _) => return Err(bad("invalid container type (this provider has lxc)")),
                ("arch", "amd64") => {}
                ("arch", _) => return Err(bad("not the architecture of this host")),
                _ => return Err(ConstraintError::Unknown(key.to_owned())),
            }
        }
        // Juju takes 0 as "no constraint".
        constraints.mem = constraints.mem.filter(|mem| *mem > 0);
        constraints.cpu_cores = constraints.cpu_cores.filter(|cores| *cores > 0);
        Ok(constraints)
    }
}

const MEM_FORM: &str = "must be a non-negative float with optional M/G/T/P suffix";

/// Rounds up, as Juju does. Values that no machine can have are refused.
fn megabytes(text: &str) -> Option<u64> {
    let (number, factor) = match text.as_bytes().last()? {
        b'M' => (&text[..text.len() - 1], 1.0),
        b'G' => (&text[..text.len() - 1], 1024.0),
        b'T' => (&text[..text.len() - 1], 1024.0 * 1024.0),
        b'P' => (&text[..text.len() - 1], 1024.0 * 1024.0 * 1024.0),
        _ => (text, 1.0),
    };
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let size = (number.parse::<f64>().ok()? * factor).ceil();
    (size < 1e15).then_some(size as u64)
}

impl fmt::Display for Constraints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(cores) = self.cpu_cores {
            parts.push(format!("cpu-cores={cores}"));
        }
        if let Some(mem) = self.mem {
            parts.push(format!("mem={mem}M"));
        }
        f.write_str(&parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes_and_round_up() {
        let read = |text: &str| text.parse::<Constraints>().map(|c| c.to_string());
        assert_eq!(read("mem=1.5G cpu-cores=2"), Ok("cpu-cores=2 mem=1536M".into()));
        assert_eq!(read("mem=0.5M,cpu-cores=1"), Ok("cpu-cores=1 mem=1M".into()));
        assert_eq!(read("mem= cpu-cores=0"), Ok(String::new()));
    }

    #[test]
    fn errors_are_jujus() {
        let error = |text: &str| text.parse::<Constraints>().map_err(|e| e.to_string()).unwrap_err();
        assert_eq!(error("cheese"), "malformed constraint \"cheese\"");
        assert_eq!(error("cheese=1"), "unknown constraint \"cheese\"");
        assert_eq!(error("mem=much"), format!("bad \"mem\" constraint: {MEM_FORM}"));
        assert_eq!(error("mem=16GB"), format!("bad \"mem\" constraint: {MEM_FORM}"));
        assert_eq!(error("cpu-cores=-1"), "bad \"cpu-cores\" constraint: must be a non-negative integer");
        assert_eq!(error("mem=1 mem=2"), "bad \"mem\" constraint: already set");
    }
}
