//! The help topics: texts and option groups that several commands share.

use clap::{Arg, Args as _, Command};

use crate::options::{
    Common, Conversion, Credentials, Destination, NetworkOptions, Places, Source, Trust,
};

/// A topic of `imgconv help TOPIC`.
pub(super) struct Topic {
    pub(super) name: &'static str,
    /// A line about the topic.
    pub(super) about: &'static str,
    /// The text before the options.
    pub(super) text: &'static str,
    /// Adds the options that the topic describes to a command.
    options: Option<fn(Command) -> Command>,
    /// Help pages of commands leave the options of this topic out, and point at the topic.
    pub(super) elsewhere: bool,
}

/// The topic that is the whole command line in Markdown.
pub(super) const REFERENCE: &str = "reference";

/// The topics, in the order of the help page.
pub(super) const TOPICS: &[Topic] = &[
    Topic {
        name: "locators",
        about: "how places are written, and options about them",
        text: LOCATORS,
        options: Some(|it| {
            Places::augment_args(Destination::augment_args(Source::augment_args(it)))
        }),
        elsewhere: true,
    },
    Topic {
        name: "conversion",
        about: "details of the options that convert images",
        text: CONVERSION,
        options: Some(conversion),
        elsewhere: false,
    },
    Topic {
        name: "network",
        about: "options of connections and credentials",
        text: NETWORK,
        options: Some(|it| Credentials::augment_args(NetworkOptions::augment_args(it))),
        elsewhere: true,
    },
    Topic {
        name: "trust",
        about: "options of OpenPGP signatures",
        text: TRUST,
        options: Some(Trust::augment_args),
        elsewhere: true,
    },
    Topic {
        name: "common",
        about: "details of the common options",
        text: COMMON,
        options: Some(Common::augment_args),
        elsewhere: false,
    },
    Topic {
        name: "environment",
        about: "environment variables",
        text: ENVIRONMENT,
        options: None,
        elsewhere: false,
    },
    Topic {
        name: "files",
        about: "files that are read and written besides images",
        text: FILES,
        options: None,
        elsewhere: false,
    },
    Topic {
        name: "exit-codes",
        about: "exit codes",
        text: EXIT_CODES,
        options: None,
        elsewhere: false,
    },
];

pub(super) const LOCATORS: &str = "\
A locator says where images are: [SCHEME:]LOCATION[:REF]

  PATH                        any kind of place; the bytes decide the format, not the suffix
  aci:PATH                    an ACI, or as destination a directory for ACIs; `-` as below
  oci:PATH[:REF]              an OCI image layout, a directory
  oci-archive:PATH[:REF]      a tar of an OCI image layout, plain or compressed; `-` as below
  docker-archive:PATH[:REF]   a file of `docker save`, plain or compressed; `-` as below
  rootfs:PATH                 a root file system: a directory, or a flat tar as `docker export` makes it;
                              only a flat tar is written; `-` as below
  dir:PATH                    a directory with one image in plain files, as skopeo writes it
  docker://HOST/REPO[:TAG|@DIGEST]
                              a registry; without a tag, `latest` is read (`ls`: every tag), and an
                              image that is written keeps its own tag
  https://HOST/PATH[#REF]     an ACI or an archive on a web server
  appc:NAME[:TAG][,LABEL=VALUE…]
                              an ACI, found by appc discovery
  cimd:…                      a distribution point of rkt
  FORMAT+DISTRIBUTION:…       format and distribution, such as `aci+https://…`, `oci+registry://…`

Stores and directories that are only read:
  rkt:PATH[:REF]              the data directory of rkt
  registry-storage:PATH[:REF] the storage of a registry
  docker-root:PATH[:REF]      the data root of a docker engine
  containerd:PATH[:REF]       the root directory of containerd
  containers-storage:PATH[:REF]
                              the store of podman, buildah or CRI-O
  tree:PATH[:REF], aci-tree:PATH[:REF]
                              all images, or all ACIs, below a directory

REF is a full reference, a tag that is unique in the place, `@sha256:…`, or `#N`, a position from 0.
`-` is standard input or standard output. A word before the first `:` that is no scheme is an error,
except in a path that exists; `./PATH` is always a path. `imgconv formats` lists what each place holds.";

const CONVERSION: &str = "\
Commands that write images share these options. The pair commands, such as `aci-to-oci`, and `publish`
and `migrate` have all of them; `squash` and `recompress` have no `--squash` and no `--no-squash`.";

const NETWORK: &str = "\
Commands that read or write a place on a server have these options. Proxies are set by environment
variables, see `imgconv help environment`. Credentials are read from the files of `docker login` and
`podman login`, see `imgconv help files`.";

const TRUST: &str = "\
An ACI or an image tags file that is fetched needs an OpenPGP signature by a key that is trusted for
its name. Commands that can fetch one have these options.";

const COMMON: &str = "Every command has these options. They are also accepted before the command.";

pub(super) const ENVIRONMENT: &str = "\
Environment variables that are read:

  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY
      The proxies, `http[s]://[USER:PASSWORD@]HOST:PORT`. The lower-case names are read first.
      HTTP_PROXY is ignored in a CGI script.
  NO_PROXY
      Hosts that are connected to without a proxy: domains, addresses and networks (10.0.0.0/8),
      each optionally with a port, or `*`. Connections to this machine never use a proxy.
  SSL_CERT_FILE, SSL_CERT_DIR
      Certificates that are trusted instead of the certificates of the system.
  REGISTRY_AUTH_FILE
      The default of `--authfile`.
  DOCKER_CONFIG, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, HOME
      Directories in which files of credentials and certificates are looked for.
  TMPDIR
      The default of `--tmpdir`.
  SOURCE_DATE_EPOCH
      The time that is written to new documents and entries, in seconds since 1970.";

pub(super) const FILES: &str = "\
Files that are used besides images and the files that options name:

  $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json, ~/.docker/config.json
      Credentials of registries, in the order of the search.
  ~/.config/containers/certs.d/HOST:PORT/, /etc/containers/certs.d/, /etc/docker/certs.d/
      Certificates that are trusted for one host (`*.crt`), and client certificates (`*.cert`,
      `*.key`).
  /etc/ssl/certs/, /etc/pki/tls/
      Certificates of the system.
  DST/.imgconv-migrate/
      The journal of a migration, with which the next run continues.";

pub(super) const EXIT_CODES: &str = "\
The exit code tells how a command ended:

  0         success
  1         failure; for `migrate`: of at least one image; for `diff`: the images differ; for
            `verify`: something could not be read
  2         wrong arguments
  3         refused by `--strict`
  4         the input does not match its digest, size or signature; for `verify`: any damage
  130, 143  ended by SIGINT (Ctrl-C) or SIGTERM";

/// Adds the options of a conversion, without those that other topics describe.
fn conversion(command: Command) -> Command {
    let others: Vec<String> = TOPICS
        .iter()
        .filter(|topic| topic.elsewhere)
        .flat_map(Topic::ids)
        .collect();
    let all = Conversion::augment_args(Command::new("conversion"));
    let own = all.get_arguments().filter(|it| {
        let id = it.get_id().as_str();
        !others.iter().any(|other| other == id)
    });
    own.fold(command, |command, argument| command.arg(argument.clone()))
}

impl Topic {
    /// The definition of the options that the topic describes.
    pub(super) fn definition(&self) -> Command {
        let command = Command::new(self.name)
            .disable_help_flag(true)
            .help_template("{all-args}");
        match self.options {
            Some(options) => options(command),
            None => command,
        }
    }

    /// The identifiers of the options that the topic describes.
    pub(super) fn ids(&self) -> Vec<String> {
        let definition = self.definition();
        let ids = definition.get_arguments().map(|it| it.get_id().to_string());
        ids.collect()
    }

    /// Tells whether a command has an option of this topic.
    pub(super) fn concerns(&self, command: &Command) -> bool {
        let definition = self.definition();
        let mut arguments = command.get_arguments();
        arguments.any(|it| describes(&definition, it))
    }

    /// The help page of the topic.
    pub(super) fn page(&self) -> String {
        let options = self.definition().render_long_help().to_string();
        format!("{}\n\n{options}", self.text).trim_end().to_owned() + "\n"
    }
}

/// Tells whether the definition of a topic describes an option in the same words.
pub(super) fn describes(definition: &Command, option: &Arg) -> bool {
    let mut options = definition.get_arguments();
    options.any(|it| it.get_id() == option.get_id() && it.get_help() == option.get_help())
}

/// The list of topics on the help page of the program.
pub(super) fn list() -> String {
    let lines = TOPICS.iter().map(|topic| (topic.name, topic.about));
    let lines = lines.chain([(REFERENCE, "the whole command line as Markdown")]);
    let lines: Vec<String> = lines
        .map(|(name, about)| format!("  {name:12}  {about}"))
        .collect();
    format!("Topics of `imgconv help TOPIC`:\n{}", lines.join("\n"))
}
