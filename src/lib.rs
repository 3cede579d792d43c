pub mod decode;
pub mod spec;
pub mod types;
