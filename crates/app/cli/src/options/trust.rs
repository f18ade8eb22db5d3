//! The options about OpenPGP signatures of ACIs and image tags files.

use std::path::PathBuf;

use clap::Args;
use imgconv::Network;

/// Trust in OpenPGP signatures.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct Trust {
    /// Trust the OpenPGP keys of a file, or of a directory of rkt (repeatable)
    ///
    /// The directory holds `root.d/FINGERPRINT` and `prefix.d/NAME/FINGERPRINT`, or a directory
    /// `trustedkeys` that holds them. An ACI that is fetched needs a signature by a trusted key. The
    /// signature of a local ACI, in `FILE.asc`, is verified if the file exists.
    #[arg(long, value_name = "PATH")]
    keyring: Vec<PathBuf>,
    /// Fetch the public keys that appc discovery pages name, and trust them in this run
    #[arg(long)]
    fetch_pubkeys: bool,
    /// Accept ACIs and image tags files without a signature, or with a bad signature
    #[arg(long)]
    insecure_image: bool,
}

impl Trust {
    /// Sets the options in the settings of the network.
    pub(crate) fn apply(&self, network: &mut Network) {
        network.keyrings.clone_from(&self.keyring);
        network.fetch_pubkeys = self.fetch_pubkeys;
        network.insecure_image = self.insecure_image;
    }
}
