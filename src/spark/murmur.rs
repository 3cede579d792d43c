//! Murmur3 (x86, 32 bit) as Spark computes it: over the words of an UnsafeRow, and over values.
//!
//! Source: `Murmur3_x86_32` and `HashExpression` of Spark. Unlike the reference algorithm, each byte
//! that is left over at the end takes a whole round, sign-extended.

/// Spark's seed, everywhere.
pub(super) const SEED: u32 = 42;

fn mix_word(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

fn mix(hash: u32, word: u32) -> u32 {
    (hash ^ mix_word(word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

fn finish(mut hash: u32, len: usize) -> u32 {
    // The length is an int in Java; a longer key could not have been built there.
    hash ^= len as u32;
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// Hash of bytes whose number is a multiple of four (`hashUnsafeWords`), with [`SEED`].
pub(super) fn words(bytes: &[u8]) -> u32 {
    finish(whole_words(bytes, SEED), bytes.len())
}

/// Hash of any bytes (`hashUnsafeBytes`).
pub(super) fn bytes(bytes: &[u8], seed: u32) -> u32 {
    let hash = whole_words(bytes, seed);
    let tail = &bytes[bytes.len() / 4 * 4..];
    let hash = tail
        .iter()
        .fold(hash, |hash, byte| mix(hash, i32::from(byte.cast_signed()).cast_unsigned()));
    finish(hash, bytes.len())
}

/// Hash of a 32-bit integer (`hashInt`).
pub(super) fn int(value: i32, seed: u32) -> u32 {
    finish(mix(seed, value.cast_unsigned()), 4)
}

/// Hash of a 64-bit integer (`hashLong`).
pub(super) fn long(value: i64, seed: u32) -> u32 {
    let value = value.cast_unsigned();
    finish(mix(mix(seed, value as u32), (value >> 32) as u32), 8)
}

fn whole_words(bytes: &[u8], seed: u32) -> u32 {
    let word = |chunk: &[u8]| u32::from_le_bytes(chunk.try_into().expect("four bytes"));
    bytes.chunks_exact(4).fold(seed, |hash, chunk| mix(hash, word(chunk)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_hash_as_in_spark_sql() {
        // SELECT hash(1), hash(1L), hash('Spark'), hash('ä')
        assert_eq!(int(1, SEED).cast_signed(), -559_580_957);
        assert_eq!(long(1, SEED).cast_signed(), -1_712_319_331);
        assert_eq!(bytes(b"Spark", SEED).cast_signed(), 228_093_765);
        assert_eq!(bytes(b"", SEED), 142_593_372);
    }
}
