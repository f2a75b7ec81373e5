//! `unit:read`, `write`, `remove`, `exists`, `stat`, and the charm's own files: `file`, `push`.

use std::sync::Arc;

use mlua::{IntoLua, Lua, Table, Value};

use super::host::{Bytes, bytes, did_you_mean, now, optional_text, options, path, text, waiting};
use super::meter::Meter;
use super::scene::Scene;
use super::{CharmFiles, FileAttributes, FileInfo, MachineAccess};

const WRITE_OPTIONS: &[&str] = &["mode", "user", "group"];

/// Adds the methods for files to those of a unit or machine.
pub fn add_methods(lua: &Lua, methods: &Table, meter: &Arc<Meter>, scene: &Arc<Scene>) -> mlua::Result<()> {
    let machine = || scene.machine.clone();
    let on = machine();
    methods.raw_set(
        "read",
        waiting(lua, meter, move |name: Value| {
            let (machine, path) = (on.clone(), path(&name)?);
            Ok(async move {
                let content = machine.read(&path).await.map_err(|error| failed("read", &path, &error))?;
                Ok(content.map(Bytes))
            })
        })?,
    )?;
    let on = machine();
    methods.raw_set(
        "stat",
        waiting(lua, meter, move |name: Value| {
            let (machine, path) = (on.clone(), path(&name)?);
            Ok(async move {
                let info = machine.stat(&path).await.map_err(|error| failed("stat", &path, &error))?;
                Ok(info.map(Info))
            })
        })?,
    )?;
    let on = machine();
    methods.raw_set(
        "exists",
        waiting(lua, meter, move |name: Value| {
            let (machine, path) = (on.clone(), path(&name)?);
            Ok(async move {
                let info = machine.stat(&path).await.map_err(|error| failed("stat", &path, &error))?;
                Ok(info.is_some())
            })
        })?,
    )?;
    let on = machine();
    methods.raw_set(
        "remove",
        waiting(lua, meter, move |name: Value| {
            let (machine, path) = (on.clone(), path(&name)?);
            Ok(async move {
                if machine.stat(&path).await.map_err(|error| failed("stat", &path, &error))?.is_none() {
                    return Ok(false);
                }
                machine.remove(&path).await.map_err(|error| failed("remove", &path, &error))?;
                Ok(true)
            })
        })?,
    )?;
    let on = machine();
    methods.raw_set(
        "write",
        waiting(lua, meter, move |(name, content, options): (Value, Value, Value)| {
            let (machine, path) = (on.clone(), path(&name)?);
            let (content, attributes) = (bytes(&content, "the content")?, attributes(&options)?);
            Ok(async move { write(&*machine, &path, &content, &attributes).await })
        })?,
    )?;
    let (on, files) = (machine(), scene.files.clone());
    methods.raw_set(
        "push",
        waiting(lua, meter, move |(name, target, options): (Value, Value, Value)| {
            let (machine, path) = (on.clone(), path(&target)?);
            let (content, attributes) = (own_file(&files, &name)?.to_vec(), attributes(&options)?);
            Ok(async move { write(&*machine, &path, &content, &attributes).await })
        })?,
    )?;
    let files = scene.files.clone();
    methods.raw_set("file", now(lua, move |_, name: Value| own_file(&files, &name).map(|file| Bytes(file.to_vec())))?)
}

fn failed(verb: &str, path: &str, error: &dyn std::fmt::Display) -> String {
    format!("cannot {verb} {path}: {error}")
}

fn own_file<'a>(files: &'a CharmFiles, name: &Value) -> Result<&'a [u8], String> {
    let name = text(name, "the file's name")?;
    let name = name.strip_prefix("./").unwrap_or(&name);
    files.get(name).map(Vec::as_slice).ok_or_else(|| {
        let hint = did_you_mean(name, files.keys().map(String::as_str));
        format!("the charm has no file \"{name}\"{hint}")
    })
}

fn attributes(value: &Value) -> Result<FileAttributes, String> {
    let mut found = FileAttributes::default();
    for (name, value) in options(value, WRITE_OPTIONS)? {
        match name.as_str() {
            "mode" => found.mode = Some(mode(&value)?),
            "user" => found.user = optional_text(&value, "user")?,
            _ => found.group = optional_text(&value, "group")?,
        }
    }
    Ok(found)
}

/// Octal, as a text: a number would be read as decimal.
fn mode(value: &Value) -> Result<u32, String> {
    let Value::String(text) = value else {
        return Err("mode must be a text of octal digits, as \"0644\"".to_owned());
    };
    let text = text.to_string_lossy();
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(format!("mode \"{text}\" is not octal digits, as \"0644\"")),
    }
}

/// Writes only what differs; says whether it did.
async fn write(
    machine: &dyn MachineAccess,
    path: &str,
    content: &[u8],
    attributes: &FileAttributes,
) -> Result<bool, String> {
    if is_so(machine, path, content, attributes).await? {
        return Ok(false);
    }
    machine.write(path, content, attributes).await.map_err(|error| failed("write", path, &error))?;
    Ok(true)
}

async fn is_so(
    machine: &dyn MachineAccess,
    path: &str,
    content: &[u8],
    attributes: &FileAttributes,
) -> Result<bool, String> {
    let Some(info) = machine.stat(path).await.map_err(|error| failed("stat", path, &error))? else {
        return Ok(false);
    };
    if info.kind == "directory" {
        return Err(format!("cannot write {path}: it is a directory"));
    }
    let mode_fits = attributes.mode.is_none_or(|mode| mode == info.mode & 0o7777);
    if info.kind != "file" || info.size != content.len() as u64 || !mode_fits {
        return Ok(false);
    }
    let user_fits = owner_fits(machine, "/etc/passwd", attributes.user.as_deref(), info.uid).await?;
    if !user_fits || !owner_fits(machine, "/etc/group", attributes.group.as_deref(), info.gid).await? {
        return Ok(false);
    }
    let current = machine.read(path).await.map_err(|error| failed("read", path, &error))?;
    Ok(current.as_deref() == Some(content))
}

/// Whether `name` is `id`, by the machine's own list of names.
async fn owner_fits(machine: &dyn MachineAccess, list: &str, name: Option<&str>, id: u32) -> Result<bool, String> {
    let Some(name) = name else { return Ok(true) };
    if name == "root" || name == id.to_string() {
        return Ok(id == 0 || name != "root");
    }
    let content = machine.read(list).await.map_err(|error| failed("read", list, &error))?.unwrap_or_default();
    let content = String::from_utf8_lossy(&content).into_owned();
    let found = content.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1).map(str::to_owned)).flatten()
    });
    Ok(found == Some(id.to_string()))
}

struct Info(FileInfo);

impl IntoLua for Info {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        let table = lua.create_table()?;
        table.raw_set("kind", self.0.kind)?;
        table.raw_set("mode", format!("{:04o}", self.0.mode & 0o7777))?;
        table.raw_set("size", self.0.size as f64)?;
        table.raw_set("uid", self.0.uid)?;
        table.raw_set("gid", self.0.gid)?;
        Ok(Value::Table(table))
    }
}
