//! The host as somebody sees it who does not ask Encanto: what an environment leaves on it, and a browser.

#![allow(clippy::disallowed_methods, reason = "a browser and a look at the host from outside are processes")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs a tool of the host, which must succeed, and returns what it said.
#[track_caller]
pub fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What an environment may leave on the host: containers, domains, mounts, links, firewall tables, processes, files,
/// cgroups.
pub fn traces(environment: &str) -> Vec<String> {
    let own = format!("-{environment}-");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mut found: Vec<String> = mounts.lines().filter(|line| line.contains(&own)).map(str::to_owned).collect();
    found.extend(tool("nft", &["list", "tables"]).lines().filter(|t| t.contains(environment)).map(str::to_owned));
    found.extend(links(&own));
    for (folder, depth) in FOLDERS {
        below(Path::new(folder), depth, &own, &mut found);
    }
    found.extend(domains(&own));
    found.extend(processes(environment));
    found.sort();
    found
}

/// Bridges and the cables that hang on them, or on nothing any more; but not those of other environments, which may come
/// and go meanwhile.
fn links(own: &str) -> Vec<String> {
    let runtime = std::fs::read_dir("/run/encanto").into_iter().flatten().filter_map(Result::ok);
    let names = runtime.map(|entry| entry.file_name().display().to_string()).filter(|name| !name.contains(own));
    let others: Vec<String> = names.filter_map(|name| Some(format!("enc{}", name.rsplit_once('-')?.1))).collect();
    let text = tool("ip", &["-oneline", "link"]);
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = words.filter_map(|words| {
        let name = words.get(1)?.trim_end_matches(':').split('@').next()?;
        let master = words.iter().position(|word| *word == "master").and_then(|at| words.get(at + 1));
        let bridge = master.map_or(name, |master| *master);
        let is_kind = ["enc", "ve", "vnet", "tap"].iter().any(|begin| name.starts_with(begin));
        (is_kind && !others.iter().any(|other| other == bridge)).then(|| name.to_owned())
    });
    ours.collect()
}

/// Where something of a machine may lie, and how far below.
const FOLDERS: [(&str, usize); 12] = [
    ("/var/lib/lxc", 1),
    ("/run/lxc/lock/var/lib/lxc", 1),
    ("/run/encanto", 2),
    ("/var/cache/encanto", 2),
    ("/var/lib/encanto", 3),
    ("/etc/libvirt", 3),
    ("/run/libvirt", 3),
    ("/var/lib/libvirt", 4),
    ("/var/log/libvirt", 2),
    ("/var/cache/libvirt", 3),
    ("/sys/fs/cgroup", 5),
    ("/run/netns", 1),
];

/// Everything below a folder whose name says that it is the environment's; what is in it is not told apart.
fn below(folder: &Path, depth: usize, own: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        // Names may lack what comes before the environment's.
        if format!("-{}-", entry.file_name().display()).contains(own) {
            found.push(entry.path().display().to_string());
        } else if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), depth - 1, own, found);
        }
    }
}

/// What libvirt knows, if there is one.
fn domains(own: &str) -> Vec<String> {
    let asked = |uri: &str| Command::new("virsh").args(["-c", uri, "list", "--all", "--name"]).output();
    let answers = ["lxc:///", "qemu:///system"].map(asked).into_iter().filter_map(Result::ok);
    let text: String = answers.map(|answer| String::from_utf8_lossy(&answer.stdout).into_owned()).collect();
    text.lines().filter(|name| name.contains(own)).map(|name| format!("domain {name}")).collect()
}

fn processes(environment: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path().join("cmdline");
        let Ok(command) = std::fs::read(path) else { continue };
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&format!("-{environment}-")) || command.contains(&format!("-e {environment}")) {
            found.push(format!("process {command}"));
        }
    }
    found
}

/// The page's status and body, as a browser gets them; redirects are followed.
pub fn browse(url: &str) -> (String, String) {
    let output = Command::new("curl").args(["-sL", "--max-time", "20", "-w", "\n%{http_code}", url]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').unwrap();
    (code.to_owned(), body.to_owned())
}

#[track_caller]
pub fn soon(what: &str, holds: impl Fn() -> bool) {
    within(Duration::from_secs(15), what, holds);
}

#[track_caller]
pub fn within(limit: Duration, what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}
