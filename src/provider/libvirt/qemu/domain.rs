//! What libvirt is told of a machine. Pure.

use std::fmt::Write as _;
use std::path::Path;

use super::disks::Boot;
use crate::provider::libvirt::xml::escape;
use crate::provider::local::driver::Wiring;

/// What runs a machine's processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's own, through the kernel.
    Kvm,
    /// QEMU itself, an order of magnitude slower.
    Emulation,
}

/// What differs between processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform {
    pub arch: &'static str,
    pub machine: &'static str,
    pub console: &'static str,
}

impl Platform {
    pub fn host() -> Self {
        match std::env::consts::ARCH {
            "aarch64" => Self { arch: "aarch64", machine: "virt", console: "ttyAMA0" },
            // On others the driver does not open: there is no image for them.
            _ => Self { arch: "x86_64", machine: "pc", console: "ttyS0" },
        }
    }
}

/// What machines have in common that can begin with the same memory.
#[derive(Clone, Debug)]
pub struct Shape {
    pub accelerator: Accelerator,
    pub platform: Platform,
    /// Megabytes.
    pub memory: u64,
    pub cores: u32,
    pub boot: Boot,
}

/// A machine as libvirt is to make it.
#[derive(Clone, Copy, Debug)]
pub struct DomainConfig<'a> {
    pub name: &'a str,
    pub uuid: &'a str,
    /// Our element, which says whose it is.
    pub metadata: &'a str,
    pub shape: &'a Shape,
    pub disk: &'a Path,
    /// `None` for a template: it has a cable that leads nowhere.
    pub wiring: Option<&'a Wiring>,
    /// Where the console's output is kept; libvirt's log daemon bounds its length.
    pub console_log: &'a Path,
}

/// What the machine shall be, as `guest/wire` understands it.
pub fn identity(name: &str, uuid: &str, wiring: &Wiring) -> Vec<String> {
    let Wiring { address, prefix, gateway, hardware, .. } = wiring;
    vec![
        format!("name={name}"),
        format!("address={address}/{prefix}"),
        format!("gateway={gateway}"),
        format!("hardware={hardware}"),
        format!("id={}", uuid.replace('-', "")),
    ]
}

/// The whole definition. Machines that differ in name, disk and wiring only have the same devices at the same places, so
/// that the memory of one fits the other.
pub fn render_domain(config: &DomainConfig<'_>) -> String {
    let DomainConfig { name, uuid, metadata, shape, .. } = config;
    let Shape { accelerator, platform, memory, cores, boot } = shape;
    let (kind, processor) = match accelerator {
        Accelerator::Kvm => ("kvm", "<cpu mode='host-passthrough'/>"),
        Accelerator::Emulation => ("qemu", ""),
    };
    let (arch, machine) = (platform.arch, platform.machine);
    let path = |path: &Path| escape(&path.display().to_string());
    let (kernel, initrd, disk, log) =
        (path(&boot.kernel), path(&boot.initrd), path(config.disk), path(config.console_log));
    let words = escape(&command_line(config));
    let network = render_network(config.wiring);
    format!(
        "\
<domain type='{kind}'>
 <name>{name}</name>
 <uuid>{uuid}</uuid>
 <metadata>{metadata}</metadata>
 <memory unit='MiB'>{memory}</memory>
 <vcpu>{cores}</vcpu>
 <os>
  <type arch='{arch}' machine='{machine}'>hvm</type>
  <kernel>{kernel}</kernel>
  <initrd>{initrd}</initrd>
  <cmdline>{words}</cmdline>
 </os>
 <features><acpi/></features>
 {processor}
 <clock offset='utc'/>
 <on_poweroff>destroy</on_poweroff>
 <on_reboot>restart</on_reboot>
 <on_crash>destroy</on_crash>
 <devices>
  <disk type='file' device='disk'>
   <driver name='qemu' type='qcow2' cache='writeback' discard='unmap'/>
   <source file='{disk}'/>
   <target dev='vda' bus='virtio'/>
  </disk>
{network}  <channel type='unix'>
   <target type='virtio' name='org.qemu.guest_agent.0'/>
   <address type='virtio-serial' controller='0' bus='0' port='1'/>
  </channel>
  {port}
  <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  <serial type='pty'><log file='{log}' append='off'/><target port='0'/></serial>
  <controller type='usb' model='none'/>
  <memballoon model='none'/>
 </devices>
</domain>
",
        name = escape(name),
        uuid = escape(uuid),
        port = super::way::port_xml(),
    )
}

fn command_line(config: &DomainConfig<'_>) -> String {
    let console = config.shape.platform.console;
    // One whose kernel gives up boots again: else it would count as running, and answer nobody for ever.
    let mut words = format!("root=/dev/vda rw console={console} quiet panic=1 net.ifnames=0");
    if config.shape.accelerator == Accelerator::Emulation {
        // No other machine shares an emulated processor's caches.
        words.push_str(" mitigations=off");
    }
    if let Some(wiring) = config.wiring {
        let _ = write!(words, " systemd.machine_id={}", config.uuid.replace('-', ""));
        for word in identity(config.name, config.uuid, wiring) {
            let _ = write!(words, " encanto.{word}");
        }
    }
    words
}

fn render_network(wiring: Option<&Wiring>) -> String {
    let Some(Wiring { bridge, cable, hardware, .. }) = wiring else {
        return "  <interface type='ethernet'><model type='virtio'/></interface>\n".to_owned();
    };
    let (bridge, cable, hardware) = (escape(bridge), escape(cable), escape(hardware));
    format!(
        "\
  <interface type='bridge'>
   <source bridge='{bridge}'/>
   <target dev='{cable}'/>
   <mac address='{hardware}'/>
   <model type='virtio'/>
  </interface>
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "01234567-89ab-8def-8123-456789abcdef";

    fn wiring() -> Wiring {
        Wiring::sample()
    }

    fn shape(accelerator: Accelerator) -> Shape {
        let boot = Boot { kernel: "/d/kernel".into(), initrd: "/d/initrd".into() };
        let platform = Platform { arch: "x86_64", machine: "pc", console: "ttyS0" };
        Shape { accelerator, platform, memory: 1024, cores: 2, boot }
    }

    fn rendered(accelerator: Accelerator, wiring: Option<&Wiring>) -> String {
        render_domain(&DomainConfig {
            name: "ana-local-machine-1",
            uuid: UUID,
            metadata: "<mark/>",
            shape: &shape(accelerator),
            disk: Path::new("/d/it's & <mine>/disk.qcow2"),
            wiring,
            console_log: Path::new("/d/console.log"),
        })
    }

    fn emulated(wiring: Option<&Wiring>) -> String {
        rendered(Accelerator::Emulation, wiring)
    }

    #[test]
    fn a_machine_knows_who_it_is_before_it_boots() {
        let wiring = wiring();
        let xml = emulated(Some(&wiring));
        for part in [
            "<domain type='qemu'>",
            "<metadata><mark/></metadata>",
            "<memory unit='MiB'>1024</memory>",
            "<vcpu>2</vcpu>",
            "<source bridge='enc0'/>",
            "<target dev='ve1'/>",
            "<mac address='02:e4:c0:a0:00:02'/>",
            "mitigations=off systemd.machine_id=0123456789ab8def8123456789abcdef encanto.name=ana-local-machine-1 \
             encanto.address=10.160.0.2/22 encanto.gateway=10.160.0.1 encanto.hardware=02:e4:c0:a0:00:02 \
             encanto.id=0123456789ab8def8123456789abcdef</cmdline>",
        ] {
            assert!(xml.contains(part), "{part} in {xml}");
        }
    }

    #[test]
    fn nothing_in_a_path_ends_its_quotes() {
        let xml = emulated(None);
        assert!(xml.contains("<source file='/d/it&apos;s &amp; &lt;mine&gt;/disk.qcow2'/>"), "{xml}");
    }

    #[test]
    fn a_template_has_a_card_but_neither_name_nor_bridge() {
        let xml = emulated(None);
        assert!(xml.contains("<interface type='ethernet'><model type='virtio'/></interface>"), "{xml}");
        assert!(!xml.contains(" encanto.") && !xml.contains("systemd.machine_id"), "{xml}");
    }

    #[test]
    fn a_template_has_the_devices_of_its_machines() {
        let wiring = wiring();
        let devices = |xml: &str| -> Vec<String> {
            let from = xml.find("<devices>").unwrap();
            let words = xml[from..].split('<').skip(1).map(|tag| tag.split([' ', '>', '/']).next().unwrap().to_owned());
            words
                .filter(|tag| ["disk", "interface", "channel", "rng", "serial", "controller"].contains(&tag.as_str()))
                .collect()
        };
        assert_eq!(devices(&emulated(None)), devices(&emulated(Some(&wiring))));
    }

    #[test]
    fn the_kernel_keeps_its_guards_where_processors_are_shared() {
        let xml = rendered(Accelerator::Kvm, None);
        assert!(xml.contains("<domain type='kvm'>") && xml.contains("host-passthrough"), "{xml}");
        assert!(!xml.contains("mitigations=off"), "{xml}");
    }
}
