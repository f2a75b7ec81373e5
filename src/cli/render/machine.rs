//! Tables of machines and their snapshots.

use super::record::moment;
use super::table::{Cell, columns};
use crate::api::{MachineEntry, SnapshotInfo};
use crate::cli::output::{BOLD, DIM, Paint, state_style};

const MACHINES: [&str; 11] =
    ["ID", "NAME", "INSTANCE", "KIND", "STATE", "ADDRESS", "MEM", "CORES", "UNITS", "SNAPSHOTS", "MESSAGE"];

pub fn machines(paint: Paint, machines: &[MachineEntry]) -> String {
    let row = |machine: &MachineEntry| -> [Cell; 11] {
        [
            Cell::styled(machine.machine.as_str(), BOLD),
            machine.name.clone().unwrap_or_default().into(),
            machine.instance.as_str().into(),
            machine.kind.clone().unwrap_or_default().into(),
            Cell::styled(machine.state.as_str(), state_style(&machine.state)),
            machine.address.clone().unwrap_or_default().into(),
            machine.mem.map(|mem| format!("{mem}M")).unwrap_or_default().into(),
            machine.cpu_cores.map(|cores| cores.to_string()).unwrap_or_default().into(),
            machine.units.join(",").into(),
            machine.snapshots.map(|count| count.to_string()).unwrap_or_default().into(),
            machine.info.clone().unwrap_or_default().into(),
        ]
    };
    columns(paint, MACHINES, &machines.iter().map(row).collect::<Vec<_>>())
}

pub fn snapshots(paint: Paint, snapshots: &[SnapshotInfo]) -> String {
    let row = |snapshot: &SnapshotInfo| -> [Cell; 3] {
        [
            Cell::styled(snapshot.name.as_str(), BOLD),
            Cell::styled(moment(&snapshot.taken), DIM),
            size(snapshot.size).into(),
        ]
    };
    columns(paint, ["NAME", "TAKEN", "SIZE"], &snapshots.iter().map(row).collect::<Vec<_>>())
}

/// In the largest unit of which it is one at least.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..1_048_576 => format!("{}K", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{}M", bytes >> 20),
        _ => format!("{:.1}G", bytes as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Paint = Paint { colour: false };

    #[test]
    fn each_machine_has_a_line() {
        let host = MachineEntry {
            machine: "0".into(),
            instance: "localhost".into(),
            state: "started".into(),
            address: Some("10.0.3.1".into()),
            mem: Some(8192),
            cpu_cores: Some(4),
            ..MachineEntry::default()
        };
        let stopped = MachineEntry {
            machine: "3".into(),
            name: Some("big-box".into()),
            instance: "ana-local-machine-3".into(),
            kind: Some("kvm".into()),
            state: "stopped".into(),
            units: vec!["log/0".into(), "mysql/0".into()],
            snapshots: Some(2),
            ..host.clone()
        };
        let pending = MachineEntry {
            machine: "4".into(),
            instance: "pending".into(),
            kind: Some("lxc".into()),
            state: "pending".into(),
            info: Some("copying machine 3".into()),
            ..MachineEntry::default()
        };
        insta::assert_snapshot!(machines(PLAIN, &[host, stopped, pending]), @r"
        ID NAME    INSTANCE            KIND STATE   ADDRESS  MEM   CORES UNITS         SNAPSHOTS MESSAGE
        0          localhost                started 10.0.3.1 8192M 4
        3  big-box ana-local-machine-3 kvm  stopped 10.0.3.1 8192M 4     log/0,mysql/0 2
        4          pending             lxc  pending                                              copying machine 3
        ");
    }

    #[test]
    fn each_snapshot_has_a_line() {
        let kept = |name: &str, size| SnapshotInfo { name: name.into(), taken: "2026-11-23T15:46:30Z".into(), size };
        let all = [kept("first", 12), kept("before-upgrade", 5 << 20), kept("whole", 3_221_225_472)];
        insta::assert_snapshot!(snapshots(PLAIN, &all), @r"
        NAME           TAKEN                SIZE
        first          2026-11-23 15:46:30Z 12B
        before-upgrade 2026-11-23 15:46:30Z 5M
        whole          2026-11-23 15:46:30Z 3.0G
        ");
    }
}
