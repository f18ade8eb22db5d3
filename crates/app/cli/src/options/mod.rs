//! The option groups that several commands share: one file a group, with its help and its conversion
//! into the types of the library.
//!
//! A command flattens only the groups that can matter for it. `help::TOPICS` says which groups help
//! pages describe in a topic of their own instead.

mod access;
mod common;
mod conversion;
mod credentials;
mod dependencies;
mod destination;
mod duration;
mod layers;
mod links;
mod names;
mod network;
mod places;
mod platforms;
mod reversal;
mod safety;
mod site;
mod source;
mod trust;

pub(crate) use access::{Access, Server};
pub(crate) use common::Common;
pub(crate) use conversion::{Conversion, Writing};
pub(crate) use credentials::Credentials;
pub(crate) use dependencies::Dependencies;
pub(crate) use destination::{Destination, Target, refuse_stream};
pub(crate) use duration::{duration, some_duration};
pub(crate) use layers::Merge;
pub(crate) use names::RefName;
pub(crate) use network::NetworkOptions;
pub(crate) use places::{Places, SymlinkedBlobs};
pub(crate) use platforms::Platforms;
pub(crate) use site::Site;
pub(crate) use source::Source;
pub(crate) use trust::Trust;
