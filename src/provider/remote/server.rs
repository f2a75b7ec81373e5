//! The end where the machines are: takes calls from a connection and has a provider do them.
//!
//! # Guarantees
//! A call that nobody waits for any more is dropped, a command too, which kills it. When the connection ends, so does
//! everything that was asked for over it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::VERSION;
use super::protocol::{
    Answer, Call, ERR, Errand, Facts, Frame, Hello, IN, OUT, Order, Place, Tag, WireError, WireKind,
};
use super::wire::{Wire, said_all, write_frames};
use crate::provider::local::image::SERIES;
use crate::provider::{Execution, Kind, Provider, ProviderError, doctor};

/// How long what a killed command said may take to leave.
const FAREWELL: Duration = Duration::from_secs(2);

/// Takes a greeting and does its errand; `host` makes the provider of an environment. Returns when the connection ends.
///
/// # Errors
/// The connection broke, or something came that is no greeting and no call.
pub async fn attend(
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Send + Unpin + 'static,
    host: impl AsyncFnOnce(Place) -> Result<Arc<dyn Provider>, ProviderError>,
) -> std::io::Result<()> {
    let Some(frame) = Frame::read(&mut input).await? else { return Ok(()) };
    let hello: Hello = frame.read_json()?;
    let answer = match hello.errand {
        _ if hello.version != VERSION => Err(other_version(&hello.version)),
        Errand::Check { kind } => told(blocking(move || Ok(doctor::check_host(kind.as_deref()))).await),
        Errand::Mend => told(blocking(doctor::mend_host).await),
        Errand::Serve(place) => match host(place).await {
            Ok(provider) => {
                reply(&mut output, &told(Ok(facts(&*provider)))).await?;
                return serve(provider, input, output).await;
            }
            Err(error) => Err(error.into()),
        },
    };
    reply(&mut output, &answer).await?;
    // Whoever asked hangs up.
    input.read(&mut [0]).await.map(drop)
}

fn other_version(theirs: &str) -> WireError {
    let words = format!("the controller is encanto {theirs}, and on the other host there is {VERSION}");
    WireError::Words { words, remedy: Some("encanto controller restart".into()) }
}

async fn reply(output: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> std::io::Result<()> {
    Frame::json(0, Tag::Answer, answer).write(output).await?;
    output.flush().await
}

/// Does what would hold others up on a thread of its own.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProviderError> + Send + 'static,
) -> Result<T, ProviderError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ProviderError::Remote { words: error.to_string(), remedy: None }))
}

/// What a provider answers at once.
fn facts(provider: &dyn Provider) -> Facts {
    let kinds = provider.kinds();
    let key = |kind: &Kind, series: &str| (kind.name.into(), series.into(), provider.base_key(Some(kind.name), series));
    Facts {
        address: provider.host_address(),
        hardware: provider.host_hardware(),
        base_keys: kinds.iter().flat_map(|kind| SERIES.map(|series| key(kind, series))).collect(),
        kinds: kinds.into_iter().map(WireKind::from).collect(),
        absent: provider.absent_kinds().into_iter().map(|(kind, why)| (kind.into(), why)).collect(),
    }
}

struct Server {
    provider: Arc<dyn Provider>,
    wire: Arc<Wire>,
    /// Calls that run, each with what it is told meanwhile. One that is taken out ends.
    running: Mutex<BTreeMap<u32, mpsc::UnboundedSender<Order>>>,
    told: watch::Sender<Facts>,
}

/// Does what is asked until the connection ends.
async fn serve(
    provider: Arc<dyn Provider>,
    mut input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Send + Unpin + 'static,
) -> std::io::Result<()> {
    let (wire, queue) = Wire::new();
    let mut work = JoinSet::new();
    work.spawn(async {
        // Who cannot be answered does not ask any more either, which ends the loop below.
        let _ = write_frames(queue, output).await;
    });
    let told = watch::channel(facts(&*provider)).0;
    let server = Arc::new(Server { provider, wire, running: Mutex::default(), told });
    while let Some(frame) = Frame::read(&mut input).await? {
        let Some(frame) = server.wire.take(frame) else { continue };
        match frame.tag {
            Tag::Call => server.begin(frame.id, frame.read_json()?, &mut work),
            Tag::Cancel => drop(server.running().remove(&frame.id)),
            Tag::Order => {
                if let Some(orders) = server.running().get(&frame.id) {
                    let _ = orders.send(frame.read_json()?);
                }
            }
            _ => return Err(std::io::Error::other(format!("{:?} came where a call should", frame.tag))),
        }
        // What has ended is let go.
        while work.try_join_next().is_some() {}
    }
    Ok(())
}

impl Server {
    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, mpsc::UnboundedSender<Order>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, id: u32, call: Call, work: &mut JoinSet<()>) {
        let (orders, mut told) = mpsc::unbounded_channel();
        self.running().insert(id, orders);
        let server = self.clone();
        // Known before the next frame is read: it may be the first piece.
        let content = matches!(call, Call::WriteFile { .. }).then(|| self.wire.coming(id, IN));
        work.spawn(async move {
            match (call, content) {
                (Call::Exec(name, request), _) => {
                    let begun = server.provider.exec(&name, request);
                    server.run(id, begun, &mut told).await;
                }
                (Call::Console(name, terminal), _) => {
                    let begun = server.provider.console(&name, terminal);
                    server.run(id, begun, &mut told).await;
                }
                (call, content) => tokio::select! {
                    biased;
                    () = cancelled(&mut told) => {}
                    answer = async {
                        let content = match content {
                            Some(content) => content.carry(Vec::new()).await.unwrap_or_default(),
                            None => Vec::new(),
                        };
                        server.answer(id, call, content).await
                    } => {
                        server.tell_facts();
                        server.wire.send(Frame::json(id, Tag::Answer, &answer));
                    }
                },
            }
            server.running().remove(&id);
        });
    }

    /// Some things are found out by doing: the address of the bridge, that machines are emulated.
    fn tell_facts(&self) {
        let facts = facts(&*self.provider);
        if self.told.send_if_modified(|told| std::mem::replace(told, facts.clone()) != facts) {
            self.wire.send(Frame::json(0, Tag::Facts, &facts));
        }
    }

    async fn answer(self: &Arc<Self>, id: u32, call: Call, content: Vec<u8>) -> Answer {
        let provider = &*self.provider;
        match call {
            Call::Open => {
                let wire = self.wire.clone();
                let progress = move |line: &str| wire.send(Frame::json(id, Tag::Progress, &line));
                told(provider.open(Arc::new(progress)).await)
            }
            Call::Teardown => told(provider.teardown().await),
            Call::Disturbed => told(Ok(provider.disturbed().await)),
            Call::Mend => told(provider.mend().await),
            Call::Create(spec) => told(provider.create(&spec).await),
            Call::Start(name) => told(provider.start(&name).await),
            Call::Stop(name) => told(provider.stop(&name).await),
            Call::Ended(name) => {
                provider.ended(&name).await;
                told(Ok(()))
            }
            Call::Destroy(name) => told(provider.destroy(&name).await),
            Call::List => told(provider.list().await),
            Call::ReadFile { name, path, limit } => {
                let content = provider.read_file(&name, &path, limit).await?;
                self.wire.leaving(id, OUT).carry(content.as_slice()).await;
                told(Ok(()))
            }
            Call::WriteFile { name, path, options } => {
                told(provider.write_file(&name, &path, &content, &options).await)
            }
            Call::StatFile { name, path } => told(provider.stat_file(&name, &path).await),
            Call::RemoveFile { name, path } => told(provider.remove_file(&name, &path).await),
            Call::HasLayer(key) => told(provider.has_layer(&key).await),
            Call::Seal(name, key) => told(provider.seal(&name, &key).await),
            Call::Clone { from, spec } => told(provider.clone_instance(&from, &spec).await),
            Call::Snapshot(name, snapshot) => told(provider.snapshot(&name, &snapshot).await),
            Call::Restore(name, snapshot) => told(provider.restore(&name, &snapshot).await),
            Call::DropSnapshot(name, snapshot) => told(provider.drop_snapshot(&name, &snapshot).await),
            Call::Snapshots(name) => told(provider.snapshots(&name).await),
            Call::Foreign => told(provider.foreign().await),
            Call::Inspect(folder) => told(provider.inspect(&folder).await),
            Call::Adopt(spec, origin) => told(provider.adopt(&spec, &origin).await),
            Call::Release(name) => told(provider.release(&name).await),
            Call::Publish(ports) => told(provider.publish(&ports).await),
            // They have streams, and are begun elsewhere.
            Call::Exec(name, _) | Call::Console(name, _) => told(Err::<(), _>(ProviderError::NoInstance(name))),
        }
    }

    /// A command from its begin to the moment in which nobody wants to know of it any more.
    async fn run(
        &self,
        id: u32,
        begun: impl Future<Output = Result<Execution, ProviderError>>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) {
        let begun = tokio::select! {
            biased;
            () = cancelled(orders) => return,
            begun = begun => begun,
        };
        let Execution { stdin, stdout, stderr, mut control } = match begun {
            Ok(execution) => execution,
            Err(error) => return self.wire.send(Frame::json(id, Tag::Answer, &told(Err::<(), _>(error)))),
        };
        let (input, out, err) = (self.wire.coming(id, IN), self.wire.leaving(id, OUT), self.wire.leaving(id, ERR));
        let said = [out.idle(), err.idle()];
        self.wire.send(Frame::json(id, Tag::Answer, &told(Ok(()))));
        let mut feed = JoinSet::new();
        // Its end closes the command's input.
        feed.spawn(async move { drop(input.carry(stdin).await) });
        let mut output = JoinSet::new();
        output.spawn(join(out.carry(stdout), err.carry(stderr)));
        let mut ended = false;
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Kill) => control.kill(),
                    Some(Order::Resize(columns, rows)) => if let Err(error) = control.resize(columns, rows).await {
                        tracing::debug!("a terminal keeps its size: {error}");
                    },
                    None => break,
                },
                end = control.wait(), if !ended => {
                    let [out, err] = said.clone();
                    join(said_all(out), said_all(err)).await;
                    let end = end.map_err(WireError::from);
                    self.wire.send(Frame::json(id, Tag::Ended, &end));
                    ended = true;
                }
            }
        }
        drop((control, feed));
        let _ = tokio::time::timeout(FAREWELL, output.join_next()).await;
        drop(output);
        for channel in [OUT, ERR] {
            self.wire.send(Frame::of_stream(id, Tag::End, channel, Vec::new()));
        }
    }
}

/// Returns when a call is not wanted any more; what it is told before comes too early and is lost.
async fn cancelled(orders: &mut mpsc::UnboundedReceiver<Order>) {
    while orders.recv().await.is_some() {}
}

fn told<T: Serialize>(result: Result<T, ProviderError>) -> Answer {
    let value = result?;
    serde_json::to_value(value).map_err(|error| WireError::Words { words: error.to_string(), remedy: None })
}
