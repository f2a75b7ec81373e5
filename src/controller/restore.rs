//! Putting an environment back to the state of a backup, while no controller of it runs.
//!
//! # Guarantees
//! Until the last step, a rename, the environment is as it was; after it, it is as the backup says. The machines are
//! not touched: those that the backup knows are found again by their names, and no new one gets the number of one that
//! the backup does not know.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::api::{EnvironmentKind, EnvironmentSettings, backup, users};
use crate::cli::host::Restored;
use crate::model::{Change, MachineId, Millis, Model, Provision};
use crate::provider::InstanceName;
use crate::store::{Entry, Journal, SqliteJournal};
use crate::worker::ledger::{self, Loaded};

use super::backup::{CHARMS, JOURNAL, Scratch};
use super::daemon;

/// # Errors
/// The backup is not whole or of another environment, or a controller runs. Nothing was changed then.
pub fn restore(settings: &EnvironmentSettings, file: &Path) -> Result<Restored> {
    let (manifest, content) = backup::open(file)?;
    manifest.fits(file, settings)?;
    daemon::make_folder(settings)?;
    let _no_controller = daemon::lock(&settings.folder)?;
    let scratch = Scratch::new(&settings.folder, "restore")?;
    unpack(content, &scratch).context("the content of the backup cannot be unpacked")?;
    let instances = instances(settings)?;
    let newest = scratch.join(JOURNAL);
    let model = {
        let mut journal = SqliteJournal::open(&newest)?;
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let machines = instances.iter().flatten().filter_map(|name| machine_of(name, settings)).collect();
        note(&mut journal, (manifest.taken, machines), &name)?
    };
    if model.environment.as_ref() != Some(&settings.name) {
        bail!("the journal in the backup is of another environment");
    }
    keep_charms(&scratch.join(CHARMS), &settings.folder.join(CHARMS)).context("the charms cannot be kept")?;
    replace(&newest, &settings.journal()).context("the journal cannot be replaced")?;
    daemon::forget_destruction(&settings.folder)?;
    Ok(told(&model, &instances, settings))
}

/// Files only, and only those that a backup has: an archive may hold anything.
fn unpack(content: impl Read, scratch: &Scratch) -> Result<()> {
    for entry in tar::Archive::new(content).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
        let ours = name == Path::new(JOURNAL) || name.starts_with(CHARMS);
        if !plain || !ours || !entry.header().entry_type().is_file() {
            bail!("\"{}\" does not belong there", name.display());
        }
        let path = scratch.join(&name.to_string_lossy());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&path)?;
        io::copy(&mut entry, &mut file)?;
        file.sync_all()?;
    }
    if !scratch.join(JOURNAL).exists() {
        bail!("there is no journal in it");
    }
    Ok(())
}

/// The instances that are there. Those of a simulated environment live in its controller: it makes them again.
fn instances(settings: &EnvironmentSettings) -> Result<Option<BTreeSet<InstanceName>>> {
    if settings.kind == EnvironmentKind::Simulated {
        return Ok(None);
    }
    let provider = daemon::provider(settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(Some(runtime.block_on(provider.list())?.into_keys().collect()))
}

fn machine_of(name: &InstanceName, settings: &EnvironmentSettings) -> Option<MachineId> {
    MachineId::from_tag(name.as_str().strip_prefix(&format!("{}-{}-", settings.user, settings.name))?)
}

/// Writes into the restored journal that it was restored. Returns the model.
fn note(journal: &mut SqliteJournal, (taken, machines): (Millis, BTreeSet<MachineId>), file: &str) -> Result<Model> {
    let Loaded { mut model, last, .. } = ledger::load(journal)?;
    let at = daemon::now();
    let events = model.change(Change::Restore { taken, machines }, at)?;
    let user = users::name_of(rustix::process::geteuid().as_raw());
    let entry = |(number, event)| Entry {
        sequence: last + 1 + number,
        at,
        by: format!("restore {file}"),
        user: Some(user.clone()),
        event,
    };
    journal.append(&(0..).zip(events).map(entry).collect::<Vec<_>>())?;
    Ok(model)
}

/// The names are the content: one that is there is the same.
fn keep_charms(from: &Path, to: &Path) -> io::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if !target.exists() {
            std::fs::rename(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The write-ahead log of the old journal must not be read into the new one: it is folded into the old one first, so
/// that a crash in between loses nothing.
fn replace(newest: &Path, journal: &Path) -> io::Result<()> {
    if journal.exists()
        && let Err(error) = SqliteJournal::open(journal)
    {
        tracing::warn!("the journal that is replaced could not be read: {error}");
    }
    for end in ["db-wal", "db-shm"] {
        match std::fs::remove_file(journal.with_extension(end)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(newest, journal)?;
    let folder: PathBuf = journal.parent().map(Path::to_owned).unwrap_or_default();
    File::open(folder)?.sync_all()
}

fn told(model: &Model, instances: &Option<BTreeSet<InstanceName>>, settings: &EnvironmentSettings) -> Restored {
    let mut restored = Restored { missing: Vec::new(), unknown: Vec::new() };
    let Some(instances) = instances else { return restored };
    for machine in model.machines.values() {
        if let Provision::Running { instance, .. } = &machine.provision
            && !instances.iter().any(|name| name.as_str() == instance)
        {
            restored.missing.push(machine.id.to_string());
        }
    }
    let unknown = instances
        .iter()
        .filter(|name| machine_of(name, settings).is_some_and(|machine| !model.machines.contains_key(&machine)));
    restored.unknown = unknown.map(ToString::to_string).collect();
    restored
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, HardwareFacts};

    fn settings() -> EnvironmentSettings {
        EnvironmentSettings {
            name: "lab".parse().unwrap(),
            kind: EnvironmentKind::Local,
            folder: PathBuf::new(),
            user: "ana".into(),
            uid: 0,
            gid: 0,
            repository: None,
            mirror: None,
            retry_hooks: true,
            series: "bookworm".into(),
            log_size: 1 << 20,
        }
    }

    fn model(machines: u32) -> Model {
        let mut model = Model::default();
        for number in 1..=machines {
            let machine = MachineId::new(number);
            let hardware = HardwareFacts::default();
            for event in [
                Event::MachineAdded { machine, series: "bookworm".into(), constraints: Default::default() },
                Event::MachineProvisioned {
                    machine,
                    instance: format!("ana-lab-machine-{number}"),
                    address: [10, 0, 0, 1].into(),
                    hardware,
                    prepared: None,
                },
            ] {
                model.apply(&event, 0);
            }
        }
        model
    }

    #[test]
    fn machines_that_are_gone_and_instances_that_are_newer_are_told() {
        let names = ["ana-lab-machine-1", "ana-lab-machine-7", "ana-lab-build-3", "eva-lab-machine-9"];
        let instances = Some(names.iter().map(|name| InstanceName::new(*name).unwrap()).collect());
        let restored = told(&model(2), &instances, &settings());
        assert_eq!(restored.missing, ["2"]);
        assert_eq!(restored.unknown, ["ana-lab-machine-7"]);
    }

    #[test]
    fn no_machine_gets_the_number_of_one_that_the_backup_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = SqliteJournal::open(&folder.path().join("journal.db")).unwrap();
        let machines = [MachineId::new(1), MachineId::new(7)].into();
        let model = note(&mut journal, (5, machines), "lab.backup").unwrap();
        assert_eq!(model.next_machine, 8);
        let last = journal.read_after(0).unwrap().pop().unwrap();
        assert_eq!((last.sequence, last.by.as_str()), (1, "restore lab.backup"));
        assert!(last.user.is_some());
    }

    #[test]
    fn an_archive_with_anything_else_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["journal.db-wal", "controller.sock", "charmsx/a"] {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(1);
            archive.append_data(&mut header, name, &b"x"[..]).unwrap();
            let scratch = Scratch::new(folder.path(), "restore").unwrap();
            let refused = unpack(archive.into_inner().unwrap().as_slice(), &scratch).unwrap_err();
            assert_eq!(refused.to_string(), format!("\"{name}\" does not belong there"));
        }
    }
}
