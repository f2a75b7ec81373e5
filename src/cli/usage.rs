//! Turns what clap says about a wrong command line into our own kind of error: one line, then hints.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::error::Failure;

/// `verb` is the command it happened in, if it got that far.
pub fn failure(error: &clap::Error, verb: Option<&str>) -> Failure {
    let message = message(error);
    let mut failure = Failure::usage(message);
    if let Some(suggestion) = suggestion(error) {
        failure = failure.hint(format!("did you mean `{suggestion}`?"));
    } else if error.kind() == ErrorKind::InvalidValue {
        let valid = values(error, ContextKind::ValidValue);
        failure = if valid.is_empty() { failure } else { failure.hint(format!("one of {}", valid.join(", "))) };
    }
    match verb {
        Some(verb) => failure.hint(format!("encanto {verb} --help")),
        None => failure.hint("encanto --help"),
    }
}

fn message(error: &clap::Error) -> String {
    match error.kind() {
        ErrorKind::InvalidSubcommand => match text(error, ContextKind::InvalidSubcommand) {
            Some(name) => format!("unrecognized command: encanto {name}"),
            None => first_line(error),
        },
        ErrorKind::MissingRequiredArgument => {
            let missing: Vec<String> = values(error, ContextKind::InvalidArg).iter().map(|arg| noun(arg)).collect();
            if missing.is_empty() { first_line(error) } else { format!("no {} specified", missing.join(" and no ")) }
        }
        ErrorKind::UnknownArgument => match text(error, ContextKind::InvalidArg) {
            Some(arg) if arg.starts_with('-') => format!("unrecognized option: {arg}"),
            Some(arg) => format!("unrecognized args: [\"{arg}\"]"),
            None => first_line(error),
        },
        _ => first_line(error),
    }
}

/// `<UNIT>...` → `units`.
fn noun(arg: &str) -> String {
    let name: String = arg.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ' || *c == '-').collect();
    let name = name.to_lowercase();
    if arg.ends_with("...") { name + "s" } else { name }
}

/// The first line; the value parsers' own reason follows a colon there.
fn first_line(error: &clap::Error) -> String {
    let rendered = error.to_string();
    let line = rendered.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).trim_end_matches(':').to_owned()
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    values(error, kind).into_iter().next()
}

fn values(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

fn suggestion(error: &clap::Error) -> Option<String> {
    [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]
        .into_iter()
        // Of several, the last is the most alike.
        .find_map(|kind| values(error, kind).pop())
}
