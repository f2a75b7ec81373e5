//! The beginning of a disk that has nothing of its own yet: all it holds is another disk's.
//!
//! That is four clusters of a file, which spares a package and a process: header, table of reference counts, one block of
//! them, and an empty first table of clusters. The format is QEMU's `docs/interop/qcow2.txt`, version 3.

use std::path::Path;

const CLUSTER: usize = 1 << CLUSTER_BITS;
const CLUSTER_BITS: u32 = 16;
const HEADER: usize = 104;

/// Bytes of the disk that one entry of the first table leads to.
const ENTRY_COVERS: u64 = (CLUSTER as u64 / 8) * CLUSTER as u64;

/// How a disk's file is to be understood. It is never guessed: a machine could write what looks like another format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Raw,
    Qcow2,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// A disk of `size` bytes over the disk `base`. At most four terabytes: its first table is one cluster.
pub fn overlay(base: &Path, format: Format, size: u64) -> Vec<u8> {
    let base = base.as_os_str().as_encoded_bytes();
    let extension = format_extension(format);
    let cluster = CLUSTER as u64;
    let entries = u32::try_from(size.div_ceil(ENTRY_COVERS)).unwrap_or(u32::MAX);
    let mut header = Vec::with_capacity(4 * CLUSTER);
    header.extend(b"QFI\xfb");
    put32(&mut header, 3);
    put64(&mut header, (HEADER + extension.len()) as u64);
    put32(&mut header, u32::try_from(base.len()).unwrap_or(u32::MAX));
    put32(&mut header, CLUSTER_BITS);
    put64(&mut header, size);
    put32(&mut header, 0); // not encrypted
    put32(&mut header, entries);
    put64(&mut header, 3 * cluster); // first table of clusters
    put64(&mut header, cluster); // table of reference counts
    put32(&mut header, 1); // of one cluster
    put32(&mut header, 0); // no snapshots
    put64(&mut header, 0);
    for _ in 0..3 {
        put64(&mut header, 0); // no features that not everyone knows
    }
    put32(&mut header, 4); // reference counts of 16 bits
    put32(&mut header, HEADER as u32);
    header.extend(extension);
    header.extend(base);
    header.resize(CLUSTER, 0);
    put64(&mut header, 2 * cluster);
    header.resize(2 * CLUSTER, 0);
    for _ in 0..4 {
        header.extend(1u16.to_be_bytes());
    }
    header.resize(4 * CLUSTER, 0);
    header
}

/// Names the format of the disk below, padded to eight bytes, and ends the extensions.
fn format_extension(format: Format) -> Vec<u8> {
    let name = format.name().as_bytes();
    let mut extension = Vec::new();
    put32(&mut extension, 0xe279_2aca);
    put32(&mut extension, name.len() as u32);
    extension.extend(name);
    extension.resize(8 + name.len().next_multiple_of(8), 0);
    put64(&mut extension, 0);
    extension
}

fn put32(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend(number.to_be_bytes());
}

fn put64(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend(number.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read32(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn read64(bytes: &[u8], at: usize) -> u64 {
        u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn the_header_leads_to_the_disk_below_and_to_the_tables() {
        let disk = overlay(Path::new("/disks/base.raw"), Format::Raw, 8 << 30);
        assert_eq!(disk.len(), 4 * 65536);
        assert_eq!((&disk[..4], read32(&disk, 4)), (&b"QFI\xfb"[..], 3));
        let (at, length) = (read64(&disk, 8) as usize, read32(&disk, 16) as usize);
        assert_eq!(&disk[at..at + length], b"/disks/base.raw");
        assert_eq!(read64(&disk, 24), 8 << 30);
        assert_eq!(read32(&disk, 36), 16, "half a gigabyte each");
        assert_eq!((read64(&disk, 40), read64(&disk, 48)), (3 * 65536, 65536));
        assert_eq!(read64(&disk, 65536), 2 * 65536, "the table of counts leads to the block of counts");
        assert_eq!(disk[2 * 65536..2 * 65536 + 10], [0, 1, 0, 1, 0, 1, 0, 1, 0, 0], "four clusters are in use");
        assert!(disk[3 * 65536..].iter().all(|byte| *byte == 0), "nothing of its own");
    }

    #[test]
    fn the_format_below_is_named() {
        for (format, padded) in [(Format::Raw, b"raw\0\0\0\0\0"), (Format::Qcow2, b"qcow2\0\0\0")] {
            let disk = overlay(Path::new("/b"), format, 1);
            assert_eq!(read32(&disk, 104), 0xe279_2aca);
            assert_eq!(read32(&disk, 108) as usize, format.name().len());
            assert_eq!(&disk[112..120], padded);
            assert_eq!(read64(&disk, 120), 0, "no more extensions");
            assert_eq!((read64(&disk, 8), disk[128], disk[129]), (128, b'/', b'b'));
            assert_eq!(read32(&disk, 36), 1);
        }
    }
}
