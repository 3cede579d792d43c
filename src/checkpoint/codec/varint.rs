//! Numbers in as few bytes as they need: seven bits a byte, the lowest first, the top bit set in every byte but
//! the last. Signed ones are folded first, so that small negative ones are short, too.
//!
//! Invariant: a number has one form; a longer one is refused, and so is one that does not fit its type.

use super::CodecError;

/// Bits that a byte holds.
const BITS: u32 = 7;
/// Set where another byte follows.
const MORE: u8 = 0x80;
/// Bytes of the longest number of 64 bits.
pub(super) const MOST_BYTES: usize = 10;
/// The same of 128 bits.
const MOST_WIDE_BYTES: usize = 19;

/// Appends a number.
#[inline]
pub(super) fn put(number: u64, out: &mut Vec<u8>) {
    if number < u64::from(MORE) { out.push(low_byte(number)) } else { put_longer(number, out) }
}

fn put_longer(mut number: u64, out: &mut Vec<u8>) {
    while number >= u64::from(MORE) {
        out.push(low_byte(number) | MORE);
        number >>= BITS;
    }
    out.push(low_byte(number));
}

/// Appends a signed number.
#[inline]
pub(super) fn put_signed(number: i64, out: &mut Vec<u8>) {
    put(((number << 1) ^ (number >> 63)).cast_unsigned(), out);
}

/// Appends a signed number of 128 bits.
#[inline]
pub(super) fn put_wide(number: i128, out: &mut Vec<u8>) {
    // Almost all fit 64 bits.
    match i64::try_from(number) {
        Ok(short) => put_signed(short, out),
        Err(_) => put_longer_wide(number, out),
    }
}

fn put_longer_wide(number: i128, out: &mut Vec<u8>) {
    let mut folded = ((number << 1) ^ (number >> 127)).cast_unsigned();
    while folded >= u128::from(MORE) {
        out.push(folded.to_le_bytes()[0] | MORE);
        folded >>= BITS;
    }
    out.push(folded.to_le_bytes()[0]);
}

fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0] & !MORE
}

/// Takes a number from the front.
#[inline]
pub(super) fn take(bytes: &mut &[u8]) -> Result<u64, CodecError> {
    // Almost all are lengths and counts of one byte.
    if let [first, rest @ ..] = *bytes
        && *first < MORE
    {
        *bytes = rest;
        return Ok(u64::from(*first));
    }
    u64::try_from(take_any(bytes)?).map_err(|_| broken())
}

/// Takes a number that says how long something is.
pub(super) fn take_length(bytes: &mut &[u8]) -> Result<usize, CodecError> {
    usize::try_from(take(bytes)?).map_err(|_| broken())
}

/// Takes a signed number from the front.
pub(super) fn take_signed(bytes: &mut &[u8]) -> Result<i64, CodecError> {
    let folded = take(bytes)?;
    Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
}

/// Takes a signed number of 128 bits from the front.
pub(super) fn take_wide(bytes: &mut &[u8]) -> Result<i128, CodecError> {
    let folded = take_any(bytes)?;
    Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
}

fn take_any(bytes: &mut &[u8]) -> Result<u128, CodecError> {
    let last = bytes.iter().take(MOST_WIDE_BYTES).position(|byte| *byte < MORE);
    let last = last.ok_or_else(broken)?;
    let (number, rest) = bytes.split_at(last + 1);
    *bytes = rest;
    if last > 0 && number[last] == 0 {
        return Err(broken());
    }
    let whole = match number.len() {
        // Nine bytes hold 63 bits.
        0..=9 => u128::from(
            number.iter().rev().fold(0u64, |whole, byte| whole << BITS | u64::from(byte & !MORE)),
        ),
        // The last one of them holds two.
        MOST_WIDE_BYTES if number[last] >= 4 => return Err(broken()),
        _ => all_of(number),
    };
    Ok(whole)
}

fn all_of(number: &[u8]) -> u128 {
    number.iter().rev().fold(0, |whole, byte| whole << BITS | u128::from(byte & !MORE))
}

fn broken() -> CodecError {
    CodecError::Content("a number in it cannot be".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wide(number: i128) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_wide(number, &mut bytes);
        bytes
    }

    #[test]
    fn small_numbers_are_short_and_none_is_longer_than_its_type_needs() {
        let lengths = [0, -1, 63, -64, 64, i128::from(i64::MAX), i128::MAX, i128::MIN]
            .map(|number| wide(number).len());
        assert_eq!(lengths, [1, 1, 1, 1, 2, 10, 19, 19]);
        let mut bytes = Vec::new();
        put(u64::MAX, &mut bytes);
        assert_eq!(bytes.len(), MOST_BYTES);
    }

    #[test]
    fn longer_forms_and_larger_numbers_are_refused() {
        for bytes in [&[][..], &[0x80], &[0x80, 0], &[0xFF, 0x80, 0]] {
            assert!(take(&mut &*bytes).is_err(), "{bytes:?}");
            assert!(take_wide(&mut &*bytes).is_err(), "{bytes:?}");
        }
        let larger = [&[0xFF; 9][..], &[2]].concat();
        assert!(take(&mut &*larger).is_err());
        assert!(take_wide(&mut &*larger).is_ok());
        let larger = [&[0xFF; 18][..], &[4]].concat();
        assert!(take_wide(&mut &*larger).is_err());
        assert!(take_wide(&mut &[0xFF; 1000][..]).is_err());
    }

    proptest! {
        #[test]
        fn numbers_read_back_what_was_written(
            number: u64, signed: i64, any: i128, shift in 0u32..128, rest: Vec<u8>,
        ) {
            let mut bytes = Vec::new();
            let (number, any) = (number >> (shift % 64), any >> shift);
            put(number, &mut bytes);
            put_signed(signed >> (shift % 64), &mut bytes);
            put_wide(any, &mut bytes);
            bytes.extend_from_slice(&rest);
            let mut left = &*bytes;
            prop_assert_eq!(take(&mut left), Ok(number));
            prop_assert_eq!(take_signed(&mut left), Ok(signed >> (shift % 64)));
            prop_assert_eq!(take_wide(&mut left), Ok(any));
            prop_assert_eq!(left, rest);
        }

        #[test]
        fn what_is_read_is_what_would_be_written(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            let mut left = &*bytes;
            if let Ok(number) = take_wide(&mut left) {
                prop_assert_eq!(&bytes[..bytes.len() - left.len()], wide(number));
            }
        }
    }
}
