//! Placeholder until the room lands.
use crate::{spec::{Expression, Pipeline}, types::{Event, Fault, Source}};
#[derive(Debug)]
pub struct Decoder;
#[derive(Debug, thiserror::Error)]
#[error("")]
pub struct DecodeError;
pub struct Decoded<'a> { pub event: Event<'a>, pub fault: Option<Fault> }
impl Decoder {
    pub fn new(_: &Pipeline) -> Result<Decoder, DecodeError> { Ok(Decoder) }
    pub fn decode<'a>(&'a mut self, value: Option<&'a [u8]>) -> Decoded<'a> {
        Decoded { event: Event { time: None, cells: &[], source: Source { payload: value.unwrap_or(&[]), scratch: &[] } }, fault: None }
    }
}
pub fn keeps(_: &Expression, _: &Event<'_>) -> bool { true }
pub fn looks_like_milliseconds(t: crate::types::Timestamp) -> bool { t.0 > 253_402_300_799_000_000 }
