//! Where the files of a charm come from: a folder, or what is built in.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;

use super::CharmFiles;

#[derive(RustEmbed)]
#[folder = "stdlib/"]
struct Stdlib;

#[derive(RustEmbed)]
#[folder = "charms-lua/"]
struct Builtin;

/// Files a charm may have, and bytes of all of them.
const MAX_FILES: usize = 1000;
const MAX_BYTES: u64 = 10 << 20;
const MAX_DEPTH: usize = 8;

/// The file every charm has.
pub const MAIN: &str = "charm.lua";

/// Why a folder could not be read as a charm.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("there is no charm in \"{}\": it has no charm.lua", path.display())]
    NoCharm { path: PathBuf },
    #[error("cannot read \"{}\"", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the charm in \"{}\" is larger than {} MiB or {MAX_FILES} files", path.display(), MAX_BYTES >> 20)]
    TooLarge { path: PathBuf },
    #[error("a file name in \"{}\" is not UTF-8", path.display())]
    Name { path: PathBuf },
}

/// Whether a file at this path belongs to a charm: hidden files, editors' backups and the charm's tests do not.
fn belongs(path: &str) -> bool {
    !path.starts_with("tests/") && !path.split('/').any(|part| part.starts_with('.') || part.ends_with('~'))
}

/// Reads a charm from `folder`. Symbolic links are not followed: a charm is what its folder holds.
pub fn read_folder(folder: &Path) -> Result<CharmFiles, SourceError> {
    if !folder.join(MAIN).is_file() {
        return Err(SourceError::NoCharm { path: folder.to_owned() });
    }
    let mut files = CharmFiles::new();
    let mut bytes = 0;
    let mut pending = vec![(folder.to_owned(), String::new(), 0)];
    while let Some((directory, prefix, depth)) = pending.pop() {
        let failed = |source| SourceError::Read { path: directory.clone(), source };
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let Ok(name) = entry.file_name().into_string() else {
                return Err(SourceError::Name { path: directory });
            };
            let name = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() && depth < MAX_DEPTH && belongs(&format!("{name}/")) {
                pending.push((path, format!("{name}/"), depth + 1));
            } else if kind.is_file() && belongs(&name) {
                let failed = |source| SourceError::Read { path: path.clone(), source };
                bytes += entry.metadata().map_err(failed)?.len();
                if bytes > MAX_BYTES || files.len() >= MAX_FILES {
                    return Err(SourceError::TooLarge { path: folder.to_owned() });
                }
                files.insert(name, std::fs::read(&path).map_err(failed)?);
            }
        }
    }
    Ok(files)
}

/// The charm `name` that comes with this program.
pub fn builtin_charm(name: &str) -> Option<CharmFiles> {
    let prefix = format!("{name}/");
    let files: CharmFiles = Builtin::iter()
        .filter_map(|path| {
            let inner = path.strip_prefix(&prefix).filter(|inner| belongs(inner))?;
            Some((inner.to_owned(), Builtin::get(&path)?.data.into_owned()))
        })
        .collect();
    files.contains_key(MAIN).then_some(files)
}

/// Names of the charms that come with this program, sorted.
pub fn builtin_charms() -> Vec<String> {
    let suffix = format!("/{MAIN}");
    let mut names: Vec<String> = Builtin::iter()
        .filter_map(|path| path.strip_suffix(&suffix).filter(|name| !name.contains('/')).map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// The charm `name`: from `repository/series/name` or `repository/name` if one is there, else the built-in one.
/// `Ok(None)` if there is none at all.
pub fn find_charm(
    repository: Option<&Path>,
    series: Option<&str>,
    name: &str,
) -> Result<Option<CharmFiles>, SourceError> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Ok(None);
    }
    if let Some(repository) = repository {
        let with_series = series.map(|series| repository.join(series).join(name));
        for folder in with_series.into_iter().chain([repository.join(name)]) {
            if folder.join(MAIN).is_file() {
                return read_folder(&folder).map(Some);
            }
        }
    }
    Ok(builtin_charm(name))
}

/// The source of `@std/name`.
pub fn stdlib_file(name: &str) -> Option<Cow<'static, [u8]>> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if !plain {
        return None;
    }
    Stdlib::get(&format!("{name}.lua")).map(|file| file.data)
}

/// Names of the modules of the standard library, sorted.
pub fn stdlib_modules() -> Vec<String> {
    let mut names: Vec<String> =
        Stdlib::iter().filter_map(|path| path.strip_suffix(".lua").map(str::to_owned)).collect();
    names.sort();
    names
}
