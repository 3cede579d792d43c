//! The options of `simulate`.

use std::num::NonZeroUsize;

use clap::Args;

/// `simulate`
#[derive(Clone, Copy, Debug, Args)]
pub struct SimulateArguments {
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub seed: u64,
    /// How many seeds, one after the other
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub seeds: u64,
    /// Threads that try seeds; one for each core unless given. What comes of a seed is the same
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Try all seeds, also behind one that does not hold, and name each that does not
    #[arg(long)]
    pub keep_going: bool,
    /// Tell everything that happens
    #[arg(long, short)]
    pub verbose: bool,
}
