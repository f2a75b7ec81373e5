//! The verbs, in the order the help lists them.

mod action;
mod add_machine;
mod add_relation;
mod add_unit;
mod backup;
mod bootstrap;
mod completion;
mod config;
mod controller;
mod debug_hooks;
mod debug_log;
mod deploy;
mod destroy_environment;
mod destroy_machine;
mod destroy_relation;
mod destroy_service;
mod destroy_unit;
mod doctor;
mod expose;
mod get;
mod get_constraints;
mod history;
mod init;
mod machine;
mod resolved;
mod restore;
mod retry_provisioning;
mod run;
mod scp;
mod set;
mod set_constraints;
mod show_status_log;
mod ssh;
mod status;
mod switch;
mod unexpose;
mod unset;
mod upgrade_charm;
mod version;
mod wait;

use super::error::Outcome;
use super::session::Session;

macro_rules! commands {
    ($($(#[$attribute:meta])* $variant:ident($module:ident);)*) => {
        #[derive(Debug, clap::Subcommand)]
        pub enum Command {
            $($(#[$attribute])* $variant($module::$variant),)*
        }

        impl Command {
            pub fn run(self, session: &Session<'_>) -> Outcome {
                match self {
                    $(Self::$variant(args) => args.run(session),)*
                }
            }
        }
    };
}

commands! {
    #[command(alias = "generate-config")]
    Init(init);
    #[command(alias = "env")]
    Switch(switch);
    Bootstrap(bootstrap);
    DestroyEnvironment(destroy_environment);
    Controller(controller);
    Doctor(doctor);
    Deploy(deploy);
    AddUnit(add_unit);
    #[command(visible_aliases = ["integrate", "relate"])]
    AddRelation(add_relation);
    Expose(expose);
    Unexpose(unexpose);
    Get(get);
    Set(set);
    Unset(unset);
    Config(config);
    #[command(visible_aliases = ["constraints", "model-constraints"])]
    GetConstraints(get_constraints);
    #[command(visible_alias = "set-model-constraints")]
    SetConstraints(set_constraints);
    #[command(visible_alias = "refresh")]
    UpgradeCharm(upgrade_charm);
    #[command(alias = "stat")]
    Status(status);
    Wait(wait);
    DebugLog(debug_log);
    #[command(visible_alias = "status-history")]
    ShowStatusLog(show_status_log);
    History(history);
    #[command(alias = "resolve")]
    Resolved(resolved);
    RetryProvisioning(retry_provisioning);
    Action(action);
    #[command(hide = true, alias = "list-actions")]
    Actions(action);
    #[command(hide = true)]
    RunAction(action);
    #[command(hide = true, aliases = ["show-operation", "show-action-output"])]
    ShowTask(action);
    #[command(hide = true, aliases = ["list-operations", "show-action-status"])]
    Operations(action);
    #[command(hide = true, alias = "cancel-action")]
    CancelTask(action);
    #[command(visible_alias = "exec")]
    Run(run);
    Ssh(ssh);
    Scp(scp);
    #[command(visible_alias = "debug-hook")]
    DebugHooks(debug_hooks);
    AddMachine(add_machine);
    Machine(machine);
    #[command(visible_alias = "remove-relation")]
    DestroyRelation(destroy_relation);
    #[command(visible_alias = "remove-unit")]
    DestroyUnit(destroy_unit);
    #[command(visible_aliases = ["remove-machine", "terminate-machine"])]
    DestroyMachine(destroy_machine);
    #[command(visible_aliases = ["remove-service", "remove-application"])]
    DestroyService(destroy_service);
    Backup(backup);
    Restore(restore);
    Completion(completion);
    Version(version);
}
