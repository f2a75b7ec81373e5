//! The boundary between the command line and the controller: HTTP and JSON over a unix socket.
//!
//! Wire shapes are not the model: they may only grow. A verb is one word everywhere: `cli/commands/add_unit.rs`,
//! [`AddUnit`], `api/handlers/add_unit.rs`.

pub mod actions;
pub mod adopt;
pub mod backend;
pub mod backup;
pub mod client;
pub mod frames;
pub mod handlers;
pub mod machines;
pub mod requests;
pub mod server;
pub mod settings;
pub mod status;
pub mod users;

pub use crate::model::EnvironmentName;
pub use actions::*;
pub use adopt::*;
pub use backup::Manifest;
pub use client::{Client, ClientError};
pub use machines::*;
pub use requests::*;
pub use settings::{EnvironmentKind, EnvironmentSettings, LOG_SIZE, LONGEST_INSTANCE_NAME, SOCKET};
pub use status::*;
