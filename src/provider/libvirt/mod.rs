//! Machines by libvirt, on this host.
//!
//! - [`connection`] is how it is asked, [`words`] what it answers when it refuses, and what to do then.
//! - [`lxc`] makes containers.
//! - [`ownership`] tells our domains from those of others; [`xml`] is what both sides speak.

pub mod connection;
pub mod lxc;
pub mod ownership;
pub mod qemu;
pub mod words;
pub mod xml;
