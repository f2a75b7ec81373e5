//! Values that must not be seen: what Lua holds of them, and how they are kept out of every line that leaves a hook.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::host::type_name;
use mlua::{Lua, MetaMethod, UserData, UserDataMethods, UserDataRef, Value};

/// What stands in the place of a secret.
pub const SHOWN: &str = "(secret)";
/// Texts shorter than this are replaced only where they stand alone as a value, not searched inside other values.
const CONTAINED_FROM: usize = 6;
/// More than this many secrets are a charm's mistake; each makes every log line slower.
const MAX_SECRETS: usize = 2000;
/// Bytes of one secret, and of all that a hook makes: they live outside of the memory that Lua counts.
const MAX_SECRET: usize = 64 << 10;
const MAX_BYTES: usize = 16 << 20;

/// The secrets that a hook has met so far. Clones share them.
#[derive(Clone, Default)]
pub struct Secrets {
    known: Arc<Mutex<Vec<String>>>,
    made: Arc<AtomicUsize>,
}

impl Secrets {
    fn with<T>(&self, f: impl FnOnce(&mut Vec<String>) -> T) -> T {
        f(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Refuses what would take too much memory.
    fn spend(&self, bytes: usize) -> Result<(), String> {
        if bytes > MAX_SECRET {
            return Err(format!("a secret is larger than {} KiB", MAX_SECRET >> 10));
        }
        let made = self.made.fetch_add(bytes + size_of::<Secret>(), Relaxed);
        let many = made > MAX_BYTES || self.with(|known| known.len() >= MAX_SECRETS);
        if many { Err("too many secrets in one hook".to_owned()) } else { Ok(()) }
    }

    /// Makes a secret known. Of one with several lines each line counts, because logs are made of lines.
    pub fn add(&self, text: &str) {
        let lines = text.lines().map(str::trim).filter(|line| line.len() >= CONTAINED_FROM);
        let parts = std::iter::once(text).chain(lines);
        self.with(|known| {
            for part in parts.filter(|part| !part.is_empty()) {
                if !known.iter().any(|other| other == part) && known.len() < MAX_SECRETS {
                    known.push(part.to_owned());
                    // The longest first, so that a secret that contains another is replaced whole.
                    known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
                }
            }
        });
    }

    /// Whether `text` is a secret.
    pub fn is_secret(&self, text: &str) -> bool {
        self.with(|known| known.iter().any(|secret| secret == text))
    }

    /// Whether `text` would give a secret away.
    pub fn gives_away(&self, text: &str) -> bool {
        self.with(|known| {
            known.iter().any(|secret| secret == text || (secret.len() >= CONTAINED_FROM && text.contains(secret)))
        })
    }

    /// `text` with every secret replaced, at most `limit` bytes of it.
    pub fn redact(&self, text: &str, limit: usize) -> String {
        self.with(|known| {
            let mut out = String::with_capacity(text.len().min(limit));
            let mut rest = text;
            while let Some(first) = rest.chars().next() {
                // Cut after replacing: a secret that lies across the limit must not show its first half.
                if out.len() >= limit {
                    out.push('…');
                    break;
                }
                match known.iter().find(|secret| rest.starts_with(secret.as_str())) {
                    Some(secret) => {
                        out.push_str(SHOWN);
                        rest = &rest[secret.len()..];
                    }
                    None => {
                        out.push(first);
                        rest = &rest[first.len_utf8()..];
                    }
                }
            }
            out
        })
    }
}

/// `secret(value)` as Lua holds it: it prints as `(secret)` and joins only to another secret.
pub struct Secret {
    text: String,
    secrets: Secrets,
}

impl Secret {
    pub fn new(secrets: &Secrets, text: &str) -> Self {
        secrets.add(text);
        Secret { text: text.to_owned(), secrets: secrets.clone() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The text in a string, number or secret.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.to_str().ok().map(|text| text.to_string()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::UserData(data) => Some(data.borrow::<Secret>().ok()?.text.clone()),
        _ => None,
    }
}

impl UserData for Secret {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("reveal", |_, this, ()| Ok(this.text.clone()));
        methods.add_meta_method(MetaMethod::ToString, |_, _, ()| Ok(SHOWN));
        methods.add_meta_function(MetaMethod::Eq, |_, (a, b): (UserDataRef<Secret>, UserDataRef<Secret>)| {
            Ok(a.text == b.text)
        });
        methods.add_meta_function(MetaMethod::Concat, |_, (a, b): (Value, Value)| {
            let secrets = [&a, &b].into_iter().find_map(|side| match side {
                Value::UserData(data) => data.borrow::<Secret>().ok().map(|secret| secret.secrets.clone()),
                _ => None,
            });
            match (plain(&a), plain(&b), secrets) {
                (Some(a), Some(b), Some(secrets)) => {
                    secrets.spend(a.len() + b.len()).map_err(mlua::Error::runtime)?;
                    Ok(Secret { text: a + &b, secrets })
                }
                _ => Err(mlua::Error::runtime("a secret can be joined with a text, a number or a secret")),
            }
        });
    }
}

/// `secret(value)`.
pub fn wrap(lua: &Lua, secrets: &Secrets, value: &Value) -> Result<Value, String> {
    if let Value::UserData(data) = value
        && data.is::<Secret>()
    {
        return Ok(value.clone());
    }
    let text = match value {
        Value::String(text) => text.to_str().map_err(|_| "a secret is a text in UTF-8".to_owned())?.to_string(),
        other => return Err(format!("secret expects a text, got {}", type_name(other))),
    };
    secrets.spend(text.len())?;
    lua.create_userdata(Secret::new(secrets, &text)).map(Value::UserData).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_secret_is_replaced_whole() {
        let secrets = Secrets::default();
        secrets.add("hunter2");
        secrets.add("hunter2-more");
        assert_eq!(secrets.redact("a hunter2-more b hunter2", 1000), "a (secret) b (secret)");
    }

    #[test]
    fn a_secret_across_the_limit_shows_nothing() {
        let secrets = Secrets::default();
        secrets.add("hunter2");
        assert_eq!(secrets.redact("aaaa hunter2", 7), "aaaa (secret)");
        assert_eq!(secrets.redact("aaaa hunter2", 3), "aaa…");
    }

    #[test]
    fn lines_of_a_key_are_secrets_too() {
        let secrets = Secrets::default();
        secrets.add("-----BEGIN\nMIIEabcdef\n-----END");
        assert_eq!(secrets.redact("got MIIEabcdef", 1000), "got (secret)");
    }
}
