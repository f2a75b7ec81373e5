//! `unit:exec{…}`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mlua::{Function, IntoLua, Lua, Table, Value};
use tokio::time::Instant;

use super::fault::cut;
use super::host::{Bytes, bytes, optional_text, options, text, type_name, waiting};
use super::meter::Meter;
use super::scene::Scene;
use super::vm::seconds;
use super::{ExecCall, ExecResult, OUTPUT_LIMIT, OutputLines};

const OPTIONS: &[&str] = &["env", "stdin", "cwd", "user", "timeout", "check", "shell", "quiet"];
/// Bytes of a command that an error names.
const SHOWN_COMMAND: usize = 60;
const MAX_ARGUMENTS: usize = 10_000;

struct Request {
    call: ExecCall,
    check: bool,
    quiet: bool,
}

pub fn exec(lua: &Lua, meter: &Arc<Meter>, scene: &Arc<Scene>) -> mlua::Result<Function> {
    let scene = scene.clone();
    waiting(lua, meter, move |request: Value| {
        let Value::Table(table) = request else {
            return Err("exec expects a table: exec{ \"command\", \"argument\" }".to_owned());
        };
        Ok(carry_out(scene.clone(), read(&table)?))
    })
}

fn read(table: &Table) -> Result<Request, String> {
    let mut call = ExecCall::default();
    let (mut check, mut quiet, mut shell) = (true, false, None);
    for (name, value) in options(&Value::Table(table.clone()), OPTIONS)? {
        match name.as_str() {
            "env" => call.env = environment(&value)?,
            "stdin" => call.stdin = bytes(&value, "stdin")?,
            "cwd" => call.cwd = optional_text(&value, "cwd")?,
            "user" => call.user = optional_text(&value, "user")?,
            "timeout" => call.timeout = Some(timeout(&value)?),
            "check" => check = flag(&value, "check")?,
            "quiet" => quiet = flag(&value, "quiet")?,
            _ => shell = optional_text(&value, "shell")?,
        }
    }
    let length = table.raw_len();
    if length > MAX_ARGUMENTS {
        return Err(format!("more than {MAX_ARGUMENTS} arguments"));
    }
    for index in 1..=length {
        let value: Value = table.raw_get(index).map_err(|error| error.to_string())?;
        call.argv.push(text(&value, &format!("argument {index}"))?);
    }
    match (shell, call.argv.is_empty()) {
        (Some(line), true) => call.argv = vec!["/bin/sh".to_owned(), "-c".to_owned(), line],
        (Some(_), false) => return Err("exec takes a command or shell=, not both".to_owned()),
        (None, true) => return Err("exec has no command".to_owned()),
        (None, false) => {}
    }
    if call.argv.iter().any(|argument| argument.contains('\0')) {
        return Err("an argument has a zero byte".to_owned());
    }
    Ok(Request { call, check, quiet })
}

fn environment(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let Value::Table(table) = value else {
        return Err(format!("env must be a table, not a {}", type_name(value)));
    };
    let pairs = table.pairs::<Value, Value>().map(|pair| {
        let (name, value) = pair.map_err(|error| error.to_string())?;
        let name = text(&name, "a name in env")?;
        let value = match value {
            Value::Boolean(flag) => flag.to_string(),
            other => text(&other, &format!("env {name}"))?,
        };
        match name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            true => Err(format!("\"{name}\" cannot be an environment variable")),
            false => Ok((name, value)),
        }
    });
    pairs.collect()
}

fn timeout(value: &Value) -> Result<Duration, String> {
    let number = match value {
        Value::Integer(number) => *number as f64,
        Value::Number(number) => *number,
        _ => 0.0,
    };
    match number > 0.0 {
        true => Duration::try_from_secs_f64(number).map_err(|_| "timeout is too large".to_owned()),
        false => Err("timeout must be a number of seconds above 0".to_owned()),
    }
}

fn flag(value: &Value, what: &str) -> Result<bool, String> {
    value.as_boolean().ok_or_else(|| format!("{what} must be true or false, not a {}", type_name(value)))
}

struct Output(ExecResult);

impl IntoLua for Output {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        let table = lua.create_table()?;
        table.raw_set("code", self.0.code)?;
        table.raw_set("timed_out", self.0.timed_out)?;
        table.raw_set("stdout", Bytes(self.0.stdout))?;
        table.raw_set("stderr", Bytes(self.0.stderr))?;
        Ok(Value::Table(table))
    }
}

async fn carry_out(scene: Arc<Scene>, request: Request) -> Result<Output, String> {
    let Request { mut call, check, quiet } = request;
    let command = shown(&call.argv);
    let left = scene.deadline.saturating_duration_since(Instant::now());
    let limit = call.timeout.map_or(left, |timeout| timeout.min(left));
    call.timeout = Some(limit);
    scene.journal.clear_output();
    let journal = scene.journal.clone();
    let lines: OutputLines = Arc::new(move |_, line| journal.output(line, quiet));
    let result = scene.machine.exec(call, lines).await;
    let mut result = result.map_err(|error| format!("command \"{command}\" could not be run: {error}"))?;
    keep_end(&mut result.stdout);
    keep_end(&mut result.stderr);
    if result.timed_out && (check || limit == left) {
        return Err(format!("command \"{command}\" was ended after its limit of {}", seconds(limit)));
    }
    if result.code != 0 && check {
        let said = last_line(&result.stderr).or_else(|| last_line(&result.stdout));
        let said = said.map(|line| format!(": {line}")).unwrap_or_default();
        return Err(format!("command \"{command}\" failed with code {}{said}", result.code));
    }
    Ok(Output(result))
}

/// The machine keeps the limit; this keeps it if the machine does not.
fn keep_end(stream: &mut Vec<u8>) {
    let excess = stream.len().saturating_sub(OUTPUT_LIMIT);
    stream.drain(..excess);
}

fn shown(argv: &[String]) -> String {
    let words = match argv {
        [shell, option, line] if shell == "/bin/sh" && option == "-c" => line.clone(),
        words => words.join(" "),
    };
    let line = words.lines().next().unwrap_or_default();
    let start = cut(line, SHOWN_COMMAND);
    if start.len() < words.len() { format!("{start}…") } else { start.to_owned() }
}

fn last_line(stream: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stream);
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(|line| cut(line, 300).to_owned())
}
