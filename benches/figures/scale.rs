//! A thousand simulated units: the real controller as a process of its own, asked by its API, with its journal on disk.
//! Only the machines are simulated; every hook runs in Lua.

use std::time::{Duration, Instant};

use encanto::api::{AddRelation, AddUnit, CharmSource, Deploy, DestroyUnit, Done, EnvironmentKind, Wait};
use indexmap::IndexMap;

use crate::place::Place;
use crate::report::{Report, median, milliseconds};

const SERVER: &str = r#"
return charm({
  name = "server", summary = "Offers an address", series = { "bookworm" },
  provides = { db = { interface = "bench" } },
  hooks = {
    start = function(unit) unit:exec({ "true" }) unit:set_status("active", "ready") end,
    ["db-relation-joined"] = function(unit, relation) relation:set({ host = unit.private_address }) end,
  },
})
"#;

const CLIENT: &str = r#"
return charm({
  name = "client", summary = "Uses an address", series = { "bookworm" },
  requires = { db = { interface = "bench" } },
  hooks = {
    start = function(unit) unit:exec({ "true" }) unit:set_status("active", "ready") end,
    ["db-relation-changed"] = function(unit, relation)
      unit:write("/etc/server", relation:get("host", relation.remote) or "")
    end,
  },
})
"#;

/// How often one more unit is added.
const TIMES: usize = 11;
/// Units of the pair of services that units are added to; alike in every model, so that the work is the same.
const PROBES: (u32, u32) = (3, 2);

/// Pairs of services, and units of each service.
struct Size {
    pairs: u32,
    units: u32,
}

struct Added {
    answered: Duration,
    settled: Duration,
}

pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let small = model(report, &Size { pairs: 1, units: 3 })?;
    let large = model(report, &Size { pairs: 25, units: 20 })?;
    let growth = |of: fn(&Added) -> Duration| of(&large).as_secs_f64() / of(&small).as_secs_f64();
    report.figure("add-unit answered, 1,000 units beside 10", growth(|added| added.answered), "ratio", Some(1.5))?;
    report.figure("add-unit settled, 1,000 units beside 10", growth(|added| added.settled), "ratio", Some(1.5))
}

/// Deploys it, and says what one more unit costs then.
fn model(report: &mut Report, size: &Size) -> anyhow::Result<Added> {
    let place = Place::new("bench-scale", EnvironmentKind::Simulated)?;
    place.write_charm("server", SERVER)?;
    place.write_charm("client", CLIENT)?;
    place.run("bootstrap --wait")?;
    pair(&place, "probe", PROBES)?;
    place.settle(&[])?;
    let begun = Instant::now();
    for number in 0..size.pairs {
        pair(&place, &format!("s{number}"), (size.units, size.units))?;
    }
    let answered = begun.elapsed();
    place.settle(&[])?;
    let (took, units) = (begun.elapsed(), 2 * size.pairs * size.units);
    let controller = place.controller()?;
    let what = format!("{units} simulated units in {} related services", 2 * size.pairs);
    if size.pairs > 1 {
        report.figure(&format!("{what}: deployed and settled"), took.as_secs_f64(), "s", None)?;
        report.figure(&format!("{what}: controller, resident"), controller.megabytes("VmRSS")?, "MB", None)?;
        report.figure(&format!("{what}: controller, at its peak"), controller.megabytes("VmHWM")?, "MB", None)?;
        let (ticks, files) = (controller.ticks()?, controller.descriptors()?);
        report.note(&format!(
            "{what}: answered in {:.0} ms, {:.1} s on a core, {files} open files",
            milliseconds(answered),
            ticks as f64 / 100.0
        ))?;
    }
    let added = add_units(&place)?;
    report.figure(&format!("add-unit among {units} units: answered"), milliseconds(added.answered), "ms", None)?;
    report.figure(&format!("add-unit among {units} units: settled"), milliseconds(added.settled), "ms", None)?;
    Ok(added)
}

fn pair(place: &Place, name: &str, (servers, clients): (u32, u32)) -> anyhow::Result<Done> {
    let (server, client) = (format!("{name}-server"), format!("{name}-client"));
    for (charm, service, units) in [("server", &server, servers), ("client", &client, clients)] {
        place.ask(&Deploy {
            charm: CharmSource::Named(charm.to_owned()),
            service: Some(service.clone()),
            units,
            to: None,
            config: IndexMap::new(),
            constraints: None,
            expose: false,
        })?;
    }
    place.ask(&AddRelation { endpoints: vec![server, client] })
}

/// Adds a unit and takes it away again, several times. The first is not counted: it reads what the others find.
fn add_units(place: &Place) -> anyhow::Result<Added> {
    let (mut answered, mut settled) = (Vec::new(), Vec::new());
    for number in 0..=TIMES {
        let begun = Instant::now();
        place.ask(&AddUnit { service: "probe-server".to_owned(), units: 1, to: None })?;
        let answer = begun.elapsed();
        place.settle(&["probe-server", "probe-client"])?;
        if number > 0 {
            answered.push(answer);
            settled.push(begun.elapsed());
        }
        let unit = format!("probe-server/{}", PROBES.0 as usize + number);
        place.ask(&DestroyUnit { units: vec![unit.clone()], force: false })?;
        place.wait(Wait { targets: vec![unit], condition: Some("gone".to_owned()), timeout: Some(60) })?;
        place.settle(&[])?;
    }
    Ok(Added { answered: median(&answered), settled: median(&settled) })
}
