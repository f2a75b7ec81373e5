//! This host's side: a file or a folder as an archive, and an archive as files.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use super::pipe::FrameWriter;
use crate::cli::error::Failure;
use crate::cli::tar::{Entry, Kind, Reader, Writer};

/// What is to be sent.
pub struct Source {
    path: PathBuf,
    /// Opened at once: an error is told before anybody is asked. `None` for a folder.
    file: Option<File>,
    mode: u32,
}

impl Source {
    pub fn open(path: &Path, recursive: bool) -> Result<Self, Failure> {
        let cannot = |error| trouble("read", path, &error);
        let about = fs::metadata(path).map_err(cannot)?;
        let path_text = path.display();
        if about.is_dir() && !recursive {
            return Err(Failure::failed(format!("\"{path_text}\" is a folder")).hint("-r copies it"));
        }
        if !about.is_dir() && !about.is_file() {
            return Err(Failure::failed(format!("\"{path_text}\" is no file")));
        }
        let file = if about.is_file() { Some(File::open(path).map_err(cannot)?) } else { None };
        Ok(Self { path: path.to_owned(), file, mode: about.permissions().mode() & 0o777 })
    }

    pub fn is_folder(&self) -> bool {
        self.file.is_none()
    }

    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// What it is called in a folder: nothing for `.` and the like, whose content goes there itself.
    pub fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub fn write(self, out: FrameWriter) -> Result<(), Failure> {
        let mut archive = Writer::new(out);
        match &self.file {
            Some(file) => {
                let entry = file.metadata().map(|about| entry("file", self.mode, Kind::File { size: about.len() }));
                entry
                    .and_then(|entry| archive.add(&entry, &mut &*file))
                    .map_err(|e| trouble("read", &self.path, &e))?;
            }
            None => folder(&mut archive, &self.path, "folder")?,
        }
        let end = archive.finish().and_then(FrameWriter::finish);
        end.map_err(|error| trouble("send", &self.path, &error))
    }
}

fn trouble(verb: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("cannot {verb} \"{}\"", path.display()), error)
}

fn entry(name: &str, mode: u32, kind: Kind) -> Entry {
    Entry { name: name.to_owned(), mode, kind }
}

/// A folder with what is in it, sorted by name.
fn folder(archive: &mut Writer<FrameWriter>, path: &Path, name: &str) -> Result<(), Failure> {
    let cannot = |error: io::Error| trouble("read", path, &error);
    let mode = fs::metadata(path).map_err(cannot)?.permissions().mode() & 0o777;
    archive.add(&entry(&format!("{name}/"), mode, Kind::Folder), &mut io::empty()).map_err(cannot)?;
    let mut inside = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(cannot)?;
    inside.sort_by_key(fs::DirEntry::file_name);
    for item in inside {
        let path = item.path();
        let cannot = |error: io::Error| trouble("read", &path, &error);
        let about = item.metadata().map_err(cannot)?;
        let file_name = item.file_name();
        let last = file_name.to_str().ok_or_else(|| Failure::failed(format!("{path:?}: the name is not UTF-8")))?;
        add(archive, &path, (&format!("{name}/{last}"), &about))?;
    }
    Ok(())
}

fn add(archive: &mut Writer<FrameWriter>, path: &Path, (name, about): (&str, &fs::Metadata)) -> Result<(), Failure> {
    let cannot = |error: io::Error| trouble("read", path, &error);
    let mode = about.permissions().mode() & 0o777;
    if about.is_dir() {
        folder(archive, path, name)
    } else if about.is_symlink() {
        let to = fs::read_link(path).map_err(cannot)?;
        let to = to.to_str().ok_or_else(|| Failure::failed(format!("{path:?}: the link is not UTF-8")))?;
        archive.add(&entry(name, mode, Kind::Link { to: to.to_owned() }), &mut io::empty()).map_err(cannot)
    } else if about.is_file() {
        let mut file = File::open(path).map_err(cannot)?;
        archive.add(&entry(name, mode, Kind::File { size: about.len() }), &mut file).map_err(cannot)
    } else {
        Ok(())
    }
}

/// Writes what comes to `destination`, or into it if that is a folder; `asked` is the path in the machine.
pub fn read(from: impl Read, destination: &Path, asked: &str) -> Result<(), Failure> {
    let mut archive = Reader::new(from);
    let broken = |error: io::Error| Failure::failed(format!("what came is not whole: {error}"));
    let first = archive.next().map_err(broken)?.ok_or_else(|| Failure::failed("nothing came"))?;
    let name = Path::new(asked).file_name();
    let root = if destination.is_dir() {
        name.map_or(destination.to_owned(), |n| destination.join(n))
    } else {
        destination.to_owned()
    };
    match first.kind {
        Kind::File { .. } => {
            if root.is_dir() {
                return Err(Failure::failed(format!("\"{}\" is a folder", root.display())));
            }
            // Where the operator's own link leads is where it goes.
            let mut file = File::create(&root).map_err(|error| trouble("write", &root, &error))?;
            copy(&mut archive, &mut file, &root)?;
            permit(&root, first.mode)?;
            archive.next().map_err(broken).map(drop)
        }
        Kind::Folder => {
            fs::create_dir_all(&root).map_err(|error| trouble("write", &root, &error))?;
            tree(&mut archive, &root, first.mode)
        }
        Kind::Link { .. } => Err(Failure::failed("what came is neither a file nor a folder")),
    }
}

/// Links are made last, so that nothing is written through one that came; permissions of folders too, so that one may
/// be read-only.
fn tree(archive: &mut Reader<impl Read>, root: &Path, mode: u32) -> Result<(), Failure> {
    let (mut links, mut folders) = (Vec::new(), vec![(root.to_owned(), mode)]);
    while let Some(entry) = archive.next().map_err(|e| Failure::failed(format!("what came is not whole: {e}")))? {
        let Some(path) = inside(root, &entry.name) else {
            return Err(Failure::failed(format!("the machine sent a strange name: {:?}", entry.name)));
        };
        if path == root {
            continue;
        }
        no_link_on_the_way(root, &path)?;
        let cannot = |error: io::Error| trouble("write", &path, &error);
        match entry.kind {
            Kind::Folder => {
                if !path.is_dir() {
                    fs::create_dir(&path).map_err(cannot)?;
                }
                folders.push((path, entry.mode));
            }
            Kind::File { .. } => {
                let flags = libc::O_NOFOLLOW;
                let mut options = OpenOptions::new();
                let file = options.write(true).create(true).truncate(true).custom_flags(flags).open(&path);
                copy(archive, &mut file.map_err(cannot)?, &path)?;
                permit(&path, entry.mode)?;
            }
            Kind::Link { to } => links.push((path, to)),
        }
    }
    for (path, to) in links {
        let old = path.symlink_metadata().is_ok_and(|about| about.is_symlink());
        let made = if old { fs::remove_file(&path) } else { Ok(()) }.and_then(|()| symlink(to, &path));
        made.map_err(|error| trouble("write", &path, &error))?;
    }
    folders.iter().rev().try_for_each(|(path, mode)| permit(path, *mode))
}

fn copy(archive: &mut Reader<impl Read>, file: &mut File, path: &Path) -> Result<(), Failure> {
    io::copy(&mut archive.content(), file).map(drop).map_err(|error| trouble("write", path, &error))
}

fn permit(path: &Path, mode: u32) -> Result<(), Failure> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|error| trouble("write", path, &error))
}

/// `None` for a name that leads out.
fn inside(root: &Path, name: &str) -> Option<PathBuf> {
    let mut path = root.to_owned();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path)
}

/// A link that was there before could lead out of the folder.
fn no_link_on_the_way(root: &Path, path: &Path) -> Result<(), Failure> {
    for folder in path.ancestors().skip(1).take_while(|folder| *folder != root) {
        if folder.symlink_metadata().is_ok_and(|about| about.is_symlink()) {
            return Err(Failure::failed(format!("\"{}\" is a link: nothing is written through it", folder.display())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, u32, Kind, &str)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (name, mode, kind, content) in entries {
            writer.add(&entry(name, *mode, kind.clone()), &mut content.as_bytes()).unwrap();
        }
        writer.finish().unwrap()
    }

    fn error(bytes: &[u8], to: &Path) -> String {
        format!("{:?}", read(bytes, to, "/x/folder").unwrap_err())
    }

    #[test]
    fn a_folder_comes_with_permissions_and_links() {
        let home = tempfile::tempdir().unwrap();
        let bytes = archive(&[
            ("./", 0o755, Kind::Folder, ""),
            ("./sub/", 0o500, Kind::Folder, ""),
            ("./sub/a", 0o640, Kind::File { size: 2 }, "hi"),
            ("./link", 0o777, Kind::Link { to: "sub/a".into() }, ""),
        ]);
        read(bytes.as_slice(), home.path(), "/x/folder").unwrap();
        let at = |name: &str| home.path().join("folder").join(name);
        assert_eq!(fs::read_to_string(at("link")).unwrap(), "hi");
        assert_eq!(fs::metadata(at("sub/a")).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::metadata(at("sub")).unwrap().permissions().mode() & 0o777, 0o500);
    }

    #[test]
    fn a_machine_cannot_write_outside_of_the_folder() {
        let home = tempfile::tempdir().unwrap();
        let root = ("./", 0o755, Kind::Folder, "");
        for name in ["../evil", "/evil", "sub/../../evil"] {
            let bytes = archive(&[root.clone(), (name, 0o644, Kind::File { size: 1 }, "x")]);
            assert!(error(&bytes, home.path()).contains("strange name"), "{name}");
        }
        // A link, and a file through it: now and in a second attempt.
        let out = home.path().display().to_string();
        let bytes = archive(&[
            root,
            ("./way", 0o777, Kind::Link { to: out }, ""),
            ("./way/evil", 0o644, Kind::File { size: 1 }, "x"),
        ]);
        assert!(read(bytes.as_slice(), home.path(), "/x/folder").is_err());
        symlink(home.path(), home.path().join("folder/way")).unwrap();
        assert!(error(&bytes, home.path()).contains("is a link"));
        assert!(!home.path().join("evil").exists());
    }

    #[test]
    fn half_a_file_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let bytes = archive(&[("a", 0o600, Kind::File { size: 2000 }, &"x".repeat(2000))]);
        assert!(error(&bytes[..1500], &home.path().join("a")).contains("too early"));
        read(bytes.as_slice(), &home.path().join("a"), "/x/a").unwrap();
        assert_eq!(fs::metadata(home.path().join("a")).unwrap().len(), 2000);
    }
}
