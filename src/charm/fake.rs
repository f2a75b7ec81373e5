//! A machine in memory, for tests of charms and of what runs them.
//!
//! It keeps files, records every command, answers commands by what was scripted for the start of their arguments
//! (code 0 and no output otherwise), can hang, and can be told to fail at its n-th call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::model::{LogLevel, WorkloadStatus};

use super::{AccessError, ExecCall, ExecResult, FileAttributes, FileInfo, HookSink, MachineAccess};
use super::{OutputLines, OutputStream};

#[derive(Default)]
pub struct FakeMachine {
    inside: Mutex<Inside>,
    running: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Inside {
    files: BTreeMap<String, FakeFile>,
    execs: Vec<ExecCall>,
    /// In the order in which they were scripted; the longest prefix that fits wins, among equals the last.
    scripts: Vec<(Vec<String>, VecDeque<Scripted>)>,
    calls: usize,
    fail_at: Option<(usize, String)>,
}

#[derive(Clone)]
enum Scripted {
    Result(ExecResult),
    Hang,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FakeFile {
    pub content: Vec<u8>,
    pub attributes: FileAttributes,
    pub directory: bool,
}

/// A result with this code and what was said on standard output, or standard error if the code is not 0.
pub fn said(code: i32, text: &str) -> ExecResult {
    let bytes = text.as_bytes().to_vec();
    match code {
        0 => ExecResult { stdout: bytes, ..ExecResult::default() },
        _ => ExecResult { code, stderr: bytes, ..ExecResult::default() },
    }
}

impl FakeMachine {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn script(&self, prefix: &[&str], results: Vec<Scripted>) {
        let prefix = prefix.iter().map(|word| (*word).to_owned()).collect();
        self.inside().scripts.push((prefix, results.into()));
    }

    /// Commands that begin with `prefix` give these results in turn; the last one stays.
    pub fn on(&self, prefix: &[&str], results: impl IntoIterator<Item = ExecResult>) {
        self.script(prefix, results.into_iter().map(Scripted::Result).collect());
    }

    /// Commands that begin with `prefix` never end.
    pub fn hang(&self, prefix: &[&str]) {
        self.script(prefix, vec![Scripted::Hang]);
    }

    /// The n-th call from now, counted from 1, fails; calls after it work again.
    pub fn fail_call(&self, n: usize, text: &str) {
        let mut inside = self.inside();
        inside.fail_at = Some((inside.calls + n, text.to_owned()));
    }

    pub fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let file = FakeFile { content: content.as_ref().to_vec(), ..FakeFile::default() };
        self.inside().files.insert(path.to_owned(), file);
    }

    pub fn put_directory(&self, path: &str) {
        self.inside().files.insert(path.to_owned(), FakeFile { directory: true, ..FakeFile::default() });
    }

    pub fn file(&self, path: &str) -> Option<FakeFile> {
        self.inside().files.get(path).cloned()
    }

    /// Content of a file as text; empty if there is none.
    pub fn text(&self, path: &str) -> String {
        self.file(path).map(|file| String::from_utf8_lossy(&file.content).into_owned()).unwrap_or_default()
    }

    pub fn execs(&self) -> Vec<ExecCall> {
        self.inside().execs.clone()
    }

    /// The commands so far, each as one line.
    pub fn commands(&self) -> Vec<String> {
        self.inside().execs.iter().map(|call| call.argv.join(" ")).collect()
    }

    /// Commands that run now: begun, not ended, their future not dropped.
    pub fn running(&self) -> usize {
        self.running.load(Relaxed)
    }

    fn enter(&self) -> Result<MutexGuard<'_, Inside>, AccessError> {
        let mut inside = self.inside();
        inside.calls += 1;
        match inside.fail_at.take() {
            Some((at, text)) if at == inside.calls => Err(AccessError(text)),
            other => {
                inside.fail_at = other;
                Ok(inside)
            }
        }
    }
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Inside {
    fn answer(&mut self, argv: &[String]) -> Scripted {
        let fitting = self.scripts.iter_mut().filter(|(prefix, _)| argv.starts_with(prefix));
        let script = fitting.max_by_key(|(prefix, _)| prefix.len()).map(|(_, results)| results);
        let found = script.and_then(|results| match results.len() {
            0 | 1 => results.front().cloned(),
            _ => results.pop_front(),
        });
        found.unwrap_or(Scripted::Result(ExecResult::default()))
    }
}

#[async_trait]
impl MachineAccess for FakeMachine {
    async fn exec(&self, call: ExecCall, lines: OutputLines) -> Result<ExecResult, AccessError> {
        let answer = {
            let mut inside = self.enter()?;
            let answer = inside.answer(&call.argv);
            inside.execs.push(call.clone());
            answer
        };
        self.running.fetch_add(1, Relaxed);
        let _running = Running(self.running.clone());
        // A real command always takes a while: whoever waits for it is suspended.
        tokio::task::yield_now().await;
        match (answer, call.timeout) {
            (Scripted::Result(result), _) => {
                for (stream, bytes) in [(OutputStream::Stdout, &result.stdout), (OutputStream::Stderr, &result.stderr)]
                {
                    String::from_utf8_lossy(bytes).lines().for_each(|line| lines(stream, line));
                }
                Ok(result)
            }
            (Scripted::Hang, Some(timeout)) => {
                tokio::time::sleep(timeout).await;
                Ok(ExecResult { code: 128 + 9, timed_out: true, ..ExecResult::default() })
            }
            (Scripted::Hang, None) => std::future::pending().await,
        }
    }

    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, AccessError> {
        tokio::task::yield_now().await;
        Ok(self.enter()?.files.get(path).map(|file| file.content.clone()))
    }

    async fn write(&self, path: &str, content: &[u8], attributes: &FileAttributes) -> Result<(), AccessError> {
        let file = FakeFile { content: content.to_vec(), attributes: attributes.clone(), directory: false };
        self.enter()?.files.insert(path.to_owned(), file);
        Ok(())
    }

    async fn stat(&self, path: &str) -> Result<Option<FileInfo>, AccessError> {
        let inside = self.enter()?;
        Ok(inside.files.get(path).map(|file| FileInfo {
            kind: if file.directory { "directory" } else { "file" },
            mode: file.attributes.mode.unwrap_or(if file.directory { 0o755 } else { 0o644 }),
            size: file.content.len() as u64,
            uid: 0,
            gid: 0,
        }))
    }

    async fn remove(&self, path: &str) -> Result<(), AccessError> {
        self.enter()?.files.remove(path);
        Ok(())
    }
}

/// Keeps what a hook says.
#[derive(Default)]
pub struct FakeSink {
    lines: Mutex<Vec<(LogLevel, String)>>,
    statuses: Mutex<Vec<WorkloadStatus>>,
}

impl FakeSink {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn lines(&self) -> Vec<(LogLevel, String)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All log lines as one text.
    pub fn text(&self) -> String {
        self.lines().into_iter().map(|(_, line)| line + "\n").collect()
    }

    pub fn statuses(&self) -> Vec<WorkloadStatus> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl HookSink for FakeSink {
    fn log(&self, level: LogLevel, line: &str) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push((level, line.to_owned()));
    }

    fn status(&self, status: WorkloadStatus) {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).push(status);
    }
}
