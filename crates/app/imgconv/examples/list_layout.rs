//! Lists the images of an OCI layout, or of any other place:
//! `cargo run -p imgconv --example list_layout -- out`

use imgconv::{Code, Env, Error, Listed, Locator, Platform, Result, list};

#[expect(clippy::print_stdout, reason = "a program prints its result")]
fn main() -> Result<()> {
    let Some(place) = std::env::args().nth(1) else {
        return Err(Error::new(Code::Usage, "expected `list_layout PLACE`"));
    };
    for image in images(&place)? {
        println!("{}", line(&image));
    }
    Ok(())
}

/// Lists the images of a place. A bare path may be a layout, an archive, an ACI or a store: the
/// bytes decide.
pub(crate) fn images(place: &str) -> Result<Vec<Listed>> {
    let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
    list(&Locator::source(place)?, &env)
}

/// Makes the line of one image: its name, platform, digest and size, or why it can't be read.
pub(crate) fn line(image: &Listed) -> String {
    let name = image.name.as_deref().unwrap_or("(no name)");
    // One damaged image does not hide the others: its error is in its own entry.
    if let Some(error) = &image.error {
        return format!("{name}: {error}");
    }
    let platform = image.platform.as_deref().unwrap_or("-");
    let digest = image.digest.as_deref().unwrap_or("-");
    format!("{name} {platform} {digest} {} bytes", image.size)
}
