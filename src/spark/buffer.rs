//! Aggregation buffers: what Spark keeps of a group, field by field, and how it adds and merges.
//!
//! Doubles are added as IEEE doubles in the order they come, each sum starting from 0.0. The fields
//! are those of Spark's own buffers (`Sum`, `Average`, `Min`, `Max`, `Count`): an aggregate that was
//! changed over a restart takes over what another of the same field types has left, as it does there.

use crate::{
    spark::{ErrorClass, Field, cast::cast, field::compare},
    spec::{Aggregate, AggregateFunction},
    types::{DataType, Decimal, Value},
};

/// One aggregate and where its fields are in the buffers of a group.
#[derive(Clone, Debug)]
pub(super) struct PlannedAggregate {
    pub(super) aggregate: Aggregate,
    kind: Kind,
    offset: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Count,
    SumDouble,
    SumLong,
    SumDecimal { precision: u8, scale: u8 },
    AvgDouble,
    AvgDecimal { precision: u8, scale: u8 },
    Min,
    Max,
}

/// The aggregates of a pipeline.
#[derive(Clone, Debug)]
pub(super) struct Buffers {
    pub(super) aggregates: Vec<PlannedAggregate>,
    /// Types of all fields, in order.
    pub(super) fields: Vec<DataType>,
    ansi: bool,
}

impl Buffers {
    pub(super) fn new(
        aggregates: &[Aggregate],
        column_type: impl Fn(usize) -> DataType,
        ansi: bool,
    ) -> Buffers {
        let mut fields = Vec::new();
        let mut planned = Vec::new();
        for aggregate in aggregates {
            let input = aggregate.column.map(&column_type);
            let kind = kind_of(aggregate.function, input);
            planned.push(PlannedAggregate {
                aggregate: aggregate.clone(),
                kind,
                offset: fields.len(),
            });
            fields.extend(kind.fields(input));
        }
        Buffers { aggregates: planned, fields, ansi }
    }

    /// Whether Spark has to sort to aggregate: a field whose size changes cannot be in a hash table.
    pub(super) fn need_sorting(&self) -> bool {
        self.fields.contains(&DataType::String)
    }

    /// Buffers of nothing.
    pub(super) fn fresh(&self) -> Box<[Field]> {
        self.aggregates.iter().flat_map(|planned| planned.kind.fresh()).collect()
    }

    /// Adds one record: an argument for each aggregate.
    ///
    /// # Errors
    /// A sum of LONG that does not fit, with ANSI mode on.
    pub(super) fn update(
        &self,
        buffer: &mut [Field],
        arguments: &[Value<'_>],
    ) -> Result<(), (usize, ErrorClass)> {
        for (index, (planned, argument)) in self.aggregates.iter().zip(arguments).enumerate() {
            if *argument != Value::Null {
                let fields = &mut buffer[planned.offset..];
                planned
                    .kind
                    .update(fields, *argument, self.ansi)
                    .map_err(|class| (index, class))?;
            }
        }
        Ok(())
    }

    /// Adds what other buffers have added up.
    ///
    /// # Errors
    /// A sum of LONG that does not fit, with ANSI mode on.
    pub(super) fn merge(
        &self,
        buffer: &mut [Field],
        other: &[Field],
    ) -> Result<(), (usize, ErrorClass)> {
        for (index, planned) in self.aggregates.iter().enumerate() {
            let (fields, more) = (&mut buffer[planned.offset..], &other[planned.offset..]);
            planned.kind.merge(fields, more, self.ansi).map_err(|class| (index, class))?;
        }
        Ok(())
    }

    /// The result of an aggregate, before and after its cast.
    ///
    /// # Errors
    /// A result that does not fit its type, with ANSI mode on; with the result as it was before.
    pub(super) fn finish(
        &self,
        index: usize,
        buffer: &[Field],
    ) -> Result<Field, (Field, ErrorClass)> {
        let planned = &self.aggregates[index];
        let result = planned.kind.finish(&buffer[planned.offset..], &planned.aggregate, self.ansi);
        let result = result.map_err(|class| (Field::Null, class))?;
        let output = planned.aggregate.output_type;
        cast(result.as_value(), output, self.ansi).map_err(|class| (result, class))
    }
}

fn kind_of(function: AggregateFunction, input: Option<DataType>) -> Kind {
    match (function, input) {
        (AggregateFunction::Count, _) | (_, None) => Kind::Count,
        (AggregateFunction::Min, _) => Kind::Min,
        (AggregateFunction::Max, _) => Kind::Max,
        (AggregateFunction::Sum, Some(DataType::Decimal { precision, scale })) => {
            Kind::SumDecimal { precision: (precision + 10).min(38), scale }
        }
        (AggregateFunction::Sum, Some(DataType::Double)) => Kind::SumDouble,
        (AggregateFunction::Sum, _) => Kind::SumLong,
        (AggregateFunction::Avg, Some(DataType::Decimal { precision, scale })) => {
            Kind::AvgDecimal { precision: (precision + 10).min(38), scale }
        }
        (AggregateFunction::Avg, _) => Kind::AvgDouble,
    }
}

impl Kind {
    fn fields(self, input: Option<DataType>) -> Vec<DataType> {
        match self {
            Kind::Count | Kind::SumLong => vec![DataType::Long],
            Kind::SumDouble => vec![DataType::Double],
            Kind::SumDecimal { precision, scale } => {
                vec![DataType::Decimal { precision, scale }, DataType::Boolean]
            }
            Kind::AvgDouble => vec![DataType::Double, DataType::Long],
            Kind::AvgDecimal { precision, scale } => {
                vec![DataType::Decimal { precision, scale }, DataType::Long]
            }
            Kind::Min | Kind::Max => vec![input.expect("min and max have a column")],
        }
    }

    fn fresh(self) -> Vec<Field> {
        let zero = |scale| Field::Decimal(Decimal { unscaled: 0, scale });
        match self {
            Kind::Count => vec![Field::Long(0)],
            Kind::SumDouble | Kind::SumLong | Kind::Min | Kind::Max => vec![Field::Null],
            Kind::SumDecimal { scale, .. } => vec![zero(scale), Field::Boolean(true)],
            Kind::AvgDouble => vec![Field::Double(0.0), Field::Long(0)],
            Kind::AvgDecimal { scale, .. } => vec![zero(scale), Field::Long(0)],
        }
    }

    /// Adds a value that is not NULL.
    fn update(self, fields: &mut [Field], value: Value<'_>, ansi: bool) -> Result<(), ErrorClass> {
        match self {
            Kind::Count => add_long(&mut fields[0], 1, false)?,
            Kind::SumDouble => add_double(&mut fields[0], as_double(value)),
            Kind::SumLong => add_long(&mut fields[0], as_long(value), ansi)?,
            Kind::SumDecimal { .. } => {
                add_decimal(&mut fields[0], value);
                fields[1] = Field::Boolean(false);
            }
            Kind::AvgDouble => {
                add_double(&mut fields[0], as_double(value));
                add_long(&mut fields[1], 1, false)?;
            }
            Kind::AvgDecimal { .. } => {
                add_decimal(&mut fields[0], value);
                add_long(&mut fields[1], 1, false)?;
            }
            Kind::Min => keep(&mut fields[0], value, std::cmp::Ordering::is_lt),
            Kind::Max => keep(&mut fields[0], value, std::cmp::Ordering::is_gt),
        }
        Ok(())
    }

    fn merge(self, fields: &mut [Field], more: &[Field], ansi: bool) -> Result<(), ErrorClass> {
        match (self, more[0].as_value()) {
            (Kind::SumDecimal { .. }, value) => {
                if more[1] != Field::Boolean(true) {
                    add_decimal(&mut fields[0], value);
                    fields[1] = Field::Boolean(false);
                }
            }
            (Kind::AvgDecimal { .. }, value) => {
                add_decimal(&mut fields[0], value);
                add_long(&mut fields[1], as_long(more[1].as_value()), false)?;
            }
            (_, Value::Null) => {}
            (Kind::Count, value) => add_long(&mut fields[0], as_long(value), false)?,
            (Kind::SumDouble, value) => add_double(&mut fields[0], as_double(value)),
            (Kind::SumLong, value) => add_long(&mut fields[0], as_long(value), ansi)?,
            (Kind::AvgDouble, value) => {
                add_double(&mut fields[0], as_double(value));
                add_long(&mut fields[1], as_long(more[1].as_value()), false)?;
            }
            (Kind::Min, value) => keep(&mut fields[0], value, std::cmp::Ordering::is_lt),
            (Kind::Max, value) => keep(&mut fields[0], value, std::cmp::Ordering::is_gt),
        }
        Ok(())
    }

    fn finish(
        self,
        fields: &[Field],
        aggregate: &Aggregate,
        ansi: bool,
    ) -> Result<Field, ErrorClass> {
        let overflow = || if ansi { Err(ErrorClass::ArithmeticOverflow) } else { Ok(Field::Null) };
        match (self, fields) {
            (Kind::SumDecimal { .. }, [_, Field::Boolean(true), ..]) => Ok(Field::Null),
            (Kind::SumDecimal { precision, .. }, [Field::Decimal(total), ..]) => {
                if total.digits() <= precision { Ok(Field::Decimal(*total)) } else { overflow() }
            }
            (Kind::SumDecimal { .. }, _) => overflow(),
            (Kind::AvgDouble | Kind::AvgDecimal { .. }, [_, Field::Long(0), ..]) => Ok(Field::Null),
            (Kind::AvgDouble, [Field::Double(sum), Field::Long(count), ..]) => {
                Ok(Field::Double(sum / *count as f64))
            }
            (Kind::AvgDecimal { .. }, [Field::Decimal(total), Field::Long(count), ..]) => {
                let DataType::Decimal { scale, precision } = aggregate.result_type else {
                    unreachable!("an average of decimals is a decimal")
                };
                match total.divided_by(*count, scale) {
                    Some(average) if average.digits() <= precision => Ok(Field::Decimal(average)),
                    _ => overflow(),
                }
            }
            (Kind::AvgDecimal { .. }, _) => overflow(),
            (_, fields) => Ok(fields[0].clone()),
        }
    }
}

fn add_double(field: &mut Field, value: f64) {
    let total = if let Field::Double(total) = field { *total } else { 0.0 };
    *field = Field::Double(total + value);
}

fn add_long(field: &mut Field, value: i64, ansi: bool) -> Result<(), ErrorClass> {
    let total = if let Field::Long(total) = field { *total } else { 0 };
    *field = Field::Long(match total.checked_add(value) {
        Some(total) => total,
        None if ansi => return Err(ErrorClass::ArithmeticOverflow),
        None => total.wrapping_add(value),
    });
    Ok(())
}

/// A sum that left the range stays NULL.
fn add_decimal(field: &mut Field, value: Value<'_>) {
    *field = match (&field, value) {
        (Field::Decimal(total), Value::Decimal(value)) => total
            .unscaled
            .checked_add(value.unscaled)
            .map_or(Field::Null, |unscaled| Field::Decimal(Decimal { unscaled, ..*total })),
        _ => Field::Null,
    };
}

/// Equal values keep the first: -0.0 and 0.0 compare equal.
fn keep(field: &mut Field, value: Value<'_>, replaces: fn(std::cmp::Ordering) -> bool) {
    if *field == Field::Null || replaces(compare(value, field.as_value())) {
        *field = Field::from_value(value);
    }
}

fn as_double(value: Value<'_>) -> f64 {
    match value {
        Value::Double(value) => value,
        Value::Int(value) => f64::from(value),
        Value::Long(value) => value as f64,
        other => unreachable!("a checked pipeline sums numbers, not {other:?}"),
    }
}

fn as_long(value: Value<'_>) -> i64 {
    match value {
        Value::Long(value) => value,
        Value::Int(value) => i64::from(value),
        other => unreachable!("a checked pipeline sums numbers, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers(function: AggregateFunction, input: DataType) -> Buffers {
        let aggregate = Aggregate {
            name: "total".to_owned(),
            function,
            column: Some(0),
            result_type: input,
            output_type: input,
        };
        Buffers::new(&[aggregate], |_| input, false)
    }

    fn result(buffers: &Buffers, values: &[f64]) -> Field {
        let mut buffer = buffers.fresh();
        for value in values {
            buffers.update(&mut buffer, &[Value::Double(*value)]).unwrap();
        }
        buffers.finish(0, &buffer).unwrap()
    }

    #[test]
    fn doubles_are_added_in_their_order_from_zero() {
        let sum = buffers(AggregateFunction::Sum, DataType::Double);
        assert_eq!(result(&sum, &[0.1; 10]), Field::Double(0.999_999_999_999_999_9));
        assert_eq!(result(&sum, &[1e16, 1.0, -1e16]), Field::Double(0.0));
        assert!(matches!(result(&sum, &[-0.0]), Field::Double(zero) if zero.is_sign_positive()));
        assert_eq!(result(&sum, &[]), Field::Null);
        let avg = buffers(AggregateFunction::Avg, DataType::Double);
        assert_eq!(result(&avg, &[0.1, 0.2, 0.3]), Field::Double(0.200_000_000_000_000_04));
    }

    #[test]
    fn extremes_keep_the_first_of_equals_and_nan_is_greatest() {
        let max = buffers(AggregateFunction::Max, DataType::Double);
        assert!(
            matches!(result(&max, &[-0.0, 0.0]), Field::Double(zero) if zero.is_sign_negative())
        );
        assert!(matches!(result(&max, &[1.0, f64::NAN]), Field::Double(nan) if nan.is_nan()));
        let min = buffers(AggregateFunction::Min, DataType::Double);
        assert_eq!(result(&min, &[f64::NAN, 2.0, 3.0]), Field::Double(2.0));
    }
}
