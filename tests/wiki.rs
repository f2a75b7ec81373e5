//! The main job, with real parts: a wiki and a blog on one database, in containers of this host, as its user types it.
//!
//! Needs root and some minutes: `ENCANTO_TEST_LXC=1 cargo test --test wiki`.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions too")]

mod support;

use support::RealEnv;
use support::host::{tool, traces};
use support::wiki::Host;

#[test]
fn a_wiki_and_a_blog_from_one_command_each() {
    let before = traces("wikitest");
    let Some(env) = RealEnv::bootstrapped("wikitest") else { return };
    Host::new(env, "wikitest", before).a_wiki_and_a_blog(|| tool("lxc-ls", &["-1"]));
}
