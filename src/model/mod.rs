//! The nouns and their rules, as plain values.
//!
//! Pure: no I/O, no async, no clock, no randomness, no Lua and no logging in here; time and random values are
//! arguments. [`change`] is the only way in, [`Model::apply`] the only thing that mutates, [`check`] lists what must
//! not be.

mod act;
pub mod action;
pub mod adoption;
pub mod change;
pub mod charm;
pub mod check;
mod commit;
mod company;
pub mod config;
pub mod constraints;
pub mod entities;
pub mod event;
pub mod hook;
pub mod kinds;
mod machine;
pub mod machine_id;
pub mod names;
pub mod observed;
pub mod settings;
pub mod state;
pub mod status;

pub use action::{Action, ActionDecl, ActionEnd, ActionState, ParamDecl};
pub use adoption::{Adopted, Origin};
pub use change::{
    ActionCall, Adoption, Change, ChangeError, Cloning, Deployment, EndpointRef, MachineChange, MachineError,
    MachineRefusal, Placement, UnitRefusal, Upgrade,
};
pub use charm::{CharmMeta, CharmUrl, EndpointDecl, Role, Scope};
pub use config::{ConfigError, ConfigValue, OptionDecl, OptionKind};
pub use constraints::{ConstraintError, Constraints};
pub use entities::{
    FailedHook, HardwareFacts, Life, Machine, Member, Millis, Power, Presence, Provision, PublishedMapping, Relation,
    RelationEndpoint, Restore, Service, Unit, UnitScope,
};
pub use event::{Event, HookWrites, Subject};
pub use hook::{Hook, RelationHook};
pub use kinds::{INSIDE, KindError, Kinds, MachineKind};
pub use names::{
    ActionId, ActionName, CharmName, EndpointName, EnvironmentName, InterfaceName, LONGEST_INSTANCE_NAME, MachineId,
    MachineName, NameError, Port, Protocol, RelationId, ServiceName, SnapshotName, UnitName,
};
pub use observed::{MachineWork, Observed, Sighting, Trouble, UnitActivity};
pub use settings::{Setting, Settings, SettingsChange};
pub use state::{Charm, Model};
pub use status::{LogLevel, WorkloadState, WorkloadStatus};
