//! `require`: the charm's own files as `./lib/name`, the standard library as `@std/name`, nothing else.

use std::sync::Arc;

use mlua::{Error, Function, Lua, Value};

use super::CharmFiles;
use super::fault::frames;
use super::host::{Host, did_you_mean, now, text};
use super::source;
use super::vm::{Limits, compile};

/// `require` for a charm with these files.
pub fn require(lua: &Lua, host: &Host, files: &Arc<CharmFiles>, limits: &Limits) -> mlua::Result<Function> {
    let charm = files.clone();
    let resolve = now(lua, move |_, name: Value| resolve(&charm, &text(&name, "the module's name")?))?;
    let (charm, limits) = (files.clone(), limits.clone());
    let compile = lua.create_function(move |lua, key: String| {
        let content = match key.strip_prefix("@std/") {
            Some(name) => source::stdlib_file(name).map(|content| content.into_owned()),
            None => charm.get(&key).cloned(),
        };
        compile(lua, &key, &content.unwrap_or_default(), &limits).map_err(|mut fault| {
            fault.frames.extend(frames(lua));
            Error::external(fault)
        })
    })?;
    host.require(resolve, compile)
}

/// The key of a module: `@std/name` or a path in `files`.
fn resolve(files: &CharmFiles, name: &str) -> Result<String, String> {
    if let Some(module) = name.strip_prefix("@std/") {
        if source::stdlib_file(module).is_some() {
            return Ok(name.to_owned());
        }
        let known = source::stdlib_modules();
        let hint = did_you_mean(module, known.iter().map(String::as_str));
        return Err(format!("there is no module \"{name}\"{hint}; @std has {}", known.join(", ")));
    }
    let Some(path) = name.strip_prefix("./") else {
        return Err(format!(
            "cannot require \"{name}\": a module is \"@std/name\" or \"./path\" in the charm's folder"
        ));
    };
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !path.split('/').all(plain) {
        return Err(format!("cannot require \"{name}\": it leads out of the charm's folder"));
    }
    let candidates = [format!("{path}.lua"), format!("{path}.luau"), path.to_owned()];
    let found = candidates.into_iter().find(|key| files.contains_key(key) && is_source(key));
    found.ok_or_else(|| {
        let stems = files.keys().filter_map(|key| key.strip_suffix(".lua").or_else(|| key.strip_suffix(".luau")));
        format!("the charm has no file \"{path}.lua\"{}", did_you_mean(path, stems))
    })
}

pub fn is_source(path: &str) -> bool {
    path.ends_with(".lua") || path.ends_with(".luau")
}
