//! Virtual machines that are somebody's and were adopted: they keep their disks and their definition, and get a second
//! network card while they are ours. Nothing of it is written into what libvirt keeps: it ends with the next start from
//! outside, or is taken away at the release.

use std::path::Path;
use std::time::Duration;

use virt::domain::Domain;
use virt::error::Error;

use super::agent::Agent;
use super::domains::Domains;
use super::inner::run_inside;
use super::way::{LibvirtWay, Way as _};
use crate::provider::libvirt::ownership::is_somebodys_instance;
use crate::provider::libvirt::xml::{ask, elements, escape, said};
use crate::provider::local::container::guest::TABLE;
use crate::provider::local::driver::Wiring;
use crate::provider::{Foreign, InstanceName, InstanceState, ProviderError};

/// The guest agent's port, as libvirt names it.
const AGENT: &str = "org.qemu.guest_agent.0";

/// For an operator's shell.
const URI: &str = "qemu:///system";

/// How long the machine has to let the card go.
const UNPLUG_LIMIT: Duration = Duration::from_secs(20);

/// Between two looks: libvirt tells of it by an event loop, of which there is one a process.
const PAUSE: Duration = Duration::from_millis(100);

/// What comes in by our card is answered by it; the machine's own default route is left alone.
const PLUG: &str = r#"
set -e
hardware=$1 name=$2 network=$3 address=$4 gateway=$5 table=$6
card= tries=0
while [ -z "$card" ]; do
    for folder in /sys/class/net/*; do
        [ "$(cat "$folder/address" 2>/dev/null)" != "$hardware" ] || card=${folder##*/}
    done
    tries=$((tries + 1))
    [ -n "$card" ] || { [ $tries -lt 100 ] && sleep 0.1; } || { echo "its new network card does not appear" >&2; exit 1; }
done
[ "$card" = "$name" ] || { ip link set "$card" down; ip link set "$card" name "$name"; }
ip address replace "$network" dev "$name"
ip link set "$name" up
ip route replace default via "$gateway" dev "$name" table "$table"
ip rule delete from "$address" lookup "$table" 2>/dev/null || true
ip rule add from "$address" lookup "$table"
"#;

/// The rule, our helper and its folder.
const UNPLUG: &str = r#"
ip rule delete from "$1" lookup "$2" 2>/dev/null
for process in /proc/[0-9]*; do
    case "$(tr '\0' ' ' <"$process/cmdline" 2>/dev/null)" in
        "perl /run/encanto/guest.pl "*) kill "${process#/proc/}" ;;
    esac
done
rm -rf /run/encanto
"#;

/// One adopted machine, which runs.
pub struct Adopted<'a> {
    pub domains: Domains,
    pub name: InstanceName,
    pub way: LibvirtWay,
    pub wiring: &'a Wiring,
}

impl Adopted<'_> {
    /// Connects the machine unless it is connected.
    pub async fn plug(&self) -> Result<(), ProviderError> {
        let Wiring { hardware, interface, address, prefix, gateway, .. } = self.wiring;
        if !self.has_card() {
            let xml = self.card();
            let live = virt_sys::VIR_DOMAIN_AFFECT_LIVE;
            self.domains.with(&self.name, move |domain| domain.attach_device_flags(&xml, live).map(drop)).await?;
        }
        let (network, address) = (format!("{address}/{prefix}"), address.to_string());
        let words = ["/bin/sh", "-c", PLUG, "sh", hardware, interface, &network, &address, &gateway.to_string(), TABLE];
        run_inside(&Agent::new(&self.way), &words, b"").await
    }

    /// Takes away all that was added.
    pub async fn unplug(&self) -> Result<(), ProviderError> {
        let words = ["/bin/sh", "-c", UNPLUG, "sh", &self.wiring.address.to_string(), TABLE];
        // A machine whose agent has ended meanwhile is given back, too; what is left in it ends with its next boot.
        if let Err(error) = run_inside(&Agent::new(&self.way), &words, b"").await {
            tracing::warn!("{} keeps a rule and our helper until it is booted again: {error}", self.name);
        }
        self.way.remove_port().await?;
        if !self.has_card() {
            return Ok(());
        }
        let xml = self.card();
        let live = virt_sys::VIR_DOMAIN_AFFECT_LIVE;
        self.domains.with(&self.name, move |domain| domain.detach_device_flags(&xml, live).map(drop)).await?;
        let gone = async {
            while self.has_card() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(UNPLUG_LIMIT, gone).await.map_err(|_| {
            let output = "the machine does not let its second network card go".to_owned();
            ProviderError::NotReady { name: self.name.clone(), seconds: UNPLUG_LIMIT.as_secs(), output }
        })
    }

    fn has_card(&self) -> bool {
        Path::new("/sys/class/net").join(&self.wiring.cable).exists()
    }

    fn card(&self) -> String {
        let Wiring { bridge, cable, hardware, .. } = self.wiring;
        format!(
            "<interface type='bridge'><mac address='{}'/><source bridge='{}'/><target dev='{}'/>\
             <model type='virtio'/></interface>",
            escape(hardware),
            escape(bridge),
            escape(cable)
        )
    }
}

/// What libvirt says of a domain.
pub struct Seen {
    pub name: String,
    active: bool,
    xml: String,
    made: bool,
    persistent: bool,
}

pub fn see(domain: &Domain) -> Result<Seen, Error> {
    Ok(Seen {
        name: domain.get_name()?,
        active: domain.is_active()?,
        xml: domain.get_xml_desc(0)?,
        made: is_somebodys_instance(domain)?,
        persistent: domain.is_persistent()?,
    })
}

/// As it would be adopted.
pub async fn look_at(seen: Seen, kind: &str, domains: &Domains) -> Foreign {
    let obstacle = obstacle(&seen);
    let series = match InstanceName::new(seen.name.as_str()) {
        Ok(name) if obstacle.is_none() => series(&domains.way(name)).await,
        _ => None,
    };
    let state = if seen.active { InstanceState::Running } else { InstanceState::Stopped };
    Foreign { kind: kind.to_owned(), name: seen.name, state, series, obstacle }
}

fn obstacle(seen: &Seen) -> Option<String> {
    let Seen { name, active, xml, made, persistent } = seen;
    let agent = ask(xml, |domain| {
        let port = elements(domain, "channel").find(|channel| said(*channel, "target", "name") == Some(AGENT))?;
        Some(said(port, "target", "state") == Some("connected"))
    });
    if *made {
        Some("it is a machine of another environment".to_owned())
    } else if InstanceName::new(name.as_str()).is_err() {
        Some("its name has other characters than letters, digits, -, _ and .: virsh domrename".to_owned())
    } else if !persistent {
        Some("libvirt forgets it when it stops: virsh define keeps it".to_owned())
    } else if agent.is_none() {
        Some("it has no port for a guest agent: virsh edit, and install qemu-guest-agent in it".to_owned())
    } else if !active {
        Some(format!("what is in it can only be seen while it runs: virsh -c {URI} start {name}"))
    } else if agent == Some(false) {
        Some("its guest agent does not answer: install qemu-guest-agent in it".to_owned())
    } else {
        None
    }
}

/// The release's name, from the system's own description.
async fn series(way: &LibvirtWay) -> Option<String> {
    let described = way.ask(serde_json::json!({"execute": "guest-get-osinfo"})).await.ok()?;
    codename(described.get("version")?.as_str()?)
}

/// `bookworm` of `12 (bookworm)`, `noble` of `24.04.1 LTS (Noble Numbat)`.
fn codename(version: &str) -> Option<String> {
    let (_, rest) = version.split_once('(')?;
    let first = rest.strip_suffix(')')?.split(' ').next()?;
    Some(first.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(active: bool, xml: &str) -> Seen {
        Seen { name: "web".into(), active, xml: xml.into(), made: false, persistent: true }
    }

    #[test]
    fn what_stands_in_the_way_is_told_with_what_to_do() {
        let channel = |state: &str| {
            format!("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'{state}/></channel>")
        };
        let told = |active, xml: &str| obstacle(&seen(active, xml)).unwrap_or_default();
        assert!(told(true, "<devices/>").contains("no port for a guest agent"));
        assert!(told(false, &channel("")).contains("start web"));
        assert!(told(true, &channel(" state='disconnected'")).contains("does not answer"));
        assert_eq!(told(true, &channel(" state='connected'")), "");
        let odd = Seen { name: "my web".into(), ..seen(true, &channel(" state='connected'")) };
        assert!(obstacle(&odd).unwrap().contains("domrename"));
    }

    #[test]
    fn the_release_is_in_brackets() {
        assert_eq!(codename("12 (bookworm)").as_deref(), Some("bookworm"));
        assert_eq!(codename("24.04.1 LTS (Noble Numbat)").as_deref(), Some("noble"));
        assert_eq!(codename("42"), None);
    }
}
