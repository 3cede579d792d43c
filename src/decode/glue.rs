//! What stands between two values of a record, learnt: a producer writes the same bytes there record
//! after record (`,"item":`), so that they need not be taken apart again.
//!
//! Invariant: a [`Glue`] is only made of bytes that were read as what leads to its field, from the same
//! state of the parser; so bytes that are the same mean the same, whatever they look like.
//!
//! Not here: at which place of a record which glue is expected (`mod`).

use super::Field;

/// Longer glue is not learnt.
const MOST_BYTES: usize = 32;

/// The bytes from the end of a value, or from the record's begin, to the first byte of a field's value.
#[derive(Clone, Debug)]
pub(super) struct Glue {
    bytes: [u8; MOST_BYTES],
    /// Which bits of the first sixteen bytes count.
    mask: u128,
    /// How many bytes there are; at least three.
    pub len: usize,
    /// The field whose value follows.
    pub field: Field,
}

impl Glue {
    /// What was learnt from `read`, which led to a value of `field`; `None` if it is too long.
    pub(super) fn new(read: &[u8], field: Field) -> Option<Glue> {
        let len = read.len();
        let mut bytes = [0; MOST_BYTES];
        bytes.get_mut(..len)?.copy_from_slice(read);
        let mask = if len < 16 { (1 << (8 * len)) - 1 } else { u128::MAX };
        Some(Glue { bytes, mask, len, field })
    }

    /// Whether `rest` begins with these bytes.
    #[inline(always)]
    pub(super) fn begins(&self, rest: &[u8]) -> bool {
        match (rest.first_chunk::<16>(), self.bytes.first_chunk::<16>()) {
            (Some(rest), Some(bytes)) if self.len <= 16 => {
                let difference = u128::from_le_bytes(*rest) ^ u128::from_le_bytes(*bytes);
                difference & self.mask == 0
            }
            _ => rest.starts_with(&self.bytes[..self.len]),
        }
    }
}
