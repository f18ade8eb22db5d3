//! JSON documents, read strictly and written canonically.
//!
//! [`parse`] refuses texts that two readers could understand differently: a repeated member, text
//! that is not UTF-8, bytes after the document. [`Object`] reads typed members, and its errors name
//! the path of a wrong member. [`canonical`] writes the one form in which this project makes
//! documents. The crate has no code for a document of a certain format.

#![deny(missing_docs)]

mod binary;
mod canonical;
mod fields;
mod parse;
mod time;

pub use binary::base64;
pub use canonical::canonical;
pub use fields::{Object, check_field_names, folds_to, join, split, within};
pub use parse::{check, parse};
pub use serde_json::{Map, Number, Value};
pub use time::{is_rfc3339, known_time, rfc3339};
