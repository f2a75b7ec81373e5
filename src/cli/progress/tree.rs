//! The picture of a wait: machines with their units below them, each with its state, message and time.

use std::fmt::Write;
use std::time::Instant;

use crate::api::ProgressLine;
use crate::cli::output::{DIM, GREEN, Paint, RED, state_style};

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

#[derive(Debug)]
struct Node {
    line: ProgressLine,
    since: Instant,
    until: Option<Instant>,
}

#[derive(Debug, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    /// Lines of the last picture, which the next one covers.
    drawn: usize,
    frame: usize,
    ended: bool,
}

impl Tree {
    pub fn change(&mut self, line: ProgressLine, now: Instant) {
        let until = line.settled.then_some(now);
        match self.nodes.iter_mut().find(|node| node.line.entity == line.entity) {
            Some(node) => {
                let until = if line.settled { node.until.or(until) } else { None };
                (node.line, node.until) = (line, until);
            }
            None => self.nodes.push(Node { line, since: now, until }),
        }
    }

    /// The next picture is the last: all of it, without a spinner.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// What to write to the terminal to replace the last picture by the present one.
    pub fn draw(&mut self, paint: Paint, (columns, rows): (usize, usize), now: Instant) -> String {
        self.frame += 1;
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        text.push_str("\r\x1b[J");
        let lines = self.lines(paint, columns, now);
        let room = if self.ended { usize::MAX } else { rows.saturating_sub(2).max(1) };
        let hidden = lines.len().saturating_sub(room);
        // What still works is what one wants to see; if not all fits, what is settled goes first.
        let mut surplus = hidden;
        let settled_first: Vec<&(bool, String)> = lines
            .iter()
            .filter(|(settled, _)| {
                let skip = *settled && surplus > 0;
                surplus -= usize::from(skip);
                !skip
            })
            .collect();
        self.drawn = 0;
        for (_, line) in settled_first.into_iter().take(room) {
            text.push_str(line);
            text.push('\n');
            self.drawn += 1;
        }
        if hidden > 0 {
            let _ = writeln!(text, "{}", paint.dress(DIM, &format!("… and {hidden} more")));
            self.drawn += 1;
        }
        text
    }

    fn lines(&self, paint: Paint, columns: usize, now: Instant) -> Vec<(bool, String)> {
        let is_root = |node: &Node| match &node.line.parent {
            None => true,
            Some(parent) => !self.nodes.iter().any(|other| other.line.entity == *parent),
        };
        let mut ordered = Vec::new();
        for root in self.nodes.iter().filter(|node| is_root(node)) {
            ordered.push((0, root));
            let below = self.nodes.iter().filter(|node| node.line.parent.as_ref() == Some(&root.line.entity));
            ordered.extend(below.map(|node| (2, node)));
        }
        let names = ordered.iter().map(|(indent, node)| indent + node.line.entity.chars().count()).max().unwrap_or(0);
        let states = ordered.iter().map(|(_, node)| node.line.state.chars().count()).max().unwrap_or(0);
        let row = |(indent, node): (usize, &Node)| {
            let name = format!("{:indent$}{}", "", node.line.entity);
            let elapsed = elapsed(node.until.unwrap_or(now).duration_since(node.since).as_secs());
            let used = names + states + elapsed.len() + 10;
            let message = node.line.message.lines().next().unwrap_or_default();
            // As status has it.
            let message = match &node.line.doing {
                Some(doing) => format!("({doing}) {message}"),
                None => message.to_owned(),
            };
            let message = cut(message.trim_end(), columns.saturating_sub(used));
            let state = paint.dress(state_style(&node.line.state), &format!("{:states$}", node.line.state));
            let time = paint.dress(DIM, &elapsed);
            (
                node.line.settled,
                format!("{} {name:names$}  {state}  {time}  {message}", self.mark(paint, node)).trim_end().to_owned(),
            )
        };
        ordered.into_iter().map(row).collect()
    }

    fn mark(&self, paint: Paint, node: &Node) -> String {
        // What is dying and yet settled goes no further by itself.
        let stuck = node.line.settled && node.line.state == "dying";
        if stuck || matches!(node.line.state.as_str(), "error" | "down") {
            paint.dress(RED, "✗")
        } else if node.line.settled {
            paint.dress(GREEN, "✓")
        } else if self.ended {
            "·".to_owned()
        } else {
            SPINNER[self.frame % SPINNER.len()].to_owned()
        }
    }
}

/// `7s`, `1m05s`, `2h03m`.
fn elapsed(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// A line that wrapped would be drawn over wrongly.
fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PLAIN: Paint = Paint { colour: false };

    fn line(entity: &str, parent: Option<&str>, state: &str, settled: bool) -> ProgressLine {
        let (entity, parent) = (entity.to_owned(), parent.map(str::to_owned));
        ProgressLine { entity, parent, state: state.to_owned(), message: "a message".to_owned(), doing: None, settled }
    }

    fn tree() -> (Tree, Instant) {
        let (mut tree, now) = (Tree::default(), Instant::now());
        tree.change(line("mysql/0", Some("machine 1"), "pending", false), now);
        tree.change(line("machine 1", None, "started", true), now);
        tree.change(line("machine 2", None, "error", false), now);
        (tree, now)
    }

    #[test]
    fn units_hang_below_their_machine() {
        let (mut tree, now) = tree();
        tree.end();
        let picture = tree.draw(PLAIN, (80, 24), now + Duration::from_secs(65));
        insta::assert_snapshot!(picture.trim_start_matches("\r\x1b[J"), @r"
        ✓ machine 1  started  0s  a message
        ·   mysql/0  pending  1m05s  a message
        ✗ machine 2  error    1m05s  a message
        ");
    }

    #[test]
    fn what_a_unit_does_stands_before_its_message() {
        let (mut tree, now) = tree();
        let doing = Some("running start".to_owned());
        tree.change(ProgressLine { doing, ..line("mysql/0", Some("machine 1"), "active", false) }, now);
        let picture = tree.draw(PLAIN, (80, 24), now);
        assert!(picture.contains("mysql/0  active   0s  (running start) a message\n"), "{picture}");
    }

    #[test]
    fn a_picture_covers_the_one_before_it() {
        let (mut tree, now) = tree();
        tree.draw(PLAIN, (80, 24), now);
        assert!(tree.draw(PLAIN, (80, 24), now).starts_with("\x1b[3A\r\x1b[J"));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_what_works_is_kept() {
        let (mut tree, now) = tree();
        let picture = tree.draw(PLAIN, (80, 4), now);
        assert!(picture.contains("mysql/0") && picture.contains("machine 2"), "{picture}");
        assert!(!picture.contains("machine 1 ") && picture.contains("… and 1 more"), "{picture}");
    }

    #[test]
    fn lines_never_wrap() {
        let (mut tree, now) = tree();
        let picture = tree.draw(PLAIN, (32, 24), now);
        assert!(picture.lines().all(|line| line.trim_start_matches("\r\x1b[J").chars().count() <= 32), "{picture}");
    }
}
