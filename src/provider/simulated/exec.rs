//! Simulated commands: they end as they are told to, and touch nothing.

use std::net::Ipv4Addr;
use std::time::Duration;

use async_trait::async_trait;

use super::super::{ExecControl, ExecEnd, ExecRequest, Execution, InstanceName, ProviderError};

/// What a simulated command answers.
#[derive(Clone, Debug, Default)]
pub struct ExecScript {
    pub exit: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Never ends by itself: waits for its time limit or to be killed.
    pub hangs: bool,
    /// One that hangs ends by itself once this says true.
    pub until: Option<tokio::sync::watch::Receiver<bool>>,
}

impl ExecScript {
    /// What a command answers if nobody said: charms ask for the network that they are in, and so get on.
    pub(super) fn plain(request: &ExecRequest, address: Ipv4Addr) -> ExecScript {
        let stdout = match request.argv.first() {
            Some(program) if program == "ip" => format!("2: eth0    inet {address}/24 scope global eth0\n"),
            _ => String::new(),
        };
        ExecScript { stdout: stdout.into(), ..ExecScript::default() }
    }

    /// What a console shows: it does not end by itself.
    pub(super) fn console(name: &InstanceName, (columns, rows): (u16, u16)) -> ExecScript {
        let stdout = format!("{name} console, {columns} columns, {rows} rows\r\nroot@{name}:~# ").into();
        ExecScript { stdout, hangs: true, ..ExecScript::default() }
    }

    /// The command, as it has begun.
    pub(super) fn execution(self, timeout: Option<Duration>) -> Execution {
        let (kill, killed) = tokio::sync::watch::channel(false);
        Execution {
            stdin: Box::new(tokio::io::sink()),
            stdout: Box::new(std::io::Cursor::new(self.stdout)),
            stderr: Box::new(std::io::Cursor::new(self.stderr)),
            control: Box::new(SimulatedExec {
                exit: self.exit,
                hangs: self.hangs,
                until: self.until,
                timeout,
                kill,
                killed,
            }),
        }
    }
}

struct SimulatedExec {
    exit: i32,
    hangs: bool,
    until: Option<tokio::sync::watch::Receiver<bool>>,
    timeout: Option<Duration>,
    kill: tokio::sync::watch::Sender<bool>,
    killed: tokio::sync::watch::Receiver<bool>,
}

#[async_trait]
impl ExecControl for SimulatedExec {
    async fn wait(&mut self) -> Result<ExecEnd, ProviderError> {
        if !self.hangs {
            return Ok(ExecEnd::Exited(self.exit));
        }
        let limit = self.timeout;
        let out_of_time = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let until = self.until.clone();
        let let_go = async {
            let Some(mut until) = until else { return std::future::pending().await };
            if until.wait_for(|over| *over).await.is_err() {
                std::future::pending().await // who would let go is gone
            }
        };
        tokio::select! {
            biased;
            () = let_go => Ok(ExecEnd::Exited(self.exit)),
            () = out_of_time => Ok(ExecEnd::TimedOut),
            _ = self.killed.wait_for(|killed| *killed) => Ok(ExecEnd::Exited(128 + libc::SIGKILL)),
        }
    }

    async fn resize(&mut self, _columns: u16, _rows: u16) -> Result<(), ProviderError> {
        Ok(())
    }

    fn kill(&mut self) {
        self.kill.send_replace(true);
    }
}
