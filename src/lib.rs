pub mod batch;
pub mod checkpoint;
pub mod decode;
pub mod sink;
pub mod source;
pub mod spec;
pub mod types;
pub mod window;
