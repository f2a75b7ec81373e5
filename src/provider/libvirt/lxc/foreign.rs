//! Domains of libvirt's containers that others defined.

use std::path::PathBuf;

use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;

use super::{KIND, LibvirtLxc, first_child};
use crate::provider::libvirt::connection::each;
use crate::provider::libvirt::ownership::is_somebodys_instance;
use crate::provider::libvirt::xml::{ask, elements, said};
use crate::provider::local::container::guest::shares_network;
use crate::provider::local::driver::Machine;
use crate::provider::local::look::Root;
use crate::provider::local::turn::{Turn, to_the_end};
use crate::provider::{Foreign, InstanceState, ProviderError};

/// What libvirt says of one.
struct Seen {
    name: String,
    /// The first process, if it runs.
    init: Option<i32>,
    xml: String,
    /// An environment made it, this one or another.
    made: bool,
}

impl LibvirtLxc {
    pub(super) async fn others(&self, prefix: &str) -> Result<Vec<Foreign>, ProviderError> {
        let seen = self.hypervisor.call(|connection: &Connect| each(connection, 0, |domain| see(domain).map(Some)));
        Ok(seen.await?.into_iter().filter(|seen| !seen.name.starts_with(prefix)).map(look_at).collect())
    }

    /// As it is defined.
    pub(super) async fn start_guest(&self, machine: &Machine, turn: &Turn) -> Result<(), ProviderError> {
        let (hypervisor, name) = (self.hypervisor.clone(), machine.label().to_owned());
        let started = async move {
            hypervisor.call(move |connection| Domain::lookup_by_name(connection, &name)?.create().map(drop)).await
        };
        to_the_end(turn, started).await
    }
}

fn see(domain: &Domain) -> Result<Seen, Error> {
    Ok(Seen {
        name: domain.get_name()?,
        init: domain.get_id().and_then(first_child),
        xml: domain.get_xml_desc(0)?,
        made: is_somebodys_instance(domain)?,
    })
}

fn look_at(seen: Seen) -> Foreign {
    let Seen { name, init, xml, made } = seen;
    let state = if init.is_some() { InstanceState::Running } else { InstanceState::Stopped };
    let place = init.map(|init| PathBuf::from(format!("/proc/{init}/root"))).or_else(|| disk(&xml));
    let root = place.and_then(|place| Root::open(&place).ok());
    let shared = init.map_or_else(|| !has_network(&xml), shares_network);
    let obstacle = match &root {
        _ if made => Some("it is a machine of another environment".to_owned()),
        _ if shared => Some("it has no network of its own, but the host's".to_owned()),
        None => Some(format!("what is in it can only be seen while it runs: virsh -c lxc:/// start {name}")),
        Some(root) => root.obstacle().map(str::to_owned),
    };
    let series = root.as_ref().and_then(Root::series);
    Foreign { kind: KIND.name.into(), name, state, series, obstacle }
}

/// The folder that is the root of a domain that does not run.
fn disk(xml: &str) -> Option<PathBuf> {
    let folder = ask(xml, |domain| {
        let root = elements(domain, "filesystem").find(|system| said(*system, "target", "dir") == Some("/"))?;
        said(root, "source", "dir").map(PathBuf::from)
    });
    folder.filter(|folder| folder.is_dir())
}

/// One with an interface gets a network namespace, and one that asks for it.
fn has_network(xml: &str) -> bool {
    ask(xml, |domain| elements(domain, "interface").chain(elements(domain, "privnet")).next().map(drop)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_a_domain_is_what_is_mounted_at_its_top() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display();
        let xml = format!(
            "<devices><filesystem type='mount'><source dir='/srv/data'/><target dir='/data'/></filesystem>\
             <filesystem type='mount' accessmode='passthrough'><source dir='{here}'/><target dir='/'/></filesystem></devices>"
        );
        assert_eq!(disk(&xml).as_deref(), Some(folder.path()));
        assert_eq!(disk("<filesystem type='ram'><target dir='/'/></filesystem>"), None);
        assert!(!has_network(&xml) && has_network("<features><privnet/></features>"));
    }
}
