//! This host's side: a file or a folder as an archive, and an archive as files.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, Entry, EntryType, Header};

use crate::cli::error::Failure;

/// What stands between the contents of two entries, names for the most part: more is a mistake or an attack.
const LONGEST_HEAD: u64 = 256 << 10;

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

    pub fn write(self, out: impl Write + 'static) -> Result<(), Failure> {
        let mut archive = Builder::new(Box::new(out) as Box<dyn Write>);
        if let Err(failure) = self.fill(&mut archive) {
            // A builder that is dropped ends its archive: what is only a part would look like the whole.
            *archive.get_mut() = Box::new(io::sink());
            return Err(failure);
        }
        let end = archive.into_inner().and_then(|mut out| out.flush());
        end.map_err(|error| trouble("send", &self.path, &error))
    }

    fn fill(&self, archive: &mut Builder<Box<dyn Write>>) -> Result<(), Failure> {
        let Some(file) = &self.file else { return folder(archive, &self.path, Path::new("folder")) };
        let added =
            file.metadata().and_then(|about| regular(archive, Path::new("file"), (self.mode, about.len()), file));
        added.map_err(|error| trouble("read", &self.path, &error))
    }
}

fn trouble(verb: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("cannot {verb} \"{}\"", path.display()), error)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode & 0o777);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Takes as many bytes of `content` as are told of.
fn regular<W: Write>(
    archive: &mut Builder<W>,
    name: &Path,
    (mode, size): (u32, u64),
    content: impl Read,
) -> io::Result<()> {
    let mut content = content.take(size);
    archive.append_data(&mut header(EntryType::Regular, mode, size), name, &mut content)?;
    match content.limit() {
        0 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read")),
    }
}

fn link<W: Write>(archive: &mut Builder<W>, name: &Path, to: &Path) -> io::Result<()> {
    let mut header = header(EntryType::Symlink, 0o777, 0);
    // Byte for byte, as long as it fits.
    match header.set_link_name_literal(to.as_os_str().as_bytes()) {
        Ok(()) => archive.append_data(&mut header, name, io::empty()),
        Err(_) => archive.append_link(&mut header, name, to),
    }
}

/// A folder with what is in it, sorted by name.
fn folder<W: Write>(archive: &mut Builder<W>, path: &Path, name: &Path) -> Result<(), Failure> {
    let cannot = |error: io::Error| trouble("read", path, &error);
    let mode = fs::metadata(path).map_err(cannot)?.permissions().mode();
    archive.append_data(&mut header(EntryType::Directory, mode, 0), name, io::empty()).map_err(cannot)?;
    let mut inside = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(cannot)?;
    inside.sort_by_key(fs::DirEntry::file_name);
    inside.iter().try_for_each(|item| add(archive, &item.path(), &name.join(item.file_name())))
}

fn add<W: Write>(archive: &mut Builder<W>, path: &Path, name: &Path) -> Result<(), Failure> {
    let cannot = |error: io::Error| trouble("read", path, &error);
    let about = path.symlink_metadata().map_err(cannot)?;
    if about.is_dir() {
        folder(archive, path, name)
    } else if about.is_symlink() {
        fs::read_link(path).and_then(|to| link(archive, name, &to)).map_err(cannot)
    } else if about.is_file() {
        let of = (about.permissions().mode(), about.len());
        File::open(path).and_then(|file| regular(archive, name, of, file)).map_err(cannot)
    } else {
        Ok(())
    }
}

/// What comes, up to a limit: its end is an error, since an archive says itself where it ends.
struct Incoming<'a, R> {
    from: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Incoming<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if most == 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a name is too long"));
        }
        match self.from.read(&mut buffer[..most])? {
            0 if most > 0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended too early")),
            count => {
                self.left.set(left - count as u64);
                Ok(count)
            }
        }
    }
}

/// The files, folders and symbolic links of an archive.
struct Entries<'a, R: Read> {
    all: tar::Entries<'a, Incoming<'a, R>>,
    left: &'a Cell<u64>,
}

impl<'a, R: Read> Entries<'a, R> {
    /// The content of the file before must have been read.
    fn next(&mut self) -> io::Result<Option<Entry<'a, Incoming<'a, R>>>> {
        loop {
            self.left.set(LONGEST_HEAD);
            let Some(mut entry) = self.all.next().transpose()? else { return Ok(None) };
            self.left.set(u64::MAX);
            match entry.header().entry_type() {
                EntryType::Regular => return Ok(Some(entry)),
                // Nobody asked for one, and it may claim to be endless.
                EntryType::GNUSparse => return Err(io::Error::new(io::ErrorKind::InvalidData, "a file has holes")),
                kind => {
                    io::copy(&mut entry, &mut io::sink())?;
                    if matches!(kind, EntryType::Directory | EntryType::Symlink) {
                        return Ok(Some(entry));
                    }
                }
            }
        }
    }
}

fn broken(error: io::Error) -> Failure {
    Failure::failed(format!("what came is not whole: {error}"))
}

/// Writes what comes to `destination`, or into it if that is a folder; `asked` is the path in the machine.
pub fn read(from: impl Read, destination: &Path, asked: &str) -> Result<(), Failure> {
    let left = Cell::new(LONGEST_HEAD);
    let mut archive = Archive::new(Incoming { from, left: &left });
    let mut entries = Entries { all: archive.entries().map_err(broken)?, left: &left };
    let mut first = entries.next().map_err(broken)?.ok_or_else(|| Failure::failed("nothing came"))?;
    let mode = first.header().mode().map_err(broken)?;
    let name = Path::new(asked).file_name();
    let root = if destination.is_dir() {
        name.map_or(destination.to_owned(), |n| destination.join(n))
    } else {
        destination.to_owned()
    };
    match first.header().entry_type() {
        EntryType::Regular => {
            if root.is_dir() {
                return Err(Failure::failed(format!("\"{}\" is a folder", root.display())));
            }
            // Where the operator's own link leads is where it goes.
            let cannot = |error: io::Error| trouble("write", &root, &error);
            let mut file = File::create(&root).map_err(cannot)?;
            io::copy(&mut first, &mut file).map_err(cannot)?;
            permit(&root, mode)?;
            entries.next().map_err(broken).map(drop)
        }
        EntryType::Directory => {
            fs::create_dir_all(&root).map_err(|error| trouble("write", &root, &error))?;
            tree(&mut entries, &root, mode)
        }
        _ => Err(Failure::failed("what came is neither a file nor a folder")),
    }
}

/// Links are made last, so that nothing is written through one that came; permissions of folders too, so that one may
/// be read-only.
fn tree<R: Read>(entries: &mut Entries<'_, R>, root: &Path, mode: u32) -> Result<(), Failure> {
    let (mut links, mut folders) = (Vec::new(), vec![(root.to_owned(), mode)]);
    while let Some(mut entry) = entries.next().map_err(broken)? {
        let name = entry.path().map_err(broken)?;
        let Some(path) = inside(root, &name) else {
            return Err(Failure::failed(format!("the machine sent a strange name: {name:?}")));
        };
        if path == root {
            if entry.header().entry_type().is_file() {
                io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
            }
            continue;
        }
        no_link_on_the_way(root, &path)?;
        let cannot = |error: io::Error| trouble("write", &path, &error);
        let mode = entry.header().mode().map_err(broken)?;
        match entry.header().entry_type() {
            EntryType::Directory => {
                // Nor does it get its permissions through a link that was there before.
                if !path.symlink_metadata().is_ok_and(|about| about.is_dir()) {
                    fs::create_dir(&path).map_err(cannot)?;
                }
                folders.push((path, mode));
            }
            EntryType::Symlink => {
                let to = entry.link_name().map_err(broken)?.unwrap_or_default().into_owned();
                links.push((path, to));
            }
            _ => {
                let flags = libc::O_NOFOLLOW;
                let mut options = OpenOptions::new();
                let file = options.write(true).create(true).truncate(true).custom_flags(flags).open(&path);
                io::copy(&mut entry, &mut file.map_err(cannot)?).map_err(cannot)?;
                permit(&path, mode)?;
            }
        }
    }
    for (path, to) in links {
        let old = path.symlink_metadata().is_ok_and(|about| about.is_symlink());
        let made = if old { fs::remove_file(&path) } else { Ok(()) }.and_then(|()| symlink(to, &path));
        made.map_err(|error| trouble("write", &path, &error))?;
    }
    folders.iter().rev().try_for_each(|(path, mode)| permit(path, *mode))
}

fn permit(path: &Path, mode: u32) -> Result<(), Failure> {
    fs::set_permissions(path, Permissions::from_mode(mode & 0o777)).map_err(|error| trouble("write", path, &error))
}

/// `None` for a name that leads out.
fn inside(root: &Path, name: &Path) -> Option<PathBuf> {
    let mut path = root.to_owned();
    for part in name.components() {
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
    use proptest::prelude::*;

    enum Kind<'a> {
        File(&'a [u8]),
        Folder,
        Link(&'a str),
        Pipe,
        Sparse,
    }

    /// Whatever the names are: the crate writes no evil ones.
    fn archive(entries: &[(&str, u32, Kind)]) -> Vec<u8> {
        let mut archive = Builder::new(Vec::new());
        for (name, mode, kind) in entries {
            let (kind, content, to) = match kind {
                Kind::File(content) => (EntryType::Regular, *content, ""),
                Kind::Folder => (EntryType::Directory, &b""[..], ""),
                Kind::Link(to) => (EntryType::Symlink, &b""[..], *to),
                Kind::Pipe => (EntryType::Fifo, &b"passed over"[..], ""),
                Kind::Sparse => (EntryType::GNUSparse, &b""[..], ""),
            };
            let mut header = header(kind, *mode, content.len() as u64);
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_link_name_literal(to).unwrap();
            header.set_cksum();
            archive.append(&header, content).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn error(bytes: &[u8], to: &Path) -> String {
        format!("{:?}", read(bytes, to, "/x/folder").unwrap_err())
    }

    #[test]
    fn a_folder_comes_with_permissions_and_links() {
        let home = tempfile::tempdir().unwrap();
        let bytes = archive(&[
            ("./", 0o755, Kind::Folder),
            ("./sub/", 0o500, Kind::Folder),
            ("./pipe", 0o600, Kind::Pipe),
            ("./sub/a", 0o640, Kind::File(b"hi")),
            ("./link", 0o777, Kind::Link("sub/a")),
        ]);
        read(bytes.as_slice(), home.path(), "/x/folder").unwrap();
        let at = |name: &str| home.path().join("folder").join(name);
        assert_eq!(fs::read_to_string(at("link")).unwrap(), "hi");
        assert_eq!(fs::metadata(at("sub/a")).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::metadata(at("sub")).unwrap().permissions().mode() & 0o777, 0o500);
        assert!(!at("pipe").exists());
    }

    #[test]
    fn a_machine_cannot_write_outside_of_the_folder() {
        let home = tempfile::tempdir().unwrap();
        let root = || ("./", 0o755, Kind::Folder);
        for name in ["../evil", "/evil", "sub/../../evil"] {
            let bytes = archive(&[root(), (name, 0o644, Kind::File(b"x"))]);
            assert!(error(&bytes, home.path()).contains("strange name"), "{name}");
        }
        // A link, and a file through it: now and in a second attempt.
        let out = home.path().display().to_string();
        let bytes = archive(&[root(), ("./way", 0o777, Kind::Link(&out)), ("./way/evil", 0o644, Kind::File(b"x"))]);
        assert!(read(bytes.as_slice(), home.path(), "/x/folder").is_err());
        symlink(home.path(), home.path().join("folder/way")).unwrap();
        assert!(error(&bytes, home.path()).contains("is a link"));
        let bytes = archive(&[root(), ("./way", 0o777, Kind::Folder)]);
        assert!(error(&bytes, home.path()).contains("cannot write"));
        assert!(!home.path().join("evil").exists());
    }

    #[test]
    fn a_machine_fills_neither_memory_nor_time_with_a_few_bytes() {
        let home = tempfile::tempdir().unwrap();
        let mut endless = header(EntryType::GNULongName, 0, 1 << 40);
        endless.set_cksum();
        let bytes = endless.as_bytes().chain(io::repeat(b'x'));
        let failure = read(bytes, home.path(), "/x/folder").unwrap_err();
        assert!(format!("{failure:?}").contains("a name is too long"));
        let bytes = archive(&[("./", 0o755, Kind::Folder), ("./a", 0o644, Kind::Sparse)]);
        assert!(error(&bytes, home.path()).contains("not whole"));
    }

    #[test]
    fn half_a_file_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let bytes = archive(&[("a", 0o600, Kind::File(&[b'x'; 2000]))]);
        // Not even where an entry ends.
        for cut in [0, 1, 512, 1500, 2512, 2560] {
            assert!(error(&bytes[..cut], &home.path().join("a")).contains("too early"), "{cut}");
        }
        read(bytes.as_slice(), &home.path().join("a"), "/x/a").unwrap();
        assert_eq!(fs::metadata(home.path().join("a")).unwrap().len(), 2000);
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let mut archive = Builder::new(Vec::new());
        let short = regular(&mut archive, Path::new("a"), (0o600, 3), &b"ab"[..]);
        assert!(short.unwrap_err().to_string().contains("shorter"));
    }

    #[test]
    fn what_cannot_be_read_is_not_sent_as_if_it_were_whole() {
        let home = tempfile::tempdir().unwrap();
        let (folder, out) = (home.path().join("folder"), home.path().join("out"));
        fs::create_dir(&folder).unwrap();
        let source = Source::open(&folder, true).unwrap();
        fs::remove_dir(&folder).unwrap();
        source.write(File::create(&out).unwrap()).unwrap_err();
        assert_eq!(fs::read(out).unwrap(), b"");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_is_sent_comes(
            name in "[a-zäß ]{1,60}", deep in "[a-zäß.]{1,60}x", to in "[a-z/.]{0,140}x", mode in 0o400u32..=0o777,
            content in proptest::collection::vec(any::<u8>(), 0..2000)
        ) {
            let home = tempfile::tempdir().unwrap();
            let (from, copy) = (home.path().join("from"), home.path().join("copy"));
            let (file, target) = (Path::new(&name).join(&deep).join(&deep), Path::new(&name).join("A link"));
            fs::create_dir_all(from.join(&file).parent().unwrap()).unwrap();
            fs::write(from.join(&file), &content).unwrap();
            permit(&from.join(&file), mode).unwrap();
            symlink(&to, from.join(&target)).unwrap();
            let mut archive = Builder::new(Vec::new());
            folder(&mut archive, &from, Path::new(".")).unwrap();
            let bytes = archive.into_inner().unwrap();
            read(bytes.as_slice(), &copy, "/x/folder").unwrap();
            prop_assert_eq!(fs::read(copy.join(&file)).unwrap(), content);
            prop_assert_eq!(fs::metadata(copy.join(&file)).unwrap().permissions().mode() & 0o777, mode);
            let link = fs::read_link(copy.join(&target)).unwrap();
            // Paths compare by their parts: a long one may lose what says nothing.
            prop_assert_eq!(&link, Path::new(&to));
            prop_assert!(to.len() > 100 || link.as_os_str() == to.as_str());
            // Cut anywhere before its end, it is an error.
            for cut in [1, 511, 512, 1024, bytes.len() - 1536, bytes.len() - 1025, bytes.len() - 1024] {
                prop_assert!(read(&bytes[..cut], &copy, "/x/folder").is_err());
                let _ = fs::remove_dir_all(&copy);
            }
        }

        #[test]
        fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1600)) {
            let home = tempfile::tempdir().unwrap();
            prop_assert!(read(bytes.as_slice(), home.path(), "/x/folder").is_err());
        }
    }
}
