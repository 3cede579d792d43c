//! What is around every payload: format, shape and checksum; and bincode with its bounds.

use bincode::{BorrowDecode, Encode, config};

use super::{CodecError, FORMAT, Family};

/// No payload, and nothing inside one, is longer: what a damaged length can make us allocate.
const PAYLOAD_LIMIT: usize = 64 << 20;

type Configuration =
    config::Configuration<config::LittleEndian, config::Varint, config::Limit<PAYLOAD_LIMIT>>;

const CONFIGURATION: Configuration = config::standard().with_limit::<PAYLOAD_LIMIT>();

/// Which persisted shape a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Shape {
    Genesis = 1,
    Head = 2,
    Incarnation = 3,
    Mark = 4,
    RollbackAccepted = 5,
    Position = 6,
    WindowChunk = 7,
    /// Reserved: no version writes it yet.
    #[cfg_attr(not(test), expect(dead_code, reason = "its number and form are fixed by a fixture"))]
    WindowRow = 8,
    Descriptor = 9,
    ResultRows = 10,
    DeadLetters = 11,
    Record = 12,
    StateLog = 13,
}

/// What a checksum takes at the end of a value.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// Wraps a payload for its place.
pub(super) fn seal(family: Family, key: &[u8], shape: Shape, payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(2 + payload.len() + CHECKSUM_BYTES);
    value.extend_from_slice(&[0; 2]);
    value.extend_from_slice(payload);
    seal_in_place(family, key, shape, &mut value);
    value
}

/// The same for a payload with two bytes before it, which become format and shape.
pub(super) fn seal_in_place(family: Family, key: &[u8], shape: Shape, value: &mut Vec<u8>) {
    value[..2].copy_from_slice(&[FORMAT, shape as u8]);
    let checksum = checksum(family, key, value);
    value.extend_from_slice(&checksum.to_le_bytes());
}

/// Unwraps a payload that was sealed for this place.
pub(super) fn open<'a>(
    family: Family,
    key: &[u8],
    shape: Shape,
    value: &'a [u8],
) -> Result<&'a [u8], CodecError> {
    let (content, stored) = value.split_last_chunk::<4>().ok_or(CodecError::Short)?;
    let (head, payload) = content.split_first_chunk::<2>().ok_or(CodecError::Short)?;
    if checksum(family, key, content) != u32::from_le_bytes(*stored) {
        return Err(CodecError::Checksum);
    }
    let [format, found] = *head;
    if format != FORMAT {
        return Err(CodecError::Format { found: format });
    }
    if found != shape as u8 {
        return Err(CodecError::Shape { found, expected: shape as u8 });
    }
    Ok(payload)
}

/// A format, shape and payload with the checksum that they need here.
#[cfg(any(test, fuzzing))]
pub(super) fn with_checksum(family: Family, key: &[u8], content: &[u8]) -> Vec<u8> {
    let checksum = checksum(family, key, content);
    [content, &checksum.to_le_bytes()].concat()
}

/// The checksum a sealed value carries, without checking it.
pub(in crate::checkpoint) fn stored_checksum(value: &[u8]) -> u32 {
    value.last_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn checksum(family: Family, key: &[u8], content: &[u8]) -> u32 {
    let name = family.name().as_bytes();
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(name), key), content)
}

/// Appends a shape's payload.
pub(super) fn write(shape: &impl Encode, out: &mut Vec<u8>) {
    bincode::encode_into_std_write(shape, out, CONFIGURATION)
        .expect("writing to memory cannot fail, and our shapes have no forbidden values");
}

/// Reads one shape from the front of `bytes`.
pub(super) fn read<'a, T: BorrowDecode<'a, ()>>(bytes: &mut &'a [u8]) -> Result<T, CodecError> {
    let (shape, used) = bincode::borrow_decode_from_slice(bytes, CONFIGURATION)
        .map_err(|error| CodecError::Content(error.to_string()))?;
    *bytes = bytes.get(used..).ok_or(CodecError::Short)?;
    Ok(shape)
}

/// Reads a shape that is the whole of `bytes`.
pub(super) fn read_whole<'a, T: BorrowDecode<'a, ()>>(
    mut bytes: &'a [u8],
) -> Result<T, CodecError> {
    let shape = read(&mut bytes)?;
    if bytes.is_empty() { Ok(shape) } else { Err(trailing()) }
}

pub(super) fn trailing() -> CodecError {
    CodecError::Content("there is more behind its end".to_owned())
}

/// A signed number so that bytes sort as numbers do.
pub(super) fn ordered(number: i64) -> [u8; 8] {
    (number ^ i64::MIN).to_be_bytes()
}

pub(super) fn from_ordered(bytes: [u8; 8]) -> i64 {
    i64::from_be_bytes(bytes) ^ i64::MIN
}
