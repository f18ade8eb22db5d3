//! The pair commands name the family of their sources: other sources are refused.
//!
//! An image belongs to a family by its format. An image in an OCI layout counts as OCI, also where
//! its manifests are of Docker's types, as containerd writes them; and an image in a Docker
//! registry or in a file of `docker save` counts as Docker, also where its documents are OCI's, as
//! Docker Hub and Docker since version 25 have them. An image in the store of an engine counts as
//! both.

use imgconv_locate::locator::Locator;
use imgconv_model::{Code, Error, FormatFamily, Result};

use crate::read::{node::Node, root::SourceRoot};

/// Refuses sources that are not of the command's family.
///
/// # Errors
/// [`Code::Usage`] with the command that fits.
pub(crate) fn check(
    pair: Option<(FormatFamily, FormatFamily)>,
    locators: &[Locator],
    roots: &[SourceRoot<'_>],
) -> Result<()> {
    let Some((wanted, written)) = pair else {
        return Ok(());
    };
    // A referrer that was found by way of an image is no source of its own.
    for root in roots.iter().filter(|root| !root.is_referrer()) {
        let place = locators.iter().find(|it| it.location == root.place);
        let opened = root.bundle.read_by();
        let mut places = place
            .map(|it| it.transport.place())
            .into_iter()
            .chain(opened);
        if places.any(|place| place.families.contains(&wanted)) {
            continue;
        }
        let found = root.node.walk().filter_map(|(node, _)| match node {
            Node::Image(image) => Some(image.format.facts().family),
            // Artifacts belong to OCI.
            Node::Opaque { .. } => Some(FormatFamily::Oci),
            Node::Index { .. } => None,
        });
        let found: Vec<FormatFamily> = found.collect();
        let Some(first) = found.first().filter(|_| !found.contains(&wanted)) else {
            continue;
        };
        let (wanted, written, found) = (wanted.as_str(), written.as_str(), first.as_str());
        let what = match first {
            FormatFamily::Aci => "an ACI",
            FormatFamily::Oci => "an OCI image",
            FormatFamily::Docker => "a Docker image",
            FormatFamily::Rootfs => "a root file system",
        };
        let message = format!("`{wanted}-to-{written}` does not read {what}");
        let hint = match found == written || *first == FormatFamily::Rootfs {
            true => "`imgconv convert SRC DST` takes every format".to_owned(),
            false => format!(
                "`imgconv {found}-to-{written}` does, and `imgconv convert SRC DST` takes every format"
            ),
        };
        return Err(Error::new(Code::Usage, message).at(&*root.text).hint(hint));
    }
    Ok(())
}
