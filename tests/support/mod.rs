//! A hermetic home for the command line: `env.run("status").fails().stderr_is("…")`.

#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary uses its part of the story")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions too")]

pub mod abilities;
pub mod document;
mod expect;
pub mod fake;
pub mod host;
pub mod scenario;
mod story_charms;
pub mod wiki;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Output, Stdio};

/// A folder of its own as home, and nothing of the variables of whoever runs the tests.
pub struct Env {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Env {
    /// Before `init`.
    pub fn bare() -> Self {
        Self { folder: tempfile::Builder::new().prefix("encanto-").tempdir().unwrap(), variables: Vec::new() }
    }

    /// After `init`, switched to the simulated environment.
    pub fn simulated() -> Self {
        let env = Self::bare();
        env.run("init").succeeds();
        env.run("switch sim").succeeds();
        env
    }

    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Words are cut at spaces; `'…'` keeps some together.
    pub fn run(&self, line: &str) -> Ran {
        self.run_with_input(line, "")
    }

    pub fn run_with_input(&self, line: &str, input: &str) -> Ran {
        let mut child = self.command(line).stdin(Stdio::piped()).spawn().unwrap();
        // Whoever does not read its input closes it, which is its right.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        self.ran(line, child.wait_with_output().unwrap())
    }

    /// For more input than fits into a pipe while the output is read.
    pub fn run_with_input_from_a_thread(&self, line: &str, input: String) -> Ran {
        let mut child = self.command(line).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        self.ran(line, output)
    }

    /// For tests that end the process, or close its output, themselves.
    #[allow(clippy::disallowed_methods, reason = "tests of a program have to start it")]
    pub fn command(&self, line: &str) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_encanto"));
        command.args(words(line)).current_dir(self.folder.path()).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.folder.path()).env("ENCANTO_HOME", self.path("home"));
        command.envs(self.variables.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// As a crash would: it is gone when this returns.
    pub fn kill_controller(&self) {
        self.kill_controller_if(|_| true);
    }

    /// The same, if what it has written so far is enough. Returns the number of the last entry.
    pub fn kill_controller_if(&self, enough: impl Fn(u64) -> bool) -> Option<u64> {
        let state = self.run("controller status").succeeds().stdout;
        let value = |key: &str| state.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        let sequence = value("sequence: ").parse().unwrap();
        if !enough(sequence) {
            return None;
        }
        let pid = value("pid: ").parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let ended = rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN);
        rustix::event::poll(&mut [ended], None).unwrap();
        Some(sequence)
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.run("status --format json").succeeds().stdout).unwrap()
    }

    /// A service's units, the oldest first.
    pub fn units(&self, service: &str) -> Vec<String> {
        let status = self.status();
        let units = status["services"][service]["units"].as_object().into_iter().flatten();
        units.map(|(name, _)| name.clone()).collect()
    }

    pub fn address(&self, unit: &str) -> String {
        let status = self.status();
        let service = unit.split('/').next().unwrap();
        status["services"][service]["units"][unit]["public-address"].as_str().unwrap().to_owned()
    }

    fn ran(&self, line: &str, output: Output) -> Ran {
        let folder = self.folder.path().display().to_string();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&folder, "~");
        Ran {
            line: line.to_owned(),
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

/// A simulated environment with its controller, which ends with the test.
pub struct Running {
    env: Env,
}

impl Running {
    pub fn not_bootstrapped() -> Self {
        Self { env: Env::simulated() }
    }

    pub fn bootstrapped() -> Self {
        Self::bootstrapped_in(Env::simulated())
    }

    pub fn bootstrapped_in(env: Env) -> Self {
        let running = Self { env };
        running.run("bootstrap --wait=30s").succeeds().stdout_is("").stderr_has("Bootstrapped environment \"sim\"\n");
        running
    }
}

impl std::ops::Deref for Running {
    type Target = Env;

    fn deref(&self) -> &Env {
        &self.env
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.path("home/sim").exists() {
            self.run("destroy-environment sim -y");
        }
    }
}

/// An environment of real machines on this host, destroyed with the test.
pub struct RealEnv {
    env: Env,
    name: String,
}

impl RealEnv {
    /// One of LXC; `None` if real containers are not asked for.
    pub fn bootstrapped(name: &str) -> Option<Self> {
        Self::wanted("ENCANTO_TEST_LXC").then(|| Self::bootstrapped_as(Env::bare(), name, "type: local"))
    }

    /// One with these settings; `None` if machines of libvirt are not asked for.
    pub fn of_libvirt(name: &str, settings: &str) -> Option<Self> {
        Self::wanted("ENCANTO_TEST_LIBVIRT").then(|| Self::bootstrapped_as(Env::bare(), name, settings))
    }

    #[allow(clippy::print_stdout, reason = "who runs the tests is to see what was left out")]
    pub fn wanted(variable: &str) -> bool {
        let wanted = std::env::var_os(variable).is_some_and(|value| value == "1");
        if !wanted {
            println!("skipped: real machines are tried with {variable}=1 as root");
        }
        wanted
    }

    pub fn bootstrapped_as(env: Env, name: &str, settings: &str) -> Self {
        env.run("init").succeeds();
        let written = env.read("home/environments.yaml");
        let lines: String = settings.lines().map(|line| format!("    {line}\n")).collect();
        let own = format!("environments:\n  {name}:\n{lines}");
        env.write("home/environments.yaml", &written.replace("environments:\n", &own));
        env.run(&format!("switch {name}")).succeeds();
        let real = Self { env, name: name.to_owned() };
        real.run("doctor --fix");
        real.run("bootstrap --wait=15m").succeeds();
        real
    }
}

impl std::ops::Deref for RealEnv {
    type Target = Env;

    fn deref(&self) -> &Env {
        &self.env
    }
}

impl Drop for RealEnv {
    fn drop(&mut self) {
        if self.path(&format!("home/{}", self.name)).exists() {
            self.run(&format!("destroy-environment {} -y --force", self.name));
        }
    }
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

/// What became of a command.
#[derive(Debug)]
pub struct Ran {
    line: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.exits(0)
    }

    #[track_caller]
    pub fn fails(self) -> Self {
        self.exits(1)
    }

    #[track_caller]
    pub fn misused(self) -> Self {
        self.exits(2)
    }

    #[track_caller]
    pub fn stdout_is(self, text: &str) -> Self {
        assert_eq!(self.stdout, text, "stdout of `{}`; stderr: {}", self.line, self.stderr);
        self
    }

    #[track_caller]
    pub fn stderr_is(self, text: &str) -> Self {
        assert_eq!(self.stderr, text, "stderr of `{}`; stdout: {}", self.line, self.stdout);
        self
    }

    #[track_caller]
    pub fn stdout_has(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no {text:?} in stdout: {self:#?}");
        self
    }

    #[track_caller]
    pub fn stderr_has(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in stderr: {self:#?}");
        self
    }
}
