//! How [`Frame`]s look on the wire; both sides use this codec after `101 Switching Protocols`.
//!
//! One byte for the kind, four for the payload's length (big endian), then the payload. A frame longer than
//! [`LARGEST`] or of an unknown kind ends the stream with an error: the other side is not one of ours.

use std::io;

use tokio_util::bytes::{Buf, BufMut, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::requests::Frame;

/// What the `Upgrade` header of `/v1/exec` names.
pub const UPGRADE: &str = "encanto-exec";

/// Most bytes a payload may have. A sender of more cuts it into several frames.
pub const LARGEST: usize = 1 << 20;

const HEADER: usize = 5;
/// The last kind that is known.
const LAST: u8 = 9;

#[derive(Clone, Copy, Debug, Default)]
pub struct FrameCodec;

impl Encoder<Frame> for FrameCodec {
    type Error = io::Error;

    fn encode(&mut self, frame: Frame, buffer: &mut BytesMut) -> io::Result<()> {
        match frame {
            Frame::Stdin(bytes) => put(buffer, 0, &bytes),
            Frame::Stdout(bytes) => put(buffer, 1, &bytes),
            Frame::Stderr(bytes) => put(buffer, 2, &bytes),
            Frame::Resize(columns, rows) => {
                let [a, b] = columns.to_be_bytes();
                let [c, d] = rows.to_be_bytes();
                put(buffer, 3, &[a, b, c, d])
            }
            Frame::Exit(code) => put(buffer, 4, &code.to_be_bytes()),
            Frame::Failed(text) => put(buffer, 5, text.as_bytes()),
            Frame::Prompt(text) => put(buffer, 6, text.as_bytes()),
            Frame::Line(text) => put(buffer, 7, text.as_bytes()),
            Frame::Raw(on) => put(buffer, 8, &[u8::from(on)]),
            Frame::Interrupt => put(buffer, LAST, &[]),
        }
    }
}

fn put(buffer: &mut BytesMut, kind: u8, payload: &[u8]) -> io::Result<()> {
    if payload.len() > LARGEST {
        return Err(invalid(format!("a frame of {} bytes is too long to send", payload.len())));
    }
    buffer.reserve(HEADER + payload.len());
    buffer.put_u8(kind);
    buffer.put_u32(payload.len() as u32);
    buffer.put_slice(payload);
    Ok(())
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
        let Some(header) = buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let [kind, a, b, c, d] = *header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if kind > LAST {
            return Err(invalid(format!("a frame of unknown kind {kind}")));
        }
        if length > LARGEST {
            return Err(invalid(format!("a frame of {length} bytes is too long")));
        }
        if buffer.len() < HEADER + length {
            buffer.reserve(HEADER + length - buffer.len());
            return Ok(None);
        }
        buffer.advance(HEADER);
        let payload = buffer.split_to(length);
        frame(kind, &payload).map(Some)
    }
}

fn frame(kind: u8, payload: &[u8]) -> io::Result<Frame> {
    Ok(match kind {
        0 => Frame::Stdin(payload.to_vec()),
        1 => Frame::Stdout(payload.to_vec()),
        2 => Frame::Stderr(payload.to_vec()),
        3 => match *payload {
            [a, b, c, d] => Frame::Resize(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            _ => return Err(invalid("a resize frame that is not four bytes long".to_owned())),
        },
        4 => match payload.try_into() {
            Ok(code) => Frame::Exit(i32::from_be_bytes(code)),
            Err(_) => return Err(invalid("an exit frame that is not four bytes long".to_owned())),
        },
        5 => Frame::Failed(text(payload)),
        6 => Frame::Prompt(text(payload)),
        7 => Frame::Line(text(payload)),
        8 => Frame::Raw(payload == [1]),
        _ => Frame::Interrupt,
    })
}

fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).into_owned()
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(frames: &[Frame]) -> BytesMut {
        let mut buffer = BytesMut::new();
        for frame in frames {
            FrameCodec.encode(frame.clone(), &mut buffer).unwrap();
        }
        buffer
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..50);
        prop_oneof![
            bytes().prop_map(Frame::Stdin),
            bytes().prop_map(Frame::Stdout),
            bytes().prop_map(Frame::Stderr),
            any::<(u16, u16)>().prop_map(|(columns, rows)| Frame::Resize(columns, rows)),
            any::<i32>().prop_map(Frame::Exit),
            ".{0,20}".prop_map(Frame::Failed),
            ".{0,20}".prop_map(Frame::Prompt),
            ".{0,20}".prop_map(Frame::Line),
            any::<bool>().prop_map(Frame::Raw),
            Just(Frame::Interrupt),
        ]
    }

    #[test]
    fn the_wire_form_does_not_change() {
        assert_eq!(encoded(&[Frame::Stdout(b"hi".to_vec())])[..], *b"\x01\0\0\0\x02hi");
        assert_eq!(encoded(&[Frame::Resize(80, 24)])[..], *b"\x03\0\0\0\x04\0\x50\0\x18");
        assert_eq!(encoded(&[Frame::Exit(-1)])[..], *b"\x04\0\0\0\x04\xff\xff\xff\xff");
        assert_eq!(encoded(&[Frame::Line("a".into()), Frame::Raw(true)])[..], *b"\x07\0\0\0\x01a\x08\0\0\0\x01\x01");
    }

    #[test]
    fn strangers_are_refused_before_anything_is_allocated() {
        for wire in [&b"HTTP/1.1 200"[..], b"\x01\xff\xff\xff\xff", b"\x03\0\0\0\x01x", b"\x04\0\0\0\x00"] {
            assert!(FrameCodec.decode(&mut BytesMut::from(wire)).is_err());
        }
        assert!(FrameCodec.encode(Frame::Stdin(vec![0; LARGEST + 1]), &mut BytesMut::new()).is_err());
    }

    proptest! {
        #[test]
        fn frames_survive_being_cut_anywhere(frames in proptest::collection::vec(any_frame(), 0..6), step in 1usize..20) {
            let mut arrived = BytesMut::new();
            let mut read = Vec::new();
            for piece in encoded(&frames).chunks(step) {
                arrived.extend_from_slice(piece);
                while let Some(frame) = FrameCodec.decode(&mut arrived).unwrap() {
                    read.push(frame);
                }
            }
            prop_assert!(arrived.is_empty());
            prop_assert_eq!(read, frames);
        }

        #[test]
        fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = FrameCodec.decode(&mut buffer) {}
        }
    }
}
