//! What the provider refuses, as an operator is told it: what to do about it is a hint of its own.

use crate::api::Refusal;
use crate::provider::ProviderError;
use crate::worker::causes;

pub fn of(error: &ProviderError) -> Refusal {
    hinted(Refusal::new(causes(error)), error)
}

/// With what was to be done before it.
pub fn at(what: &str, error: &ProviderError) -> Refusal {
    hinted(Refusal::new(format!("{what}: {}", causes(error))), error)
}

fn hinted(refusal: Refusal, error: &ProviderError) -> Refusal {
    match error.remedy() {
        Some(remedy) => refusal.hint(remedy),
        None => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_about_it_is_a_hint() {
        let remedy = Some("start libvirt with `libvirtd --daemon`".to_owned());
        let refusal = at("cannot stop machine 1", &ProviderError::Libvirt { words: "no socket".into(), remedy });
        assert_eq!(refusal.error, "cannot stop machine 1: libvirt: no socket");
        assert_eq!(refusal.hints, ["start libvirt with `libvirtd --daemon`"]);
    }
}
