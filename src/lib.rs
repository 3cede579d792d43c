pub mod broker;
pub mod consume;
pub mod kafka;
pub mod producer;
pub mod spec;
pub mod stop;
pub mod topics;
pub mod types;
