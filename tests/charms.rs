//! The charms that come with the program, on machines in memory: what they tell each other, what they write, and that
//! a hook may be cut off anywhere and run again.
#![allow(clippy::unwrap_used, clippy::panic)]

mod charm_world;
mod sandbox_support;

use std::collections::BTreeMap;

use charm_world::World;
use charm_world::sites::{LOCAL_SETTINGS, join, sql, stage};
use encanto::charm::fake::{FakeMachine, said};
use encanto::charm::{CharmHost, Limits, builtin_charm, builtin_charms};
use sandbox_support::on_paused_clock;

const CHARMS: [&str; 6] = ["haproxy", "mediawiki", "memcached", "mysql", "node-exporter", "wordpress"];
const BLOG_SETTINGS: &str = "/etc/wordpress/config-default.php";
const HOSTILE: &str = "it's \\ {{name}} <?php";

#[test]
fn every_charm_declares_what_classic_bundles_expect() {
    on_paused_clock(async {
        let host = CharmHost::new(Limits::default());
        assert!(CHARMS.iter().all(|name| builtin_charms().iter().any(|found| found == name)));
        let mut endpoints = Vec::new();
        for name in CHARMS {
            let meta = host.load(&builtin_charm(name).unwrap()).await.unwrap_or_else(|error| panic!("{error}"));
            assert!(meta.prepares && meta.series == ["bookworm"], "{name}");
            assert!(meta.config.values().all(|option| !option.description.is_empty()), "{name}");
            endpoints.extend(
                meta.endpoints().map(|(role, endpoint, decl)| format!("{name} {role:?} {endpoint}:{}", decl.interface)),
            );
        }
        assert_eq!(
            endpoints,
            [
                "haproxy Requirer reverseproxy:http",
                "haproxy Provider website:http",
                "haproxy Peer peer:haproxy-peer",
                "mediawiki Requirer db:mysql",
                "mediawiki Requirer cache:memcache",
                "mediawiki Provider website:http",
                "memcached Provider cache:memcache",
                "mysql Provider db:mysql",
                "mysql Peer cluster:mysql-cluster",
                "node-exporter Requirer info:juju-info",
                "node-exporter Provider metrics:prometheus",
                "wordpress Requirer db:mysql",
                "wordpress Provider website:http",
                "wordpress Peer loadbalancer:wordpress-loadbalancer",
            ]
        );
    });
}

#[test]
fn prepare_installs_without_starting_and_leaves_no_helper() {
    on_paused_clock(async {
        for name in CHARMS {
            let mut world = World::new();
            let scratch = FakeMachine::new();
            world.deploy(name).await;
            let unit = format!("{name}/0");
            world.add_unit(&unit, "10.0.3.5", scratch.clone());
            world.prepare(&unit).await;
            let commands = scratch.commands();
            assert!(commands.iter().any(|line| line.starts_with("apt-get install")), "{commands:?}");
            assert!(
                !commands.iter().any(|line| line.contains("systemctl start") || line.contains("systemctl restart"))
            );
            assert_eq!(scratch.file("/usr/sbin/policy-rc.d"), None);
            assert_eq!(scratch.file("/etc/apt/apt.conf.d/95encanto-install"), None);
            let service = match name {
                "mysql" => "mariadb",
                "haproxy" | "memcached" => name,
                "node-exporter" => "prometheus-node-exporter",
                _ => "apache2",
            };
            let dropin = scratch.text(&format!("/etc/systemd/system/{service}.service.d/encanto.conf"));
            assert!(dropin.contains("ConditionPathExists="), "{dropin}");
        }
    });
}

#[test]
fn a_failed_installation_leaves_no_helper_either() {
    on_paused_clock(async {
        let scratch = FakeMachine::new();
        scratch.put("/usr/sbin/policy-rc.d", "the image's own");
        scratch.on(&["apt-get"], [said(100, "E: no space")]);
        let host = CharmHost::new(Limits::default());
        let sink = encanto::charm::fake::FakeSink::new();
        let done = host.prepare(&builtin_charm("mysql").unwrap(), scratch.clone(), sink).await;
        assert!(done.unwrap_err().report().contains("no space"));
        assert_eq!(scratch.file("/etc/apt/apt.conf.d/95encanto-install"), None);
        assert_eq!(scratch.text("/usr/sbin/policy-rc.d"), "the image's own");
    });
}

#[test]
fn mysql_gives_each_service_a_database_and_a_user_of_its_own() {
    on_paused_clock(async {
        let (mut world, db, _) = stage("mediawiki").await;
        world.relation_hook("mysql/0", 0, "joined", "mediawiki/0").await;
        let told = [
            ("database", "mediawiki"),
            ("host", "10.0.3.5"),
            ("password", "(secret)"),
            ("port", "3306"),
            ("slave", "False"),
            ("user", "mediawiki_0"),
        ];
        assert_eq!(world.told(0, "mysql/0"), told.map(|(key, value)| (key.into(), value.into())).into());
        let statements = sql(&db);
        let account = "'mediawiki_0'@'10.0.3.0/255.255.255.0'";
        assert!(statements.contains(&format!("CREATE USER IF NOT EXISTS {account};")), "{statements}");
        assert!(statements.contains(&format!("GRANT ALL PRIVILEGES ON `mediawiki`.* TO {account};")), "{statements}");

        let first = world.value(0, "mysql/0", "password");
        assert_eq!(first.len(), 32);
        world.relation_hook("mysql/0", 0, "joined", "mediawiki/0").await;
        assert_eq!(world.value(0, "mysql/0", "password"), first, "running it again keeps the password");
        assert!(!world.log("mysql/0").contains(&first));
        assert!(db.commands().iter().all(|line| !line.contains(&first)), "no process list shows it");
    });
}

#[test]
fn mysql_binds_to_its_address_and_tells_the_running_server_its_options() {
    on_paused_clock(async {
        let (mut world, db, _) = stage("mediawiki").await;
        assert!(db.text("/etc/mysql/mariadb.conf.d/90-encanto.cnf").contains("bind-address = 10.0.3.5\n"));
        world.set("mysql", "max-connections", "400");
        world.set("mysql", "innodb-buffer-pool-size", "1G");
        world.hooks("mysql/0", &["config-changed"]).await;
        let options = db.text("/etc/mysql/mariadb.conf.d/91-encanto-options.cnf");
        assert!(options.contains("max_connections = 400\ninnodb_buffer_pool_size = 1073741824\n"), "{options}");
        assert!(sql(&db).contains("SET GLOBAL max_connections = 400;"));
        assert!(!db.commands().iter().any(|line| line.contains("restart")), "clients stay connected");

        let before = db.commands().len();
        world.hooks("mysql/0", &["config-changed"]).await;
        assert_eq!(db.commands()[before..], ["systemctl is-active mariadb"], "nothing changed, nothing is told");

        world.set("mysql", "max-allowed-packet", "a lot");
        let error = world.try_hook("mysql/0", "config-changed").await.unwrap_err();
        assert!(error.report().contains("option max-allowed-packet: "), "{}", error.report());
    });
}

#[test]
fn mysql_drops_the_user_and_keeps_the_data_unless_told_otherwise() {
    on_paused_clock(async {
        for (option, dropped) in [("false", false), ("true", true)] {
            let (mut world, db, _) = stage("mediawiki").await;
            world.relation_hook("mysql/0", 0, "joined", "mediawiki/0").await;
            world.set("mysql", "drop-databases", option);
            // Every query is answered by this; none but the first asks for such lines.
            db.on(&["mariadb"], [said(0, "'mediawiki_0'\t'10.0.3.0/255.255.255.0'\n"), said(0, ""), said(0, "41\n")]);
            world.relation_hook("mysql/0", 0, "broken", "").await;
            let statements = sql(&db);
            assert!(statements.contains("DROP USER IF EXISTS 'mediawiki_0'@'10.0.3.0/255.255.255.0';"), "{statements}");
            assert_eq!(statements.contains("DROP DATABASE IF EXISTS `mediawiki`;"), dropped);
            assert!(db.commands().contains(&"mariadb --execute KILL 41".to_owned()));
        }
    });
}

#[test]
fn a_site_waits_for_its_database_and_serves_with_it() {
    on_paused_clock(async {
        for (web, settings) in [("mediawiki", LOCAL_SETTINGS), ("wordpress", BLOG_SETTINGS)] {
            let (mut world, _, site) = stage(web).await;
            let unit = format!("{web}/0");
            let needs = format!("blocked: needs a mysql relation: add-relation {web} mysql");
            // Started with the relation not there yet.
            assert_eq!(world.status(&unit), needs);
            world.relation_hook(&unit, 0, "joined", "mysql/0").await;
            assert_eq!(world.status(&unit), "waiting: waiting for the database");
            assert_eq!((site.file(settings), world.ports(&unit)), (None, vec![]));

            join(&mut world, web).await;
            assert_eq!(world.status(&unit), "active: ready");
            assert_eq!(world.ports(&unit), ["80/tcp"]);
            let (text, file) = (site.text(settings), site.file(settings).unwrap());
            assert!(text.contains(&format!("'{web}_0'")) && text.contains(&world.value(0, "mysql/0", "password")));
            assert_eq!((file.attributes.mode, file.attributes.group.as_deref()), (Some(0o640), Some("www-data")));
            assert!(site.commands().contains(&"systemctl start apache2".to_owned()));

            // A second relation hook finds everything done: it checks, and writes or installs nothing.
            let before = site.commands().len();
            world.relation_hook(&unit, 0, "changed", "mysql/0").await;
            let again = site.commands()[before..].join("\n");
            assert!(!again.contains("php") && !again.contains("reload"), "{again}");

            world.relation_hook(&unit, 0, "departed", "mysql/0").await;
            assert_eq!((site.file(settings), world.ports(&unit)), (None, vec![]));
            world.relation_hook(&unit, 0, "broken", "").await;
            assert_eq!(world.status(&unit), needs);
        }
    });
}

#[test]
fn a_website_is_announced_only_while_it_is_served() {
    on_paused_clock(async {
        for web in ["mediawiki", "wordpress"] {
            let (mut world, _, _) = stage(web).await;
            let unit = format!("{web}/0");
            // Any service that asks for a website will do.
            world.deploy("mysql").await;
            world.relate(1, &format!("{web}:website"), "haproxy:reverseproxy");
            world.relation_hook(&unit, 1, "joined", "haproxy/0").await;
            assert_eq!(world.told(1, &unit), BTreeMap::new());
            join(&mut world, web).await;
            let told = [("hostname", "10.0.3.6"), ("port", "80")].map(|(key, value)| (key.into(), value.into()));
            assert_eq!(world.told(1, &unit), told.into());
            world.relation_hook(&unit, 0, "broken", "").await;
            assert_eq!(world.told(1, &unit), BTreeMap::new());
        }
    });
}

#[test]
fn options_of_a_site_take_effect_and_cannot_break_out_of_its_settings() {
    on_paused_clock(async {
        let (mut world, _, site) = stage("mediawiki").await;
        join(&mut world, "mediawiki").await;
        site.on(&["systemctl", "is-active"], [said(0, "active\n")]);
        world.set("mediawiki", "name", HOSTILE);
        world.set("mediawiki", "skin", "monobook");
        world.set("mediawiki", "debug", "true");
        world.hooks("mediawiki/0", &["config-changed"]).await;
        let text = site.text(LOCAL_SETTINGS);
        assert!(text.contains("$wgSitename = 'it\\'s \\\\ {{name}} <?php';\n"), "{text}");
        assert!(text.contains("$wgDefaultSkin = 'monobook';\n") && text.contains("if ( true ) {"), "{text}");
        assert!(site.commands().contains(&"systemctl reload-or-restart apache2".to_owned()));

        let (mut world, _, site) = stage("wordpress").await;
        join(&mut world, "wordpress").await;
        world.set("wordpress", "server-url", HOSTILE);
        world.hooks("wordpress/0", &["config-changed"]).await;
        let text = site.text(BLOG_SETTINGS);
        assert!(text.contains("$encanto_url = 'it\\'s \\\\ {{name}} <?php';\n"), "{text}");
    });
}

#[test]
fn an_administrators_password_is_applied_and_never_seen() {
    on_paused_clock(async {
        let scripts = [("mediawiki", "account.php", "ACCOUNT_PASSWORD"), ("wordpress", "setup.php", "ADMIN_PASSWORD")];
        for (web, script, variable) in scripts {
            let (mut world, _, site) = stage(web).await;
            let unit = format!("{web}/0");
            join(&mut world, web).await;
            world.set(web, "admin-password", "correct-horse");
            site.on(&["sha256sum"], [said(0, "ffff0000ffff0000ffff0000ffff0000ffff0000  -")]);
            world.hooks(&unit, &["config-changed"]).await;
            let runs: Vec<_> =
                site.execs().into_iter().filter(|call| call.argv[1..].concat().ends_with(script)).collect();
            assert_eq!(runs.last().unwrap().env[variable], "correct-horse");
            assert_eq!(runs.last().unwrap().user.as_deref(), Some("www-data"));
            let password = world.value(0, "mysql/0", "password");
            let config = &world.services[web].set;
            let mut hidden = vec![password, "correct-horse".to_owned()];
            hidden.push(config["secret-key"].to_string());
            for secret in hidden {
                assert!(!world.log(&unit).contains(&secret) && !world.status(&unit).contains(&secret));
                assert!(site.commands().iter().all(|line| !line.contains(&secret)), "{secret} in a command");
            }
        }
    });
}

#[test]
fn a_relation_hook_that_is_cut_off_anywhere_can_be_run_again() {
    on_paused_clock(async {
        for web in ["mediawiki", "wordpress"] {
            let unit = format!("{web}/0");
            let settings = if web == "mediawiki" { LOCAL_SETTINGS } else { BLOG_SETTINGS };
            let mut cuts = 0;
            loop {
                let (mut world, db, site) = stage(web).await;
                db.fail_call(cuts + 1, "the controller is gone");
                if world.try_relation_hook("mysql/0", 0, "joined", &unit).await.is_err() {
                    world.relation_hook("mysql/0", 0, "joined", &unit).await;
                }
                // The site may be running already when its hook is run again; then it must be told of its settings.
                site.fail_call(cuts + 1, "the controller is gone");
                let cut = world.try_relation_hook(&unit, 0, "joined", "mysql/0").await.is_err();
                if cut {
                    site.on(&["systemctl", "is-active"], [said(0, "active\n")]);
                    let written = site.file(settings).is_some();
                    let told = site.file(&format!("/run/encanto/{web}.changed")).is_none();
                    world.relation_hook(&unit, 0, "joined", "mysql/0").await;
                    let reloaded = site.commands().iter().any(|line| line.contains("reload"));
                    assert!(told || !written || reloaded, "{web} cut at {cuts}");
                }
                assert_eq!(world.status(&unit), "active: ready", "{web} cut at {cuts}");
                assert_eq!(site.file(&format!("/run/encanto/{web}.changed")), None, "{web} cut at {cuts}");
                assert!(site.file(settings).is_some(), "{web} cut at {cuts}");
                if !cut {
                    break;
                }
                cuts += 1;
            }
            assert!(cuts > 8, "{web} has only {cuts} places to be cut at");
        }
    });
}

#[test]
fn memcached_takes_the_caches_when_it_is_related() {
    on_paused_clock(async {
        let (mut world, _, site) = stage("mediawiki").await;
        join(&mut world, "mediawiki").await;
        assert!(site.text(LOCAL_SETTINGS).contains("$wgMainCacheType = CACHE_DB;"));
        world.add_unit("memcached/0", "10.0.3.9", FakeMachine::new());
        world.relate(2, "mediawiki:cache", "memcached:cache");
        let told = [("host".into(), encanto::model::Setting::plain("10.0.3.9"))];
        let relation = world.relations.get_mut(&encanto::model::RelationId(2)).unwrap();
        relation.settings.insert(charm_world::unit("memcached/0"), told.into());
        world.relation_hook("mediawiki/0", 2, "changed", "memcached/0").await;
        let text = site.text(LOCAL_SETTINGS);
        assert!(
            text.contains("$wgMainCacheType = CACHE_MEMCACHED;\n$wgMemCachedServers = ['10.0.3.9:11211'];"),
            "{text}"
        );
        world.relation_hook("mediawiki/0", 2, "broken", "").await;
        assert!(site.text(LOCAL_SETTINGS).contains("$wgMainCacheType = CACHE_DB;"));
    });
}
