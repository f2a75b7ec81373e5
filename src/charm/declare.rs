//! Turns the table given to `charm` into a [`CharmMeta`], collecting every mistake with its line.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use mlua::{Table, Value};

use crate::model::hook::{RELATION_HOOK_KINDS, UNIT_HOOKS};
use crate::model::names::JUJU_INFO;
use crate::model::{
    CharmMeta, CharmName, ConfigValue, EndpointDecl, EndpointName, InterfaceName, OptionDecl, OptionKind, Scope,
};

use super::host::{did_you_mean, type_name};
use super::locate::Locator;

const KEYS: &[&str] = &[
    "name",
    "summary",
    "description",
    "series",
    "subordinate",
    "provides",
    "requires",
    "peers",
    "config",
    "prepare",
    "hooks",
    "actions",
];
const ENDPOINT_KEYS: &[&str] = &["interface", "scope", "optional"];
const OPTION_KEYS: &[&str] = &["type", "default", "description", "min", "max", "choices", "secret", "generate"];
const ACTION_KEYS: &[&str] = &["description", "params", "run"];
/// Characters that a generated value may have.
const GENERATED: std::ops::RangeInclusive<i64> = 8..=128;

pub struct Declaration {
    at: Locator,
    /// Line and message.
    problems: Vec<(usize, String)>,
}

impl Declaration {
    /// The declaration in `table`, which `source` made; or what is wrong with it, by line.
    pub fn read(table: &Table, source: &str) -> Result<CharmMeta, Vec<(usize, String)>> {
        let mut reader = Declaration { at: Locator::new(source), problems: vec![] };
        let meta = reader.charm(table);
        match meta {
            Some(meta) if reader.problems.is_empty() => Ok(meta),
            _ => Err(reader.problems),
        }
    }

    fn problem(&mut self, path: &[&str], message: impl Into<String>) {
        self.problems.push((self.at.line(path), message.into()));
    }

    fn charm(&mut self, table: &Table) -> Option<CharmMeta> {
        self.only(table, &[], KEYS);
        let name = self.required(table, "name").and_then(|text| match text.parse::<CharmName>() {
            Ok(name) => Some(name),
            Err(error) => {
                self.problem(&["name"], error.to_string());
                None
            }
        });
        let summary = self.required(table, "summary");
        let series = self.series(table);
        let roles = ["provides", "requires", "peers"].map(|role| self.endpoints(table, role));
        let [provides, requires, peers] = roles;
        let (all, subordinate) = (self.distinct([&provides, &requires, &peers]), self.flag(table, &["subordinate"]));
        if subordinate && !requires.values().any(|endpoint| endpoint.scope == Scope::Container) {
            self.problem(&["subordinate"], "a subordinate needs an endpoint in requires with scope = \"container\"");
        }
        let config = self.config(table);
        let hooks = self.hooks(table, &all);
        let actions = self.actions(table);
        let prepares = match value(table, "prepare") {
            Value::Nil => false,
            Value::Function(_) => true,
            other => {
                self.wrong(&["prepare"], "a function", &other);
                false
            }
        };
        let description = self.text(table, &["description"]).unwrap_or_default();
        let (name, summary) = (name?, summary?);
        Some(CharmMeta {
            name,
            summary,
            description,
            series,
            subordinate,
            provides,
            requires,
            peers,
            config,
            hooks,
            actions,
            prepares,
        })
    }

    fn series(&mut self, table: &Table) -> Vec<String> {
        let series = match value(table, "series") {
            Value::String(one) => vec![one.to_string_lossy()],
            Value::Table(list) => self.texts(&list, &["series"]),
            Value::Nil => vec![],
            other => {
                self.wrong(&["series"], "a list of texts", &other);
                return vec![];
            }
        };
        if series.is_empty() {
            self.problem(&["series"], "series is missing, as series = { \"bookworm\" }");
        }
        series
    }

    fn endpoints(&mut self, table: &Table, role: &str) -> IndexMap<EndpointName, EndpointDecl> {
        let mut found = IndexMap::new();
        for (name, value) in self.entries(table, &[role]) {
            let path = [role, name.as_str()];
            let endpoint = match name.parse::<EndpointName>() {
                Ok(endpoint) => endpoint,
                Err(error) => {
                    self.problem(&path, error.to_string());
                    continue;
                }
            };
            let (interface, scope, optional) = match &value {
                Value::String(interface) => (Some(interface.to_string_lossy()), Scope::Global, false),
                Value::Table(inner) => {
                    self.only(inner, &path, ENDPOINT_KEYS);
                    let interface = self.text(inner, &[role, &name, "interface"]);
                    (interface, self.scope(inner, &path), self.flag(inner, &[role, &name, "optional"]))
                }
                other => {
                    self.wrong(&path, "an interface or a table", other);
                    continue;
                }
            };
            if endpoint.is_reserved() {
                self.problem(&path, format!("endpoint name \"{name}\" is reserved"));
            }
            match interface.as_deref().map(str::parse::<InterfaceName>) {
                Some(Ok(interface))
                    if interface.is_reserved() && !(role == "requires" && interface == InterfaceName::juju_info()) =>
                {
                    let what = if role == "requires" { "only juju-info can be required" } else { "it is reserved" };
                    self.problem(&path, format!("interface \"{interface}\" of endpoint \"{name}\": {what}"));
                }
                Some(Ok(interface)) => drop(found.insert(endpoint, EndpointDecl { interface, scope, optional })),
                Some(Err(error)) => self.problem(&path, format!("{error}")),
                None => self.problem(&path, format!("endpoint \"{name}\" has no interface")),
            }
        }
        found
    }

    fn scope(&mut self, table: &Table, path: &[&str]) -> Scope {
        let path = [path, &["scope"]].concat();
        match self.text(table, &path).as_deref() {
            None | Some("global") => Scope::Global,
            Some("container") => Scope::Container,
            Some(other) => {
                self.problem(&path, format!("scope must be \"global\" or \"container\", got \"{other}\""));
                Scope::Global
            }
        }
    }

    fn distinct(&mut self, roles: [&IndexMap<EndpointName, EndpointDecl>; 3]) -> BTreeSet<EndpointName> {
        let mut seen = BTreeSet::new();
        for (role, endpoints) in ["provides", "requires", "peers"].into_iter().zip(roles) {
            for name in endpoints.keys().filter(|name| !seen.insert((*name).clone())).collect::<Vec<_>>() {
                self.problem(&[role, name.as_str()], format!("endpoint \"{name}\" is declared twice"));
            }
        }
        seen
    }

    fn config(&mut self, table: &Table) -> IndexMap<String, OptionDecl> {
        let mut found = IndexMap::new();
        for (name, value) in self.entries(table, &["config"]) {
            let path = ["config", name.as_str()];
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if name.is_empty() || !name.bytes().all(allowed) {
                self.problem(&path, format!("\"{name}\" cannot be the name of an option"));
            }
            match value {
                Value::Table(inner) => {
                    if let Some(option) = self.option(&inner, &name) {
                        found.insert(name, option);
                    }
                }
                other => self.wrong(&path, "a table, as { type = \"string\" }", &other),
            }
        }
        found
    }

    fn option(&mut self, table: &Table, name: &str) -> Option<OptionDecl> {
        let path = ["config", name];
        let at = |key| ["config", name, key];
        self.only(table, &path, OPTION_KEYS);
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
                self.problem(&path, format!("option \"{name}\" has no type: string, int, float or boolean"));
                return None;
            }
        };
        let option = OptionDecl {
            kind,
            description: self.text(table, &at("description")).unwrap_or_default(),
            default: self.default(table, kind, name),
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
            generate: self.generate(table, kind, name),
        };
        self.check_option(&option, name);
        Some(option)
    }

    fn check_option(&mut self, option: &OptionDecl, name: &str) {
        let at = |key| ["config", name, key];
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
            if let Err(error) = option.check(name, default) {
                self.problem(&at("default"), format!("default of {error}"));
            }
        }
    }

    fn default(&mut self, table: &Table, kind: OptionKind, name: &str) -> Option<ConfigValue> {
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
                self.problem(&["config", name, "default"], format!("default must be of type {kind}, got {got}"));
                None
            }
        }
    }

    fn generate(&mut self, table: &Table, kind: OptionKind, name: &str) -> Option<u8> {
        let path = ["config", name, "generate"];
        let length = self.whole(table, &path)?;
        if kind != OptionKind::String || !GENERATED.contains(&length) {
            let (least, most) = (GENERATED.start(), GENERATED.end());
            self.problem(&path, format!("generate is for a string, a length from {least} to {most}"));
        }
        u8::try_from(length).ok()
    }

    fn hooks(&mut self, table: &Table, endpoints: &BTreeSet<EndpointName>) -> BTreeSet<String> {
        let known: Vec<String> = endpoints
            .iter()
            .flat_map(|endpoint| RELATION_HOOK_KINDS.map(|kind| format!("{endpoint}-relation-{kind}")))
            .chain(UNIT_HOOKS.map(str::to_owned))
            .collect();
        let implicit = RELATION_HOOK_KINDS.map(|kind| format!("{JUJU_INFO}-relation-{kind}"));
        let mut found = BTreeSet::new();
        for (name, value) in self.entries(table, &["hooks"]) {
            let path = ["hooks", name.as_str()];
            if !known.contains(&name) && !implicit.contains(&name) {
                let message = unknown_hook(&name, &known);
                self.problem(&path, message);
            } else if !matches!(value, Value::Function(_)) {
                self.wrong(&path, "a function", &value);
            }
            found.insert(name);
        }
        found
    }

    fn actions(&mut self, table: &Table) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (name, action) in self.entries(table, &["actions"]) {
            let path = ["actions", name.as_str()];
            match &action {
                Value::Table(inner) => {
                    self.only(inner, &path, ACTION_KEYS);
                    self.text(inner, &["actions", &name, "description"]);
                    let run = value(inner, "run");
                    if !matches!(run, Value::Function(_)) {
                        self.wrong(&["actions", &name, "run"], "a function", &run);
                    }
                }
                other => self.wrong(&path, "a table, as { run = function(unit, params) … end }", other),
            }
            found.insert(name);
        }
        found
    }

    // Readers of single values. The last part of `path` is the key.

    fn wrong(&mut self, path: &[&str], expected: &str, got: &Value) {
        let (key, got) = (path.last().copied().unwrap_or_default(), type_name(got));
        self.problem(path, format!("\"{key}\" must be {expected}, got {got}"));
    }

    fn only(&mut self, table: &Table, path: &[&str], known: &[&str]) {
        for pair in table.pairs::<Value, Value>() {
            let Ok((key, _)) = pair else { continue };
            match key {
                Value::String(key) => {
                    let key = key.to_string_lossy();
                    if !known.contains(&key.as_str()) {
                        let hint = did_you_mean(&key, known.iter().copied());
                        let hint = if hint.is_empty() { format!("; known: {}", known.join(", ")) } else { hint };
                        self.problem(&[path, &[&key]].concat(), format!("unknown key \"{key}\"{hint}"));
                    }
                }
                other => self.problem(path, format!("unexpected entry without a name ({})", type_name(&other))),
            }
        }
    }

    /// Entries of the table at `path` in the order of the source.
    fn entries(&mut self, table: &Table, path: &[&str]) -> Vec<(String, Value)> {
        let inner = match value(table, path.last().copied().unwrap_or_default()) {
            Value::Table(inner) => inner,
            Value::Nil => return vec![],
            other => {
                self.wrong(path, "a table", &other);
                return vec![];
            }
        };
        let mut found = Vec::new();
        for pair in inner.pairs::<Value, Value>() {
            match pair {
                Ok((Value::String(key), value)) => found.push((key.to_string_lossy(), value)),
                _ => self.problem(path, format!("an entry of \"{}\" has no name", path.join("."))),
            }
        }
        found.sort_by_key(|(key, _)| (self.at.order(&[path, &[key]].concat()), key.clone()));
        found
    }

    fn required(&mut self, table: &Table, key: &str) -> Option<String> {
        let text = self.text(table, &[key]);
        if value(table, key).is_nil() {
            self.problem(&[key], format!("\"{key}\" is missing"));
        }
        text
    }

    fn text(&mut self, table: &Table, path: &[&str]) -> Option<String> {
        match value(table, path.last().copied().unwrap_or_default()) {
            Value::String(text) => Some(text.to_string_lossy()),
            Value::Nil => None,
            other => {
                self.wrong(path, "a text", &other);
                None
            }
        }
    }

    fn flag(&mut self, table: &Table, path: &[&str]) -> bool {
        match value(table, path.last().copied().unwrap_or_default()) {
            Value::Boolean(flag) => flag,
            Value::Nil => false,
            other => {
                self.wrong(path, "true or false", &other);
                false
            }
        }
    }

    fn whole(&mut self, table: &Table, path: &[&str]) -> Option<i64> {
        match value(table, path.last().copied().unwrap_or_default()) {
            Value::Integer(number) => Some(number),
            Value::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(number as i64),
            Value::Nil => None,
            other => {
                self.wrong(path, "a whole number", &other);
                None
            }
        }
    }

    fn texts(&mut self, list: &Table, path: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for entry in list.sequence_values::<Value>() {
            match entry {
                Ok(Value::String(text)) => found.push(text.to_string_lossy()),
                _ => self.wrong(path, "a list of texts", &Value::Table(list.clone())),
            }
        }
        if list.pairs::<Value, Value>().count() != found.len() {
            self.problem(path, format!("\"{}\" must be a plain list", path.join(".")));
        }
        found
    }
}

fn value(table: &Table, key: &str) -> Value {
    // Raw: a metatable of the charm has no say in what it declares.
    table.raw_get(key).unwrap_or(Value::Nil)
}

fn unknown_hook(name: &str, known: &[String]) -> String {
    let hint = did_you_mean(name, known.iter().map(String::as_str));
    let endpoint = RELATION_HOOK_KINDS.iter().find_map(|kind| name.strip_suffix(&format!("-relation-{kind}")));
    match endpoint {
        Some(endpoint) => {
            format!("hook \"{name}\" is of endpoint \"{endpoint}\", which the charm does not declare{hint}")
        }
        None if hint.is_empty() => format!("unknown hook \"{name}\"; known: {}", known.join(", ")),
        None => format!("unknown hook \"{name}\"{hint}"),
    }
}
