//! Small things that operators write: durations and `key=value` pairs.

use indexmap::IndexMap;
use serde_json::Value;

use super::error::Failure;

/// `30`, `30s`, `5m` or `1h`, in seconds.
pub fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("invalid duration \"{text}\": write `30`, `30s`, `5m` or `1h`");
    let (number, factor) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) if text.ends_with('m') => (number, 60),
        Some(number) if text.ends_with('h') => (number, 3600),
        Some(number) => (number, 1),
        None => (text, 1),
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

/// `512K`, `20M` or `1G`, in bytes.
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor: u64 = match unit {
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| number.parse().ok())?.and_then(|number: u64| number.checked_mul(factor))
}

/// How many of something: at least one.
pub fn count(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a positive integer".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// `key=value`; the value may be empty and may hold more `=`.
pub fn pair(text: &str) -> Option<(String, Value)> {
    let (key, value) = text.split_once('=')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if key.is_empty() || !key.bytes().all(plain) {
        return None;
    }
    Some((key.to_owned(), Value::String(value.to_owned())))
}

/// The words of a command for the journal: names, never values.
pub fn words(verb: &str, names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    names.into_iter().fold(verb.to_owned(), |line, name| line + " " + name.as_ref())
}

/// How large a machine is to be, as virt-install has it; the same as `mem` and `cpu-cores` of `--constraints`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Hardware {
    /// Its memory, in megabytes: `mem=` of the constraints
    #[arg(long, visible_alias = "memory", value_name = "MB", value_parser = count)]
    ram: Option<u32>,
    /// Its cores: `cpu-cores=` of the constraints
    #[arg(long, visible_alias = "vcpus", value_name = "N", value_parser = count)]
    vcpu: Option<u32>,
}

impl Hardware {
    /// As constraints, or those that were given instead.
    ///
    /// # Errors
    /// Both were given.
    pub fn or(&self, constraints: Option<String>) -> Result<Option<String>, Failure> {
        let mem = self.ram.map(|megabytes| format!("mem={megabytes}M"));
        let own: Vec<String> = mem.into_iter().chain(self.vcpu.map(|cores| format!("cpu-cores={cores}"))).collect();
        match (own.is_empty(), constraints) {
            (true, constraints) => Ok(constraints),
            (false, None) => Ok(Some(own.join(" "))),
            (false, Some(given)) => Err(Failure::usage("cannot use --ram or --vcpu with --constraints")
                .hint(format!("--constraints '{}'", [given, own.join(" ")].join(" ").trim()))),
        }
    }
}

pub type Values = IndexMap<String, Value>;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_in_every_unit() {
        for (text, expected) in [("30", 30), ("30s", 30), ("5m", 300), ("1h", 3600), ("0", 0)] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for text in ["", "s", "5d", "-1", "1.5h", "+3", "1h30m", "99999999999999999999", "9999999999999999h"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pairs_keep_what_follows_the_first_equals_sign() {
        assert_eq!(pair("a-b=c=d"), Some(("a-b".into(), "c=d".into())));
        assert_eq!(pair("a="), Some(("a".into(), "".into())));
        for text in ["=a", "a", "./x=y", "a b=c"] {
            assert_eq!(pair(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_duration_panic(text in "\\PC{0,12}") {
            let _ = seconds(&text);
        }
    }
}
