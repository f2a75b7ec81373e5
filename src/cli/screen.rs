//! A view that is shown anew: drawn over on a terminal, one after the other elsewhere.

use super::error::Failure;
use super::output::Output;

/// No line is broken into two, so that as many lines as the terminal has rows fit on it.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";
const CLEAR: &str = "\x1b[H\x1b[2J";
const HOME: &str = "\x1b[H";
const TO_END_OF_LINE: &str = "\x1b[K";
const TO_END: &str = "\x1b[J";

pub struct Screen {
    live: bool,
    shown: bool,
}

impl Screen {
    pub fn new(output: &Output) -> Self {
        Self { live: output.stdout_is_terminal, shown: false }
    }

    pub fn show(&mut self, output: &Output, separator: &str, text: &str) -> Result<(), Failure> {
        let first = !std::mem::replace(&mut self.shown, true);
        if !self.live {
            return output.data(&if first { text.to_owned() } else { format!("{separator}{text}") });
        }
        let rows = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(24, |size| usize::from(size.ws_row));
        output.data(&frame(text, rows.max(2), first))
    }

    /// What was shown last stays.
    pub fn leave(&self, output: &Output) {
        if self.live && self.shown {
            // A terminal that is gone needs no wrapping.
            let _ = output.data(WRAP);
        }
    }
}

fn frame(text: &str, rows: usize, first: bool) -> String {
    let mut frame = NO_WRAP.to_owned() + if first { CLEAR } else { HOME };
    let lines: Vec<&str> = text.lines().collect();
    // The last row is the cursor's.
    let fits = if lines.len() < rows { lines.len() } else { rows - 2 };
    for line in &lines[..fits] {
        frame += &format!("{line}{TO_END_OF_LINE}\n");
    }
    if fits < lines.len() {
        frame += &format!("… {} lines more{TO_END_OF_LINE}\n", lines.len() - fits);
    }
    frame + TO_END
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        assert_eq!(frame("a\nb\n", 3, true), "\x1b[?7l\x1b[H\x1b[2Ja\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(frame("a\nb\nc\n", 3, false), "\x1b[?7l\x1b[Ha\x1b[K\n… 2 lines more\x1b[K\n\x1b[J");
    }
}
