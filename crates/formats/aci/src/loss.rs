//! The losses of writing an ACI: the differences between an image and its written manifest, read
//! back.
//!
//! Because the two are compared, every loss is real and none is left out. Fields have their names
//! of OCI and Docker: an image that comes from an ACI has its original and loses nothing.

use std::collections::BTreeMap;

use imgconv_model::{FormatId, Image, Name, Original, Outcome, Report, RunConfig, quote};

use crate::{
    decode::{CARRIED, Carried, FORMAT, renamed_path},
    equivalence::{same_repository, same_tag},
    manifest::Manifest,
    run,
};

/// Compares an image with its written manifest. `original` is the manifest that was restored.
pub(crate) fn report(
    image: &Image,
    written: &Image,
    original: Option<&Manifest>,
    report: &mut Report,
) {
    let Image {
        name,
        platform,
        created,
        author,
        config,
        layers: _,
        history,
        annotations,
        extensions: _,
        originals,
    } = image;
    if let (Some(name), Some(found)) = (name, &written.name) {
        compare_name(name, found, original, report);
    }
    if platform.canonical() != written.platform.canonical() {
        let why = format!("the name in appc is `{}`", written.platform);
        report.lose("platform", Outcome::Approximated, why);
    }
    let invalid = "an ACI holds a time by RFC 3339 only";
    differ(
        "created",
        created.as_ref(),
        written.created.as_ref(),
        invalid,
        report,
    );
    differ(
        "author",
        author.as_ref(),
        written.author.as_ref(),
        "",
        report,
    );
    // A restored manifest carries the same documents as before, if any.
    let carried = if original.is_none() {
        &originals[..]
    } else {
        &[]
    };
    compare_config(config, &written.config, carried, report);
    if !history.is_empty() {
        let why = no_field(carried, None, "history");
        report.lose("history", Outcome::Dropped, why);
    }
    compare_maps("annotations", annotations, &written.annotations, report);
    for ((format, path), value) in &image.extensions {
        let why = if *format == FORMAT {
            let same = written.extensions.get(&(FORMAT, path.clone())) == Some(value);
            if same {
                continue;
            }
            let renamed = original.and_then(|original| {
                let mut renamed = original.renamed.iter();
                renamed.find(|renamed| renamed_path(renamed) == *path)
            });
            if let Some(renamed) = renamed {
                let (was, is) = (quote(&renamed.was), &renamed.is);
                let why = format!("appc does not allow the name {was}; `{is}` is used");
                report.lose(path.clone(), Outcome::Approximated, why);
                continue;
            }
            "the item with this field is missing".to_owned()
        } else {
            no_field(carried, Some(*format), path)
        };
        report.lose(path.clone(), Outcome::Dropped, why);
    }
}

/// Returns the reason why a field is dropped, with the annotation that holds its document.
fn no_field(originals: &[Original], format: Option<FormatId>, path: &str) -> String {
    let is_there = |carried: &&Carried| {
        originals
            .iter()
            .any(|original| (original.format, original.role) == (carried.format, carried.role))
    };
    let of_format = |carried: &&Carried| format.is_none_or(|format| carried.format == format);
    let there = || CARRIED.iter().filter(is_there).filter(of_format);
    // Only some formats have a config beside the manifest.
    let role = if path.starts_with("manifest.") {
        "manifest"
    } else {
        "config"
    };
    match there()
        .find(|carried| carried.role == role)
        .or(there().next())
    {
        Some(Carried { annotation, .. }) => format!(
            "an ACI has no field for this value; it is kept in the annotation `{annotation}` for \
             the conversion back"
        ),
        None => "an ACI has no field for this value".to_owned(),
    }
}

/// The original's name and the reference that was made of it are names of the same image.
fn compare_name(name: &Name, found: &Name, original: Option<&Manifest>, report: &mut Report) {
    let (own, found_own) = (name.repository.as_deref(), found.repository.as_deref());
    let kept = original.is_some_and(|original| Some(&*original.name) == found_own)
        && same_repository(found_own, own);
    if let (Some(own), Some(found_own)) = (own, found_own)
        && own != found_own
        && !kept
    {
        let why = format!(
            "an ACI's name is an AC Identifier; {} becomes `{found_own}`",
            quote(own)
        );
        report.lose("name", Outcome::Approximated, why);
    }
    let (own, found_own) = (name.tag.as_deref(), found.tag.as_deref());
    let kept = original.is_some_and(|original| original.label("version") == found_own)
        && same_tag(found_own, own);
    if !kept {
        differ("tag", name.tag.as_ref(), found.tag.as_ref(), "", report);
    }
}

fn compare_config(
    config: &RunConfig,
    written: &RunConfig,
    carried: &[Original],
    report: &mut Report,
) {
    let RunConfig {
        exec,
        user,
        env,
        working_dir,
        ports,
        volumes,
        labels,
        stop_signal,
    } = config;
    if exec != &written.exec {
        let why = "an ACI keeps entrypoint and command apart only if the app has an `exec`";
        report.lose("config.Entrypoint", Outcome::Approximated, why);
    }
    differ(
        "config.User",
        user.as_ref(),
        written.user.as_ref(),
        "",
        report,
    );
    compare_env(env, &written.env, report);
    let why = "a working directory is absolute";
    differ(
        "config.WorkingDir",
        working_dir.as_ref(),
        written.working_dir.as_ref(),
        why,
        report,
    );
    if run::ranges(ports) != run::ranges(&written.ports) {
        let why = "not all ports can be written";
        report.lose("config.ExposedPorts", Outcome::Approximated, why);
    }
    if run::volume_paths(volumes) != run::volume_paths(&written.volumes) {
        let why = "not all volumes can be written";
        report.lose("config.Volumes", Outcome::Approximated, why);
    }
    compare_maps("config.Labels", labels, &written.labels, report);
    differ(
        "config.StopSignal",
        stop_signal.as_ref(),
        written.stop_signal.as_ref(),
        &no_field(carried, None, "config.StopSignal"),
        report,
    );
}

/// Reports every entry that is missing, and the value that replaced it, if there is one.
fn compare_env(env: &[String], written: &[String], report: &mut Report) {
    if env == written {
        return;
    }
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut left: Vec<&String> = written.iter().collect();
    let mut gone = false;
    for entry in env {
        if let Some(i) = left.iter().position(|other| *other == entry) {
            left.remove(i);
            continue;
        }
        gone = true;
        let name = name(entry);
        let replaced = written
            .iter()
            .any(|other| other.starts_with(&format!("{name}=")));
        let (outcome, why) = if replaced {
            (Outcome::Approximated, "of several values the last counts")
        } else {
            (
                Outcome::Dropped,
                "an ACI holds only `NAME=VALUE`, with a name of [A-Za-z_][A-Za-z_0-9.-]*",
            )
        };
        report.lose(format!("config.Env[{}]", quote(entry)), outcome, why);
    }
    if !gone {
        let why = "the order of the variables changed";
        report.lose("config.Env", Outcome::Approximated, why);
    }
}

fn compare_maps(
    field: &str,
    map: &BTreeMap<String, String>,
    written: &BTreeMap<String, String>,
    report: &mut Report,
) {
    for key in map.keys().chain(written.keys()) {
        let field = imgconv_json::join(field, key);
        let why = "another field of the ACI implies it";
        differ(&field, map.get(key), written.get(key), why, report);
    }
}

fn differ(
    field: &str,
    own: Option<&String>,
    written: Option<&String>,
    why: &str,
    report: &mut Report,
) {
    let (outcome, what) = match (own, written) {
        (Some(own), Some(written)) if own != written => (
            Outcome::Approximated,
            format!("{} is {}", quote(own), quote(written)),
        ),
        (Some(own), None) => (Outcome::Dropped, format!("{} has no place", quote(own))),
        (None, Some(written)) => (Outcome::Synthesised, format!("it is {}", quote(written))),
        _ => return,
    };
    let why = if why.is_empty() {
        what
    } else {
        format!("{why}; {what}")
    };
    report.lose(field, outcome, why);
}
