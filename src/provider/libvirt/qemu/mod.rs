//! Virtual machines by QEMU.
//!
//! How they are entered: [`agent`] is Debian's guest agent, asked through libvirt; it only brings our own helper
//! (`guest/`) into the machine, which serves a second virtio port from then on. [`frame`] is what goes over that port,
//! [`link`] its controller's end, [`inside`] keeps one link a machine, [`exec`] and [`files`] are what it is used for.
//! [`console`] needs none of that.

mod adopted;
pub mod agent;
mod boot;
pub mod console;
mod disks;
mod domain;
mod domains;
mod driver;
mod exec;
mod files;
mod frame;
mod hardware;
mod inner;
pub mod inside;
mod link;
mod pipe;
mod probe;
mod process;
mod qcow2;
mod saved;
mod template;
pub mod way;

pub use self::driver::QemuDriver;

#[cfg(test)]
mod tests;
