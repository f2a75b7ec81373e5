//! Options of the config, and actions with their parameters, which are declared alike.

use indexmap::IndexMap;
use mlua::{Table, Value};

use crate::model::{ActionDecl, ActionName, ConfigValue, OptionDecl, OptionKind, ParamDecl};

use super::super::host::{did_you_mean, type_name};
use super::{Declaration, value};

const OPTION_KEYS: &[&str] = &["type", "default", "description", "min", "max", "choices", "secret", "generate"];
const ACTION_KEYS: &[&str] = &["description", "params", "run"];
const PARAM_KEYS: &[&str] = &["type", "default", "description", "min", "max", "choices", "secret", "required"];
/// Characters that a generated value may have.
const GENERATED: std::ops::RangeInclusive<i64> = 8..=128;

impl Declaration {
    pub(super) fn config(&mut self, table: &Table) -> IndexMap<String, OptionDecl> {
        let mut found = IndexMap::new();
        for (name, value) in self.entries(table, &["config"]) {
            let path = ["config", name.as_str()];
            self.option_name(&path);
            match value {
                Value::Table(inner) => {
                    self.only(&inner, &path, OPTION_KEYS);
                    if let Some(option) = self.option(&inner, &path) {
                        found.insert(name, option);
                    }
                }
                other => self.wrong(&path, "a table, as { type = \"string\" }", &other),
            }
        }
        found
    }

    fn option_name(&mut self, path: &[&str]) {
        let name = last(path);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || !name.bytes().all(allowed) {
            self.problem(path, format!("\"{name}\" cannot be the name of an option"));
        }
    }

    /// The option or parameter at `path`.
    fn option(&mut self, table: &Table, path: &[&str]) -> Option<OptionDecl> {
        let name = last(path);
        let at = |key| [path, &[key]].concat();
        let kind = match self.text(table, &at("type")).as_deref() {
            Some("string") => OptionKind::String,
            Some("int") => OptionKind::Int,
            Some("float") => OptionKind::Float,
            Some("boolean") => OptionKind::Boolean,
            Some(other) => {
                let hint = did_you_mean(other, ["string", "int", "float", "boolean"].into_iter());
                self.problem(&at("type"), format!("unknown type \"{other}\"{hint}: string, int, float or boolean"));
                return None;
            }
            None => {
                self.problem(path, format!("option \"{name}\" has no type: string, int, float or boolean"));
                return None;
            }
        };
        let option = OptionDecl {
            kind,
            description: self.text(table, &at("description")).unwrap_or_default(),
            default: self.default(table, kind, &at("default")),
            min: self.whole(table, &at("min")),
            max: self.whole(table, &at("max")),
            choices: match value(table, "choices") {
                Value::Table(list) => self.texts(&list, &at("choices")),
                Value::Nil => vec![],
                other => {
                    self.wrong(&at("choices"), "a list of texts", &other);
                    vec![]
                }
            },
            secret: self.flag(table, &at("secret")),
            generate: self.generate(table, kind, &at("generate")),
        };
        self.check_option(&option, path);
        Some(option)
    }

    fn check_option(&mut self, option: &OptionDecl, path: &[&str]) {
        let at = |key| [path, &[key]].concat();
        let number = matches!(option.kind, OptionKind::Int | OptionKind::Float);
        for (key, there) in [("min", option.min.is_some()), ("max", option.max.is_some())] {
            if there && !number {
                self.problem(&at(key), format!("{key} is for numbers, not for type {}", option.kind));
            }
        }
        if option.min.zip(option.max).is_some_and(|(min, max)| min > max) {
            self.problem(&at("max"), "max is less than min");
        }
        if !option.choices.is_empty() && option.kind != OptionKind::String {
            self.problem(&at("choices"), format!("choices are for type string, not {}", option.kind));
        }
        if let Some(default) = &option.default {
            if option.generate.is_some() {
                self.problem(&at("generate"), "an option has either a default or generate");
            }
            if let Err(error) = option.check(last(path), default) {
                self.problem(&at("default"), format!("default of {error}"));
            }
        }
    }

    fn default(&mut self, table: &Table, kind: OptionKind, path: &[&str]) -> Option<ConfigValue> {
        let found = value(table, "default");
        let whole = |number: f64| number.fract() == 0.0 && number.abs() < 9e15;
        match (kind, &found) {
            (_, Value::Nil) => None,
            (OptionKind::Boolean, Value::Boolean(flag)) => Some(ConfigValue::Boolean(*flag)),
            (OptionKind::String, Value::String(text)) => Some(ConfigValue::String(text.to_string_lossy())),
            (OptionKind::Int, Value::Integer(number)) => Some(ConfigValue::Int(*number)),
            (OptionKind::Int, Value::Number(number)) if whole(*number) => Some(ConfigValue::Int(*number as i64)),
            (OptionKind::Float, Value::Integer(number)) => Some(ConfigValue::Float(*number as f64)),
            (OptionKind::Float, Value::Number(number)) if number.is_finite() => Some(ConfigValue::Float(*number)),
            (kind, other) => {
                let got = type_name(other);
                self.problem(path, format!("default must be of type {kind}, got {got}"));
                None
            }
        }
    }

    fn generate(&mut self, table: &Table, kind: OptionKind, path: &[&str]) -> Option<u8> {
        let length = self.whole(table, path)?;
        if kind != OptionKind::String || !GENERATED.contains(&length) {
            let (least, most) = (GENERATED.start(), GENERATED.end());
            self.problem(path, format!("generate is for a string, a length from {least} to {most}"));
        }
        u8::try_from(length).ok()
    }

    pub(super) fn actions(&mut self, table: &Table) -> IndexMap<ActionName, ActionDecl> {
        let mut found = IndexMap::new();
        for (name, action) in self.entries(table, &["actions"]) {
            let path = ["actions", name.as_str()];
            let Value::Table(inner) = &action else {
                self.wrong(&path, "a table, as { run = function(unit, params) … end }", &action);
                continue;
            };
            self.only(inner, &path, ACTION_KEYS);
            let run = value(inner, "run");
            if !matches!(run, Value::Function(_)) {
                self.wrong(&["actions", &name, "run"], "a function", &run);
            }
            let description = self.text(inner, &["actions", &name, "description"]).unwrap_or_default();
            let params = self.params(inner, &name);
            match name.parse::<ActionName>() {
                Ok(name) => drop(found.insert(name, ActionDecl { description, params })),
                Err(error) => self.problem(&path, error.to_string()),
            }
        }
        found
    }

    fn params(&mut self, table: &Table, action: &str) -> IndexMap<String, ParamDecl> {
        let mut found = IndexMap::new();
        for (name, param) in self.entries(table, &["actions", action, "params"]) {
            let path = ["actions", action, "params", name.as_str()];
            self.option_name(&path);
            let Value::Table(inner) = &param else {
                self.wrong(&path, "a table, as { type = \"string\" }", &param);
                continue;
            };
            self.only(inner, &path, PARAM_KEYS);
            let required = self.flag(inner, &[&path[..], &["required"]].concat());
            let Some(option) = self.option(inner, &path) else { continue };
            if required && option.default.is_some() {
                self.problem(&path, format!("parameter \"{name}\" is required: its default is never used"));
            }
            found.insert(name, ParamDecl { option, required });
        }
        found
    }
}

fn last<'a>(path: &[&'a str]) -> &'a str {
    path.last().copied().unwrap_or_default()
}
