//! The neutral image model: what every format decodes to and encodes from, and the traits by
//! which formats and transports plug in.
//!
//! Start here. A transport opens a [`Bundle`] (bytes and names); a format decodes one of its
//! [`Root`]s to an [`Artifact`]; the pipeline turns its [`Layer`]s into [`SealedLayer`]s; a format
//! encodes those to [`Encoded`] documents, or the image to one stream; a [`BundleSink`] stores and
//! publishes them. The fields that could not be carried over are in the [`Report`], a part of the
//! result.
//!
//! This crate reads no JSON, media type, clock or file, and has no dependency.

#![deny(missing_docs)]

mod artifact;
mod blob;
mod bundle;
mod check;
mod digest;
mod document;
mod entry;
mod env;
mod error;
mod format;
mod format_id;
mod image;
mod limits;
mod name;
mod network;
mod place;
mod platform;
mod progress;
mod report;
mod secrets;
mod sink;
mod text;
mod transport;
mod work;

pub use artifact::{Artifact, Child, Index, Opaque};
pub use blob::{Blob, Compression, Count, Facts, Open, ReadAt, Reader};
pub use bundle::{
    Bundle, Extracted, Extras, ListNotes, Listing, NamedBlobs, Parts, Referrers, Repositories,
    Signed, States, StoredBlobs, Summaries, Summary, Whole, WholeArchive, WholeImage,
};
pub use check::{Violation, check};
pub use digest::{Algorithm, Digest};
pub use document::Document;
pub use entry::{Fetched, Root, RootEntry, Signature, TopLevel, mark_ambiguous};
pub use env::{Env, PlaceOptions, StorageSettings};
pub use error::{Code, Error, Result, escape, is_hidden, quote, quote_path};
pub use format::{
    Capabilities, DecodedStream, DocumentFormat, Encoded, Format, FormatFacts, StreamFacts,
    StreamFormat,
};
pub use format_id::{FormatFamily, FormatId};
pub use image::{
    Exec, Extensions, History, Image, Layer, Original, Port, RunConfig, SealedLayer, Step,
};
pub use limits::{Limit, Limits};
pub use name::Name;
pub use network::{
    ClientCertificate, Credential, HostHeader, Network, ProxySetting, RegistriesFiles, Secret,
    Shared, Timeouts,
};
pub use place::{Addressing, Names, Place, Shape, Writes};
pub use platform::{Platform, PlatformSpec};
pub use progress::{Counted, Event, Phase, Progress, Silent};
pub use report::{Loss, Notes, Outcome, Report, Warning};
pub use secrets::{Secrets, conceal, password_in, without_userinfo};
pub use sink::{
    Adopted, Adoption, Beside, BlobWriter, BundleSink, EarlyBlobs, ExpectedBlobs, Publication,
    RootNames, SinkExtras, Transfers,
};
pub use text::{html, visible, without_numbers};
pub use transport::Transport;
pub use work::Work;
