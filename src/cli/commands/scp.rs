//! `scp`: files and folders into machines and out of them, without keys or passwords.

use std::path::PathBuf;

use crate::api::Client;
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::session::{Session, block_on};
use crate::cli::transfer::{self, Far};

/// Copy files and folders into a machine, or out of machines
///
/// Permissions are kept; whatever goes into a machine belongs to root there, or to the user that is named, unless the
/// file was there before.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encanto scp mysql/0:/etc/mysql/my.cnf .
  encanto scp -r site mediawiki/0:/var/www/
  encanto scp mysql/0:/etc/hosts mysql/1:/etc/hostname seen/")]
pub struct Scp {
    /// Files of this host, or `[USER@]UNIT:PATH` or `[USER@]MACHINE:PATH`
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,
    /// Where it goes: the other of the two; a folder that is there, for several
    #[arg(value_name = "DEST")]
    destination: String,
    /// A folder with all that is in it
    #[arg(short, long)]
    recursive: bool,
}

impl Scp {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let misused = |words: &str| Failure::usage(words).hint("encanto scp mysql/0:/etc/mysql/my.cnf .");
        let sources: Vec<Place> = self.sources.iter().map(|source| Place::of(source)).collect::<Result<_, _>>()?;
        let several = sources.len() > 1;
        match Place::of(&self.destination)? {
            Place::There(far) => {
                let near = sources.into_iter().map(Place::here).collect::<Option<Vec<_>>>();
                let near = near.ok_or_else(|| misused("what goes into a machine must be on this host"))?;
                let settings = session.settings()?;
                // Nothing is copied if one of them cannot be.
                let open = |path: PathBuf| transfer::Source::open(&path, self.recursive);
                let opened = near.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
                let far = if several { far.inside() } else { far };
                block_on(async {
                    let client = Client::connect(&settings).await?.for_command("scp");
                    for source in opened {
                        transfer::send(&client, source, &far).await?;
                    }
                    Ok(DONE)
                })
            }
            Place::Here(path) => {
                let far = sources.into_iter().map(Place::there).collect::<Option<Vec<_>>>();
                let far = far.ok_or_else(|| misused("what comes to this host must be in a machine"))?;
                let settings = session.settings()?;
                if several && !path.is_dir() {
                    let words = format!("\"{}\" is no folder: several files need one", path.display());
                    return Err(Failure::failed(words));
                }
                block_on(async {
                    let client = Client::connect(&settings).await?.for_command("scp");
                    for far in far {
                        transfer::fetch(&client, &far, &path, self.recursive).await?;
                    }
                    Ok(DONE)
                })
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Place {
    Here(PathBuf),
    There(Far),
}

impl Place {
    fn here(self) -> Option<PathBuf> {
        match self {
            Place::Here(path) => Some(path),
            Place::There(_) => None,
        }
    }

    fn there(self) -> Option<Far> {
        match self {
            Place::There(far) => Some(far),
            Place::Here(_) => None,
        }
    }

    /// What stands before the first colon is a unit or a machine, maybe with `user@`, unless it looks like a path.
    fn of(text: &str) -> Result<Place, Failure> {
        let Some((target, path)) = text.split_once(':') else { return Ok(Place::Here(text.into())) };
        if target.starts_with(['.', '/']) {
            return Ok(Place::Here(text.into()));
        }
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let place = target.split_once('@').map_or(target, |(_, place)| place);
        let is_container =
            place.split_once("/lxc/").is_some_and(|(machine, container)| digits(machine) && digits(container));
        let is_unit = place.split_once('/').is_some_and(|(service, number)| !service.is_empty() && digits(number));
        if !is_unit && !is_container && !digits(place) {
            return Err(Failure::usage(format!("\"{target}\" is neither a unit nor a machine"))
                .hint("for example `mysql/0:/etc/hosts` or `1:/etc/hosts`")
                .hint(format!("a file of this host with a colon in its name is given as \"./{text}\"")));
        }
        Ok(Place::There(Far { target: target.to_owned(), path: path.to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_here_or_in_a_machine() {
        let there = |text: &str| matches!(Place::of(text), Ok(Place::There(_)));
        let here = |text: &str| matches!(Place::of(text), Ok(Place::Here(_)));
        assert!(there("mysql/0:/etc") && there("3:x") && there("a-b/12:") && there("1:a:b") && there("1/lxc/0:/etc"));
        assert!(there("www-data@wiki/0:x") && there("ana@3:/x") && there("ana@1/lxc/0:/x"));
        assert!(here("x") && here("./a:b") && here("/tmp/a:b") && here("../1:x"));
        for text in ["ana@host:x", "mysql:/etc", "a/b:c", ":x", "x/:y", "1/lxc/x:y"] {
            assert!(Place::of(text).is_err(), "{text}");
        }
    }
}
