//! Spark's casts of results, with ANSI mode off (wrap, saturate, NULL) and on (end the query).

use crate::{
    spark::Field,
    types::{DataType, Decimal, Value, double_text, timestamp_text},
};

/// Spark's error classes that can come of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// A value does not fit the type it is cast to.
    CastOverflow,
    /// An operation's result does not fit its type.
    ArithmeticOverflow,
    /// A decimal has more digits than its type.
    NumericValueOutOfRange,
}

impl ErrorClass {
    /// Spark's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ErrorClass::CastOverflow => "CAST_OVERFLOW",
            ErrorClass::ArithmeticOverflow => "ARITHMETIC_OVERFLOW",
            ErrorClass::NumericValueOutOfRange => "NUMERIC_VALUE_OUT_OF_RANGE",
        }
    }
}

/// Casts a value. `Err` only with ANSI mode on.
pub(super) fn cast(value: Value<'_>, output: DataType, ansi: bool) -> Result<Field, ErrorClass> {
    Ok(match (value, output) {
        (Value::Null, _) => Field::Null,
        (Value::Boolean(_), DataType::Boolean)
        | (Value::Int(_), DataType::Int)
        | (Value::Long(_), DataType::Long)
        | (Value::Double(_), DataType::Double)
        | (Value::String(_), DataType::String)
        | (Value::Timestamp(_), DataType::Timestamp) => Field::from_value(value),
        (value, DataType::String) => Field::String(text_of(value).into()),
        (value, DataType::Double) => as_double(value).map_or(Field::Null, Field::Double),
        (Value::Double(value), DataType::Int) => {
            if ansi
                && !(value.floor() <= f64::from(i32::MAX) && value.ceil() >= f64::from(i32::MIN))
            {
                return Err(ErrorClass::CastOverflow);
            }
            // Toward zero, saturating, NaN is 0: as in Java.
            Field::Int(value as i32)
        }
        (Value::Double(value), DataType::Long) => {
            if ansi && !(value.floor() <= i64::MAX as f64 && value.ceil() >= i64::MIN as f64) {
                return Err(ErrorClass::CastOverflow);
            }
            Field::Long(value as i64)
        }
        (value, DataType::Int) => match as_integer(value) {
            Some(whole) if ansi && i32::try_from(whole).is_err() => {
                return Err(ErrorClass::CastOverflow);
            }
            // Java keeps the low bits.
            whole => whole.map_or(Field::Null, |whole| Field::Int(whole as i32)),
        },
        (value, DataType::Long) => match as_integer(value) {
            Some(whole) if ansi && i64::try_from(whole).is_err() => {
                return Err(ErrorClass::CastOverflow);
            }
            whole => whole.map_or(Field::Null, |whole| Field::Long(whole as i64)),
        },
        (value, DataType::Decimal { precision, scale }) => match Decimal::of(value, scale) {
            Some(value) if value.digits() <= precision => Field::Decimal(value),
            _ if ansi => return Err(ErrorClass::NumericValueOutOfRange),
            _ => Field::Null,
        },
        _ => Field::Null,
    })
}

fn as_double(value: Value<'_>) -> Option<f64> {
    Some(match value {
        Value::Double(value) => value,
        Value::Int(value) => f64::from(value),
        Value::Long(value) => value as f64,
        Value::Decimal(value) => value.to_double(),
        Value::Boolean(value) => f64::from(u8::from(value)),
        _ => return None,
    })
}

/// The whole part, cut toward zero; not of doubles.
fn as_integer(value: Value<'_>) -> Option<i128> {
    Some(match value {
        Value::Int(value) => i128::from(value),
        Value::Long(value) => i128::from(value),
        Value::Decimal(value) => value.unscaled / 10i128.checked_pow(u32::from(value.scale))?,
        Value::Boolean(value) => i128::from(value),
        _ => return None,
    })
}

/// A value as text, for people and for casts.
pub(super) fn text_of(value: Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Double(value) => double_text(value),
        Value::String(text) => text.to_owned(),
        Value::Timestamp(value) => timestamp_text(value),
        Value::Decimal(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_ansi_doubles_saturate_and_longs_wrap() {
        let int = |value| cast(value, DataType::Int, false);
        assert_eq!(int(Value::Double(3e9)), Ok(Field::Int(i32::MAX)));
        assert_eq!(int(Value::Double(f64::NEG_INFINITY)), Ok(Field::Int(i32::MIN)));
        assert_eq!(int(Value::Double(f64::NAN)), Ok(Field::Int(0)));
        assert_eq!(int(Value::Double(-1.9)), Ok(Field::Int(-1)));
        assert_eq!(int(Value::Long(1 << 32 | 5)), Ok(Field::Int(5)));
        let cents = DataType::Decimal { precision: 3, scale: 2 };
        assert_eq!(cast(Value::Double(10.0), cents, false), Ok(Field::Null));
    }

    #[test]
    fn with_ansi_what_does_not_fit_is_an_error() {
        let int = |value| cast(value, DataType::Int, true);
        assert_eq!(int(Value::Double(2_147_483_648.0)), Err(ErrorClass::CastOverflow));
        assert_eq!(int(Value::Double(f64::NAN)), Err(ErrorClass::CastOverflow));
        assert_eq!(int(Value::Double(-2_147_483_648.9)), Ok(Field::Int(i32::MIN)));
        assert_eq!(int(Value::Long(1 << 32)), Err(ErrorClass::CastOverflow));
        let cents = DataType::Decimal { precision: 3, scale: 2 };
        let result = cast(Value::Double(10.0), cents, true);
        assert_eq!(result, Err(ErrorClass::NumericValueOutOfRange));
        assert_eq!(
            cast(Value::Double(2.005), cents, true),
            Ok(Field::Decimal(Decimal { unscaled: 201, scale: 2 }))
        );
    }
}
