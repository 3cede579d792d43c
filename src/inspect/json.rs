//! A view as one JSON object, written while it is read.

use std::io::Write;

use serde_json::{Value as Json, json};

use crate::{
    inspect::{View, ViewError, windows::OpenWindow},
    types::timestamp_iso,
};

impl View<'_> {
    /// Writes everything as one JSON object and a line end.
    ///
    /// # Errors
    /// Groups that cannot be read, or the write failed.
    pub fn write_json(&self, out: &mut dyn Write) -> Result<(), ViewError> {
        let head = format!("{:#}", self.head_json());
        let head = head.strip_suffix("\n}").expect("an object with fields ends so");
        write!(out, "{head},\n  \"windows\": ")?;
        if self.is_hidden() {
            writeln!(out, "null\n}}")?;
            return Ok(());
        }
        let mut is_first = true;
        self.each_window(&mut |window| {
            out.write_all(if std::mem::take(&mut is_first) { b"[\n    " } else { b",\n    " })?;
            write_window(window, out)
        })?;
        out.write_all(if is_first { b"[]\n}\n" } else { b"\n  ]\n}\n" })?;
        Ok(())
    }
}

fn write_window(window: &OpenWindow<'_>, out: &mut dyn Write) -> Result<(), ViewError> {
    let (start, end) = window.window().unzip();
    let (start, end) = (json!(start.map(timestamp_iso)), json!(end.map(timestamp_iso)));
    write!(out, "{{\n      \"groups\": {},\n      ", window.groups())?;
    if window.has_rows() {
        let mut is_first = true;
        window.each_row(&mut |row| {
            let separator = if std::mem::take(&mut is_first) { "\"rows\": [" } else { "," };
            let row = Json::Object(row.iter().cloned().collect());
            // Line ends in texts are escaped.
            let row = format!("{row:#}").replace('\n', "\n        ");
            Ok(write!(out, "{separator}\n        {row}")?)
        })?;
        out.write_all(b"\n      ],\n      ")?;
    }
    write!(out, "\"window_end\": {end},\n      \"window_start\": {start}\n    }}")?;
    Ok(())
}
