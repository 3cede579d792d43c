//! `pipeline show` and `pipeline check`, and finding the spec of a run.

use std::{fmt::Write as _, fs, io::Read as _};

use super::Failure;
use crate::{
    cli::PipelineCommand,
    spec::{self, PRESETS, Spec},
};

pub(super) fn pipeline(command: &PipelineCommand) -> Result<(), Failure> {
    match command {
        PipelineCommand::Show { name } => {
            let text = spec::preset(name).ok_or_else(|| {
                let names: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
                Failure::new(2, format!("there is no preset {name:?}; there are {}", names.join(", ")))
            })?;
            print!("{text}");
            Ok(())
        }
        PipelineCommand::Check { file } => {
            let checked = read(file)?.1;
            print!("{}", describe(&checked));
            Ok(())
        }
    }
}

/// The text of a preset or a file, checked.
pub(super) fn read(name: &str) -> Result<(String, Spec), Failure> {
    let (text, origin) = if name == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Failure::new(2, format!("reading a spec from stdin failed: {error}")))?;
        (text, "stdin")
    } else if let Some(preset) = spec::preset(name) {
        (preset.to_owned(), name)
    } else {
        let text = fs::read_to_string(name).map_err(|error| {
            let names: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
            Failure::new(
                2,
                format!(
                    "the spec {name} cannot be read: {error}. Name a file, or one of {}",
                    names.join(", ")
                ),
            )
        })?;
        (text, name)
    };
    let spec = spec::parse(&text, origin).map_err(|errors| Failure::new(2, errors))?;
    Ok((text, spec))
}

fn describe(spec: &Spec) -> String {
    let pipeline = &spec.pipeline;
    let mut text =
        format!("ok: pipeline {}, topic {}, {} mode\n", pipeline.name, pipeline.topic, pipeline.output_mode.name());
    for column in &pipeline.output {
        let _ = writeln!(text, "  {} {}", column.name, column.data_type);
    }
    text
}
