//! The bytes that are signed, and who signed them.

use imgconv_model::{Reader, Result};

/// Opens the signed bytes anew for each pass.
pub type OpenData<'a> = &'a dyn Fn() -> Result<Reader>;

/// One key that signed a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signer {
    /// The fingerprint of its primary key, in lower-case hexadecimal.
    pub fingerprint: String,
    /// Its user IDs, such as `Name <name@example.com>`.
    pub user_ids: Vec<String>,
}

/// What a good signature is worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The trusted keys that signed, at least one, in the order of the signatures.
    pub signers: Vec<Signer>,
    /// What is irregular in their keys and does not make the signature bad.
    pub warnings: Vec<String>,
}
