//! The operator at the other end: what he types, and what he is shown.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::api::Frame;

/// Bytes of lines that came unasked and wait for their hook.
const MOST_WAITING: usize = 1 << 20;

/// Something the operator did.
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    Line(String),
    Interrupt,
    /// There will be no more lines.
    End,
    /// He is gone, or sent more than can be kept.
    Gone,
}

pub struct Wire {
    frames: mpsc::Receiver<Frame>,
    out: mpsc::Sender<Frame>,
    lines: VecDeque<String>,
    waiting: usize,
    ended: bool,
    /// Columns and rows of his terminal, if he has one.
    pub terminal: Option<(u16, u16)>,
}

impl Wire {
    pub fn new(frames: mpsc::Receiver<Frame>, out: mpsc::Sender<Frame>, terminal: Option<(u16, u16)>) -> Self {
        Wire { frames, out, lines: VecDeque::new(), waiting: 0, ended: false, terminal }
    }

    pub async fn send(&self, frame: Frame) {
        // One who is gone is noticed by the next word.
        let _ = self.out.send(frame).await;
    }

    /// What the operator asked to see.
    pub async fn show(&self, text: &str) {
        self.send(Frame::Stdout(format!("{text}\n").into_bytes())).await;
    }

    /// What he is told besides.
    pub async fn tell(&self, text: &str) {
        self.send(Frame::Stderr(format!("{text}\n").into_bytes())).await;
    }

    /// Asks for a line, where somebody sits at a keyboard.
    pub async fn want(&self, prompt: String) {
        if self.terminal.is_some() && self.lines.is_empty() {
            self.send(Frame::Prompt(prompt)).await;
        }
    }

    /// Whether all that was typed has been used, and nothing more comes.
    pub fn is_used_up(&self) -> bool {
        self.ended && self.lines.is_empty()
    }

    /// The next line, or what came in its place.
    pub async fn word(&mut self) -> Word {
        loop {
            if let Some(line) = self.lines.pop_front() {
                self.waiting -= line.len();
                return Word::Line(line);
            }
            if self.ended {
                return Word::End;
            }
            if let Some(word) = self.hear().await {
                return word;
            }
        }
    }

    /// What he does besides typing lines, which are kept: he interrupts, ends his input, or goes.
    pub async fn disturbance(&mut self) -> Word {
        loop {
            if let Some(word) = self.hear().await {
                return word;
            }
        }
    }

    /// A frame as it comes, for a program that has the keys.
    pub async fn frame(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }

    /// Takes the next frame in; `None` if it said nothing by itself.
    async fn hear(&mut self) -> Option<Word> {
        match self.frames.recv().await {
            Some(frame) => self.take(frame),
            None => Some(Word::Gone),
        }
    }

    /// Keeps lines and sizes; the rest is told.
    pub fn take(&mut self, frame: Frame) -> Option<Word> {
        match frame {
            Frame::Line(line) => {
                self.waiting += line.len();
                self.lines.push_back(line);
                (self.waiting > MOST_WAITING).then_some(Word::Gone)
            }
            Frame::Stdin(bytes) if bytes.is_empty() => {
                self.ended = true;
                Some(Word::End)
            }
            Frame::Resize(columns, rows) => {
                self.terminal = Some((columns, rows));
                None
            }
            Frame::Interrupt => Some(Word::Interrupt),
            _ => None,
        }
    }
}
