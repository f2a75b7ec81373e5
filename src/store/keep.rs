//! Which entries stay in a journal although a snapshot stands in for them.
//!
//! `history` and `show-status-log` read them; nothing else does. What is kept is bounded in number and in bytes, so
//! that an environment that lives for years has a journal that does not grow.

use std::collections::HashMap;

/// Entries that commands asked for: the newest so many, and so many bytes.
const COMMANDS: Budget = Budget { entries: 20_000, bytes: 8 << 20 };
/// Entries of units and machines, all together.
const STATUSES: Budget = Budget { entries: 50_000, bytes: 16 << 20 };
/// The newest of each unit and machine, so that one which is told of every minute does not push out the others.
const OF_EACH: u32 = 100;

/// What the rule must know of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    pub sequence: u64,
    /// Whose status log it belongs to.
    pub subject: Option<String>,
    /// By a command, not by a worker.
    pub asked: bool,
    pub bytes: u64,
}

struct Budget {
    entries: u64,
    bytes: u64,
}

impl Budget {
    /// Takes an entry's room. The first that finds none closes the budget: what is kept has no holes.
    fn takes(&mut self, entry: &Past) -> bool {
        if self.entries == 0 || self.bytes < entry.bytes {
            *self = Budget { entries: 0, bytes: 0 };
            return false;
        }
        self.entries -= 1;
        self.bytes -= entry.bytes;
        true
    }
}

/// The numbers of those of `past` that go. `past` comes with the newest first.
pub fn surplus(past: impl IntoIterator<Item = Past>) -> Vec<u64> {
    let (mut commands, mut statuses) = (COMMANDS, STATUSES);
    let mut of_each: HashMap<String, u32> = HashMap::new();
    let mut surplus = Vec::new();
    for entry in past {
        let wanted = entry.subject.as_ref().is_some_and(|subject| {
            let seen = of_each.entry(subject.clone()).or_default();
            *seen += 1;
            *seen <= OF_EACH
        });
        let kept = (entry.asked && commands.takes(&entry)) || (wanted && statuses.takes(&entry));
        if !kept {
            surplus.push(entry.sequence);
        }
    }
    surplus
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(sequence: u64, subject: Option<&str>, asked: bool) -> Past {
        Past { sequence, subject: subject.map(str::to_owned), asked, bytes: 100 }
    }

    #[test]
    fn what_nobody_reads_goes_and_what_a_command_asked_for_stays() {
        let all = [past(4, None, false), past(3, None, true), past(2, Some("db/0"), false), past(1, None, false)];
        assert_eq!(surplus(all), [4, 1]);
    }

    #[test]
    fn a_unit_that_is_told_of_all_the_time_does_not_push_out_the_others() {
        let noisy = (2..5_000).rev().map(|sequence| past(sequence, Some("db/0"), false));
        let gone = surplus(noisy.chain([past(1, Some("app/0"), false)]));
        assert_eq!(gone.len(), 4_998 - OF_EACH as usize);
        assert!(!gone.contains(&1) && !gone.contains(&4_999));
    }

    #[test]
    fn a_flood_of_statuses_takes_no_room_from_commands() {
        let flood = (2..200_000).rev().map(|sequence| past(sequence, Some(&format!("db/{sequence}")), false));
        let gone = surplus(flood.chain([past(1, None, true)]));
        assert!(!gone.contains(&1));
        assert_eq!(199_998 - gone.len() as u64, STATUSES.entries);
    }

    #[test]
    fn what_is_kept_of_commands_is_bounded_and_has_no_holes() {
        let large = |sequence: u64, bytes: u64| Past { bytes, ..past(sequence, None, true) };
        assert_eq!(surplus([large(3, COMMANDS.bytes - 10), large(2, 20), large(1, 1)]), [2, 1]);
        let many = (1..=COMMANDS.entries + 5).rev().map(|sequence| past(sequence, None, true));
        assert_eq!(surplus(many), [5, 4, 3, 2, 1]);
    }
}
