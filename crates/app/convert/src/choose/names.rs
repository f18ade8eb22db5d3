//! The name that the user gives, in an option or with the destination.

use std::{collections::BTreeSet, sync::Arc};

use imgconv_locate::locator::{Locator, Reference};
use imgconv_model::{Code, Error, Name, Names, Outcome, Report, Result, quote};
use imgconv_transport_registry::Location;

use crate::{
    choose::{request::Request, signing::SCHEMA1},
    options::Options,
    read::root::SourceRoot,
};

/// Refuses a destination and `--name` that give an image two names.
///
/// # Errors
/// [`Code::Usage`] with both names.
pub(crate) fn check_given(destination: &Locator, options: &Options) -> Result<()> {
    let all = options.name.iter().chain(&options.more_names);
    for text in all {
        check_one(destination, text)?;
    }
    Ok(())
}

fn check_one(destination: &Locator, text: &str) -> Result<()> {
    let name = Name::parse_reference(text)?;
    let (place, agree) = match (
        &destination.reference,
        destination.transport.place().names(),
    ) {
        (_, Some(Names::Location)) => {
            let location = Location::parse(&destination.location)?;
            let repository = format!("{}/{}", location.host, location.repository);
            let tags = [&location.tag, &name.tag];
            let agree = name.repository.as_deref() == Some(&*repository)
                && (tags.contains(&&None) || tags[0] == tags[1]);
            (
                destination.location.trim_start_matches('/').to_owned(),
                agree,
            )
        }
        (Some(Reference::Name(given)), names) => {
            // A bare word is a tag in a layout, and a repository for docker.
            let word = names != Some(Names::Repositories) && !given.contains(['/', ':', '@']);
            let agree = match Name::parse_reference(given) {
                _ if word && Name::is_tag(given) => {
                    name.tag.as_deref().is_none_or(|tag| tag == given)
                }
                Ok(given) => given.qualified() == name.qualified(),
                Err(_) => false,
            };
            (given.clone(), agree)
        }
        _ => return Ok(()),
    };
    if agree {
        return Ok(());
    }
    let message = format!(
        "the destination and `--name` give the image two names: {} and {}",
        quote(place),
        quote(text)
    );
    Err(Error::new(Code::Usage, message).hint("leave one of them out"))
}

/// Refuses several names where an image can have one: in a destination of files, in a manifest that holds
/// the name itself, and where the destination gives the name.
///
/// # Errors
/// [`Code::Usage`], or [`Code::BadName`] for a further name that holds a digest.
pub(crate) fn check_several(destination: &Locator, request: &Request<'_>) -> Result<()> {
    let options = request.options;
    if options.more_names.is_empty() {
        return Ok(());
    }
    let target = request.target.id();
    let one = |why: &str, hint: &str| {
        let message = format!(
            "`--name` is given {} times, but {why}",
            options.more_names.len() + 1
        );
        Err(Error::new(Code::Usage, message)
            .at(destination.to_string())
            .hint(hint))
    };
    if destination.reference.is_some() {
        return one(
            "the destination has a REF, which is one name",
            "leave the REF out",
        );
    }
    if request.target.is_stream() || !request.place.has_names() || target == SCHEMA1 {
        let why = format!("the destination can give an image of the format {target} one name only");
        return one(&why, "write the image once for each name");
    }
    for text in &options.more_names {
        if Name::parse_reference(text)?.digest.is_some() {
            let message = format!("{} holds a digest, and a further name can't", quote(text));
            return Err(Error::new(Code::BadName, message).hint("write it as `REPOSITORY:TAG`"));
        }
    }
    Ok(())
}

/// The options with the name that the destination itself gives: an image that gets a tag of a registry
/// gets its name too (schema 1 says it inside), and the REF of a docker archive is a name.
pub(crate) fn given(destination: &Locator, options: &Options) -> Result<Options> {
    let mut options = options.clone();
    match (
        destination.transport.place().names(),
        &destination.reference,
    ) {
        (Some(Names::Location), _) => {
            let location = Location::parse(&destination.location)?;
            if let Some(tag) = &location.tag {
                options.name = Some(format!("{}/{}:{tag}", location.host, location.repository));
            }
        }
        (Some(Names::Repositories), Some(Reference::Name(text))) => {
            if Name::parse_reference(text)?.digest.is_some() {
                let message = format!("{} holds a digest, and `RepoTags` has tags", quote(text));
                return Err(Error::new(Code::BadName, message)
                    .at(destination.to_string())
                    .hint("write it as `REPOSITORY:TAG`"));
            }
            options.name = Some(text.clone());
        }
        _ => {}
    }
    Ok(options)
}

/// Keeps one root of each image where an image can have one name only: that of the destination, that of `--name`, or
/// that of a file. Names that nobody replaced are reported.
pub(crate) fn keep_one_name(
    roots: &mut Vec<SourceRoot<'_>>,
    destination: &Locator,
    request: &Request<'_>,
    report: &mut Report,
) {
    let named = request.options.name.is_some() || destination.reference.is_some();
    if !named && !request.one_file {
        return;
    }
    let mut known = BTreeSet::new();
    roots.retain(|root| {
        let is_first = known.insert(Arc::as_ptr(&root.node));
        if !is_first && !named {
            let why = format!("the file holds one name, so {} is lost", quote(&root.text));
            report.lose("name", Outcome::Dropped, why);
        }
        is_first
    });
}

/// Refuses one name for several images, which would replace each other.
pub(crate) fn check_naming(
    roots: &[SourceRoot<'_>],
    destination: &Locator,
    options: &Options,
) -> Result<()> {
    let roots: Vec<&SourceRoot<'_>> = roots.iter().filter(|root| !root.is_referrer()).collect();
    let several = roots.len() > 1 && !is_one_name(&roots);
    match &destination.reference {
        Some(Reference::Name(text)) if several => {
            let message = format!(
                "{} names one image, but the source has {} images",
                quote(text),
                roots.len()
            );
            return Err(
                Error::new(Code::Usage, message).hint("leave the REF out to keep the names")
            );
        }
        Some(Reference::Name(_)) | None => {}
        Some(reference) => {
            let message =
                format!("`{reference}` selects an image to read, and can't name a destination");
            return Err(Error::new(Code::Usage, message)
                .hint("write a name after the destination, or leave the REF out"));
        }
    }
    if options.name.is_some() && several {
        let message = format!(
            "`--name` names one image, but the source has {} images",
            roots.len()
        );
        return Err(Error::new(Code::Usage, message).hint("add a REF to the source"));
    }
    Ok(())
}

/// Says whether the roots are single images of one name, which become one index.
fn is_one_name(roots: &[&SourceRoot<'_>]) -> bool {
    roots
        .iter()
        .all(|root| root.entry.child.is_none() && root.name().ok() == roots[0].name().ok())
}
