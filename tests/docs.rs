//! The documentation against the program: its specs can be read, the tests it names are there.

use std::{collections::BTreeMap, fs, path::Path};

use sales_stream::spec;
use toml::{Table, Value};

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between ```` ```toml ```` and ```` ``` ````.
fn toml_blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while lines.any(|line| line == "```toml") {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(block.join("\n"));
    }
    blocks
}

/// The preset `sales` with the sections and keys that a block has in place of its own.
fn within_sales(block: Table) -> Table {
    let mut whole: Table = spec::preset("sales").unwrap().parse().unwrap();
    for (key, value) in block {
        match (whole.get_mut(&key), value) {
            (Some(Value::Table(section)), Value::Table(more))
                if key == "run" || key == "event_time" =>
            {
                section.extend(more);
            }
            (_, value) => drop(whole.insert(key, value)),
        }
    }
    whole
}

#[test]
fn every_spec_of_the_readme_can_be_read() {
    let blocks = toml_blocks(&text("README.md"));
    assert!(blocks.len() >= 4, "{} blocks", blocks.len());
    for block in blocks {
        let table: Table = block.parse().unwrap_or_else(|error| panic!("{error}\n{block}"));
        let whole = if table.contains_key("topic") {
            block.clone()
        } else {
            toml::to_string(&within_sales(table)).unwrap()
        };
        spec::parse(&whole, "README.md").unwrap_or_else(|errors| panic!("{errors}\n{block}"));
    }
}

#[test]
fn every_difference_from_spark_names_a_test_or_rule_that_is_there() {
    let page = text("docs/differences-from-spark.md");
    let lines = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| **"));
    let mut count = 0;
    for line in lines.filter(|line| !line.starts_with("| here")) {
        let cell = line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let named = cell.trim_matches('`').split_once("::");
        let (file, name) = named.unwrap_or_else(|| panic!("no test is named in {line}"));
        let source = text(file);
        let is_there = [format!("fn {name}("), format!("const {name}:")];
        assert!(is_there.iter().any(|item| source.contains(item)), "{name} is not in {file}");
        count += 1;
    }
    let rules = text("tests/golden/own_way.rs");
    let rules = rules.lines().filter_map(|line| line.strip_prefix("const ")?.split_once(": &str"));
    for (rule, _) in rules.filter(|(rule, _)| *rule != "LAST_INSTANT") {
        assert!(page.contains(&format!("own_way.rs::{rule}`")), "{rule} is not on the page");
    }
    assert!(count > 20, "{count} differences");
}

/// Counts of the log, in the order of the page, each with its words.
const COUNTS: [(&str, &str); 27] = [
    ("app_kills", "SIGKILLs of the processor"),
    ("app_stops", "SIGSTOPs of the processor"),
    ("broker_kills", "SIGKILLs of brokers"),
    ("broker_restarts", "orderly restarts of brokers"),
    ("network_faults", "faults of the network"),
    ("aborted_transactions", "transactions aborted by producers"),
    ("crash_points", "crash points: calls of a 50-batch run × kinds of fault"),
    ("named_points", "crash points: named places, and limits of the system"),
    ("pairs", "pairs: a fault, and another in the recovery after it"),
    ("power_cuts", "power cuts"),
    ("disk_faults", "full disks, read-only disks and directories taken away"),
    ("bytes_flipped", "bytes flipped"),
    ("truncations", "files cut short"),
    ("files_removed", "files removed"),
    ("files_replaced", "files replaced by older ones or by each other"),
    ("seeds", "seeds simulated"),
    ("steps", "steps of them"),
    ("faults_injected", "faults injected, simulated or at calls"),
    ("fuzz_runs", "inputs of fuzzing"),
    ("security_checks", "checks of security"),
    ("mutants_planted", "mutants planted"),
    ("mutants_caught", "mutants caught"),
    ("outputs_doctored", "outputs falsified for the auditor"),
    ("outputs_noticed", "falsified outputs that it noticed"),
    ("audits", "audits"),
    ("batches", "batches"),
    ("records", "records"),
];

/// Counts that the simulator gives of its own model, not of a process or a disk.
const SIMULATED: [&str; 5] =
    ["app_kills", "power_cuts", "batches", "records", "aborted_transactions"];

/// The sums of the log, as the page shows them.
fn counts_table(log: &str) -> String {
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut runs = 0;
    for line in log.lines() {
        let run: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(run.contains_key("commit") && run.contains_key("command"), "{line}");
        runs += 1;
        let simulated = run["harness"] == "simulate";
        let full = run["harness"] == "disk";
        for (name, value) in &run {
            let name = match name.as_str() {
                "faults_injected" if full => "disk_faults",
                "steps" if full => continue,
                name => name,
            };
            let whole = value.as_f64().filter(|_| name == "seconds").map(|seconds| seconds as u64);
            if let Some(count) = value.as_u64().or(whole)
                && !(simulated && SIMULATED.contains(&name))
            {
                let (sum, of) = sums.entry(name.to_owned()).or_default();
                *sum += count;
                *of += 1;
            }
        }
    }
    let mut table = String::from("| tried | times | runs |\n|---|---|---|\n");
    for (name, words) in COUNTS {
        if let Some((sum, of)) = sums.get(name).filter(|(sum, _)| *sum > 0) {
            table += &format!("| {words} | {sum} | {of} |\n");
        }
    }
    let tenths = sums.get("seconds").map_or(0, |(seconds, _)| seconds / 360);
    table + &format!("\n{runs} runs, {}.{} hours.\n", tenths / 10, tenths % 10)
}

/// With `SALES_STREAM_UPDATE_DOCS=1` it writes the table instead.
#[test]
fn the_counts_on_the_page_are_the_sums_of_the_log() {
    let page = text("docs/robustness.md");
    let (begin, end) = ("<!-- counts -->\n", "<!-- end of counts -->");
    let (before, rest) = page.split_once(begin).expect("the page has a place for the counts");
    let (there, after) = rest.split_once(end).expect("the place has an end");
    let right = counts_table(&text("docs/robustness/runs.jsonl"));
    if std::env::var_os("SALES_STREAM_UPDATE_DOCS").is_some() {
        let page = format!("{before}{begin}{right}{end}{after}");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/robustness.md");
        fs::write(path, page).expect("the page can be written");
        return;
    }
    assert!(there == right, "docs/robustness.md is not what its log says; it should be:\n{right}");
}

#[test]
fn every_fault_of_the_table_says_where_it_is_tried_or_why_not() {
    let page = text("docs/robustness.md");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let number: u32 = cells.first()?.parse().ok()?;
        Some((number, (*cells.last()?).to_owned()))
    });
    let mut next = 1;
    for (number, tried) in rows {
        assert_eq!(number, next, "the rows are in order and complete");
        next += 1;
        if tried.starts_with("not tried: ") {
            continue;
        }
        let named: Vec<&str> = tried.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "row {number} names no test: {tried}");
        for named in named {
            let (file, name) = named.split_once("::").unwrap_or((named, ""));
            assert!(text(file).contains(name), "row {number}: {name} is not in {file}");
        }
    }
    assert_eq!(next, 74, "there are 73 faults");
}
