//! The actions of the charms that come with the program, on machines in memory.
#![allow(clippy::unwrap_used, clippy::panic)]

mod charm_world;
mod sandbox_support;

use std::sync::Arc;

use charm_world::World;
use encanto::charm::fake::{FakeMachine, said};
use sandbox_support::on_paused_clock;

/// Databases that every server has, and two of clients.
const DATABASES: &str = "information_schema\nmediawiki\nmysql\nperformance_schema\nshop\nsys\n";

async fn server() -> (World, Arc<FakeMachine>) {
    let (mut world, machine) = (World::new(), FakeMachine::new());
    machine.on(&["ip"], [said(0, "2: eth0    inet 10.0.3.5/24 brd 10.0.3.255 scope global eth0")]);
    world.deploy("mysql").await;
    world.add_unit("mysql/0", "10.0.3.5", machine.clone());
    world.hooks("mysql/0", &["install", "config-changed", "start"]).await;
    machine.on(&["mariadb"], [said(0, DATABASES)]);
    (world, machine)
}

/// The last command, without the script that it runs.
fn last(machine: &FakeMachine) -> Vec<String> {
    let argv = machine.execs().pop().unwrap().argv;
    assert_eq!(argv[..2], ["bash", "-c"]);
    argv[3..].to_vec()
}

fn summary(result: Result<String, encanto::charm::HookError>) -> String {
    result.unwrap_err().summary()
}

#[test]
fn mysql_saves_one_database_or_all() {
    on_paused_clock(async {
        let (mut world, machine) = server().await;
        // No server is there to write the file; that it does is tried with real machines.
        for call in ["shop", ""] {
            let typed = [("database", call)];
            let error = summary(world.action("mysql/0", "backup", &typed).await);
            let ran = last(&machine);
            assert!(error.contains("the dump has left no file "), "nothing was written: {error}");
            let name = if call.is_empty() { "all" } else { call };
            let file = ran[1].strip_prefix(&format!("/var/backups/mysql/{name}-")).unwrap();
            assert!(file.len() == "20261123T154630Z.sql.gz".len() && file.ends_with("Z.sql.gz"), "{file}");
            let saved = if call.is_empty() { ["mediawiki", "shop"].to_vec() } else { vec!["shop"] };
            assert_eq!(
                (ran[0].as_str(), ran[2..].to_vec()),
                ("backup", saved.iter().map(|s| (*s).to_owned()).collect())
            );
        }
        let unknown = world.action("mysql/0", "backup", &[("database", "shops")]).await;
        assert!(summary(unknown).ends_with("there is no database \"shops\"; there are: mediawiki, shop"));
        machine.on(&["mariadb"], [said(0, "mysql\nsys\n")]);
        assert!(summary(world.action("mysql/0", "backup", &[]).await).ends_with("there is no database to save"));
    });
}

#[test]
fn mysql_puts_back_what_is_there_and_only_where_it_is_written_to() {
    on_paused_clock(async {
        let (mut world, machine) = server().await;
        let file = [("file", "/var/backups/mysql/shop-20261123T154630Z.sql.gz")];
        let missing = summary(world.action("mysql/0", "restore", &file).await);
        assert!(missing.ends_with(&format!("there is no file {} on this machine", file[0].1)), "{missing}");
        machine.put(file[0].1, "a dump");
        let done = world.action("mysql/0", "restore", &file).await.unwrap();
        assert_eq!(done, format!(r#"{{"databases":"mediawiki, shop","file":"{}"}}"#, file[0].1));
        let mut restores = machine.execs().into_iter().filter(|call| call.argv[0] == "bash");
        assert_eq!(restores.next_back().unwrap().argv[3..], ["restore", file[0].1]);
        machine.on(&["bash"], [said(1, "ERROR 1064 at line 3: You have an error in your SQL syntax")]);
        assert!(world.action("mysql/0", "restore", &file).await.unwrap_err().report().contains("ERROR 1064"));

        world.add_unit("mysql/1", "10.0.3.6", machine.clone());
        let copy = summary(world.action("mysql/1", "restore", &file).await);
        assert!(copy.ends_with("this unit is a copy: restore on the leader, and its copies follow"), "{copy}");
    });
}

async fn wiki() -> (World, Arc<FakeMachine>) {
    let (mut world, site) = (World::new(), FakeMachine::new());
    site.on(&["sha256sum"], [said(0, "0123456789abcdef0123456789abcdef0123456789abcdef  -")]);
    site.on(&["php", "/usr/local/share/encanto-mediawiki/install.php"], [said(0, "installed\n")]);
    world.deploy("mysql").await;
    world.deploy("mediawiki").await;
    world.add_unit("mysql/0", "10.0.3.5", FakeMachine::new());
    world.add_unit("mediawiki/0", "10.0.3.6", site.clone());
    world.hooks("mediawiki/0", &["install", "config-changed", "start"]).await;
    world.relate(0, "mysql:db", "mediawiki:db");
    (world, site)
}

#[test]
fn a_wiki_makes_accounts_and_tells_the_passwords_it_made() {
    on_paused_clock(async {
        let (mut world, site) = wiki().await;
        let early = world.action("mediawiki/0", "create-user", &[("name", "ann")]).await;
        assert!(summary(early).ends_with("the wiki is not installed yet: it has no database"));
        world.tell(0, "mysql/0", &[("host", "10.0.3.5"), ("database", "w"), ("user", "w"), ("password", "db-secret")]);
        world.relation_hook("mediawiki/0", 0, "changed", "mysql/0").await;

        site.on(&["php", "/usr/local/share/encanto-mediawiki/account.php"], [said(0, "Ann")]);
        let done =
            world.action("mediawiki/0", "create-user", &[("name", "ann"), ("administrator", "yes")]).await.unwrap();
        let call = site.execs().pop().unwrap();
        let made = call.env["ACCOUNT_PASSWORD"].clone();
        assert_eq!((made.len(), done), (20, format!(r#"{{"name":"Ann","password":"{made}"}}"#)));
        assert_eq!((call.env["ACCOUNT_IS"].as_str(), call.user.as_deref()), ("new", Some("www-data")));
        assert_eq!(call.env["ACCOUNT_GROUPS"], "sysop,bureaucrat,interface-admin");

        let given = [("name", "ann"), ("password", "correct-horse")];
        let done = world.action("mediawiki/0", "reset-password", &given).await.unwrap();
        assert_eq!(done, r#"{"name":"Ann"}"#, "who gave it knows it");
        let call = site.execs().pop().unwrap();
        assert_eq!(
            (call.env["ACCOUNT_IS"].as_str(), call.env["ACCOUNT_PASSWORD"].as_str()),
            ("known", "correct-horse")
        );
        let own = world.action("mediawiki/0", "reset-password", &[("name", "admin")]).await;
        assert!(summary(own).contains("encanto set mediawiki admin-password="));
        for hidden in [made.as_str(), "correct-horse"] {
            assert!(!world.log("mediawiki/0").contains(hidden));
            assert!(site.commands().iter().all(|line| !line.contains(hidden)), "no process list shows it");
        }
    });
}
