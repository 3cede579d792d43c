//! The documentation against the program: its specs can be read, the tests it names are there.

use std::{fs, path::Path};

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
