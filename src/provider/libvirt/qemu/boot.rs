//! Brings the helper into a machine and greets it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::bytes::BytesMut;

use super::agent::{Agent, Captured};
use super::exec::lost;
use super::link::Link;
use super::way::{PORT, Way, Wire};
use crate::provider::ProviderError;

const HELPER: &str = include_str!("guest.pl");

/// An emulated machine that starts much else takes some seconds.
const GREETING_LIMIT: Duration = Duration::from_secs(60);

/// Between two looks at a starter that has not ended.
const PAUSE: Duration = Duration::from_millis(100);

/// The helper comes on standard input. It leaves the agent's control group: a restarted agent (an upgrade by a hook, say)
/// must not take the hook with it. The port is looked up by name: which number it has depends on the other devices.
const STARTER: &str = r#"
umask 077
nonce=$1 name=$2 folder=/run/encanto
fail() { echo "$1" >&2; exit 1; }
command -v perl >/dev/null || fail "there is no perl in the machine"
mkdir -p $folder && cat >$folder/$nonce && mv $folder/$nonce $folder/guest.pl || fail "cannot write to $folder"
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
setsid perl $folder/guest.pl "$port" $nonce $folder </dev/null >$folder/log 2>&1 &
"#;

/// Connects to the machine's port and starts a helper at its other end. Whatever an earlier one ran is ended by that.
///
/// # Errors
/// [`ProviderError::NotRunning`], or what stands in the way, in the words of libvirt or of the machine.
pub async fn connect(way: &Arc<dyn Way>) -> Result<Arc<Link>, ProviderError> {
    let name = way.name();
    if !way.is_running().await? {
        return Err(ProviderError::NotRunning { name: name.clone() });
    }
    let mut wire = way.connect().await?;
    let nonce = nonce();
    let agent = Agent::new(way.as_ref());
    let started = agent.start(&["/bin/sh", "-c", STARTER, "sh", &nonce, PORT], HELPER.as_bytes()).await?;
    let greeting = format!("\nencanto {nonce}\n");
    let met = tokio::select! {
        met = tokio::time::timeout(GREETING_LIMIT, meet(&mut wire, greeting.as_bytes())) => met,
        failed = failure(&agent, started) => return Err(failed),
    };
    let source = match met {
        Ok(Ok(read_ahead)) => return Ok(Link::serve(wire, read_ahead, way.clone())),
        Ok(Err(source)) => source,
        Err(_) => std::io::Error::new(std::io::ErrorKind::TimedOut, "its helper does not start"),
    };
    Err(if way.is_running().await? { ProviderError::Enter { name: name.clone(), source } } else { lost(name) })
}

/// Skips what an earlier helper left in the port, and answers the greeting; returns what came after it.
pub(super) async fn meet(wire: &mut Wire, greeting: &[u8]) -> std::io::Result<BytesMut> {
    let mut seen = BytesMut::new();
    let finder = memchr::memmem::Finder::new(greeting);
    loop {
        if wire.output.read_buf(&mut seen).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(at) = finder.find(&seen) {
            wire.input.write_all(greeting).await?;
            return Ok(seen.split_off(at + greeting.len()));
        }
        let old = seen.len().saturating_sub(greeting.len());
        drop(seen.split_to(old));
    }
}

/// Returns only if the starter fails.
async fn failure(agent: &Agent<'_>, started: u64) -> ProviderError {
    loop {
        match agent.outcome(started).await {
            Ok(Some(Captured { code: 0, .. })) => std::future::pending().await,
            Ok(Some(captured)) => {
                return ProviderError::Command {
                    command: "the start of the machine's helper".into(),
                    status: format!("exit status {}", captured.code),
                    output: captured.words(),
                };
            }
            Ok(None) => tokio::time::sleep(PAUSE).await,
            Err(error) => return error,
        }
    }
}

/// Tells this controller's helper from any other's.
fn nonce() -> String {
    format!("{:016x}", rand::random::<u64>())
}
