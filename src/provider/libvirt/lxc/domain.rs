//! What libvirt is told of a container. Pure.

use std::path::Path;

use crate::provider::libvirt::ownership::Owner;
use crate::provider::libvirt::xml::escape;
use crate::provider::local::driver::Machine;

/// Runs before the machine's own init.
const INIT: &str = include_str!("init.sh");

/// What root of a container can do without. libvirt itself takes away those for kernel modules, the clock, new device
/// nodes, resource limits and the audit log. With `dac_read_search` any file of the host can be opened by its number.
const DENIED: [&str; 12] = [
    "block_suspend",
    "dac_read_search",
    "lease",
    "linux_immutable",
    "mac_admin",
    "mac_override",
    "mknod",
    "sys_pacct",
    "sys_rawio",
    "sys_tty_config",
    "syslog",
    "wake_alarm",
];

/// A cfs period in microseconds: the kernel's own default.
const CPU_PERIOD: u64 = 100_000;

/// What the host has.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Megabytes.
    pub memory: u64,
    pub cores: u32,
    /// Its kernel counts memory and swap together.
    pub counts_swap: bool,
}

pub fn render_domain((machine, owner): (&Machine, &Owner), root: &Path, host: Host) -> String {
    let name = machine.label();
    let root = escape(&root.display().to_string());
    let denied: String = DENIED.iter().map(|capability| format!("      <{capability} state='off'/>\n")).collect();
    let wiring = &machine.wiring;
    format!(
        "\
<domain type='lxc'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <metadata>
    {metadata}
  </metadata>
{limits}  <os>
    <type>exe</type>
    <init>/bin/sh</init>
    <initarg>-c</initarg>
    <initarg>{init}</initarg>
    <initarg>{group}</initarg>
    <initarg>/sbin/init</initarg>
  </os>
  <features>
    <privnet/>
    <capabilities policy='default'>
{denied}    </capabilities>
  </features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <filesystem type='mount' accessmode='passthrough'>
      <source dir='{root}'/>
      <target dir='/'/>
    </filesystem>
    <interface type='bridge'>
      <source bridge='{bridge}'/>
      <mac address='{hardware}'/>
      <target dev='{cable}'/>
      <ip address='{address}' family='ipv4' prefix='{prefix}'/>
      <route family='ipv4' address='0.0.0.0' prefix='0' gateway='{gateway}'/>
      <guest dev='{interface}'/>
    </interface>
    <console type='pty'/>
  </devices>
</domain>
",
        uuid = owner.uuid(&machine.name),
        metadata = owner.metadata(),
        limits = render_limits(machine, host),
        init = escape(INIT),
        group = own_group(name),
        bridge = escape(&wiring.bridge),
        hardware = wiring.hardware,
        cable = escape(&wiring.cable),
        address = wiring.address,
        prefix = wiring.prefix,
        gateway = wiring.gateway,
        interface = wiring.interface,
    )
}

/// The container's group in hierarchies where libvirt makes none.
pub fn own_group(name: &str) -> String {
    format!("libvirt-{name}")
}

fn render_limits(machine: &Machine, host: Host) -> String {
    let record = &machine.record;
    // libvirt wants to hear a size in any case.
    let memory = record.memory.unwrap_or(host.memory).max(1);
    let mut text = format!("  <memory unit='MiB'>{memory}</memory>\n");
    if record.memory.is_some() && host.counts_swap {
        // Who is over the limit is killed; without this it would fill the host's swap first.
        let limit = |word: &str| format!("<{word} unit='MiB'>{memory}</{word}>");
        text += &format!("  <memtune>{}{}</memtune>\n", limit("hard_limit"), limit("swap_hard_limit"));
    }
    text += &format!("  <vcpu>{}</vcpu>\n", record.cores.unwrap_or(host.cores).max(1));
    if let Some(cores) = record.cores {
        let quota = u64::from(cores).saturating_mul(CPU_PERIOD);
        text += &format!("  <cputune><period>{CPU_PERIOD}</period><quota>{quota}</quota></cputune>\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::provider::InstanceName;
    use crate::provider::local::driver::Wiring;
    use crate::provider::local::record::InstanceRecord;

    fn sample(memory: Option<u64>, cores: Option<u32>, host: Host) -> String {
        let machine = Machine {
            name: InstanceName::new("ana-local-machine-1").unwrap(),
            record: InstanceRecord {
                kind: "libvirt-lxc".into(),
                address: Ipv4Addr::new(10, 160, 0, 2),
                image: "bookworm".into(),
                layers: Vec::new(),
                memory,
                cores,
                build: false,
                origin: None,
            },
            wiring: Wiring::sample(),
        };
        render_domain((&machine, &Owner::new("ana-local-1")), Path::new("/var/lib/it's/<root>"), host)
    }

    const HOST: Host = Host { memory: 4096, cores: 8, counts_swap: true };

    #[test]
    fn the_address_is_fixed_and_known_before_the_start() {
        let text = sample(None, None, HOST);
        assert!(text.contains("<ip address='10.160.0.2' family='ipv4' prefix='22'/>"), "{text}");
        assert!(text.contains("<route family='ipv4' address='0.0.0.0' prefix='0' gateway='10.160.0.1'/>"), "{text}");
        assert!(text.contains("<mac address='02:e4:c0:a0:00:02'/>"), "{text}");
        assert!(text.contains("<target dev='ve1'/>") && text.contains("<guest dev='eth0'/>"), "{text}");
    }

    #[test]
    fn limits_are_told_where_there_are_any() {
        let limited = sample(Some(256), Some(2), HOST);
        assert!(limited.contains("<memory unit='MiB'>256</memory>"), "{limited}");
        assert!(limited.contains("<swap_hard_limit unit='MiB'>256</swap_hard_limit>"), "{limited}");
        assert!(limited.contains("<quota>200000</quota>"), "{limited}");
        let unlimited = sample(None, None, HOST);
        assert!(unlimited.contains("<memory unit='MiB'>4096</memory>"), "{unlimited}");
        assert!(!unlimited.contains("memtune") && !unlimited.contains("cputune"), "{unlimited}");
        let plain = sample(Some(256), None, Host { counts_swap: false, ..HOST });
        assert!(!plain.contains("swap"), "a key that the kernel does not have: {plain}");
    }

    #[test]
    fn whatever_a_path_and_the_script_have_in_them_is_text() {
        let text = sample(None, None, HOST);
        assert!(text.contains("<source dir='/var/lib/it&apos;s/&lt;root&gt;'/>"), "{text}");
        assert!(text.contains("&lt;/proc/self/cgroup\nexec unshare"), "{text}");
        let open = text.matches('<').count();
        assert_eq!(open, text.matches('>').count(), "{text}");
    }

    #[test]
    fn it_says_whose_it_is() {
        let owner = Owner::new("ana-local-1");
        let text = sample(None, None, HOST);
        assert!(text.contains(&owner.metadata()), "{text}");
        assert!(text.contains(&owner.uuid(&InstanceName::new("ana-local-machine-1").unwrap())), "{text}");
    }
}
