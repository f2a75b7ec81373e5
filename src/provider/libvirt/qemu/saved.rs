//! A machine's saved memory, made another machine's.
//!
//! libvirt keeps the definition of the machine in front of the memory, and restores whatever machine stands there. So a
//! memory that was saved once serves any number of machines with the same devices. All numbers are in the order of the
//! host that wrote them; a file of another order is refused as libvirt does.
//!
//! Layout: 16 letters, then version, length of what stands before the memory, whether it ran, how it is packed, where the
//! cookie begins (0: there is none), 14 numbers for the future; then the definition and the cookie, each ended by a zero.

const MAGIC: &[u8; 16] = b"LibvirtQemudSave";
const VERSION: u32 = 2;

/// Bytes of the fixed part.
pub const HEAD: usize = 16 + 19 * 4;

/// No definition is longer.
const LONGEST: usize = 1 << 20;

/// The fixed part of a saved machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    fixed: [u8; HEAD],
    length: usize,
    cookie_at: usize,
}

impl Head {
    /// `None` if that is no machine that libvirt saved, or one that it was still saving.
    pub fn decode(fixed: [u8; HEAD]) -> Option<Self> {
        let [version, length, _, _, cookie_at] = [0, 1, 2, 3, 4].map(|field| number(&fixed, field));
        let length = usize::try_from(length).ok()?;
        let cookie_at = usize::try_from(cookie_at).ok()?;
        let whole = fixed.starts_with(MAGIC) && version == VERSION && length <= LONGEST && cookie_at <= length;
        whole.then_some(Self { fixed, length, cookie_at })
    }

    /// Bytes between the fixed part and the memory.
    pub fn length(&self) -> usize {
        self.length
    }

    /// What is to stand in front of the memory so that it is the machine `definition`, running. `between` is what stood
    /// between the fixed part and the memory.
    pub fn of_machine(&self, between: &[u8], definition: &str) -> Vec<u8> {
        let cookie = match self.cookie_at {
            0 => &[][..],
            at => between[at.min(between.len())..].split(|byte| *byte == 0).next().unwrap_or_default(),
        };
        let mut text = definition.as_bytes().to_vec();
        text.push(0);
        let cookie_at = if cookie.is_empty() { 0 } else { text.len() };
        if !cookie.is_empty() {
            text.extend(cookie);
            text.push(0);
        }
        let mut bytes = self.fixed.to_vec();
        for (field, value) in [(1, text.len()), (2, 1), (4, cookie_at)] {
            let value = u32::try_from(value).unwrap_or(u32::MAX);
            bytes[place(field)].copy_from_slice(&value.to_ne_bytes());
        }
        bytes.extend(text);
        bytes
    }
}

fn place(field: usize) -> std::ops::Range<usize> {
    let begin = MAGIC.len() + 4 * field;
    begin..begin + 4
}

fn number(fixed: &[u8; HEAD], field: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&fixed[place(field)]);
    u32::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(fields: [u32; 5], between: &[u8]) -> ([u8; HEAD], Vec<u8>) {
        let mut fixed = [0; HEAD];
        fixed[..16].copy_from_slice(MAGIC);
        for (field, value) in fields.into_iter().enumerate() {
            fixed[place(field)].copy_from_slice(&value.to_ne_bytes());
        }
        (fixed, between.to_vec())
    }

    #[test]
    fn another_definition_takes_the_place_of_the_old_one_and_the_cookie_stays() {
        let (fixed, between) = saved([2, 40, 0, 0, 10], b"<old xml>\0<cookie>c</cookie>\0\0\0\0\0\0\0\0\0\0\0");
        let head = Head::decode(fixed).unwrap();
        assert_eq!(head.length(), 40);
        let bytes = head.of_machine(&between, "<another/>");
        assert_eq!(&bytes[HEAD..], b"<another/>\0<cookie>c</cookie>\0");
        let again = Head::decode(bytes[..HEAD].try_into().unwrap()).unwrap();
        assert_eq!((again.length(), again.cookie_at), (bytes.len() - HEAD, 11));
        assert_eq!(number(&again.fixed, 2), 1, "it runs when it is restored");
    }

    #[test]
    fn one_without_a_cookie_gets_none() {
        let (fixed, between) = saved([2, 6, 1, 0, 0], b"<old/>");
        let bytes = Head::decode(fixed).unwrap().of_machine(&between, "<x/>");
        assert_eq!(&bytes[HEAD..], b"<x/>\0");
        assert_eq!(Head::decode(bytes[..HEAD].try_into().unwrap()).unwrap().cookie_at, 0);
    }

    #[test]
    fn what_libvirt_did_not_finish_or_write_is_refused() {
        let good = [2, 10, 1, 0, 0];
        for fields in [[1, 10, 1, 0, 0], [2, u32::MAX, 1, 0, 0], [2, 10, 1, 0, 11]] {
            assert_eq!(Head::decode(saved(fields, b"").0), None, "{fields:?}");
        }
        let (mut fixed, _) = saved(good, b"");
        assert!(Head::decode(fixed).is_some());
        fixed[..16].copy_from_slice(b"LibvirtQemudPart");
        assert_eq!(Head::decode(fixed), None);
    }
}
