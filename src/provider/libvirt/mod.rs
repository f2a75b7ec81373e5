//! Machines by libvirt, on this host.
//!
//! - [`connection`] is how it is asked, [`words`] what it answers when it refuses, and what to do then.
//! - [`library`] has the library loaded when it is first needed.
//! - [`lxc`] makes containers.
//! - [`ownership`] tells our domains from those of others; [`xml`] is what both sides speak.

pub mod connection;
mod library;
pub mod lxc;
pub mod ownership;
pub mod qemu;
pub mod words;
pub mod xml;
