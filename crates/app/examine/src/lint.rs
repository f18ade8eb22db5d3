//! Rules of the specifications that no reader depends on: a document that breaks such a rule is
//! read and copied, and [`verify`](crate::verify()) reports it.

use imgconv_json::{Value, is_rfc3339};
use imgconv_manifest as manifest;
use imgconv_model::{Child, Env, Image, RunConfig, quote};

use crate::verdict::Finding;

/// The code of the findings.
const CODE: &str = "against-specification";

/// Checks a manifest or an index. Other checks report documents that are no JSON.
pub(crate) fn document(bytes: &[u8], text: &str, env: &Env, found: &mut Vec<Finding>) {
    let value = imgconv_json::parse(bytes, &env.limits, "document");
    let odd = value
        .map(|value| manifest::lint(&value))
        .unwrap_or_default();
    add(odd, text, found);
}

/// Checks the descriptor of an entry point.
pub(crate) fn entry(child: &Child, text: &str, env: &Env, found: &mut Vec<Finding>) {
    let value = imgconv_json::parse(child.raw.as_bytes(), &env.limits, "descriptor");
    let odd = value.map(|value| manifest::lint_descriptor(&value, "descriptor"));
    add(odd.unwrap_or_default(), text, found);
}

fn add(odd: Vec<manifest::Odd>, text: &str, found: &mut Vec<Finding>) {
    found.extend(odd.into_iter().map(|odd| Finding {
        code: CODE.to_owned(),
        at: format!("{text} › field {}", odd.field),
        message: odd.message,
    }));
}

/// Checks the configuration for running an image (image-spec, config.md).
pub(crate) fn config(image: &Image, text: &str, found: &mut Vec<Finding>) {
    let mut tell = |field: String, message: String| {
        found.push(Finding {
            code: CODE.to_owned(),
            at: format!("{text} › config › field {field}"),
            message,
        });
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
        match variable.split_once('=') {
            Some((name, _)) if !name.is_empty() => {}
            _ => tell(
                format!("config.Env[{i}]"),
                format!("{} is not of the form NAME=VALUE", quote(variable)),
            ),
        }
    }
    // On other systems a path may begin with a drive.
    let absolute = |path: &str| path.starts_with('/') || image.platform.os != "linux";
    if let Some(path) = working_dir.as_ref().filter(|path| !absolute(path)) {
        let message = format!("{} is no absolute path", quote(path));
        tell("config.WorkingDir".to_owned(), message);
    }
    for path in volumes.iter().filter(|path| !absolute(path)) {
        let message = format!("{} is no absolute path", quote(path));
        tell("config.Volumes".to_owned(), message);
    }
    if labels.contains_key("") {
        let message = "a label has an empty key".to_owned();
        tell("config.Labels".to_owned(), message);
    }
    let signal = |b: u8| b.is_ascii_alphanumeric() || b"+-".contains(&b);
    if let Some(name) = stop_signal
        .as_ref()
        .filter(|name| !name.bytes().all(signal))
    {
        let message = format!("{} is no name or number of a signal", quote(name));
        tell("config.StopSignal".to_owned(), message);
    }
    let created = "org.opencontainers.image.created";
    if let Some(date) = labels.get(created).filter(|date| !is_rfc3339(date)) {
        let message = format!("{} is no date by RFC 3339", quote(date));
        tell(format!("config.Labels.{created:?}"), message);
    }
    for ((_, path), raw) in &image.extensions {
        if path.starts_with("config.ExposedPorts.") {
            let message = "the key is no port, which is `PORT`, `PORT/tcp` or `PORT/udp`";
            tell(path.clone(), message.to_owned());
        }
        // Types were checked when the config was read.
        if path == "config.Healthcheck"
            && let Ok(Value::Object(check)) = serde_json::from_str(raw)
        {
            for (key, value) in check {
                if value.as_i64().is_some_and(|number| number < 0) {
                    let message = format!("{value} is negative");
                    tell(format!("config.Healthcheck.{key}"), message);
                }
            }
        }
    }
}
