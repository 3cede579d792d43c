//! Limits to measure the pipeline against.
use clap::Args;

use crate::Outcome;

#[derive(Args)]
pub struct Probe {
    #[arg(long)]
    brokers: String,
}
impl Probe {
    pub fn run(&self) -> Outcome<()> {
        Err(self.brokers.clone().into())
    }
}
