//! Joining a machine: its namespaces and its cgroups.

use std::ffi::{CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{At as _, Refused, Step, checked};

/// Joins all namespaces of the machine and becomes its root. The process itself stays out of the machine's cgroups, so
/// that a machine out of memory takes down its commands but not the process that watches them.
pub fn join_namespaces(init: i32, with_processes: bool) -> Step<()> {
    let pid = Pid::from_raw(init).ok_or(Refused { step: "find init".into(), errno: libc::ESRCH })?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).at("open init")?;
    let mut spaces = libc::CLONE_NEWNS;
    // The kernel refuses to join the one that we are in.
    if !shares_users(init).at("compare the user namespaces")? {
        spaces |= libc::CLONE_NEWUSER;
    }
    if with_processes {
        spaces |= libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        spaces |= libc::CLONE_NEWCGROUP;
    }
    // SAFETY: plain system calls of a process with one thread.
    unsafe {
        checked(libc::setns(handle.as_raw_fd(), spaces).into()).at("join the namespaces")?;
    }
    become_user(0, 0, &[]).at("become root in the machine")
}

fn shares_users(init: i32) -> std::io::Result<bool> {
    let space = |process: String| std::fs::read_link(format!("/proc/{process}/ns/user"));
    Ok(space(init.to_string())? == space("self".to_owned())?)
}

/// The capabilities that nothing in the machine may ever have more of than its init. Whoever comes in from the host would
/// else bring all of them along.
pub struct Capabilities(u64);

impl Capabilities {
    pub fn of(init: i32) -> Step<Self> {
        let status = std::fs::read_to_string(format!("/proc/{init}/status")).at("read the machine's capabilities")?;
        // One that says nothing is ending: joining it tells of that.
        Ok(Self(capability_bound(&status).unwrap_or(u64::MAX)))
    }

    /// Gives up the others. What this process can do does not change before it runs another program.
    pub fn keep_only(&self) -> std::io::Result<()> {
        for capability in (0..u64::BITS).filter(|bit| self.0 & (1 << bit) == 0) {
            // SAFETY: plain system calls. Those that the kernel does not know read as an error.
            unsafe {
                if libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability)) == 1 {
                    checked(libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability)).into())?;
                }
            }
        }
        Ok(())
    }
}

fn capability_bound(status: &str) -> Option<u64> {
    let bound = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(bound.trim(), 16).ok()
}

/// Takes on ids for good. Capabilities go with the last step when `uid` is not root.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> std::io::Result<()> {
    // SAFETY: plain system calls; `groups` outlives its call.
    unsafe {
        checked(libc::setgroups(groups.len(), groups.as_ptr()).into())?;
        checked(libc::setresgid(gid, gid, gid).into())?;
        checked(libc::setresuid(uid, uid, uid).into())?;
    }
    Ok(())
}

/// The cgroups of a machine, opened while the host's view of them is still there.
pub struct MachineCgroups(Vec<CgroupDoor>);

struct CgroupDoor {
    folder: PathBuf,
    direct: File,
    /// Used when the group has children with controllers, where cgroup v2 allows no process.
    leaf: Option<File>,
}

impl MachineCgroups {
    pub fn open(init: i32) -> Step<Self> {
        let text = std::fs::read_to_string(format!("/proc/{init}/cgroup")).at("read the machine's cgroups")?;
        let pure_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let mut doors = Vec::new();
        for folder in payload_folders(&text, pure_v2) {
            // A hierarchy that is known to the kernel but not mounted is no hindrance.
            if !folder.is_dir() {
                continue;
            }
            let direct = open_door(&folder).at(format!("open {}", folder.display()))?;
            let leaf = (pure_v2).then(|| leaf_door(&folder)).transpose().at("make a leaf cgroup")?;
            doors.push(CgroupDoor { folder, direct, leaf });
        }
        Ok(Self(doors))
    }

    /// Moves the calling process in.
    pub fn join(&mut self) -> Step<()> {
        for door in &mut self.0 {
            let joined = door.direct.write_all(b"0").or_else(|error| match &mut door.leaf {
                Some(leaf) => leaf.write_all(b"0"),
                None => Err(error),
            });
            joined.at(format!("join {}", door.folder.display()))?;
        }
        Ok(())
    }
}

fn open_door(folder: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).open(folder.join("cgroup.procs"))
}

fn leaf_door(folder: &Path) -> std::io::Result<File> {
    let leaf = folder.join("encanto");
    match std::fs::create_dir(&leaf) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => open_door(&leaf),
    }
}

/// The machine's top groups as folders, from the text of `/proc/<init>/cgroup`. systemd itself sits deeper (`init.scope`).
/// Where init is in the host's top group the machine has none.
pub fn payload_folders(text: &str, pure_v2: bool) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let top = path.strip_suffix("/init.scope").unwrap_or(path).trim_start_matches('/');
        if top.is_empty() {
            continue;
        }
        let hierarchy = match controllers.strip_prefix("name=").unwrap_or(controllers) {
            "" if pure_v2 => "",
            "" => "unified",
            name => name,
        };
        folders.push(Path::new("/sys/fs/cgroup").join(hierarchy).join(top));
    }
    folders
}

/// A user of the machine, from its own `/etc/passwd`.
#[derive(Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub groups: Vec<u32>,
}

impl User {
    pub fn find(name: &str) -> Option<Self> {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
        find_user(name, &passwd, &group)
    }
}

fn find_user(name: &str, passwd: &str, group: &str) -> Option<User> {
    let fields: Vec<&str> =
        passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
    let [_, _, uid, gid, _, home, ..] = fields[..] else { return None };
    let gid = gid.parse().ok()?;
    let mut groups = vec![gid];
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [_, _, id, members] = fields[..]
            && members.split(',').any(|member| member == name)
            && let Ok(id) = id.parse()
            && !groups.contains(&id)
        {
            groups.push(id);
        }
    }
    Some(User { uid: uid.parse().ok()?, gid, home: home.to_owned(), groups })
}

/// The id of a group of the machine.
pub fn find_group(name: &str) -> Option<u32> {
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let fields: Vec<&str> = group.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| f[0] == name)?;
    fields.get(2)?.parse().ok()
}

/// A string for the kernel; what follows a NUL is a mistake of the caller.
pub fn c_string(text: impl AsRef<OsStr>) -> Step<CString> {
    CString::new(text.as_ref().as_encoded_bytes())
        .map_err(|_| Refused { step: "take a text with NUL".into(), errno: libc::EINVAL })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_group_is_taken_in_a_hybrid_and_in_a_pure_hierarchy() {
        let hybrid = "9:name=systemd:/lxc.payload.a-machine-1/init.scope\n4:memory:/x/lxc.payload.a-machine-1\n\
                      3:cpu,cpuacct:/\n0::/lxc.payload.a-machine-1/init.scope\n";
        let folders = payload_folders(hybrid, false);
        let expected = ["systemd/", "memory/x/", "unified/"];
        let expected: Vec<PathBuf> =
            expected.iter().map(|h| format!("/sys/fs/cgroup/{h}lxc.payload.a-machine-1").into()).collect();
        assert_eq!(folders, expected);
        let pure = payload_folders("0::/lxc.payload.m/init.scope\n", true);
        assert_eq!(pure, [PathBuf::from("/sys/fs/cgroup/lxc.payload.m")]);
        let libvirt = "9:name=systemd:/libvirt-m/init.scope\n4:memory:/machine/lxc-7-m.libvirt-lxc/init.scope\n";
        let expected = ["/sys/fs/cgroup/systemd/libvirt-m", "/sys/fs/cgroup/memory/machine/lxc-7-m.libvirt-lxc"];
        assert_eq!(payload_folders(libvirt, false), expected.map(PathBuf::from));
    }

    #[test]
    fn what_init_may_not_have_is_read_from_its_status() {
        let status =
            "Name:\tsystemd\nCapEff:\t0000000000000003\nCapBnd:\t00000000000000ff\nCapAmb:\t0000000000000000\n";
        assert_eq!(capability_bound(status), Some(0xff));
        assert_eq!(capability_bound("Name:\tsystemd\n"), None);
    }

    #[test]
    fn a_user_brings_its_supplementary_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n";
        let group = "root:x:0:\nwww-data:x:33:\nssl-cert:x:101:www-data,mysql\n";
        let user = find_user("www-data", passwd, group);
        assert_eq!(user, Some(User { uid: 33, gid: 33, home: "/var/www".into(), groups: vec![33, 101] }));
        assert_eq!(find_user("www", passwd, group), None);
    }
}
