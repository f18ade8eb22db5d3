//! Reading: an open place, its entries, and what each of them is. Nothing here depends on what the
//! user asked for.

pub mod carried;
pub mod cosign;
pub mod decode;
pub mod node;
pub mod root;
pub mod source;
pub mod spec;
pub mod unknown;
