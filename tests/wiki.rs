//! The main job, with real parts: a wiki and a blog on one database, in containers of this host, as its user types it.
//!
//! Needs root and some minutes: `ENCANTO_TEST_LXC=1 cargo test --test wiki`.

#![allow(clippy::disallowed_methods, reason = "a browser and a look at the host from outside are processes")]
#![allow(clippy::unwrap_used, reason = "test code outside of test functions too")]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::host::{browse, soon, tool, traces};
use support::{Env, RealEnv};

const ENVIRONMENT: &str = "wikitest";

/// The environment, and what was on the host before it.
struct Host {
    env: RealEnv,
    before: Vec<String>,
}

impl Host {
    fn bootstrapped() -> Option<Host> {
        let before = traces(ENVIRONMENT);
        Some(Host { env: RealEnv::bootstrapped(ENVIRONMENT)?, before })
    }
}

impl std::ops::Deref for Host {
    type Target = Env;

    fn deref(&self) -> &Env {
        &self.env
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        Command::new("ip").args(["netns", "delete", "encanto-outside"]).output().unwrap();
        Command::new("ip").args(["link", "delete", "tst-out0"]).output().unwrap();
    }
}

/// The status of a page as seen from a host next to this one; `000` is no answer.
fn browse_from_outside(url: &str) -> String {
    let namespace = ["netns", "exec", "encanto-outside", "curl", "-s", "--max-time", "3", "-o", "/dev/null"];
    let output = Command::new("ip").args(namespace).args(["-w", "%{http_code}", url]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn another_host() {
    tool("ip", &["netns", "add", "encanto-outside"]);
    tool("ip", &["link", "add", "tst-out0", "type", "veth", "peer", "name", "tst-out1", "netns", "encanto-outside"]);
    tool("ip", &["address", "add", "10.98.17.1/24", "dev", "tst-out0"]);
    tool("ip", &["link", "set", "tst-out0", "up"]);
    tool("ip", &["-n", "encanto-outside", "address", "add", "10.98.17.2/24", "dev", "tst-out1"]);
    tool("ip", &["-n", "encanto-outside", "link", "set", "tst-out1", "up"]);
    tool("ip", &["-n", "encanto-outside", "route", "add", "default", "via", "10.98.17.1"]);
}

#[test]
fn a_wiki_and_a_blog_from_one_command_each() {
    let Some(host) = Host::bootstrapped() else { return };

    // Each command returns at once, in whatever order; the controller is killed while it works.
    let begin = Instant::now();
    host.run("deploy mediawiki").succeeds();
    host.run("deploy mysql").succeeds();
    host.run("add-relation mediawiki mysql").succeeds();
    assert!(begin.elapsed() < Duration::from_secs(5), "commands return at once: {:?}", begin.elapsed());
    host.run("status").succeeds().stdout_has("instance-id: pending").stdout_has("agent-state: pending");
    for moment in [300, 4_000, 9_000] {
        std::thread::sleep(Duration::from_millis(moment));
        host.kill_controller();
        host.run("status").fails().stderr_has("hint: encanto controller start");
        host.run("controller start").succeeds();
    }
    host.run("wait --timeout 15m").succeeds();

    let wiki = host.address("mediawiki/0");
    let url = format!("http://{wiki}/");
    let (code, page) = browse(&url);
    assert_eq!(code, "200", "{page}");
    assert!(page.contains("Main Page") || page.contains("Main_Page"), "{page}");
    let listed = tool("lxc-ls", &["-1"]);
    assert!(listed.contains(&format!("-{ENVIRONMENT}-machine-1")), "{listed}");

    // The page comes from the database: what is written there is what the browser shows.
    host.run("set mediawiki 'name=Encanto test wiki' --wait=5m").succeeds();
    assert!(browse(&url).1.contains("Encanto test wiki"));
    let tables = host.run("ssh mysql/0 'mysql -Ne \"select count(*) from mediawiki.page\"'").succeeds().stdout;
    assert!(tables.trim().parse::<u32>().unwrap() >= 1, "{tables}");
    host.run("get mediawiki").succeeds().stdout_has("admin-password");

    // Closed to the outside before it is exposed, open then, closed again.
    another_host();
    let published = "http://10.98.17.1:18080/";
    assert_eq!((browse_from_outside(&url), browse_from_outside(published)), ("000".into(), "000".into()));
    host.run("expose mediawiki --publish 18080:80").succeeds();
    soon("the published port", || browse_from_outside(published).starts_with(['2', '3']));
    assert!(browse_from_outside(&url).starts_with(['2', '3']));
    host.run("unexpose mediawiki").succeeds();
    soon("the closed port", || browse_from_outside(published) == "000" && browse_from_outside(&url) == "000");
    assert_eq!(browse(&url).0, "200", "the host itself still gets it");

    // A second service on the same database, and a second unit of the first from the cached layer.
    host.run("deploy wordpress").succeeds();
    host.run("add-relation wordpress mysql").succeeds();
    host.run("add-unit mediawiki").succeeds();
    host.run("wait --timeout 15m").succeeds();
    let (code, page) = browse(&format!("http://{}/", host.address("wordpress/0")));
    assert_eq!(code, "200", "{page}");
    assert!(!page.contains("wp-admin/install.php"), "an installed blog, not its set-up page");
    assert!(browse(&format!("http://{}/", host.address("mediawiki/1"))).1.contains("Encanto test wiki"));

    // Without its database it says what it waits for.
    host.run("destroy-service mysql").succeeds();
    host.run("wait mysql --for gone --timeout 5m").succeeds();
    host.run("wait --timeout 5m").fails().stderr_has("mediawiki/0 is");
    host.run("destroy-machine 1").fails().stderr_has("machine 1 has unit");
    host.run("destroy-unit mediawiki/1 --wait=5m").succeeds();

    let network: serde_json::Value =
        serde_json::from_str(&host.read(&format!("home/{ENVIRONMENT}/lxc/network.json"))).unwrap();
    let bridge = network["bridge"].as_str().unwrap();
    assert!(tool("ip", &["-brief", "link"]).contains(bridge));
    host.run(&format!("destroy-environment {ENVIRONMENT} -y")).succeeds();
    assert!(!tool("ip", &["-brief", "link"]).contains(bridge), "the bridge is gone");
    assert_eq!(traces(ENVIRONMENT), host.before, "nothing is left on the host");
    assert!(!host.path(&format!("home/{ENVIRONMENT}")).exists());
}
