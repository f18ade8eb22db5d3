//! The checks of a manifest: all of them, one after the other, so that one run reports every error.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_json::{Object, Value, is_rfc3339};
use imgconv_model::{Code, Digest, Error, Notes, Result, quote};

use super::{
    isolator::{self, show},
    schema::{
        App, AppPort, Dependency, EventHandler, LONGEST_NAME, Manifest, MountPoint, Pair, VERSION,
        find,
    },
};
use crate::{
    identifier::{
        clean_path, is_url, is_variable, reads_as_identifier, reads_as_name, sanitise,
        sanitise_name, semantic_version,
    },
    platform,
};

const MANIFEST: &[&str] = &[
    "acKind",
    "acVersion",
    "name",
    "labels",
    "app",
    "annotations",
    "dependencies",
    "pathWhitelist",
];
const APP: &[&str] = &[
    "exec",
    "eventHandlers",
    "user",
    "group",
    "supplementaryGIDs",
    "workingDirectory",
    "environment",
    "mountPoints",
    "ports",
    "isolators",
    "userAnnotations",
    "userLabels",
];

/// Reads the readable fields of a manifest, and returns all its errors. The manifest is valid only
/// if there are none.
pub(super) fn check(value: &Value, notes: &Notes) -> (Manifest, Vec<Error>) {
    let mut check = Check {
        violations: Vec::new(),
        unknown: Vec::new(),
        notes,
    };
    let mut manifest = Manifest {
        ac_version: String::new(),
        name: String::new(),
        labels: Vec::new(),
        app: None,
        dependencies: Vec::new(),
        path_whitelist: Vec::new(),
        annotations: Vec::new(),
        unknown: Vec::new(),
        raw: value.clone(),
        old: false,
        renamed: Vec::new(),
    };
    if let Some(object) = check.keep(Object::new(value, "")) {
        check.manifest(&object, &mut manifest);
    }
    manifest.unknown = check.unknown;
    let place = |error: Error| error.at("manifest");
    let violations = check.violations.into_iter().map(place).collect();
    (manifest, violations)
}

struct Check<'n> {
    violations: Vec<Error>,
    unknown: Vec<(String, Value)>,
    notes: &'n Notes,
}

/// The grammar of a text.
#[derive(Clone, Copy)]
enum Grammar {
    Identifier,
    Name,
}

impl Check<'_> {
    fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.violations.push(error)).ok()
    }

    fn fault(&mut self, code: Code, path: &str, message: impl Into<String>) {
        let error = Error::new(code, message).at(format!("field {path}"));
        self.violations.push(error);
    }

    fn warn(&self, code: &'static str, path: &str, message: impl Into<String>) {
        self.notes.warn(code, format!("manifest › {path}"), message);
    }

    /// Notes the fields that are not `known`, and refuses those that are known only after case
    /// folding.
    fn names(&mut self, object: &Object<'_>, known: &[&str]) {
        self.keep(object.check_names(known));
        for (name, value) in object.map() {
            if !known.contains(&name.as_str()) {
                self.unknown.push((object.path(name), value.clone()));
            }
        }
    }

    /// Reads a required text that must follow a grammar.
    fn text(&mut self, object: &Object<'_>, key: &str, grammar: Grammar) -> Option<String> {
        let text = self.keep(object.string(key))?;
        self.grammar(&object.path(key), text, grammar)
            .then(|| text.to_owned())
    }

    fn grammar(&mut self, path: &str, text: &str, grammar: Grammar) -> bool {
        let (holds, what, pattern, better) = match grammar {
            Grammar::Identifier => (
                reads_as_identifier(text),
                "AC Identifier",
                "letters a-z, digits and -._~/ between them",
                sanitise(text),
            ),
            Grammar::Name => (
                reads_as_name(text),
                "AC Name",
                "letters a-z, digits and - between them",
                sanitise_name(text),
            ),
        };
        if holds && text.len() <= LONGEST_NAME {
            return true;
        }
        let mut error = if holds {
            let message = format!(
                "{what} has {} bytes, at most {LONGEST_NAME} are read",
                text.len()
            );
            Error::new(Code::BadName, message)
        } else {
            Error::new(
                Code::BadName,
                format!("{} is no {what} ({pattern})", quote(text)),
            )
        };
        if let Some(better) = better.filter(|better| better.len() <= 80 && !holds) {
            error = error.hint(format!("`{better}` would be valid"));
        }
        self.violations.push(error.at(format!("field {path}")));
        false
    }

    fn manifest(&mut self, object: &Object<'_>, manifest: &mut Manifest) {
        self.names(object, MANIFEST);
        if let Some(kind) = self.keep(object.string("acKind"))
            && kind != "ImageManifest"
        {
            let message = format!("expected `ImageManifest`, found {}", quote(kind));
            self.fault(Code::BadManifest, "acKind", message);
        }
        self.version(object, manifest);
        let name = self.text(object, "name", Grammar::Identifier);
        manifest.name = name.unwrap_or_default();
        manifest.labels = self.labels(object, true);
        if let Some(Some(app)) = self.keep(object.opt_object("app")) {
            manifest.app = Some(self.app(&app));
        }
        manifest.annotations = self.annotations(object);
        for dependency in self
            .keep(object.objects("dependencies"))
            .unwrap_or_default()
        {
            manifest.dependencies.extend(self.dependency(&dependency));
        }
        manifest.path_whitelist = self.whitelist(object);
    }

    fn version(&mut self, object: &Object<'_>, manifest: &mut Manifest) {
        let Some(text) = self.keep(object.string("acVersion")) else {
            return;
        };
        text.clone_into(&mut manifest.ac_version);
        let known = semantic_version(VERSION);
        match semantic_version(text) {
            None => {
                let message = format!(
                    "{} is not a semantic version, such as {VERSION}",
                    quote(text)
                );
                self.fault(Code::BadManifest, "acVersion", message);
            }
            Some([0, 0, 0]) => {
                self.warn(
                    "unknown-version",
                    "acVersion",
                    "the version is 0.0.0; read as 0.8.11",
                );
            }
            version if version > known => {
                let message = format!(
                    "{} is newer than {VERSION}, the last known version; read as {VERSION}",
                    quote(text)
                );
                self.warn("unknown-version", "acVersion", message);
            }
            _ => {}
        }
    }

    /// Reads pairs of `name` and `value`. A missing value is empty, as Go reads it, with a warning;
    /// a label without a value is refused, since images are found by the values of labels.
    fn pairs(&mut self, object: &Object<'_>, key: &str, grammar: Option<Grammar>) -> Vec<Pair> {
        let mut pairs = Vec::new();
        let mut seen = BTreeSet::new();
        for item in self.keep(object.objects(key)).unwrap_or_default() {
            self.names(&item, &["name", "value"]);
            let name = match grammar {
                Some(grammar) => self.text(&item, "name", grammar),
                None => self.keep(item.string("name")).map(str::to_owned),
            };
            let value = self.keep(item.opt_string("value"));
            if value == Some(None) {
                let path = item.path("value");
                match key {
                    "labels" => self.fault(Code::BadManifest, &path, "is required, but absent"),
                    _ => self.warn("missing-value", &path, "absent; read as empty"),
                }
            }
            let value = value.flatten();
            let Some(name) = name else { continue };
            if !seen.insert(name.clone()) {
                let message = format!("{} occurs twice in `{key}`", quote(&name));
                self.fault(Code::Ambiguous, &item.path("name"), message);
                continue;
            }
            let value = value.unwrap_or_default().to_owned();
            pairs.push(Pair { name, value });
        }
        pairs
    }

    fn labels(&mut self, object: &Object<'_>, own: bool) -> Vec<Pair> {
        let labels = self.pairs(object, "labels", Some(Grammar::Identifier));
        if labels.iter().any(|label| label.name == "name") {
            let message = "a label can't be called `name`: the image's name is a field of its own";
            self.fault(Code::BadName, &object.path("labels"), message);
        }
        let (os, arch) = (find(&labels, "os"), find(&labels, "arch"));
        if own && !platform::is_known(os, arch) {
            let text = [os, arch]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("/");
            let message = format!(
                "the specification does not list {}; kept as it is",
                quote(text)
            );
            self.warn("unknown-platform", &object.path("labels"), message);
        }
        labels
    }

    fn annotations(&mut self, object: &Object<'_>) -> Vec<Pair> {
        let pairs = self.pairs(object, "annotations", Some(Grammar::Identifier));
        for Pair { name, value } in &pairs {
            let wanted = match &**name {
                "created" if !is_rfc3339(value) => "a time by RFC 3339",
                "homepage" | "documentation" if !is_url(value) => "a URL with http or https",
                _ => continue,
            };
            let message = format!("{} is not {wanted}", quote(value));
            self.fault(Code::BadManifest, &format!("annotations[{name}]"), message);
        }
        pairs
    }

    fn dependency(&mut self, object: &Object<'_>) -> Option<Dependency> {
        self.names(object, &["imageName", "imageID", "labels", "tag", "size"]);
        let image_name = self.text(object, "imageName", Grammar::Identifier);
        let mut image_id = None;
        if let Some(Some(text)) = self.keep(object.opt_string("imageID")) {
            let place = format!("field {}", object.path("imageID"));
            image_id = self.keep(Digest::parse_image_id(text).map_err(|error| error.at(place)));
        }
        let labels = self.labels(object, false);
        let tag = self.keep(object.opt_string("tag")).flatten();
        let mut size = None;
        if object.get("size").is_some() {
            // Go leaves out a size of 0 when it writes: 0 means that there is no size.
            size = self.keep(object.size("size")).filter(|size| *size > 0);
        }
        Some(Dependency {
            image_name: image_name?,
            image_id,
            labels,
            tag: tag.filter(|tag| !tag.is_empty()).map(str::to_owned),
            size,
        })
    }

    fn whitelist(&mut self, object: &Object<'_>) -> Vec<String> {
        let listed = self.keep(object.string_list("pathWhitelist"));
        let mut paths = Vec::new();
        for (i, path) in listed.unwrap_or_default().iter().enumerate() {
            match clean_path(path) {
                Some(path) => paths.push(path),
                None => {
                    let message = format!("{} is no path below the root", quote(path));
                    self.fault(Code::BadName, &format!("pathWhitelist[{i}]"), message);
                }
            }
        }
        paths
    }

    fn app(&mut self, object: &Object<'_>) -> App {
        // The specification's own example spells one field differently from its text.
        let odd = "supplementaryGids";
        let known: Vec<&str> = APP.iter().copied().chain([odd]).collect();
        self.names(object, &known);
        if object.get(odd).is_some() && object.get("supplementaryGIDs").is_some() {
            let message = format!("is given twice: also as `{odd}`");
            self.fault(Code::Ambiguous, &object.path("supplementaryGIDs"), message);
        }
        let mut app = App {
            exec: self.keep(object.string_list("exec")).unwrap_or_default(),
            ..App::default()
        };
        for (key, field) in [("user", &mut app.user), ("group", &mut app.group)] {
            match self.keep(object.opt_string(key)) {
                Some(None | Some("")) => {
                    let message = "is required and can't be empty; root is `0`";
                    self.fault(Code::BadManifest, &object.path(key), message);
                }
                Some(Some(text)) => text.clone_into(field),
                None => {}
            }
        }
        app.event_handlers = self.event_handlers(object);
        for key in ["supplementaryGIDs", odd] {
            app.supplementary_gids.extend(self.gids(object, key));
        }
        if let Some(Some(path)) = self.keep(object.opt_string("workingDirectory"))
            && !path.is_empty()
        {
            if !path.starts_with('/') {
                let message = format!("{} is no absolute path", quote(path));
                self.fault(Code::BadManifest, &object.path("workingDirectory"), message);
            }
            app.working_directory = Some(path.to_owned());
        }
        app.environment = self.environment(object);
        app.isolators = self.isolators(object);
        app.mount_points = self.mount_points(object);
        app.ports = self.ports(object);
        let maps = ["userAnnotations", "userLabels"].map(|key| self.keep(object.string_map(key)));
        let [annotations, labels] = maps.map(Option::unwrap_or_default);
        (app.user_annotations, app.user_labels) = (annotations, labels);
        app
    }

    fn gids(&mut self, object: &Object<'_>, key: &str) -> Vec<u32> {
        let mut gids = Vec::new();
        let listed = self.keep(object.list(key)).unwrap_or_default();
        for (i, value) in listed.iter().enumerate() {
            match value.as_u64().and_then(|gid| u32::try_from(gid).ok()) {
                Some(gid) => gids.push(gid),
                None => {
                    let path = format!("{}[{i}]", object.path(key));
                    let message = format!(
                        "expected an integer from 0 to 4294967295, found {}",
                        show(value)
                    );
                    self.fault(Code::BadManifest, &path, message);
                }
            }
        }
        gids
    }

    fn event_handlers(&mut self, object: &Object<'_>) -> Vec<EventHandler> {
        let mut handlers = Vec::<EventHandler>::new();
        for item in self
            .keep(object.objects("eventHandlers"))
            .unwrap_or_default()
        {
            self.names(&item, &["name", "exec"]);
            let exec = self.keep(item.string_list("exec")).unwrap_or_default();
            let Some(name) = self.keep(item.string("name")) else {
                continue;
            };
            if !["pre-start", "post-stop"].contains(&name) {
                let message = format!("expected `pre-start` or `post-stop`, found {}", quote(name));
                self.fault(Code::BadManifest, &item.path("name"), message);
            } else if handlers.iter().any(|handler| handler.name == name) {
                let message = format!("there are two event handlers `{name}`");
                self.fault(Code::Ambiguous, &item.path("name"), message);
            }
            let name = name.to_owned();
            handlers.push(EventHandler { name, exec });
        }
        handlers
    }

    fn environment(&mut self, object: &Object<'_>) -> Vec<Pair> {
        let variables = self.pairs(object, "environment", None);
        for variable in &variables {
            if !is_variable(&variable.name) {
                let message = format!(
                    "{} is no name of a variable ([A-Za-z_][A-Za-z_0-9.-]*)",
                    quote(&variable.name)
                );
                self.fault(Code::BadName, &object.path("environment"), message);
            }
        }
        variables
    }

    /// Reads the isolators, which may have any value (robustness H6e): the program that runs the
    /// app interprets them. A value that breaks the definition in appc gets a warning (robustness
    /// K33).
    fn isolators(&mut self, object: &Object<'_>) -> Vec<String> {
        let mut names = Vec::new();
        let mut seen = BTreeSet::new();
        for item in self.keep(object.objects("isolators")).unwrap_or_default() {
            let name = self.text(&item, "name", Grammar::Identifier);
            let Some(value) = item.map().get("value") else {
                self.fault(
                    Code::BadManifest,
                    &item.path("value"),
                    "is required, but absent",
                );
                continue;
            };
            let Some(name) = name else { continue };
            if let Some(fault) = isolator::fault(&name, value) {
                let message = format!("isolator `{name}`: {fault}");
                self.warn("bad-isolator", &item.path("value"), message);
            }
            if let Some(conflict) = isolator::conflict(&name, &seen) {
                let message = format!("isolator `{name}` {conflict}");
                self.warn("bad-isolator", &item.path("name"), message);
            }
            seen.insert(name.clone());
            names.push(name);
        }
        names
    }

    fn mount_points(&mut self, object: &Object<'_>) -> Vec<MountPoint> {
        let mut points = Vec::<MountPoint>::new();
        let mut seen = BTreeSet::new();
        for item in self.keep(object.objects("mountPoints")).unwrap_or_default() {
            self.names(&item, &["name", "path", "readOnly"]);
            let name = self.text(&item, "name", Grammar::Name);
            let path = self.keep(item.string("path"));
            let read_only = self.keep(item.flag("readOnly")).unwrap_or_default();
            let (Some(name), Some(path)) = (name, path) else {
                continue;
            };
            if !seen.insert(name.clone()) {
                let message = format!("there are two mount points `{name}`");
                self.fault(Code::Ambiguous, &item.path("name"), message);
            }
            if path.is_empty() || clean_path(path).is_none() {
                let message = format!("{} is no path below the root", quote(path));
                self.fault(Code::BadName, &item.path("path"), message);
            } else if !path.starts_with('/') {
                let message = format!("{} is relative; read from `/`", quote(path));
                self.warn("relative-path", &item.path("path"), message);
            }
            let path = path.to_owned();
            points.push(MountPoint {
                name,
                path,
                read_only,
            });
        }
        points
    }

    fn ports(&mut self, object: &Object<'_>) -> Vec<AppPort> {
        let known = ["name", "protocol", "port", "count", "socketActivated"];
        let mut ports = Vec::new();
        let mut seen = BTreeMap::new();
        for item in self.keep(object.objects("ports")).unwrap_or_default() {
            self.names(&item, &known);
            let name = self.text(&item, "name", Grammar::Name);
            let mut protocol = self
                .keep(item.opt_string("protocol"))
                .flatten()
                .unwrap_or_default();
            if protocol.is_empty() {
                self.warn(
                    "missing-protocol",
                    &item.path("protocol"),
                    "absent; read as `tcp`",
                );
                protocol = "tcp";
            }
            let socket_activated = self.keep(item.flag("socketActivated")).unwrap_or_default();
            let port = self.number(&item, "port", 1);
            // Go writes a count of 0 for a missing count, and reads it as 1.
            let count = match item.get("count") {
                Some(_) => self.number(&item, "count", 0).map(|count| count.max(1)),
                None => Some(1),
            };
            let (Some(name), Some(port), Some(count)) = (name, port, count) else {
                continue;
            };
            if u32::from(port) + u32::from(count) > 65_536 {
                let message = format!("{count} ports from {port} end above 65535");
                self.fault(Code::BadManifest, &item.path("count"), message);
                continue;
            }
            if seen.insert(name.clone(), ()).is_some() {
                let message = format!("there are two ports `{name}`; both are kept");
                self.warn("duplicate-port", &item.path("name"), message);
            }
            let protocol = protocol.to_owned();
            ports.push(AppPort {
                name,
                protocol,
                port,
                count,
                socket_activated,
            });
        }
        ports
    }

    fn number(&mut self, object: &Object<'_>, key: &str, least: u16) -> Option<u16> {
        let value = self.keep(object.need(key))?;
        let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
        let number = number.filter(|number| *number >= least);
        if number.is_none() {
            let message = format!(
                "expected an integer from {least} to 65535, found {}",
                show(value)
            );
            self.fault(Code::BadManifest, &object.path(key), message);
        }
        number
    }
}
