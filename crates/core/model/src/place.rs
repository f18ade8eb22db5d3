//! The facts of a kind of place.
//!
//! Each transport states these facts once, in one value. The rest of the program asks for a fact
//! and never for the name of a scheme, so that a new transport needs no change elsewhere.

use crate::{FormatFamily, FormatId};

/// The facts of a kind of place, such as an OCI layout in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The scheme, such as `oci`.
    pub scheme: &'static str,
    /// The syntax of a locator, such as `oci:PATH[:REF]`.
    pub syntax: &'static str,
    /// One line of help about the kind of place.
    pub about: &'static str,
    /// The shape of a place in the file system, if it is there.
    pub shape: Shape,
    /// The form in which a locator names one image of a place.
    pub addressing: Addressing,
    /// True if [`Transport::recognise`](crate::Transport::recognise) accepts every regular file.
    /// Then only a format can find out whether a file holds an image.
    pub any_file: bool,
    /// True for an OCI image layout: a marker, an index and blobs named by digest.
    pub layout: bool,
    /// The families to which every image in such a place belongs, whatever its format.
    pub families: &'static [FormatFamily],
    /// The facts of such a place as a destination; `None` if it is only read.
    pub writes: Option<Writes>,
}

/// The shape of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One file. It may be a pipe, and `-` is standard input or output.
    File,
    /// A directory.
    Directory,
    /// A server, reached through the network.
    Server,
}

/// The form in which a locator names one image of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// `PLACE:REF`.
    Reference,
    /// `URL#REF`.
    Fragment,
    /// The name of an image in a registry, which holds the host.
    Registry,
    /// `SCHEME:NAME`: a place without a location of its own. The text after the scheme is the name of an
    /// image, and no text means every image.
    Name,
    /// The place holds one image, which has no other address.
    Alone,
}

/// The facts of a kind of place as a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writes {
    /// The formats that an image can be written in, the default first. Never empty.
    pub formats: &'static [FormatId],
    /// The place of the name of an image.
    pub names: Names,
    /// True if the place lists its images by descriptors, which can have annotations.
    pub descriptors: bool,
    /// True if an image is found by a digest of any algorithm. Otherwise the place has no list of
    /// its images, and names an image by its SHA-256 digest, if at all.
    pub any_digest: bool,
    /// True if blobs can be files that other places share.
    pub shares_blobs: bool,
}

/// The place where a destination keeps the name of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Nowhere.
    None,
    /// In the image itself.
    Image,
    /// In a list of the place. A REF that is one word is a tag.
    Tags,
    /// In a list of the place. A REF that is one word is a repository.
    Repositories,
    /// In the location: a registry, whose locator holds the repository and perhaps the tag.
    Location,
}

impl Place {
    /// Returns true if such places are in the local file system.
    pub fn is_local(&self) -> bool {
        self.shape != Shape::Server
    }

    /// Returns the formats that an image can be written in there, the default first; empty if the
    /// place is read-only.
    pub fn formats(&self) -> &'static [FormatId] {
        self.writes.map_or(&[], |writes| writes.formats)
    }

    /// Returns where the name of an image is kept, if the place can be written.
    pub fn names(&self) -> Option<Names> {
        self.writes.map(|writes| writes.names)
    }

    /// Returns true if a destination has room for the names of images.
    pub fn has_names(&self) -> bool {
        self.names() != Some(Names::None)
    }

    /// Returns true if a destination lists its images by descriptors.
    pub fn has_descriptors(&self) -> bool {
        self.writes.is_some_and(|writes| writes.descriptors)
    }

    /// Returns true if an image of a destination is found by a digest of any algorithm.
    pub fn has_any_digest(&self) -> bool {
        self.writes.is_some_and(|writes| writes.any_digest)
    }
}
