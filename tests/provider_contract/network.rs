//! The network of real machines: names, and ports that open and close.

use std::process::Command;
use std::time::{Duration, Instant};

use encanto::provider::{ExecEnd, InstanceName, Provider, PublishedPort};

use super::{exec, host, machine, run, shell, spec};

pub(super) async fn names_are_known(provider: &dyn Provider, one: &InstanceName) {
    let two = machine(2);
    let made = provider.create(&spec(two.clone())).await.unwrap();
    let address = made.address.to_string();
    assert!(run(provider, one, "getent ahostsv4 machine-2").await.starts_with(&address));
    assert!(run(provider, one, &format!("getent ahostsv4 {two}")).await.starts_with(&address));
    assert!(run(provider, one, "ping -c1 -W2 machine-2").await.contains("1 received"));
    let archive = "sed -n 's|^deb .*] *[a-z]*://\\([^/:]*\\).*|\\1|p' /etc/apt/sources.list | head -n 1";
    run(provider, one, &format!("getent ahostsv4 $({archive})")).await;
    provider.destroy(&two).await.unwrap();
    let ended = exec(provider, one, shell("getent ahostsv4 machine-2"), b"").await;
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
    let deadline = Instant::now() + Duration::from_secs(15);
    while reads(prefix, address, port) != "served" {
        assert!(Instant::now() < deadline, "{address}:{port} is not reached (from {prefix:?})");
    }
}

pub(super) async fn ports_open_and_close(provider: &dyn Provider, one: &InstanceName) {
    const SERVER: &str = "my $s = IO::Socket::INET->new(LocalPort => 7777, Listen => 9, ReuseAddr => 1) or die; \
                          while (my $c = $s->accept) { print $c \"served\\n\"; close $c }";
    run(provider, one, &format!("setsid perl -MIO::Socket::INET -e '{SERVER}' >/dev/null 2>&1 </dev/null &")).await;
    let address = provider.create(&spec(one.clone())).await.unwrap().address;
    assert!(host(
        "ip netns add h1out && ip link add h1a type veth peer name h1b netns h1out && ip addr add 198.51.100.1/30 dev \
         h1a && ip link set h1a up && ip -n h1out addr add 198.51.100.2/30 dev h1b && ip -n h1out link set h1b up && \
         ip -n h1out route add default via 198.51.100.1"
    ));
    let (outside, direct) = ("ip netns exec h1out", address.to_string());
    let mapped = PublishedPort { protocol: "tcp".into(), host_port: Some(17777), address, port: 7777 };
    let routed = PublishedPort { host_port: None, ..mapped.clone() };
    serves("", &direct, 7777); // the host always reaches its machines
    assert_eq!(reads(outside, &direct, 7777), "");
    provider.publish(std::slice::from_ref(&mapped)).await.unwrap();
    serves(outside, "198.51.100.1", 17777);
    assert_eq!(reads(outside, &direct, 7777), "", "only the host's port is open");
    serves("", "127.0.0.1", 17777);
    serves("", "198.51.100.1", 17777);
    let inside = "timeout 2 bash -c 'exec 3<>/dev/tcp/198.51.100.1/17777 && head -n1 <&3'";
    assert_eq!(run(provider, one, inside).await, "served", "a machine reaches its own published port");
    provider.publish(&[routed]).await.unwrap();
    serves(outside, &direct, 7777);
    assert_eq!(reads(outside, "198.51.100.1", 17777), "");
    provider.publish(&[]).await.unwrap();
    assert_eq!(reads(outside, &direct, 7777), "");
    assert!(host("ip netns delete h1out"));
}
