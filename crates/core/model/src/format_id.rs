//! Names of formats, and the families that users know formats by.

use std::fmt;

/// The identity of a format, such as `oci`.
///
/// The identity of a format that no transport names needs no constant here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FormatId(pub &'static str);

impl FormatId {
    /// App Container Images.
    pub const ACI: Self = Self("aci");
    /// OCI images.
    pub const OCI: Self = Self("oci");
    /// Docker image manifests of version 2, schema 2.
    pub const DOCKER_V2S2: Self = Self("docker-v2s2");
    /// Images of a `docker save` archive since Docker 1.10.
    pub const DOCKER_ARCHIVE: Self = Self("docker-archive");
    /// Docker image manifests of version 2, schema 1.
    pub const DOCKER_V2S1: Self = Self("docker-v2s1");
    /// Root file systems without a description, as flat tars.
    pub const ROOTFS: Self = Self("rootfs");
    /// Docker images before 1.10, as archives and registries stored them.
    pub const DOCKER_V1: Self = Self("docker-v1");
}

impl fmt::Display for FormatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The formats that a user treats as one format, as in the pair commands (`aci-to-oci`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatFamily {
    /// ACIs.
    Aci,
    /// OCI images, and every image in an OCI layout.
    Oci,
    /// Images in one of Docker's formats, and every image in a Docker registry.
    Docker,
    /// Root file systems without a description.
    Rootfs,
}

impl FormatFamily {
    /// Returns the word for the family in the name of a command.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aci => "aci",
            Self::Oci => "oci",
            Self::Docker => "docker",
            Self::Rootfs => "rootfs",
        }
    }
}
