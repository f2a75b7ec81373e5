//! Files of a machine.

use encanto::provider::{FileKind, ProviderError, WriteOptions};

use crate::bed::Environment;
use crate::tools::{read, run, write};

pub async fn files_keep_mode_and_owner(on: &Environment) {
    let one = on.machine().await;
    let provider = &*on.provider;
    provider.remove_file(&one, "/srv/kept").await.unwrap();
    let file = "/srv/kept/b/file";
    let owned = WriteOptions { mode: Some(0o640), user: Some("www-data".into()), group: None };
    let binary: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    provider.write_file(&one, file, &binary, &owned).await.unwrap();
    assert!(provider.read_file(&one, file, 300_000).await.unwrap() == binary, "it came back changed");
    let stat = provider.stat_file(&one, file).await.unwrap().unwrap();
    assert_eq!((stat.kind, stat.mode, stat.uid, stat.gid, stat.size), (FileKind::File, 0o640, 33, 33, 300_000));
    write(provider, &one, file, "new").await;
    let stat = provider.stat_file(&one, file).await.unwrap().unwrap();
    assert_eq!((stat.mode, stat.uid, stat.gid, stat.size), (0o640, 33, 33, 3));
    let stat = provider.stat_file(&one, "/srv/kept").await.unwrap().unwrap();
    assert_eq!((stat.kind, stat.mode, stat.uid), (FileKind::Directory, 0o755, 0));
    // Set-id bits, a group of its own, nothing in it.
    let odd = WriteOptions { mode: Some(0o4750), user: Some("root".into()), group: Some("www-data".into()) };
    provider.write_file(&one, "/srv/kept/empty", b"", &odd).await.unwrap();
    let stat = provider.stat_file(&one, "/srv/kept/empty").await.unwrap().unwrap();
    assert_eq!((stat.mode, stat.uid, stat.gid, stat.size), (0o4750, 0, 33, 0));
    assert_eq!(read(provider, &one, "/srv/kept/empty").await, "");
    write(provider, &one, "/srv/kept/plain", "x").await;
    let stat = provider.stat_file(&one, "/srv/kept/plain").await.unwrap().unwrap();
    assert_eq!((stat.mode, stat.uid, stat.gid), (0o644, 0, 0));
}

pub async fn large_files_are_whole(on: &Environment) {
    let one = on.machine().await;
    let content: Vec<u8> = (0..on.bed.much()).map(|at| u8::try_from((at ^ at >> 8) & 0xff).unwrap()).collect();
    on.provider.write_file(&one, "/srv/large", &content, &WriteOptions::default()).await.unwrap();
    let limit = content.len() as u64;
    assert!(on.provider.read_file(&one, "/srv/large", limit).await.unwrap() == content, "it came back changed");
    let refused = on.provider.read_file(&one, "/srv/large", limit - 1).await.err();
    assert!(matches!(refused, Some(ProviderError::FileTooLarge { .. })), "{refused:?}");
    on.provider.remove_file(&one, "/srv/large").await.unwrap();
}

pub async fn too_large_is_refused(on: &Environment) {
    let one = on.machine().await;
    write(&*on.provider, &one, "/srv/three", "new").await;
    assert_eq!(on.provider.read_file(&one, "/srv/three", 3).await.unwrap(), b"new");
    let refused = on.provider.read_file(&one, "/srv/three", 2).await;
    assert!(matches!(refused, Err(ProviderError::FileTooLarge { limit: 2, .. })), "{refused:?}");
}

pub async fn a_missing_file_is_told(on: &Environment) {
    let one = on.machine().await;
    write(&*on.provider, &one, "/srv/file", "x").await;
    for path in ["/srv/none", "/no/such/folder/file", "/srv/file/below"] {
        let refused = on.provider.read_file(&one, path, 2).await;
        assert!(
            matches!(&refused, Err(ProviderError::NoFile { path: told, .. }) if told == path),
            "{path}: {refused:?}"
        );
        assert_eq!(on.provider.stat_file(&one, path).await.unwrap(), None, "{path}");
        on.provider.remove_file(&one, path).await.unwrap();
    }
    assert_eq!(read(&*on.provider, &one, "/srv/file").await, "x");
}

pub async fn trees_are_removed(on: &Environment) {
    let one = on.machine().await;
    let provider = &*on.provider;
    for path in ["/srv/tree/a/b/c", "/srv/tree/a/d", "/srv/tree-not"] {
        write(provider, &one, path, "x").await;
    }
    if on.bed.is_real() {
        run(provider, &one, "mkdir -p /srv/beside; echo y > /srv/beside/kept; ln -sfn /srv/beside /srv/tree/link")
            .await;
    }
    provider.remove_file(&one, "/srv/tree").await.unwrap();
    provider.remove_file(&one, "/srv/tree").await.unwrap();
    assert_eq!(provider.stat_file(&one, "/srv/tree/a/d").await.unwrap(), None);
    assert_eq!(provider.stat_file(&one, "/srv/tree").await.unwrap(), None);
    assert_eq!(read(provider, &one, "/srv/tree-not").await, "x");
    if on.bed.is_real() {
        assert_eq!(read(provider, &one, "/srv/beside/kept").await, "y\n", "a link in a tree is not followed");
    }
}

pub async fn odd_names_are_kept(on: &Environment) {
    let one = on.machine().await;
    let long = "n".repeat(200);
    for name in [" ", "a b", "line\nbreak", "'", "\"", "$HOME", "*", "-rf", "\\", "ümläut ☃", "%s", "a;b|c&d", &long]
    {
        let path = format!("/srv/odd names/{name}");
        write(&*on.provider, &one, &path, name).await;
        assert_eq!(read(&*on.provider, &one, &path).await, name);
        assert_eq!(on.provider.stat_file(&one, &path).await.unwrap().unwrap().size, name.len() as u64);
        on.provider.remove_file(&one, &path).await.unwrap();
        assert_eq!(on.provider.stat_file(&one, &path).await.unwrap(), None, "{name:?}");
    }
    on.provider.remove_file(&one, "/srv/odd names").await.unwrap();
}

pub async fn a_refused_write_changes_nothing(on: &Environment) {
    let one = on.machine().await;
    write(&*on.provider, &one, "/srv/refused/file", "old").await;
    for strange in [
        WriteOptions { user: Some("stranger".into()), ..WriteOptions::default() },
        WriteOptions { group: Some("stranger".into()), ..WriteOptions::default() },
    ] {
        let refused = on.provider.write_file(&one, "/srv/refused/file", b"new", &strange).await;
        assert!(matches!(&refused, Err(ProviderError::NoUser { user, .. }) if user == "stranger"), "{refused:?}");
    }
    assert_eq!(read(&*on.provider, &one, "/srv/refused/file").await, "old");
    let below = on.provider.write_file(&one, "/srv/refused/file/below", b"", &WriteOptions::default()).await;
    assert!(matches!(below, Err(ProviderError::File { .. })), "{below:?}");
    assert_eq!(run(&*on.provider, &one, "ls -A /srv/refused").await, "file", "nothing half-written is left");
}

/// A path that leads out by a link leads to a place inside.
pub async fn links_lead_to_nowhere_outside(on: &Environment) {
    let one = on.machine().await;
    let provider = &*on.provider;
    let outside = std::env::temp_dir().join(format!("{}-outside", on.name));
    std::fs::write(&outside, "host").unwrap();
    let link = format!("rm -f {0} /srv/link; ln -s {0} /srv/link; ln -sfn / /srv/top", outside.display());
    run(provider, &one, &link).await;
    let refused = provider.read_file(&one, "/srv/link", 100).await;
    assert!(matches!(refused, Err(ProviderError::NoFile { .. })), "{refused:?}");
    let stat = provider.stat_file(&one, "/srv/link").await.unwrap().unwrap();
    assert_eq!(stat.kind, FileKind::Symlink);
    let through = format!("/srv/top/../..{}", outside.display());
    write(provider, &one, &through, "machine").await;
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "host");
    assert_eq!(run(provider, &one, &format!("cat {}", outside.display())).await, "machine");
    // A link to a file keeps being one.
    write(provider, &one, "/srv/link", "through").await;
    assert_eq!(
        run(provider, &one, &format!("readlink /srv/link; cat {}", outside.display())).await.lines().last(),
        Some("through")
    );
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "host");
    provider.remove_file(&one, "/srv/link").await.unwrap();
    assert_eq!(read(provider, &one, &outside.display().to_string()).await, "through", "only the link was removed");
    std::fs::remove_file(&outside).unwrap();
}

pub async fn folders_and_pipes_are_no_files(on: &Environment) {
    let one = on.machine().await;
    run(&*on.provider, &one, "mkdir -p /srv/folder; test -p /srv/fifo || mkfifo /srv/fifo").await;
    assert_eq!(on.provider.stat_file(&one, "/srv/fifo").await.unwrap().unwrap().kind, FileKind::Other);
    for path in ["/srv/folder", "/srv/fifo"] {
        let refused = on.provider.read_file(&one, path, 100).await;
        assert!(matches!(refused, Err(ProviderError::File { .. })), "{path}: {refused:?}");
        let refused = on.provider.write_file(&one, path, b"x", &WriteOptions::default()).await;
        assert!(matches!(refused, Err(ProviderError::File { .. })), "{path}: {refused:?}");
    }
}

/// What the machine has mounted itself is there too, and files that do not know their size.
pub async fn mounts_of_the_machine_are_seen(on: &Environment) {
    let one = on.machine().await;
    write(&*on.provider, &one, "/run/here", "x").await;
    assert_eq!(run(&*on.provider, &one, "stat -c %u:%g:%a /run/here; stat -f -c %T /run").await, "0:0:644\ntmpfs");
    assert!(read(&*on.provider, &one, "/proc/meminfo").await.contains("MemTotal:"));
}
