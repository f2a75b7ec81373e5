//! A command or a shell in a machine, for somebody at the other end of the API.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use crate::api::backend::Session;
use crate::api::{Exec, Frame, Refusal};
use crate::provider::{ExecEnd, ExecRequest, Execution, InstanceName, Provider, ProviderError};
use crate::worker::chain;

use super::refused;

/// How long a stream of a command that has ended is waited for.
const GRACE: Duration = Duration::from_millis(100);

/// Starts what `request` asks for. The command is killed when the session's output is dropped.
pub async fn open(
    provider: &dyn Provider,
    instance: String,
    user: Option<String>,
    request: &Exec,
) -> Result<Session, Refusal> {
    let instance = InstanceName::new(instance).map_err(|error| refused::of(&error))?;
    let argv = match request.argv.as_slice() {
        [] => vec!["/bin/bash".to_owned(), "-l".to_owned()],
        // Like ssh: one word is a command line for the shell.
        [line] if line.contains(|c: char| !c.is_ascii_alphanumeric() && !"/._-".contains(c)) => {
            vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()]
        }
        argv => argv.to_vec(),
    };
    let env = request.term.iter().map(|term| ("TERM".to_owned(), term.clone())).collect();
    // Nobody's `/root` but root's own can be entered; a command begins in its user's home by itself.
    let cwd = user.is_none().then(|| "/root".to_owned());
    let request = ExecRequest { argv, env, cwd, user, timeout: None, terminal: request.terminal };
    start(provider, &instance, request).await.map_err(|error| refused::of(&error))
}

/// The same for a command that is there already.
pub async fn start(
    provider: &dyn Provider,
    instance: &InstanceName,
    request: ExecRequest,
) -> Result<Session, ProviderError> {
    Ok(of(provider.exec(instance, request).await?))
}

/// The same for what has begun.
pub fn of(execution: Execution) -> Session {
    let (input, frames) = mpsc::channel(16);
    let (out, output) = mpsc::channel(16);
    tokio::spawn(relay(execution, frames, out));
    Session { input, output }
}

async fn relay(execution: Execution, mut frames: mpsc::Receiver<Frame>, out: mpsc::Sender<Frame>) {
    let Execution { stdin, mut stdout, mut stderr, mut control } = execution;
    let mut stdin = Some(stdin);
    let (resizes, mut resized) = mpsc::channel::<(u16, u16)>(4);
    let feed = async {
        while let Some(frame) = frames.recv().await {
            match frame {
                Frame::Stdin(bytes) if bytes.is_empty() => stdin = None,
                Frame::Stdin(bytes) => {
                    if let Some(pipe) = &mut stdin
                        && (pipe.write_all(&bytes).await.is_err() || pipe.flush().await.is_err())
                    {
                        stdin = None; // the command reads no more
                    }
                }
                // The newest size is the one that counts; a full queue has newer ones.
                Frame::Resize(columns, rows) => drop(resizes.try_send((columns, rows))),
                _ => {}
            }
        }
        // The client said nothing more; what the command still says is sent all the same.
        std::future::pending::<()>().await
    };
    let end = async {
        loop {
            tokio::select! {
                end = control.wait() => break end,
                Some((columns, rows)) = resized.recv() => {
                    if let Err(error) = control.resize(columns, rows).await {
                        tracing::debug!("a terminal was not resized: {error}");
                    }
                }
            }
        }
    };
    let ended = watch::Sender::new(false);
    let streams = async {
        tokio::join!(
            pump(&mut stdout, &out, Frame::Stdout, ended.subscribe()),
            pump(&mut stderr, &out, Frame::Stderr, ended.subscribe()),
        )
    };
    let end = async {
        let end = end.await;
        ended.send_replace(true);
        end
    };
    let said = async { tokio::join!(streams, end).1 };
    let end = tokio::select! {
        end = said => end,
        () = feed => return,
        () = out.closed() => return, // dropping the execution kills the command
    };
    let last = match end {
        Ok(ExecEnd::Exited(code)) => Frame::Exit(code),
        Ok(ExecEnd::TimedOut) => Frame::Failed("the command took too long".to_owned()),
        Err(error) => Frame::Failed(chain(&error)),
    };
    // Nobody may be there any more to hear it.
    let _ = out.send(last).await;
}

/// Sends on what is read. Once the command has ended the stream is read until it is closed, or gives nothing for a
/// moment: a service that the command started may hold it open for ever.
async fn pump(
    from: &mut (dyn AsyncRead + Send + Unpin),
    out: &mpsc::Sender<Frame>,
    frame: fn(Vec<u8>) -> Frame,
    mut ended: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 32 << 10];
    loop {
        let quiet = async {
            // Its sender lives as long as the pumps.
            let _ = ended.wait_for(|ended| *ended).await;
            tokio::time::sleep(GRACE).await;
        };
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            () = quiet => return,
        };
        match read {
            Ok(count) if count > 0 => {
                if out.send(frame(buffer[..count].to_vec())).await.is_err() {
                    return;
                }
            }
            // A closed terminal reads as an error: it ends like a closed pipe.
            _ => return,
        }
    }
}
