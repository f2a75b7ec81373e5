//! Service configuration: typed by what the charm declares.

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionKind {
    String,
    Int,
    Float,
    Boolean,
}

impl fmt::Display for OptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OptionKind::String => "string",
            OptionKind::Int => "int",
            OptionKind::Float => "float",
            OptionKind::Boolean => "boolean",
        })
    }
}

/// A value of an option. The variant says its type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ConfigValue {
    Boolean(bool),
    Int(i64),
    Float(f64),
    String(String),
}

/// NaN never enters (see [`OptionDecl::parse`]), so equality is total.
impl Eq for ConfigValue {}

impl fmt::Display for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigValue::Boolean(value) => write!(f, "{value}"),
            ConfigValue::Int(value) => write!(f, "{value}"),
            ConfigValue::Float(value) => write!(f, "{value}"),
            ConfigValue::String(value) => f.write_str(value),
        }
    }
}

/// One option as a charm declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionDecl {
    #[serde(rename = "type")]
    pub kind: OptionKind,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub default: Option<ConfigValue>,
    /// Bounds of a number, both inclusive.
    #[serde(default)]
    pub min: Option<i64>,
    #[serde(default)]
    pub max: Option<i64>,
    /// The only values allowed for a string; empty means any.
    #[serde(default)]
    pub choices: Vec<String>,
    /// Never shown in a log or a status; `get` tells its owner.
    #[serde(default)]
    pub secret: bool,
    /// A random value of this many characters is made at deploy when none is given.
    #[serde(default)]
    pub generate: Option<u8>,
}

/// Why a setting was refused. Nothing is changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("unknown option \"{key}\"")]
    Unknown { key: String, known: Vec<String> },
    #[error("option \"{key}\" expected {expected}, got \"{got}\"")]
    Type { key: String, expected: OptionKind, got: String },
    #[error("option \"{key}\" must be at least {min}, got {got}")]
    TooSmall { key: String, min: i64, got: String },
    #[error("option \"{key}\" must be at most {max}, got {got}")]
    TooLarge { key: String, max: i64, got: String },
    #[error("option \"{key}\" must be one of {}, got \"{got}\"", choices.join(", "))]
    Choice { key: String, choices: Vec<String>, got: String },
}

impl OptionDecl {
    /// Reads `text`, as typed on the command line, as a value of this option.
    pub fn parse(&self, key: &str, text: &str) -> Result<ConfigValue, ConfigError> {
        let wrong = || ConfigError::Type { key: key.to_owned(), expected: self.kind, got: self.shown(text) };
        let value = match self.kind {
            OptionKind::String => ConfigValue::String(text.to_owned()),
            OptionKind::Int => ConfigValue::Int(text.trim().parse().map_err(|_| wrong())?),
            OptionKind::Float => {
                let number: f64 = text.trim().parse().map_err(|_| wrong())?;
                if !number.is_finite() {
                    return Err(wrong());
                }
                ConfigValue::Float(number)
            }
            OptionKind::Boolean => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => ConfigValue::Boolean(true),
                "false" | "no" | "off" | "0" => ConfigValue::Boolean(false),
                _ => return Err(wrong()),
            },
        };
        self.check(key, &value)?;
        Ok(value)
    }

    /// Checks type, bounds and choices of a value that is typed already (from YAML or a charm's default).
    pub fn check(&self, key: &str, value: &ConfigValue) -> Result<(), ConfigError> {
        let got = self.shown(&value.to_string());
        let number = match (self.kind, value) {
            (OptionKind::Boolean, ConfigValue::Boolean(_)) => return Ok(()),
            (OptionKind::String, ConfigValue::String(text)) => {
                if !self.choices.is_empty() && !self.choices.contains(text) {
                    return Err(ConfigError::Choice { key: key.to_owned(), choices: self.choices.clone(), got });
                }
                return Ok(());
            }
            (OptionKind::Int | OptionKind::Float, ConfigValue::Int(number)) => *number as f64,
            (OptionKind::Float, ConfigValue::Float(number)) => *number,
            _ => return Err(ConfigError::Type { key: key.to_owned(), expected: self.kind, got }),
        };
        match (self.min, self.max) {
            (Some(min), _) if number < min as f64 => Err(ConfigError::TooSmall { key: key.to_owned(), min, got }),
            (_, Some(max)) if number > max as f64 => Err(ConfigError::TooLarge { key: key.to_owned(), max, got }),
            _ => Ok(()),
        }
    }

    fn shown(&self, text: &str) -> String {
        if self.secret { "(secret)".to_owned() } else { text.to_owned() }
    }
}

/// Finds the declaration of `key`, or says which options there are.
pub fn option<'a>(declared: &'a IndexMap<String, OptionDecl>, key: &str) -> Result<&'a OptionDecl, ConfigError> {
    declared
        .get(key)
        .ok_or_else(|| ConfigError::Unknown { key: key.to_owned(), known: declared.keys().cloned().collect() })
}

/// The values a hook sees: what the operator set over the charm's defaults. Options with neither are absent.
pub fn effective(
    declared: &IndexMap<String, OptionDecl>,
    set: &IndexMap<String, ConfigValue>,
) -> IndexMap<String, ConfigValue> {
    declared
        .iter()
        .filter_map(|(key, decl)| Some((key.clone(), set.get(key).or(decl.default.as_ref())?.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decl(kind: OptionKind) -> OptionDecl {
        OptionDecl {
            kind,
            description: String::new(),
            default: None,
            min: None,
            max: None,
            choices: vec![],
            secret: false,
            generate: None,
        }
    }

    #[test]
    fn text_is_read_by_the_declared_type() {
        assert_eq!(decl(OptionKind::Int).parse("n", "12"), Ok(ConfigValue::Int(12)));
        assert_eq!(decl(OptionKind::Boolean).parse("b", "Yes"), Ok(ConfigValue::Boolean(true)));
        let error = decl(OptionKind::Int).parse("n", "many").map_err(|e| e.to_string());
        assert_eq!(error, Err("option \"n\" expected int, got \"many\"".into()));
        assert!(decl(OptionKind::Float).parse("f", "NaN").is_err());
    }

    #[test]
    fn bounds_and_choices_are_told() {
        let bounded = OptionDecl { min: Some(10), max: Some(20), ..decl(OptionKind::Int) };
        assert_eq!(
            bounded.parse("n", "9").map_err(|e| e.to_string()),
            Err("option \"n\" must be at least 10, got 9".into())
        );
        assert_eq!(
            bounded.parse("n", "21").map_err(|e| e.to_string()),
            Err("option \"n\" must be at most 20, got 21".into())
        );
        let chosen = OptionDecl { choices: vec!["a".into(), "b".into()], ..decl(OptionKind::String) };
        assert_eq!(
            chosen.parse("c", "x").map_err(|e| e.to_string()),
            Err("option \"c\" must be one of a, b, got \"x\"".into())
        );
    }

    #[test]
    fn a_secret_is_not_echoed_in_an_error() {
        let secret = OptionDecl { secret: true, choices: vec!["a".into()], ..decl(OptionKind::String) };
        assert!(!secret.parse("p", "hunter2").map_err(|e| e.to_string()).unwrap_err().contains("hunter2"));
    }
}
