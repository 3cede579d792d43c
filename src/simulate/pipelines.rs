//! The pipelines that are tried: every kind of state, in our own way and in Spark's.

use std::sync::{Arc, LazyLock};

use crate::{
    simulate::reference::Windows,
    spec::{self, OutputMode, Pipeline},
};

/// One pipeline.
pub(super) struct Variant {
    pub(super) name: String,
    /// What it does, whatever the mode and the way.
    pub(super) kind: &'static str,
    pub(super) spec_text: String,
    pub(super) pipeline: Arc<Pipeline>,
    /// Where the reference model knows it.
    pub(super) windows: Option<Windows>,
    /// It does as Spark does, where the order of rows may change with a restart.
    pub(super) is_compat: bool,
}

impl Variant {
    /// Whether some of its state cannot be anywhere else.
    pub(super) fn stays_in_memory(&self) -> bool {
        let kinds = ["tumbling", "hopping", "offset", "keys", "stateless"];
        self.is_compat || !kinds.contains(&self.kind)
    }
}

/// All of them, parsed once.
pub(super) fn all() -> &'static [Variant] {
    static ALL: LazyLock<Vec<Variant>> = LazyLock::new(make_all);
    &ALL
}

const SCHEMA: &str =
    "[schema]\nstore = \"string\"\nitem = \"string\"\nprice = \"double\"\nts = \"long\"\n";
const TIME: &str = "[event_time]\ncolumn = \"ts\"\nformat = \"seconds\"\n";
const SUMS: &str = "[aggregates]\nrecords = { count = \"*\" }\npriced = { count = \"price\" }\n\
     total = { sum = \"price\", cast = \"int\" }\nlow = { min = \"price\" }\n\
     high = { max = \"price\" }\n";
const OF_GROUPS: &str = "group_by = [\"store\"]\noutput = [\"store\", \"records\", \"priced\", \"total\", \
     \"low\", \"high\", \"window_start\", \"window_end\"]\n";
const OF_ROWS: &str = "output = [\"store\", \"item\", \"price\", \"ts\"]\n";

/// A pipeline in words: what stands before the sections, its sections, its mode.
struct Words {
    name: &'static str,
    head: &'static str,
    sections: String,
    mode: OutputMode,
    delay_s: Option<i64>,
    /// Length, slide and start of windows that the reference knows.
    windows: Option<(i64, i64, i64)>,
}

fn make_all() -> Vec<Variant> {
    use OutputMode::{Append, Complete, Update};
    let mut words = Vec::new();
    for mode in [Append, Update, Complete] {
        for (name, windows) in
            [("tumbling", (30, 30, 0)), ("hopping", (30, 10, 0)), ("offset", (60, 30, 7))]
        {
            let (length, slide, start) = windows;
            let section = format!(
                "[window]\nduration = \"{length}s\"\nslide = \"{slide}s\"\nstart = \"{start}s\"\n{SUMS}"
            );
            let (windows, delay_s) = (Some(windows), Some(30));
            words.push(Words { name, head: OF_GROUPS, sections: section, mode, delay_s, windows });
        }
    }
    for mode in [Append, Complete] {
        let sections = format!("[window]\nsession_gap = \"20 seconds\"\n{SUMS}");
        words.push(Words {
            name: "sessions",
            head: OF_GROUPS,
            sections,
            mode,
            delay_s: Some(30),
            windows: None,
        });
    }
    let deduplicate = |how: &str| format!("[drop_duplicates]\ncolumns = [\"store\"]\n{how}\n");
    words.push(Words {
        name: "deduplicated-windows",
        head: OF_GROUPS,
        sections: format!(
            "{}[window]\nduration = \"30s\"\n{SUMS}",
            deduplicate("event_time = true")
        ),
        mode: Append,
        delay_s: Some(30),
        windows: None,
    });
    for (name, how) in
        [("deduplicated", ""), ("deduplicated-within-watermark", "within_watermark = true")]
    {
        let sections = deduplicate(how);
        let (mode, delay_s) = (Append, Some(20));
        words.push(Words { name, head: OF_ROWS, sections, mode, delay_s, windows: None });
    }
    words.push(Words {
        name: "keys",
        head: "group_by = [\"store\"]\noutput = [\"store\", \"records\", \"total\"]\n",
        sections: "[aggregates]\nrecords = { count = \"*\" }\ntotal = { sum = \"price\", cast = \"int\" }\n"
            .to_owned(),
        mode: Update,
        delay_s: Some(30),
        windows: None,
    });
    words.push(Words {
        name: "stateless",
        head: OF_ROWS,
        sections: String::new(),
        mode: Append,
        delay_s: None,
        windows: None,
    });
    words.iter().flat_map(|words| [words.variant(false), words.variant(true)]).collect()
}

impl Words {
    fn variant(&self, is_compat: bool) -> Variant {
        let Words { name, head, sections, mode, delay_s, windows } = self;
        let (compat, spark) = match is_compat {
            true => ("compat = \"spark-4\"\n", "[spark]\nshuffle_partitions = 3\n"),
            false => ("", ""),
        };
        let time = delay_s
            .map_or_else(String::new, |delay| format!("{TIME}watermark = \"{delay} seconds\"\n"));
        let spec_text = format!(
            "name = \"simulated\"\ntopic = \"simulated\"\n{compat}{head}{SCHEMA}{time}{sections}{spark}\
             [run]\noutput_mode = \"{}\"\n",
            mode.name()
        );
        let spec = spec::parse(&spec_text, "simulated")
            .unwrap_or_else(|errors| panic!("{errors}\n{spec_text}"));
        let windows = windows.map(|(length, slide, start)| Windows {
            length,
            slide,
            start,
            delay_ms: delay_s.unwrap_or(0) * 1000,
            mode: *mode,
        });
        let way = if is_compat { "spark-4" } else { "own" };
        Variant {
            name: format!("{name}-{}-{way}", mode.name()),
            kind: name,
            spec_text,
            pipeline: Arc::new(spec.pipeline),
            windows,
            is_compat,
        }
    }
}
