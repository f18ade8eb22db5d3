//! The config of an image, for every format that uses Docker's config: writing it, and the choice
//! of other formats' documents and fields that count as its own.

use std::collections::{BTreeMap, btree_map};

use imgconv_json::{canonical, parse, rfc3339, within};
use imgconv_model::{
    Code, Document, Env, Error, Extensions, FormatId, Image, Original, Outcome, Platform, Report,
    Result, SealedLayer,
};

use crate::{
    docker_config,
    family::{CONFIG_FORMATS, Family, is_of_config},
};

/// The path of a field, and its JSON text.
pub(crate) type Paths = BTreeMap<String, String>;

/// Writes the config of an image for one of [`CONFIG_FORMATS`], and returns with it the extensions
/// of the family's own manifest (`manifest.…`), which the caller writes. `kept` is true if the
/// manifest of the source ACI is kept.
///
/// The config is that of the image's originals, byte for byte, if its fields are unchanged; an
/// original of any of the formats will do, since the JSON is the same (decision 14). Fields that
/// the formats do not have are in the report; the caller writes annotations.
///
/// # Errors
/// [`Code::Usage`] if there is not one sealed layer for each layer, [`Code::Limit`] if the config
/// is larger than its limit.
pub fn encode_config(
    family: &Family,
    image: &Image,
    sealed: &[SealedLayer],
    kept: bool,
    env: &Env,
    report: &mut Report,
) -> Result<(Document, BTreeMap<String, String>)> {
    let Image {
        name: _, // the transport's
        platform,
        created,
        author,
        config,
        layers,
        history,
        annotations: _, // the manifest's
        extensions,
        originals,
    } = image;
    if layers.len() != sealed.len() {
        let message = format!(
            "the image has {} layers, but {} layers were written",
            layers.len(),
            sealed.len()
        );
        return Err(Error::new(Code::Usage, message));
    }
    if let Some(most) = family.usual_layers
        && layers.len() > most
    {
        let message = format!(
            "the image has {} layers, but engines run at most {most}",
            layers.len()
        );
        report.warn("many-layers", "manifest", message);
    }
    let (config_extensions, manifest_extensions) = divide(family, extensions, kept, report);
    let wanted = docker_config::ImageConfig {
        platform: platform.clone(),
        created: created.clone(),
        author: author.clone(),
        config: config.clone(),
        diff_ids: sealed.iter().map(|layer| layer.diff_id).collect(),
        history: history.clone(),
        extensions: config_extensions,
    };
    let written = write_config(family, wanted, originals, env, report)?;
    within(
        written.bytes.len() as u64,
        ("config", env.limits.config),
        "the new config",
    )?;
    Ok((written, manifest_extensions))
}

pub(crate) fn find<'a>(
    originals: &'a [Original],
    format: FormatId,
    role: &str,
) -> Option<&'a Document> {
    originals
        .iter()
        .find(|original| original.format == format && original.role == role)
        .map(|original| &original.document)
}

/// Divides the extensions into those of the config and those of the family's manifest; foreign
/// extensions are reported.
fn divide(
    family: &Family,
    extensions: &Extensions,
    kept: bool,
    report: &mut Report,
) -> (Paths, Paths) {
    let (mut config, mut manifest) = (Paths::new(), Paths::new());
    // The format's own extensions come first.
    let own = extensions
        .iter()
        .filter(|((format, _), _)| *format == family.id);
    let others = extensions
        .iter()
        .filter(|((format, _), _)| *format != family.id);
    for ((format, path), raw) in own.chain(others) {
        let of_manifest = path.starts_with("manifest.");
        if *format == family.id && of_manifest {
            manifest.insert(path.clone(), raw.clone());
        } else if is_of_config(*format, path) {
            match config.entry(path.clone()) {
                btree_map::Entry::Vacant(entry) => {
                    entry.insert(raw.clone());
                }
                btree_map::Entry::Occupied(entry) if entry.get() == raw => {}
                btree_map::Entry::Occupied(_) => {
                    let why = format!("the value in {format} differs from that in another format");
                    report.lose(path, Outcome::Dropped, why);
                }
            }
        } else {
            let why = if kept && *format == FormatId::ACI {
                format!(
                    "{} has no field for this value; it is kept in the annotation \
                     imgconv.aci.manifest for the conversion back",
                    family.name
                )
            } else {
                format!("{} has no field for this value", family.name)
            };
            report.lose(path, Outcome::Dropped, why);
        }
    }
    (config, manifest)
}

/// Writes the config, or returns an original if the fields are unchanged.
fn write_config(
    family: &Family,
    mut wanted: docker_config::ImageConfig,
    originals: &[Original],
    env: &Env,
    report: &mut Report,
) -> Result<Document> {
    let defaults = docker_config::Defaults {
        platform: &env.host,
        created: env.epoch.and_then(rfc3339),
        limits: &env.limits,
    };
    let own = [family.id];
    let mut formats = own.iter().chain(CONFIG_FORMATS);
    let found = formats.find_map(|&format| Some((format, find(originals, format, "config")?)));
    let original = found.and_then(|(format, document)| {
        let read = parse(&document.bytes, &env.limits, "config").and_then(|value| {
            // An original must decode, since another format may have carried a bad one.
            docker_config::decode(&value, &mut Report::default())?;
            Ok(value)
        });
        usable(read, "config", report).map(|value| (format, document, value))
    });
    let value = original.as_ref().map(|(.., value)| value);
    if original
        .as_ref()
        .is_some_and(|(format, ..)| *format != family.id)
    {
        complete(&mut wanted.platform, &env.host, report);
    }
    let (mut written, mut changed) = docker_config::encode(value, &wanted, &defaults, report)?;
    // A copy keeps its bytes, even bad ones; a new config must be loadable.
    let copied = original.as_ref().map(|(format, ..)| *format) == Some(family.id) && !changed;
    changed |= docker_config::loadable(&mut written, copied, report);
    match original {
        Some((format, document, _)) if !changed => Ok(Document {
            kind: if format == family.id {
                document.kind.clone()
            } else {
                family.config.to_owned()
            },
            bytes: document.bytes.clone(),
        }),
        _ => Ok(Document {
            kind: family.config.to_owned(),
            bytes: canonical(&written).into(),
        }),
    }
}

/// Assumes a platform for parts that a config of another format does not have: a conversion is not
/// a copy (decision 8, robustness C11c).
fn complete(platform: &mut Platform, host: &Platform, report: &mut Report) {
    if platform.is_complete() {
        return;
    }
    *platform = platform.completed(host);
    let message = format!("the image has no complete platform; {platform} is assumed");
    report.lose("platform", Outcome::Synthesised, &*message);
    report.warn("assumed-platform", "config", message);
}

/// Returns an original that can be read; a malformed original is dropped with a warning.
pub(crate) fn usable<T>(read: Result<T>, what: &str, report: &mut Report) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(error) => {
            let message = format!("the kept original document can't be used: {error}");
            report.warn("bad-original", what, message);
            None
        }
    }
}
