//! To come.
/// To come.
#[derive(Debug)] pub struct Announcement;
/// To come.
#[derive(Debug)] pub struct VisibleFile;
