//! A case's job, told in the words of this program: the text of a spec.
//!
//! Everything that Spark was given is said, so that no default of ours decides: the only values that
//! are not passed on are Spark settings without meaning here (named in [`conf`]).

use serde_json::{Map, Value as Json};
use toml::{Table, Value};

use crate::case::{Case, Version, array, object};

/// Whose way the run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// As the version of Spark that made the case.
    Compat,
    /// This program's own way.
    Own,
}

/// The spec of one start: the case with the overrides so far.
///
/// # Errors
/// What cannot be said.
pub fn spec(
    version: Version,
    mode: Mode,
    json: &Map<String, Json>,
    topic: &str,
) -> Result<String, String> {
    let job = Job { json };
    let mut spec = Table::new();
    set(&mut spec, "name", "sales");
    set(&mut spec, "topic", topic);
    if mode == Mode::Compat {
        set(&mut spec, "compat", version.compat());
    }
    let conf = object(json.get("conf"));
    if let Some(zone) = conf.get("spark.sql.session.timeZone") {
        set(&mut spec, "session_time_zone", text(zone));
    }
    for (ours, theirs) in [("where", "where"), ("where_after_watermark", "where_after")] {
        if let Some(condition) = json.get(theirs) {
            set(&mut spec, ours, text(condition));
        }
    }
    spec.insert("output".to_owned(), Value::Array(job.output()));
    let keys = job.keys();
    if job.is_aggregation() {
        let names = keys.iter().map(|key| Value::from(*key)).collect();
        spec.insert("group_by".to_owned(), Value::Array(names));
    }
    spec.insert("schema".to_owned(), Value::Table(job.schema()));
    if let Some(options) = job.json_options() {
        spec.insert("json".to_owned(), Value::Table(options));
    }
    if let Some(time) = job.event_time() {
        spec.insert("event_time".to_owned(), Value::Table(time));
    }
    if let Some(deduplication) = job.deduplication() {
        spec.insert("drop_duplicates".to_owned(), Value::Table(deduplication));
    }
    if job.is_aggregation() {
        if let Some(window) = job.window() {
            spec.insert("window".to_owned(), Value::Table(window));
        }
        spec.insert("aggregates".to_owned(), Value::Table(job.aggregates()));
    }
    let semantics = self::conf(mode, conf);
    if !semantics.is_empty() {
        spec.insert("spark".to_owned(), Value::Table(semantics));
    }
    let mut run = job.run(topic)?;
    if mode == Mode::Own {
        // Rows are compared as sets, so all of them have to be seen.
        set(&mut run, "num_rows", 1_000_000);
    }
    spec.insert("run".to_owned(), Value::Table(run));
    toml::to_string(&spec).map_err(|error| error.to_string())
}

/// The topic of a start: another one where the options name one.
pub fn topic<'a>(case: &'a Case, json: &'a Map<String, Json>, real: &'a str) -> &'a str {
    match object(json.get("source_options")).get("subscribe").and_then(Json::as_str) {
        Some(other) if other != case.topic() => other,
        _ => real,
    }
}

/// `[spark]`. The order of rows and what ANSI says are only asked for in a compatibility mode. Where
/// sessions are merged changes nothing that can be seen.
fn conf(mode: Mode, conf: &Map<String, Json>) -> Table {
    let mut table = Table::new();
    let find = |key: &str| conf.get(key).map(text);
    if let Some(value) = find("spark.sql.streaming.noDataMicroBatches.enabled") {
        set(&mut table, "no_data_batches", value == "true");
    }
    if mode == Mode::Own {
        return table;
    }
    let partitions = find("spark.sql.shuffle.partitions").map_or(1, |number| {
        number.parse::<i64>().expect("the number of shuffle partitions is a number")
    });
    set(&mut table, "shuffle_partitions", partitions);
    if let Some(value) = find("spark.sql.ansi.enabled") {
        set(&mut table, "ansi", value == "true");
    }
    if let Some(class) = find("spark.sql.streaming.stateStore.providerClass") {
        let store = if class.contains("RocksDB") { "rocksdb" } else { "hdfs" };
        set(&mut table, "state_store", store);
    }
    if let Some(policy) = find("spark.sql.legacy.timeParserPolicy") {
        set(&mut table, "time_parser_policy", policy.to_lowercase());
    }
    table
}

struct Job<'a> {
    json: &'a Map<String, Json>,
}

impl Job<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.json.get(key).and_then(Json::as_str)
    }

    fn pipeline(&self) -> &str {
        self.get("pipeline").unwrap_or("SALES")
    }

    fn is_transactions(&self) -> bool {
        self.pipeline().starts_with("TRANSACTIONS")
    }

    fn is_raw(&self) -> bool {
        self.pipeline().starts_with("RAW")
    }

    fn duplicates_key(&self) -> Option<&'static str> {
        ["dedup", "dedup_plain", "dedup_exact"]
            .into_iter()
            .find(|key| self.json.contains_key(*key))
            .filter(|_| !self.is_raw() && !self.is_transactions())
    }

    fn is_aggregation(&self) -> bool {
        let then_window = self.json.get("dedup_then_window").is_some_and(is_true);
        let rows_only = self.duplicates_key().is_some() && !then_window;
        !self.is_raw() && !self.is_transactions() && !rows_only
    }

    fn schema_columns(&self) -> Vec<(String, &'static str)> {
        let columns: &[(&str, &str)] = if self.is_transactions() {
            &[
                ("transaction_id", "string"),
                ("user_id", "string"),
                ("amount", "double"),
                ("type", "string"),
                ("timestamp", "string"),
                ("location", "string"),
            ]
        } else if self.pipeline().ends_with("_ISO") {
            &[("store", "string"), ("item", "string"), ("price", "double"), ("ts", "string")]
        } else if self.get("agg") == Some("decimal") || self.pipeline() == "RAW_DEC" {
            &[("store", "string"), ("item", "string"), ("price", "decimal(18,2)"), ("ts", "long")]
        } else {
            &[("store", "string"), ("item", "string"), ("price", "double"), ("ts", "long")]
        };
        let corrupt = self.get("corrupt_column").map(|name| (name.to_owned(), "string"));
        let columns = columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind));
        columns.chain(corrupt).collect()
    }

    fn schema(&self) -> Table {
        let columns = self.schema_columns().into_iter();
        columns.map(|(name, kind)| (name, Value::from(kind))).collect()
    }

    fn json_options(&self) -> Option<Table> {
        let mut table = Table::new();
        for (name, value) in object(self.json.get("from_json_options")) {
            if name != "mode" {
                set(&mut table, &snake_case(name), text(value) == "true");
            }
        }
        if let Some(column) = self.get("corrupt_column") {
            set(&mut table, "corrupt_column", column);
        }
        (!table.is_empty()).then_some(table)
    }

    fn has_event_time(&self) -> bool {
        !self.is_transactions() && self.pipeline() != "RAW_NOTS"
    }

    fn event_time(&self) -> Option<Table> {
        if !self.has_event_time() {
            return None;
        }
        let mut table = Table::new();
        set(&mut table, "column", "ts");
        let format = match self.pipeline() {
            name if name.ends_with("_MS") => "milliseconds",
            name if name.ends_with("_ISO") => self.get("iso_pattern").unwrap_or("iso"),
            _ => "seconds",
        };
        set(&mut table, "format", format);
        if !self.is_raw() {
            match self.json.get("watermark_delay") {
                None => set(&mut table, "watermark", "30 seconds"),
                Some(Json::Null) => {}
                Some(delay) => set(&mut table, "watermark", text(delay)),
            }
        }
        Some(table)
    }

    fn deduplication(&self) -> Option<Table> {
        let key = self.duplicates_key()?;
        let mut table = Table::new();
        let columns = array(self.json.get(key)).iter().map(|name| Value::from(text(name)));
        table.insert("columns".to_owned(), Value::Array(columns.collect()));
        match key {
            "dedup" => set(&mut table, "within_watermark", true),
            "dedup_plain" => set(&mut table, "event_time", true),
            _ => {}
        }
        Some(table)
    }

    fn window(&self) -> Option<Table> {
        if matches!(self.get("group"), Some("store_only" | "global")) {
            return None;
        }
        let mut table = Table::new();
        if let Some(expression) = self.get("session_gap_expr") {
            set(&mut table, "session_gap_expr", expression);
        } else if let Some(gap) = self.get("session_gap") {
            set(&mut table, "session_gap", gap);
        } else {
            set(&mut table, "duration", self.get("window").unwrap_or("30 seconds"));
            for (ours, theirs) in [("slide", "slide"), ("start", "start_time")] {
                if let Some(value) = self.get(theirs) {
                    set(&mut table, ours, value);
                }
            }
        }
        Some(table)
    }

    fn keys(&self) -> &'static [&'static str] {
        match self.get("group") {
            Some("window_item") => &["item"],
            Some("window_only" | "global") => &[],
            Some("window_store_item") => &["store", "item"],
            _ => &["store"],
        }
    }

    fn aggregates(&self) -> Table {
        let one = |function: &str, column: &str| call(function, column, None);
        let as_int = || call("sum", "price", Some("int"));
        let calls: Vec<(&str, Value)> = match self.get("agg") {
            Some("sum_count") => {
                vec![("total_revenue_int", as_int()), ("n", one("count", "price"))]
            }
            Some("count") => vec![("total_revenue_int", one("count", "price"))],
            Some("avg") => vec![("total_revenue_int", one("avg", "price"))],
            Some("sum_double") => vec![("total_revenue", one("sum", "price"))],
            Some("max") => vec![("total_revenue_int", one("max", "price"))],
            Some("count_all") => vec![("count", one("count", "*"))],
            Some("stats") => vec![
                ("sum_price", one("sum", "price")),
                ("count_all", one("count", "*")),
                ("count_price", one("count", "price")),
                ("min_price", one("min", "price")),
                ("max_price", one("max", "price")),
                ("avg_price", one("avg", "price")),
            ],
            Some("min_max_string") => {
                vec![("min_item", one("min", "item")), ("max_item", one("max", "item"))]
            }
            Some("decimal") => vec![("sum_price", one("sum", "price"))],
            _ => vec![("total_revenue_int", as_int())],
        };
        calls.into_iter().map(|(name, call)| (name.to_owned(), call)).collect()
    }

    fn output(&self) -> Vec<Value> {
        let schema = || self.schema_columns().into_iter().map(|(name, _)| Value::from(name));
        if self.is_transactions() {
            return schema().collect();
        }
        let time = self.has_event_time().then(|| Value::from("event_time"));
        if self.is_raw() {
            if self.json.contains_key("exprs") {
                let names = ["store", "item", "price"].into_iter().map(Value::from);
                let expressions = array(self.json.get("exprs")).iter().enumerate();
                let computed = expressions
                    .map(|(index, expression)| named(&format!("e{index:02}"), text(expression)));
                return names.chain(computed).collect();
            }
            let is_plain = matches!(self.pipeline(), "RAW" | "RAW_NOTS");
            let null = (is_plain && !self.json.contains_key("where"))
                .then(|| named("data_null", "data IS NULL"));
            return null.into_iter().chain(schema()).chain(time).collect();
        }
        if !self.is_aggregation() {
            let names = ["store", "item", "price", "ts", "event_time"];
            return names.into_iter().map(Value::from).collect();
        }
        self.aggregation_output()
    }

    fn aggregation_output(&self) -> Vec<Value> {
        let mut output: Vec<Value> = match self.get("group") {
            Some("window_item") => vec![renamed("store", "item")],
            _ => self.keys().iter().map(|key| Value::from(*key)).collect(),
        };
        output.extend(self.aggregates().keys().map(|name| Value::from(name.as_str())));
        if self.window().is_some() {
            output.extend(["window_start", "window_end"].map(Value::from));
        }
        output
    }

    fn run(&self, topic: &str) -> Result<Table, String> {
        let mut run = Table::new();
        set(&mut run, "trigger", self.trigger()?);
        set(&mut run, "output_mode", self.get("output_mode").unwrap_or("append"));
        let json = object(self.json.get("from_json_options"));
        if let Some(mode) = json.get("mode") {
            set(&mut run, "mode", text(mode).to_lowercase());
        }
        let sink = object(self.json.get("sink_options"));
        // Spark prints no row where the number is negative, as where it is 0.
        let rows = sink.get("numRows").map_or(20, |rows| text(rows).parse().unwrap_or(20_i64));
        set(&mut run, "num_rows", rows.max(0));
        let truncate = sink.get("truncate").is_none_or(|truncate| text(truncate) != "false");
        set(&mut run, "truncate", truncate);
        self.source_options(topic, &mut run)?;
        Ok(run)
    }

    fn trigger(&self) -> Result<String, String> {
        let trigger = object(self.json.get("trigger"));
        if trigger.contains_key("once") {
            return Ok("once".to_owned());
        }
        if trigger.contains_key("availableNow") {
            return Ok("available-now".to_owned());
        }
        match trigger.get("processingTime").map(text).as_deref() {
            None | Some("0 seconds") => Ok("0s".to_owned()),
            Some(interval) => match interval.strip_suffix(" seconds") {
                Some(seconds) => Ok(format!("{seconds}s")),
                None => Err(format!("a trigger that is not known: {interval}")),
            },
        }
    }

    fn source_options(&self, topic: &str, run: &mut Table) -> Result<(), String> {
        for (name, value) in object(self.json.get("source_options")) {
            let value = text(value);
            match name.as_str() {
                "subscribe" => {}
                "startingOffsets" => {
                    set(run, "starting_offsets", self.starting_offsets(&value, topic));
                }
                "startingTimestamp" => set(run, "starting_timestamp", number(&value)?),
                "startingOffsetsByTimestamp" => {
                    let times = self.starting_offsets(&value, topic);
                    set(run, "starting_offsets_by_timestamp", times);
                }
                "startingOffsetsByTimestampStrategy" => {
                    set(run, "starting_offsets_by_timestamp_strategy", value);
                }
                "maxOffsetsPerTrigger" => set(run, "max_offsets_per_trigger", number(&value)?),
                "minOffsetsPerTrigger" => set(run, "min_offsets_per_trigger", number(&value)?),
                "maxTriggerDelay" => set(run, "max_trigger_delay", value),
                "failOnDataLoss" => set(run, "fail_on_data_loss", value == "true"),
                other => return Err(format!("a source option that is not known: {other}")),
            }
        }
        if !run.contains_key("max_offsets_per_trigger") {
            set(run, "max_offsets_per_trigger", "unlimited");
        }
        Ok(())
    }

    /// The case's own topic becomes the one that is read; any other name stays.
    fn starting_offsets(&self, value: &str, topic: &str) -> String {
        let Ok(Json::Object(topics)) = serde_json::from_str(value) else { return value.to_owned() };
        let own = self.get("topic").unwrap_or_default();
        let renamed = topics.into_iter().map(|(name, offsets)| {
            let name = if name == own { topic.to_owned() } else { name };
            (name, offsets)
        });
        Json::Object(renamed.collect()).to_string()
    }
}

fn set(table: &mut Table, key: &str, value: impl Into<Value>) {
    table.insert(key.to_owned(), value.into());
}

fn number(value: &str) -> Result<i64, String> {
    value.parse().map_err(|_| format!("{value:?} is not a number"))
}

/// The text of a JSON text, number or boolean.
pub fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn is_true(value: &Json) -> bool {
    text(value) == "true"
}

fn named(name: &str, expression: impl Into<String>) -> Value {
    let mut table = Table::new();
    set(&mut table, "name", name);
    set(&mut table, "expr", expression.into());
    Value::Table(table)
}

fn renamed(name: &str, column: &str) -> Value {
    let mut table = Table::new();
    set(&mut table, "name", name);
    set(&mut table, "from", column);
    Value::Table(table)
}

fn call(function: &str, column: &str, cast: Option<&str>) -> Value {
    let mut table = Table::new();
    set(&mut table, function, column);
    if let Some(cast) = cast {
        set(&mut table, "cast", cast);
    }
    Value::Table(table)
}

/// `allowSingleQuotes` as `allow_single_quotes`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        if character.is_uppercase() {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
    }
    snake
}
