//! Names of the users of this host, as `/etc/passwd` has them.

use std::path::PathBuf;

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub gid: u32,
    pub home: PathBuf,
}

/// Users of a directory service are not in it.
pub fn read() -> String {
    std::fs::read_to_string("/etc/passwd").unwrap_or_default()
}

pub fn find(passwd: &str, uid: u32) -> Option<Listed> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, number, gid, _, home, ..] = fields[..] else { return None };
        (number.parse() == Ok(uid)).then(|| Listed {
            name: name.to_owned(),
            gid: gid.parse().unwrap_or(uid),
            home: PathBuf::from(home),
        })
    })
}

/// The user's name, or `uid-1000` for one who is not listed.
pub fn name_of(passwd: &str, uid: u32) -> String {
    find(passwd, uid).map_or_else(|| format!("uid-{uid}"), |listed| listed.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken:x\neva:x:1000:100:Eva,,,:/home/eva:/bin/sh\n";
        let eva = find(passwd, 1000).unwrap();
        assert_eq!((eva.name.as_str(), eva.gid, eva.home), ("eva", 100, PathBuf::from("/home/eva")));
        assert_eq!((name_of(passwd, 0), name_of(passwd, 7)), ("root".to_owned(), "uid-7".to_owned()));
    }
}
