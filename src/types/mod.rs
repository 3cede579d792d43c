//! The shared words: identifiers, typed values, events and rows.
//!
//! A type lives here when two rooms need it; no type here does more than construct, order and show
//! itself; decimals alone compute. Start with [`Offset`], whose contract everything else leans on.
//!
//! Not here: what is on disk (`checkpoint/codec`), what a pipeline is (`spec`).

mod data_type;
mod decimal;
mod event;
mod event_times;
mod ids;
mod java_double;
mod rows;
mod state;
mod text;
mod zone;

pub use data_type::{DataType, MAX_DECIMAL_PRECISION};
pub use decimal::Decimal;
pub(crate) use event::DecimalText;
pub use event::{Cell, Event, Fault, FaultReason, Number, OwnedEvent, Source, Span, TextSource};
pub use event_times::{EventTimeStats, EventTimes, PartitionTimes};
pub use ids::{
    BatchId, Digest, Incarnation, LeaderEpoch, Lineage, Offset, Partition, Position, SinkName,
    Timestamp, Watermark,
};
pub use java_double::{DoubleTexts, double_text, java17_double_text};
pub use rows::{Cells, Column, NewRow, Reader, Row, Rows, RowsError, Stored, Utf8, Value};
pub use state::{Keeper, OperatorCounts, Place, Verdict, Watch, Work};
pub use text::{push_number, push_timestamp_iso, timestamp_iso, timestamp_text, timestamp_text_in};
pub use zone::Zone;
pub(crate) use zone::offset_seconds;
