//! A hundred, a thousand and ten thousand simulated units: the real controller as a process of its own, asked by its
//! API, with its journal on disk. Only the machines are simulated; every hook runs in Lua.
//!
//! What counts is how a figure grows from one size to the next: sizes are measured in one run, so that a slow host is
//! slow for all of them.

use std::time::{Duration, Instant};

use encanto::api::{AddRelation, AddUnit, CharmSource, Deploy, DestroyUnit, Done, EnvironmentKind, Wait};
use indexmap::IndexMap;

use crate::place::Place;
use crate::report::{Grown, Report, median, milliseconds};

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

/// How often one more unit is added, and a status is asked for.
const TIMES: usize = 7;
/// Units of the pair of services that units are added to; alike in every model, so that the work is the same.
const PROBES: (u32, u32) = (3, 2);
/// Units of the two services of each other pair.
const PAIR: (u32, u32) = (10, 10);
/// Pairs of services in each model: a hundred units, a thousand, ten thousand.
const SIZES: [u32; 3] = [5, 50, 500];

/// What one model costs.
struct Costs {
    units: u32,
    settled: Duration,
    resident: f64,
    peak: f64,
    journal: f64,
    status: Duration,
    answered: Duration,
    added: Duration,
    destroyed: Duration,
    gone: Duration,
    started: Duration,
}

pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let costs: Vec<Costs> = SIZES.iter().map(|pairs| model(report, *pairs)).collect::<anyhow::Result<_>>()?;
    let sizes = costs.iter().map(|cost| format!("{} units", cost.units)).collect();
    let each = |of: &dyn Fn(&Costs) -> f64| costs.iter().map(of).collect::<Vec<f64>>();
    let time = |of: fn(&Costs) -> Duration| each(&|cost| milliseconds(of(cost)));
    let a_unit = |of: &dyn Fn(&Costs) -> f64| each(&|cost| of(cost) / f64::from(cost.units));
    let rows = vec![
        Grown::new("add-unit: answered", "ms", time(|cost| cost.answered)).at_most(2.0),
        Grown::new("add-unit: settled", "ms", time(|cost| cost.added)).at_most(2.0),
        Grown::new("destroy-unit: answered", "ms", time(|cost| cost.destroyed)).at_most(2.0),
        Grown::new("destroy-unit: gone", "ms", time(|cost| cost.gone)).at_most(2.0),
        Grown::new("status, whole process", "ms", time(|cost| cost.status)),
        Grown::new("status, a unit", "µs", a_unit(&|cost| milliseconds(cost.status) * 1000.0)).at_most(1.5),
        Grown::new("controller start", "ms", time(|cost| cost.started)),
        Grown::new("deployed and settled, a unit", "ms", a_unit(&|cost| milliseconds(cost.settled))).at_most(1.5),
        Grown::new("controller, resident", "MB", each(&|cost| cost.resident)),
        Grown::new("controller, resident, a unit", "KB", a_unit(&|cost| cost.resident * 1024.0)).at_most(1.0),
        Grown::new("controller, at its peak", "MB", each(&|cost| cost.peak)),
        Grown::new("journal", "MB", each(&|cost| cost.journal)),
        Grown::new("journal, a unit", "KB", a_unit(&|cost| cost.journal * 1024.0)).at_most(1.5),
    ];
    report.growth(sizes, rows)
}

/// Deploys so many pairs, and says what this and that costs then.
fn model(report: &mut Report, pairs: u32) -> anyhow::Result<Costs> {
    let place = Place::new("bench-scale", EnvironmentKind::Simulated)?;
    place.write_charm("server", SERVER)?;
    place.write_charm("client", CLIENT)?;
    place.run("bootstrap --wait")?;
    pair(&place, "probe", PROBES)?;
    place.settle(&[])?;
    let begun = Instant::now();
    for number in 0..pairs {
        pair(&place, &format!("s{number}"), PAIR)?;
    }
    let deployed = begun.elapsed();
    place.settle(&[])?;
    let (settled, units) = (begun.elapsed(), pairs * (PAIR.0 + PAIR.1));
    let controller = place.controller()?;
    let (ticks, files) = (controller.ticks()?, controller.descriptors()?);
    report.note(&format!(
        "{units} units in {} related services: answered in {:.0} ms, settled after {:.1} s, {:.1} s on a core, {files} \
         open files",
        2 * pairs,
        milliseconds(deployed),
        settled.as_secs_f64(),
        ticks as f64 / 100.0
    ))?;
    let resident = controller.megabytes("VmRSS")?;
    let [answered, added, destroyed, gone] = add_units(&place)?;
    let status = (0..TIMES).map(|_| place.run("status --format json")).collect::<anyhow::Result<Vec<_>>>()?;
    let journal = journal(&place)?;
    let peak = place.controller()?.megabytes("VmHWM")?;
    place.run("controller stop")?;
    let started = place.run("controller start")?;
    place.settle(&[])?;
    let status = median(&status);
    Ok(Costs { units, settled, resident, peak, journal, status, answered, added, destroyed, gone, started })
}

/// Megabytes on the disk.
fn journal(place: &Place) -> anyhow::Result<f64> {
    let size = |name: &str| std::fs::metadata(place.folder().join(name)).map_or(0, |file| file.len());
    Ok((size("journal.db") + size("journal.db-wal")) as f64 / f64::from(1 << 20))
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

/// Adds a unit and takes it away again, several times: until the answer and until it is done. The first is not counted:
/// it reads what the others find.
fn add_units(place: &Place) -> anyhow::Result<[Duration; 4]> {
    let mut times: [Vec<Duration>; 4] = Default::default();
    for number in 0..=TIMES {
        let begun = Instant::now();
        place.ask(&AddUnit { service: "probe-server".to_owned(), units: 1, to: None })?;
        let answered = begun.elapsed();
        place.settle(&["probe-server", "probe-client"])?;
        let added = begun.elapsed();
        let unit = format!("probe-server/{}", PROBES.0 as usize + number);
        let begun = Instant::now();
        place.ask(&DestroyUnit { units: vec![unit.clone()], force: false })?;
        let destroyed = begun.elapsed();
        place.wait(Wait { targets: vec![unit], condition: Some("gone".to_owned()), timeout: Some(60) })?;
        let gone = begun.elapsed();
        // Not all of it: that look costs what the model is large, and the next round would begin while it is put away.
        place.settle(&["probe-server", "probe-client"])?;
        if number > 0 {
            times.iter_mut().zip([answered, added, destroyed, gone]).for_each(|(times, time)| times.push(time));
        }
    }
    Ok(times.map(|times| median(&times)))
}
