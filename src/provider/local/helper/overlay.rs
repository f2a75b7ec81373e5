//! A machine's root: an overlay whose layers are all seen through an idmapped mount.
//!
//! On disk everything is unshifted: images, layers and the writable part alike. So a layer made in one machine serves
//! any other, whatever its id range. The views and the overlay are put together in a mount namespace that ends with
//! this process; only the finished overlay is attached in the host's. So nothing is left behind by a crash.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FlockOperation, StatxAttributes, StatxFlags, flock, statx};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount as mount_new, mount_change,
    move_mount, open_tree,
};

use super::enter::c_string;
use super::{At as _, MountOrder, Refused, ShareOrder, Step, ViewOrder, checked};

/// Ids of one machine: those of 16 bits, as `/etc/subuid` grants them.
pub const ID_COUNT: u32 = 65536;

/// Any folder that exists on every host: the private namespace puts a tmpfs over it for its mount points.
const STAGE: &str = "/mnt";

pub fn mount(order: &MountOrder) -> Step<()> {
    // A helper whose controller was killed may still be at it.
    let lock = std::fs::File::open(&order.scratch).at(format!("open {}", order.scratch.display()))?;
    flock(&lock, FlockOperation::LockExclusive).at("wait for another mount")?;
    if is_mount_point(&order.target).at("look at the mount point")? {
        return Ok(());
    }
    let shift = order.first_id.map(id_shift).transpose()?;
    // Folders are opened first: the stage might hide them.
    let lowers: Vec<OwnedFd> = order.lowers.iter().map(|path| view(path, shift.as_ref())).collect::<Step<_>>()?;
    let scratch = view(&order.scratch, shift.as_ref())?;
    let target = open_tree(CWD, &order.target, OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .at(format!("open {}", order.target.display()))?;
    let host = std::fs::File::open("/proc/self/ns/mnt").at("open the host's mounts")?;
    enter_stage()?;
    let mut lowerdir = Vec::new();
    for (number, lower) in lowers.iter().enumerate() {
        lowerdir.push(attach(lower, &number.to_string())?);
    }
    // The overlay file system wants the topmost first.
    lowerdir.reverse();
    let scratch = attach(&scratch, "s")?;
    let overlay = overlay(&lowerdir.join(":"), &scratch, order.volatile)?;
    // SAFETY: a plain system call.
    unsafe { checked(libc::setns(host.as_raw_fd(), libc::CLONE_NEWNS).into()) }.at("return to the host's mounts")?;
    let empty_paths = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&overlay, "", &target, "", empty_paths).at("attach the overlay")
}

/// Attaches a mount of ours also in the mount namespace of another process, where it ends with that namespace at last.
pub fn share(order: &ShareOrder) -> Step<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, &order.target, flags).at(format!("open {}", order.target.display()))?;
    let theirs = std::fs::File::open(format!("/proc/{}/ns/mnt", order.process)).at("find the other's mounts")?;
    // SAFETY: a plain system call of a process with one thread.
    unsafe { checked(libc::setns(theirs.as_raw_fd(), libc::CLONE_NEWNS).into()) }.at("go to the other's mounts")?;
    move_mount(&mount, "", CWD, &order.target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at("attach it there")
}

/// A view of the folder at the target, unless something is mounted there.
pub fn mount_view(order: &ViewOrder) -> Step<()> {
    let place = order.target.parent().unwrap_or(&order.target);
    let lock = std::fs::File::open(place).at(format!("open {}", place.display()))?;
    flock(&lock, FlockOperation::LockExclusive).at("wait for another mount")?;
    if is_mount_point(&order.target).at("look at the mount point")? {
        return Ok(());
    }
    let shift = order.first_id.map(id_shift).transpose()?;
    let source = view(&order.source, shift.as_ref())?;
    let target = order.target.as_path();
    move_mount(&source, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at("attach the folder")
}

/// Whether something is mounted there; the device does not tell, for a folder may be seen at two places.
///
/// # Errors
/// There is nothing at all.
pub fn is_mount_point(target: &Path) -> std::io::Result<bool> {
    let data = statx(CWD, target, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())?;
    Ok(data.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn overlay(lowerdir: &str, scratch: &str, volatile: bool) -> Step<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).at("use the overlay file system")?;
    let fs = context.as_fd();
    let set = |key: &str, value: &str| fsconfig_set_string(fs, key, value).at(format!("set {key}"));
    set("source", "encanto")?;
    set("lowerdir", lowerdir)?;
    set("upperdir", &format!("{scratch}/upper"))?;
    set("workdir", &format!("{scratch}/work"))?;
    // Package managers rename folders: without redirects they get EXDEV. The rest keeps a layer readable by any stack.
    set("redirect_dir", "on")?;
    set("metacopy", "off")?;
    set("index", "off")?;
    if volatile {
        fsconfig_set_flag(fs, "volatile").at("set volatile")?;
    }
    fsconfig_create(fs).at(format!("put {} layers together", lowerdir.split(':').count()))?;
    fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).at("mount the overlay")
}

/// Goes into a mount namespace of its own with an empty tmpfs on [`STAGE`].
fn enter_stage() -> Step<()> {
    // SAFETY: a plain system call of a process with one thread.
    unsafe { checked(libc::unshare(libc::CLONE_NEWNS).into()) }.at("make a mount namespace")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).at("make the mounts private")?;
    mount_new("tmpfs", STAGE, "tmpfs", MountFlags::empty(), None).at("mount the stage")
}

/// Short names: older kernels take at most 256 bytes for all lower folders together.
fn attach(view: &OwnedFd, name: &str) -> Step<String> {
    let place = format!("{STAGE}/{name}");
    std::fs::create_dir(&place).at("make a mount point")?;
    move_mount(view, "", CWD, place.as_str(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at("attach a view")?;
    Ok(place)
}

/// A detached mount of `path`, in which ids are shifted if asked for.
fn view(path: &Path, shift: Option<&OwnedFd>) -> Step<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags).at(format!("open {}", path.display()))?;
    let Some(shift) = shift else { return Ok(tree) };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(shift.as_raw_fd()).unwrap_or(u64::MAX),
    };
    let empty = c_string("")?;
    // SAFETY: both pointers outlive the call, and the size is that of the structure.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            empty.as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(&attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    checked(result).at(format!("shift the ids of {}", path.display()))?;
    Ok(tree)
}

/// A user namespace that carries the shift: the kernel takes an idmap in no other form.
///
/// Its last line lets the host's root appear on disk as the first id past the machine's range: the overlay itself makes
/// its work folder and its whiteouts as the host's root, which the first line alone would refuse.
fn id_shift(first: u32) -> Step<OwnedFd> {
    let (mut ready_in, ready_out) = std::io::pipe().at("make a pipe")?;
    let (done_in, done_out) = std::io::pipe().at("make a pipe")?;
    // SAFETY: the process has one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop((ready_in, done_out));
        // SAFETY: a plain system call.
        let made = unsafe { libc::unshare(libc::CLONE_NEWUSER) };
        let _ = (&ready_out).write_all(&[u8::from(made == 0)]);
        drop(ready_out);
        let _ = (&done_in).read(&mut [0]);
        // SAFETY: ends the child without running anything of its parent's.
        unsafe { libc::_exit(0) }
    }
    checked(child.into()).at("fork")?;
    drop((ready_out, done_in));
    let mut made = [0];
    ready_in.read_exact(&mut made).at("hear from the child")?;
    let map = format!("0 {first} {ID_COUNT}\n{ID_COUNT} 0 1\n");
    let namespace = if made == [1] {
        std::fs::write(format!("/proc/{child}/uid_map"), &map)
            .and_then(|()| std::fs::write(format!("/proc/{child}/gid_map"), &map))
            .and_then(|()| std::fs::File::open(format!("/proc/{child}/ns/user")))
            .at("write the id map")
    } else {
        Err(Refused { step: "make a user namespace".into(), errno: libc::EPERM })
    };
    drop(done_out);
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    namespace.map(OwnedFd::from)
}
