//! A database server and a site that uses it, on machines in memory.

use std::sync::Arc;

use encanto::charm::fake::{FakeMachine, said};

use super::World;

pub const LOCAL_SETTINGS: &str = "/etc/mediawiki/LocalSettings.php";

/// A machine on which a database server or a web server can be imagined.
pub fn machine(address: &str) -> Arc<FakeMachine> {
    let machine = FakeMachine::new();
    let listed = format!("2: eth0    inet {address}/24 brd 10.0.3.255 scope global eth0");
    machine.on(&["ip"], [said(0, &listed)]);
    machine.on(&["sha256sum"], [said(0, "0123456789abcdef0123456789abcdef0123456789abcdef  -")]);
    machine.on(&["php", "/usr/local/share/encanto-mediawiki/install.php"], [said(0, "installed\n")]);
    machine
}

/// mysql/0 runs, and `web`/0 is started and related to it, but no relation hook has run.
pub async fn stage(web: &str) -> (World, Arc<FakeMachine>, Arc<FakeMachine>) {
    let mut world = World::new();
    let (db, site) = (machine("10.0.3.5"), machine("10.0.3.6"));
    let unit = format!("{web}/0");
    world.deploy("mysql").await;
    world.deploy(web).await;
    world.add_unit("mysql/0", "10.0.3.5", db.clone());
    world.add_unit(&unit, "10.0.3.6", site.clone());
    for name in ["mysql/0", &unit] {
        world.hooks(name, &["install", "config-changed", "start"]).await;
    }
    // From here on what was started runs.
    db.on(&["systemctl", "is-active"], [said(0, "active\n")]);
    world.relate(0, "mysql:db", &format!("{web}:db"));
    (world, db, site)
}

pub async fn join(world: &mut World, web: &str) {
    world.relation_hook("mysql/0", 0, "joined", &format!("{web}/0")).await;
    world.relation_hook(&format!("{web}/0"), 0, "joined", "mysql/0").await;
    world.relation_hook(&format!("{web}/0"), 0, "changed", "mysql/0").await;
}

pub fn sql(machine: &FakeMachine) -> String {
    let runs = machine.execs().into_iter().filter(|call| call.argv[0] == "mariadb");
    runs.map(|call| String::from_utf8(call.stdin).unwrap()).collect()
}
