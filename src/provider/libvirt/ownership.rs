//! Which domains are ours: those that say so in their metadata, whatever their name.

use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt_sys::VIR_DOMAIN_METADATA_ELEMENT;

use super::xml::{ask, escape};
use crate::provider::InstanceName;

/// The namespace of our element in a domain's metadata.
const NAMESPACE: &str = "urn:encanto:instance:1";

/// An environment, as domains name the one that they belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner(Option<String>);

impl Owner {
    /// `environment` is unique on this host.
    pub fn new(environment: impl Into<String>) -> Self {
        Self(Some(environment.into()))
    }

    /// Of domains that no environment made: of those that are adopted, say.
    pub fn nobody() -> Self {
        Self(None)
    }

    fn environment(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// What a domain of ours has in its `<metadata>`.
    pub fn metadata(&self) -> String {
        format!("<encanto:instance xmlns:encanto='{NAMESPACE}' environment='{}'/>", escape(self.environment()))
    }

    /// The same for the same name at all times, so that a domain that is defined again stays the one that it was.
    pub fn uuid(&self, name: &InstanceName) -> String {
        let digest = ring::digest::digest(
            &ring::digest::SHA256,
            format!("{NAMESPACE}\n{}\n{name}", self.environment()).as_bytes(),
        );
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_ref()[..16]);
        // Version 8, free form, of the usual variant.
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    pub fn owns(&self, domain: &Domain) -> Result<bool, Error> {
        Ok(match element_of(domain)? {
            Some(element) => self.is_named_in(&element),
            None => self.0.is_none(),
        })
    }

    fn is_named_in(&self, element: &str) -> bool {
        self.0.is_some() && ask(element, |instance| instance.attribute("environment").map(str::to_owned)) == self.0
    }
}

/// Whether an environment made the domain, whichever.
pub fn is_somebodys_instance(domain: &Domain) -> Result<bool, Error> {
    Ok(element_of(domain)?.is_some())
}

fn element_of(domain: &Domain) -> Result<Option<String>, Error> {
    let kind = VIR_DOMAIN_METADATA_ELEMENT.cast_signed();
    match domain.get_metadata(kind, Some(NAMESPACE), 0) {
        Ok(element) => Ok(Some(element)),
        Err(error) if error.code() == ErrorNumber::NoDomainMetadata => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_belongs_to_the_environment_that_its_metadata_names() {
        let owner = Owner::new("ana's-local-12");
        assert!(owner.is_named_in(&owner.metadata()));
        assert!(!owner.is_named_in(&Owner::new("ana's-local-1").metadata()));
        assert!(!owner.is_named_in("<instance/>"));
    }

    #[test]
    fn a_uuid_is_stable_and_of_the_usual_form() {
        let uuid = |owner: &str, name: &str| Owner::new(owner).uuid(&InstanceName::new(name).unwrap());
        assert_eq!(uuid("a", "m-1"), uuid("a", "m-1"));
        assert_ne!(uuid("a", "m-1"), uuid("a", "m-2"));
        assert_ne!(uuid("a", "m-1"), uuid("b", "m-1"));
        let lengths: Vec<usize> = uuid("a", "m-1").split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&uuid("a", "m-1")[14..15], "8");
    }
}
