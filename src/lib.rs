//! Encanto: an embedded scripting orchestrator. See ARCHITECTURE.md for what lives where.

pub mod charm;
pub mod model;
pub mod provider;
