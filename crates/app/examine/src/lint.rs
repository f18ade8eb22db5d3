//! Rules of the specifications that no reader depends on: a document that breaks such a rule is
//! read and copied, and [`verify`](crate::verify()) reports it.

use imgconv_json::{Value, is_rfc3339};
use imgconv_manifest as manifest;
use imgconv_model::{Child, Env, Image, Result, RunConfig, quote};

use crate::verdict::Finding;

/// The code of the findings.
const CODE: &str = "against-specification";

/// Checks a manifest or an index. Other checks report documents that are no JSON.
pub(crate) fn document(bytes: &[u8], text: &str, env: &Env, found: &mut Vec<Finding>) {
    let value = imgconv_json::parse(bytes, &env.limits, "document");
    add(value.map(|value| manifest::lint(&value)), text, found);
}

/// Checks the descriptor of an entry point.
pub(crate) fn entry(child: &Child, text: &str, env: &Env, found: &mut Vec<Finding>) {
    let value = imgconv_json::parse(child.raw.as_bytes(), &env.limits, "descriptor");
    let odd = value.map(|value| manifest::lint_descriptor(&value, "descriptor"));
    add(odd, text, found);
}

fn add(odd: Result<Vec<manifest::Odd>>, text: &str, found: &mut Vec<Finding>) {
    let all = odd.into_iter().flatten();
    let finding = |field, message| Finding::new(CODE, format!("{text} › field {field}"), message);
    found.extend(all.map(|odd| finding(odd.field, odd.message)));
}

/// Checks the configuration for running an image (image-spec, config.md).
pub(crate) fn config(image: &Image, text: &str, found: &mut Vec<Finding>) {
    let mut tell = |field: &str, message: &str| {
        let at = format!("{text} › config › field {field}");
        found.push(Finding::new(CODE, at, message));
    };
    let RunConfig {
        exec: _,
        user: _,
        env,
        working_dir,
        ports: _,
        volumes,
        labels,
        stop_signal,
    } = &image.config;
    for (i, variable) in env.iter().enumerate() {
        let name = variable.split_once('=').map(|(name, _)| name);
        if name.is_none_or(str::is_empty) {
            let message = format!("{} is not of the form NAME=VALUE", quote(variable));
            tell(&format!("config.Env[{i}]"), &message);
        }
    }
    // On other systems a path may begin with a drive.
    let absolute = |path: &str| path.starts_with('/') || image.platform.os != "linux";
    let directory = working_dir.iter().map(|path| ("config.WorkingDir", path));
    let volumes = volumes.iter().map(|path| ("config.Volumes", path));
    for (field, path) in directory.chain(volumes).filter(|(_, path)| !absolute(path)) {
        tell(field, &format!("{} is no absolute path", quote(path)));
    }
    if labels.contains_key("") {
        tell("config.Labels", "a label has an empty key");
    }
    let signal = |b: u8| b.is_ascii_alphanumeric() || b"+-".contains(&b);
    for name in stop_signal.iter().filter(|name| !name.bytes().all(signal)) {
        let message = format!("{} is no name or number of a signal", quote(name));
        tell("config.StopSignal", &message);
    }
    let created = "org.opencontainers.image.created";
    if let Some(date) = labels.get(created).filter(|date| !is_rfc3339(date)) {
        let message = format!("{} is no date by RFC 3339", quote(date));
        tell(&format!("config.Labels.{created:?}"), &message);
    }
    for ((_, path), raw) in &image.extensions {
        if path.starts_with("config.ExposedPorts.") {
            let message = "the key is no port, which is `PORT`, `PORT/tcp` or `PORT/udp`";
            tell(path, message);
        }
        // Types were checked when the config was read.
        if path == "config.Healthcheck"
            && let Ok(Value::Object(check)) = serde_json::from_str(raw)
        {
            for (key, value) in check {
                if value.as_i64().is_some_and(|number| number < 0) {
                    tell(
                        &format!("config.Healthcheck.{key}"),
                        &format!("{value} is negative"),
                    );
                }
            }
        }
    }
}
