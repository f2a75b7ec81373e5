//! A wiki, a blog and their database as their user types them, on whatever machines the environment has.

#![allow(clippy::disallowed_methods, reason = "a browser and a look at the host from outside are processes")]

use std::process::Command;
use std::time::{Duration, Instant};

use super::host::{browse, soon, tool, traces};
use super::{Env, RealEnv};

/// The environment, and what was on the host before it.
pub struct Host {
    env: RealEnv,
    name: &'static str,
    before: Vec<String>,
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

/// A port of the host as a host next to it sees it.
pub const PUBLISHED: &str = "http://10.98.17.1:18080/";

/// The status of a page as seen from a host next to this one; `000` is no answer.
pub fn browse_from_outside(url: &str) -> String {
    let namespace = ["netns", "exec", "encanto-outside", "curl", "-s", "--max-time", "3", "-o", "/dev/null"];
    let output = Command::new("ip").args(namespace).args(["-w", "%{http_code}", url]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn another_host() {
    tool("ip", &["netns", "add", "encanto-outside"]);
    tool("ip", &["link", "add", "tst-out0", "type", "veth", "peer", "name", "tst-out1", "netns", "encanto-outside"]);
    tool("ip", &["address", "add", "10.98.17.1/24", "dev", "tst-out0"]);
    tool("ip", &["link", "set", "tst-out0", "up"]);
    tool("ip", &["-n", "encanto-outside", "address", "add", "10.98.17.2/24", "dev", "tst-out1"]);
    tool("ip", &["-n", "encanto-outside", "link", "set", "tst-out1", "up"]);
    tool("ip", &["-n", "encanto-outside", "route", "add", "default", "via", "10.98.17.1"]);
}

impl Host {
    pub fn new(env: RealEnv, name: &'static str, before: Vec<String>) -> Host {
        Host { env, name, before }
    }

    /// The whole story; `listed` is what the hypervisor's own tool says that it has.
    pub fn a_wiki_and_a_blog(&self, listed: impl Fn() -> String) {
        self.commands_return_at_once_and_controllers_die();
        self.run("wait --timeout 15m").succeeds();
        let url = self.the_wiki_is_there();
        let listed = listed();
        assert!(listed.contains(&format!("-{}-machine-1", self.name)), "{listed}");
        self.what_is_written_is_shown(&url);
        self.it_opens_and_closes(&url);
        self.more_of_both();
        self.without_its_database();
        self.nothing_is_left();
    }

    /// In whatever order; the controller is killed while it works.
    fn commands_return_at_once_and_controllers_die(&self) {
        let begin = Instant::now();
        self.run("deploy mediawiki").succeeds();
        self.run("deploy mysql").succeeds();
        self.run("add-relation mediawiki mysql").succeeds();
        assert!(begin.elapsed() < Duration::from_secs(5), "commands return at once: {:?}", begin.elapsed());
        self.run("status").succeeds().stdout_has("instance-id: pending").stdout_has("agent-state: pending");
        for moment in [300, 4_000, 9_000] {
            std::thread::sleep(Duration::from_millis(moment));
            self.kill_controller();
            self.run("status").fails().stderr_has("hint: encanto controller start");
            self.run("controller start").succeeds();
        }
    }

    /// Where its main page is.
    pub fn the_wiki_is_there(&self) -> String {
        let url = format!("http://{}/", self.address("mediawiki/0"));
        let (code, page) = browse(&url);
        assert_eq!(code, "200", "{page}");
        assert!(page.contains("Main Page") || page.contains("Main_Page"), "{page}");
        url
    }

    /// The page comes from the database: what is written there is what the browser shows.
    pub fn what_is_written_is_shown(&self, url: &str) {
        self.run("set mediawiki 'name=Encanto test wiki' --wait=5m").succeeds();
        assert!(browse(url).1.contains("Encanto test wiki"));
        let tables = self.run("ssh mysql/0 'mysql -Ne \"select count(*) from mediawiki.page\"'").succeeds().stdout;
        assert!(tables.trim().parse::<u32>().unwrap() >= 1, "{tables}");
        self.run("get mediawiki").succeeds().stdout_has("admin-password");
    }

    /// Closed to the outside before it is exposed, open then, closed again.
    pub fn it_opens_and_closes(&self, url: &str) {
        another_host();
        assert_eq!((browse_from_outside(url), browse_from_outside(PUBLISHED)), ("000".into(), "000".into()));
        self.run("expose mediawiki --publish 18080:80").succeeds();
        soon("the published port", || browse_from_outside(PUBLISHED).starts_with(['2', '3']));
        assert!(browse_from_outside(url).starts_with(['2', '3']));
        self.run("unexpose mediawiki").succeeds();
        soon("the closed port", || browse_from_outside(PUBLISHED) == "000" && browse_from_outside(url) == "000");
        assert_eq!(browse(url).0, "200", "the host itself still gets it");
    }

    /// A second service on the same database, and a second unit of the first from the cached layer.
    fn more_of_both(&self) {
        self.run("deploy wordpress").succeeds();
        self.run("add-relation wordpress mysql").succeeds();
        self.run("add-unit mediawiki").succeeds();
        self.run("wait --timeout 15m").succeeds();
        let (code, page) = browse(&format!("http://{}/", self.address("wordpress/0")));
        assert_eq!(code, "200", "{page}");
        assert!(!page.contains("wp-admin/install.php"), "an installed blog, not its set-up page");
        assert!(browse(&format!("http://{}/", self.address("mediawiki/1"))).1.contains("Encanto test wiki"));
    }

    /// It says what it waits for.
    fn without_its_database(&self) {
        self.run("destroy-service mysql").succeeds();
        self.run("wait mysql --for gone --timeout 5m").succeeds();
        self.run("wait --timeout 5m").fails().stderr_has("mediawiki/0 is");
        self.run("destroy-machine 1").fails().stderr_has("machine 1 has unit");
        self.run("destroy-unit mediawiki/1 --wait=5m").succeeds();
    }

    pub fn nothing_is_left(&self) {
        let name = self.name;
        let network = self.read(&format!("home/{name}/lxc/network.json"));
        let network: serde_json::Value = serde_json::from_str(&network).unwrap();
        let bridge = network["bridge"].as_str().unwrap();
        assert!(tool("ip", &["-brief", "link"]).contains(bridge));
        self.run(&format!("destroy-environment {name} -y")).succeeds();
        assert!(!tool("ip", &["-brief", "link"]).contains(bridge), "the bridge is gone");
        assert_eq!(traces(name), self.before, "nothing is left on the host");
        assert!(!self.path(&format!("home/{name}")).exists());
    }
}
