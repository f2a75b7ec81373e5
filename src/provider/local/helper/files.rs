//! Files of a machine, handled as the machine's root in the machine's own mounts.
//!
//! Paths are resolved where a command of the machine would resolve them: a hostile symlink leads to a place inside, and
//! owners are the machine's own ids. Only regular files are read or replaced, so a FIFO cannot block.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use super::enter::{User, find_group, join_namespaces};
use super::{At as _, FileAction, FileOrder, HelperReply, Refused, Step};

const PERMISSIONS: u32 = 0o7777;

/// The reply and, for a read file, its content.
pub fn serve(order: &FileOrder, content: &[u8]) -> Step<(HelperReply, Vec<u8>)> {
    join_namespaces(order.init, false)?;
    std::env::set_current_dir("/").at("enter /")?;
    let path = Path::new(&order.path);
    match &order.action {
        FileAction::Read { limit } => read(path, *limit),
        FileAction::Stat => stat(path).map(|reply| (reply, Vec::new())),
        FileAction::Remove => remove(path).map(|()| (HelperReply::Done, Vec::new())),
        FileAction::Write { mode, user, group } => {
            let wish = Wish { mode: *mode, user: user.as_deref(), group: group.as_deref() };
            write(path, content, &wish).map(|reply| (reply, Vec::new()))
        }
    }
}

fn read(path: &Path, limit: u64) -> Step<(HelperReply, Vec<u8>)> {
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
        Err(error) if absent(&error) => return Ok((HelperReply::NoFile, Vec::new())),
        other => other.at("open")?,
    };
    if !file.metadata().at("stat")?.is_file() {
        return Err(Refused { step: "read".into(), errno: libc::EISDIR });
    }
    let mut content = Vec::new();
    // The size is not asked: files of /proc have none.
    file.take(limit.saturating_add(1)).read_to_end(&mut content).at("read")?;
    let too_large = u64::try_from(content.len()).is_ok_and(|length| length > limit);
    Ok(if too_large { (HelperReply::TooLarge, Vec::new()) } else { (HelperReply::Content, content) })
}

fn stat(path: &Path) -> Step<HelperReply> {
    let data = match std::fs::symlink_metadata(path) {
        Err(error) if absent(&error) => return Ok(HelperReply::NoFile),
        other => other.at("stat")?,
    };
    let kind = match data.file_type() {
        kind if kind.is_file() => "file",
        kind if kind.is_dir() => "directory",
        kind if kind.is_symlink() => "symlink",
        _ => "other",
    };
    let (mode, size) = (data.mode() & PERMISSIONS, data.len());
    Ok(HelperReply::Stat { kind: kind.into(), mode, uid: data.uid(), gid: data.gid(), size })
}

fn remove(path: &Path) -> Step<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if !absent(&error) => Err(error).at("remove"),
        _ => Ok(()),
    }
}

/// What the caller wants of a written file; `None` keeps what is there.
struct Wish<'a> {
    mode: Option<u32>,
    user: Option<&'a str>,
    group: Option<&'a str>,
}

fn write(path: &Path, content: &[u8], wish: &Wish<'_>) -> Step<HelperReply> {
    let user = wish.user.map(|name| User::find(name).ok_or_else(|| HelperReply::NoUser(name.to_owned()))).transpose();
    let group = wish.group.map(|name| find_group(name).ok_or_else(|| HelperReply::NoUser(name.to_owned()))).transpose();
    let (user, group) = match (user, group) {
        (Ok(user), Ok(group)) => (user, group),
        (Err(reply), _) | (_, Err(reply)) => return Ok(reply),
    };
    // A symlink to a file keeps being one: its target is what is replaced.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = std::fs::metadata(path).ok();
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        return Err(Refused { step: "replace".into(), errno: libc::EISDIR });
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o755).create(folder).at("make the folder of")?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".encanto-new");
    let fresh = folder.join(name);
    let _ = std::fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).at("create")?;
    let uid = user.as_ref().map(|user| user.uid).or(old.as_ref().map(|old| old.uid()));
    // A user named without a group brings its own.
    let gid = group.or(user.map(|user| user.gid)).or(old.as_ref().map(|old| old.gid()));
    let mode = wish.mode.or(old.map(|old| old.mode())).unwrap_or(0o644) & PERMISSIONS;
    let finish = |file: &mut File| -> std::io::Result<()> {
        file.write_all(content)?;
        fchown(&*file, uid, gid)?;
        // After the owner: a change of owner clears set-id bits.
        file.set_permissions(Permissions::from_mode(mode))?;
        std::fs::rename(&fresh, path)
    };
    let finished = finish(&mut file);
    if finished.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    finished.at("write")?;
    Ok(HelperReply::Done)
}

fn absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
