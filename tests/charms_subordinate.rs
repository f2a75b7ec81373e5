//! The charm node-exporter, beside another unit, on a machine in memory.
#![allow(clippy::unwrap_used, clippy::panic)]

mod charm_world;
mod sandbox_support;

use std::sync::Arc;

use charm_world::World;
use encanto::charm::fake::{FakeMachine, said};
use sandbox_support::on_paused_clock;

const SETTINGS: &str = "/etc/default/prometheus-node-exporter";

/// mysql/0 with node-exporter/0 on its machine; the exporter has started and met it.
async fn beside() -> (World, Arc<FakeMachine>) {
    let mut world = World::new();
    let machine = FakeMachine::new();
    for (charm, unit) in [("mysql", "mysql/0"), ("node-exporter", "node-exporter/0")] {
        world.deploy(charm).await;
        world.add_unit(unit, "10.0.3.5", machine.clone());
    }
    machine.on(&["systemctl", "is-active"], [said(3, "inactive\n"), said(0, "active\n")]);
    world.relate(0, "node-exporter:info", "mysql:juju-info");
    world.hooks("node-exporter/0", &["install", "config-changed", "start"]).await;
    world.relation_hook("node-exporter/0", 0, "joined", "mysql/0").await;
    (world, machine)
}

fn restarts(machine: &FakeMachine) -> usize {
    machine.commands().iter().filter(|line| line.starts_with("systemctl restart")).count()
}

#[test]
fn it_serves_the_metrics_of_its_principals_machine() {
    on_paused_clock(async {
        let (mut world, machine) = beside().await;
        assert_eq!(machine.text(SETTINGS), "ARGS=\"--web.listen-address=10.0.3.5:9100\"\n");
        assert_eq!(world.status("node-exporter/0"), "active: metrics of mysql/0 on port 9100");
        assert_eq!(world.ports("node-exporter/0"), ["9100/tcp"]);
        assert_eq!(restarts(&machine), 1, "what does not change is not told again");
        world.deploy("haproxy").await;
        world.add_unit("haproxy/0", "10.0.3.6", FakeMachine::new());
        world.relate(1, "node-exporter:metrics", "haproxy:metrics");
        world.relation_hook("node-exporter/0", 1, "joined", "haproxy/0").await;
        let told = [("hostname", "10.0.3.5"), ("port", "9100")].map(|(key, value)| (key.into(), value.into()));
        assert_eq!(world.told(1, "node-exporter/0"), told.into());
        world.hooks("node-exporter/0", &["stop"]).await;
        assert_eq!(machine.file(SETTINGS), None);
        assert!(machine.commands().contains(&"systemctl stop prometheus-node-exporter".to_owned()));
    });
}

#[test]
fn its_options_take_effect_and_cannot_break_out_of_its_settings() {
    on_paused_clock(async {
        let (mut world, machine) = beside().await;
        world.set("node-exporter", "port", "9200");
        world.set("node-exporter", "collectors", "systemd, processes");
        world.hooks("node-exporter/0", &["config-changed"]).await;
        let applied = "ARGS=\"--web.listen-address=10.0.3.5:9200 --collector.systemd --collector.processes\"\n";
        assert_eq!((machine.text(SETTINGS).as_str(), restarts(&machine)), (applied, 2));
        assert_eq!(world.ports("node-exporter/0"), ["9200/tcp"]);
        world.set("node-exporter", "collectors", "x\" --web.config=/etc/shadow");
        world.hooks("node-exporter/0", &["config-changed"]).await;
        assert_eq!((machine.text(SETTINGS).as_str(), restarts(&machine)), (applied, 2));
        let status = world.status("node-exporter/0");
        assert!(status.starts_with("blocked: collectors: \"x\"\" cannot be"), "{status}");
    });
}

#[test]
fn an_exporter_that_does_not_answer_is_an_error() {
    on_paused_clock(async {
        let (mut world, machine) = beside().await;
        machine.on(&["bash"], [said(1, "connection refused")]);
        machine.on(&["journalctl"], [said(0, "no such flag\n")]);
        world.set("node-exporter", "port", "9300");
        let failed = world.try_hook("node-exporter/0", "config-changed").await.unwrap_err();
        assert!(failed.report().contains("does not answer on port 9300: no such flag"), "{}", failed.report());
        machine.on(&["bash"], [said(0, "")]);
        world.hooks("node-exporter/0", &["config-changed"]).await;
        assert_eq!(restarts(&machine), 3, "it is told again, for it may not have heard");
    });
}
