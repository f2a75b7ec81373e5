//! All kinds of machines that there are: the only place in which a new one is entered.

use std::sync::Arc;

use super::local::driver::Driver;
use super::local::{LocalProvider, LocalSettings};
use super::{Provider, ProviderError, lxc};

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
    Ok(Arc::new(LocalProvider::new(settings, drivers)?))
}
