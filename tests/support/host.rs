//! The host as somebody sees it who does not ask Encanto: what an environment leaves on it, and a browser.

#![allow(clippy::disallowed_methods, reason = "a browser and a look at the host from outside are processes")]

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

/// What an environment may leave on the host: containers, mounts, links, firewall tables, processes, files, cgroups.
pub fn traces(environment: &str) -> Vec<String> {
    let own = format!("-{environment}-");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mut found: Vec<String> = mounts.lines().filter(|line| line.contains(&own)).map(str::to_owned).collect();
    found.extend(tool("nft", &["list", "tables"]).lines().filter(|t| t.contains(environment)).map(str::to_owned));
    let links = tool("ip", &["-brief", "link"]);
    let name = |line: &str| line.split([' ', '@']).next().unwrap().to_owned();
    found.extend(links.lines().map(name).filter(|name| name.starts_with("enc") || name.starts_with("ve")));
    for folder in ["/var/lib/lxc", "/run/encanto", "/run/lxc/lock/var/lib/lxc", "/var/cache/encanto/scratch"] {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let names = entries.map(|entry| entry.unwrap().path().display().to_string());
        found.extend(names.filter(|name| name.contains(&own)));
    }
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        let Ok(groups) = std::fs::read_dir(hierarchy.unwrap().path()) else { continue };
        let names = groups.filter_map(Result::ok).map(|group| group.path().display().to_string());
        found.extend(names.filter(|name| name.contains(&own)));
    }
    found.extend(processes(environment));
    found.sort();
    found
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
