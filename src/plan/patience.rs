//! How long to wait before trying again what the world refused: five seconds, doubled up to five minutes.
//!
//! A machine that comes up and dies at once is as much a failure as one that does not come up: only one that stayed up
//! for [`STEADY`] is started again without waiting.

use crate::model::{MachineWork, Millis, Trouble};

/// After the first failure.
pub const FIRST: Millis = 5_000;
/// The most, as in Juju.
pub const MOST: Millis = 300_000;
/// So many failures in a row are no accident: who waits is told.
pub const HOPELESS: u32 = 3;
/// A machine that ran so long came up well.
pub const STEADY: Millis = 60_000;

/// What to wait after so many failures in a row.
pub fn delay(first: Millis, failures: u32) -> Millis {
    let doublings = failures.saturating_sub(1).min(20);
    (first << doublings).min(MOST)
}

/// The trouble with a machine after one more failure of `work`.
pub fn failed(before: Option<&Trouble>, work: MachineWork, now: Millis, words: String) -> Trouble {
    let failures = before.filter(|trouble| trouble.work == work).map_or(0, |trouble| trouble.failures);
    Trouble { work, failures: failures + 1, last: now, next: now + delay(FIRST, failures + 1), words }
}

/// The trouble with a machine that was started just now: forgotten only once it has stayed up.
pub fn started(before: Option<&Trouble>, now: Millis) -> Trouble {
    let before = before.filter(|trouble| trouble.work == MachineWork::Start);
    let (failures, words) = before.map_or((0, String::new()), |trouble| (trouble.failures, trouble.words.clone()));
    Trouble { work: MachineWork::Start, failures, last: now, next: now, words }
}

/// The trouble with a machine that ended just now by itself.
pub fn ended(before: Option<&Trouble>, now: Millis) -> Option<Trouble> {
    let short = |trouble: &&Trouble| trouble.work == MachineWork::Start && !is_steady(Some(trouble.last), now);
    let words = "it ended by itself soon after it was started".to_owned();
    before.filter(short).map(|trouble| failed(Some(trouble), MachineWork::Start, now, words))
}

/// Whether what was put right at `since` has held for long enough to be forgotten; nothing is remembered without that.
pub fn is_steady(since: Option<Millis>, now: Millis) -> bool {
    since.is_none_or(|since| now - since >= STEADY)
}

/// What is left of a wait that began at `since`. A clock that was set back does not make it longer.
pub fn rest_of(wait: Millis, since: Millis, now: Millis) -> Millis {
    (since + wait - now).clamp(0, wait)
}

/// How long `work` has to wait still; `None` is not at all. A clock that was set back does not make it longer.
pub fn left(trouble: Option<&Trouble>, work: MachineWork, now: Millis) -> Option<Millis> {
    let trouble = trouble.filter(|trouble| trouble.work == work)?;
    (trouble.next > now).then_some((trouble.next - now).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_fails(before: Option<&Trouble>, now: Millis) -> Trouble {
        failed(before, MachineWork::Start, now, "no room".into())
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_the_most() {
        let mut trouble = start_fails(None, 0);
        let mut waits = Vec::new();
        for _ in 0..9 {
            waits.push(left(Some(&trouble), MachineWork::Start, trouble.last).unwrap() / 1000);
            trouble = start_fails(Some(&trouble), trouble.last + 1);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(delay(FIRST, u32::MAX), MOST);
    }

    #[test]
    fn a_wait_ends_and_no_clock_makes_it_longer() {
        assert_eq!([0, 4_000, 5_000, 90_000].map(|passed| rest_of(5_000, 100, 100 + passed)), [5_000, 1_000, 0, 0]);
        assert_eq!(rest_of(5_000, 3_600_000, 0), 5_000, "the clock was set back");
    }

    #[test]
    fn what_failed_does_not_hold_up_other_work() {
        let trouble = start_fails(None, 0);
        assert_eq!(left(Some(&trouble), MachineWork::Destroy, 1), None);
        assert_eq!(failed(Some(&trouble), MachineWork::Destroy, 1, String::new()).failures, 1);
        assert_eq!(left(Some(&trouble), MachineWork::Start, FIRST), None);
        assert_eq!(left(Some(&trouble), MachineWork::Start, -1_000 * MOST), Some(MOST), "the clock was set back");
    }

    #[test]
    fn a_machine_that_dies_at_once_waits_longer_each_time_and_a_steady_one_not_at_all() {
        assert_eq!(ended(None, 0), None, "it ran since before anyone looked");
        let mut trouble = started(None, 0);
        assert_eq!(left(Some(&trouble), MachineWork::Start, 0), None);
        for (round, wait) in (1..).zip([5_000, 10_000, 20_000]) {
            let died = ended(Some(&trouble), trouble.last + 100).unwrap();
            assert_eq!((died.failures, left(Some(&died), MachineWork::Start, died.last)), (round, Some(wait)));
            trouble = started(Some(&died), died.last + wait);
        }
        assert_eq!(ended(Some(&trouble), trouble.last + STEADY), None);
    }
}
