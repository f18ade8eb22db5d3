//! Choosing: the images that are converted, their format, and their names.

pub mod candidates;
pub mod dependencies;
pub(crate) mod described;
pub mod docker_record;
pub(crate) mod family;
pub mod names;
pub mod platforms;
pub mod request;
pub mod restored;
pub mod signing;
