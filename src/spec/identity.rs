//! What of a pipeline must stay as it is while a checkpoint lives.
//!
//! Not here: how long the watermark's delay is, `where`, the limit on future times and everything of `[run]`
//! besides the modes. They may change between two runs without old and new results being mixed up.

use std::collections::BTreeSet;
use std::time::Duration;

use super::durations::format_duration;
use super::pipeline::{
    Aggregate, AggregateFunction, Arithmetic, Comparison, Compat, DeduplicationScope, Expression,
    Function, Literal, OutputSource, Pipeline, Query, SessionGap, TimeFormat, Window,
};

impl Pipeline {
    /// The fields whose change would mix two meanings in one checkpoint, each with its value as
    /// text that stays the same for the same meaning. Always the same fields in the same order.
    ///
    /// The texts are stored in checkpoints and compared: a change of form here makes every existing
    /// checkpoint another pipeline's. Columns go by name, so the order of the schema and columns
    /// nobody uses do not count.
    #[must_use]
    pub fn identity(&self) -> Vec<(String, String)> {
        let fields = [
            ("topic", self.topic.clone()),
            ("schema", self.used_schema()),
            ("event_time", self.event_time_text()),
            ("watermark", self.watermark_text().to_owned()),
            ("window", self.window_text()),
            ("group_by", self.group_by_text()),
            ("aggregates", self.aggregates_text()),
            ("output", self.output_text()),
            ("output_mode", self.output_mode.name().to_owned()),
            ("mode", self.parse_mode.name().to_owned()),
            ("drop_duplicates", self.deduplication_text()),
            ("session_time_zone", self.session_time_zone.clone()),
            ("compat", self.semantics.compat.map_or(NONE, Compat::name).to_owned()),
            ("state", self.state_text()),
        ];
        fields.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
    }

    /// Whether a checkpoint with another value in this field of its identity is refused. A
    /// compatibility mode goes on where Spark would, as long as the state's types stay the same.
    #[must_use]
    pub fn must_keep(&self, field: &str) -> bool {
        self.semantics.compat.is_none()
            || matches!(field, "topic" | "compat" | "drop_duplicates" | "state")
    }

    fn deduplication_text(&self) -> String {
        let Some(deduplication) = &self.deduplication else { return NONE.to_owned() };
        let scope = match deduplication.scope {
            DeduplicationScope::WithinWatermark => "within the watermark",
            DeduplicationScope::WithEventTime => "with the event time",
            DeduplicationScope::Forever => "for ever",
        };
        let columns = deduplication.columns.iter().map(|column| self.column(*column)).collect();
        format!("{} {scope}", listed(columns))
    }

    /// The types of what is kept for a group: Spark's schema of the state store.
    fn state_text(&self) -> String {
        let Query::Aggregation(aggregation) = &self.query else { return NONE.to_owned() };
        let kind = match &aggregation.window {
            None => "groups",
            Some(Window::Sliding(_)) => "windows",
            Some(Window::Session(_)) => "sessions",
        };
        let type_of = |column: &usize| self.schema[*column].data_type.to_string();
        let keys = aggregation.keys.iter().map(type_of).collect();
        let totals = aggregation.aggregates.iter().map(|aggregate| match aggregate.function {
            AggregateFunction::Avg => format!("{} and count", aggregate.result_type),
            _ => aggregate.result_type.to_string(),
        });
        format!("{kind} by {} of {}", listed(keys), listed(totals.collect()))
    }

    fn used_schema(&self) -> String {
        let mut used: BTreeSet<usize> = self.event_time.iter().map(|time| time.column).collect();
        if let Query::Aggregation(aggregation) = &self.query {
            used.extend(&aggregation.keys);
            used.extend(aggregation.aggregates.iter().filter_map(|aggregate| aggregate.column));
        }
        let mut use_columns = |expression: &Expression| {
            expression.visit(&mut |part| {
                if let Expression::Column(index) = part {
                    used.insert(*index);
                }
            });
        };
        if let Some(gap) = self.session_gap() {
            use_columns(gap);
        }
        for column in &self.output {
            match column.source {
                OutputSource::Column(index) => use_columns(&Expression::Column(index)),
                OutputSource::Computed(index) => use_columns(&self.computed[index]),
                _ => {}
            }
        }
        let mut columns: Vec<String> = used
            .into_iter()
            .map(|index| format!("{} {}", self.column(index), self.schema[index].data_type))
            .collect();
        columns.sort();
        listed(columns)
    }

    fn event_time_text(&self) -> String {
        let Some(time) = &self.event_time else { return NONE.to_owned() };
        let format = match &time.format {
            TimeFormat::Seconds => "seconds".to_owned(),
            TimeFormat::Milliseconds => "milliseconds".to_owned(),
            TimeFormat::Iso => "iso".to_owned(),
            TimeFormat::Timestamp => "timestamp".to_owned(),
            TimeFormat::Pattern(pattern) => format!("pattern {}", quoted(pattern)),
        };
        format!("{} as {format}", self.column(time.column))
    }

    /// Only whether there is one: without it state never closes, and is kept elsewhere.
    fn watermark_text(&self) -> &'static str {
        let delay = self.event_time.as_ref().and_then(|time| time.watermark_delay_ms);
        if delay.is_some() { "some" } else { NONE }
    }

    fn window_text(&self) -> String {
        let Query::Aggregation(aggregation) = &self.query else { return NONE.to_owned() };
        match &aggregation.window {
            None => NONE.to_owned(),
            Some(Window::Sliding(window)) if window.is_tumbling() && window.offset_us == 0 => {
                format!("tumbling {}", microseconds(window.duration_us))
            }
            Some(Window::Sliding(window)) => format!(
                "{} every {} from {} us",
                microseconds(window.duration_us),
                microseconds(window.slide_us),
                window.offset_us
            ),
            Some(Window::Session(SessionGap::Fixed(gap_us))) => format!("session {gap_us} us"),
            Some(Window::Session(SessionGap::Dynamic(gap))) => {
                format!("session {}", self.expression_text(gap))
            }
        }
    }

    /// What each event computes its session's gap by.
    fn session_gap(&self) -> Option<&Expression> {
        match &self.query {
            Query::Aggregation(aggregation) => match &aggregation.window {
                Some(Window::Session(SessionGap::Dynamic(gap))) => Some(gap),
                _ => None,
            },
            Query::Projection => None,
        }
    }

    fn group_by_text(&self) -> String {
        let Query::Aggregation(aggregation) = &self.query else { return NONE.to_owned() };
        listed(aggregation.keys.iter().map(|key| self.column(*key)).collect())
    }

    fn aggregates_text(&self) -> String {
        let Query::Aggregation(aggregation) = &self.query else { return NONE.to_owned() };
        let text = |aggregate: &Aggregate| {
            let column =
                aggregate.column.map_or_else(|| "*".to_owned(), |index| self.column(index));
            let call = format!("{}({column})", aggregate.function.name());
            let name = plain_or_quoted(&aggregate.name);
            if aggregate.output_type == aggregate.result_type {
                format!("{name} = {call}")
            } else {
                format!("{name} = cast({call} as {})", aggregate.output_type)
            }
        };
        listed(aggregation.aggregates.iter().map(text).collect())
    }

    fn output_text(&self) -> String {
        let text = |(name, source): (&String, OutputSource)| {
            let (name, source) = (plain_or_quoted(name), self.source_text(source));
            if name == source { name } else { format!("{name} = {source}") }
        };
        listed(self.output.iter().map(|column| text((&column.name, column.source))).collect())
    }

    fn source_text(&self, source: OutputSource) -> String {
        let aggregation = match &self.query {
            Query::Aggregation(aggregation) => Some(aggregation),
            Query::Projection => None,
        };
        match (source, aggregation) {
            (OutputSource::Column(index), _) => self.column(index),
            (OutputSource::EventTime, _) => "event_time".to_owned(),
            (OutputSource::WindowStart, _) => "window_start".to_owned(),
            (OutputSource::WindowEnd, _) => "window_end".to_owned(),
            (OutputSource::Computed(index), _) => self.expression_text(&self.computed[index]),
            (OutputSource::Key(index), Some(aggregation)) => self.column(aggregation.keys[index]),
            (OutputSource::Aggregate(index), Some(aggregation)) => {
                plain_or_quoted(&aggregation.aggregates[index].name)
            }
            (OutputSource::Key(_) | OutputSource::Aggregate(_), None) => {
                unreachable!("a checked projection has neither keys nor aggregates")
            }
        }
    }

    /// With every operator in brackets, and a colon before what could be mistaken for a column.
    fn expression_text(&self, expression: &Expression) -> String {
        let of = |part: &Expression| self.expression_text(part);
        let all = |parts: &[Expression]| parts.iter().map(of).collect::<Vec<_>>().join(", ");
        match expression {
            Expression::Column(index) => self.column(*index),
            Expression::EventTime => ":event_time".to_owned(),
            Expression::NoData => ":no_data".to_owned(),
            Expression::Literal(literal) => literal_text(literal),
            Expression::Compare(operator, left, right) => {
                format!("({} {} {})", of(left), comparison_sign(*operator), of(right))
            }
            Expression::Arithmetic(operator, left, right) => {
                format!("({} {} {})", of(left), arithmetic_sign(*operator), of(right))
            }
            Expression::And(left, right) => format!("({} and {})", of(left), of(right)),
            Expression::Or(left, right) => format!("({} or {})", of(left), of(right)),
            Expression::Not(operand) => format!("(not {})", of(operand)),
            Expression::IsNull(operand) => format!("({} is null)", of(operand)),
            Expression::In(operand, list) => format!("({} in ({}))", of(operand), all(list)),
            Expression::Like(operand, pattern) => {
                format!("({} like {})", of(operand), quoted(pattern))
            }
            Expression::RLike(operand, pattern) => {
                format!("({} rlike {})", of(operand), quoted(pattern))
            }
            Expression::Case(branches, otherwise) => {
                let branch = |(condition, value): &(Expression, Expression)| {
                    format!("when {} then {} ", of(condition), of(value))
                };
                let otherwise = otherwise.as_ref().map(|value| format!("else {} ", of(value)));
                let branches: String = branches.iter().map(branch).collect();
                format!("(case {branches}{}end)", otherwise.unwrap_or_default())
            }
            Expression::Cast(operand, to) => format!("(cast {} as {to})", of(operand)),
            Expression::Call(function, operands) => {
                format!("{}({})", function_name(*function), all(operands))
            }
        }
    }

    fn column(&self, index: usize) -> String {
        plain_or_quoted(&self.schema[index].name)
    }
}

fn literal_text(literal: &Literal) -> String {
    match literal {
        Literal::Null => ":null".to_owned(),
        Literal::Boolean(value) => format!(":{value}"),
        Literal::Long(value) => value.to_string(),
        Literal::Double(value) => format!(":{value:e}"),
        Literal::String(text) => format!(":{}", quoted(text)),
        Literal::Timestamp(instant) => format!(":timestamp {} us", instant.0),
    }
}

fn comparison_sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::NotEqual => "<>",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
        Comparison::NullSafeEqual => "<=>",
    }
}

fn arithmetic_sign(arithmetic: Arithmetic) -> &'static str {
    match arithmetic {
        Arithmetic::Add => "+",
        Arithmetic::Subtract => "-",
        Arithmetic::Multiply => "*",
        Arithmetic::Divide => "/",
        Arithmetic::Remainder => "%",
    }
}

fn function_name(function: Function) -> &'static str {
    match function {
        Function::Abs => "abs",
        Function::Coalesce => "coalesce",
        Function::Concat => "concat",
        Function::Day => "day",
        Function::Hour => "hour",
        Function::IsNan => "isnan",
        Function::Length => "length",
        Function::Lower => "lower",
        Function::LeftTrim => "ltrim",
        Function::Minute => "minute",
        Function::Month => "month",
        Function::Negate => "negative",
        Function::RightTrim => "rtrim",
        Function::Second => "second",
        Function::Trim => "trim",
        Function::Upper => "upper",
        Function::Year => "year",
    }
}

const NONE: &str = "none";

fn microseconds(length_us: i64) -> String {
    format_duration(Duration::from_micros(u64::try_from(length_us).unwrap_or(0)))
}

fn listed(texts: Vec<String>) -> String {
    if texts.is_empty() { NONE.to_owned() } else { texts.join(", ") }
}

/// A name as it is, in quotes where it could be mistaken for punctuation or another word.
fn plain_or_quoted(name: &str) -> String {
    let plain = !name.is_empty()
        && name != NONE
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain { name.to_owned() } else { quoted(name) }
}

/// As JSON: which characters Rust escapes changes with its version of Unicode.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{parse, preset};

    fn identity(text: &str) -> String {
        let fields = parse(text, "test").unwrap().pipeline.identity();
        fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    }

    #[test]
    fn the_identity_of_the_presets_is_frozen() {
        assert_eq!(
            identity(preset("sales").unwrap()),
            "topic: sales\n\
             schema: price double, store string, ts long\n\
             event_time: ts as seconds\n\
             watermark: some\n\
             window: tumbling 30s\n\
             group_by: store\n\
             aggregates: total_revenue_int = cast(sum(price) as int)\n\
             output: store, total_revenue_int, window_start, window_end\n\
             output_mode: append\n\
             mode: permissive\n\
             drop_duplicates: none\n\
             session_time_zone: UTC\n\
             compat: none\n\
             state: windows by string of double\n"
        );
        assert_eq!(
            identity(preset("transactions").unwrap()),
            "topic: real-time-transactions\n\
             schema: amount double, location string, timestamp string, transaction_id string, \
             type string, user_id string\n\
             event_time: none\n\
             watermark: none\n\
             window: none\n\
             group_by: none\n\
             aggregates: none\n\
             output: transaction_id, user_id, amount, type, timestamp, location\n\
             output_mode: append\n\
             mode: permissive\n\
             drop_duplicates: none\n\
             session_time_zone: UTC\n\
             compat: none\n\
             state: none\n"
        );
    }

    #[test]
    fn the_identity_of_expressions_is_frozen() {
        let field = |text: &str, field: &str| {
            let fields = parse(text, "test").unwrap().pipeline.identity();
            fields.into_iter().find(|(name, _)| name == field).unwrap().1
        };
        let schema = "topic = \"sales\"\n[schema]\nts = \"timestamp\"\nstore = \"string\"\n\
                      \"a b\" = \"int\"\nprice = \"double\"\n[event_time]\ncolumn = \"ts\"\n\
                      format = \"timestamp\"\nwatermark = \"1 second\"\n";
        let of = |expression: &str| {
            let output =
                format!("name = \"it\"\noutput = [{{ name = \"x\", expr = {expression:?} }}]\n");
            let spec = format!("{output}{schema}");
            (field(&spec, "output"), field(&spec, "schema"))
        };
        for (expression, text, schema) in [
            ("price + 1 > 10.5D", "((price + 1) > :1.05e1)", "price double, ts timestamp"),
            ("price - -2 * 3 <> 1", "((price - (-2 * 3)) <> 1)", "price double, ts timestamp"),
            ("store IN ('a', NULL)", "(store in (:\"a\", :null))", "store string, ts timestamp"),
            (
                "NOT (store LIKE 'a%' OR store RLIKE '^b') AND true",
                "((not ((store like \"a%\") or (store rlike \"^b\"))) and :true)",
                "store string, ts timestamp",
            ),
            (
                "CASE WHEN `a b` IS NULL THEN 1 ELSE `a b` END",
                "(case when (\"a b\" is null) then 1 else (cast \"a b\" as long) end)",
                "\"a b\" int, ts timestamp",
            ),
            (
                "concat(upper(store), 'ä')",
                "concat(upper(store), :\"ä\")",
                "store string, ts timestamp",
            ),
            (
                "event_time <=> CAST(store AS TIMESTAMP)",
                "(:event_time <=> (cast store as timestamp))",
                "store string, ts timestamp",
            ),
            (
                "ts < TIMESTAMP '1970-01-01 00:00:01'",
                "(ts < (cast :\"1970-01-01 00:00:01\" as timestamp))",
                "ts timestamp",
            ),
        ] {
            assert_eq!(of(expression), (format!("x = {text}"), schema.to_owned()), "{expression}");
        }
        let session = format!(
            "name = \"it\"\ngroup_by = [\"ts\"]\noutput = [\"ts\"]\n{schema}[window]\nsession_gap_expr = \
             \"CASE WHEN store = 'a' THEN '5 seconds' ELSE '9 seconds' END\"\n[aggregates]\nn = {{ count = \"*\" }}\n"
        );
        let gap =
            "session (case when (store = :\"a\") then :\"5 seconds\" else :\"9 seconds\" end)";
        assert_eq!(field(&session, "window"), gap);
        assert_eq!(field(&session, "schema"), "store string, ts timestamp");
    }

    #[test]
    fn what_may_change_between_runs_is_not_part_of_the_identity() {
        let sales = preset("sales").unwrap();
        let mut changed = sales.replace("watermark = \"30 seconds\"", "watermark = \"1 minute\"");
        changed = changed.replace("item = \"string\"\n", "");
        changed = changed.replace("name = \"sales\"", "name = \"other\"\nwhere = \"price > 0\"");
        changed =
            changed.replace("trigger = \"10s\"", "trigger = \"0s\"\nmax_future_skew = \"1h\"");
        assert_ne!(changed, sales);
        assert_eq!(identity(&changed), identity(sales));
    }

    #[test]
    fn what_changes_the_meaning_changes_the_identity() {
        let sales = preset("sales").unwrap();
        for (from, to) in [
            ("topic = \"sales\"", "topic = \"sales2\""),
            ("price = \"double\"", "price = \"decimal(18,2)\""),
            ("format = \"seconds\"", "format = \"milliseconds\""),
            ("duration = \"30 seconds\"", "duration = \"1 minute\""),
            ("cast = \"int\"", "cast = \"long\""),
            ("sum = \"price\"", "max = \"price\""),
            ("output_mode = \"append\"", "output_mode = \"update\""),
            ("trigger = \"10s\"", "mode = \"failfast\""),
            ("\"window_start\", ", ""),
            ("\"window_start\"", "{ name = \"begin\", from = \"window_start\" }"),
        ] {
            let changed = sales.replace(from, to);
            assert_ne!(changed, sales, "{from} is in the preset");
            assert_ne!(identity(&changed), identity(sales), "{to}");
        }
    }

    #[test]
    fn odd_names_are_quoted_so_that_no_two_lists_look_alike() {
        assert_eq!(plain_or_quoted("a, b"), "\"a, b\"");
        assert_eq!(plain_or_quoted("none"), "\"none\"");
        assert_eq!(plain_or_quoted(""), "\"\"");
        assert_eq!(plain_or_quoted("store_1"), "store_1");
    }
}
