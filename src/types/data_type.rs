//! Column types, named as Spark SQL names them.

use std::fmt;

/// The most digits a decimal may have (Spark's `DecimalType.MAX_PRECISION`).
pub const MAX_DECIMAL_PRECISION: u8 = 38;

/// Type of a column of the source's schema or of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// UTF-8 text.
    String,
    /// IEEE 754 double precision.
    Double,
    /// 64-bit signed integer.
    Long,
    /// 32-bit signed integer.
    Int,
    /// true or false.
    Boolean,
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp,
    /// Exact decimal of at most `precision` digits, `scale` of them after the point.
    Decimal {
        /// 1 to [`MAX_DECIMAL_PRECISION`].
        precision: u8,
        /// 0 to `precision`.
        scale: u8,
    },
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataType::String => f.write_str("string"),
            DataType::Double => f.write_str("double"),
            DataType::Long => f.write_str("long"),
            DataType::Int => f.write_str("int"),
            DataType::Boolean => f.write_str("boolean"),
            DataType::Timestamp => f.write_str("timestamp"),
            DataType::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
        }
    }
}
