//! Whether the host's processors really run a machine.
//!
//! That `/dev/kvm` can be opened proves nothing: on a host that is itself a guest of some kind it may be there, and each
//! kernel dies in it or crawls. So the kernel that machines get is booted once, up to its first program. The answer holds
//! for one boot of the host, and is kept for the other environments.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::disks::Boot;
use super::domain::{Accelerator, Platform};
use crate::provider::command::run;
use crate::provider::local::digest_hex;
use crate::provider::local::record::{load_json, store_json};

const DEVICE: &str = "/dev/kvm";

/// What `guest/initrd` says when it is asked.
const ANSWER: &[u8] = b"encanto-probe-answers";

/// With KVM it takes half a second, emulated two. Where it takes longer, emulation is the better choice.
const LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// What it depends on.
    question: String,
    kvm: bool,
}

/// What a machine with this kernel runs on. Never fails: without an answer it is emulated, which always works.
pub async fn accelerator(boot: &Boot, kept: &Path) -> Accelerator {
    let kvm = is_open() && answers(boot, kept).await;
    if kvm { Accelerator::Kvm } else { Accelerator::Emulation }
}

/// The answer that was kept, if it holds.
async fn answers(boot: &Boot, kept: &Path) -> bool {
    let question = question(boot);
    if let Ok(Some(answer)) = load_json::<Answer>(kept)
        && answer.question == question
    {
        return answer.kvm;
    }
    let kvm = try_boot(boot).await;
    if let Err(error) = store_json(kept, &Answer { question, kvm }) {
        tracing::warn!("what a probe of {DEVICE} showed cannot be kept: {error}");
    }
    kvm
}

/// Whether the user that libvirt runs QEMU as may open it. Root's own mode does not help him.
fn is_open() -> bool {
    std::fs::metadata(DEVICE).is_ok_and(|device| device.mode() & 0o066 != 0)
}

/// One boot of the host, its kernel, our kernel, and the device as it is.
fn question(boot: &Boot) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let [host, version] = ["/proc/sys/kernel/random/boot_id", "/proc/version"].map(read);
    let emulator = std::fs::metadata(emulator()).map(|data| data.mtime()).unwrap_or_default();
    digest_hex(format!("{host}{version}{emulator}\n{}", boot.kernel.display()).as_bytes())
}

fn emulator() -> String {
    format!("/usr/bin/qemu-system-{}", Platform::host().arch)
}

async fn try_boot(boot: &Boot) -> bool {
    let (kernel, initrd) = (boot.kernel.display().to_string(), boot.initrd.display().to_string());
    let words = format!("console={} quiet encanto.probe", Platform::host().console);
    let emulator = emulator();
    let plain = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"];
    let machine = ["-machine", Platform::host().machine, "-accel", "kvm", "-cpu", "host", "-m", "256"];
    let files = ["-kernel", &kernel, "-initrd", &initrd, "-append", &words];
    let argv: Vec<&str> = [&[emulator.as_str()][..], &plain, &machine, &files].concat();
    match tokio::time::timeout(LIMIT, run(&argv, b"")).await {
        Ok(Ok(said)) => memchr::memmem::find(&said, ANSWER).is_some(),
        Ok(Err(error)) => {
            tracing::info!("no machine runs by {DEVICE}: {error}");
            false
        }
        Err(_) => {
            tracing::info!("no machine is up by {DEVICE} within {} s", LIMIT.as_secs());
            false
        }
    }
}
