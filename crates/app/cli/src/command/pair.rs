//! The pair commands, such as `aci-to-oci`. The commands differ in the families of the source and of the
//! destination, and in what the help says of both.

use std::process::ExitCode;

use clap::{Arg, ArgAction, Args, Subcommand};
use imgconv::{Env, FormatFamily, Options, Result};

use crate::{
    options::{Common, Conversion, Destination, Target},
    outcome,
};

/// The pair commands, in the order of the help page.
#[derive(Debug, Subcommand)]
pub(crate) enum PairCommand {
    /// Convert ACIs to one OCI layout
    ///
    /// ACIs of one name for several platforms become one index. The dependencies of an ACI become the layers
    /// below its own layer. Dependencies are looked for among the given ACIs and in `--deps`.
    #[command(after_help = "\
Examples:
  imgconv aci-to-oci app.aci out/
  imgconv aci-to-oci app-amd64.aci app-arm64.aci out/     one index for both platforms
  imgconv aci-to-oci app.aci out.tar --deps acis/         dependencies from a directory")]
    #[command(mut_arg("sources", acis), mut_arg("destination", to_oci))]
    AciToOci(Box<Pair>),
    /// Convert OCI images to ACIs
    ///
    /// The layers of each image are merged into one ACI. With `--no-squash` each layer becomes an ACI, and
    /// the ACIs are linked by dependencies.
    #[command(after_help = "\
Examples:
  imgconv oci-to-aci out/ acis/                 every image of the layout
  imgconv oci-to-aci oci:out:app:1.0 app.aci    one image
  imgconv oci-to-aci out/ acis/ --no-squash     one ACI for each layer")]
    #[command(mut_arg("sources", layout), mut_arg("destination", to_aci))]
    OciToAci(Box<Pair>),
    /// Convert Docker images to one OCI layout
    #[command(after_help = "\
Examples:
  imgconv docker-to-oci saved.tar out/                     every image and every name
  imgconv docker-to-oci docker-archive:saved.tar:app:1.0 out/
  docker save app:1.0 | imgconv docker-to-oci - out/")]
    #[command(mut_arg("sources", saved), mut_arg("destination", to_oci))]
    DockerToOci(Box<Pair>),
    /// Convert Docker images to ACIs
    ///
    /// The layers of each image are merged into one ACI. With `--no-squash` each layer becomes an ACI, and
    /// the ACIs are linked by dependencies.
    #[command(after_help = "\
Examples:
  imgconv docker-to-aci saved.tar acis/
  imgconv docker-to-aci docker://registry.example.com/app:1.0 app.aci")]
    #[command(mut_arg("sources", saved), mut_arg("destination", to_aci))]
    DockerToAci(Box<Pair>),
    /// Convert OCI images to one archive for `docker load`
    #[command(after_help = "\
Examples:
  imgconv oci-to-docker out/ saved.tar
  imgconv oci-to-docker out/ - | docker load
  imgconv oci-to-docker docker://registry.example.com/a:1 docker://registry.example.com/b:1 saved.tar")]
    #[command(mut_arg("sources", images), mut_arg("destination", to_docker))]
    OciToDocker(Box<Pair>),
    /// Convert ACIs to one archive for `docker load`
    #[command(after_help = "\
Examples:
  imgconv aci-to-docker app.aci saved.tar
  imgconv aci-to-docker app.aci base.aci saved.tar")]
    #[command(mut_arg("sources", acis), mut_arg("destination", to_docker))]
    AciToDocker(Box<Pair>),
}

impl PairCommand {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        use FormatFamily::{Aci, Docker, Oci};
        let (pair, from, target) = match self {
            Self::AciToOci(pair) => (pair, Aci, &Target::OCI),
            Self::OciToAci(pair) => (pair, Oci, &Target::ACI),
            Self::DockerToOci(pair) => (pair, Docker, &Target::OCI),
            Self::DockerToAci(pair) => (pair, Docker, &Target::ACI),
            Self::OciToDocker(pair) => (pair, Oci, &Target::DOCKER),
            Self::AciToDocker(pair) => (pair, Aci, &Target::DOCKER),
        };
        let destination = pair.to.locator_of(&pair.destination, target)?;
        let options = Options {
            pair: Some((from, target.family)),
            ..pair.conversion.options()?
        };
        let writing = &pair.conversion.writing;
        outcome::write(&pair.sources, &destination, &options, writing, common, env)
    }
}

/// The arguments of a pair command. The help of the first two differs between the commands.
#[derive(Debug, Args)]
pub(crate) struct Pair {
    #[arg(value_name = "SRC", required = true, num_args = 1, action = ArgAction::Set)]
    sources: Vec<String>,
    #[arg(value_name = "OUT")]
    destination: String,
    #[command(flatten)]
    conversion: Conversion,
    #[command(flatten)]
    to: Destination,
}

/// The images of one archive may be in several places.
fn images(sources: Arg) -> Arg {
    layout(sources.num_args(1..).action(ArgAction::Append))
}

fn acis(sources: Arg) -> Arg {
    let several = sources.num_args(1..).action(ArgAction::Append);
    several.value_name("ACI").help("The ACIs")
}

fn layout(source: Arg) -> Arg {
    source.help("OCI layout, an archive of a layout, or another place with OCI images")
}

fn saved(source: Arg) -> Arg {
    source
        .help("File of `docker save` from any Docker version, or another place with Docker images")
}

fn to_oci(destination: Arg) -> Arg {
    destination.help(
        "OCI layout, made if it is missing, added to if it exists; or a `.tar`, an archive of a layout",
    )
}

fn to_aci(destination: Arg) -> Arg {
    destination.help("Directory for files `NAME-VERSION-OS-ARCH.aci`, or one `.aci` file")
}

fn to_docker(destination: Arg) -> Arg {
    destination.help("Archive for `docker load`, or `dir:PATH`")
}
