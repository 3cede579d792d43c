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

/// An exact decimal value: `unscaled` × 10^-`scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// The digits, with sign.
    pub unscaled: i128,
    /// Digits after the point.
    pub scale: u8,
}

impl fmt::Display for Decimal {
    /// Plain notation with exactly `scale` digits after the point: `-0.05`, `1250.50`, `7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.unscaled < 0 { "-" } else { "" };
        let digits = self.unscaled.unsigned_abs().to_string();
        let scale = usize::from(self.scale);
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_print_plainly_with_all_their_places() {
        let check = |unscaled, scale, expected: &str| {
            assert_eq!(Decimal { unscaled, scale }.to_string(), expected);
        };
        check(125_050, 2, "1250.50");
        check(-5, 2, "-0.05");
        check(0, 2, "0.00");
        check(7, 0, "7");
        check(i128::MIN, 9, "-170141183460469231731687303715.884105728");
    }
}
