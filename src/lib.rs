//! Encanto: an embedded scripting orchestrator. See ARCHITECTURE.md for what lives where.

pub mod api;
pub mod charm;
pub mod cli;
pub mod controller;
pub mod model;
pub mod plan;
pub mod provider;
pub mod store;
pub mod worker;
