//! Brings the helper into a machine and greets it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::bytes::BytesMut;

use super::agent::{Agent, Captured};
use super::link::Link;
use super::way::{PORT, Way, Wire};
use crate::provider::ProviderError;

/// One script in two files.
pub(super) const HELPER: &str = concat!(include_str!("guest/port.pl"), "\n", include_str!("guest/files.pl"));

/// An emulated machine that starts much else takes some seconds.
const GREETING_LIMIT: Duration = Duration::from_secs(60);

/// A helper that is there answers at once, unless its last controller died in the middle of a word: that one waits for
/// the rest of it.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// The helper comes on standard input. It leaves the agent's control group: a restarted agent (an upgrade by a hook, say)
/// must not take the hook with it. The port is looked up by name: which number it has depends on the other devices.
const STARTER: &str = r#"
umask 077
version=$1 name=$2 mark=$3 folder=/run/encanto
fail() { echo "$1" >&2; exit 1; }
command -v perl >/dev/null || fail "there is no perl in the machine"
mkdir -p $folder && cat >$folder/new.$$ && mv $folder/new.$$ $folder/guest.pl || fail "cannot write to $folder"
port= tries=0
while [ -z "$port" ]; do
    for file in /sys/class/virtio-ports/*/name; do
        read -r found <"$file" && [ "$found" = "$name" ] && port=${file%/name} && port=/dev/${port##*/}
    done 2>/dev/null
    tries=$((tries + 1))
    [ -n "$port" ] || { [ $tries -lt 50 ] && sleep 0.1; } || fail "the machine has no port $name"
done
if [ -e /sys/fs/cgroup/cgroup.procs ]; then groups=/sys/fs/cgroup/cgroup.procs; else groups="/sys/fs/cgroup/*/cgroup.procs"; fi
for group in $groups; do echo $$ >"$group"; done 2>/dev/null
cd /
setsid perl $folder/guest.pl "$port" $version $folder $mark </dev/null >$folder/log 2>&1 &
"#;

/// Connects to the machine's port. A helper that is there already, of this very text, is greeted; else one is started.
/// Whatever was run for an earlier controller is ended by either.
///
/// # Errors
/// [`ProviderError::NotRunning`], or what stands in the way, in the words of libvirt or of the machine.
pub async fn connect(way: &Arc<dyn Way>) -> Result<Arc<Link>, ProviderError> {
    if !way.is_running().await? {
        return Err(ProviderError::NotRunning { name: way.name().clone() });
    }
    if way.is_served().await? {
        let mut wire = way.connect().await?;
        if let Ok(Ok(read_ahead)) = tokio::time::timeout(ANSWER_LIMIT, greet(&mut wire, &greeting())).await {
            return Ok(Link::serve(wire, read_ahead, way.clone()));
        }
    }
    start(way).await
}

async fn start(way: &Arc<dyn Way>) -> Result<Arc<Link>, ProviderError> {
    let mut wire = way.connect().await?;
    let agent = Agent::new(way.as_ref());
    let mark = nonce();
    let starter = ["/bin/sh", "-c", STARTER, "sh", &version(), PORT, &mark];
    let started = agent.start(&starter, HELPER.as_bytes()).await?;
    let meeting = async {
        // An earlier one may still be there: nothing is said before the new one has the port.
        skip(&mut wire, format!("\nencanto {mark}\n").as_bytes()).await?;
        greet(&mut wire, &greeting()).await
    };
    let met = tokio::select! {
        met = tokio::time::timeout(GREETING_LIMIT, meeting) => met,
        failed = failure(&agent, started) => return Err(failed),
    };
    let source = match met {
        Ok(Ok(read_ahead)) => return Ok(Link::serve(wire, read_ahead, way.clone())),
        Ok(Err(source)) => source,
        Err(_) => std::io::Error::new(std::io::ErrorKind::TimedOut, "its helper does not start"),
    };
    let name = way.name().clone();
    Err(if way.is_running().await? {
        ProviderError::Enter { name, source }
    } else {
        ProviderError::NotRunning { name }
    })
}

/// Says the greeting and waits for its answer; returns what came after it. What came before was said to somebody else.
pub(super) async fn greet(wire: &mut Wire, greeting: &[u8]) -> std::io::Result<BytesMut> {
    wire.input.write_all(greeting).await?;
    skip(wire, greeting).await
}

/// Reads on until this was said, and returns what came after it.
async fn skip(wire: &mut Wire, said: &[u8]) -> std::io::Result<BytesMut> {
    let mut seen = BytesMut::new();
    let finder = memchr::memmem::Finder::new(said);
    loop {
        if wire.output.read_buf(&mut seen).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(at) = finder.find(&seen) {
            return Ok(seen.split_off(at + said.len()));
        }
        let old = seen.len().saturating_sub(said.len());
        drop(seen.split_to(old));
    }
}

/// Returns only if the starter fails.
async fn failure(agent: &Agent<'_>, started: u64) -> ProviderError {
    match agent.ended(started).await {
        Ok(Captured { code: 0, .. }) => std::future::pending().await,
        Ok(captured) => captured.failed("the start of the machine's helper"),
        Err(error) => error,
    }
}

/// A helper of another version is none.
pub(super) fn version() -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, HELPER.as_bytes());
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Never the same twice, so that its answer is told from what was said to others.
pub(super) fn greeting() -> Vec<u8> {
    format!("\nencanto {} {}\n", version(), nonce()).into_bytes()
}

fn nonce() -> String {
    format!("{:016x}", rand::random::<u64>())
}
