//! What ends a query in Spark's way.

use std::fmt;

use crate::{
    spark::{cast::ErrorClass, row::KeyError},
    types::{Timestamp, timestamp_iso},
};

/// A value that ends the run with ANSI mode on. Found before anything of its batch is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Spark's error class.
    pub class: ErrorClass,
    /// The window of the group it is in, if it has one.
    pub window: Option<(Timestamp, Timestamp)>,
    /// Names and values of the group's keys.
    pub key: Vec<(String, String)>,
    /// The result column, or what was computed.
    pub column: String,
    /// The value that does not fit.
    pub value: String,
    /// What it does not fit.
    pub target: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { class, window, key, column, value, target } = self;
        write!(f, "[{}] {column}: {value} does not fit {target}", class.name())?;
        if let Some((start, end)) = window {
            let (start, end) = (timestamp_iso(*start), timestamp_iso(*end));
            write!(f, ", in the window {start} to {end}")?;
        }
        for (index, (name, value)) in key.iter().enumerate() {
            let before = if index == 0 { " of " } else { ", " };
            write!(f, "{before}{name} = {value}")?;
        }
        write!(
            f,
            "; nothing of its batch was written. Widen the result's type, filter the value out, or \
             set ansi = false, with which Spark wraps or cuts it"
        )
    }
}

impl std::error::Error for Failure {}

/// What a batch can end on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SparkError {
    /// A value that does not fit, with ANSI mode on.
    #[error(transparent)]
    Failure(#[from] Box<Failure>),
    /// State that is not of the pipeline.
    #[error(transparent)]
    Key(#[from] KeyError),
}
