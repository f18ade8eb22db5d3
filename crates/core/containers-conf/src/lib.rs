//! The configuration files that podman, skopeo, buildah and CRI-O share: any of them as TOML, and the
//! meaning of `registries.conf` (containers-registries.conf(5), version 2).
//!
//! [`Registries`] answers three questions about the name of a repository: from which places an image is
//! read, whether an image may be written there, and which short names mean the repository. Nothing here
//! connects to a server, and nothing is read from the environment: `RegistriesFiles` of the model lists the
//! files. The meaning of `storage.conf` is in the transport `containers-storage`.

#![deny(missing_docs)]

mod file;
mod parse;
mod registries;

pub use crate::{
    file::read,
    registries::{Place, Reading, Registries},
};
