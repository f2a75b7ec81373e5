//! The nouns and their rules, as plain values.

pub mod charm;
pub mod config;
pub mod hook;
pub mod names;
pub mod settings;
pub mod status;

pub use charm::{CharmMeta, CharmUrl, EndpointDecl, Role, Scope};
pub use config::{ConfigError, ConfigValue, OptionDecl, OptionKind};
pub use hook::{Hook, RelationHook};
pub use names::{
    CharmName, EndpointName, EnvironmentName, InterfaceName, MachineId, NameError, Port, Protocol, RelationId,
    ServiceName, UnitName,
};
pub use settings::{Setting, Settings, SettingsChange};
pub use status::{LogLevel, WorkloadState, WorkloadStatus};
