//! Which hooks an operator takes into his own hands.

use std::collections::BTreeSet;

use crate::model::Hook;

/// Whether `hook` is given to the operator who asked for `hooks`; none is all that the charm declares. What a charm
/// prepares is no unit's own, and never is.
pub fn stops_at(hooks: &BTreeSet<String>, hook: &Hook, declared: bool) -> bool {
    *hook != Hook::Prepare && if hooks.is_empty() { declared } else { hooks.contains(&hook.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_what_the_charm_declares_and_a_name_is_that_hook_even_without_a_function() {
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert!(stops_at(&named(&[]), &Hook::Start, true));
        assert!(!stops_at(&named(&[]), &Hook::Start, false));
        assert!(stops_at(&named(&["stop", "start"]), &Hook::Start, false));
        assert!(!stops_at(&named(&["stop"]), &Hook::Start, true));
        assert!(!stops_at(&named(&[]), &Hook::Prepare, true));
    }
}
