//! The one place of the command line that parses YAML.
//!
//! The parser takes minutes for a few hundred kilobytes of `[[[…` and silently keeps the last of two equal keys. So:
//! a cap on the size, a cap on how deep brackets nest, a pass that finds equal keys, and then the typed reading.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::error::Failure;

const LARGEST: usize = 1 << 20;
const DEEPEST: usize = 128;

/// Why a text is not the YAML that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    pub line: Option<usize>,
    pub text: String,
}

/// # Errors
/// One line with the file's name and the line in it.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let cannot_read = |error| Failure::io(format!("cannot read \"{}\"", path.display()), &error);
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LARGEST as u64 + 1).read_to_string(&mut text)).map_err(cannot_read)?;
    parse(&text).map_err(|problem| {
        let line = problem.line.map(|line| format!(", line {line}")).unwrap_or_default();
        Failure::failed(format!("\"{}\"{line}: {}", path.display(), problem.text))
    })
}

pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    if text.len() > LARGEST {
        return Err(Problem { line: None, text: format!("longer than {} KiB", LARGEST >> 10) });
    }
    if let Some(line) = too_deep(text) {
        return Err(Problem { line: Some(line), text: format!("brackets nest deeper than {DEEPEST}") });
    }
    let mut value: Value = serde_yaml::from_str(text).map_err(problem)?;
    if text.contains("<<") {
        value.apply_merge().map_err(problem)?;
        return serde_yaml::from_value(value).map_err(problem);
    }
    // From the text again, because only this reading knows lines.
    serde_yaml::from_str(text).map_err(problem)
}

fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut line) = (0usize, 1);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'\n' => line += 1,
            _ => {}
        }
        if depth > DEEPEST {
            return Some(line);
        }
    }
    None
}

fn problem(error: serde_yaml::Error) -> Problem {
    let line = error.location().map(|location| location.line());
    let text = error.to_string();
    let text = match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    };
    Problem { line, text: text.replace('\n', " ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Numbers = BTreeMap<String, u32>;

    #[test]
    fn equal_keys_are_an_error() {
        let problem = parse::<Numbers>("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert!(problem.text.contains("duplicate"), "{problem:?}");
    }

    #[test]
    fn a_wrong_type_is_told_with_its_line() {
        let problem = parse::<Numbers>("a: 1\nb: two\n").unwrap_err();
        assert_eq!(problem.line, Some(2));
        assert!(problem.text.contains("invalid type: string \"two\""), "{problem:?}");
    }

    #[test]
    fn merge_keys_are_followed() {
        let read: BTreeMap<String, Numbers> = parse("base: &b {x: 1}\nother:\n  <<: *b\n  y: 2\n").unwrap();
        assert_eq!(read["other"], Numbers::from([("x".into(), 1), ("y".into(), 2)]));
    }

    #[test]
    fn bombs_are_refused_before_they_are_parsed() {
        assert!(parse::<Value>(&"[".repeat(200_000)).unwrap_err().text.contains("nest"));
        assert!(parse::<Value>(&"a: b\n".repeat(300_000)).unwrap_err().text.contains("longer"));
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(text in "[ -~\n]{0,80}") {
            let _ = parse::<Value>(&text);
        }
    }
}
