//! What goes over a machine's port: `guest/port.pl` has the other half.
//!
//! A frame is the number of the command that it belongs to (4 bytes), a letter, the length of its body (4 bytes), and the
//! body. All numbers are big-endian.

use std::io::{Error, ErrorKind};

use tokio_util::bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio_util::codec::Decoder;

/// How many bytes of a stream may be under way before the other side has said that it took some.
pub const WINDOW: usize = 256 * 1024;

/// Most bytes of a stream in a frame.
pub const CHUNK: usize = 32 * 1024;

const HEAD: usize = 9;

/// The helper sends nothing longer; what claims to be is no frame.
const LONGEST: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn code(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }

    fn of_code(code: u8) -> Result<Self, Error> {
        match code {
            1 => Ok(Self::Stdout),
            2 => Ok(Self::Stderr),
            _ => Err(nonsense()),
        }
    }
}

/// What the controller says.
#[derive(Debug, PartialEq, Eq)]
pub enum ToGuest<'a> {
    Begin(&'a [String]),
    Input(&'a [u8]),
    InputEnd,
    /// So many bytes of a stream were read: as many more may come.
    Took(Stream, usize),
    Resize(u16, u16),
    Kill,
    /// Nobody reads this stream any more.
    Close(Stream),
    /// Nobody has any more to do with the command: it is killed if it runs.
    Forget,
    Ping,
}

impl ToGuest<'_> {
    pub fn encode(&self, number: u32) -> Bytes {
        let mut body = BytesMut::new();
        let letter = match self {
            Self::Begin(words) => {
                for word in *words {
                    body.put_u32(length(word.len()));
                    body.put_slice(word.as_bytes());
                }
                b'X'
            }
            Self::Input(bytes) => {
                body.put_slice(bytes);
                b'I'
            }
            Self::InputEnd => b'E',
            Self::Took(stream, bytes) => {
                body.put_u8(stream.code());
                body.put_u32(length(*bytes));
                b'T'
            }
            Self::Resize(columns, rows) => {
                body.put_u16(*columns);
                body.put_u16(*rows);
                b'W'
            }
            Self::Kill => b'K',
            Self::Close(stream) => {
                body.put_u8(stream.code());
                b'Q'
            }
            Self::Forget => b'F',
            Self::Ping => b'P',
        };
        let mut frame = BytesMut::with_capacity(HEAD + body.len());
        frame.put_u32(number);
        frame.put_u8(letter);
        frame.put_u32(length(body.len()));
        frame.put(body);
        frame.freeze()
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What the helper says.
#[derive(Debug, PartialEq, Eq)]
pub enum FromGuest {
    Running,
    Output(Stream, Bytes),
    OutputEnd(Stream),
    /// So many bytes of input were handed on.
    Took(usize),
    /// The command reads no input any more.
    InputClosed,
    Ended(i32),
    NoUser(String),
    Failed {
        step: String,
        errno: i32,
    },
    Pong,
    /// The helper ends.
    Bye,
}

/// Takes a port's bytes apart.
pub struct Frames;

impl Decoder for Frames {
    type Item = (u32, FromGuest);
    type Error = Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Self::Item>, Error> {
        let Some(mut head) = bytes.get(..HEAD) else { return Ok(None) };
        let (number, letter, length) = (head.get_u32(), head.get_u8(), head.get_u32() as usize);
        if length > LONGEST {
            return Err(nonsense());
        }
        if bytes.len() < HEAD + length {
            bytes.reserve(HEAD + length - bytes.len());
            return Ok(None);
        }
        bytes.advance(HEAD);
        let body = bytes.split_to(length).freeze();
        Ok(Some((number, understand(letter, body)?)))
    }
}

fn understand(letter: u8, mut body: Bytes) -> Result<FromGuest, Error> {
    let short = |_| nonsense();
    Ok(match letter {
        b'r' => FromGuest::Running,
        b'o' => FromGuest::Output(Stream::Stdout, body),
        b'e' => FromGuest::Output(Stream::Stderr, body),
        b'q' => FromGuest::OutputEnd(Stream::of_code(body.try_get_u8().map_err(short)?)?),
        b'T' => FromGuest::Took(body.try_get_u32().map_err(short)? as usize),
        b'C' => FromGuest::InputClosed,
        b'z' => FromGuest::Ended(body.try_get_i32().map_err(short)?),
        b'u' => FromGuest::NoUser(String::from_utf8_lossy(&body).into_owned()),
        b'f' => {
            let mut words = body;
            let step = String::from_utf8_lossy(&word(&mut words).ok_or_else(nonsense)?).into_owned();
            FromGuest::Failed { step, errno: words.try_get_i32().map_err(short)? }
        }
        b'p' => FromGuest::Pong,
        b'b' => FromGuest::Bye,
        _ => return Err(nonsense()),
    })
}

/// Takes the first of a list of texts, each behind its length.
fn word(bytes: &mut Bytes) -> Option<Bytes> {
    let length = bytes.try_get_u32().ok()? as usize;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

/// All texts of a list; `None` if it is cut off.
pub fn words(bytes: &[u8]) -> Option<Vec<String>> {
    let mut bytes = Bytes::copy_from_slice(bytes);
    let mut found = Vec::new();
    while !bytes.is_empty() {
        found.push(String::from_utf8_lossy(&word(&mut bytes)?).into_owned());
    }
    Some(found)
}

fn nonsense() -> Error {
    Error::new(ErrorKind::InvalidData, "the machine's helper speaks nonsense")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_apart_wherever_it_was_cut() {
        let said = b"\0\0\0\x07o\0\0\0\x03abc\0\0\0\x07z\0\0\0\x04\0\0\0\x8f\0\0\0\0b\0\0\0\0";
        let whole = [
            (7, FromGuest::Output(Stream::Stdout, Bytes::from_static(b"abc"))),
            (7, FromGuest::Ended(143)),
            (0, FromGuest::Bye),
        ];
        for cut in 0..said.len() {
            let mut bytes = BytesMut::from(&said[..cut]);
            let mut found = Vec::new();
            while let Some(frame) = Frames.decode(&mut bytes).unwrap() {
                found.push(frame);
            }
            bytes.extend_from_slice(&said[cut..]);
            while let Some(frame) = Frames.decode(&mut bytes).unwrap() {
                found.push(frame);
            }
            assert_eq!(found, whole, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for said in [
            &b"\0\0\0\x01?\0\0\0\0"[..],
            b"\0\0\0\x01o\xff\xff\xff\xff",
            b"\0\0\0\x01z\0\0\0\x02\0\0",
            b"\0\0\0\x01q\0\0\0\x01\x07",
            b"\0\0\0\x01f\0\0\0\x05\0\0\0\x09x",
        ] {
            assert!(Frames.decode(&mut BytesMut::from(said)).is_err(), "{said:?}");
        }
    }

    #[test]
    fn an_order_is_a_list_of_texts() {
        let order = ToGuest::Begin(&["run".into(), String::new()]).encode(258);
        assert_eq!(&order[..], b"\0\0\x01\x02X\0\0\0\x0b\0\0\0\x03run\0\0\0\0");
        assert_eq!(words(&order[9..]).unwrap(), ["run", ""]);
        assert_eq!(words(b"\0\0\0\x03ru"), None);
    }
}
