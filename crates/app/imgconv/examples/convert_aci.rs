//! Converts an ACI to an OCI layout:
//! `cargo run -p imgconv --example convert_aci -- app.aci out`

use imgconv::{Code, Env, Error, Locator, Options, Outcome, Platform, Result, convert};

#[expect(clippy::print_stdout, reason = "a program prints its result")]
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(aci), Some(layout)) = (arguments.next(), arguments.next()) else {
        return Err(Error::new(Code::Usage, "expected `convert_aci ACI LAYOUT`"));
    };
    for image in to_layout(&aci, &layout)?.images {
        let digest = image.digest.unwrap_or_default();
        println!("{} {digest}", image.destination);
        // An ACI can say what an OCI image can't hold. Nothing is lost in silence.
        for loss in image.losses {
            println!("  {} {}: {}", loss.field, loss.outcome, loss.why);
        }
    }
    Ok(())
}

/// Converts the ACI at a path to a layout at another path, which is made if it is not there.
pub(crate) fn to_layout(aci: &str, layout: &str) -> Result<Outcome> {
    // The platform is that of images that name no platform. Limits, threads, progress and the
    // settings of the network are fields of `Env`.
    let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
    // The scheme `aci:` refuses every file that is no ACI; a bare path would accept any format.
    let source = Locator::source(&format!("aci:{aci}"))?;
    let destination = Locator::destination(&format!("oci:{layout}"))?;
    // Options such as the name, the compression of layers and `strict` are all defaulted.
    convert(&[source], &destination, &Options::default(), &env)
}
