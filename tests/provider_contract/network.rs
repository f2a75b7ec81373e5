//! The network: names, ports that open and close, and what is mended.

use std::process::Command;
use std::time::{Duration, Instant};

use encanto::provider::{ExecEnd, PublishedPort};

use crate::bed::Environment;
use crate::host::tool;
use crate::tools::{exec, run, shell, shell_on_host};

pub async fn names_are_known(on: &Environment) {
    let provider = &*on.provider;
    let (one, two) = (on.machine().await, on.name_of_one());
    let address = provider.create(&on.spec(&two)).await.unwrap().address.to_string();
    let tag = two.as_str().rsplit_once("-machine").map(|(_, number)| format!("machine{number}")).unwrap();
    assert!(run(provider, &one, &format!("getent ahostsv4 {tag}")).await.starts_with(&address));
    assert!(run(provider, &one, &format!("getent ahostsv4 {two}")).await.starts_with(&address));
    assert!(run(provider, &one, &format!("ping -c1 -W5 {tag}")).await.contains("1 received"));
    let archive = "sed -n 's|^deb .*] *[a-z]*://\\([^/:]*\\).*|\\1|p' /etc/apt/sources.list | head -n 1";
    run(provider, &one, &format!("getent ahostsv4 $({archive})")).await;
    provider.destroy(&two).await.unwrap();
    let ended = exec(provider, &one, shell(&format!("getent ahostsv4 {tag}")), b"").await;
    assert_ne!(ended.end, ExecEnd::Exited(0));
}

/// What a connection from the second network namespace, from the host, or from a machine reads.
fn reads(prefix: &str, address: &str, port: u16) -> String {
    let script = format!("exec 3<>/dev/tcp/{address}/{port} && head -n1 <&3");
    let output = Command::new("sh")
        .args(["-c", &format!("timeout 1 {prefix} bash -c '{script}' 2>/dev/null")])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Waits for a connection that must succeed: on a busy host the other side may need a moment.
#[track_caller]
fn serves(prefix: &str, address: &str, port: u16) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while reads(prefix, address, port) != "served" {
        assert!(Instant::now() < deadline, "{address}:{port} is not reached (from {prefix:?})");
    }
}

/// A host next to this one, which is gone when it is dropped.
struct Outside;

impl Outside {
    fn begin() -> Outside {
        let outside = Outside;
        shell_on_host(
            "ip netns add contractout && ip link add ctr-a type veth peer name ctr-b netns contractout && ip addr add \
             198.51.100.1/30 dev ctr-a && ip link set ctr-a up && ip -n contractout addr add 198.51.100.2/30 dev ctr-b && \
             ip -n contractout link set ctr-b up && ip -n contractout route add default via 198.51.100.1",
        );
        outside
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", "contractout"]).output();
        let _ = Command::new("ip").args(["link", "delete", "ctr-a"]).output();
    }
}

pub async fn ports_open_and_close(on: &Environment) {
    const SERVER: &str = "my $s = IO::Socket::INET->new(LocalPort => 7777, Listen => 9, ReuseAddr => 1) or die; \
                          while (my $c = $s->accept) { print $c \"served\\n\"; close $c }";
    let one = on.machine().await;
    let provider = &*on.provider;
    run(provider, &one, &format!("setsid perl -MIO::Socket::INET -e '{SERVER}' >/dev/null 2>&1 </dev/null &")).await;
    let address = provider.create(&on.spec(&one)).await.unwrap().address;
    let _outside = Outside::begin();
    let (outside, direct) = ("ip netns exec contractout", address.to_string());
    let mapped = PublishedPort { protocol: "tcp".into(), host_port: Some(17777), address, port: 7777 };
    let routed = PublishedPort { host_port: None, ..mapped.clone() };
    serves("", &direct, 7777); // the host always reaches its machines
    assert_eq!(reads(outside, &direct, 7777), "");
    provider.publish(std::slice::from_ref(&mapped)).await.unwrap();
    serves(outside, "198.51.100.1", 17777);
    assert_eq!(reads(outside, &direct, 7777), "", "only the host's port is open");
    serves("", "127.0.0.1", 17777);
    serves("", "198.51.100.1", 17777);
    let inside = "timeout 5 bash -c 'exec 3<>/dev/tcp/198.51.100.1/17777 && head -n1 <&3'";
    assert_eq!(run(provider, &one, inside).await, "served", "a machine reaches its own published port");
    provider.publish(&[routed]).await.unwrap();
    serves(outside, &direct, 7777);
    assert_eq!(reads(outside, "198.51.100.1", 17777), "");
    provider.publish(&[]).await.unwrap();
    assert_eq!(reads(outside, &direct, 7777), "");
}

pub async fn damage_is_told_and_mended(on: &Environment) {
    let provider = &*on.provider;
    let undisturbed = async || tokio::time::timeout(Duration::from_millis(300), provider.disturbed()).await.is_err();
    assert!(undisturbed().await);
    if !on.bed.is_real() {
        on.simulated().disturb("the firewall is gone");
    } else {
        let tables = tool("nft", &["list", "tables"]);
        let own = tables.lines().find(|table| table.contains(&on.name)).unwrap();
        shell_on_host(&format!("nft delete {own}"));
    }
    let told = tokio::time::timeout(Duration::from_secs(10), provider.disturbed()).await.unwrap();
    assert!(told.contains("firewall"), "{told}");
    provider.mend().await.unwrap();
    assert!(undisturbed().await, "what was mended is whole");
}
