//! Files: what `Provider` promises of them.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::{FakeMachine, exec, inside, request};
use crate::provider::{FileKind, ProviderError, WriteOptions};

#[tokio::test]
async fn files_are_written_and_read_and_removed() {
    let (machine, world) = (FakeMachine::new(), tempfile::tempdir().unwrap());
    let one = inside(&machine);
    let path = world.path().join("a/b/file with 'trouble'\nin it");
    let path = path.to_str().unwrap();
    let binary: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    let options = WriteOptions { mode: Some(0o4640), ..WriteOptions::default() };
    one.write_file(path, &binary, &options).await.unwrap();
    assert!(one.read_file(path, 3_000_000).await.unwrap() == binary);
    let stat = one.stat_file(path).await.unwrap().unwrap();
    let uid = rustix::process::getuid().as_raw();
    assert_eq!((stat.kind, stat.mode, stat.uid, stat.size), (FileKind::File, 0o4640, uid, 3_000_000));
    one.write_file(path, b"new", &WriteOptions::default()).await.unwrap();
    let stat = one.stat_file(path).await.unwrap().unwrap();
    assert_eq!((stat.mode, stat.size), (0o4640, 3));
    let stat = one.stat_file(world.path().join("a").to_str().unwrap()).await.unwrap().unwrap();
    assert_eq!((stat.kind, stat.mode), (FileKind::Directory, 0o755));
    let refused = one.read_file(path, 2).await;
    assert!(matches!(refused, Err(ProviderError::FileTooLarge { limit: 2, .. })), "{refused:?}");
    let tree = world.path().join("a");
    one.remove_file(tree.to_str().unwrap()).await.unwrap();
    one.remove_file(tree.to_str().unwrap()).await.unwrap();
    assert!(!tree.exists());
    assert_eq!(one.stat_file(path).await.unwrap(), None);
    let refused = one.read_file(path, 2).await;
    assert!(matches!(refused, Err(ProviderError::NoFile { .. })), "{refused:?}");
}

#[tokio::test]
async fn links_are_kept_and_seen_as_what_they_are() {
    let (machine, world) = (FakeMachine::new(), tempfile::tempdir().unwrap());
    let one = inside(&machine);
    let at = |name: &str| world.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("target"), "old").unwrap();
    symlink("target", at("link")).unwrap();
    one.write_file(&at("link"), b"new", &WriteOptions::default()).await.unwrap();
    assert_eq!(std::fs::read_to_string(at("target")).unwrap(), "new");
    assert_eq!(one.stat_file(&at("link")).await.unwrap().unwrap().kind, FileKind::Symlink);
    symlink(world.path(), at("folder-link")).unwrap();
    one.remove_file(&at("folder-link")).await.unwrap();
    assert!(world.path().join("target").exists());
    assert_eq!(one.read_file("/proc/self/comm", 100).await.unwrap(), b"perl\n");
}

#[tokio::test]
async fn what_cannot_be_done_says_why_and_leaves_nothing() {
    let (machine, world) = (FakeMachine::new(), tempfile::tempdir().unwrap());
    let one = inside(&machine);
    let at = |name: &str| world.path().join(name).to_str().unwrap().to_owned();
    let said = |error: ProviderError| error.to_string().replace(world.path().to_str().unwrap(), "W");
    exec(&one, request(&["mkfifo", &at("fifo")]), b"").await;
    std::fs::write(at("plain"), "").unwrap();
    let options = WriteOptions::default();
    assert_eq!(
        said(one.read_file(&at("fifo"), 9).await.unwrap_err()),
        "cannot read \"W/fifo\" in fake: read: Is a directory (os error 21)"
    );
    assert_eq!(
        said(one.write_file(&at(""), b"", &options).await.unwrap_err()),
        "cannot write \"W/\" in fake: replace: Is a directory (os error 21)"
    );
    assert_eq!(
        said(one.write_file(&at("plain/below"), b"x", &options).await.unwrap_err()),
        "cannot write \"W/plain/below\" in fake: make the folder of: File exists (os error 17)"
    );
    assert_eq!(
        said(one.write_file("relative", b"", &options).await.unwrap_err()),
        "cannot write \"relative\" in fake: the path must begin with /"
    );
    let options = WriteOptions { user: Some("stranger".into()), ..WriteOptions::default() };
    let refused = one.write_file(&at("new"), b"", &options).await;
    assert!(matches!(&refused, Err(ProviderError::NoUser { user, .. }) if user == "stranger"), "{refused:?}");
    let left: Vec<_> = std::fs::read_dir(world.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test]
async fn root_gives_files_away() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let (machine, world) = (FakeMachine::new(), tempfile::tempdir().unwrap());
    let one = inside(&machine);
    let path = world.path().join("file");
    let options = WriteOptions { mode: None, user: Some("www-data".into()), group: None };
    one.write_file(path.to_str().unwrap(), b"x", &options).await.unwrap();
    let data = path.metadata().unwrap();
    assert_eq!((data.uid(), data.gid(), data.permissions().mode() & 0o7777), (33, 33, 0o644));
    let options = WriteOptions { mode: Some(0o600), user: None, group: Some("daemon".into()) };
    one.write_file(path.to_str().unwrap(), b"y", &options).await.unwrap();
    let data = path.metadata().unwrap();
    assert_eq!((data.uid(), data.gid(), data.permissions().mode() & 0o7777), (33, 1, 0o600));
}
