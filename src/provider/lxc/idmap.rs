//! The id range of the machines, as `/etc/subuid` and `/etc/subgid` grant it to root.

use crate::provider::ProviderError;
use crate::provider::local::helper::ID_COUNT;

/// First host id of the machines.
pub fn first_id() -> Result<u32, ProviderError> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    root_range(&read("/etc/subuid"), &read("/etc/subgid")).ok_or(ProviderError::NoIdRange)
}

/// One line of `/etc/subuid`.
struct Grant<'a> {
    owner: &'a str,
    first: u32,
    count: u32,
}

fn grants(text: &str) -> impl Iterator<Item = Grant<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Grant { owner, first: first.parse().ok()?, count: count.parse().ok()? })
    })
}

/// The first id of the first range that both files grant to root and that is large enough.
pub fn root_range(subuid: &str, subgid: &str) -> Option<u32> {
    let fitting = |text| {
        grants(text)
            .filter(|grant| matches!(grant.owner, "root" | "0") && grant.count >= ID_COUNT)
            .map(|grant| grant.first)
            .collect::<Vec<_>>()
    };
    let groups = fitting(subgid);
    fitting(subuid).into_iter().find(|first| groups.contains(first))
}

/// A range for root that nobody has yet.
pub fn free_range(subuid: &str, subgid: &str) -> Option<u32> {
    let taken: Vec<(u64, u64)> = grants(subuid)
        .chain(grants(subgid))
        .map(|grant| (u64::from(grant.first), u64::from(grant.first) + u64::from(grant.count)))
        .collect();
    let size = u64::from(ID_COUNT);
    // From one million on: lower ranges are what `adduser` hands out.
    (0..1000)
        .map(|step| 1_000_000 + step * size)
        .find(|first| taken.iter().all(|(begin, end)| first + size <= *begin || *end <= *first))
        .and_then(|first| u32::try_from(first).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_large_enough_range_that_both_files_know_is_taken() {
        let text = "ana:100000:65536\nroot:165536:100\nroot:200000:65536\nroot:300000:1000000\n";
        assert_eq!(root_range(text, text), Some(200_000));
        assert_eq!(root_range(text, "root:300000:65536\n"), Some(300_000));
        assert_eq!(root_range("ana:100000:65536\n", "ana:100000:65536\n"), None);
        assert_eq!(root_range("# nothing\nroot:x:y\n", ""), None);
    }

    #[test]
    fn a_free_range_overlaps_none_that_is_granted() {
        assert_eq!(free_range("ana:100000:65536\n", ""), Some(1_000_000));
        assert_eq!(free_range("lxd:1000000:65536\n", "ben:1065536:10\n"), Some(1_131_072));
    }
}
