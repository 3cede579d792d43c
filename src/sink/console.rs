//! Batches as tables on stdout, byte for byte as Spark's console sink prints them.
//!
//! The rules are those of Spark's `ConsoleWrite` and `Dataset.showString`: 43 hyphens, `Batch: N`, 43
//! hyphens, the table and an empty line. Start at [`render`], which is pure.
//!
//! Invariant: a batch reaches the reader in one write, and only the rows that are shown are formatted,
//! so a batch of a million rows costs what twenty cost.
//!
//! Not here: the order of rows (`window`, `batch`), how doubles and times are written (`types`).

use std::{
    io::{self, Write},
    iter,
    time::Duration,
};

use crate::{
    batch::MarkerFact,
    checkpoint::{CheckpointError, Visible},
    sink::{Sink, SinkError},
    types::{BatchId, DoubleTexts, Lineage, Row, SinkName, Value, Zone, timestamp_text_in},
};

const BANNER: &str = "-------------------------------------------";

/// No column is narrower (Spark's `minimumColWidth`).
const LEAST_WIDTH: usize = 3;

/// How long to wait for the reader of a stdout that someone made non-blocking.
const FULL_PIPE_PAUSE: Duration = Duration::from_millis(5);

/// How much of a batch is shown, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleOptions {
    /// Rows shown at most (Spark's `numRows`).
    pub num_rows: u64,
    /// Whether long cells are cut (Spark's `truncate`).
    pub truncate: Truncate,
    /// Whether each row is shown as a block of its own, a column a line (Spark's `vertical`).
    pub vertical: bool,
    /// Whose layout it is.
    pub layout: Layout,
    /// How values are written.
    pub texts: ValueTexts,
    /// Who reads it.
    pub reader: Reader,
}

/// Who reads a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reader {
    /// A pipe or a file: texts are as in Spark, to the byte.
    #[default]
    Program,
    /// A terminal, which some characters command: they are escaped, because a text may come from anyone.
    Terminal,
}

/// How values are written whose text is a matter of choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueTexts {
    /// The zone timestamps are printed in.
    pub zone: Zone,
    /// Whose texts of doubles are printed.
    pub doubles: DoubleTexts,
}

impl Default for ValueTexts {
    fn default() -> Self {
        ValueTexts { zone: Zone::UTC, doubles: DoubleTexts::default() }
    }
}

impl Default for ConsoleOptions {
    fn default() -> Self {
        ConsoleOptions {
            num_rows: 20,
            truncate: Truncate::Never,
            vertical: false,
            layout: Layout::Spark4,
            texts: ValueTexts::default(),
            reader: Reader::Program,
        }
    }
}

/// Whether long cells are cut. Names of columns never are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncate {
    /// Cells are whole and left-aligned: `truncate=false`.
    Never,
    /// Cells of more UTF-16 units than this are cut and end in `...`; cells are right-aligned.
    After(usize),
}

impl Truncate {
    /// `truncate=true`.
    pub const TRUE: Truncate = Truncate::After(20);
}

impl std::str::FromStr for Truncate {
    type Err = String;

    /// Reads `true`, `false` or a number of characters, 0 meaning `false`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "true" => Ok(Truncate::TRUE),
            "false" | "0" => Ok(Truncate::Never),
            number => number.parse().map(Truncate::After).map_err(|_| {
                format!("expected true, false or a number of characters, not {text:?}")
            }),
        }
    }
}

/// The layouts of Spark's versions; they differ after a table that does not show all its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// No empty line after `only showing top 20 rows`.
    Spark4,
    /// An empty line after `only showing top 20 rows`, too.
    Spark35,
}

/// Prints batches to a stream, usually stdout.
pub struct ConsoleSink {
    name: SinkName,
    options: ConsoleOptions,
    out: Box<dyn Write + Send>,
}

impl std::fmt::Debug for ConsoleSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsoleSink").field("options", &self.options).finish_non_exhaustive()
    }
}

impl ConsoleSink {
    /// The sink `console`, printing to `out`.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, options: ConsoleOptions) -> ConsoleSink {
        ConsoleSink { name: SinkName("console".to_owned()), options, out }
    }

    fn write_whole(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) => pause_or_fail(error)?,
            }
        }
        while let Err(error) = self.out.flush() {
            pause_or_fail(error)?;
        }
        Ok(())
    }
}

/// A terminal or pipe may be shared with a process that made it non-blocking: a full one is waited
/// for, as a blocking one would be.
fn pause_or_fail(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock => {
            std::thread::sleep(FULL_PIPE_PAUSE);
            Ok(())
        }
        _ => Err(error),
    }
}

impl Sink for ConsoleSink {
    fn name(&self) -> &SinkName {
        &self.name
    }

    fn marker(&mut self) -> Result<MarkerFact, SinkError> {
        Ok(MarkerFact::NotKept)
    }

    fn begin(&mut self, _: Lineage, _: Option<BatchId>) -> Result<(), SinkError> {
        Ok(())
    }

    fn publish(&mut self, batch: &Visible) -> Result<(), SinkError> {
        let text = render(batch, &self.options)?;
        self.write_whole(text.as_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => SinkError::Closed,
            _ => SinkError::Storage(format!(
                "printing batch {} to stdout failed: {error}. Mend what stdout is connected to and \
                 start again; the batch will be printed then",
                batch.identity().batch
            )),
        })
    }
}

/// The text of one batch; as many of its rows as are shown are in memory at once.
///
/// # Errors
/// Its rows cannot be read back.
pub fn render(batch: &Visible, options: &ConsoleOptions) -> Result<String, CheckpointError> {
    let table = Cells::of(batch, options)?;
    let mut text = format!("{BANNER}\nBatch: {}\n{BANNER}\n", batch.identity().batch);
    if options.vertical {
        table.write_blocks(&mut text);
    } else {
        table.write_table(options.truncate, &mut text);
    }
    let mut cut = batch.record().counts.rows_out > options.num_rows;
    if options.vertical && table.lines().nth(1).is_none() {
        text.push_str("(0 rows)\n");
        cut = true;
    } else if cut {
        let plural = if options.num_rows == 1 { "" } else { "s" };
        text.push_str(&format!("only showing top {} row{plural}\n", options.num_rows));
    }
    // Spark 4 ends these two lines with the line break that ends the whole.
    if !cut || options.layout == Layout::Spark35 {
        text.push('\n');
    }
    Ok(text)
}

/// The header and the rows that are shown, as text.
struct Cells {
    columns: usize,
    /// Row after row, the header first.
    cells: Vec<Cell>,
}

/// One cell as it is printed.
struct Cell {
    text: String,
    /// Columns it takes on a terminal, by Spark's measure.
    width: usize,
}

impl Cells {
    fn of(batch: &Visible, options: &ConsoleOptions) -> Result<Cells, CheckpointError> {
        let columns = batch.columns();
        let mut cells: Vec<Cell> = columns
            .iter()
            .map(|column| Cell::new(escape(column.name.clone(), options.reader)))
            .collect();
        let mut left = options.num_rows;
        let mut pieces = batch.rows();
        while left > 0
            && let Some(rows) = pieces.next().transpose()?
        {
            let mut reader = rows.reader();
            while left > 0
                && let Some(row) = reader.next()
            {
                cells.extend(row_cells(row, options));
                left -= 1;
            }
        }
        Ok(Cells { columns: columns.len(), cells })
    }

    fn write_table(&self, truncate: Truncate, text: &mut String) {
        let widths = self.widths();
        write_rule(&widths, text);
        for (index, line) in self.lines().enumerate() {
            write_line(line, &widths, truncate, text);
            if index == 0 {
                write_rule(&widths, text);
            }
        }
        write_rule(&widths, text);
    }

    /// Each row as `-RECORD n---`, then ` name | value ` for each column.
    fn write_blocks(&self, text: &mut String) {
        let widest = |cells: &mut dyn Iterator<Item = &Cell>| {
            cells.map(|cell| cell.width).max().unwrap_or(0)
        };
        let (names, values) = self.cells.split_at(self.columns);
        let name_width = widest(&mut names.iter()).max(LEAST_WIDTH);
        let value_width = widest(&mut values.iter()).max(LEAST_WIDTH);
        let padded = |cell: &Cell, width: usize, text: &mut String| {
            text.push_str(&cell.text);
            text.extend(iter::repeat_n(' ', width - cell.width));
        };
        for (index, row) in values.chunks(self.columns.max(1)).enumerate() {
            let head = format!("-RECORD {index}");
            text.push_str(&head);
            let rest = (name_width + value_width + 5).saturating_sub(head.len());
            text.extend(iter::repeat_n('-', rest));
            text.push('\n');
            for (name, value) in names.iter().zip(row) {
                text.push(' ');
                padded(name, name_width, text);
                text.push_str(" | ");
                padded(value, value_width, text);
                text.push_str(" \n");
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = &[Cell]> {
        // A table without columns has no cells to tell its lines by; it still has a header.
        let empty_header = (self.columns == 0).then_some(&[][..]);
        empty_header.into_iter().chain(self.cells.chunks(self.columns.max(1)))
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![LEAST_WIDTH; self.columns];
        for line in self.lines() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.width.max(*width);
            }
        }
        widths
    }
}

impl Cell {
    fn new(text: String) -> Cell {
        let width = width(&text);
        Cell { text, width }
    }
}

fn row_cells<'r>(row: Row<'r, '_>, options: &'r ConsoleOptions) -> impl Iterator<Item = Cell> + 'r {
    row.iter().map(move |value| {
        let text = escape(value_text(*value, &options.texts), options.reader);
        Cell::new(match options.truncate {
            Truncate::Never => text,
            Truncate::After(limit) => cut(text, limit),
        })
    })
}

fn write_rule(widths: &[usize], text: &mut String) {
    text.push('+');
    for (index, width) in widths.iter().enumerate() {
        if index > 0 {
            text.push('+');
        }
        text.extend(iter::repeat_n('-', *width));
    }
    text.push_str("+\n");
}

fn write_line(line: &[Cell], widths: &[usize], truncate: Truncate, text: &mut String) {
    text.push('|');
    for (index, (cell, width)) in line.iter().zip(widths).enumerate() {
        if index > 0 {
            text.push('|');
        }
        let padding = iter::repeat_n(' ', width - cell.width);
        match truncate {
            Truncate::Never => {
                text.push_str(&cell.text);
                text.extend(padding);
            }
            Truncate::After(_) => {
                text.extend(padding);
                text.push_str(&cell.text);
            }
        }
    }
    text.push_str("|\n");
}

fn value_text(value: Value<'_>, texts: &ValueTexts) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Double(value) => texts.doubles.text(value),
        Value::String(text) => text.to_owned(),
        Value::Timestamp(time) => timestamp_text_in(time, &texts.zone),
        Value::Decimal(value) => value.to_string(),
    }
}

/// Spark's `SchemaUtils.escapeMetaCharacters`, what would break the table's lines; and for a terminal, what
/// it takes for commands.
fn escape(text: String, reader: Reader) -> String {
    const ESCAPES: [(char, &str); 7] = [
        ('\n', "\\n"),
        ('\r', "\\r"),
        ('\t', "\\t"),
        ('\u{c}', "\\f"),
        ('\u{8}', "\\b"),
        ('\u{b}', "\\v"),
        ('\u{7}', "\\a"),
    ];
    // 0xc2 begins the terminal commands of one character, U+0080 to U+009F.
    let is_command =
        |char| reader == Reader::Terminal && matches!(char, '\u{1b}' | '\u{80}'..='\u{9f}');
    if !text.bytes().any(|byte| matches!(byte, 7..=13 | 0x1b | 0xc2)) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match ESCAPES.iter().find(|(meta, _)| *meta == char) {
            Some((_, replacement)) => escaped.push_str(replacement),
            None if is_command(char) => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            None => escaped.push(char),
        }
    }
    escaped
}

/// Cuts a text of more than `limit` UTF-16 units: `limit - 3` of them and `...`, or, where that has
/// no room, `limit` of them. A character outside the basic plane may be cut in half; Java prints a
/// half as `?`.
fn cut(text: String, limit: usize) -> String {
    if text.len() <= limit || text.chars().map(char::len_utf16).sum::<usize>() <= limit {
        return text;
    }
    let (keep, ending) = if limit < 4 { (limit, "") } else { (limit - 3, "...") };
    let mut kept = String::new();
    let mut units = 0;
    for char in text.chars() {
        units += char.len_utf16();
        if units > keep {
            if units - char.len_utf16() < keep {
                kept.push('?');
            }
            break;
        }
        kept.push(char);
    }
    kept + ending
}

/// Columns a text takes by Spark's `Utils.stringHalfWidth`: one per UTF-16 unit, and one more for
/// each East Asian wide character of the basic plane.
fn width(text: &str) -> usize {
    text.chars().map(|char| char.len_utf16() + usize::from(is_wide(char))).sum()
}

fn is_wide(char: char) -> bool {
    matches!(
        char,
        '\u{1100}'..='\u{115F}'
            | '\u{2E80}'..='\u{A4CF}'
            | '\u{AC00}'..='\u{D7A3}'
            | '\u{F900}'..='\u{FAFF}'
            | '\u{FE30}'..='\u{FE6F}'
            | '\u{FF00}'..='\u{FF60}'
            | '\u{FFE0}'..='\u{FFE6}'
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        sink::fixtures,
        types::{DataType, Decimal, Timestamp},
    };

    const UTC: ValueTexts = ValueTexts { zone: Zone::UTC, doubles: DoubleTexts::Shortest };
    const DEFAULT: ConsoleOptions = ConsoleOptions {
        reader: Reader::Program,
        num_rows: 20,
        truncate: Truncate::Never,
        vertical: false,
        layout: Layout::Spark4,
        texts: UTC,
    };
    const CUT: ConsoleOptions = ConsoleOptions {
        reader: Reader::Program,
        num_rows: 20,
        truncate: Truncate::TRUE,
        vertical: false,
        layout: Layout::Spark4,
        texts: UTC,
    };

    /// Renders a table of strings.
    fn texts(names: &[&str], rows: &[&[&str]], options: ConsoleOptions) -> String {
        let columns: Vec<_> = names.iter().map(|name| (*name, DataType::String)).collect();
        let rows: Vec<Vec<Value<'_>>> =
            rows.iter().map(|row| row.iter().map(|text| Value::String(text)).collect()).collect();
        let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
        render(&fixtures::visible(7, fixtures::columns(&columns), &rows), &options).unwrap()
    }

    /// The table alone, without banner and closing line.
    fn table(names: &[&str], rows: &[&[&str]], options: ConsoleOptions) -> String {
        let text = texts(names, rows, options);
        let start = format!("{BANNER}\nBatch: 7\n{BANNER}\n");
        text.strip_prefix(&start).unwrap().trim_end_matches('\n').to_owned()
    }

    #[test]
    fn a_batch_is_banner_table_and_an_empty_line() {
        let columns = fixtures::columns(&[
            ("window_start", DataType::Timestamp),
            ("store", DataType::String),
            ("total", DataType::Int),
            ("price", DataType::Double),
            ("exact", DataType::Decimal { precision: 18, scale: 2 }),
            ("ok", DataType::Boolean),
        ]);
        let start = Value::Timestamp(Timestamp(1_756_809_000_000_000));
        let full = [
            start,
            Value::String("store-1"),
            Value::Int(-5),
            Value::Double(1250.5),
            Value::Decimal(Decimal { unscaled: 125_050, scale: 2 }),
            Value::Boolean(true),
        ];
        let batch = fixtures::visible(12, columns, &[&full, &[Value::Null; 6]]);
        let expected = "\
-------------------------------------------
Batch: 12
-------------------------------------------
+-------------------+-------+-----+------+-------+----+
|window_start       |store  |total|price |exact  |ok  |
+-------------------+-------+-----+------+-------+----+
|2025-09-02 10:30:00|store-1|-5   |1250.5|1250.50|true|
|NULL               |NULL   |NULL |NULL  |NULL   |NULL|
+-------------------+-------+-----+------+-------+----+

";
        assert_eq!(render(&batch, &DEFAULT).unwrap(), expected);
    }

    /// As Spark 4.2 prints `showString(_, _, vertical = true)` of the same rows.
    #[test]
    fn a_vertical_batch_has_a_block_for_each_row() {
        let rows: &[&[&str]] = &[&["store-1", "287", "é中"], &["s", "NULL", "x"]];
        let vertical = ConsoleOptions { vertical: true, ..DEFAULT };
        let expected = "\
-RECORD 0--------
 store | store-1 
 total | 287     
 t     | é中     
-RECORD 1--------
 store | s       
 total | NULL    
 t     | x       ";
        assert_eq!(table(&["store", "total", "t"], rows, vertical.clone()), expected);
        let one = ConsoleOptions { num_rows: 1, ..vertical.clone() };
        let cut = texts(&["store", "total", "t"], rows, one);
        assert!(cut.ends_with(" t     | é中     \nonly showing top 1 row\n"), "{cut}");
        let none = texts(&["store"], &[], vertical.clone());
        assert!(none.ends_with("-\n(0 rows)\n"), "{none}");
        let old = texts(&["store"], &[], ConsoleOptions { layout: Layout::Spark35, ..vertical });
        assert!(old.ends_with("-\n(0 rows)\n\n"), "{old}");
    }

    #[test]
    fn an_empty_batch_has_header_and_rules() {
        let expected = "\
-------------------------------------------
Batch: 7
-------------------------------------------
+---+-----+
|id |store|
+---+-----+
+---+-----+

";
        assert_eq!(texts(&["id", "store"], &[], DEFAULT), expected);
    }

    #[test]
    fn a_truncated_table_is_right_aligned_and_cuts_cells_but_no_names() {
        let name = "a_name_of_more_than_twenty";
        let rows: &[&[&str]] = &[&["12345678901234567890"], &["123456789012345678901"], &["x"]];
        let expected = "\
+--------------------------+
|a_name_of_more_than_twenty|
+--------------------------+
|      12345678901234567890|
|      12345678901234567...|
|                         x|
+--------------------------+";
        assert_eq!(table(&[name], rows, CUT), expected);
    }

    #[test]
    fn cutting_counts_utf16_units_and_halves_pairs_as_java_does() {
        let check = |text: &str, limit, expected: &str| {
            assert_eq!(cut(text.to_owned(), limit), expected);
        };
        check("123456", 5, "12...");
        check("12345", 5, "12345");
        check("1234", 3, "123");
        check("\u{e9}\u{e9}\u{e9}\u{e9}", 4, "\u{e9}\u{e9}\u{e9}\u{e9}");
        check("1\u{1f600}234", 5, "1?...");
        check("\u{1f600}2345", 5, "\u{1f600}...");
        check("\u{1f600}\u{1f600}\u{1f600}", 5, "\u{1f600}...");
    }

    #[test]
    fn east_asian_characters_are_two_wide_and_pairs_two_units() {
        let rows: &[&[&str]] = &[
            &["中文商店"],
            &["日本語カナ"],
            &["ｶﾅ"],
            &["가"],
            &["😀"],
            &["e\u{301}"],
            &["￦"],
            &["｡"],
        ];
        let expected = "\
+----------+
|loc       |
+----------+
|中文商店  |
|日本語カナ|
|ｶﾅ        |
|가        |
|😀        |
|e\u{301}        |
|￦        |
|｡         |
+----------+";
        assert_eq!(table(&["loc"], rows, DEFAULT), expected);
    }

    #[test]
    fn only_what_breaks_lines_or_on_a_terminal_commands_it_is_escaped() {
        let escaped = |text: &str, reader| escape(text.to_owned(), reader);
        let check = |text: &str, expected: &str| {
            assert_eq!(escaped(text, Reader::Program), expected);
            assert_eq!(escaped(text, Reader::Terminal), expected);
        };
        check("a\nb\rc\td\u{c}e\u{8}f\u{b}g\u{7}h", "a\\nb\\rc\\td\\fe\\bf\\vg\\ah");
        check("a\\b|c\u{0}[31m\u{7f}", "a\\b|c\u{0}[31m\u{7f}");
        check("\u{3000}", "\u{3000}");
        let command = "\u{1b}[2Ja\u{9b}2J";
        assert_eq!(escaped(command, Reader::Terminal), "\\u001b[2Ja\\u009b2J");
        assert_eq!(escaped(command, Reader::Program), command);
        check("é\u{a0}\0", "é\u{a0}\0");
    }

    #[test]
    fn rows_beyond_the_limit_are_named_in_each_layout() {
        let rows: &[&[&str]] = &[&["1"], &["2"], &["3"]];
        let ends = |num_rows, layout| {
            let text = texts(&["id"], rows, ConsoleOptions { num_rows, layout, ..DEFAULT });
            text.split_once("Batch: 7\n").unwrap().1[BANNER.len() + 1..].to_owned()
        };
        let head = "+---+\n|id |\n+---+\n";
        let one = format!("{head}|1  |\n+---+\nonly showing top 1 row\n");
        assert_eq!(ends(1, Layout::Spark4), one);
        assert_eq!(ends(1, Layout::Spark35), one.clone() + "\n");
        let none = format!("{head}+---+\nonly showing top 0 rows\n");
        assert_eq!(ends(0, Layout::Spark4), none);
        let all = format!("{head}|1  |\n|2  |\n|3  |\n+---+\n\n");
        assert_eq!(ends(3, Layout::Spark4), all);
        assert_eq!(ends(3, Layout::Spark35), all);
    }

    #[test]
    fn truncate_reads_what_spark_takes_and_a_number() {
        assert_eq!("true".parse(), Ok(Truncate::After(20)));
        assert_eq!("false".parse(), Ok(Truncate::Never));
        assert_eq!("0".parse(), Ok(Truncate::Never));
        assert_eq!("7".parse(), Ok(Truncate::After(7)));
        assert!("-1".parse::<Truncate>().is_err());
    }

    /// Counts writes and fails as told, once for each kind.
    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<PipeState>>);

    #[derive(Default)]
    struct PipeState {
        failures: Vec<io::ErrorKind>,
        written: Vec<u8>,
        writes: usize,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.lock().unwrap();
            if let Some(failure) = state.failures.pop() {
                return Err(failure.into());
            }
            state.writes += 1;
            state.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn publish_to(failures: Vec<io::ErrorKind>) -> (Result<(), SinkError>, Pipe) {
        let pipe = Pipe::default();
        pipe.0.lock().unwrap().failures = failures;
        let mut sink = ConsoleSink::new(Box::new(pipe.clone()), DEFAULT);
        let columns = fixtures::columns(&[("id", DataType::Long)]);
        let batch = fixtures::visible(0, columns, &[&[Value::Long(1)]]);
        (sink.publish(&batch), pipe)
    }

    #[test]
    fn a_batch_is_one_write() {
        let (outcome, pipe) = publish_to(Vec::new());
        outcome.unwrap();
        let state = pipe.0.lock().unwrap();
        assert_eq!(state.writes, 1);
        assert!(state.written.ends_with(b"+---+\n|1  |\n+---+\n\n"));
    }

    #[test]
    fn a_reader_that_went_away_is_not_an_error_of_ours() {
        let (outcome, _) = publish_to(vec![io::ErrorKind::BrokenPipe]);
        assert!(matches!(outcome, Err(SinkError::Closed)));
        let (outcome, _) = publish_to(vec![io::ErrorKind::StorageFull]);
        let Err(SinkError::Storage(message)) = outcome else { panic!("{outcome:?}") };
        assert!(message.contains("batch 0"), "{message}");
    }

    #[test]
    fn an_interrupted_or_full_pipe_is_waited_for() {
        let failures = vec![io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
        let (outcome, pipe) = publish_to(failures);
        outcome.unwrap();
        assert_eq!(pipe.0.lock().unwrap().writes, 1);
    }

    #[test]
    fn a_closed_pipe_of_the_system_is_recognised() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut sink = ConsoleSink::new(Box::new(writer), DEFAULT);
        let batch = fixtures::visible(0, fixtures::columns(&[("id", DataType::Long)]), &[]);
        assert!(matches!(sink.publish(&batch), Err(SinkError::Closed)));
    }

    proptest! {
        #[test]
        fn all_lines_of_a_table_are_equally_wide(
            rows in proptest::collection::vec((".*", ".*"), 0..8),
            limit in 0_usize..30,
        ) {
            let truncate = if limit == 0 { Truncate::Never } else { Truncate::After(limit) };
            let rows: Vec<[&str; 2]> = rows.iter().map(|(a, b)| [a.as_str(), b.as_str()]).collect();
            let rows: Vec<&[&str]> = rows.iter().map(|row| &row[..]).collect();
            let table = table(&["a", "b"], &rows, ConsoleOptions { truncate, ..DEFAULT });
            let widths: Vec<usize> = table.split('\n').map(width).collect();
            prop_assert_eq!(widths.len(), rows.len() + 4);
            prop_assert!(widths.iter().all(|width| *width == widths[0]), "{}", table);
        }
    }
}
