//! All providers and kinds of machines that there are: the only place in which a new one is entered, and the only one
//! that knows what `type:` and `uri:` of `environments.yaml` mean.

use std::io;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::command::Account;
use super::doctor::{self, HostFinding};
use super::libvirt_uri::LibvirtUri;
use super::local::driver::Driver;
use super::local::{LocalProvider, LocalSettings, digest_hex};
use super::remote::client::greet;
use super::remote::protocol::{Errand, Place};
use super::remote::ssh::{Destination, Ssh};
use super::remote::{Connector as _, RemoteProvider, RemoteSettings};
use super::simulated::SimulatedProvider;
use super::{Kind, Provider, ProviderError, lxc};

/// What an environment says of its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    /// `type:`
    pub r#type: &'a str,
    /// `uri:`
    pub uri: Option<&'a str>,
    /// Whose `ssh` reaches another host; `None` is who runs this.
    pub account: Option<Account>,
}

/// What is meant by it.
enum Meant {
    /// Machines of this host: those of this kind, through this uri, where nothing else is said of one.
    Local(Option<(&'static str, LibvirtUri)>),
    /// Machines of another host: those of this kind where nothing else is said of one.
    Remote(&'static str, Destination),
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
                Ok(match uri.elsewhere() {
                    Some(destination) => Meant::Remote(kind, destination),
                    None => Meant::Local(Some((kind, uri))),
                })
            }
            ("remote", uri) => {
                let address = uri.and_then(|uri| uri.strip_prefix("ssh://")).map(|rest| rest.trim_end_matches('/'));
                match address.and_then(|address| address.parse::<Destination>().ok()) {
                    Some(destination) => Ok(Meant::Remote(lxc::KIND.name, destination)),
                    None => Err("`type: remote` needs a `uri:` like `ssh://root@host`".to_owned()),
                }
            }
            ("libvirt", None) => Err("`type: libvirt` needs a `uri:`, e.g. `uri: qemu:///system`".to_owned()),
            ("local" | "simulated", Some(_)) => Err("only `type: libvirt` and `type: remote` have a `uri:`".to_owned()),
            (other, _) => Err(format!("unknown type \"{other}\": write `local`, `remote`, `libvirt` or `simulated`")),
        }
    }

    /// What is wrong with it, if no provider understands it.
    pub fn problem(self) -> Option<String> {
        self.meant().err()
    }

    /// Everything that its machines need and their host, this one or another, does not have.
    pub fn check_host(self) -> Vec<HostFinding> {
        match self.meant() {
            Ok(Meant::Local(said)) => doctor::check_host(said.map(|(kind, _)| kind)),
            Ok(Meant::Remote(kind, destination)) => {
                let errand = Errand::Check { kind: Some(kind.into()) };
                let found = ask::<Vec<HostFinding>>(&destination, self.account, errand);
                found.map_or_else(
                    |error| vec![HostFinding { blocking: true, problem: error.to_string(), fix: error.remedy() }],
                    |found| found.into_iter().map(|finding| over_there(&destination, finding)).collect(),
                )
            }
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
            Ok(Meant::Remote(_, destination)) => ask(&destination, self.account, Errand::Mend),
            Ok(Meant::Simulated) | Err(_) => Ok(Vec::new()),
        }
    }

    /// Whether an earlier controller has made machines, as the provider remembers it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn has_left_machines(self, settings: &LocalSettings) -> io::Result<bool> {
        match self.meant() {
            Ok(Meant::Local(_)) => {}
            Ok(Meant::Remote(..)) => return remote(settings, "").mark.try_exists(),
            Ok(Meant::Simulated) | Err(_) => return Ok(false),
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
    /// The default kind is not in this binary, or what was left cannot be read.
    pub fn provider(self, mut settings: LocalSettings) -> Result<Arc<dyn Provider>, RegistryError> {
        match self.meant().map_err(RegistryError::Unusable)? {
            Meant::Simulated => Ok(Arc::new(SimulatedProvider::new())),
            Meant::Local(said) => {
                if let Some((kind, uri)) = said {
                    settings.default_kind = Some(kind.to_owned());
                    match uri.driver() {
                        LibvirtUri::CONTAINERS => settings.lxc_uri = uri.to_string(),
                        _ => settings.qemu_uri = uri.to_string(),
                    }
                }
                Ok(local(settings)?)
            }
            Meant::Remote(kind, destination) => {
                let mut made: Vec<Kind> = drivers(&settings)?.iter().map(|driver| driver.kind()).collect();
                made.sort_by_key(|made| made.name != kind);
                let ssh = Ssh::new(destination, self.account);
                let provider = RemoteProvider::new(Box::new(ssh), remote(&settings, kind), (made, absent()));
                Ok(Arc::new(provider))
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
    let drivers = drivers(&settings)?;
    Ok(Arc::new(LocalProvider::new(settings, drivers)?.lacking(absent())))
}

fn drivers(settings: &LocalSettings) -> Result<Vec<Arc<dyn Driver>>, ProviderError> {
    Ok(vec![
        Arc::new(lxc::driver(settings)),
        #[cfg(feature = "libvirt")]
        Arc::new(super::libvirt::lxc::driver(settings)),
        #[cfg(feature = "libvirt")]
        Arc::new(super::libvirt::qemu::QemuDriver::new(settings)?),
    ])
}

/// Kinds that this binary does not have, and why.
fn absent() -> Vec<(Kind, String)> {
    let absent = [CONTAINER, MACHINE].into_iter().filter(|_| !cfg!(feature = "libvirt"));
    absent.map(|kind| (kind, doctor::WITHOUT_LIBVIRT.to_owned())).collect()
}

/// An environment as its machines' host is told of it. A controller is known by its host and the environment's folder.
fn remote(settings: &LocalSettings, kind: &str) -> RemoteSettings {
    let host = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let controller = digest_hex(format!("{}\n{}", host.trim(), settings.state_dir.display()).as_bytes());
    let place = Place {
        user: settings.user.clone(),
        environment: settings.environment.clone(),
        controller,
        mirror: settings.mirror.clone(),
        series: settings.series.clone(),
        default_kind: Some(kind.to_owned()),
    };
    RemoteSettings { place, mark: settings.state_dir.join("machines-elsewhere") }
}

/// A single question to another host, for callers without a runtime.
fn ask<T: DeserializeOwned>(
    destination: &Destination,
    account: Option<Account>,
    errand: Errand,
) -> Result<T, ProviderError> {
    let words = |words: String| ProviderError::Remote { words, remedy: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = runtime.map_err(|error| words(error.to_string()))?.block_on(async {
        let mut line = Ssh::new(destination.clone(), account).connect().await?;
        greet(&mut line, errand).await
    });
    serde_json::from_value(answer?).map_err(|error| words(error.to_string()))
}

/// A finding of another host, as it is told here.
fn over_there(destination: &Destination, finding: HostFinding) -> HostFinding {
    let quoted = |fix: String| format!("{} '{}'", destination.by_hand(), fix.replace('\'', "'\\''"));
    HostFinding {
        problem: format!("{}: {}", destination.host, finding.problem),
        fix: finding.fix.map(quoted),
        ..finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<'a>(r#type: &'a str, uri: Option<&'a str>) -> Said<'a> {
        Said { r#type, uri, account: None }
    }

    #[test]
    fn what_is_said_is_understood_or_refused_with_what_to_write() {
        for (r#type, uri) in [
            ("local", None),
            ("simulated", None),
            ("libvirt", Some("lxc:///")),
            ("libvirt", Some("qemu:///system")),
            ("libvirt", Some("qemu+ssh://far/system")),
            ("remote", Some("ssh://root@far:2222/")),
        ] {
            assert_eq!(said(r#type, uri).problem(), None, "{type} {uri:?}");
        }
        let problem = |r#type, uri| said(r#type, uri).problem().unwrap();
        assert_eq!(problem("libvirt", None), "`type: libvirt` needs a `uri:`, e.g. `uri: qemu:///system`");
        assert_eq!(problem("local", Some("lxc:///")), "only `type: libvirt` and `type: remote` have a `uri:`");
        assert_eq!(problem("ec2", None), "unknown type \"ec2\": write `local`, `remote`, `libvirt` or `simulated`");
        for uri in [None, Some("far"), Some("ssh://"), Some("ssh://far/system"), Some("ssh://-x")] {
            assert_eq!(problem("remote", uri), "`type: remote` needs a `uri:` like `ssh://root@host`");
        }
        assert!(problem("libvirt", Some("xen:///")).starts_with("invalid uri \"xen:///\": "));
    }

    #[test]
    fn a_provider_of_another_host_knows_its_kinds_before_it_has_been_there() {
        let folder = tempfile::tempdir().unwrap();
        let settings = || LocalSettings::new("ana", "far", folder.path());
        let far = said("libvirt", Some("lxc+ssh://root@far.invalid/"));
        let provider = far.provider(settings()).unwrap();
        let first = provider.kinds().first().map(|kind| kind.name);
        assert_eq!(first, Some(if cfg!(feature = "libvirt") { CONTAINER.name } else { lxc::KIND.name }));
        assert_eq!(provider.elsewhere().as_deref(), Some("far.invalid"));
        assert!(!far.has_left_machines(&settings()).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_another_host_lacks_is_told_with_the_way_to_it() {
        let destination = Destination { user: Some("root".into()), host: "far".into(), port: None };
        let fix = Some("echo 'a'".to_owned());
        let found = over_there(&destination, HostFinding { blocking: true, problem: "no ids".into(), fix });
        assert_eq!((found.blocking, found.problem.as_str()), (true, "far: no ids"));
        assert_eq!(found.fix.unwrap(), "ssh root@far 'echo '\\''a'\\'''");
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
