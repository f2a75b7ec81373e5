//! The charms that keep nothing themselves, haproxy and memcached, on machines in memory.
#![allow(clippy::unwrap_used, clippy::panic)]

mod charm_world;
mod sandbox_support;

use std::sync::Arc;

use charm_world::World;
use encanto::charm::fake::{FakeMachine, said};
use sandbox_support::on_paused_clock;

const BALANCER: &str = "/etc/haproxy/haproxy.cfg";

/// haproxy/0 is started; mediawiki/0 and mediawiki/1 are in relation 0 and tell where they are.
async fn balanced() -> (World, Arc<FakeMachine>) {
    let mut world = World::new();
    let balancer = FakeMachine::new();
    for charm in ["haproxy", "mediawiki"] {
        world.deploy(charm).await;
    }
    world.add_unit("haproxy/0", "10.0.3.4", balancer.clone());
    world.hooks("haproxy/0", &["install", "config-changed", "start"]).await;
    balancer.on(&["systemctl", "is-active"], [said(0, "active\n")]);
    for (unit, address) in [("mediawiki/0", "10.0.3.6"), ("mediawiki/1", "10.0.3.7")] {
        world.add_unit(unit, address, FakeMachine::new());
    }
    world.relate(0, "mediawiki:website", "haproxy:reverseproxy");
    for (unit, address) in [("mediawiki/0", "10.0.3.6"), ("mediawiki/1", "10.0.3.7")] {
        world.tell(0, unit, &[("hostname", address), ("port", "80")]);
    }
    (world, balancer)
}

/// What haproxy says of its servers.
fn servers(machine: &FakeMachine, states: &[(&str, &str)]) {
    let rows = states.iter().map(|(name, state)| format!("mediawiki,{name},{state},L7OK\n"));
    let text = format!("# pxname,svname,status,check_status\n{}", rows.collect::<String>());
    machine.on(&["socat"], [said(0, &text)]);
}

#[test]
fn the_balancer_follows_the_units_of_a_website() {
    on_paused_clock(async {
        let (mut world, machine) = balanced().await;
        assert_eq!(world.status("haproxy/0"), "blocked: answers 503: needs a website: add-relation haproxy mediawiki");
        assert_eq!(world.ports("haproxy/0"), ["80/tcp"]);
        assert!(machine.text(BALANCER).contains("\tdefault_backend haproxy.none\n"));

        servers(&machine, &[("mediawiki-0", "UP"), ("mediawiki-1", "DOWN")]);
        world.relation_hook("haproxy/0", 0, "joined", "mediawiki/0").await;
        let text = machine.text(BALANCER);
        assert!(text.contains("\tdefault_backend mediawiki\n") && text.contains("\tbalance roundrobin\n"), "{text}");
        assert!(text.contains("\tserver mediawiki-0 10.0.3.6:80\n\tserver mediawiki-1 10.0.3.7:80\n"), "{text}");
        assert_eq!(world.status("haproxy/0"), "active: 1 of 2 servers up; down: mediawiki-1");
        let reloads = |machine: &FakeMachine| {
            let commands = machine.commands();
            assert!(!commands.iter().any(|line| line.contains("restart haproxy") && !line.contains("reload")));
            commands.iter().filter(|line| line.contains("reload-or-restart haproxy")).count()
        };
        assert_eq!(reloads(&machine), 1);

        world.relation_hook("haproxy/0", 0, "changed", "mediawiki/1").await;
        assert_eq!((reloads(&machine), machine.text(BALANCER)), (1, text), "nothing changed, nothing is done");

        servers(&machine, &[("mediawiki-0", "UP")]);
        world.relation_hook("haproxy/0", 0, "departed", "mediawiki/1").await;
        assert!(!machine.text(BALANCER).contains("mediawiki-1"));
        assert_eq!((reloads(&machine), &*world.status("haproxy/0")), (2, "active: 1 of 1 server up"));
        world.leave(0, "mediawiki/1");

        world.tell(0, "mediawiki/0", &[("hostname", "10.0.3.6\n\tserver evil 1.2.3.4")]);
        world.relation_hook("haproxy/0", 0, "changed", "mediawiki/0").await;
        assert!(!machine.text(BALANCER).contains("evil"));
        assert_eq!(world.status("haproxy/0"), "waiting: answers 503: waiting for a server of mediawiki");
        world.relation_hook("haproxy/0", 0, "broken", "").await;
        assert!(world.status("haproxy/0").starts_with("blocked: answers 503: needs a website"));
    });
}

#[test]
fn a_configuration_that_haproxy_refuses_changes_nothing() {
    on_paused_clock(async {
        let (mut world, machine) = balanced().await;
        world.relation_hook("haproxy/0", 0, "joined", "mediawiki/0").await;
        let (good, runs) = (machine.text(BALANCER), machine.commands().len());
        let alert = "[ALERT]    (7) : config : parsing [/etc/haproxy/candidate.cfg:40] : unknown keyword 'nonsense'";
        machine.on(&["haproxy", "-c"], [said(1, alert)]);
        world.set("haproxy", "backend-options", "nonsense");
        world.hooks("haproxy/0", &["config-changed"]).await;
        let refused = "blocked: configuration refused, the one before stays: unknown keyword 'nonsense'";
        assert_eq!(world.status("haproxy/0"), refused);
        world.set("haproxy", "health-check-path", "/ HTTP/1.0\n");
        world.hooks("haproxy/0", &["config-changed"]).await;
        assert!(world.status("haproxy/0").contains("option health-check-path: is no path"));
        assert_eq!(machine.text(BALANCER), good);
        assert_eq!(machine.file("/etc/haproxy/candidate.cfg"), None);
        assert!(!machine.commands()[runs..].iter().any(|line| line.contains("systemctl")));
    });
}

#[test]
fn options_of_the_balancer_reach_its_configuration() {
    on_paused_clock(async {
        let (mut world, machine) = balanced().await;
        world.set("haproxy", "algorithm", "leastconn");
        world.set("haproxy", "sticky-sessions", "true");
        world.set("haproxy", "health-check-path", "/it's?up=1");
        world.set("haproxy", "health-check-interval", "7");
        world.set("haproxy", "timeout", "33");
        world.set("haproxy", "hosts", "wiki.example.org=mediawiki blog.example.org=wordpress");
        world.set("haproxy", "stats", "true");
        world.set("haproxy", "stats-password", "it's secret");
        world.hooks("haproxy/0", &["config-changed"]).await;
        let text = machine.text(BALANCER);
        for line in [
            "balance leastconn",
            "cookie ENCANTO_SERVER insert indirect nocache httponly",
            "server mediawiki-0 10.0.3.6:80 cookie mediawiki-0",
            "timeout server 33s",
            "use_backend mediawiki if { req.hdr(host),field(1,:) -i wiki.example.org }",
            "use_backend haproxy.none if { req.hdr(host),field(1,:) -i blog.example.org }",
            "user 'admin' insecure-password 'it'\\''s secret'",
            "http-request auth realm statistics unless { http_auth(haproxy.stats) }",
        ] {
            assert!(text.contains(&format!("\t{line}\n")), "{line}: {text}");
        }
        assert!(text.contains(" uri '/it'\\''s?up=1' ") && text.contains("check inter 7s "), "{text}");
        assert_eq!(machine.file(BALANCER).unwrap().attributes.mode, Some(0o640));
        assert_eq!(world.ports("haproxy/0"), ["80/tcp"], "the statistics are not for everybody");
        assert!(!world.log("haproxy/0").contains("it's secret"));
    });
}

#[test]
fn memcached_lets_in_related_units_and_nobody_else() {
    on_paused_clock(async {
        let mut world = World::new();
        let machine = FakeMachine::new();
        world.deploy("memcached").await;
        world.deploy("mediawiki").await;
        world.add_unit("memcached/0", "10.0.3.9", machine.clone());
        machine.on(&["systemctl", "is-active"], [said(3, "inactive\n"), said(0, "active\n")]);
        world.hooks("memcached/0", &["install", "config-changed", "start"]).await;
        let settings = machine.text("/etc/memcached.conf");
        assert!(settings.contains("-l 10.0.3.9\n-l 127.0.0.1\n-m 64\n-c 1024\n"), "{settings}");
        let rules = || machine.text("/etc/memcached.nft");
        assert!(rules().contains("reject") && !rules().contains("saddr"), "{}", rules());
        assert_eq!(world.ports("memcached/0"), Vec::<String>::new());

        world.add_unit("mediawiki/0", "10.0.3.6", FakeMachine::new());
        world.add_unit("mediawiki/1", "10.0.3.7", FakeMachine::new());
        world.relate(0, "mediawiki:cache", "memcached:cache");
        world.tell(0, "mediawiki/0", &[("private-address", "10.0.3.6")]);
        world.tell(0, "mediawiki/1", &[("private-address", "10.0.3.7")]);
        world.relation_hook("memcached/0", 0, "joined", "mediawiki/0").await;
        assert!(rules().contains("ip saddr { 10.0.3.6, 10.0.3.7 } accept\n"), "{}", rules());
        let told = [("host", "10.0.3.9"), ("port", "11211")].map(|(key, value)| (key.into(), value.into()));
        assert_eq!(world.told(0, "memcached/0"), told.into());
        assert_eq!(world.status("memcached/0"), "active: ready, 2 clients");

        let loads = || machine.commands().iter().filter(|line| line.starts_with("nft")).count();
        let before = loads();
        world.relation_hook("memcached/0", 0, "changed", "mediawiki/1").await;
        assert_eq!(loads(), before, "nothing changed, nothing is done");
        world.relation_hook("memcached/0", 0, "departed", "mediawiki/1").await;
        assert!(rules().contains("ip saddr { 10.0.3.6 } accept\n"), "{}", rules());
        assert_eq!(loads(), before + 1);
        assert!(!machine.commands().iter().any(|line| line.contains("restart")), "what is cached stays");

        world.set("memcached", "memory", "128");
        world.hooks("memcached/0", &["config-changed"]).await;
        assert!(machine.text("/etc/memcached.conf").contains("-m 128\n"));
        assert!(machine.commands().contains(&"systemctl restart memcached".to_owned()));
        world.relation_hook("memcached/0", 0, "broken", "").await;
        assert!(!rules().contains("saddr"));
    });
}
