//! Frames as a plain stream of bytes, for threads that read and write files.

use std::io::{self, Read, Write};

use tokio::sync::mpsc;

use crate::api::Frame;

const CHUNK: usize = 64 << 10;

/// What is written goes to the other side's stdin; [`FrameWriter::finish`] ends that.
pub struct FrameWriter {
    frames: mpsc::Sender<Frame>,
    buffer: Vec<u8>,
}

impl FrameWriter {
    pub fn new(frames: mpsc::Sender<Frame>) -> Self {
        Self { frames, buffer: Vec::with_capacity(CHUNK) }
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.send(Vec::new())
    }

    fn send(&self, bytes: Vec<u8>) -> io::Result<()> {
        self.frames.blocking_send(Frame::Stdin(bytes)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for FrameWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.send(full)
    }
}

/// Ends when nobody sends any more.
pub struct FrameReader {
    parts: mpsc::Receiver<Vec<u8>>,
    part: io::Cursor<Vec<u8>>,
}

impl FrameReader {
    pub fn new(parts: mpsc::Receiver<Vec<u8>>) -> Self {
        Self { parts, part: io::Cursor::default() }
    }
}

impl Read for FrameReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.part.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.parts.blocking_recv() {
                Some(part) => self.part = io::Cursor::new(part),
                None => return Ok(0),
            }
        }
    }
}
