//! How long things take, beside what they may take: `make bench`.
//!
//! ```text
//! make bench                      everything; needs root, some five minutes, and a host that is left alone meanwhile
//! make bench PARTS="commands"     some of: wiki commands scale machines, or a kind of machines: lxc libvirt-lxc kvm
//! ```
//!
//! - [`wiki`]: a wiki from nothing, through the program and by hand, in turns; then the controller at rest.
//! - [`commands`]: single commands as whole processes, with the wiki deployed.
//! - [`machines`]: single machines of each kind, through a provider and by hand, in turns.
//! - [`scale`]: a hundred, a thousand and ten thousand simulated units beside each other.
//!
//! The table is printed and written to `target/bench.md`. Every environment lives in a home of its own below the
//! temporary folder, and is destroyed at the end, also after a failure or an interrupt.

#![allow(clippy::disallowed_methods, reason = "a bench starts programs and reads the clock")]

mod commands;
mod machines;
mod place;
mod report;
mod scale;
mod wiki;

use std::path::Path;

use anyhow::Context as _;
use encanto::provider::local::LocalSettings;
use encanto::provider::{Kind, registry};

use report::Report;

fn main() -> anyhow::Result<()> {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |part: &str| asked.is_empty() || asked.iter().any(|name| name == part);
    place::end_on_interrupt()?;
    let mut report = Report::begin()?;
    let done = measure(&mut report, &wanted);
    report.finish(Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("no target folder")?)?;
    done
}

fn measure(report: &mut Report, wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<()> {
    if wanted("scale") {
        scale::measure(report)?;
    }
    let kinds = registry::local(LocalSettings::new("bench", "any", std::env::temp_dir()))?.kinds();
    let kinds: Vec<Kind> = kinds.into_iter().filter(|kind| wanted("machines") || wanted(kind.name)).collect();
    let parts = ["wiki", "commands"].into_iter().filter(|part| wanted(part));
    let real: Vec<&str> = parts.chain(kinds.iter().map(|kind| kind.name)).collect();
    if !real.is_empty() && !rustix::process::geteuid().is_root() {
        report.note(&format!("not measured: {} (real machines need root)", real.join(", ")))?;
        return Ok(());
    }
    if !kinds.is_empty() {
        machines::measure(kinds, report)?;
    }
    if wanted("wiki") || wanted("commands") {
        let host = wiki::Host::ready(report)?;
        if wanted("wiki") {
            wiki::measure(&host, report)?;
        }
        if wanted("commands") {
            commands::measure(&host, report)?;
        }
    }
    Ok(())
}
