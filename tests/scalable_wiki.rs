//! The classic scalable wiki with real containers: written through its balancer, and read while its parts go.
//!
//! Needs root and some minutes: `ENCANTO_TEST_LXC=1 cargo test --test scalable_wiki`.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions too")]
#![allow(clippy::disallowed_methods, reason = "a script and a browser are processes")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::host::{browse, traces};
use support::{Env, RealEnv, document};

const ENVIRONMENT: &str = "scaletest";

/// Who is logged in at the wiki, behind one of its balancers.
struct Editor {
    api: String,
    cookies: PathBuf,
}

impl Editor {
    fn logged_in(balancer: &str, password: &str, cookies: PathBuf) -> Editor {
        let editor = Editor { api: format!("http://{balancer}/api.php"), cookies };
        let token = editor.token("login");
        let told =
            editor.post(&[("action", "login"), ("lgname", "Admin"), ("lgpassword", password), ("lgtoken", &token)]);
        assert_eq!(told["login"]["result"], "Success", "{told}");
        editor
    }

    fn post(&self, fields: &[(&str, &str)]) -> serde_json::Value {
        let cookies = self.cookies.display().to_string();
        let mut curl = Command::new("curl");
        curl.args(["-s", "--max-time", "60", "-b", &cookies, "-c", &cookies, "--data-urlencode", "format=json"]);
        for (name, value) in fields {
            curl.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let output = curl.arg(&self.api).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).unwrap_or_else(|error| serde_json::json!({ "error": format!("{error}: {text}") }))
    }

    fn token(&self, kind: &str) -> String {
        let told = self.post(&[("action", "query"), ("meta", "tokens"), ("type", kind)]);
        told["query"]["tokens"][format!("{kind}token")].as_str().unwrap_or_default().to_owned()
    }

    /// Writes a page, and reads it back as somebody else does.
    fn writes(&self, balancer: &str, text: &str) {
        let token = self.token("csrf");
        let fields = [("action", "edit"), ("title", "Tried"), ("text", text), ("token", &token), ("assert", "user")];
        let told = self.post(&fields);
        assert_eq!(told["edit"]["result"], "Success", "{text}: {told}");
        assert_eq!(read(balancer), ("200".to_owned(), text.to_owned()));
    }
}

fn read(balancer: &str) -> (String, String) {
    let (code, page) = browse(&format!("http://{balancer}/index.php?title=Tried&action=raw"));
    (code, page.trim().to_owned())
}

/// Somebody who reads one page after the other, and notes what went wrong.
struct Reader {
    ended: Arc<AtomicBool>,
    reading: JoinHandle<(u32, Duration, Vec<String>)>,
}

impl Reader {
    fn begins(balancer: &str, text: &str) -> Reader {
        let ended = Arc::new(AtomicBool::new(false));
        let (end, balancer, text) = (ended.clone(), balancer.to_owned(), text.to_owned());
        let reading = std::thread::spawn(move || {
            let (mut count, mut slowest, mut failed) = (0, Duration::ZERO, Vec::new());
            while !end.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let (code, page) = read(&balancer);
                count += 1;
                slowest = slowest.max(begun.elapsed());
                if code != "200" || page != text {
                    failed.push(format!("{code} {}", page.chars().take(300).collect::<String>()));
                }
            }
            (count, slowest, failed)
        });
        Reader { ended, reading }
    }

    fn ends(self) -> (u32, Duration, Vec<String>) {
        self.ended.store(true, Ordering::Relaxed);
        self.reading.join().unwrap()
    }
}

fn deployed(env: &Env) {
    let script = document::root().join("examples/scalable-wiki/deploy.sh");
    let program = Path::new(env!("CARGO_BIN_EXE_encanto")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", program.display());
    let output =
        Command::new("sh").arg(script).env("PATH", path).env("ENCANTO_HOME", env.path("home")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_is_written_through_the_balancer_is_read_while_units_of_every_kind_go() {
    let before = traces(ENVIRONMENT);
    let Some(env) = RealEnv::bootstrapped(ENVIRONMENT) else { return };
    deployed(&env);
    let first = env.address("haproxy/0");
    let (code, page) = browse(&format!("http://{first}/"));
    assert!(code == "200" && page.contains("Scalable wiki"), "{page}");

    for service in ["memcached", "haproxy"] {
        env.run(&format!("add-unit {service}")).succeeds();
    }
    env.run("wait --timeout 5m").succeeds();
    let balancer = env.address("haproxy/1");
    let password = env.run("get mediawiki admin-password").succeeds().stdout.trim().to_owned();
    let editor = Editor::logged_in(&balancer, &password, env.path("cookies"));
    editor.writes(&balancer, "written at first");
    assert_eq!(read(&first).1, "written at first");

    let mut text = "written at first".to_owned();
    for unit in ["mediawiki/0", "memcached/0", "haproxy/0", "mysql/0"] {
        let reader = Reader::begins(&balancer, &text);
        env.run(&format!("destroy-unit {unit} --wait=5m")).succeeds();
        env.run("wait --timeout 5m").succeeds();
        let (count, slowest, failed) = reader.ends();
        #[allow(clippy::print_stdout, reason = "a figure of a run")]
        {
            println!("{unit} went: {count} reads, the slowest {slowest:?}, {} failed: {failed:#?}", failed.len());
        }
        assert!(count > 0 && failed.is_empty(), "{unit} went: {failed:#?}");
        text = format!("written after {unit} went");
        // Who was logged in by a cache that is gone logs in again.
        Editor::logged_in(&balancer, &password, env.path("cookies")).writes(&balancer, &text);
    }
    env.run("status mysql --format short").succeeds().stdout_has("mysql/1");
    env.run("destroy-relation memcached mediawiki --wait=5m").succeeds();
    assert_eq!(read(&balancer).1, text, "without the cache");
    env.run("add-unit mysql").succeeds();
    env.run("wait --timeout 5m").succeeds();
    env.run("destroy-service mysql --wait=5m").succeeds();
    // No hook failed, not even to succeed when it was run again.
    env.run("debug-log --replay --no-tail --level ERROR").succeeds().stdout_is("");
    env.run(&format!("destroy-environment {ENVIRONMENT} -y")).succeeds();
    assert_eq!(traces(ENVIRONMENT), before);
}
