//! The operator at the other end: what he types, and what he is shown.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::api::Frame;
use crate::api::backend::Session;

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

    /// Relays between the operator and a program in a machine until that ends, or the operator wants no more of it; with
    /// `keys` he types into it. False if he is gone. Dropping the session, as at any end, ends the program.
    pub async fn lend(&mut self, mut inside: Session, keys: bool) -> bool {
        let out = self.out.clone();
        // What the program has not taken yet: it may wait until what it says is read.
        let mut typed = None;
        if !keys {
            // A program that has ended has closed its input too.
            let _ = inside.input.send(Frame::Stdin(Vec::new())).await;
        }
        loop {
            tokio::select! {
                biased;
                said = inside.output.recv() => match said {
                    Some(Frame::Exit(0)) | None => return true,
                    Some(Frame::Exit(code)) => {
                        self.tell(&format!("it ended with code {code}")).await;
                        return true;
                    }
                    Some(Frame::Failed(why)) => {
                        self.tell(&why).await;
                        return true;
                    }
                    Some(frame) => self.send(frame).await,
                },
                () = out.closed() => return false,
                room = inside.input.reserve(), if typed.is_some() => {
                    // A program that has ended takes nothing.
                    if let (Ok(room), Some(frame)) = (room, typed.take()) {
                        room.send(frame);
                    }
                }
                frame = self.frames.recv(), if typed.is_none() => {
                    let Some(frame) = frame else { return false };
                    if keys && matches!(frame, Frame::Stdin(_) | Frame::Resize(..)) {
                        typed = Some(frame.clone());
                        if matches!(frame, Frame::Stdin(_)) {
                            continue;
                        }
                    }
                    match self.take(frame) {
                        Some(Word::Gone) => return false,
                        Some(Word::Interrupt) => return true,
                        _ => {}
                    }
                }
            }
        }
    }

    /// Takes the next frame in; `None` if it said nothing by itself.
    async fn hear(&mut self) -> Option<Word> {
        match self.frames.recv().await {
            Some(frame) => self.take(frame),
            None => Some(Word::Gone),
        }
    }

    /// Keeps lines and sizes; the rest is told.
    fn take(&mut self, frame: Frame) -> Option<Word> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing in before what it says is read, as a shell on a terminal that is full.
    #[tokio::test]
    async fn a_program_that_does_not_read_is_heard_all_the_same() {
        let (keys, frames) = mpsc::channel(4);
        let (out, mut screen) = mpsc::channel(1);
        let (input, mut taken) = mpsc::channel(1);
        let (says, output) = mpsc::channel(1);
        for key in 0..3 {
            keys.send(Frame::Stdin(vec![key])).await.unwrap();
        }
        let program = tokio::spawn(async move {
            // Until the operator has typed more than there is room for.
            while keys.capacity() < 3 {
                tokio::task::yield_now().await;
            }
            says.send(Frame::Stdout(b"full".to_vec())).await.unwrap();
            let heard = screen.recv().await;
            let mut all = Vec::new();
            while all.len() < 3 {
                all.push(taken.recv().await.unwrap());
            }
            says.send(Frame::Exit(0)).await.unwrap();
            (heard, all)
        });
        let mut wire = Wire::new(frames, out, Some((80, 24)));
        assert!(wire.lend(Session { input, output }, true).await);
        let (heard, all) = program.await.unwrap();
        assert_eq!(heard, Some(Frame::Stdout(b"full".to_vec())));
        assert_eq!(all, [0, 1, 2].map(|key| Frame::Stdin(vec![key])));
    }

    #[tokio::test]
    async fn one_who_leaves_is_not_waited_for() {
        let (keys, frames) = mpsc::channel(4);
        let (out, screen) = mpsc::channel(1);
        let (input, _untaken) = mpsc::channel(1);
        let (_says, output) = mpsc::channel(1);
        for key in 0..3 {
            keys.send(Frame::Stdin(vec![key])).await.unwrap();
        }
        let mut wire = Wire::new(frames, out, Some((80, 24)));
        let lent = tokio::spawn(async move { wire.lend(Session { input, output }, true).await });
        while keys.capacity() < 3 {
            tokio::task::yield_now().await;
        }
        drop((keys, screen));
        assert!(!lent.await.unwrap());
    }
}
