//! From a spec's text to a checked [`Pipeline`].
//!
//! Each section is read on its own and notes its mistakes; what needs a value that could not be read
//! is skipped. Only a text without any mistake becomes a [`Spec`]. Start at [`parse`].
//!
//! Not here: reading TOML values (`document`), conditions (`expression`), types (`typing`), what must
//! fit together (`rules`), `[run]` (`run`).

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{
    EVENT_TIME_KEYS, Located, ROOT_KEYS, Section, described, home_of, missing, noted,
    offset_in_document, text_of,
};
use super::durations::parse_interval;
use super::errors::{InvalidOption, Mistakes, SpecError, SpecErrors, list, suggestion};
use super::expression::{self, Names, parse_condition, parse_value};
use super::names::{check_pipeline_name, check_topic_name};
use super::pipeline::{
    Aggregate, AggregateFunction, Aggregation, Compat, EventTime, Expression, OutputColumn,
    OutputMode, OutputSource, ParseMode, Pipeline, Query, TimeFormat, Window,
};
use super::rules::{Subject, broken_rules};
use super::run::{RunOptions, read_run};
use super::spark::{SparkChoices, check_time_zone, read_json, read_spark};
use super::sql::{Selected, parse_select};
use super::time_format::{check_format_fits, parse_time_format};
use super::typing::{check_cast, parse_data_type, result_type};
use super::windows;
use crate::types::{Column, DataType};

const EVENT_TIME: &str = "event_time";
/// Spark's default for `spark.sql.columnNameOfCorruptRecord`.
const CORRUPT_COLUMN: &str = "_corrupt_record";
const WINDOW_START: &str = "window_start";
const WINDOW_END: &str = "window_end";

/// A spec: what is computed, and what it says about how to run it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// What is computed.
    pub pipeline: Pipeline,
    /// How to run it; an option on the command line wins.
    pub run: RunOptions,
    /// What it names of Spark's ways; an option for `compat` on the command line keeps these.
    pub spark: SparkChoices,
    /// What is run as it is written, as Spark does, but is most likely a mistake: to be warned of.
    pub doubts: Vec<SpecError>,
}

/// Reads a spec. `origin` names the text in errors, usually the path of its file.
///
/// # Errors
/// Every mistake that was found, each with line, column and what would be right.
pub fn parse(text: &str, origin: &str) -> Result<Spec, SpecErrors> {
    parse_for(text, origin, Asked::default())
}

/// What is asked for outside of a spec and decides whether it can be run at all; each wins over what the
/// spec says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `--compat`
    pub compat: Option<Compat>,
    /// `--output-mode`
    pub output_mode: Option<OutputMode>,
    /// `--watermark`, in milliseconds; not for a spec without event time.
    pub watermark_delay_ms: Option<i64>,
}

/// Reads a spec that is to be run as it is asked for, whatever it says itself of that.
///
/// # Errors
/// As [`parse()`].
pub fn parse_for(text: &str, origin: &str, asked: Asked) -> Result<Spec, SpecErrors> {
    let mut mistakes = Mistakes::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let offset = error.span().map_or(text.len(), |span| span.start);
        mistakes.note(offset, format!("this is not TOML: {}", error.message()));
    }
    if !errors.is_empty() {
        return Err(mistakes.into_errors(origin));
    }
    let spec = read_spec(Section::root(document.get_ref()), asked, &mut mistakes);
    match spec {
        Some(spec) if mistakes.is_empty() => {
            Ok(Spec { doubts: mistakes.into_doubts(origin), ..spec })
        }
        _ => {
            debug_assert!(!mistakes.is_empty(), "what is left out was noted");
            Err(mistakes.into_errors(origin))
        }
    }
}

/// The schema as far as it could be read: a column whose type is wrong still has its name.
pub(super) struct Schema {
    pub(super) columns: Vec<(String, Option<DataType>)>,
}

impl Schema {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// The column's index, or a mistake that names `place`.
    pub(super) fn find(
        &self,
        name: Located<&str>,
        place: &str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<usize> {
        let index = self.names().position(|column| column == name.value);
        // Without any column there is another mistake already.
        if index.is_none() && !self.columns.is_empty() {
            let hint = suggestion(name.value, self.names());
            mistakes.note(
                name.offset,
                format!(
                    "unknown column {:?} in {place}; the schema has {}{hint}",
                    name.value,
                    list(self.names())
                ),
            );
        }
        index
    }

    fn complete(self) -> Option<Vec<Column>> {
        let column = |(name, data_type): (String, Option<DataType>)| {
            Some(Column { name, data_type: data_type? })
        };
        self.columns.into_iter().map(column).collect()
    }
}

/// What a result can be taken from: its name, source and, where it could be read, its type.
struct Available {
    name: String,
    source: OutputSource,
    data_type: Option<DataType>,
}

/// All that results can be taken from, as far as it is known.
struct Results {
    available: Vec<Available>,
    /// Whether a mistake that was told keeps others from being known: names that are not among these
    /// may well be right.
    incomplete: bool,
}

impl Results {
    fn all(available: Vec<Available>) -> Results {
        Results { available, incomplete: false }
    }
}

fn read_spec(root: Section<'_, '_>, asked: Asked, mistakes: &mut Mistakes<'_>) -> Option<Spec> {
    root.check_keys(ROOT_KEYS, mistakes);
    let name = read_name(root, mistakes);
    let topic = read_topic(root, mistakes);
    let schema = read_schema(root, mistakes);
    let event_time = read_event_time(root, &schema, mistakes).map(|time| EventTime {
        watermark_delay_ms: asked.watermark_delay_ms.or(time.watermark_delay_ms),
        ..time
    });
    let of_spec: Option<Compat> = root.parsed("compat", mistakes);
    let compat = asked.compat.or(of_spec);
    let conditions = read_conditions(root, &schema, mistakes);
    let deduplication = root
        .section("drop_duplicates", "[drop_duplicates]", mistakes)
        .map(|section| windows::read_drop_duplicates(section, &schema, mistakes));
    let aggregated = ["window", "group_by", "aggregates"]
        .iter()
        .any(|key| root.has(key) || root.has_slip_of(key));
    let selected = read_select(root, &schema, topic.as_deref(), mistakes);
    let (query, available) = if root.has("pipeline") {
        (None, Results::all(Vec::new()))
    } else if aggregated {
        read_aggregation(root, &schema, mistakes)
    } else {
        (Some(Query::Projection), Results::all(projectable(&schema, root.has(EVENT_TIME))))
    };
    let mut computed = Vec::new();
    let place = OutputPlace { schema: &schema, aggregated, root };
    let output = if root.has("pipeline") {
        None
    } else {
        read_output(root, &available, &place, &mut computed, mistakes)
    };
    let session_time_zone = root.read_with("session_time_zone", check_time_zone, mistakes);
    let json = root.section("json", "[json]", mistakes);
    let corrupt_column = read_corrupt_column(json, &schema, mistakes);
    let json = json.map(|section| read_json(section, mistakes)).unwrap_or_default();
    let spark = root
        .section("spark", "[spark]", mistakes)
        .map(|section| read_spark(section, mistakes))
        .unwrap_or_default();
    let run = root.section("run", "[run]", mistakes);
    let (run_options, meaning) =
        run.map(|run| read_run(run, topic.as_deref(), mistakes)).unwrap_or_default();
    let (mut filter, filter_above_watermark) = conditions?;
    let mut topic = topic;
    let (query, output) = match selected? {
        Some(selected) => {
            topic = topic.or(Some(selected.from));
            filter = windows::both(filter, selected.filter);
            computed = selected.computed;
            (Some(selected.query), Some(selected.output))
        }
        None => (query, output),
    };
    let pipeline = Pipeline {
        name: name?,
        topic: topic?,
        schema: schema.complete()?,
        event_time: if root.has(EVENT_TIME) { Some(event_time?) } else { None },
        filter,
        filter_above_watermark,
        deduplication: if root.has("drop_duplicates") { Some(deduplication??) } else { None },
        query: query?,
        computed,
        output: output?,
        output_mode: asked.output_mode.or(meaning.output_mode).unwrap_or(OutputMode::Append),
        parse_mode: meaning.parse_mode.unwrap_or(ParseMode::Permissive),
        json,
        corrupt_column: corrupt_column?,
        session_time_zone: session_time_zone.unwrap_or_else(|| "UTC".to_owned()),
        semantics: spark.semantics(compat),
        max_future_skew_ms: meaning.max_future_skew_ms,
    };
    note_broken_rules(&pipeline, asked, (root, run), mistakes);
    Some(Spec { pipeline, run: run_options, spark, doubts: Vec::new() })
}

/// What `pipeline` selects; `Some(None)` where there is none.
fn read_select(
    root: Section<'_, '_>,
    schema: &Schema,
    topic: Option<&str>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Option<Selected>> {
    if !root.has("pipeline") {
        return Some(None);
    }
    let said_there = ["where", "group_by", "window", "aggregates", "output"];
    for key in said_there.into_iter().filter(|key| root.has(key)) {
        let message = format!("{key} is said by the SQL of pipeline; take one of the two out");
        mistakes.note(root.offset_of(key), message);
    }
    let has_event_time = root.has(EVENT_TIME);
    let selected =
        read_expression(root, "pipeline", schema, has_event_time, parse_select, mistakes)?;
    if topic.is_none() {
        noted(root.offset_of("pipeline"), check_topic_name(&selected.from), mistakes)?;
    }
    if topic.is_some_and(|topic| topic != selected.from) {
        let message = format!("FROM names {:?}, which is not the spec's topic", selected.from);
        mistakes.note(root.offset_of("pipeline"), message);
        return None;
    }
    Some(Some(selected))
}

/// The column that takes the text of malformed records; `Some(None)` where there is none.
fn read_corrupt_column(
    json: Option<Section<'_, '_>>,
    schema: &Schema,
    mistakes: &mut Mistakes<'_>,
) -> Option<Option<usize>> {
    let named = json.filter(|json| json.has("corrupt_column"));
    let index = match named {
        Some(json) => {
            let name = json.text("corrupt_column", mistakes)?;
            schema.find(name, "[json]", mistakes)?
        }
        None => match schema.names().position(|name| name == CORRUPT_COLUMN) {
            Some(index) => index,
            None => return Some(None),
        },
    };
    if !matches!(schema.columns[index].1, Some(DataType::String) | None) {
        let offset = named.map_or(0, |json| json.offset_of("corrupt_column"));
        let name = &schema.columns[index].0;
        mistakes
            .note(offset, format!("the column {name:?} takes the text of records; make it string"));
        return None;
    }
    Some(Some(index))
}

fn read_name(root: Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let name = root.required_text("name", "name = \"sales\"", mistakes)?;
    noted(name.offset, check_pipeline_name(name.value), mistakes)?;
    Some(name.value.to_owned())
}

/// The topic; with a query in SQL it may be left to what stands behind FROM.
fn read_topic(root: Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<String> {
    if root.has("pipeline") && !root.has("topic") {
        return None;
    }
    let topic = root.required_text("topic", "topic = \"sales\"", mistakes)?;
    noted(topic.offset, check_topic_name(topic.value), mistakes)?;
    Some(topic.value.to_owned())
}

fn read_schema(root: Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Schema {
    let mut columns = Vec::new();
    if !root.has("schema") && !root.has_slip_of("schema") {
        mistakes.note(
            root.offset,
            "[schema] is missing; it lists the fields of a record, for \
            example store = \"string\"",
        );
    }
    let Some(section) = root.section("schema", "[schema]", mistakes) else {
        return Schema { columns };
    };
    for (name, value) in section.entries() {
        if name.value.is_empty() {
            mistakes.note(name.offset, "a column has no name; write the name of the JSON field");
        }
        let data_type = text_of("a column's type", value, mistakes)
            .and_then(|text| noted(text.offset, parse_data_type(text.value), mistakes));
        columns.push((name.value.to_owned(), data_type));
    }
    if columns.is_empty() {
        let message =
            "[schema] is empty; list the fields of a record, for example store = \"string\"";
        mistakes.note(section.offset, message);
    }
    Schema { columns }
}

fn read_event_time(
    root: Section<'_, '_>,
    schema: &Schema,
    mistakes: &mut Mistakes<'_>,
) -> Option<EventTime> {
    let section = root.section(EVENT_TIME, "[event_time]", mistakes)?;
    section.check_keys(EVENT_TIME_KEYS, mistakes);
    let delay_ms = section.duration("watermark", watermark_delay, mistakes);
    let column = section
        .required_text("column", "column = \"ts\"", mistakes)
        .and_then(|name| schema.find(name, "[event_time]", mistakes));
    let data_type = column.and_then(|index| schema.columns[index].1);
    let format = if !section.has("format") && data_type == Some(DataType::Timestamp) {
        Some(TimeFormat::Timestamp)
    } else {
        section.required_text("format", "format = \"seconds\"", mistakes).and_then(|text| {
            let format = parse_time_format(text.value);
            noted(text.offset, format, mistakes)
        })
    };
    if let (Some(column), Some(data_type), Some(format)) = (column, data_type, &format) {
        let fits = check_format_fits(format, &schema.columns[column].0, data_type);
        noted(section.offset_of("format"), fits, mistakes)?;
    }
    let watermark_delay_ms = if section.has("watermark") { Some(delay_ms?) } else { None };
    Some(EventTime { column: column?, format: format?, watermark_delay_ms })
}

/// The conditions before and behind the watermark, as they are evaluated: below it and above it.
/// `None` where one is there and could not be read.
fn read_conditions(
    root: Section<'_, '_>,
    schema: &Schema,
    mistakes: &mut Mistakes<'_>,
) -> Option<(Option<Expression>, Option<Expression>)> {
    let has_event_time = root.has(EVENT_TIME);
    let mut read =
        |key| read_expression(root, key, schema, has_event_time, parse_condition, mistakes);
    let before = read("where");
    let after = read("where_after_watermark");
    let before = if root.has("where") { Some(before?) } else { None };
    let after = if root.has("where_after_watermark") { Some(after?) } else { None };
    let (below, above) = after.map_or((None, None), windows::split_at_watermark);
    Some((windows::both(before, below), above))
}

/// A text of SQL, read by a function that tells mistakes by their place in it.
pub(super) fn read_expression<T>(
    section: Section<'_, '_>,
    key: &str,
    schema: &Schema,
    has_event_time: bool,
    read: impl FnOnce(&str, &Names<'_>) -> Result<T, Vec<expression::Mistake>>,
    mistakes: &mut Mistakes<'_>,
) -> Option<T> {
    let span = section.value(key)?.span();
    let text = section.text(key, mistakes)?;
    if schema.columns.is_empty() {
        return None;
    }
    let names = Names::new(&schema.columns, has_event_time);
    let read = read(text.value, &names);
    let document = mistakes.text();
    let place = |offset| offset_in_document(document, span.clone(), text.value, offset);
    for (offset, message) in names.doubts.take() {
        mistakes.doubt(place(offset), message);
    }
    match read {
        Ok(value) => Some(value),
        Err(found) => {
            for (offset, message) in found {
                mistakes.note(place(offset), message);
            }
            None
        }
    }
}

/// What a projection's results can be taken from.
fn projectable(schema: &Schema, has_event_time: bool) -> Vec<Available> {
    let column = |(index, (name, data_type)): (usize, &(String, Option<DataType>))| Available {
        name: name.clone(),
        source: OutputSource::Column(index),
        data_type: *data_type,
    };
    let mut available: Vec<Available> = schema.columns.iter().enumerate().map(column).collect();
    // A field of that name in the records comes first.
    if has_event_time && !schema.names().any(|name| name == EVENT_TIME) {
        available.push(Available {
            name: EVENT_TIME.to_owned(),
            source: OutputSource::EventTime,
            data_type: Some(DataType::Timestamp),
        });
    }
    available
}

/// The aggregation, and what its results can be taken from, as far as both could be read.
fn read_aggregation(
    root: Section<'_, '_>,
    schema: &Schema,
    mistakes: &mut Mistakes<'_>,
) -> (Option<Query>, Results) {
    let window = read_window(root, schema, mistakes);
    let (keys, all_keys) = read_group_by(root, schema, mistakes);
    let aggregates = read_aggregates(root, schema, &keys, mistakes);
    let parts = [(WINDOW_START, OutputSource::WindowStart), (WINDOW_END, OutputSource::WindowEnd)];
    let mut available: Vec<Available> = parts
        .into_iter()
        .filter(|_| root.has("window"))
        .map(|(name, source)| Available {
            name: name.to_owned(),
            source,
            data_type: Some(DataType::Timestamp),
        })
        .collect();
    available.extend(keys.iter().enumerate().map(|(position, index)| {
        let (name, data_type) = schema.columns[*index].clone();
        Available { name, source: OutputSource::Key(position), data_type }
    }));
    available.extend(aggregates.iter().enumerate().map(|(position, (name, aggregate))| {
        Available {
            name: name.clone(),
            source: OutputSource::Aggregate(position),
            data_type: aggregate.as_ref().map(|aggregate| aggregate.output_type),
        }
    }));
    let aggregates: Option<Vec<Aggregate>> =
        aggregates.into_iter().map(|(_, aggregate)| aggregate).collect();
    let query = match (window, aggregates) {
        (Some(window), Some(aggregates)) if all_keys => {
            Some(Query::Aggregation(Aggregation { window, keys, aggregates }))
        }
        _ => None,
    };
    let slip = ["aggregates", "window"].iter().any(|key| root.has_slip_of(key));
    let incomplete = !all_keys || slip;
    (query, Results { available, incomplete })
}

/// The window; `Some(None)` where there is none.
fn read_window(
    root: Section<'_, '_>,
    schema: &Schema,
    mistakes: &mut Mistakes<'_>,
) -> Option<Option<Window>> {
    if root.has_slip_of("window") {
        return None;
    }
    if !root.has("window") {
        return Some(None);
    }
    if !root.has(EVENT_TIME) && !root.has_slip_of(EVENT_TIME) {
        let message = "a window needs the time of events: add [event_time] with column and format";
        mistakes.note(root.offset_of("window"), message);
    }
    let section = root.section("window", "[window]", mistakes)?;
    windows::read_window(section, schema, mistakes).map(Some)
}

/// The columns to group by that could be read, and whether these are all.
fn read_group_by(
    root: Section<'_, '_>,
    schema: &Schema,
    mistakes: &mut Mistakes<'_>,
) -> (Vec<usize>, bool) {
    let example = "group_by = [\"store\"]";
    let Some(values) = root.array("group_by", example, mistakes) else {
        return (Vec::new(), !root.has("group_by") && !root.has_slip_of("group_by"));
    };
    let mut keys = Vec::new();
    for value in values {
        keys.extend(read_group_key(value, schema, &keys, mistakes));
    }
    let all = keys.len() == values.len();
    (keys, all)
}

fn read_group_key(
    value: &Spanned<DeValue<'_>>,
    schema: &Schema,
    before: &[usize],
    mistakes: &mut Mistakes<'_>,
) -> Option<usize> {
    let name = text_of("a column to group by", value, mistakes)?;
    if [WINDOW_START, WINDOW_END].contains(&name.value) {
        let message =
            format!("{} is a part of the window, which groups anyway; take it out", name.value);
        mistakes.note(name.offset, message);
        return None;
    }
    let index = schema.find(name, "group_by", mistakes)?;
    if before.contains(&index) {
        mistakes.note(name.offset, format!("{:?} is there twice; take one out", name.value));
        return None;
    }
    Some(index)
}

/// Every aggregate by its name; `None` where it could not be read.
fn read_aggregates(
    root: Section<'_, '_>,
    schema: &Schema,
    keys: &[usize],
    mistakes: &mut Mistakes<'_>,
) -> Vec<(String, Option<Aggregate>)> {
    let section = root.section("aggregates", "[aggregates]", mistakes);
    let mut aggregates = Vec::new();
    for (name, value) in section.iter().flat_map(Section::entries) {
        let is_key = |index: &usize| schema.columns[*index].0 == name.value;
        let taken = [WINDOW_START, WINDOW_END].contains(&name.value) || keys.iter().any(is_key);
        if taken || name.value.is_empty() {
            mistakes.note(name.offset, format!(
                "{:?} cannot name an aggregate: the window and the columns of group_by have their \
                 names already, and none is empty; choose another",
                name.value
            ));
        }
        aggregates.push((name.value.to_owned(), read_aggregate(name, value, schema, mistakes)));
    }
    let are_elsewhere =
        section.is_none() && (root.has("aggregates") || root.has_slip_of("aggregates"));
    if aggregates.is_empty() && !are_elsewhere {
        let key = ["aggregates", "window", "group_by"].into_iter().find(|key| root.has(key));
        let offset = key.map_or(root.offset, |key| root.offset_of(key));
        let message =
            "nothing is computed; add [aggregates] with for example total = { sum = \"price\" }";
        mistakes.note(offset, message);
    }
    aggregates
}

fn read_aggregate(
    name: Located<&str>,
    value: &Spanned<DeValue<'_>>,
    schema: &Schema,
    mistakes: &mut Mistakes<'_>,
) -> Option<Aggregate> {
    let DeValue::Table(table) = value.get_ref() else {
        let found = described(value.get_ref());
        let home = home_of(name.value)
            .map_or_else(String::new, |home| format!("; the key {} belongs {home}", name.value));
        let message = format!(
            "an aggregate is written {} = {{ sum = \"price\" }}, and this is {found}{home}",
            name.value
        );
        mistakes.note(name.offset, message);
        return None;
    };
    let section = Section::of(table, "an aggregate", name.offset);
    let functions: Vec<&str> = AggregateFunction::ALL.map(AggregateFunction::name).to_vec();
    let known: Vec<&str> = functions.iter().copied().chain(["cast"]).collect();
    section.check_keys(&known, mistakes);
    let cast = section.read_with("cast", parse_data_type, mistakes);
    let named: Vec<AggregateFunction> =
        AggregateFunction::ALL.into_iter().filter(|f| section.has(f.name())).collect();
    let [function] = named[..] else {
        // An unknown key is most likely a misspelt function, and was told.
        if !named.is_empty() || section.entries().all(|(key, _)| key.value == "cast") {
            let message =
                format!("an aggregate has one of {}, like {{ sum = \"price\" }}", list(functions));
            mistakes.note(name.offset, message);
        }
        return None;
    };
    let (column, result_type) = read_call(section, function, schema, mistakes)?;
    let output_type = if section.has("cast") { cast? } else { result_type };
    noted(section.offset_of("cast"), check_cast(result_type, output_type), mistakes)?;
    Some(Aggregate { name: name.value.to_owned(), function, column, result_type, output_type })
}

/// The column that a function is computed over, and what it gives.
fn read_call(
    section: Section<'_, '_>,
    function: AggregateFunction,
    schema: &Schema,
    mistakes: &mut Mistakes<'_>,
) -> Option<(Option<usize>, DataType)> {
    let argument = section.text(function.name(), mistakes)?;
    let column = match argument.value {
        "*" => None,
        _ => Some(schema.find(argument, "[aggregates]", mistakes)?),
    };
    let input = match column {
        Some(index) => Some(schema.columns[index].1?),
        None => None,
    };
    let result = result_type(function, input).map_err(|error| {
        InvalidOption(format!("{}({}): {error}", function.name(), argument.value))
    });
    Some((column, noted(argument.offset, result, mistakes)?))
}

fn read_output(
    root: Section<'_, '_>,
    results: &Results,
    place: &OutputPlace<'_>,
    computed: &mut Vec<Expression>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Vec<OutputColumn>> {
    let available = &results.available;
    let names: Vec<String> = available.iter().map(|column| format!("{:?}", column.name)).collect();
    let example = format!("output = [{}]", names.join(", "));
    if !root.has("output") && !root.has_slip_of("output") {
        mistakes.note(root.offset, missing("output", root.title, &example));
    }
    let values = root.array("output", &example, mistakes)?;
    if values.is_empty() {
        mistakes.note(
            root.offset_of("output"),
            format!("output is empty; write for example {example}"),
        );
    }
    let mut columns: Vec<Option<OutputColumn>> = Vec::new();
    for value in values {
        let column = read_output_column(value, results, place, computed, mistakes);
        if let Some(column) = &column
            && columns.iter().flatten().any(|before| before.name == column.name)
        {
            let name = &column.name;
            mistakes.note(value.span().start, format!(
                "{name:?} is there twice; take one out, or rename it: {{ name = \"other\", from = {name:?} }}"
            ));
        }
        columns.push(column);
    }
    columns.into_iter().collect()
}

/// What an output column's expression may use.
struct OutputPlace<'s> {
    schema: &'s Schema,
    aggregated: bool,
    root: Section<'s, 's>,
}

impl OutputPlace<'_> {
    fn expression(
        &self,
        section: Section<'_, '_>,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<(Expression, Option<DataType>)> {
        if self.aggregated {
            let message = "expr is for pipelines without groups; name an aggregate instead";
            mistakes.note(section.offset_of("expr"), message);
            return None;
        }
        let has_event_time = self.root.has(EVENT_TIME);
        read_expression(section, "expr", self.schema, has_event_time, parse_value, mistakes)
    }
}

/// `"store"`, `{ name = "shop", from = "store" }`, or `{ name = "dear", expr = "price > 10" }`.
fn read_output_column(
    value: &Spanned<DeValue<'_>>,
    results: &Results,
    place: &OutputPlace<'_>,
    computed: &mut Vec<Expression>,
    mistakes: &mut Mistakes<'_>,
) -> Option<OutputColumn> {
    let available = &results.available;
    let (name, from) = match value.get_ref() {
        DeValue::Table(table) => {
            let section = Section::of(table, "an output column", value.span().start);
            section.check_keys(&["name", "from", "expr"], mistakes);
            let name =
                section.required_text("name", "{ name = \"shop\", from = \"store\" }", mistakes);
            if section.has("expr") {
                let (expression, data_type) = place.expression(section, mistakes)?;
                computed.push(expression);
                return Some(OutputColumn {
                    name: name?.value.to_owned(),
                    source: OutputSource::Computed(computed.len() - 1),
                    data_type: data_type.unwrap_or(DataType::Boolean),
                });
            }
            let from =
                section.required_text("from", "{ name = \"shop\", from = \"store\" }", mistakes);
            if let Some(name) = name.filter(|name| name.value.is_empty()) {
                mistakes.note(name.offset, "a column has no name; write one");
            }
            (name, from?)
        }
        _ => {
            let name = text_of("an output column", value, mistakes)?;
            (Some(name), name)
        }
    };
    let Some(source) = available.iter().find(|column| column.name == from.value) else {
        let known = || available.iter().map(|column| column.name.as_str());
        if available.is_empty() || results.incomplete {
            return None;
        }
        mistakes.note(
            from.offset,
            format!(
                "unknown column {:?} in output; there are {}{}",
                from.value,
                list(known()),
                suggestion(from.value, known())
            ),
        );
        return None;
    };
    Some(OutputColumn {
        name: name?.value.to_owned(),
        source: source.source,
        data_type: source.data_type?,
    })
}

/// The delay of a watermark in milliseconds; what is below one is cut off, as Spark cuts it.
fn watermark_delay(text: &str) -> Result<i64, InvalidOption> {
    let delay_us = parse_interval(text)?;
    if delay_us < 0 {
        return Err(InvalidOption(format!(
            "the delay threshold ({text}) should not be negative; write for example \"30 seconds\""
        )));
    }
    Ok(delay_us / 1_000)
}

/// Notes what does not fit together, each at the key it is about.
fn note_broken_rules(
    pipeline: &Pipeline,
    asked: Asked,
    (root, run): (Section<'_, '_>, Option<Section<'_, '_>>),
    mistakes: &mut Mistakes<'_>,
) {
    for (subject, message) in broken_rules(pipeline) {
        if subject == Subject::OutputMode && asked.output_mode.is_some() {
            mistakes.note_option(subject.option(), message);
            continue;
        }
        let in_run = |key| run.filter(|run| run.has(key)).map(|run| run.offset_of(key));
        let offset = match subject {
            // Told already, with the name.
            Subject::Topic => continue,
            Subject::OutputMode => {
                in_run("output_mode").unwrap_or_else(|| root.offset_of(EVENT_TIME))
            }
            Subject::MaxFutureSkew => in_run("max_future_skew").unwrap_or(root.offset),
            Subject::Watermark => root.offset_of(EVENT_TIME),
        };
        // A window without any event time was told too.
        if pipeline.event_time.is_some() || !root.has("window") {
            mistakes.note(offset, message);
        }
    }
}

#[cfg(test)]
mod tests;
