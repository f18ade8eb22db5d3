//! Docker's v1 image JSON, which a schema 1 manifest has for each entry and a v1 image for each
//! layer: from a chain of these to one image.
//!
//! The top JSON is the image's configuration; of the others only the fields of their own step
//! count. The callers check chains, blobs and names.

use std::collections::BTreeMap;

use imgconv_json::{Map, Object, Value, canonical, is_rfc3339, known_time, parse, within};
use imgconv_manifest::docker_config;
use imgconv_model::{Code, Error, History, Limits, Platform, Report, Result, quote};

/// The fields of a v1 image in their own spelling.
pub(crate) const FIELDS: &[&str] = &[
    "id",
    "parent",
    "parent_id",
    "layer_id",
    "comment",
    "created",
    "container",
    "container_config",
    "docker_version",
    "author",
    "config",
    "architecture",
    "variant",
    "os",
    "os.version",
    "os.features",
    "Size",
    "throwaway",
];

/// The path of the extension that holds the other fields of the entries below the top one: a list,
/// base first.
pub(crate) const LOWER: &str = "v1Compatibility";

/// One v1 image, with its own fields.
#[derive(Clone, Debug)]
pub(crate) struct V1 {
    pub(crate) map: Map<String, Value>,
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) throwaway: bool,
}

/// A step of a chain.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) v1: V1,
    /// The name in messages.
    pub(crate) place: String,
    /// True if the step has no layer.
    pub(crate) empty: bool,
}

/// The content of a chain of v1 images, without its layers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Assembled {
    pub(crate) platform: Platform,
    pub(crate) created: Option<String>,
    pub(crate) author: Option<String>,
    pub(crate) config: imgconv_model::RunConfig,
    pub(crate) history: Vec<History>,
    /// The extensions, by path.
    pub(crate) extensions: BTreeMap<String, String>,
}

/// Reads the JSON of one v1 image.
pub(crate) fn read(text: &str, limits: &Limits, place: &str) -> Result<V1> {
    let what = "the JSON of a v1 image";
    within(text.len() as u64, ("config", limits.config), what).map_err(|error| error.at(place))?;
    let read = || -> Result<V1> {
        let value = parse(text.as_bytes(), limits, "text").map_err(|error| {
            if error.code() == Code::BadJson {
                Error::new(Code::BadManifest, format!("it is not JSON: {error}"))
            } else {
                error
            }
        })?;
        let object = Object::new(&value, "")?;
        object.check_names(FIELDS)?;
        let parent = object.opt_string("parent")?;
        Ok(V1 {
            id: object.string("id")?.to_owned(),
            parent: parent.filter(|id| !id.is_empty()).map(str::to_owned),
            throwaway: object.flag("throwaway")?,
            map: object.map().clone(),
        })
    };
    read().map_err(|error| error.at(place))
}

/// Makes an image of a chain, base first. `architecture` is used if the top JSON has none.
pub(crate) fn assemble(
    steps: &[Step],
    architecture: Option<&str>,
    limits: &Limits,
    report: &mut Report,
) -> Result<Assembled> {
    let Some((top, lower)) = steps.split_last() else {
        return Err(Error::new(Code::BadManifest, "there is no v1 image at all"));
    };
    let history = steps.iter().map(step).collect::<Result<Vec<_>>>()?;
    let mut extensions = BTreeMap::new();
    let mut map = top.v1.map.clone();
    // The model holds these fields, in a history that is read separately.
    for key in ["throwaway", "comment"] {
        map.shift_remove(key);
    }
    if is_simple(map.get("container_config")) {
        map.shift_remove("container_config");
    }
    for key in ["rootfs", "history"] {
        if let Some(value) = map.shift_remove(key).filter(|value| !value.is_null()) {
            extensions.insert(key.to_owned(), print(&value));
        }
    }
    assume_platform(&mut map, architecture, report);
    map.insert("rootfs".into(), no_layers());
    let read = docker_config::decode(&Value::Object(map), report);
    let read = read.map_err(|error| error.at(&*top.place))?;
    // Docker wrote `x86_64` in 2013. A config is made anew of these images, so it gets the names of today.
    let platform = read.platform.canonical();
    let variant = platform.variant.as_deref();
    for (field, part) in [
        ("os", Some(&*platform.os)),
        ("architecture", Some(&*platform.architecture)),
        ("variant", variant),
    ] {
        check_token(field, part.unwrap_or("x"), limits).map_err(|error| error.at(&*top.place))?;
    }
    extensions.extend(read.extensions);
    let rest: Vec<Value> = lower.iter().map(|step| rest(&step.v1.map)).collect();
    if rest
        .iter()
        .any(|value| value.as_object().is_some_and(|map| !map.is_empty()))
    {
        extensions.insert(LOWER.to_owned(), print(&Value::Array(rest)));
    }
    Ok(Assembled {
        platform,
        created: read.created,
        author: read.author,
        config: read.config,
        history,
        extensions,
    })
}

fn no_layers() -> Value {
    let fields = [
        ("type".to_owned(), Value::from("layers")),
        ("diff_ids".to_owned(), Value::Array(Vec::new())),
    ];
    Value::Object(fields.into_iter().collect())
}

/// Old images have no operating system, and the oldest no processor: only one of each existed.
fn assume_platform(map: &mut Map<String, Value>, architecture: Option<&str>, report: &mut Report) {
    let absent = |map: &Map<String, Value>, key: &str| {
        map.get(key)
            .is_none_or(|value| value.is_null() || value.as_str() == Some(""))
    };
    let architecture = architecture.filter(|text| !text.is_empty());
    if absent(map, "architecture") {
        let known = architecture.unwrap_or("amd64");
        map.insert("architecture".into(), Value::from(known));
        if architecture.is_none() {
            let message = "the image does not say its architecture; amd64 is assumed";
            report.warn("assumed-platform", "config", message);
        }
    }
    if absent(map, "os") {
        map.insert("os".into(), Value::from("linux"));
        let message = "the image does not say its operating system; linux is assumed";
        report.warn("assumed-platform", "config", message);
    }
}

/// Refuses parts of a platform that can't be parts of names and paths.
fn check_token(field: &str, text: &str, limits: &Limits) -> Result<()> {
    let well_formed = !text.starts_with('.')
        && text.len() as u64 <= limits.file_token
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if well_formed {
        return Ok(());
    }
    let message = format!(
        "{} is no word of letters, digits, `.`, `_` and `-`",
        quote(text)
    );
    Err(Error::new(Code::BadName, message).at(format!("field {field}")))
}

/// Reads the fields of an entry about its own step.
fn step(step: &Step) -> Result<History> {
    let read = || -> Result<History> {
        let value = Value::Object(step.v1.map.clone());
        let object = Object::new(&value, "")?;
        let text = |key: &str| -> Result<Option<String>> {
            let text = object.opt_string(key)?;
            Ok(text.filter(|text| !text.is_empty()).map(str::to_owned))
        };
        let created = text("created")?.filter(|date| known_time(date).is_some());
        if let Some(date) = &created
            && !is_rfc3339(date)
        {
            let message = format!("expected a date of RFC 3339, found {}", quote(date));
            return Err(object.bad("created", message));
        }
        Ok(History {
            created,
            created_by: command(object.get("container_config"))?,
            author: text("author")?,
            comment: text("comment")?,
            empty_layer: step.empty,
        })
    };
    read().map_err(|error| error.at(&*step.place))
}

/// Returns the command of a step, its words joined by spaces.
pub(crate) fn command(container_config: Option<&Value>) -> Result<Option<String>> {
    let Some(value) = container_config else {
        return Ok(None);
    };
    let object = Object::new(value, "container_config")?;
    let words = match object.get("Cmd") {
        Some(Value::String(text)) => vec![text.clone()],
        _ => object.string_list("Cmd")?,
    };
    Ok(Some(words.join(" ")).filter(|text| !text.is_empty()))
}

/// Returns true if a `container_config` has only the command of its step.
fn is_simple(container_config: Option<&Value>) -> bool {
    let Some(Value::Object(map)) = container_config else {
        return false;
    };
    map.iter()
        .all(|(key, value)| key == "Cmd" && value.as_array().is_some_and(|words| words.len() <= 1))
}

/// Returns the fields of an entry below the top one other than its step and its place in the chain.
fn rest(map: &Map<String, Value>) -> Value {
    let mut map = map.clone();
    if is_simple(map.get("container_config")) {
        map.shift_remove("container_config");
    }
    map.retain(|key, value| {
        let known = ["id", "parent", "created", "author", "comment", "throwaway"];
        !value.is_null() && !known.contains(&key.as_str())
    });
    Value::Object(map)
}

fn print(value: &Value) -> String {
    String::from_utf8_lossy(&canonical(value)).into_owned()
}
