//! Encanto: an embedded scripting orchestrator. See ARCHITECTURE.md for what lives where.

pub mod api;
pub mod charm;
pub mod cli;
pub mod model;
pub mod provider;
