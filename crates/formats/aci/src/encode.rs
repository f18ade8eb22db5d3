//! Writing a manifest: the original manifest, changed only where the image differs from it; or,
//! without an original, a manifest in the form of docker2aci.
//!
//! Losses are not guessed: the written manifest is decoded again, and every field that differs from
//! the image's is a loss, see `loss.rs`.

mod draft;

use std::collections::BTreeMap;

use imgconv_json::{Value, canonical, is_rfc3339};
use imgconv_model::{
    Code, Error, Image, Name, Notes, Original, Platform, Report, Result, RunConfig, quote,
};

use self::draft::Draft;
use crate::{
    decode::{
        self, CARRIED, CMD, DOCKER, Decoded, ENTRYPOINT, FORMAT, LABEL, LOOKED_UP, RENAMED, Source,
        USER, is_carried, provenance,
    },
    equivalence::{same_repository, same_tag},
    identifier::{is_identifier, is_url, is_variable, sanitise},
    loss,
    manifest::{self, Manifest},
    platform, run,
};

/// Writes the manifest of an image.
///
/// # Errors
/// If the image has a value that an ACI can't have, or no name.
pub(crate) fn encode(
    image: &Image,
    group: Option<u32>,
    limits: &imgconv_model::Limits,
    report: &mut Report,
) -> Result<Vec<u8>> {
    let original = original(image, limits, report);
    let mut draft = match &original {
        Some((manifest, _)) => Draft::of(&manifest.raw),
        None => Draft::fresh(&fresh_name(image)?),
    };
    fill(&mut draft, image, (original.is_none(), group), report)?;
    let value = draft.finish();
    let written = manifest::validate(&value, &Notes::default())?;
    let again = decode_for(&written, image).image;
    let restored = original.as_ref().map(|(manifest, _)| manifest);
    loss::report(image, &again, restored, report);
    match original {
        Some((manifest, bytes)) if !manifest.old && manifest.raw == value => Ok(bytes),
        _ => Ok(canonical(&value)),
    }
}

/// Returns the manifest that the image was decoded from, if the image has one that can be read.
fn original(
    image: &Image,
    limits: &imgconv_model::Limits,
    report: &mut Report,
) -> Option<(Manifest, Vec<u8>)> {
    let is_own = |original: &&Original| original.format == FORMAT && original.role == "manifest";
    let bytes = &image.originals.iter().find(is_own)?.document.bytes;
    match manifest::parse(bytes, limits, &Notes::default()) {
        Ok(manifest) => Some((manifest, bytes.to_vec())),
        Err(error) => {
            let message = format!("the manifest is written anew: {error}");
            report.warn("bad-original", "the ACI manifest that was kept", message);
            None
        }
    }
}

fn fresh_name(image: &Image) -> Result<String> {
    let name = image
        .name
        .as_ref()
        .and_then(|name| name.repository.as_deref());
    let name = name.ok_or_else(|| {
        let message = "an ACI needs a name, and the image has none";
        Error::new(Code::Usage, message).hint("`--name REFERENCE` gives it one")
    })?;
    sanitise_name(name)
}

fn sanitise_name(name: &str) -> Result<String> {
    sanitise(name).ok_or_else(|| {
        let message = format!(
            "{} holds nothing that the name of an ACI can hold",
            quote(name)
        );
        Error::new(Code::BadName, message).hint("`--name REFERENCE` gives another one")
    })
}

/// Decodes a manifest for comparing it with an image: a user that is a path was resolved when the
/// image was decoded, and is unchanged as long as the image still has the path.
fn decode_for(manifest: &Manifest, image: &Image) -> Decoded {
    let mut decoded = decode::decode(manifest, None);
    let by_path = ["app.user", "app.group"].map(|key| {
        let key = (FORMAT, key.to_owned());
        let own = decoded.image.extensions.get(&key);
        (own.is_some(), own == image.extensions.get(&key))
    });
    if by_path.iter().any(|(path, _)| *path) && by_path.iter().all(|(_, same)| *same) {
        decoded.image.config.user.clone_from(&image.config.user);
    }
    decoded
}

fn fill(
    draft: &mut Draft,
    image: &Image,
    (fresh, group): (bool, Option<u32>),
    report: &mut Report,
) -> Result<()> {
    // The pattern has no `..`: a new field of the model must be written here, or reported as a
    // loss.
    let Image {
        name,
        platform,
        created,
        author,
        config,
        layers: _,  // the rest of the archive
        history: _, // no field; the comparison reports it
        annotations,
        extensions: _, // below, by path
        originals,
    } = image;
    refuse_bad_ports(image)?;
    let before = manifest::validate(draft.value(), &Notes::default())?;
    let base = decode_for(&before, image).image;
    restore_extensions(draft, image);
    write_name(draft, fresh, base.name.as_ref(), name.as_ref())?;
    write_platform(draft, &base.platform, platform)?;
    if *created != base.created {
        let valid = created.as_deref().filter(|created| is_rfc3339(created));
        draft.set_pair("annotations", "created", valid);
    }
    if *author != base.author {
        draft.set_pair("annotations", "authors", author.as_deref());
    }
    write_config(draft, image, group, (&base.config, config), report)?;
    if fresh {
        write_provenance(draft, originals, report);
    }
    write_annotations(draft, image, annotations)
}

fn write_name(
    draft: &mut Draft,
    fresh: bool,
    base: Option<&Name>,
    name: Option<&Name>,
) -> Result<()> {
    let part = |name: Option<&Name>| match name {
        Some(Name {
            repository,
            tag,
            digest: _, // whoever chose the name has put it into the tag, or told the loss
        }) => (repository.clone(), tag.clone()),
        None => (None, None),
    };
    let ((base_repository, base_tag), (repository, tag)) = (part(base), part(name));
    if let Some(repository) = &repository
        && !same_repository(base_repository.as_deref(), Some(repository))
    {
        draft.set("name", Value::from(sanitise_name(repository)?));
    }
    let same = match fresh {
        true => base_tag == tag,
        // An ACI without a version comes back as it was.
        false => same_tag(base_tag.as_deref(), tag.as_deref()),
    };
    if name.is_some() && !same {
        draft.set_pair("labels", "version", tag.as_deref());
    }
    Ok(())
}

fn write_platform(draft: &mut Draft, base: &Platform, platform: &Platform) -> Result<()> {
    if base.canonical() == platform.canonical() {
        return Ok(());
    }
    let (os, arch) = platform::to_labels(platform)?;
    draft.set_pair("labels", "os", os.as_deref());
    draft.set_pair("labels", "arch", arch.as_deref());
    Ok(())
}

fn write_config(
    draft: &mut Draft,
    image: &Image,
    group: Option<u32>,
    (base, config): (&RunConfig, &RunConfig),
    report: &mut Report,
) -> Result<()> {
    let RunConfig {
        exec,
        user,
        env,
        working_dir,
        ports,
        volumes,
        labels,
        stop_signal: _, // no field; the comparison reports it
    } = config;
    if exec != &base.exec {
        let (entrypoint, cmd) = match exec {
            Some(exec) => (&*exec.entrypoint, &*exec.cmd),
            None => (&[][..], &[][..]),
        };
        let joined: Vec<Value> = entrypoint
            .iter()
            .chain(cmd)
            .map(|arg| Value::from(&**arg))
            .collect();
        no_nul("config.Entrypoint", entrypoint.iter().chain(cmd))?;
        draft.app().insert("exec".into(), joined.into());
        for (name, part) in [(ENTRYPOINT, entrypoint), (CMD, cmd)] {
            let part: Vec<Value> = part.iter().map(|arg| Value::from(&**arg)).collect();
            let empty = part.is_empty();
            let text = String::from_utf8_lossy(&canonical(&part.into())).into_owned();
            draft.set_pair("annotations", name, Some(&*text).filter(|_| !empty));
        }
    }
    if user != &base.user {
        let text = user.as_deref().unwrap_or_default();
        let (user, own_group) = run::user_pair(text)?;
        let looked_up = run::user_without_group(text).and(group);
        let looked_up = looked_up.filter(|gid| *gid != 0).map(|gid| gid.to_string());
        let group = own_group.or_else(|| looked_up.clone());
        let group = group.unwrap_or_else(|| "0".to_owned());
        let implied = run::user_text(&user, &group, None, None);
        let verbatim =
            Some(text).filter(|text| !text.is_empty() && implied.as_deref() != Some(text));
        draft.app().insert("user".into(), user.into());
        draft.app().insert("group".into(), group.into());
        draft.set_pair("annotations", USER, verbatim);
        draft.set_pair("annotations", LOOKED_UP, looked_up.as_deref());
    }
    if env != &base.env {
        write_environment(draft, env, report)?;
    }
    if working_dir != &base.working_dir {
        match working_dir {
            Some(path) => {
                let path = absolute(path, report);
                draft.app().insert("workingDirectory".into(), path.into());
            }
            None => drop(draft.app().shift_remove("workingDirectory")),
        }
    }
    if run::ranges(ports) != run::ranges(&base.ports) {
        draft.write_ports(ports, &kept_entries(image, "app.ports["));
    }
    if run::volume_paths(volumes) != run::volume_paths(&base.volumes) {
        draft.write_mount_points(volumes, &kept_entries(image, "app.mountPoints["))?;
    }
    if labels != &base.labels {
        let labels = labels
            .iter()
            .map(|(key, value)| (key.clone(), value.clone().into()));
        let labels: imgconv_json::Map<String, Value> = labels.collect();
        draft.set_app("userLabels", labels.is_empty(), labels.into());
    }
    Ok(())
}

/// Docker's and OCI's reader keeps keys that it can't read as ports (robustness C12e); an ACI would
/// not have these ports.
fn refuse_bad_ports(image: &Image) -> Result<()> {
    for (format, path) in image.extensions.keys() {
        if *format != FORMAT
            && let Some([config, ports, port]) = imgconv_json::split(path).as_deref()
            && config == "config"
            && ports == "ExposedPorts"
        {
            let message = format!(
                "{} is no port or range of ports, such as `80/tcp`",
                quote(port)
            );
            return Err(Error::new(Code::BadManifest, message).at("config.ExposedPorts"));
        }
    }
    Ok(())
}

fn no_nul<'a>(field: &str, texts: impl Iterator<Item = &'a String>) -> Result<()> {
    for text in texts {
        if text.contains('\0') {
            let message = format!("{} holds a NUL", quote(text));
            return Err(Error::new(Code::BadManifest, message).at(field));
        }
    }
    Ok(())
}

/// Writes the environment: of several values the last counts, at the position of the first; an
/// entry that is not a variable is left out (robustness C12f, C12g).
fn write_environment(draft: &mut Draft, env: &[String], report: &mut Report) -> Result<()> {
    no_nul("config.Env", env.iter())?;
    let mut order = Vec::new();
    let mut values = BTreeMap::new();
    for entry in env {
        let variable = entry.split_once('=').filter(|(name, _)| is_variable(name));
        let Some((name, value)) = variable else {
            let message = format!(
                "{} is no `NAME=VALUE` that an ACI can hold; left out",
                quote(entry)
            );
            report.warn("bad-variable", "config.Env", message);
            continue;
        };
        if values.insert(name, value).is_none() {
            order.push(name);
        }
    }
    let pair = |name: &&str| draft::pair(name, values[name]);
    let list: Vec<Value> = order.iter().map(pair).collect();
    draft.set_app("environment", list.is_empty(), list.into());
    Ok(())
}

/// Returns a working directory as an absolute path, which an ACI requires (robustness C12i).
fn absolute(path: &str, report: &mut Report) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let absolute = format!("/{}", parts.join("/"));
    let message = format!(
        "{} is relative; read from the root, `{absolute}`",
        quote(path)
    );
    report.warn("relative-working-dir", "config.WorkingDir", message);
    absolute
}

/// Returns the entries of a list that the image kept as extensions, because the model can't
/// distinguish all of them.
fn kept_entries(image: &Image, prefix: &str) -> Vec<Value> {
    let own = image
        .extensions
        .iter()
        .filter(|((format, path), _)| *format == FORMAT && path.starts_with(prefix));
    own.filter_map(|(_, text)| parse_kept(text)).collect()
}

/// Reads the text of an extension that this crate wrote; an extension of another writer may be any
/// text.
fn parse_kept(text: &str) -> Option<Value> {
    imgconv_json::parse(
        text.as_bytes(),
        &imgconv_model::Limits::default(),
        "extension",
    )
    .ok()
}

/// Writes the fields that only an ACI has. `dependencies` and `pathWhitelist` belong to the root
/// file system that they were written for: they are never taken from the original alone, because an
/// image from another format has them applied to its layer.
fn restore_extensions(draft: &mut Draft, image: &Image) {
    let own = |path: &str| {
        let text = image.extensions.get(&(FORMAT, path.to_owned()))?;
        parse_kept(text)
    };
    for key in ["dependencies", "pathWhitelist"] {
        match own(key) {
            Some(value) => draft.set(key, value),
            None => draft.remove(key),
        }
    }
    for (format, path) in image.extensions.keys() {
        if *format != FORMAT {
            continue;
        }
        let Some(value) = own(path) else { continue };
        match imgconv_json::split(path).as_deref() {
            Some([key]) if !draft.has(key) => draft.set(key, value),
            Some([app, key]) if app == "app" && !["user", "group"].contains(&&**key) => {
                let app = draft.app();
                let odd = key == "supplementaryGIDs" && app.contains_key("supplementaryGids");
                if !app.contains_key(key) && !odd {
                    app.insert(key.clone(), value);
                }
            }
            _ => {}
        }
    }
}

/// Writes docker2aci's annotations of origin, and keeps the documents of OCI and Docker for the
/// conversion back.
fn write_provenance(draft: &mut Draft, originals: &[Original], report: &mut Report) {
    for original in originals {
        let own = (original.format, original.role);
        let Some(carried) = CARRIED
            .iter()
            .find(|carried| (carried.format, carried.role) == own)
        else {
            continue;
        };
        match str::from_utf8(&original.document.bytes) {
            Ok(text) => draft.set_pair("annotations", carried.annotation, Some(text)),
            Err(_) => {
                let message = "the document is not UTF-8 and can't be kept for the conversion back";
                report.warn("original-not-kept", original.role, message);
            }
        }
    }
    let name = draft.text("name").unwrap_or_default();
    let tag = draft.pair_value("labels", "version");
    for pair in provenance(&name, tag.as_deref(), originals) {
        draft.set_pair("annotations", &pair.name, Some(&pair.value));
    }
}

/// Returns true if an annotation of that name has a meaning of its own in an ACI.
fn is_reserved(name: &str) -> bool {
    ["created", "authors"].contains(&name)
        || is_carried(name)
        || RENAMED.iter().any(|(own, _)| *own == name)
        || name == LOOKED_UP
        || name.starts_with(DOCKER)
        || name.starts_with(LABEL)
}

fn write_annotations(
    draft: &mut Draft,
    image: &Image,
    annotations: &BTreeMap<String, String>,
) -> Result<()> {
    let written = manifest::validate(draft.value(), &Notes::default())?;
    let Decoded {
        image: now,
        sources,
    } = decode_for(&written, image);
    for (key, source) in &sources {
        if !annotations.contains_key(key) {
            write_annotation(draft, source, None);
        }
    }
    for (key, value) in annotations {
        if now.annotations.get(key) == Some(value) {
            continue;
        }
        let place = match sources.get(key) {
            Some(source) if *source != Source::Implied => source.clone(),
            _ => new_place(draft, key, value),
        };
        // The value of `homepage` must be a URL; another value stands under its own name.
        let place = match place {
            Source::Annotation(name) if is_reserved(&name) && !is_url(value) => {
                write_annotation(draft, &Source::Annotation(name), None);
                Source::Annotation(key.clone())
            }
            place => place,
        };
        write_annotation(draft, &place, Some(value));
    }
    Ok(())
}

/// Returns the place of an annotation that the manifest does not have yet.
fn new_place(draft: &Draft, key: &str, value: &str) -> Source {
    if let Some((own, _)) = RENAMED.iter().find(|(_, renamed)| *renamed == key)
        && is_url(value)
        && draft.pair_value("annotations", own).is_none()
    {
        return Source::Annotation((*own).to_owned());
    }
    if let Some(label) = key.strip_prefix(LABEL)
        && is_identifier(label)
        && !["name", "version", "os", "arch"].contains(&label)
    {
        return Source::Label(label.to_owned());
    }
    if is_identifier(key) && !is_reserved(key) && key.len() <= 1024 {
        return Source::Annotation(key.to_owned());
    }
    Source::User(key.to_owned())
}

fn write_annotation(draft: &mut Draft, place: &Source, value: Option<&str>) {
    match place {
        Source::Annotation(name) => draft.set_pair("annotations", name, value),
        Source::Label(name) => draft.set_pair("labels", name, value),
        Source::User(key) => draft.set_user_annotation(key, value),
        Source::Implied => {}
    }
}
