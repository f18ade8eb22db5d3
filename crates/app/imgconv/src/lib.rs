//! Reads every container image format and writes any other: the library behind the command
//! `imgconv`.
//!
//! A program works in three steps: [`Locator::source`] and [`Locator::destination`] read where
//! images are, an [`Env`] holds the settings of a run, and a function does the work: [`convert()`],
//! [`list`], [`inspect`], [`diff`], [`verify`], [`unpack`], [`publish`], [`migrate()`] or [`serve`]. Every
//! function returns what it did as data, or an [`Error`] with a [`Code`]. `main` can return the
//! error: it is printed with its place and its advice.
//!
//! ```
//! use imgconv::{Env, Locator, Options, Platform, convert};
//!
//! fn main() -> imgconv::Result<()> {
//!     # let folder = tempfile::tempdir().expect("a temporary directory");
//!     # let out = folder.path().join("out");
//!     # let (aci, out) = ("../../../testdata/hello.aci", out.to_str().expect("UTF-8"));
//!     // The directory of temporary files, and the platform of images that name no platform.
//!     let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
//!     let source = Locator::source(aci)?;
//!     let destination = Locator::destination(out)?;
//!     let outcome = convert(&[source], &destination, &Options::default(), &env)?;
//!     assert_eq!(outcome.images[0].format, "oci");
//!     Ok(())
//! }
//! ```
//!
//! [`catalog`] lists every format and transport, and [`model`] holds the types of the neutral image
//! that the catalog's traits speak of. Nothing here prints, reads the environment or exits.
//!
//! # Cargo features
//!
//! `registry`, `openpgp` and `serve` are on by default.
//!
//! - `registry`: registries, web servers and appc discovery, with HTTP and TLS. Without the feature a
//!   locator of a server is read, and opening it fails with [`Code::Unsupported`].
//! - `openpgp`: OpenPGP signatures of ACIs. Without the feature an image whose signature would have to
//!   be verified is refused with [`Code::Unsupported`], and nothing can be signed.
//! - `serve`: the HTTP server of [`serve`]. Without the feature the function fails with
//!   [`Code::Unsupported`].
//! - `schema`, off by default: the results have JSON Schemas, by the trait of the crate `schemars`.

#![deny(missing_docs)]

mod layout;

/// # Example
///
/// An ACI becomes a `docker save` file, and everything that is lost on the way is listed:
///
/// ```
/// use imgconv::{Env, Locator, Options, Platform, convert};
///
/// # fn main() -> imgconv::Result<()> {
/// # let folder = tempfile::tempdir().expect("a temporary directory");
/// # let archive = folder.path().join("hello.tar").display().to_string();
/// let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
/// let sources = [Locator::source("../../../testdata/hello.aci")?];
/// let destination = Locator::destination(&format!("docker-archive:{archive}"))?;
/// let options = Options {
///     name: Some("example.com/hello:1".to_owned()),
///     ..Options::default()
/// };
/// let outcome = convert(&sources, &destination, &options, &env)?;
/// for loss in &outcome.images[0].losses {
///     println!("{} is {}: {}", loss.field, loss.outcome, loss.why);
/// }
/// assert!(std::fs::exists(&archive).unwrap());
/// # Ok(())
/// # }
/// ```
#[doc(inline)]
pub use imgconv_convert::convert::convert;
pub use imgconv_convert::tags::read as read_tags;
pub use imgconv_convert::{
    DOCUMENT_VERSION, Document,
    options::{Foreign, Link, Missing, Options, RefName, Sharing},
    outcome::{
        ChangeOutcome, ImageOutcome, LayerOutcome, LossOutcome, Outcome, ReversalOutcome,
        TagsOutcome, WarningOutcome,
    },
};
/// # Example
///
/// ```
/// use imgconv::{Env, Locator, Platform, list};
///
/// # fn main() -> imgconv::Result<()> {
/// let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
/// let images = list(&Locator::source("../../../testdata/hello.aci")?, &env)?;
/// assert_eq!(images.len(), 1);
/// assert_eq!(images[0].format, "aci");
/// # Ok(())
/// # }
/// ```
#[doc(inline)]
pub use imgconv_examine::list;
/// # Example
///
/// A file that was cut short is a problem in the verdict, and no error of the function:
///
/// ```
/// use imgconv::{Env, Locator, Platform, verify};
///
/// # fn main() -> imgconv::Result<()> {
/// # let folder = tempfile::tempdir().expect("a temporary directory");
/// # let cut = folder.path().join("cut.aci").display().to_string();
/// # let bytes = std::fs::read("../../../testdata/hello.aci").unwrap();
/// # std::fs::write(&cut, &bytes[..bytes.len() - 20]).unwrap();
/// let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
/// let verdict = verify(&Locator::source("../../../testdata/hello.aci")?, &env)?;
/// assert!(verdict.problems.is_empty());
///
/// let verdict = verify(&Locator::source(&format!("aci:{cut}"))?, &env)?;
/// assert!(verdict.is_damaged());
/// for problem in &verdict.problems {
///     println!("{}: {} [{}]", problem.at, problem.message, problem.code);
/// }
/// # Ok(())
/// # }
/// ```
#[doc(inline)]
pub use imgconv_examine::verify;
pub use imgconv_examine::{
    Config, Difference, Finding, Inspection, LayerInspection, LeftOut, Listed, ReversalInspection,
    SignedBy, UnpackOptions, UnpackOutcome, Verdict, diff, inspect, raw, unpack,
};
pub use imgconv_fs::WholeFile;
pub use imgconv_http::CertificateDirectory;
/// # Example
///
/// [`Locator::source`] looks at a bare path, so the path must exist; a scheme says outright what is
/// meant. [`Locator::destination`] looks at nothing.
///
/// ```
/// use imgconv::{Code, Locator};
///
/// # fn main() -> imgconv::Result<()> {
/// let file = Locator::source("../../../testdata/hello.aci")?;
/// assert_eq!(file.exact(), "aci:../../../testdata/hello.aci");
/// let image = Locator::source("docker://registry.example.com/team/app:1")?;
/// assert_eq!(image.transport.place().scheme, "docker");
///
/// let error = Locator::source("no-such-file").unwrap_err();
/// assert_eq!(error.code(), Code::Missing);
///
/// let layout = Locator::destination("oci:out:v1")?;
/// assert_eq!(layout.transport.place().scheme, "oci");
/// # Ok(())
/// # }
/// ```
#[doc(inline)]
pub use imgconv_locate::locator::Locator;
pub use imgconv_locate::{
    catalog,
    locator::{Reference, directory},
};
/// # Example
///
/// Every image below a folder goes to one OCI layout. A second run keeps what the first run wrote.
///
/// ```
/// use imgconv::{Env, Locator, MigrateOptions, Platform, migrate};
///
/// # fn main() -> imgconv::Result<()> {
/// # let folder = tempfile::tempdir().expect("a temporary directory");
/// # let old = folder.path().join("old");
/// # std::fs::create_dir(&old).unwrap();
/// # std::fs::copy("../../../testdata/hello.aci", old.join("hello.aci")).unwrap();
/// # let new = folder.path().join("new").display().to_string();
/// # let old = old.display().to_string();
/// let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
/// let source = Locator::source(&format!("tree:{old}"))?;
/// let destination = Locator::destination(&format!("oci:{new}"))?;
/// let options = MigrateOptions::default();
/// let report = migrate(&source, &destination, &options, &env)?;
/// assert_eq!((report.totals.done, report.totals.failed), (1, 0));
///
/// let report = migrate(&source, &destination, &options, &env)?;
/// assert_eq!(report.totals.kept, 1);
/// # Ok(())
/// # }
/// ```
#[doc(inline)]
pub use imgconv_migrate::migrate;
pub use imgconv_migrate::{
    Failure, Merged, MigrateOptions, Migrated, Migration, Notes, Rules, Shard, Status, Totals,
    merge_reports, read_report, report_page,
};
/// The neutral model of images: the types that formats and transports share, all of them. The types
/// that most programs need stand beside the functions too.
pub use imgconv_model as model;
pub use imgconv_model::{
    Algorithm, ClientCertificate, Code, Compression, Counted, Credential, Digest, Env, Error,
    Event, FormatFamily, FormatId, HostHeader, Limit, Limits, Loss, Network, Phase, Platform,
    PlatformSpec, Progress, ProxySetting, RegistriesFiles, Report, Result, Secret, Secrets, Silent,
    StorageSettings, Timeouts, Warning, conceal, escape, is_hidden, password_in, quote, quote_path,
    visible, without_numbers, without_userinfo,
};
pub use imgconv_pipeline::{Options as LayerOptions, Squash};
pub use imgconv_publish::{
    discovery::Signing,
    publish::{PublishOptions, SiteOptions, publish},
    tags::{
        Exported, Resolution, TagLine, export as export_tags, fetch as fetch_tags, list_tags,
        resolve_tag,
    },
};
pub use imgconv_serve::{ServeOptions, Tls, Watcher, serve};
pub use imgconv_stream::Level;
pub use imgconv_tags::{ImageTags, Labels};
pub use layout::{
    Freed, FreedBlob, MovedFrom, Removed, Sweep, Tagged, gc as gc_layout,
    remove as remove_from_layout, tag as tag_in_layout,
};

/// The README's example is compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
