//! `uri:` in environments.yaml: which of libvirt's drivers runs the machines of an environment, and where.

use std::fmt;
use std::str::FromStr;

use super::remote::ssh::Destination;

/// As libvirt reads it: `lxc:///`, `qemu:///system`, `qemu+ssh://host/system`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibvirtUri(String);

/// libvirt's drivers that make machines here, each with the only path that manages those of the whole host.
const DRIVERS: [(&str, &str); 2] = [(LibvirtUri::CONTAINERS, "/"), ("qemu", "/system")];

impl LibvirtUri {
    /// The driver whose machines are containers; the other's are virtual machines.
    pub const CONTAINERS: &'static str = "lxc";

    /// `lxc` or `qemu`.
    pub fn driver(&self) -> &str {
        self.0.split([':', '+']).next().unwrap_or_default()
    }

    /// The other host on which the machines are; `None` on this one.
    pub fn elsewhere(&self) -> Option<Destination> {
        let (_, rest) = self.0.split_once("://")?;
        rest.split(['/', '?']).next()?.parse().ok()
    }

    /// The same on the host itself.
    pub fn local(&self) -> String {
        let path = DRIVERS.iter().find(|(driver, _)| *driver == self.driver()).map_or("/", |(_, path)| *path);
        format!("{}://{path}", self.driver())
    }
}

impl FromStr for LibvirtUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = |why: &str| {
            Err(format!(
                "invalid uri \"{text}\": {why}write `lxc:///` for containers, `qemu:///system` for virtual machines"
            ))
        };
        let Some((scheme, rest)) = text.split_once("://") else { return problem("") };
        let driver = scheme.split('+').next().unwrap_or_default();
        let Some((_, wanted)) = DRIVERS.iter().find(|(known, _)| *known == driver) else {
            return problem(&format!("no machines are made by \"{scheme}\"; "));
        };
        let address = rest.split('?').next().unwrap_or_default();
        let path = address.find('/').map_or("/", |at| &address[at..]);
        let transport = scheme.split_once('+').map(|(_, transport)| transport);
        let host = address.split('/').next().unwrap_or_default();
        match (host.is_empty(), transport) {
            (true, None | Some("unix")) => {}
            (false, Some("ssh")) if rest.contains('?') => {
                return problem("keys and all else are said in the configuration of ssh; ");
            }
            (false, Some("ssh")) if host.parse::<Destination>().is_ok() => {}
            (true, _) | (false, Some("ssh")) => return problem(""),
            (false, _) => {
                let words = format!("another host is reached by ssh only, as in `{driver}+ssh://root@host{wanted}`; ");
                return problem(&words);
            }
        }
        match path == *wanted && !text.contains(char::is_whitespace) {
            true => Ok(Self(text.to_owned())),
            false if path == "/session" => problem("a user's session has no rights on the network; "),
            false => problem(""),
        }
    }
}

impl fmt::Display for LibvirtUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_a_driver_and_perhaps_another_host() {
        let read = |text: &str| -> LibvirtUri { text.parse().unwrap() };
        let host = |user: Option<&str>, host: &str, port| {
            Some(Destination { user: user.map(str::to_owned), host: host.to_owned(), port })
        };
        for (text, driver, elsewhere) in [
            ("lxc:///", "lxc", None),
            ("qemu:///system", "qemu", None),
            ("qemu+unix:///system?socket=/run/other/libvirt-sock", "qemu", None),
            ("qemu+ssh://ana@far.example.org/system", "qemu", host(Some("ana"), "far.example.org", None)),
            ("lxc+ssh://far:2222/", "lxc", host(None, "far", Some(2222))),
            ("lxc+ssh://root@[fd00::1]:22/", "lxc", host(Some("root"), "fd00::1", Some(22))),
            ("lxc+ssh://[fd00::1]/", "lxc", host(None, "fd00::1", None)),
        ] {
            assert_eq!((read(text).driver(), read(text).elsewhere()), (driver, elsewhere), "{text}");
        }
        assert_eq!(read("qemu+ssh://far/system").local(), "qemu:///system");
        assert_eq!(read("lxc+ssh://far/").local(), "lxc:///");
    }

    #[test]
    fn what_libvirt_or_we_do_not_have_is_refused_with_what_to_write() {
        let refused = |text: &str| text.parse::<LibvirtUri>().unwrap_err();
        let write = "write `lxc:///` for containers, `qemu:///system` for virtual machines";
        assert_eq!(
            refused("xen:///system"),
            format!("invalid uri \"xen:///system\": no machines are made by \"xen\"; {write}")
        );
        let session = "a user's session has no rights on the network; ";
        assert_eq!(refused("qemu:///session"), format!("invalid uri \"qemu:///session\": {session}{write}"));
        for (text, why) in [
            ("qemu+tcp://far/system", "another host is reached by ssh only, as in `qemu+ssh://root@host/system`; "),
            ("lxc://far/", "another host is reached by ssh only, as in `lxc+ssh://root@host/`; "),
            ("lxc+ssh://far/?keyfile=/k", "keys and all else are said in the configuration of ssh; "),
            ("lxc+ssh:///", ""),
            ("lxc+ssh://-oProxyCommand=x/", ""),
            ("lxc+ssh://far:many/", ""),
            ("lxc+ssh://@far/", ""),
        ] {
            assert_eq!(refused(text), format!("invalid uri \"{text}\": {why}{write}"));
        }
        for text in ["", "qemu", "qemu://", "qemu:///", "lxc:///system", "qemu:///system "] {
            assert_eq!(refused(text), format!("invalid uri \"{text}\": {write}"));
        }
    }
}
