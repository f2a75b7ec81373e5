//! The users of this host, as its name service knows them: those of its own file, and those of a directory service.

use nix::unistd::{Uid, User};

/// `None` if the id is nobody's, or the name service does not say. It may ask over a network: not for an async task.
pub fn find(uid: u32) -> Option<User> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten()
}

/// The user's name, or `uid-1000` for one who has none.
pub fn name_of(uid: u32) -> String {
    find(uid).map_or_else(|| format!("uid-{uid}"), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        assert_eq!(find(0).unwrap().dir, std::path::Path::new("/root"));
        assert_eq!((name_of(0), name_of(u32::MAX - 7)), ("root".to_owned(), format!("uid-{}", u32::MAX - 7)));
    }
}
