//! Copies of a database: how they are made, kept, made anew, and take over, on machines in memory.
#![allow(clippy::unwrap_used, clippy::panic)]

mod charm_world;
mod sandbox_support;

use std::sync::Arc;

use charm_world::World;
use charm_world::sites::{LOCAL_SETTINGS, machine, sql, stage};
use encanto::charm::ExecResult;
use encanto::charm::fake::{FakeMachine, said};
use sandbox_support::on_paused_clock;

/// mysql/0 leads with a client, mysql/1 is started; their cluster relation is 1, the client's 0.
async fn pair() -> (World, Arc<FakeMachine>, Arc<FakeMachine>) {
    let (mut world, first, _) = stage("mediawiki").await;
    let second = machine("10.0.3.7");
    world.add_unit("mysql/1", "10.0.3.7", second.clone());
    world.relate(0, "mysql:db", "mediawiki:db");
    world.relate(1, "mysql:cluster", "mysql:cluster");
    world.hooks("mysql/1", &["install", "config-changed", "start"]).await;
    (world, first, second)
}

/// What MariaDB says of a copy, of which nothing is told that it is behind if it has an error.
fn account(host: &str, error: &str) -> ExecResult {
    let names = "Master_Host\tSlave_IO_Running\tSlave_SQL_Running\tSeconds_Behind_Master\tLast_SQL_Error";
    let values = if error.is_empty() { "Yes\tYes\t3" } else { "Yes\tNo\tNULL" };
    said(0, &format!("{names}\n{host}\t{values}\t{error}\n"))
}

const HOW_IT_GOES: [&str; 4] = ["mariadb", "--batch", "--execute", "SHOW SLAVE STATUS"];

/// The copy keeps up with `host`.
fn copying(machine: &FakeMachine, host: &str) {
    machine.on(&HOW_IT_GOES, [account(host, "")]);
}

fn copies_made(machine: &FakeMachine) -> usize {
    machine.execs().iter().filter(|call| call.argv[0] == "bash").count()
}

#[test]
fn a_second_database_unit_copies_the_leader_and_is_told_to_clients_as_a_copy() {
    on_paused_clock(async {
        let (mut world, first, second) = pair().await;
        assert_eq!(world.status("mysql/1"), "waiting: waiting for the unit that is to be copied");
        world.relation_hook("mysql/0", 0, "joined", "mediawiki/0").await;
        world.relation_hook("mysql/0", 1, "joined", "mysql/1").await;
        assert_eq!(world.status("mysql/0"), "active: ready, 1 replica");
        assert!(sql(&first).contains("GRANT SLAVE MONITOR, BINLOG MONITOR ON *.* TO 'mediawiki_0'@"));

        copying(&second, "10.0.3.5");
        world.relation_hook("mysql/1", 1, "changed", "mysql/0").await;
        assert_eq!(world.status("mysql/1"), "active: replicating from mysql/0, 3 s behind");
        assert!(second.text("/etc/mysql/mariadb.conf.d/92-encanto-replica.cnf").contains("read_only = 1\n"));
        let dump = second.execs().into_iter().find(|call| call.argv[0] == "bash").unwrap();
        assert_eq!(dump.env["SOURCE_HOST"], "10.0.3.5");
        assert!(sql(&second).contains("CHANGE MASTER TO MASTER_HOST = '10.0.3.5'"));
        let (primary, copy) = (world.told(0, "mysql/0"), world.told(0, "mysql/1"));
        assert_eq!((&*primary["slave"], &*copy["slave"], &*copy["host"]), ("False", "True", "10.0.3.7"));
        assert_eq!(world.value(0, "mysql/1", "password"), world.value(0, "mysql/0", "password"));
        for key in ["password", "client-0"] {
            let hidden = world.value(1, "mysql/0", key);
            assert_eq!(world.told(1, "mysql/0")[key], "(secret)");
            assert!(!world.log("mysql/1").contains(&hidden));
            assert!(second.commands().iter().all(|line| !line.contains(&hidden)));
        }

        // Nothing is copied a second time.
        world.relation_hook("mysql/1", 1, "changed", "mysql/0").await;
        assert_eq!(copies_made(&second), 1);
        assert_eq!(sql(&second).matches("CHANGE MASTER").count(), 1);

        // The wiki writes to one and reads from both.
        world.relation_hook("mediawiki/0", 0, "changed", "mysql/1").await;
        let site = world.units[&charm_world::unit("mediawiki/0")].machine.clone();
        let text = String::from_utf8(site.read(LOCAL_SETTINGS).await.unwrap().unwrap()).unwrap();
        let found = [text.find("'host' => '10.0.3.5:3306'"), text.find("'host' => '10.0.3.7:3306'")];
        assert!(found[0].is_some() && found[0] < found[1], "{text}");
        assert!(text.contains("$wgDBserver = '10.0.3.5:3306';\n"), "{text}");
        // With replicas CACHE_DB would call itself without end.
        assert!(text.contains("$wgMainCacheType = 'primary';\n") && !text.contains("CACHE_DB"), "{text}");
    });
}

#[test]
fn a_copy_that_does_not_fit_any_more_is_made_anew_until_it_is_whole() {
    on_paused_clock(async {
        let (mut world, _, second) = pair().await;
        world.relation_hook("mysql/0", 0, "joined", "mediawiki/0").await;
        world.relation_hook("mysql/0", 1, "joined", "mysql/1").await;
        copying(&second, "10.0.3.5");
        world.relation_hook("mysql/1", 1, "changed", "mysql/0").await;
        assert_eq!(world.told(0, "mysql/1")["host"], "10.0.3.7");

        let broken = "Duplicate entry '1' for key 'si_page'";
        let [went, goes] = [account("10.0.3.5", broken), account("10.0.3.5", "")];
        second.on(&HOW_IT_GOES, [went.clone(), went.clone(), goes]);
        second.on(&["bash"], [said(1, "no space left"), said(0, "")]);
        let error = world.try_relation_hook("mysql/1", 1, "changed", "mysql/0").await.unwrap_err();
        assert!(error.report().contains("no space left"), "{}", error.report());
        assert!(world.log("mysql/1").contains(&format!("copying mysql/0 anew, as replication ended: {broken}")));
        // MariaDB may say of half a copy that all is well.
        world.relation_hook("mysql/1", 1, "changed", "mysql/0").await;
        assert_eq!(
            (copies_made(&second), &*world.status("mysql/1")),
            (3, "active: replicating from mysql/0, 3 s behind")
        );
        world.relation_hook("mysql/1", 1, "changed", "mysql/0").await;
        assert_eq!(copies_made(&second), 3);

        // What a new copy does not mend is told, and clients are not sent there.
        second.on(&HOW_IT_GOES, [went]);
        world.relation_hook("mysql/1", 1, "changed", "mysql/0").await;
        assert_eq!(world.status("mysql/1"), format!("blocked: not replicating from mysql/0: {broken}"));
        assert_eq!((copies_made(&second), world.told(0, "mysql/1").get("host")), (4, None));
    });
}

#[test]
fn half_a_copy_is_completed_before_it_takes_over() {
    on_paused_clock(async {
        let (mut world, _, second) = pair().await;
        world.relation_hook("mysql/0", 1, "joined", "mysql/1").await;
        copying(&second, "10.0.3.5");
        second.on(&["bash"], [said(1, "cut off"), said(0, "")]);
        world.try_relation_hook("mysql/1", 1, "changed", "mysql/0").await.unwrap_err();

        world.dying.insert(charm_world::unit("mysql/0"));
        let asks = ["mariadb", "--batch", "--skip-column-names", "--connect-timeout=10"];
        second.on(&asks, [said(0, "0-1-77\n")]);
        world.hooks("mysql/1", &["start"]).await;
        assert_eq!((copies_made(&second), &*world.status("mysql/1")), (2, "active: ready, 1 replica"));
        assert!(sql(&second).contains("MASTER_GTID_WAIT('0-1-77'"));

        // With nobody left who has the data there is nothing to serve.
        let (mut world, _, second) = pair().await;
        world.relation_hook("mysql/0", 1, "joined", "mysql/1").await;
        second.on(&["bash"], [said(1, "cut off")]);
        world.try_relation_hook("mysql/1", 1, "changed", "mysql/0").await.unwrap_err();
        world.dying.insert(charm_world::unit("mysql/0"));
        world.leave(1, "mysql/0");
        let error = world.try_hook("mysql/1", "start").await.unwrap_err();
        assert!(error.report().contains("was cut off and nobody has them"), "{}", error.report());

        // Half a copy of an earlier unit of the machine is nothing to anybody.
        second.on(&["mariadb", "--batch", "--skip-column-names"], [said(0, "mysql\nmediawiki\n"), said(0, "")]);
        second.put("/var/lib/mysql/encanto-copy-unfinished", "mysql/9");
        world.hooks("mysql/1", &["start"]).await;
        assert_eq!(world.status("mysql/1"), "active: ready");
        assert!(sql(&second).contains("DROP DATABASE `mediawiki`;"), "{}", sql(&second));
        assert_eq!(second.file("/var/lib/mysql/encanto-copy-unfinished"), None);
    });
}

#[test]
fn a_copy_takes_over_when_the_leader_is_removed() {
    on_paused_clock(async {
        let (mut world, first, second) = pair().await;
        world.relation_hook("mysql/0", 0, "joined", "mediawiki/0").await;
        world.relation_hook("mysql/0", 1, "joined", "mysql/1").await;
        copying(&second, "10.0.3.5");
        world.relation_hook("mysql/1", 1, "changed", "mysql/0").await;
        let password = world.value(0, "mysql/0", "password");
        for server in ["mysql/0", "mysql/1"] {
            world.relation_hook("mediawiki/0", 0, "changed", server).await;
        }
        assert_eq!(world.status("mediawiki/0"), "active: ready");

        world.dying.insert(charm_world::unit("mysql/0"));
        world.set("mysql", "drop-databases", "true");
        world.relation_hook("mysql/0", 0, "broken", "").await;
        assert!(!sql(&first).contains("DROP"), "what another unit takes over is not dropped");

        // Who reads the wiki meanwhile is served by the copy.
        world.relation_hook("mediawiki/0", 0, "departed", "mysql/0").await;
        let read_only = "waiting: read only: waiting for a database that can be written to";
        assert_eq!((world.status("mediawiki/0"), world.ports("mediawiki/0").len()), (read_only.into(), 1));
        let site = world.units[&charm_world::unit("mediawiki/0")].machine.clone();
        assert!(site.read(LOCAL_SETTINGS).await.unwrap().is_some());

        let asks = ["mariadb", "--batch", "--skip-column-names", "--connect-timeout=10"];
        second.on(&asks, [said(0, "0-1-77\n")]);
        second.on(&["mariadb", "--batch", "--skip-column-names"], [said(0, "0\n")]);
        world.relation_hook("mysql/1", 1, "departed", "mysql/0").await;
        let statements = sql(&second);
        let order = ["SET GLOBAL read_only = 1; SELECT", "MASTER_GTID_WAIT('0-1-77'", "SET GLOBAL read_only = 0;"];
        let places: Vec<_> = order.iter().map(|text| statements.rfind(text)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} {statements}");
        assert_eq!(second.file("/etc/mysql/mariadb.conf.d/92-encanto-replica.cnf"), None);
        assert_eq!(world.status("mysql/1"), "active: ready");
        assert_eq!(world.told(0, "mysql/1")["slave"], "False");
        assert_eq!(world.value(0, "mysql/1", "password"), password, "clients stay with the password they know");
    });
}

#[test]
fn a_server_that_leaves_lets_nobody_in_and_cuts_nobody_off() {
    on_paused_clock(async {
        let (mut world, first, _) = pair().await;
        let accounts = "'mediawiki_0'\t'10.0.3.0/255.255.255.0'\n'root'\t'localhost'\n'PUBLIC'\t''\n";
        // A reader ends; of a copy that has turned to another leader only the server itself does not know.
        let inside = "10.0.3.6:4001\n10.0.3.7:4002\n";
        first.on(
            &["mariadb", "--batch", "--skip-column-names"],
            [said(0, accounts), said(0, ""), said(0, inside), said(0, inside)],
        );
        let [reading, done] = [said(0, "0 0 10.0.3.5:3306 10.0.3.6:4001 \n"), said(0, "")];
        first.on(&["ss"], [reading, done]);
        first.on(&["systemctl", "is-active", "mariadb"], [said(0, "active\n")]);
        let before = first.commands().len();
        world.hooks("mysql/0", &["stop"]).await;
        let lock = "SET SESSION sql_log_bin = 0;\nALTER USER 'mediawiki_0'@'10.0.3.0/255.255.255.0' ACCOUNT LOCK;\n";
        assert!(sql(&first).contains(&format!("{lock}SELECT")), "{}", sql(&first));
        let commands = first.commands().split_off(before);
        assert_eq!(commands.iter().filter(|line| line.starts_with("ss ")).count(), 2, "{commands:?}");
        assert_eq!(commands.iter().position(|line| line == "systemctl stop mariadb"), Some(commands.len() - 1));
    });
}
