//! What the image of a virtual machine has beside a container's: a kernel, an agent, and a name before it boots.
//!
//! It is the same tree with more packages, so that layers for it can be made in a container on it. QEMU is given kernel and
//! first program directly ([`KERNEL`], [`INITRD`]): no boot loader runs, and the command line tells the machine who it is
//! (`wire`). The services that are added here do nothing in a container.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::record::io_error;
use crate::provider::{ProviderError, command};

/// In the tree.
pub const KERNEL: &str = "boot/encanto/kernel";
pub const INITRD: &str = "boot/encanto/initrd";

/// Makes a machine the one that its controller means.
pub const WIRE: &str = "/usr/lib/encanto/wire";

/// Units that containers do without and machines want.
pub const UNMASKED: [&str; 1] = ["systemd-udevd.service"];

/// They would wait for udev, or for a login service.
pub const MASKED: [&str; 2] = ["qemu-guest-agent.service", "serial-getty@.service"];

const PROGRAMS: [(&str, &str); 2] = [("wire", include_str!("wire")), ("initrd", include_str!("initrd"))];

/// The last is root's login on the console, which costs nothing until somebody presses Enter there.
const UNITS: [(&str, &str); 3] = [
    ("encanto-wire.service", include_str!("encanto-wire.service")),
    ("encanto-agent.service", include_str!("encanto-agent.service")),
    ("encanto-console.service", include_str!("encanto-console.service")),
];

const MAKE_BOOT: &str = include_str!("make-boot");

/// Added to a container's packages. The last three are what the first program is made with.
pub fn packages() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux-image-cloud-{arch},udev,kmod,qemu-guest-agent,busybox-static,lz4,zstd")
}

/// Changes whenever the image does.
pub fn recipe() -> String {
    format!("{}\n{UNMASKED:?}\n{MASKED:?}\n{PROGRAMS:?}\n{UNITS:?}\n{MAKE_BOOT}", packages())
}

/// What the packages alone do not give.
pub async fn finish(root: &Path) -> Result<(), ProviderError> {
    let programs = root.join("usr/lib/encanto");
    let units = root.join("etc/systemd/system");
    let wanted = units.join("sysinit.target.wants");
    for folder in [&programs, &wanted] {
        std::fs::create_dir_all(folder).map_err(|e| io_error("create", folder, e))?;
    }
    for (name, text) in PROGRAMS {
        write(&programs.join(name), text, 0o755)?;
    }
    for (name, text) in UNITS {
        write(&units.join(name), text, 0o644)?;
        let link = wanted.join(name);
        std::os::unix::fs::symlink(format!("../{name}"), &link).map_err(|e| io_error("link", &link, e))?;
    }
    let root = root.display().to_string();
    command::run(&["chroot", &root, "sh", "-s"], MAKE_BOOT.as_bytes()).await.map(drop)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), ProviderError> {
    std::fs::write(path, text)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
        .map_err(|e| io_error("write", path, e))
}
