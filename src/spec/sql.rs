//! `pipeline = "SELECT …"`: SQL as a second spelling of what a spec can say.
//!
//! `sqlparser` gives the tree; here it becomes the same parts that `where`, `group_by`, `[window]`,
//! `[aggregates]` and `output` give, or a mistake that says where in the text it is and what SQL can
//! say here. Nothing else is accepted, and nothing is ignored.
//!
//! Not here: expressions over one record (`expression`), types (`typing`), the records' schema, event
//! time and watermark, which SQL has no words for (`parse`).

use sqlparser::ast::{
    CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    ObjectName, Query as SqlQuery, Select, SelectItem, SetExpr, Spanned as _, Statement,
    TableFactor, Value as SqlValue,
};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Token};

use super::durations::{parse_duration, parse_interval};
use super::expression::{self, Mistake, Names, Sql, byte_of, clipped, tokens_of};
use super::pipeline::{
    Aggregate, AggregateFunction, Aggregation, Expression, OutputColumn, OutputSource, Query,
    SessionGap, SlidingWindow, Window,
};
use super::typing::{check_cast, parse_data_type, result_type};
use crate::types::DataType;

const SAYS: &str = "SQL here is SELECT columns, aggregates (sum, count, min, max, avg) and window.start or \
    window.end, each with AS name where it is computed, FROM the topic, WHERE a condition, GROUP BY \
    window(event_time, '30 seconds'), session_window(event_time, '10 seconds') and columns";

/// What a SELECT says.
#[derive(Debug)]
pub(super) struct Selected {
    /// What stands behind FROM.
    pub(super) from: String,
    pub(super) filter: Option<Expression>,
    pub(super) query: Query,
    pub(super) computed: Vec<Expression>,
    pub(super) output: Vec<OutputColumn>,
}

/// Reads a SELECT.
pub(super) fn parse_select(text: &str, names: &Names<'_>) -> Result<Selected, Vec<Mistake>> {
    let one = |mistake| vec![mistake];
    let tokens = tokens_of(text).map_err(one)?;
    let mut parser = Parser::new(&Sql).with_tokens_with_locations(tokens);
    let statement =
        parser.parse_statement().map_err(|error| one(expression::parse_mistake(text, error)))?;
    while parser.consume_token(&Token::SemiColon) {}
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let offset = byte_of(text, rest.span.start).unwrap_or(text.len());
        return Err(one((
            offset,
            format!("{:?} follows the query; {SAYS}", clipped(&text[offset..])),
        )));
    }
    let Statement::Query(query) = statement else {
        return Err(one((0, format!("this is no SELECT; {SAYS}"))));
    };
    Reader { text, names }.query(&query)
}

struct Reader<'a> {
    text: &'a str,
    names: &'a Names<'a>,
}

/// What is grouped by.
#[derive(Default)]
struct Groups {
    window: Option<Window>,
    /// `window` or `session_window`: how its columns are called.
    window_name: &'static str,
    keys: Vec<usize>,
}

/// Aggregates as they are met; equal calls are one.
#[derive(Default)]
struct Found {
    aggregates: Vec<Aggregate>,
    computed: Vec<Expression>,
}

type Read<T> = Result<T, Vec<Mistake>>;

impl Reader<'_> {
    fn at(&self, location: Location) -> usize {
        byte_of(self.text, location).unwrap_or(0)
    }

    fn refuse<T>(&self, tree: &Expr, problem: impl Into<String>) -> Read<T> {
        Err(vec![(self.at(tree.span().start), problem.into())])
    }

    fn query(&self, query: &SqlQuery) -> Read<Selected> {
        let clauses = [
            ("WITH", query.with.is_some()),
            ("ORDER BY", query.order_by.is_some()),
            ("LIMIT", query.limit_clause.is_some()),
            ("FETCH", query.fetch.is_some()),
            ("FOR", query.for_clause.is_some() || !query.locks.is_empty()),
            ("SETTINGS", query.settings.is_some()),
            ("FORMAT", query.format_clause.is_some()),
            ("|>", !query.pipe_operators.is_empty()),
        ];
        self.no_clause(&clauses)?;
        let SetExpr::Select(select) = &*query.body else {
            return Err(vec![(0, format!("this is more than one SELECT; {SAYS}"))]);
        };
        self.select(select)
    }

    fn no_clause(&self, clauses: &[(&str, bool)]) -> Read<()> {
        match clauses.iter().find(|(_, is_there)| *is_there) {
            None => Ok(()),
            Some((clause, _)) => {
                let upper = self.text.to_ascii_uppercase();
                let offset = upper.find(clause).unwrap_or(0);
                Err(vec![(offset, format!("{clause} has no meaning in a stream here; {SAYS}"))])
            }
        }
    }

    fn select(&self, select: &Select) -> Read<Selected> {
        let clauses = [
            ("DISTINCT", select.distinct.is_some()),
            ("TOP", select.top.is_some()),
            ("INTO", select.into.is_some()),
            ("EXCLUDE", select.exclude.is_some()),
            ("LATERAL", !select.lateral_views.is_empty()),
            ("PREWHERE", select.prewhere.is_some()),
            ("CONNECT BY", !select.connect_by.is_empty()),
            ("CLUSTER BY", !select.cluster_by.is_empty()),
            ("DISTRIBUTE BY", !select.distribute_by.is_empty()),
            ("SORT BY", !select.sort_by.is_empty()),
            ("HAVING", select.having.is_some()),
            ("WINDOW", !select.named_window.is_empty()),
            ("QUALIFY", select.qualify.is_some()),
            ("SELECT", select.select_modifiers.is_some() || !select.optimizer_hints.is_empty()),
            ("AS", select.value_table_mode.is_some()),
        ];
        self.no_clause(&clauses)?;
        let from = self.from(select)?;
        let filter = match &select.selection {
            Some(tree) => Some(expression::condition_of(self.text, tree, self.names)?),
            None => None,
        };
        let groups = self.groups(&select.group_by)?;
        let mut found = Found::default();
        let mut output = Vec::new();
        let aggregated =
            groups.is_some() || select.projection.iter().any(|item| self.has_call(item));
        for item in &select.projection {
            self.item(item, aggregated, groups.as_ref(), &mut found, &mut output)?;
        }
        let query = if aggregated {
            let Groups { window, keys, .. } = groups.unwrap_or_default();
            Query::Aggregation(Aggregation { window, keys, aggregates: found.aggregates })
        } else {
            Query::Projection
        };
        Ok(Selected { from, filter, query, computed: found.computed, output })
    }

    fn from(&self, select: &Select) -> Read<String> {
        let place = self.text.to_ascii_uppercase().find("FROM").unwrap_or(0);
        let wrong = || vec![(place, format!("FROM names the topic, and nothing else; {SAYS}"))];
        let [table] = &select.from[..] else { return Err(wrong()) };
        match &table.relation {
            TableFactor::Table { name, alias: None, args: None, .. } if table.joins.is_empty() => {
                plain_name(name).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }

    fn groups(&self, group_by: &GroupByExpr) -> Read<Option<Groups>> {
        let GroupByExpr::Expressions(trees, modifiers) = group_by else {
            return Err(vec![(0, format!("GROUP BY ALL is not supported; {SAYS}"))]);
        };
        if !modifiers.is_empty() {
            return Err(vec![(0, format!("GROUP BY has no ROLLUP, CUBE or TOTALS here; {SAYS}"))]);
        }
        if trees.is_empty() {
            return Ok(None);
        }
        let mut groups = Groups::default();
        for tree in trees {
            match tree {
                Expr::Function(function) if groups.window.is_none() => {
                    let (name, window) = self.window(tree, function)?;
                    groups.window_name = name;
                    groups.window = Some(window);
                }
                Expr::Function(_) => {
                    return self.refuse(tree, "there is one window, and this is a second");
                }
                _ => {
                    let key = self.column(tree)?;
                    if groups.keys.contains(&key) {
                        return self.refuse(tree, "this column is there twice; take one out");
                    }
                    groups.keys.push(key);
                }
            }
        }
        Ok(Some(groups))
    }

    fn window(&self, tree: &Expr, function: &Function) -> Read<(&'static str, Window)> {
        let arguments = self.arguments(tree, function)?;
        let name = plain_name(&function.name).unwrap_or_default().to_ascii_lowercase();
        let is_time = |argument: &FunctionArgExpr| matches!(argument, FunctionArgExpr::Expr(Expr::Identifier(name)) if name.value == "event_time");
        if !arguments.first().is_some_and(|first| is_time(first)) {
            return self.refuse(tree, format!("a window is over event_time first; {SAYS}"));
        }
        match (name.as_str(), &arguments[1..]) {
            ("window", [duration, rest @ ..]) if rest.len() <= 2 => {
                let duration_us = self.length(tree, duration)?;
                let slide_us = match rest.first() {
                    Some(slide) => self.length(tree, slide)?,
                    None => duration_us,
                };
                let offset_us = match rest.get(1) {
                    Some(start) => self.interval(tree, start)?,
                    None => 0,
                };
                if slide_us > duration_us {
                    return self.refuse(tree, "the slide is at most the duration; make it shorter");
                }
                if offset_us.abs() >= slide_us {
                    return self
                        .refuse(tree, "the start is shorter than the slide, before or after 0");
                }
                let window = SlidingWindow { duration_us, slide_us, offset_us };
                Ok(("window", Window::Sliding(window)))
            }
            ("session_window", [FunctionArgExpr::Expr(gap)]) => {
                let gap = match self.literal_text(gap) {
                    Some(text) => SessionGap::Fixed(
                        parse_interval(text)
                            .or_else(|error| self.refuse(tree, error.to_string()))?,
                    ),
                    None => {
                        SessionGap::Dynamic(expression::value_of(self.text, gap, self.names)?.0)
                    }
                };
                Ok(("session_window", Window::Session(gap)))
            }
            _ => self.refuse(tree, format!("only window and session_window group by time; {SAYS}")),
        }
    }

    fn length(&self, tree: &Expr, argument: &FunctionArgExpr) -> Read<i64> {
        let text = self.text_argument(tree, argument)?;
        let length = parse_duration(text).or_else(|error| self.refuse(tree, error.to_string()))?;
        if length.is_zero() {
            return self.refuse(tree, "a window is longer than nothing");
        }
        Ok(i64::try_from(length.as_micros()).expect("the longest duration fits"))
    }

    fn interval(&self, tree: &Expr, argument: &FunctionArgExpr) -> Read<i64> {
        let text = self.text_argument(tree, argument)?;
        parse_interval(text).or_else(|error| self.refuse(tree, error.to_string()))
    }

    fn text_argument<'t>(&self, tree: &Expr, argument: &'t FunctionArgExpr) -> Read<&'t str> {
        let text = match argument {
            FunctionArgExpr::Expr(expr) => self.literal_text(expr),
            _ => None,
        };
        text.map_or_else(|| self.refuse(tree, "a length of time is a text like '30 seconds'"), Ok)
    }

    #[expect(clippy::unused_self, reason = "it reads one node like its neighbours")]
    fn literal_text<'t>(&self, tree: &'t Expr) -> Option<&'t str> {
        match tree {
            Expr::Value(value) => match &value.value {
                SqlValue::SingleQuotedString(text) | SqlValue::DoubleQuotedString(text) => {
                    Some(text)
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn arguments<'t>(&self, tree: &Expr, function: &'t Function) -> Read<Vec<&'t FunctionArgExpr>> {
        let plain = function.over.is_none()
            && function.filter.is_none()
            && function.null_treatment.is_none()
            && function.within_group.is_empty()
            && matches!(function.parameters, FunctionArguments::None);
        match &function.args {
            FunctionArguments::List(list)
                if plain && list.duplicate_treatment.is_none() && list.clauses.is_empty() =>
            {
                list.args
                    .iter()
                    .map(|argument| match argument {
                        FunctionArg::Unnamed(argument) => Ok(argument),
                        _ => self.refuse(tree, "arguments have no names here"),
                    })
                    .collect()
            }
            _ => self.refuse(tree, format!("this form of a call is not supported; {SAYS}")),
        }
    }

    /// Whether a selected column is computed over a group.
    fn has_call(&self, item: &SelectItem) -> bool {
        let (SelectItem::UnnamedExpr(tree) | SelectItem::ExprWithAlias { expr: tree, .. }) = item
        else {
            return false;
        };
        let inner = if let Expr::Cast { expr, .. } = tree { expr } else { tree };
        matches!(inner, Expr::Function(function) if aggregate_function(function).is_some())
    }

    fn item(
        &self,
        item: &SelectItem,
        aggregated: bool,
        groups: Option<&Groups>,
        found: &mut Found,
        output: &mut Vec<OutputColumn>,
    ) -> Read<()> {
        let (tree, alias) = match item {
            SelectItem::UnnamedExpr(tree) => (tree, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            SelectItem::Wildcard(_) if !aggregated => {
                output.extend(self.names.columns.iter().enumerate().map(|(index, column)| {
                    let data_type = column.1.unwrap_or(DataType::String);
                    let source = OutputSource::Column(index);
                    OutputColumn { name: column.0.clone(), source, data_type }
                }));
                return Ok(());
            }
            _ => return Err(vec![(0, format!("this kind of column is not supported; {SAYS}"))]),
        };
        let column = if aggregated {
            self.group_column(tree, alias, groups, found)?
        } else {
            self.row_column(tree, alias, found)?
        };
        if output.iter().any(|before| before.name == column.name) {
            return self.refuse(
                tree,
                format!("{:?} is there twice; give one AS another name", column.name),
            );
        }
        output.push(column);
        Ok(())
    }

    fn row_column(
        &self,
        tree: &Expr,
        alias: Option<&Ident>,
        found: &mut Found,
    ) -> Read<OutputColumn> {
        let (expression, data_type) = expression::value_of(self.text, tree, self.names)?;
        let (own_name, source, data_type) = match expression {
            Expression::Column(index) => {
                let (name, data_type) = &self.names.columns[index];
                (Some(name.as_str()), OutputSource::Column(index), *data_type)
            }
            Expression::EventTime => {
                (Some("event_time"), OutputSource::EventTime, Some(DataType::Timestamp))
            }
            other => {
                found.computed.push(other);
                (None, OutputSource::Computed(found.computed.len() - 1), data_type)
            }
        };
        let name = self.name(tree, alias, own_name)?;
        Ok(OutputColumn { name, source, data_type: data_type.unwrap_or(DataType::Boolean) })
    }

    fn group_column(
        &self,
        tree: &Expr,
        alias: Option<&Ident>,
        groups: Option<&Groups>,
        found: &mut Found,
    ) -> Read<OutputColumn> {
        if let Expr::CompoundIdentifier(parts) = tree
            && let [window, part] = &parts[..]
            && groups.is_some_and(|groups| {
                groups.window.is_some() && groups.window_name.eq_ignore_ascii_case(&window.value)
            })
        {
            let source = match part.value.to_ascii_lowercase().as_str() {
                "start" => OutputSource::WindowStart,
                "end" => OutputSource::WindowEnd,
                _ => return self.refuse(tree, "a window has start and end"),
            };
            let name = self.name(tree, alias, Some(&part.value))?;
            return Ok(OutputColumn { name, source, data_type: DataType::Timestamp });
        }
        let (inner, cast) = match tree {
            Expr::Cast { kind: CastKind::Cast, expr, data_type, format: None } => {
                (&**expr, Some(data_type.to_string().to_lowercase()))
            }
            _ => (tree, None),
        };
        if let Expr::Function(function) = inner {
            return self.aggregate(tree, inner, function, cast, alias, found);
        }
        let column = self.column(tree)?;
        let position = groups.and_then(|groups| groups.keys.iter().position(|key| *key == column));
        let (own_name, data_type) = &self.names.columns[column];
        let Some(position) = position else {
            return self
                .refuse(tree, format!("{own_name} is not in GROUP BY; add it, or aggregate it"));
        };
        let name = self.name(tree, alias, Some(own_name))?;
        let data_type = data_type.unwrap_or(DataType::String);
        Ok(OutputColumn { name, source: OutputSource::Key(position), data_type })
    }

    fn aggregate(
        &self,
        tree: &Expr,
        inner: &Expr,
        function: &Function,
        cast: Option<String>,
        alias: Option<&Ident>,
        found: &mut Found,
    ) -> Read<OutputColumn> {
        let Some(called) = aggregate_function(function) else {
            return self.refuse(inner, format!("this function is not supported; {SAYS}"));
        };
        let arguments = self.arguments(inner, function)?;
        let column = match &arguments[..] {
            [FunctionArgExpr::Wildcard] => None,
            [FunctionArgExpr::Expr(Expr::Value(_))] if called == AggregateFunction::Count => None,
            [FunctionArgExpr::Expr(argument)] => Some(self.column(argument)?),
            _ => return self.refuse(inner, "an aggregate is over one column, or count(*)"),
        };
        let input = column.and_then(|column| self.names.columns[column].1);
        let result_type =
            result_type(called, input).or_else(|error| self.refuse(inner, error.to_string()))?;
        let output_type = match &cast {
            Some(cast) => spark_type(cast).or_else(|error| self.refuse(tree, error))?,
            None => result_type,
        };
        check_cast(result_type, output_type)
            .or_else(|error| self.refuse(tree, error.to_string()))?;
        // Spark names a call without AS so: `sum(price)`.
        let argument = column.map_or("*", |column| self.names.columns[column].0.as_str());
        let own_name = cast.is_none().then(|| format!("{}({argument})", called.name()));
        let name = self.name(tree, alias, own_name.as_deref())?;
        let source = OutputSource::Aggregate(found.aggregates.len());
        found.aggregates.push(Aggregate {
            name: name.clone(),
            function: called,
            column,
            result_type,
            output_type,
        });
        Ok(OutputColumn { name, source, data_type: output_type })
    }

    fn name(&self, tree: &Expr, alias: Option<&Ident>, own: Option<&str>) -> Read<String> {
        match alias.map(|alias| alias.value.as_str()).or(own) {
            Some(name) if !name.is_empty() => Ok(name.to_owned()),
            _ => self.refuse(tree, "this column has no name; write … AS name"),
        }
    }

    fn column(&self, tree: &Expr) -> Read<usize> {
        match expression::value_of(self.text, tree, self.names)?.0 {
            Expression::Column(index) => Ok(index),
            _ => self.refuse(tree, format!("a column of the schema is needed here; {SAYS}")),
        }
    }
}

fn plain_name(name: &ObjectName) -> Option<String> {
    let parts: Option<Vec<&str>> =
        name.0.iter().map(|part| part.as_ident().map(|ident| ident.value.as_str())).collect();
    parts.map(|parts| parts.join("."))
}

fn aggregate_function(function: &Function) -> Option<AggregateFunction> {
    let name = plain_name(&function.name)?.to_ascii_lowercase();
    let name = if name == "mean" { "avg" } else { &name };
    AggregateFunction::ALL.into_iter().find(|known| known.name() == name)
}

/// A type by Spark's name in SQL.
fn spark_type(name: &str) -> Result<DataType, String> {
    let name = match name {
        "bigint" => "long",
        "integer" => "int",
        other => other,
    };
    parse_data_type(name).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Pipeline, parse, preset};

    /// The preset with its query in SQL.
    fn spec(sql: &str) -> String {
        let sales = preset("sales").unwrap();
        let head: Vec<&str> = sales
            .lines()
            .filter(|line| !line.starts_with("group_by") && !line.starts_with("output"))
            .collect();
        let head = head.join("\n").replace("[window]\nduration = \"30 seconds\"\n", "");
        let head = head.replace("[aggregates]\n", "");
        let head = head.replace("total_revenue_int = { sum = \"price\", cast = \"int\" }\n", "");
        format!("pipeline = \"\"\"{sql}\"\"\"\n{head}")
    }

    fn read(sql: &str) -> Pipeline {
        let text = spec(sql);
        parse(&text, "x").unwrap_or_else(|errors| panic!("{errors}")).pipeline
    }

    #[test]
    fn sql_says_the_same_as_the_preset() {
        let sql = "SELECT store, CAST(SUM(price) AS INT) AS total_revenue_int, window.start AS \
             window_start, window.end AS window_end FROM sales GROUP BY window(event_time, \
             '30 seconds'), store";
        assert_eq!(read(sql), parse(preset("sales").unwrap(), "x").unwrap().pipeline);
    }

    #[test]
    fn the_topic_may_be_left_to_from() {
        let text = spec("SELECT store FROM other");
        let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("topic")).collect();
        let spec = parse(&text.join("\n"), "x").unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(spec.pipeline.topic, "other");
        let message = parse(&text.join("\n").replace("FROM other", "FROM `a b`"), "x");
        assert!(message.unwrap_err().to_string().contains("is not a topic's name"));
    }

    #[test]
    fn windows_of_every_kind_and_conditions_are_read() {
        let sliding = read(
            "SELECT count(*) AS n, window.end AS e FROM sales WHERE price > 1 AND item LIKE 'a%' \
             GROUP BY window(event_time, '30 seconds', '10 seconds', '5 seconds')",
        );
        let window =
            SlidingWindow { duration_us: 30_000_000, slide_us: 10_000_000, offset_us: 5_000_000 };
        let Query::Aggregation(aggregation) = sliding.query else {
            panic!("groups were asked for")
        };
        assert_eq!(aggregation.window, Some(Window::Sliding(window)));
        assert!(sliding.filter.is_some());
        let session = read(
            "SELECT store, sum(price), session_window.start AS s FROM sales GROUP BY store, \
             session_window(event_time, '10 seconds');",
        );
        let Query::Aggregation(aggregation) = session.query else {
            panic!("groups were asked for")
        };
        assert_eq!(aggregation.window, Some(Window::Session(SessionGap::Fixed(10_000_000))));
        assert_eq!(session.output[1].name, "sum(price)");
        let rows = read("SELECT *, price > 10 AS dear FROM sales");
        assert_eq!((rows.output.len(), rows.computed.len()), (5, 1));
    }

    #[test]
    fn what_sql_cannot_say_here_is_told_with_its_place() {
        let refuse = |sql: &str, part: &str| {
            let message = parse(&spec(sql), "x").expect_err(sql).to_string();
            assert!(message.contains(part), "{sql}: {message}");
            assert!(message.starts_with("x:1:"), "{message}");
        };
        refuse("SELECT store FROM sales ORDER BY store", "ORDER BY has no meaning");
        refuse("SELECT DISTINCT store FROM sales", "DISTINCT has no meaning");
        refuse("SELECT store FROM sales, other", "FROM names the topic");
        refuse("SELECT store FROM sales JOIN other ON true", "FROM names the topic");
        refuse("SELECT store FROM other", "other");
        refuse("SELECT price FROM sales GROUP BY store", "price is not in GROUP BY");
        refuse("SELECT median(price) AS m FROM sales GROUP BY store", "is not supported");
        refuse("SELECT sum(DISTINCT price) AS m FROM sales GROUP BY store", "not supported");
        refuse("SELECT sum(item) AS m FROM sales GROUP BY store", "sum needs numbers");
        refuse("SELECT price > 1 FROM sales", "AS name");
        refuse("SELECT prise FROM sales", "did you mean \"price\"?");
        refuse("INSERT INTO sales VALUES (1)", "SELECT");
        refuse("SELECT store FROM sales HAVING true", "HAVING");
        refuse(
            "SELECT count(*) AS n FROM sales GROUP BY window(event_time, '10 seconds', '20 seconds')",
            "at most the duration",
        );
    }
}
