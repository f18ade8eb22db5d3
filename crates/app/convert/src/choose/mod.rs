//! Choosing: which images are meant, in which format they are written, and what they are called.

pub mod candidates;
pub mod dependencies;
pub(crate) mod described;
pub(crate) mod family;
pub mod names;
pub mod platforms;
pub mod request;
pub mod signing;
