//! What every provider promises: each promise told once, and tried on every bed that can keep it.
//!
//! ```text
//! cargo test --test provider_contract                       simulated machines
//! ENCANTO_TEST_LXC=1 …                                      LXC too; needs root, and minutes the first time
//! ENCANTO_TEST_LIBVIRT=1 …                                  libvirt-lxc and kvm too; libvirtd must run
//! cargo test --test provider_contract -- kvm::files         some of them
//! ```
//!
//! A bed has one environment whose machines its rules share, for a virtual machine takes long to come up; whatever
//! breaks or counts what all share has an environment of its own. No rule needs another one to have run before. When an
//! environment is done with, nothing of it may be left on the host, whether its rules held or not. That is why the
//! tests run themselves: the harness has no place for it.

#![allow(clippy::disallowed_methods, reason = "tests look at the host from outside the provider")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "test code outside of test functions too")]

#[path = "../support/abilities.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod abilities;
mod bed;
mod commands;
mod copies;
mod crash;
mod files;
#[path = "../support/host.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod host;
mod layers;
mod life;
mod names;
mod network;
mod promises;
mod remote;
mod runner;
mod simulated;
mod streams;
mod terminal;
mod tools;

use std::process::ExitCode;

use bed::Bed;
use runner::{Place, Rule};

const EVERY: &[Bed] = &Bed::ALL;
/// For what a simulated machine does not have: processes, a kernel, a network.
const REAL: &[Bed] = &[Bed::Lxc, Bed::LibvirtLxc, Bed::Kvm];
const CONTAINERS: &[Bed] = &[Bed::Lxc, Bed::LibvirtLxc];
const LXC: &[Bed] = &[Bed::Lxc];
const KVM: &[Bed] = &[Bed::Kvm];
const WITHOUT_HOST: &[Bed] = &[Bed::Simulated, Bed::Remote];
const SIMULATED_AND_LXC: &[Bed] = &[Bed::Simulated, Bed::Remote, Bed::Lxc];
const REMOTE: &[Bed] = &[Bed::Remote];

/// `place BEDS module { rules }`
macro_rules! contract {
    ($($place:ident $beds:ident $module:ident { $($rule:ident)+ })+) => {
        &[$($(Rule {
            name: concat!(stringify!($module), "::", stringify!($rule)),
            place: Place::$place,
            beds: $beds,
            run: |environment| Box::pin($module::$rule(environment)),
        }),+),+]
    };
}

const CONTRACT: &[Rule] = contract! {
    Shared EVERY life {
        a_machine_is_made_once
        a_stop_keeps_data_and_address
        a_destroyed_machine_is_gone
        a_stranger_is_told_apart
        the_end_is_told
        a_stop_behind_our_back_is_seen
        a_deletion_behind_our_back_is_survived
        machines_are_made_at_once
        an_unknown_kind_is_refused
    }
    Shared REAL life {
        the_machine_comes_up_whole
        the_usual_tools_look_around
        a_restart_from_inside_is_no_end
        whoever_is_held_still_is_shut_down_all_the_same
        whoever_is_held_still_is_destroyed_all_the_same
        limits_hold
    }
    Shared KVM life {
        one_whose_kernel_gives_up_boots_again
    }
    Shared EVERY names {
        odd_names_are_fine
        bad_names_are_refused
    }
    Own REAL names {
        what_somebody_else_gave_a_name_of_ours_is_left_alone
    }
    Shared REAL commands {
        commands_end_as_they_end
        arguments_arrive_as_they_are
        the_environment_is_small_and_as_asked
        users_have_their_groups
        a_stranger_is_refused
        many_run_at_once
    }
    Shared CONTAINERS commands {
        commands_are_in_the_machines_groups
    }
    Shared EVERY commands {
        time_is_limited
        a_kill_is_a_kill
        a_machine_that_does_not_run_takes_no_commands
    }
    Shared REAL streams {
        input_is_given_to_its_end
        input_that_nobody_reads_is_no_trouble
        much_goes_through
        much_comes_out_of_both
        nothing_is_held_up_by_what_is_left_behind
        whole_groups_are_killed
        whoever_is_killed_at_once_is_ended
    }
    Shared REAL terminal {
        terminals_have_a_size
        terminals_interrupt
        the_console_lets_root_in
    }
    Shared KVM terminal {
        a_login_that_is_left_comes_back_however_often
    }
    Shared EVERY files {
        files_keep_mode_and_owner
        large_files_are_whole
        too_large_is_refused
        a_missing_file_is_told
        trees_are_removed
        odd_names_are_kept
    }
    Shared REAL files {
        a_refused_write_changes_nothing
        links_lead_to_nowhere_outside
        folders_and_pipes_are_no_files
        mounts_of_the_machine_are_seen
    }
    Shared EVERY copies {
        a_clone_is_a_machine_of_its_own
        a_stopped_machine_is_cloned
        snapshots_are_given_back
        a_snapshot_of_a_stopped_machine
        snapshots_go_with_their_machine
        bad_snapshots_are_refused
    }
    Shared REAL copies {
        a_clone_has_a_name_and_an_id_of_its_own
    }
    Shared EVERY layers {
        a_layer_carries_over
        a_missing_layer_is_told
    }
    Shared REAL layers {
        layers_stack
    }
    Shared LXC layers {
        packages_are_installed_on_layers
    }
    Shared REAL network {
        names_are_known
    }
    Own REAL network {
        ports_open_and_close
    }
    Own SIMULATED_AND_LXC network {
        damage_is_told_and_mended
    }
    Own REAL crash {
        a_reboot_is_survived
        a_new_controller_finds_its_machines
        a_killed_controller_leaves_nothing_undone
    }
    Own REAL crash {
        half_a_snapshot_is_none
    }
    Shared REAL crash {
        commands_die_with_their_controller
    }
    Own WITHOUT_HOST simulated {
        it_fails_when_told
        it_answers_as_scripted
    }
    Own REMOTE remote {
        whoever_waits_learns_that_the_connection_is_lost
        the_next_call_connects_again
        what_nobody_waits_for_is_dropped
        much_goes_both_ways_beside_what_nobody_reads
        lines_about_long_work_come_through
        errors_keep_their_meaning
        another_version_is_refused
    }
};

fn main() -> ExitCode {
    if crash::plays_a_part() {
        return ExitCode::SUCCESS;
    }
    promises::are_tried(CONTRACT);
    runner::run(CONTRACT)
}
