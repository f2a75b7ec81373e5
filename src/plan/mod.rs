//! Pure decisions: what is due, given the model and what was observed.
//!
//! **Invariant:** nothing here does anything, waits or knows the time but by argument. A worker that needs an `if`
//! about the domain asks a function of this module instead. Where a unit is placed is decided inside the change that
//! adds it (`model/change/deploy.rs`), since it must be one with the commit.

pub mod actions;
pub mod debug;
pub mod exposure;
pub mod hooks;
pub mod nudge;
pub mod patience;
pub mod provision;
pub mod removal;
pub mod settled;
