//! All providers and kinds of machines that there are: the only place in which a new one is entered, and the only one
//! that knows what `type:` and `uri:` of `environments.yaml` mean.

use std::io;
use std::sync::Arc;

use super::doctor::{self, HostFinding};
use super::libvirt_uri::LibvirtUri;
use super::local::driver::Driver;
use super::local::{LocalProvider, LocalSettings};
use super::simulated::SimulatedProvider;
use super::{Kind, Provider, ProviderError, lxc};

/// What an environment says of its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    /// `type:`
    pub r#type: &'a str,
    /// `uri:`
    pub uri: Option<&'a str>,
}

/// What is meant by it.
enum Meant {
    /// Machines of this host: those of this kind, through this uri, where nothing else is said of one.
    Local(Option<(&'static str, LibvirtUri)>),
    Simulated,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("{0}")]
    Unusable(String),
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

impl Said<'_> {
    fn meant(self) -> Result<Meant, String> {
        match (self.r#type, self.uri) {
            ("local", None) => Ok(Meant::Local(None)),
            ("simulated", None) => Ok(Meant::Simulated),
            ("libvirt", Some(uri)) => {
                let uri: LibvirtUri = uri.parse()?;
                let kind = if uri.driver() == LibvirtUri::CONTAINERS { CONTAINER.name } else { MACHINE.name };
                Ok(Meant::Local(Some((kind, uri))))
            }
            ("libvirt", None) => Err("`type: libvirt` needs a `uri:`, e.g. `uri: qemu:///system`".to_owned()),
            ("local" | "simulated", Some(_)) => Err("only `type: libvirt` has a `uri:`".to_owned()),
            (other, _) => Err(format!("unknown type \"{other}\": write `local`, `libvirt` or `simulated`")),
        }
    }

    /// What is wrong with it, if no provider understands it.
    pub fn problem(self) -> Option<String> {
        self.meant().err()
    }

    /// Everything that its machines need and this host does not have.
    pub fn check_host(self) -> Vec<HostFinding> {
        match self.meant() {
            Ok(Meant::Local(None)) => doctor::check_host(None),
            Ok(Meant::Local(Some((kind, uri)))) => match elsewhere(&uri) {
                Some(found) => vec![found],
                None => doctor::check_host(Some(kind)),
            },
            Ok(Meant::Simulated) => Vec::new(),
            Err(problem) => vec![HostFinding { blocking: true, problem, fix: None }],
        }
    }

    /// Mends what is safe to mend of it; a line for each thing done.
    ///
    /// # Errors
    /// Something could not be mended.
    pub fn mend_host(self) -> Result<Vec<String>, ProviderError> {
        match self.meant() {
            Ok(Meant::Local(_)) => doctor::mend_host(),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether an earlier controller has made machines, as the provider remembers it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn has_left_machines(self, settings: &LocalSettings) -> io::Result<bool> {
        if !matches!(self.meant(), Ok(Meant::Local(_))) {
            return Ok(false);
        }
        match std::fs::read_dir(settings.records()) {
            Ok(mut records) => Ok(records.next().is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The provider. Reads what an earlier run left; changes nothing.
    ///
    /// # Errors
    /// It is on another host, the default kind is not in this binary, or what was left cannot be read.
    pub fn provider(self, mut settings: LocalSettings) -> Result<Arc<dyn Provider>, RegistryError> {
        match self.meant().map_err(RegistryError::Unusable)? {
            Meant::Simulated => Ok(Arc::new(SimulatedProvider::new())),
            Meant::Local(said) => {
                if let Some((kind, uri)) = said {
                    if let Some(found) = elsewhere(&uri) {
                        return Err(RegistryError::Unusable(found.problem));
                    }
                    settings.default_kind = Some(kind.to_owned());
                    match uri.driver() {
                        LibvirtUri::CONTAINERS => settings.lxc_uri = uri.to_string(),
                        _ => settings.qemu_uri = uri.to_string(),
                    }
                }
                Ok(local(settings)?)
            }
        }
    }
}

/// libvirt's kinds, also for a binary that has none of them.
const CONTAINER: Kind = Kind { name: "libvirt-lxc", noun: "libvirt container", container: "lxc", caution: None };
const MACHINE: Kind = Kind { name: "kvm", noun: "virtual machine", container: "kvm", caution: None };

/// The provider of machines on this host. Reads what an earlier run left; changes nothing.
///
/// # Errors
/// What was left cannot be read, or the default kind of the settings is not in this binary.
pub fn local(settings: LocalSettings) -> Result<Arc<dyn Provider>, ProviderError> {
    let drivers: Vec<Arc<dyn Driver>> = vec![
        Arc::new(lxc::driver(&settings)),
        #[cfg(feature = "libvirt")]
        Arc::new(super::libvirt::lxc::driver(&settings)),
        #[cfg(feature = "libvirt")]
        Arc::new(super::libvirt::qemu::QemuDriver::new(&settings)?),
    ];
    let absent = [CONTAINER, MACHINE].into_iter().filter(|_| !cfg!(feature = "libvirt"));
    let absent = absent.map(|kind| (kind, doctor::WITHOUT_LIBVIRT.to_owned())).collect();
    Ok(Arc::new(LocalProvider::new(settings, drivers)?.lacking(absent)))
}

/// A libvirt on another host makes machines, but bridge, images, firewall and names would be on this one.
fn elsewhere(uri: &LibvirtUri) -> Option<HostFinding> {
    let host = uri.host()?;
    let problem = format!(
        "{uri} is on another host, and encanto makes machines only on its own: their network, images and firewall are \
         there"
    );
    let fix = format!("ssh {host}, and there `encanto bootstrap` with `uri: {}`", uri.local());
    Some(HostFinding { blocking: true, problem, fix: Some(fix) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<'a>(r#type: &'a str, uri: Option<&'a str>) -> Said<'a> {
        Said { r#type, uri }
    }

    #[test]
    fn what_is_said_is_understood_or_refused_with_what_to_write() {
        for (r#type, uri) in [
            ("local", None),
            ("simulated", None),
            ("libvirt", Some("lxc:///")),
            ("libvirt", Some("qemu:///system")),
            ("libvirt", Some("qemu+ssh://far/system")),
        ] {
            assert_eq!(said(r#type, uri).problem(), None, "{type} {uri:?}");
        }
        let problem = |r#type, uri| said(r#type, uri).problem().unwrap();
        assert_eq!(problem("libvirt", None), "`type: libvirt` needs a `uri:`, e.g. `uri: qemu:///system`");
        assert_eq!(problem("local", Some("lxc:///")), "only `type: libvirt` has a `uri:`");
        assert_eq!(problem("ec2", None), "unknown type \"ec2\": write `local`, `libvirt` or `simulated`");
        assert!(problem("libvirt", Some("xen:///")).starts_with("invalid uri \"xen:///\": "));
    }

    #[test]
    fn a_libvirt_on_another_host_is_refused_wherever_it_is_asked_for() {
        let far = said("libvirt", Some("qemu+ssh://far/system"));
        let found = far.check_host();
        assert_eq!((found.len(), found[0].blocking), (1, true));
        let folder = tempfile::tempdir().unwrap();
        let refused = far.provider(LocalSettings::new("ana", "far", folder.path())).map(|_| ()).unwrap_err();
        assert_eq!(refused.to_string(), found[0].problem);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_build_lacks_it_knows_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let provider = local(LocalSettings::new("ana", "here", folder.path())).unwrap();
        let made: Vec<&str> = provider.kinds().iter().map(|kind| kind.name).collect();
        let absent: Vec<&str> = provider.absent_kinds().iter().map(|(kind, _)| kind.name).collect();
        assert!(made.contains(&lxc::KIND.name));
        match cfg!(feature = "libvirt") {
            true => assert!(absent.is_empty() && made.contains(&CONTAINER.name), "{made:?} {absent:?}"),
            false => assert_eq!(absent, [CONTAINER.name, MACHINE.name]),
        }
    }
}
