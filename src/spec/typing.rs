//! Which types there are, what an aggregate makes of one, and what may be cast to what.
//!
//! Rules are Spark's (`Sum`, `Average`, `Cast` of sql/catalyst), with casts narrowed to those that
//! keep a meaning: numbers among themselves, and anything to text.

use super::errors::{InvalidOption, suggestion};
use super::pipeline::AggregateFunction;
use crate::types::{DataType, MAX_DECIMAL_PRECISION};

const TYPES: &str = "string, double, long, int, boolean, timestamp or decimal(p,s)";
const NAMES: [&str; 7] =
    ["string", "double", "long", "int", "boolean", "timestamp", "decimal(18,2)"];

/// Reads a type by the name that `DataType` prints; spaces inside of `decimal( 18, 2 )` are allowed.
///
/// # Errors
/// Names all types, and for a name of another system the one that is meant.
pub fn parse_data_type(text: &str) -> Result<DataType, InvalidOption> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    match compact.as_str() {
        "string" => Ok(DataType::String),
        "double" => Ok(DataType::Double),
        "long" => Ok(DataType::Long),
        "int" => Ok(DataType::Int),
        "boolean" => Ok(DataType::Boolean),
        "timestamp" => Ok(DataType::Timestamp),
        other if other.starts_with("decimal") => decimal(text, &other["decimal".len()..]),
        other => Err(InvalidOption(format!(
            "{text:?} is not a type; the types are {TYPES}{}",
            meant_type(&other.to_lowercase())
        ))),
    }
}

/// What `function` gives over a column of `input`; `None` stands for `*`.
///
/// # Errors
/// A function that makes no sense over that type, with the types that would.
pub fn result_type(
    function: AggregateFunction,
    input: Option<DataType>,
) -> Result<DataType, InvalidOption> {
    let Some(input) = input else {
        return match function {
            AggregateFunction::Count => Ok(DataType::Long),
            other => Err(InvalidOption(format!(
                "{} needs a column; only count takes \"*\"",
                other.name()
            ))),
        };
    };
    match (function, input) {
        (AggregateFunction::Count, _) => Ok(DataType::Long),
        (AggregateFunction::Min | AggregateFunction::Max, input) => Ok(input),
        (AggregateFunction::Sum, DataType::Int | DataType::Long) => Ok(DataType::Long),
        (AggregateFunction::Avg, DataType::Int | DataType::Long)
        | (AggregateFunction::Sum | AggregateFunction::Avg, DataType::Double) => {
            Ok(DataType::Double)
        }
        (AggregateFunction::Sum, DataType::Decimal { precision, scale }) => {
            Ok(bounded_decimal(precision + 10, scale))
        }
        (AggregateFunction::Avg, DataType::Decimal { precision, scale }) => {
            Ok(bounded_decimal(precision + 4, scale + 4))
        }
        (
            AggregateFunction::Sum | AggregateFunction::Avg,
            DataType::String | DataType::Boolean | DataType::Timestamp,
        ) => Err(InvalidOption(format!(
            "{} needs numbers (double, long, int or decimal), and this column is {input}",
            function.name()
        ))),
    }
}

/// Checks that a result of one type may be written as another.
///
/// # Errors
/// Names what it may be cast to.
pub fn check_cast(from: DataType, to: DataType) -> Result<(), InvalidOption> {
    if from == to || to == DataType::String || (is_number(from) && is_number(to)) {
        return Ok(());
    }
    let allowed = if is_number(from) { "a number type or string" } else { "string" };
    Err(InvalidOption(format!("{from} cannot be cast to {to}; it can become {allowed}")))
}

/// Whether values of the type can be added up.
#[must_use]
pub fn is_number(data_type: DataType) -> bool {
    match data_type {
        DataType::Double | DataType::Long | DataType::Int | DataType::Decimal { .. } => true,
        DataType::String | DataType::Boolean | DataType::Timestamp => false,
    }
}

impl AggregateFunction {
    /// Every function.
    pub const ALL: [AggregateFunction; 5] = [
        AggregateFunction::Sum,
        AggregateFunction::Count,
        AggregateFunction::Min,
        AggregateFunction::Max,
        AggregateFunction::Avg,
    ];

    /// The name in specs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            AggregateFunction::Sum => "sum",
            AggregateFunction::Count => "count",
            AggregateFunction::Min => "min",
            AggregateFunction::Max => "max",
            AggregateFunction::Avg => "avg",
        }
    }
}

/// Spark's `DecimalType.bounded`.
fn bounded_decimal(precision: u8, scale: u8) -> DataType {
    DataType::Decimal {
        precision: precision.min(MAX_DECIMAL_PRECISION),
        scale: scale.min(MAX_DECIMAL_PRECISION),
    }
}

/// Reads `(p,s)`, what follows the word in `whole`.
fn decimal(whole: &str, arguments: &str) -> Result<DataType, InvalidOption> {
    let invalid = || {
        InvalidOption(format!(
            "{whole:?} is not a decimal type; write decimal(p,s) with p digits in all (1 to \
             {MAX_DECIMAL_PRECISION}), s of them after the point (0 to p), like decimal(18,2)"
        ))
    };
    let inner = arguments.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let (precision, scale) = inner.and_then(|inner| inner.split_once(',')).ok_or_else(invalid)?;
    let number = |text: &str| -> Option<u8> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    match (number(precision), number(scale)) {
        (Some(precision @ 1..=MAX_DECIMAL_PRECISION), Some(scale)) if scale <= precision => {
            Ok(DataType::Decimal { precision, scale })
        }
        _ => Err(invalid()),
    }
}

/// The type that a name of another system most likely means.
fn meant_type(name: &str) -> String {
    let meant = match name {
        "bigint" | "int64" | "i64" => "long",
        "integer" | "int32" | "i32" | "smallint" | "short" | "tinyint" | "byte" => "int",
        "float" | "real" | "float64" | "f64" | "number" => "double",
        "text" | "varchar" | "char" | "str" => "string",
        "bool" => "boolean",
        "datetime" | "date" | "timestamp_ltz" | "timestamptz" => "timestamp",
        "numeric" => "decimal(18,2)",
        other => return suggestion(other, NAMES),
    };
    format!("; did you mean {meant:?}?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_type(text: &str) -> DataType {
        parse_data_type(text).expect(text)
    }

    #[test]
    fn types_read_back_what_they_print() {
        for name in [
            "string",
            "double",
            "long",
            "int",
            "boolean",
            "timestamp",
            "decimal(38,0)",
            "decimal(2,2)",
        ] {
            assert_eq!(data_type(name).to_string(), name);
        }
        assert_eq!(data_type("decimal( 18, 2 )"), DataType::Decimal { precision: 18, scale: 2 });
    }

    #[test]
    fn unknown_types_are_refused_with_what_is_meant() {
        let check = |text: &str, part: &str| {
            let message = parse_data_type(text).expect_err(text).to_string();
            assert!(message.contains(part), "{text}: {message}");
        };
        check("bigint", "did you mean \"long\"?");
        check("String", "did you mean \"string\"?");
        check("dobule", "did you mean \"double\"?");
        check("blob", "the types are string, double");
        for bad in ["decimal", "decimal()", "decimal(18)", "decimal(0,0)", "decimal(39,2)"] {
            check(bad, "like decimal(18,2)");
        }
        for bad in
            ["decimal(2,3)", "decimal(+2,1)", "decimal(300,1)", "decimal(2,1", "decimals(2,1)"]
        {
            check(bad, "like decimal(18,2)");
        }
    }

    #[test]
    fn aggregates_give_sparks_types() {
        use AggregateFunction::{Avg, Count, Max, Min, Sum};
        let check = |function, input, expected: &str| {
            let result = result_type(function, Some(data_type(input))).unwrap();
            assert_eq!(result.to_string(), expected, "{function:?}({input})");
        };
        check(Sum, "int", "long");
        check(Sum, "long", "long");
        check(Sum, "double", "double");
        check(Sum, "decimal(18,2)", "decimal(28,2)");
        check(Sum, "decimal(30,2)", "decimal(38,2)");
        check(Avg, "int", "double");
        check(Avg, "long", "double");
        check(Avg, "double", "double");
        check(Avg, "decimal(18,2)", "decimal(22,6)");
        check(Avg, "decimal(38,36)", "decimal(38,38)");
        check(Count, "string", "long");
        check(Min, "string", "string");
        check(Max, "decimal(5,1)", "decimal(5,1)");
        check(Max, "timestamp", "timestamp");
        assert_eq!(result_type(Count, None), Ok(DataType::Long));
    }

    #[test]
    fn sums_of_what_is_not_a_number_are_refused() {
        use AggregateFunction::{Avg, Max, Sum};
        for function in [Sum, Avg] {
            for input in ["string", "boolean", "timestamp"] {
                let error = result_type(function, Some(data_type(input))).unwrap_err();
                assert!(error.to_string().contains("double, long, int or decimal"), "{error}");
            }
        }
        assert!(result_type(Max, None).is_err());
    }

    #[test]
    fn numbers_are_cast_among_themselves_and_anything_to_text() {
        let check = |from, to, allowed: bool| {
            let result = check_cast(data_type(from), data_type(to));
            assert_eq!(result.is_ok(), allowed, "{from} to {to}");
        };
        check("double", "int", true);
        check("double", "decimal(18,2)", true);
        check("decimal(18,2)", "long", true);
        check("timestamp", "string", true);
        check("timestamp", "timestamp", true);
        check("string", "int", false);
        check("long", "timestamp", false);
        check("boolean", "int", false);
    }
}
