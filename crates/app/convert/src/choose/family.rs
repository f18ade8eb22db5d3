//! The pair commands say what they read and what they write: what is read must be that.
//!
//! An image belongs to a family by its format. What is in an OCI layout is OCI's too, also where its
//! manifests are of Docker's types, as containerd writes them; and what is in a Docker registry or in
//! a file of `docker save` is Docker's too, also where its documents are OCI's, as Docker Hub and
//! Docker since version 25 have them. What an engine stores is of both.

use imgconv_locate::{catalog, locator::Locator};
use imgconv_model::{Code, Error, Result};

use crate::{
    options::Family,
    read::{
        node::{Node, walk},
        root::SourceRoot,
    },
};

/// Refuses sources that are not what the command says.
///
/// # Errors
/// [`Code::Usage`] with the command that fits.
pub(crate) fn check(
    pair: Option<(Family, Family)>,
    locators: &[Locator],
    roots: &[SourceRoot<'_>],
) -> Result<()> {
    let Some((wanted, written)) = pair else {
        return Ok(());
    };
    // What is found by way of an image is no source of its own.
    for root in roots.iter().filter(|root| !root.is_referrer()) {
        let place = locators.iter().find(|it| it.location == root.place);
        let opened = root.bundle.read_by();
        let schemes = place
            .map(|it| it.transport.scheme())
            .into_iter()
            .chain(opened);
        if schemes.into_iter().any(|scheme| is_of(scheme, wanted)) {
            continue;
        }
        let mut found = Vec::new();
        walk(&root.node, None, &mut |node, _| match node {
            Node::Image(image) => found.push(of_format(image.format.id().0)),
            // Artifacts are OCI's.
            Node::Opaque { .. } => found.push(Family::Oci),
            Node::Index { .. } => {}
        });
        let Some(first) = found.first().copied() else {
            continue;
        };
        if found.contains(&wanted) {
            continue;
        }
        let (wanted, written, found) = (wanted.as_str(), written.as_str(), first.as_str());
        let what = match first {
            Family::Aci => "an ACI",
            Family::Oci => "an OCI image",
            Family::Docker => "a Docker image",
        };
        let message = format!("`{wanted}-to-{written}` does not read this: it is {what}");
        let hint = match found == written {
            true => "`imgconv convert SRC DST` takes every format".to_owned(),
            false => format!(
                "`imgconv {found}-to-{written}` does, and `imgconv convert SRC DST` takes every format"
            ),
        };
        return Err(Error::new(Code::Usage, message).at(&*root.text).hint(hint));
    }
    Ok(())
}

/// Says whether all that is in a place of that kind belongs to a family, whatever its format.
fn is_of(scheme: &str, family: Family) -> bool {
    let layouts = catalog::transport(scheme).is_some_and(catalog::has_descriptors);
    match family {
        Family::Aci => false,
        Family::Oci => layouts || ["containerd", "containers-storage"].contains(&scheme),
        // Since version 25 `docker save` writes OCI documents too.
        Family::Docker => [
            "docker",
            "registry-storage",
            "docker-archive",
            "docker-root",
            "containerd",
            "containers-storage",
        ]
        .contains(&scheme),
    }
}

fn of_format(id: &str) -> Family {
    match id {
        "aci" => Family::Aci,
        "oci" => Family::Oci,
        _ => Family::Docker,
    }
}
