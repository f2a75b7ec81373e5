//! Values of Lua as a person reads them at a prompt. No code of a script is called for it, and no secret is shown.

use mlua::{MultiValue, Table, Value};

use super::secret::{SHOWN, Secrets};

/// Bytes of one text, entries of one table, tables inside each other, and bytes of it all.
const MAX_TEXT: usize = 4 << 10;
const MAX_ENTRIES: usize = 50;
const MAX_DEPTH: usize = 3;
const MAX_BYTES: usize = 16 << 10;
/// Entries of a table that are looked at to find those with names.
const MAX_LOOKED_AT: usize = 10_000;

/// The values of a chunk, one beside the other; empty if there are none.
pub fn values(values: &MultiValue, secrets: &Secrets) -> String {
    let shown: Vec<String> = values.iter().map(|value| shown(value, secrets, MAX_DEPTH)).collect();
    let text = shown.join("\t");
    match text.len() > MAX_BYTES {
        true => format!("{}…", &text[..text.floor_char_boundary(MAX_BYTES)]),
        false => text,
    }
}

fn shown(value: &Value, secrets: &Secrets, depth: usize) -> String {
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        // Replaced before it is quoted: quoting would hide a secret from the search for it.
        Value::String(text) => format!("{:?}", secrets.redact(&text.to_string_lossy(), MAX_TEXT)),
        Value::UserData(_) => SHOWN.to_owned(),
        Value::Table(table) => table_shown(table, secrets, depth),
        other => other.type_name().to_owned(),
    }
}

/// `{ 1, 2, name = "x", ["a-b"] = true }`: the list first, then the names, sorted.
fn table_shown(table: &Table, secrets: &Secrets, depth: usize) -> String {
    let length = table.raw_len();
    let listed = |key: &Value| key.as_i64().or(whole(key)).is_some_and(|key| key >= 1 && key as usize <= length);
    if depth == 0 && !table.is_empty() {
        return "{ … }".to_owned();
    }
    let list = (1..=length.min(MAX_ENTRIES)).filter_map(|index| table.raw_get::<Value>(index).ok());
    let mut entries: Vec<String> = list.map(|value| shown(&value, secrets, depth - 1)).collect();
    let pairs = table.pairs::<Value, Value>().take(MAX_LOOKED_AT);
    let named = pairs.filter_map(Result::ok).filter(|(key, _)| !listed(key));
    let mut named: Vec<String> = named
        .take(MAX_ENTRIES)
        .map(|(key, value)| format!("{} = {}", name(&key, secrets), shown(&value, secrets, depth - 1)))
        .collect();
    named.sort();
    entries.extend(named);
    if entries.is_empty() {
        return "{}".to_owned();
    }
    if entries.len() >= MAX_ENTRIES {
        entries.truncate(MAX_ENTRIES);
        entries.push("…".to_owned());
    }
    format!("{{ {} }}", entries.join(", "))
}

fn whole(key: &Value) -> Option<i64> {
    key.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64)
}

fn name(key: &Value, secrets: &Secrets) -> String {
    let plain = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match key {
        Value::String(text) if plain(&text.to_string_lossy()) => secrets.redact(&text.to_string_lossy(), MAX_TEXT),
        other => format!("[{}]", shown(other, secrets, 0)),
    }
}
