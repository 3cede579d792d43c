//! The pipelines that are built in: ordinary spec texts, to be printed, copied and changed.

/// Name and text of every preset, the default one first.
pub const PRESETS: [(&str, &str); 2] = [
    ("sales", include_str!("presets/sales.toml")),
    ("transactions", include_str!("presets/transactions.toml")),
];

/// The text of the preset of that name.
#[must_use]
pub fn preset(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(preset, _)| *preset == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{
        OutputMode, ParseMode, Query, SinkSpec, SlidingWindow, TimeFormat, Trigger, Window, parse,
    };
    use crate::types::DataType;

    #[test]
    fn every_preset_is_a_valid_spec_of_its_own_name() {
        for (name, text) in PRESETS {
            let spec = parse(text, name).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(spec.pipeline.name, name);
            assert_eq!(spec.pipeline.output_mode, OutputMode::Append);
            assert_eq!(spec.pipeline.parse_mode, ParseMode::Permissive);
            assert_eq!(spec.run.trigger, Some(Trigger::ProcessingTime { interval_ms: 10_000 }));
            assert_eq!(spec.run.sinks, Some(vec![SinkSpec::Console]));
        }
        assert_eq!(preset("other"), None);
    }

    #[test]
    fn sales_sums_prices_by_store_in_windows_of_30_seconds() {
        let pipeline = parse(preset("sales").unwrap(), "sales").unwrap().pipeline;
        let time = pipeline.event_time.as_ref().unwrap();
        assert_eq!(time.format, TimeFormat::Seconds);
        assert_eq!(time.watermark_delay_ms, Some(30_000));
        let Query::Aggregation(aggregation) = &pipeline.query else { panic!("a window") };
        assert_eq!(aggregation.window, Some(Window::Sliding(SlidingWindow::tumbling(30_000_000))));
        assert_eq!(aggregation.aggregates[0].result_type, DataType::Double);
        assert_eq!(aggregation.aggregates[0].output_type, DataType::Int);
        let columns: Vec<String> =
            pipeline.output.iter().map(|c| format!("{} {}", c.name, c.data_type)).collect();
        let expected = [
            "store string",
            "total_revenue_int int",
            "window_start timestamp",
            "window_end timestamp",
        ];
        assert_eq!(columns, expected);
    }

    #[test]
    fn comments_of_the_presets_show_only_valid_lines() {
        // Each `# key = value` is an invitation to take the comment sign away.
        for (name, text) in PRESETS {
            for line in text.lines().filter(|line| is_commented_out_key(line)) {
                let changed = text.replace(line, line.trim_start_matches("# "));
                parse(&changed, name).unwrap_or_else(|errors| panic!("{line}\n{errors}"));
            }
        }
    }

    fn is_commented_out_key(line: &str) -> bool {
        let key = line.strip_prefix("# ").and_then(|rest| rest.split_once(" = "));
        key.is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    }
}
