//! What a charm is, as a number: two charms with the same digest do the same.

use std::fmt::Write;

use ring::digest::{Context, SHA256};

use super::CharmFiles;
use super::source;

/// SHA-256 of all files, in hex; independent of where they came from.
pub fn digest(files: &CharmFiles) -> String {
    let mut context = Context::new(&SHA256);
    for (path, content) in files {
        // Lengths first: no two sets of files give the same bytes.
        context.update(&(path.len() as u64).to_le_bytes());
        context.update(path.as_bytes());
        context.update(&(content.len() as u64).to_le_bytes());
        context.update(content);
    }
    hex(context)
}

/// Names the layer that `prepare` of this charm makes on the layer or image `base_key`. It changes with any file of
/// the charm and of the standard library: a layer too many is cheaper than a stale one.
pub fn prepare_key(files: &CharmFiles, base_key: &str) -> String {
    let modules = source::stdlib_modules();
    let stdlib: CharmFiles = modules
        .into_iter()
        .filter_map(|name| source::stdlib_file(&name).map(|content| (name, content.into_owned())))
        .collect();
    let mut context = Context::new(&SHA256);
    for part in [&digest(files), &digest(&stdlib), base_key] {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    hex(context)
}

fn hex(context: Context) -> String {
    context.finish().as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> CharmFiles {
        list.iter().map(|(path, text)| (path.to_string(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn digests_tell_files_apart() {
        let one = files(&[("a", "bc"), ("d", "")]);
        assert_eq!(digest(&one), digest(&one.clone()));
        for other in [files(&[("ab", "c"), ("d", "")]), files(&[("a", "bc")]), files(&[("a", "bd"), ("d", "")])] {
            assert_ne!(digest(&one), digest(&other));
        }
        assert_eq!(digest(&one).len(), 64);
    }

    #[test]
    fn a_layer_depends_on_its_base() {
        let charm = files(&[("charm.lua", "")]);
        assert_ne!(prepare_key(&charm, "a"), prepare_key(&charm, "b"));
    }
}
