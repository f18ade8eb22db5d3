//! From a string to an open place: the grammar of locators, the catalog of formats and transports,
//! the recognition of a bare path by its bytes, and the choice of images by a reference.
//!
//! Start with [`locator::Locator`]; [`catalog`] lists every format and transport.

pub mod catalog;
pub mod fetched;
pub mod locator;
pub mod select;
pub mod tree;
