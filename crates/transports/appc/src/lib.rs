//! Images by their appc names: `example.com/app:1.0,os=linux` is found by meta tags on
//! `https://example.com/app` (appc spec, discovery.md), with image tags (appc/spec pull request 584).
//!
//! The caller verifies fetched images: the bundle has the request, and the place of the signature.
//! Only image tags are verified here, because they decide which image is fetched.

#![deny(missing_docs)]

mod discover;
mod image;
mod page;
mod template;

use std::path::Path;

use imgconv_model::{
    Addressing, Bundle, BundleSink, Code, Env, Error, FormatFamily, Place, Result, Shape,
    Transport, quote,
};
use imgconv_tags::{ImageTags, Labels};

use crate::discover::Discovery;

pub use image::AppImage;

/// The facts of the kind of place.
static PLACE: Place = Place {
    scheme: "appc",
    syntax: "appc:NAME[:TAG][,LABEL=VALUE…]",
    about: "an ACI by its name, found by appc discovery",
    shape: Shape::Server,
    addressing: Addressing::Alone,
    any_file: false,
    layout: false,
    families: &[FormatFamily::Aci],
    writes: None,
};

/// The transport, as the catalog lists it.
pub static APPC: Appc = Appc;

/// appc discovery.
#[derive(Clone, Copy, Debug)]
pub struct Appc;

impl Transport for Appc {
    fn place(&self) -> &'static Place {
        &PLACE
    }

    fn recognise(&self, _: &Path) -> Result<bool> {
        Ok(false)
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        let image: AppImage = rest.parse()?;
        let found = Discovery::new(&image.name, env)?.image(&image)?;
        Ok(Box::new(found))
    }

    fn create(&self, _: &str, _: &Env) -> Result<Box<dyn BundleSink>> {
        Err(
            Error::new(Code::Unsupported, "nothing is written to `appc:`")
                .hint("`imgconv publish` makes a directory for a web server"),
        )
    }
}

/// Returns the URLs of an image that a discovery page gives, for a name and its labels; the tags of the page count that
/// apply to the name. Nothing is fetched.
pub fn image_urls(page: &[u8], name: &str, labels: &Labels) -> Vec<String> {
    let mut metas = page::read(page);
    metas.retain(|meta| meta.kind == page::Kind::Image && meta.is_for(name));
    let rendered = discover::usable(&metas, name, labels);
    rendered.iter().map(|one| one.url("aci")).collect()
}

/// Fetches the image tags file of an image name through discovery, and verifies its signature.
///
/// # Errors
/// [`Code::BadName`] if the name is invalid; [`Code::Missing`] if no file is found, with every
/// answer; [`Code::Denied`] or [`Code::BadSignature`] without a signature of a trusted key; network
/// errors.
pub fn fetch_image_tags(name: &str, env: &Env) -> Result<ImageTags> {
    if !image::is_identifier(name) {
        let message = format!("{} is no appc image name", quote(name));
        return Err(Error::new(Code::BadName, message));
    }
    Discovery::new(name, env)?.tags_alone()
}
