//! The arguments: what can be said, with its help. Validates only; touches nothing.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use imgconv::Level;

use crate::{layout::Layout, links::LinkArgs, network::NetworkArgs};

const LOCATORS: &str = "\
Locators:
  PATH                     whatever the bytes are
  aci:PATH                 an ACI (`-`: standard input or output)
  oci:PATH[:REF]           an OCI layout, a directory
  oci-archive:PATH[:REF]   an OCI layout in a tar, plain or compressed (`-` as above)
  docker-archive:PATH[:REF], dir:PATH   what `docker save` writes; skopeo's flat directory
  docker://HOST/REPO[:TAG|@DIGEST]   a registry; no tag: reads `latest` (ls: all), writes the image's
  https://HOST/PATH[#REF]  an ACI or an archive on a web server
  appc:NAME[:TAG][,LABEL=VALUE…]     an ACI by appc discovery
  FORMAT+DISTRIBUTION:…    the pair said outright, such as `aci+https://…`, `oci+registry://…`
  cimd:…                   rkt's distribution points
  rkt:PATH[:REF], registry-storage:PATH[:REF], tree:PATH[:REF], aci-tree:PATH[:REF]
  docker-root:PATH[:REF], containerd:PATH[:REF], containers-storage:PATH[:REF]
                           stores and folders of images, which are only read
  REF is a full reference, a tag that is unique there, `@sha256:…`, or `#N` (from 0).
  Another word before `:` is an error; a path with a colon is `./PATH`, unless it is there.

Exit codes:
  0 done   1 failed   2 wrong usage   3 refused by --strict
  4 what was read does not match its digest, size or signature (diff: 1 if the images differ;
    verify: 4 for any damage, 1 if something could not be read)
  130 ended by Ctrl-C   143 ended by SIGTERM";

/// The environment variables that are read.
pub(crate) const ENVIRONMENT: &str = "\
Environment:
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY   the proxies, `http[s]://[USER:PASSWORD@]HOST:PORT`; lower-case
                           names are read first, and HTTP_PROXY not in a CGI script
  NO_PROXY                 hosts that are reached directly: domains, addresses, networks (10.0.0.0/8),
                           each perhaps with a port, or `*`; this machine always is
  SSL_CERT_FILE, SSL_CERT_DIR   certificates that are trusted in the place of the system's
  REGISTRY_AUTH_FILE       as --authfile
  DOCKER_CONFIG, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, HOME   where credentials and certificates are
  TMPDIR                   as --tmpdir
  SOURCE_DATE_EPOCH        the time of what is made anew, seconds since 1970";

const EXAMPLES: &str = "\
Examples:
  imgconv aci-to-oci app.aci out/             an ACI to an OCI layout
  imgconv oci-to-aci out/ acis/               every image of a layout to an ACI
  imgconv convert oci:a:app:1.0 oci-archive:app.tar --compression zstd
  imgconv diff app.aci oci:out
  imgconv unpack app.aci rootfs/";

const SQUASH_EXAMPLES: &str = "\
Examples:
  imgconv squash oci:in oci:out                       one layer
  imgconv squash oci:in oci:out --keep-base 1         the base stays one that others share
  imgconv squash saved.tar docker-archive:new.tar --last 3
  imgconv squash oci:in oci:out --max-layers 20       no more than 20 layers";

const RECOMPRESS_EXAMPLES: &str = "\
Examples:
  imgconv recompress oci:in oci:out --compression zstd
  imgconv recompress oci:in oci:out --compression gzip --level 9 --force
  imgconv recompress oci:in oci:out --compression zstd:chunked";

const MIGRATE_EXAMPLES: &str = "\
Examples:
  imgconv migrate /var/lib/registry oci:all                 a registry's storage to one layout
  imgconv migrate rkt:/var/lib/rkt oci:out --split repo     a layout for each name
  imgconv migrate saved/ docker://registry.example.com/old --rename '^docker.io/='
  imgconv migrate old/ oci:all --dry-run --only '*/team/*'  what would be done
  imgconv migrate old/ oci:all --shard 1/4 --report 1.json  one of four workers
  imgconv migrate merge-reports 1.json 2.json 3.json 4.json";

/// Convert container images between ACI and OCI, offline and verified
#[derive(Debug, Parser)]
#[command(name = "imgconv", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{LOCATORS}\n\n{ENVIRONMENT}"))]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Shared {
    /// Print results as one JSON document
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// Print no warnings and no progress
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Print more: every warning and loss in full
    #[arg(short, long, global = true, help_heading = "Output", action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How to show progress on standard error
    #[arg(long, global = true, value_enum, hide_short_help = true, default_value_t = ProgressStyle::Auto, value_name = "HOW", help_heading = "Output")]
    pub(crate) progress: ProgressStyle,
    /// How many threads work [default: one per processor]
    #[arg(long, global = true, value_name = "N", help_heading = "Limits")]
    pub(crate) jobs: Option<usize>,
    /// Where temporary files go
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "DIR",
        env = "TMPDIR",
        hide_env_values = true,
        help_heading = "Limits"
    )]
    pub(crate) tmpdir: Option<PathBuf>,
    /// Set a limit on input, such as `layer_bytes=1000000` (repeatable)
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "NAME=N",
        help_heading = "Limits"
    )]
    pub(crate) limit: Vec<String>,
    /// Follow symbolic links to blobs of a layout
    #[arg(long, global = true, hide_short_help = true, help_heading = "Limits")]
    pub(crate) allow_symlinked_blobs: bool,
    /// The registry whose storage is read: what the names of its images begin with
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "HOST[:PORT]",
        help_heading = "Input"
    )]
    pub(crate) registry_host: Option<String>,
    /// The namespace of containerd whose images are meant (default: all)
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "NAME",
        help_heading = "Input"
    )]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressStyle {
    /// Bars on a terminal, plain lines elsewhere
    Auto,
    /// Bars
    Bar,
    /// Lines now and then for what takes long
    Plain,
    /// One JSON event a line
    Json,
    /// Nothing
    None,
}

/// The compression of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    /// As it is; gzip for what is made anew
    Keep,
    /// gzip
    Gzip,
    /// Zstandard (OCI only)
    Zstd,
    /// Zstandard with a table of contents, for runtimes that fetch single files (OCI only)
    #[value(name = "zstd:chunked")]
    ZstdChunked,
    /// gzip with a table of contents: its files are added to each layer (OCI only)
    Estargz,
    /// Not compressed
    None,
}

/// What the name annotation of a layout holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RefName {
    /// The full reference
    Full,
    /// The tag alone
    Tag,
}

impl From<RefName> for imgconv::RefName {
    fn from(chosen: RefName) -> Self {
        match chosen {
            RefName::Full => Self::Full,
            RefName::Tag => Self::Tag,
        }
    }
}

/// What to do with children of an index that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Missing {
    /// Write the index without them, with a warning
    Drop,
    /// List them all the same, with a warning: a sparse index
    Keep,
    /// Fail
    Fail,
}

/// What to do with layers that say where else they can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Foreign {
    /// List them as they are, with a warning if they are not stored here
    Keep,
    /// Fail
    Fail,
    /// Leave them out, with their step of the history
    Drop,
    /// Fetch them if they are not stored here (https, no credentials), and list them as ordinary
    /// layers
    Fetch,
}

/// The format and the distribution of what is read, apart from its locator.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct SourcePair {
    /// The format that SRC must be in, as in `FORMAT+DISTRIBUTION:…`
    #[arg(
        long,
        value_name = "FORMAT",
        hide_short_help = true,
        help_heading = "Input"
    )]
    pub(crate) src_format: Option<String>,
    /// How SRC is got at: `file`, `registry`, `https`, or any scheme; SRC is what follows it
    #[arg(
        long,
        value_name = "DISTRIBUTION",
        hide_short_help = true,
        help_heading = "Input"
    )]
    pub(crate) src_distribution: Option<String>,
}

/// The format and the distribution of what is written, apart from its locator.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct DestinationPair {
    /// The format that DST is written in
    #[arg(
        long,
        value_name = "FORMAT",
        hide_short_help = true,
        help_heading = "Output"
    )]
    pub(crate) dest_format: Option<String>,
    /// How DST is got at; DST is what follows it
    #[arg(
        long,
        value_name = "DISTRIBUTION",
        hide_short_help = true,
        help_heading = "Output"
    )]
    pub(crate) dest_distribution: Option<String>,
}

/// Which layers become one; at most one of them.
#[derive(Clone, Copy, Debug, ClapArgs)]
#[group(multiple = false)]
pub(crate) struct Merge {
    /// Merge the last N layers to one
    #[arg(long, value_name = "N", help_heading = "Layers")]
    pub(crate) last: Option<NonZeroUsize>,
    /// Merge all layers but the first N to one
    #[arg(long, value_name = "N", help_heading = "Layers")]
    pub(crate) keep_base: Option<usize>,
    /// Merge as few of the last layers as leave at most N
    #[arg(long, value_name = "N", help_heading = "Layers")]
    pub(crate) max_layers: Option<NonZeroUsize>,
}

/// Options of every command that converts.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Conversion {
    #[command(flatten)]
    pub(crate) writing: Writing,
    /// Merge all layers to one, or those that the next three options name
    #[arg(long, conflicts_with = "no_squash", help_heading = "Layers")]
    pub(crate) squash: bool,
    #[command(flatten)]
    pub(crate) merge: Merge,
    /// To ACI: one ACI for each layer, linked by dependencies
    #[arg(long, help_heading = "Layers")]
    pub(crate) no_squash: bool,
}

/// Options of every command that writes images.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Writing {
    #[command(flatten)]
    pub(crate) from: SourcePair,
    /// Only these platforms, `OS/ARCH[/VARIANT]` (repeatable)
    ///
    /// Images of one platform that differ in the version of the system, as those for Windows do, are
    /// chosen with `OS(VERSION)/ARCH`, such as `windows(10.0.20348)/amd64`, or `OS/ARCH:VERSION`. A
    /// version stands for those that begin with it, unless it is there itself.
    ///
    /// One alone is also what an ACI that names no platform is taken to be for.
    #[arg(
        long,
        value_name = "PLATFORM",
        value_delimiter = ',',
        help_heading = "Input"
    )]
    pub(crate) platform: Vec<String>,
    /// An ACI or a directory of ACIs where dependencies are, or `appc:` (repeatable)
    ///
    /// `appc:` alone stands for discovery: what is found nowhere else is fetched by its name, and
    /// has to be signed as every ACI that is fetched.
    #[arg(long, value_name = "LOCATOR", help_heading = "Input")]
    pub(crate) deps: Vec<String>,
    /// What to do with children of an index that are not there
    #[arg(long, value_enum, default_value_t = Missing::Drop, value_name = "HOW", hide_short_help = true, help_heading = "Input")]
    pub(crate) missing: Missing,
    /// What to do with layers that have `urls` (foreign, or non-distributable)
    #[arg(long, value_enum, default_value_t = Foreign::Keep, value_name = "HOW", hide_short_help = true, help_heading = "Layers")]
    pub(crate) foreign: Foreign,
    /// The compression of layers (of the file, for an ACI)
    #[arg(long, value_enum, default_value_t = Compression::Keep, value_name = "HOW", help_heading = "Layers")]
    pub(crate) compression: Compression,
    /// The compression level: a number, or `fast` (gzip: 0 to 12, zstd: 1 to 22)
    #[arg(long, value_name = "N", value_parser = level, allow_negative_numbers = true, help_heading = "Layers")]
    pub(crate) level: Option<Level>,
    /// Compress again even where the compression is right
    #[arg(long, help_heading = "Layers")]
    pub(crate) force: bool,
    /// Set later times of entries to EPOCH, seconds since 1970; every layer is made anew
    #[arg(
        long,
        value_name = "EPOCH",
        allow_negative_numbers = true,
        hide_short_help = true,
        help_heading = "Layers"
    )]
    pub(crate) clamp_mtime: Option<i64>,
    /// The name of the result, `HOST/REPOSITORY:TAG`, instead of the source's
    #[arg(long, value_name = "REFERENCE", help_heading = "Names")]
    pub(crate) name: Option<String>,
    /// To ACI: tags become an image tags file beside the ACIs, not their versions
    ///
    /// An ACI gets the label `dockerimageid` in the place of `version`, so a tag that moves
    /// changes the tags file alone. A tags file that is there keeps its other tags.
    #[arg(long, help_heading = "Names")]
    pub(crate) image_tags: bool,
    /// What `org.opencontainers.image.ref.name` holds
    #[arg(long, value_enum, default_value_t = RefName::Full, value_name = "WHAT", help_heading = "Names")]
    pub(crate) ref_name: RefName,
    #[command(flatten)]
    pub(crate) links: LinkArgs,
    /// Refuse if anything would be lost or is irregular
    #[arg(long, help_heading = "Safety")]
    pub(crate) strict: bool,
    /// Replace files that are there: ACIs and archives
    ///
    /// Without it a file that is there is an error. To layouts, registries and sites is added, with it
    /// or without.
    #[arg(long, help_heading = "Safety")]
    pub(crate) overwrite: bool,
    /// Refuse to write an image or index under another digest than it was read
    ///
    /// The error names what would change. In a Docker archive, whose entries have no digest, the
    /// config and the layers must stay.
    #[arg(long, help_heading = "Safety")]
    pub(crate) preserve_digests: bool,
    /// To docker-v2s1: sign the manifest with a private key, a JWK such as docker's `key.json`
    #[arg(
        long,
        value_name = "FILE",
        hide_short_help = true,
        help_heading = "Safety"
    )]
    pub(crate) sign_key: Option<PathBuf>,
    /// Say what would happen; write nothing
    #[arg(long, help_heading = "Safety")]
    pub(crate) dry_run: bool,
    /// Write the result, with every loss and warning, to a file as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) report: Option<PathBuf>,
}

/// Reads a level; which of them exist depends on the compression too.
fn level(text: &str) -> Result<Level, String> {
    match text {
        "fast" => Ok(Level::Fast),
        number => match number.parse() {
            Ok(number @ 0..=22) => Ok(Level::Number(number)),
            _ => Err("it is neither `fast` nor a number from 0 to 22".to_owned()),
        },
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Convert images between any two places
    #[command(after_long_help = LOCATORS)]
    Convert {
        /// What to read
        #[arg(value_name = "SRC")]
        source: String,
        /// Where to write; a bare path is an ACI if it ends in `.aci`, else a layout, `PATH[:REF]`
        #[arg(value_name = "DST")]
        destination: String,
        #[command(flatten)]
        to: Box<DestinationPair>,
        #[command(flatten)]
        conversion: Conversion,
    },
    /// Convert ACIs to one OCI layout
    ///
    /// ACIs of one name and several platforms become one index. An ACI's dependencies become the
    /// layers below its own; they are looked for among the given ACIs and in `--deps`.
    #[command(after_long_help = LOCATORS)]
    AciToOci {
        /// The ACIs
        #[arg(value_name = "ACI", required = true)]
        sources: Vec<String>,
        /// The layout: made if missing, added to if it is there; or a `.tar`, an archive of one
        #[arg(value_name = "OUT")]
        destination: String,
        #[command(flatten)]
        to: Box<DestinationPair>,
        #[command(flatten)]
        conversion: Conversion,
    },
    /// Convert OCI images to ACIs
    ///
    /// Every image is squashed to one ACI, or with `--no-squash` becomes one ACI for each layer.
    #[command(after_long_help = LOCATORS)]
    OciToAci {
        /// A layout, or an archive of one
        #[arg(value_name = "SRC")]
        source: String,
        /// A directory, where files are `NAME-VERSION-OS-ARCH.aci`, or one `.aci` file
        #[arg(value_name = "OUT")]
        destination: String,
        #[command(flatten)]
        to: Box<DestinationPair>,
        #[command(flatten)]
        conversion: Conversion,
    },
    /// Convert Docker images to one OCI layout
    #[command(after_long_help = LOCATORS)]
    DockerToOci {
        /// A `docker save` file of any generation, or a `dir:`
        #[arg(value_name = "SRC")]
        source: String,
        /// The layout: made if it is missing, added to if it is there
        #[arg(value_name = "OUT")]
        destination: String,
        #[command(flatten)]
        to: Box<DestinationPair>,
        #[command(flatten)]
        conversion: Conversion,
    },
    /// Convert Docker images to ACIs
    #[command(after_long_help = LOCATORS)]
    DockerToAci {
        /// A `docker save` file of any generation, or a `dir:`
        #[arg(value_name = "SRC")]
        source: String,
        /// A directory, where files are `NAME-VERSION-OS-ARCH.aci`, or one `.aci` file
        #[arg(value_name = "OUT")]
        destination: String,
        #[command(flatten)]
        to: Box<DestinationPair>,
        #[command(flatten)]
        conversion: Conversion,
    },
    /// Convert OCI images to one archive for `docker load`
    #[command(after_long_help = LOCATORS)]
    OciToDocker {
        /// A layout, or an archive of one
        #[arg(value_name = "SRC")]
        source: String,
        /// The archive, or a `dir:`
        #[arg(value_name = "OUT")]
        destination: String,
        #[command(flatten)]
        to: Box<DestinationPair>,
        #[command(flatten)]
        conversion: Conversion,
    },
    /// Convert ACIs to one archive for `docker load`
    #[command(after_long_help = LOCATORS)]
    AciToDocker {
        /// The ACIs
        #[arg(value_name = "ACI", required = true)]
        sources: Vec<String>,
        /// The archive, or a `dir:`
        #[arg(value_name = "OUT")]
        destination: String,
        #[command(flatten)]
        to: Box<DestinationPair>,
        #[command(flatten)]
        conversion: Conversion,
    },
    /// Merge layers: all of them, or the last ones
    ///
    /// The merged layer gives, over those that stay, the same files in every attribute: whiteouts
    /// are kept only for what a layer below has, and a hard link to a file below brings the file
    /// along. The layers below are read too, and stay as they are. Without an option all layers are
    /// merged; an ACI always holds one.
    ///
    /// Signatures and attestations of what has another digest afterwards are left behind, which the
    /// report says.
    #[command(after_help = SQUASH_EXAMPLES, after_long_help = format!("{SQUASH_EXAMPLES}\n\n{LOCATORS}"))]
    Squash {
        /// What to read
        #[arg(value_name = "SRC")]
        source: String,
        /// Where to write, as for `convert`
        #[arg(value_name = "DST")]
        destination: String,
        /// Merge all layers to one; the default
        #[arg(long, conflicts_with = "Merge", help_heading = "Layers")]
        all: bool,
        #[command(flatten)]
        merge: Merge,
        #[command(flatten)]
        to: Box<DestinationPair>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Compress layers anew, and change nothing in them
    ///
    /// Layers that are compressed as asked stay as they are, unless `--force` is given. Their first
    /// bytes tell, not their media types; those that are written are true.
    ///
    /// `zstd:chunked` and `estargz` have a table of contents, from which runtimes fetch single files.
    /// `estargz` alone adds files to layers, so that their diff IDs are others.
    #[command(after_help = RECOMPRESS_EXAMPLES, after_long_help = format!("{RECOMPRESS_EXAMPLES}\n\n{LOCATORS}"))]
    Recompress {
        /// What to read
        #[arg(value_name = "SRC")]
        source: String,
        /// Where to write, as for `convert`
        #[arg(value_name = "DST")]
        destination: String,
        #[command(flatten)]
        to: Box<DestinationPair>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Tell what an image is: format, platform, config, layers, names
    #[command(after_long_help = LOCATORS)]
    Inspect {
        /// What to read
        #[arg(value_name = "SRC")]
        source: String,
        #[command(flatten)]
        from: SourcePair,
        /// Print the stored document, byte for byte
        #[arg(long)]
        raw: bool,
        /// Only these platforms
        #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
        platform: Vec<String>,
    },
    /// List every image of a place, a line each: name, platform, format, digest, size
    #[command(after_long_help = LOCATORS)]
    Ls {
        /// What to list
        #[arg(value_name = "LOCATOR")]
        source: String,
        #[command(flatten)]
        from: SourcePair,
    },
    /// Read everything and name everything that is wrong
    #[command(after_long_help = LOCATORS)]
    Verify {
        /// What to read
        #[arg(value_name = "LOCATOR")]
        source: String,
        #[command(flatten)]
        from: SourcePair,
    },
    /// Tell how two images differ, whatever their formats: config and files
    ///
    /// A may be what was read, and B what was written: `--src-format` and `--src-distribution` are
    /// for A, `--dest-format` and `--dest-distribution` for B.
    #[command(after_long_help = LOCATORS)]
    Diff {
        /// One image
        a: String,
        /// The other
        b: String,
        #[command(flatten)]
        from: SourcePair,
        #[command(flatten)]
        to: DestinationPair,
        /// The platform, where there are several
        #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
        platform: Vec<String>,
        /// Where the dependencies of ACIs are; `appc:` discovers them (repeatable)
        #[arg(long, value_name = "LOCATOR")]
        deps: Vec<String>,
    },
    /// Write the root file system of an image to a new directory, safely
    ///
    /// Without root, owners are recorded as far as the system lets them be.
    #[command(after_long_help = LOCATORS)]
    Unpack {
        /// The image
        #[arg(value_name = "SRC")]
        source: String,
        /// The directory: new or empty
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        #[command(flatten)]
        from: SourcePair,
        /// The platform, where there are several
        #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
        platform: Vec<String>,
        /// Where the dependencies of ACIs are; `appc:` discovers them (repeatable)
        #[arg(long, value_name = "LOCATOR")]
        deps: Vec<String>,
        /// Keep set-user-ID and set-group-ID bits and capabilities
        #[arg(long)]
        preserve_privileges: bool,
        /// Make device nodes (root only)
        #[arg(long)]
        allow_devices: bool,
    },
    /// Work with appc image tags: the files that map moving tags to images
    #[command(subcommand)]
    Tags(Tags),
    /// Take care of an OCI layout directory: names and space
    #[command(subcommand)]
    Layout(Layout),
    /// Publish images as a static appc site: ACIs, image tags, discovery pages
    ///
    /// The directory is the document root of one host, for any web server. ACIs are published byte
    /// for byte, with the `.asc` beside them; other images are converted. What the site has
    /// already stays.
    #[command(after_long_help = LOCATORS)]
    Publish(Box<Publish>),
    /// Migrate every image of a store to another place, as one job that can be killed and goes on
    ///
    /// First the whole store is looked at and a plan is made: two different images of one name are an
    /// error, before anything is written. Then images are done several at a time. One that fails does
    /// not stop the rest; its error is in the report, and the exit code is 1.
    ///
    /// Run again, the same command goes on where it was ended: a journal in the destination
    /// (`.imgconv-migrate`) says which images stand there, and what each layer became. They are
    /// looked at before they are relied on; `imgconv verify` reads all of them. Images of a layout
    /// appear together at the end, others one by one.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = MIGRATE_EXAMPLES, after_long_help = format!("{MIGRATE_EXAMPLES}\n\n{LOCATORS}"))]
    Migrate(Box<Migrate>),
    /// List the formats and transports
    Formats,
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages to a directory
    Man {
        /// The directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// The commands of `tags`.
#[derive(Debug, Subcommand)]
pub(crate) enum Tags {
    /// Print the image tags file of a repository
    ///
    /// Every tag means the label `dockerimageid` of its image. Of several tags of one image, the
    /// one with the most numbers in it holds the label and the others are its aliases.
    #[command(after_long_help = LOCATORS)]
    Export {
        /// A registry's repository, a layout, an archive
        #[arg(value_name = "SRC")]
        source: String,
        #[command(flatten)]
        from: SourcePair,
        /// Only this image name, where there are several
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Print the labels that a tag means
    Resolve {
        /// An image tags file, `-` for standard input
        file: String,
        /// The tag
        tag: String,
        /// A label that is asked for; it wins over what the tag says (repeatable)
        #[arg(long, value_name = "NAME=VALUE")]
        label: Vec<String>,
    },
    /// List every tag with its alias and the labels that it means
    List {
        /// An image tags file, `-` for standard input
        file: String,
    },
    /// Name everything that is wrong with an image tags file
    Validate {
        /// An image tags file, `-` for standard input
        file: String,
    },
    /// Print the image tags of an image name by discovery, of a URL, or of a file
    Fetch {
        /// An image name, such as `example.com/app` or `appc:example.com/app`; a URL; a path
        #[arg(value_name = "NAME|FILE|URL")]
        from: String,
    },
}

/// What `migrate` is told.
#[derive(Debug, ClapArgs)]
pub(crate) struct Migrate {
    #[command(subcommand)]
    pub(crate) command: Option<MigrateCommand>,
    /// The store: of a registry, of rkt, a layout, an archive, a folder of any of them
    #[arg(value_name = "SRC", required = true)]
    pub(crate) source: Option<String>,
    /// Where to: `oci:DIR`, `docker-archive:DIR/` (a file for each image), `aci:DIR/`,
    /// `docker://HOST/PREFIX`
    #[arg(value_name = "DST", required = true)]
    pub(crate) destination: Option<String>,
    /// Only images whose name, as `ls` prints it, fits; `*` is any text (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "Input")]
    pub(crate) only: Vec<String>,
    /// No images whose name fits (repeatable)
    #[arg(long, value_name = "GLOB", help_heading = "Input")]
    pub(crate) exclude: Vec<String>,
    /// Give images other names: `^old.example.com/=new.example.com/`, `$1` is a group (repeatable)
    #[arg(long, value_name = "REGEX=REPLACEMENT", help_heading = "Names")]
    pub(crate) rename: Vec<String>,
    /// Make one layout for each repository, below the directory
    #[arg(long, value_enum, value_name = "BY", help_heading = "Output")]
    pub(crate) split: Option<Split>,
    /// Do only a share of the plan: the I-th of N; images with a common base are in one share
    #[arg(long, value_name = "I/N", help_heading = "Limits")]
    pub(crate) shard: Option<String>,
    /// Where the journal is, instead of in the destination; a registry has none without it
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) journal: Option<PathBuf>,
    /// Make `aci:DIR/` a site for appc discovery, as `publish` does
    #[arg(long, help_heading = "Output")]
    pub(crate) site: bool,
    #[command(flatten)]
    pub(crate) of_site: Site,
    /// Go on though the layers take more room in the source than is free at the destination
    #[arg(long, help_heading = "Safety")]
    pub(crate) ignore_space: bool,
    #[command(flatten)]
    pub(crate) to: DestinationPair,
    #[command(flatten)]
    pub(crate) conversion: Conversion,
}

/// What a migration makes several places by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Split {
    /// By repository
    Repo,
}

/// The commands of `migrate`.
#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Join the reports of all shares, and say which are missing
    MergeReports {
        /// The reports that `--report` wrote
        #[arg(value_name = "REPORT", required = true)]
        reports: Vec<PathBuf>,
    },
}

/// What `publish` is told.
#[derive(Debug, ClapArgs)]
pub(crate) struct Publish {
    /// What to read
    #[arg(value_name = "SRC", required = true)]
    pub(crate) sources: Vec<String>,
    /// The directory of the site: made if it is missing, added to if it is there
    #[arg(value_name = "DIR")]
    pub(crate) directory: String,
    #[command(flatten)]
    pub(crate) site: Site,
    #[command(flatten)]
    pub(crate) conversion: Conversion,
}

/// What a site for appc discovery is told.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Site {
    /// The host of the site: images get it in their names instead of their registry's
    ///
    /// An ACI of another host is written anew, with another image ID and without its signature.
    #[arg(long, value_name = "HOST", help_heading = "Names")]
    pub(crate) host: Option<String>,
    /// The URL of the site [default: https://HOST]
    #[arg(long, value_name = "URL", help_heading = "Names")]
    pub(crate) url: Option<String>,
    /// A file of OpenPGP public keys that clients are told of
    #[arg(long, value_name = "FILE", help_heading = "Safety")]
    pub(crate) pubkeys: Option<PathBuf>,
    /// Sign ACIs and image tags with the OpenPGP secret key in a file
    ///
    /// What has a signature already keeps it.
    #[arg(long, value_name = "FILE", help_heading = "Safety")]
    pub(crate) pgp_key: Option<PathBuf>,
    /// A file whose first line is the passphrase of the secret key
    #[arg(
        long,
        value_name = "FILE",
        requires = "pgp_key",
        help_heading = "Safety"
    )]
    pub(crate) pgp_passphrase: Option<PathBuf>,
}
