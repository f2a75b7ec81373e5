//! Just enough of the tar format to move files and folders: GNU's, with its long names, written and read.
//!
//! # Guarantees
//! What is written GNU tar reads, and the other way round. A stream that ends too early is an error.
//!
//! # Caveats
//! Files, folders and symbolic links; names must be UTF-8. Everything else in an archive is passed over.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;
/// Longer names are a mistake or an attack.
const LONGEST_NAME: u64 = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File { size: u64 },
    Folder,
    Link { to: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// Permissions: the lowest nine bits.
    pub mode: u32,
    pub kind: Kind,
}

pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Takes as many bytes of `content` as the entry says it has.
    pub fn add(&mut self, entry: &Entry, content: &mut impl Read) -> io::Result<()> {
        let (flag, size, link) = match &entry.kind {
            Kind::File { size } => (b'0', *size, ""),
            Kind::Folder => (b'5', 0, ""),
            Kind::Link { to } => (b'2', 0, to.as_str()),
        };
        self.long(b'K', link)?;
        self.long(b'L', &entry.name)?;
        self.out.write_all(&header(&entry.name, entry.mode, size, (flag, link)))?;
        if io::copy(&mut content.take(size), &mut self.out)? < size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
        }
        self.pad(size)
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// A name that does not fit into the header stands before it, as the content of an entry of its own.
    fn long(&mut self, flag: u8, text: &str) -> io::Result<()> {
        if text.len() < 100 {
            return Ok(());
        }
        let size = text.len() as u64 + 1;
        self.out.write_all(&header("././@LongLink", 0, size, (flag, "")))?;
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        self.out.write_all(&[0; BLOCK][..padding(size)])
    }
}

fn padding(size: u64) -> usize {
    (BLOCK - size as usize % BLOCK) % BLOCK
}

fn header(name: &str, mode: u32, size: u64, (flag, link): (u8, &str)) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    let head = |text: &str| text.as_bytes()[..text.len().min(99)].to_vec();
    put(0, &head(name));
    put(100, format!("{:07o}\0", mode & 0o777).as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size < 1 << 33 {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[flag]);
    put(157, &head(link));
    put(257, b"ustar  \0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

pub struct Reader<R> {
    from: R,
    /// Bytes of the entry that was read last which are still to come, and the padding behind them.
    left: u64,
    padding: usize,
}

impl<R: Read> Reader<R> {
    pub fn new(from: R) -> Self {
        Self { from, left: 0, padding: 0 }
    }

    /// `None` at the end of the archive. What is left of the entry before is passed over.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let (mut long_name, mut long_link) = (None, None);
        loop {
            io::copy(&mut self.content(), &mut io::sink())?;
            let mut rest = [0; BLOCK];
            self.from.read_exact(&mut rest[..std::mem::take(&mut self.padding)])?;
            let mut block = [0; BLOCK];
            self.from.read_exact(&mut block)?;
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let size = size(&block)?;
            (self.left, self.padding) = (size, padding(size));
            match block[156] {
                b'L' => long_name = Some(self.long(size)?),
                b'K' => long_link = Some(self.long(size)?),
                _ => {}
            }
            let kind = match block[156] {
                b'0' | 0 => Kind::File { size },
                b'5' => Kind::Folder,
                b'2' => Kind::Link { to: long_link.take().map_or_else(|| text(&block[157..257]), Ok)? },
                _ => continue,
            };
            let name = long_name.take().map_or_else(|| name(&block), Ok)?;
            let mode = number(&block[100..108])? as u32 & 0o777;
            return Ok(Some(Entry { name, mode, kind }));
        }
    }

    /// The bytes of the entry that was read last.
    pub fn content(&mut self) -> impl Read {
        Content(self)
    }

    fn long(&mut self, size: u64) -> io::Result<String> {
        if size > LONGEST_NAME {
            return Err(wrong("a name is too long"));
        }
        let mut bytes = Vec::new();
        self.content().read_to_end(&mut bytes)?;
        text(&bytes)
    }
}

struct Content<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.0.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        match self.0.from.read(&mut buffer[..most])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended too early")),
            count => {
                self.0.left -= count as u64;
                Ok(count)
            }
        }
    }
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn text(bytes: &[u8]) -> io::Result<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| wrong("a name is not UTF-8"))
}

/// POSIX archives cut a long name in two.
fn name(block: &[u8; BLOCK]) -> io::Result<String> {
    let name = text(&block[..100])?;
    let prefix = if &block[257..263] == b"ustar\0" { text(&block[345..500])? } else { String::new() };
    Ok(if prefix.is_empty() { name } else { format!("{prefix}/{name}") })
}

fn number(field: &[u8]) -> io::Result<u64> {
    let field = text(field)?;
    let digits = field.trim();
    if digits.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(digits, 8).map_err(|_| wrong("what came is no archive"))
}

fn size(block: &[u8; BLOCK]) -> io::Result<u64> {
    match block[124] {
        0x80 => Ok(block[128..136].iter().fold(0, |size, byte| size << 8 | u64::from(*byte))),
        _ => number(&block[124..136]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &str, kind: Kind) -> Entry {
        Entry { name: name.to_owned(), mode: 0o640, kind }
    }

    fn written(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, content) in entries {
            writer.add(entry, &mut content.as_slice()).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
        let mut reader = Reader::new(bytes);
        let mut all = Vec::new();
        while let Some(entry) = reader.next()? {
            let mut content = Vec::new();
            reader.content().read_to_end(&mut content)?;
            all.push((entry, content));
        }
        Ok(all)
    }

    #[test]
    fn an_entry_that_nobody_reads_is_passed_over() {
        let entries = ["a", "b"].map(|name| (entry(name, Kind::File { size: 700 }), vec![7; 700]));
        let bytes = written(&entries);
        let mut reader = Reader::new(bytes.as_slice());
        assert_eq!(reader.next().unwrap().unwrap().name, "a");
        assert_eq!(reader.next().unwrap().unwrap().name, "b");
        assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let mut writer = Writer::new(Vec::new());
        let short = writer.add(&entry("a", Kind::File { size: 3 }), &mut b"ab".as_slice());
        assert!(short.unwrap_err().to_string().contains("shorter"));
    }

    #[test]
    fn sizes_of_many_gigabytes_fit() {
        let block = header("a", 0, 9 << 40, (b'0', ""));
        assert_eq!(size(&block).unwrap(), 9 << 40);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            name in "[a-zäß/. ]{1,240}", to in "[a-z/]{1,150}", content in proptest::collection::vec(any::<u8>(), 0..2000)
        ) {
            let size = content.len() as u64;
            let entries = vec![
                (entry("folder/", Kind::Folder), Vec::new()),
                (entry(&name, Kind::File { size }), content),
                (entry(&name, Kind::Link { to }), Vec::new()),
            ];
            let bytes = written(&entries);
            prop_assert_eq!(read(&bytes).unwrap(), entries);
            // Cut anywhere before its end, it is an error.
            for cut in [1, 511, 1024, bytes.len() - 1025] {
                prop_assert!(read(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1600)) {
            let _ = read(&bytes);
        }
    }
}
