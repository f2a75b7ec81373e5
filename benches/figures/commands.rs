//! Single commands, each a process from its start to its end.

use std::time::Duration;

use encanto::api::EnvironmentKind;

use crate::place::Place;
use crate::report::Report;
use crate::wiki::Host;

const TIMES: usize = 11;
/// Quick ones vary more.
const MANY: usize = 41;

pub fn measure(host: &Host, report: &mut Report) -> anyhow::Result<()> {
    let place = Place::new("bench", EnvironmentKind::Local)?;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        times.push(place.run("bootstrap --wait")?);
        place.run("destroy-environment bench --yes")?;
    }
    drop(place);
    report.median("bootstrap, image cached", &times, Some(2000.0))?;

    let fresh = host.place()?;
    fresh.wiki("wiki", "mysql")?;
    let place = &fresh.place;
    place.settle(&[])?;
    report.median("status", &repeat(place, "status", MANY)?, Some(15.0))?;
    report.median("ssh mysql/0 true", &repeat(place, "ssh mysql/0 true", MANY)?, Some(20.0))?;
    let mut times = Vec::new();
    for number in 0..TIMES {
        times.push(place.run("add-machine --wait")?);
        // The wiki and its database have 1 and 2.
        let machine = number + 3;
        place.run(&format!("destroy-machine {machine}"))?;
        place.run(&format!("wait {machine} --for gone"))?;
    }
    report.median("add-machine until it is started", &times, Some(1000.0))
}

fn repeat(place: &Place, line: &str, count: usize) -> anyhow::Result<Vec<Duration>> {
    place.run(line)?;
    (0..count).map(|_| place.run(line)).collect()
}
