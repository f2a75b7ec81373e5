//! The command line where no controller is needed, and its side of the conversation with one that is made up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

#[path = "cli"]
mod cli {
    mod actions;
    mod adopt;
    mod backup;
    mod conversation;
    mod debug_hooks;
    mod environments;
    mod kinds;
    mod machines;
    mod services;
    mod simulated;
    mod streams;
    mod terminal;
    mod usage;
}
mod support;
