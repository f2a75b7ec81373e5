//! Files that only memory holds.

use std::collections::BTreeMap;

use super::super::{FileKind, FileStat, WriteOptions};

#[derive(Clone, Debug)]
pub struct SimulatedFile {
    pub content: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Files of an instance or a layer by absolute path; a folder exists as long as something is in it.
pub type Files = BTreeMap<String, SimulatedFile>;

pub fn write(files: &mut Files, path: &str, content: &[u8], options: &WriteOptions) {
    let old = files.get(path);
    let id = |wish: &Option<String>, old: Option<u32>| wish.as_deref().map(simulated_id).or(old).unwrap_or(0);
    let file = SimulatedFile {
        content: content.to_owned(),
        mode: options.mode.or(old.map(|file| file.mode)).unwrap_or(0o644),
        uid: id(&options.user, old.map(|file| file.uid)),
        gid: id(options.group.as_ref().map_or(&options.user, |_| &options.group), old.map(|file| file.gid)),
    };
    files.insert(path.to_owned(), file);
}

pub fn stat(files: &Files, path: &str) -> Option<FileStat> {
    if let Some(SimulatedFile { content, mode, uid, gid }) = files.get(path) {
        let size = content.len() as u64;
        return Some(FileStat { kind: FileKind::File, mode: *mode, uid: *uid, gid: *gid, size });
    }
    let folder = folder_prefix(path);
    let is_folder = files.keys().any(|file| file.starts_with(&folder));
    is_folder.then_some(FileStat { kind: FileKind::Directory, mode: 0o755, uid: 0, gid: 0, size: 0 })
}

/// A file, or a folder with all that is in it.
pub fn remove(files: &mut Files, path: &str) {
    let folder = folder_prefix(path);
    files.retain(|file, _| file != path && !file.starts_with(&folder));
}

fn folder_prefix(path: &str) -> String {
    format!("{}/", path.trim_end_matches('/'))
}

/// Ids as a Debian has them; names it does not know are users made later.
fn simulated_id(name: &str) -> u32 {
    match name {
        "root" => 0,
        "www-data" => 33,
        "nobody" | "nogroup" => 65534,
        _ => 1000,
    }
}
