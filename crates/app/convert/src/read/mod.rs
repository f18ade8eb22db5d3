//! Reading: an open place, its entries, and their decoded contents. Nothing here depends on the
//! user's options.

pub(crate) mod about;
pub mod carried;
pub mod cosign;
pub mod decode;
pub mod docker_record;
pub mod node;
pub mod reversal;
pub mod root;
pub mod search;
pub mod source;
pub mod spec;
pub mod unknown;
