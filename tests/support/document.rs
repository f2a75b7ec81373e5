//! What documents tell their readers to type.

use std::fs;
use std::path::Path;

use super::words;

/// A command of a document, with what the document says that it answers.
#[derive(Debug)]
pub struct Shown {
    /// Without `encanto`.
    pub line: String,
    pub answer: Vec<String>,
}

impl Shown {
    pub fn words(&self) -> Vec<String> {
        words(&self.line)
    }

    /// What it exits with, if the document is right.
    pub fn code(&self) -> i32 {
        i32::from(self.answer.iter().any(|line| line.starts_with("error: ")))
    }
}

pub fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text below the heading `title` up to the next one of its rank.
pub fn section<'a>(document: &'a str, title: &str) -> &'a str {
    let rank = title.split(' ').next().unwrap();
    let begin = document.find(&format!("\n{title}\n")).unwrap_or_else(|| panic!("no section {title:?}"));
    let rest = &document[begin + title.len() + 2..];
    rest.find(&format!("\n{rank} ")).map_or(rest, |end| &rest[..end])
}

/// Every `$ encanto …` of the blocks with a console in them, in order.
pub fn console(document: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    let mut inside = false;
    let mut ours = false;
    for line in document.lines() {
        if line.starts_with("```") {
            inside = !inside && line == "```console";
            ours = false;
        } else if let Some(typed) = line.strip_prefix("$ ").filter(|_| inside) {
            let typed = typed.strip_prefix("sudo ").unwrap_or(typed);
            ours = typed.starts_with("encanto ");
            if let Some(line) = typed.strip_prefix("encanto ") {
                shown.push(Shown { line: line.to_owned(), answer: Vec::new() });
            }
        } else if inside
            && ours
            && let Some(last) = shown.last_mut()
        {
            last.answer.push(line.to_owned());
        }
    }
    shown
}

/// Every `encanto …` in backticks or in an indented block.
pub fn mentioned(document: &str) -> Vec<Shown> {
    let mut found = Vec::new();
    let mut fenced = false;
    for paragraph in document.split("\n\n") {
        let mut prose = String::new();
        for line in paragraph.lines() {
            if line.starts_with("```") {
                fenced = !fenced;
            } else if !fenced && let Some(line) = line.strip_prefix("    ") {
                let line = line.split("  #").next().unwrap_or(line).trim();
                found.extend(line.strip_prefix("sudo ").unwrap_or(line).strip_prefix("encanto ").map(str::to_owned));
            } else if !fenced {
                prose.push_str(line);
                prose.push(' ');
            }
        }
        let spans = prose.split('`').skip(1).step_by(2);
        found.extend(
            spans.filter_map(|span| {
                span.strip_prefix("sudo ").unwrap_or(span).strip_prefix("encanto ").map(str::to_owned)
            }),
        );
    }
    found.into_iter().map(|line| Shown { line, answer: Vec::new() }).collect()
}
