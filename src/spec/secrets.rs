//! The text of a spec as it may be kept: without what may be secret.
//!
//! Not here: which values may be shown (`crate::kafka`); a spec that is kept needs none of them.

/// The same spec without `[run.kafka]`, whose values may be passwords, and without comments, where an old
/// one may stand. Means what `text` means.
///
/// A text that is no TOML gives nothing: nobody knows where a secret is in it.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let Ok(mut spec) = text.parse::<toml::Table>() else { return String::new() };
    if let Some(toml::Value::Table(run)) = spec.get_mut("run") {
        run.remove("kafka");
    }
    spec.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{PRESETS, parse};

    #[test]
    fn a_kept_spec_means_what_the_written_one_means() {
        for (name, text) in PRESETS {
            let kept = parse(&without_secrets(text), name).unwrap();
            assert_eq!(kept, parse(text, name).unwrap(), "{name}");
        }
    }

    #[test]
    fn options_for_kafka_and_comments_are_not_kept() {
        let sales = crate::spec::preset("sales").unwrap();
        // It ends in [run].
        let plain = format!("# was hunter1\n{sales}\nnum_rows = 3 # hunter2\n");
        assert!(parse(&plain, "written").is_ok());
        for kafka in [
            "[run.kafka]\n\"sasl.password\" = \"hunter3\"\n",
            "kafka = { \"ssl.key.pem\" = '''\nhunter3''' }\n",
            "kafka.\"a.b\" = 'hunter3'",
        ] {
            let kept = without_secrets(&format!("{plain}{kafka}"));
            assert!(!kept.contains("hunter"), "{kept}");
            let read = parse(&kept, "kept").unwrap();
            assert_eq!(read.pipeline, parse(sales, "sales").unwrap().pipeline);
            assert_eq!(read.run.num_rows, Some(3));
        }
        assert_eq!(without_secrets("run = hunter3"), "");
    }
}
