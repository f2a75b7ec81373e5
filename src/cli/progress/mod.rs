//! `--wait`: what becomes of machines and units while one looks on.
//!
//! On a terminal a tree that is drawn over, elsewhere a line for each change. Both go to stderr.

mod tree;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::time::interval;

use super::error::{DONE, Failure, Outcome};
use super::output::{Loudness, Output, state_style};
use super::values;
use crate::api::{Client, ProgressLine, Wait, WaitEvent};
use crate::cli::terminal::Interrupts;
use tree::Tree;

/// How often the tree is drawn.
const FRAME: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, clap::Args)]
pub struct WaitOption {
    /// Stay until it is done, at most so long (30s, 5m, 1h), and show how it goes
    #[arg(
        long,
        value_name = "TIMEOUT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "forever",
        value_parser = patience
    )]
    wait: Option<Patience>,
}

#[derive(Clone, Copy, Debug)]
enum Patience {
    Forever,
    Seconds(u64),
}

fn patience(text: &str) -> Result<Patience, String> {
    if text == "forever" { Ok(Patience::Forever) } else { values::seconds(text).map(Patience::Seconds) }
}

impl WaitOption {
    /// `None` if nobody wants to wait; then the seconds, if they have an end.
    pub fn timeout(&self) -> Option<Option<u64>> {
        self.wait.map(|patience| match patience {
            Patience::Forever => None,
            Patience::Seconds(seconds) => Some(seconds),
        })
    }
}

/// Shows how it goes until it is done.
///
/// # Errors
/// With the reasons, if something ended in error or the time is over.
pub async fn follow(output: &Output, client: &Client, wait: Wait) -> Outcome {
    let mut interrupts = Interrupts::listen()?;
    let mut events = client.wait(&wait).await?;
    let mut view = View::new(output);
    let mut frames = interval(FRAME);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = frames.tick(), if view.is_live() => {
                view.draw(output);
                continue;
            }
            () = interrupts.next() => {
                view.finish(output);
                output.note("interrupted: what was begun goes on, see `encanto status`");
                return Err(Failure::interrupted());
            }
        };
        let end = match event {
            Ok(Some(WaitEvent::Progress(line))) => {
                view.change(output, line);
                continue;
            }
            Ok(Some(WaitEvent::Ready)) => Ok(DONE),
            Ok(Some(WaitEvent::Failed { reasons })) => Err(failed("it will not get there by itself", reasons)),
            Ok(Some(WaitEvent::TimedOut { reasons })) => Err(failed("the time is over", reasons)),
            Ok(None) => {
                Err(Failure::failed("the controller stopped before it was done").hint("encanto controller start"))
            }
            Err(error) => Err(error.into()),
        };
        view.finish(output);
        return end;
    }
}

/// A single reason is the error itself.
fn failed(summary: &str, reasons: Vec<String>) -> Failure {
    let failure = match &reasons[..] {
        [reason] => Failure::failed(format!("{summary}: {reason}")),
        _ => Failure::failed(summary).details(reasons),
    };
    failure.hint("encanto status").hint("encanto debug-log --replay --no-tail --level WARNING")
}

enum View {
    Silent,
    /// The last line of each entity: what a person would not see change is not said again.
    Plain(HashMap<String, String>),
    Live(Tree),
}

impl View {
    fn new(output: &Output) -> Self {
        match output.loudness {
            Loudness::Quiet => Self::Silent,
            _ if output.stderr_is_terminal => Self::Live(Tree::default()),
            _ => Self::Plain(HashMap::new()),
        }
    }

    fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    fn change(&mut self, output: &Output, line: ProgressLine) {
        match self {
            Self::Silent => {}
            Self::Plain(said) => {
                let state = output.note_paint.dress(state_style(&line.state), &line.state);
                let text = match line.message.as_str() {
                    "" => format!("{}: {state}", line.entity),
                    message => format!("{}: {state} ({message})", line.entity),
                };
                if said.get(&line.entity) != Some(&text) {
                    output.note(&text);
                    said.insert(line.entity, text);
                }
            }
            Self::Live(tree) => tree.change(line, Instant::now()),
        }
    }

    fn draw(&mut self, output: &Output) {
        if let Self::Live(tree) = self {
            let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
            let (columns, rows) = size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()));
            output.stderr_raw(&tree.draw(output.note_paint, (columns, rows), Instant::now()));
        }
    }

    fn finish(&mut self, output: &Output) {
        if let Self::Live(tree) = self {
            tree.end();
        }
        self.draw(output);
    }
}
