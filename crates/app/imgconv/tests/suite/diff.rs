//! The fields that `diff` compares: every field of a config that engines use, and none that a mere
//! conversion changes.

use std::{fs, path::PathBuf};

use imgconv::{Difference, ImageOutcome, Locator, Options, convert, diff};
use imgconv_model::{Env, Platform};
use serde_json::{Value, json};

use crate::mapping::{oci_base, write_aci, write_layout};

/// Each field of a config that the model has no place for, a value, and the name in the result.
fn fields() -> Vec<(&'static [&'static str], Value, &'static str)> {
    vec![
        (&["os.version"], json!("10.0.17763.1"), "os.version"),
        (&["os.features"], json!(["win32k"]), "os.features"),
        (&["comment"], json!("c"), "comment"),
        (&["x-new"], json!({ "a": 1 }), "extensions.x-new"),
        (
            &["config", "ArgsEscaped"],
            json!(true),
            "config.args_escaped",
        ),
        (
            &["config", "AttachStderr"],
            json!(true),
            "config.attach_stderr",
        ),
        (
            &["config", "AttachStdin"],
            json!(true),
            "config.attach_stdin",
        ),
        (
            &["config", "AttachStdout"],
            json!(true),
            "config.attach_stdout",
        ),
        (&["config", "CpuShares"], json!(5), "config.cpu_shares"),
        (&["config", "Cpuset"], json!("0,1"), "config.cpuset"),
        (
            &["config", "Domainname"],
            json!("example.com"),
            "config.domainname",
        ),
        (
            &["config", "Entitlements"],
            json!(["e"]),
            "config.entitlements",
        ),
        (
            &["config", "Healthcheck"],
            json!({ "Test": ["CMD", "/check"], "Retries": 3 }),
            "config.healthcheck",
        ),
        (&["config", "Hostname"], json!("h"), "config.hostname"),
        (&["config", "Image"], json!("sha256:1"), "config.image"),
        (
            &["config", "MacAddress"],
            json!("02:00:00:00:00:01"),
            "config.mac_address",
        ),
        (&["config", "Memory"], json!(5), "config.memory"),
        (
            &["config", "MemoryReservation"],
            json!(5),
            "config.memory_reservation",
        ),
        (&["config", "MemorySwap"], json!(-1), "config.memory_swap"),
        (
            &["config", "NetworkDisabled"],
            json!(true),
            "config.network_disabled",
        ),
        (
            &["config", "OnBuild"],
            json!(["RUN make"]),
            "config.on_build",
        ),
        (&["config", "OpenStdin"], json!(true), "config.open_stdin"),
        (&["config", "PortSpecs"], json!(["80"]), "config.port_specs"),
        (
            &["config", "Shell"],
            json!(["/bin/ash", "-c"]),
            "config.shell",
        ),
        (&["config", "StdinOnce"], json!(true), "config.stdin_once"),
        (&["config", "StopTimeout"], json!(7), "config.stop_timeout"),
        (&["config", "Tty"], json!(true), "config.tty"),
        (
            &["config", "VolumesFrom"],
            json!("other"),
            "config.volumes_from",
        ),
        // A member that no engine knows, with the name of a field of the model.
        (&["config", "exec"], json!("e"), "extensions.config.exec"),
    ]
}

/// Sets the value at a path of keys.
fn set(image: &mut Value, keys: &[&str], value: Value) {
    *keys.iter().fold(image, |place, key| &mut place[*key]) = value;
}

/// An image with all of [`fields`].
fn full() -> Value {
    let mut image = oci_base();
    for (keys, value, _) in fields() {
        set(&mut image, keys, value);
    }
    image
}

struct Places {
    folder: tempfile::TempDir,
    env: Env,
}

impl Places {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = Env::new(folder.path(), Platform::new("linux", "amd64"));
        Self { folder, env }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn place(&self, scheme: &str, name: &str) -> String {
        format!("{scheme}:{}", self.path(name).display())
    }

    /// Writes an image as a layout and returns its place.
    fn layout(&self, name: &str, image: &Value) -> String {
        let path = self.path(name);
        let _ = fs::remove_dir_all(&path);
        write_layout(&path, image);
        self.place("oci", name)
    }

    fn diff(&self, a: &str, b: &str) -> Vec<Difference> {
        let [a, b] = [a, b].map(|place| Locator::source(place).unwrap());
        diff(&a, &b, &[], &[], &self.env).unwrap()
    }

    /// The differences between two images in layouts.
    fn between(&self, a: &Value, b: &Value) -> Vec<Difference> {
        let [a, b] = [self.layout("a", a), self.layout("b", b)];
        self.diff(&a, &b)
    }

    fn convert(&self, from: &str, to: &str) -> ImageOutcome {
        let (source, destination) = (Locator::source(from), Locator::destination(to));
        let options = Options::default();
        let done = convert(
            &[source.unwrap()],
            &destination.unwrap(),
            &options,
            &self.env,
        );
        done.unwrap_or_else(|error| panic!("{from} to {to}: {error}"))
            .images
            .remove(0)
    }
}

fn names(found: &[Difference]) -> Vec<&str> {
    found.iter().map(|one| &*one.what).collect()
}

#[test]
fn every_field_of_a_config_counts() {
    let places = Places::new();
    let base = oci_base();
    for (keys, value, name) in fields() {
        let mut other = base.clone();
        set(&mut other, keys, value);
        let found = places.between(&base, &other);
        assert_eq!(names(&found), [name], "{keys:?}");
        assert!(found[0].a.is_none() && found[0].b.is_some(), "{found:?}");
        assert_eq!(places.between(&other, &other), [], "{keys:?}");
    }
    let mut all: Vec<&str> = fields().iter().map(|(.., name)| *name).collect();
    all.sort_unstable();
    assert_eq!(names(&places.between(&full(), &base)), all);
}

#[test]
fn a_key_that_is_no_port_and_a_member_of_a_port_count() {
    let places = Places::new();
    let mut base = oci_base();
    base["config"]["ExposedPorts"] = json!({ "80/tcp": {} });
    for (ports, name) in [
        (
            json!({ "80/tcp": {}, "http": {} }),
            "extensions.config.ExposedPorts.http",
        ),
        (
            json!({ "80/tcp": { "x": 1 } }),
            "extensions.config.ExposedPorts.80/tcp.x",
        ),
    ] {
        let mut other = base.clone();
        other["config"]["ExposedPorts"] = ports;
        assert_eq!(names(&places.between(&base, &other)), [name]);
    }
}

#[test]
fn a_zero_value_is_a_missing_field() {
    let places = Places::new();
    let base = oci_base();
    for (keys, value, _) in fields() {
        let zero = match value {
            Value::Bool(_) => json!(false),
            Value::Number(_) => json!(0),
            Value::String(_) => json!(""),
            Value::Array(_) => json!([]),
            _ => json!({}),
        };
        for zero in [zero, Value::Null] {
            let mut other = base.clone();
            set(&mut other, keys, zero.clone());
            assert_eq!(places.between(&base, &other), [], "{keys:?}: {zero}");
        }
    }
    let check = |check: Value| {
        let mut image = oci_base();
        image["config"]["Healthcheck"] = check;
        image
    };
    let (a, b) = (
        json!({ "Test": ["NONE"] }),
        json!({ "Interval": 0, "Test": ["NONE"] }),
    );
    assert_eq!(places.between(&check(a), &check(b)), []);
}

#[test]
fn the_order_of_os_features_is_no_difference() {
    let places = Places::new();
    let [a, b] = [json!(["x", "y"]), json!(["y", "x"])].map(|features| {
        let mut image = oci_base();
        image["os.features"] = features;
        image
    });
    assert_eq!(places.between(&a, &b), []);
}

#[test]
fn fields_about_the_build_do_not_count() {
    let places = Places::new();
    let base = oci_base();
    let mut other = base.clone();
    for (key, value) in [
        ("id", json!("1")),
        ("parent", json!("2")),
        ("container", json!("3")),
        ("container_config", json!({ "Cmd": ["x"], "Memory": 1 })),
        ("docker_version", json!("1.9")),
        ("throwaway", json!(true)),
        ("Size", json!(5)),
        ("moby.buildkit.buildinfo.v1", json!("e30=")),
    ] {
        other[key] = value;
    }
    other["rootfs"]["x"] = json!("x");
    other["manifest"]["x"] = json!("x");
    assert_eq!(places.between(&base, &other), []);
}

#[test]
fn an_image_that_was_only_converted_is_the_same() {
    let places = Places::new();
    // Schema 1 has a step for each layer, and the date of the image is that of the last step.
    let mut image = full();
    image["created"] = json!("2020-01-02T03:04:05Z");
    image["history"] = json!([{ "created": image["created"], "created_by": "make" }]);
    let source = places.layout("in", &image);
    for (i, (scheme, end)) in [
        ("oci", ""),
        ("docker-archive", ".tar"),
        ("docker-v2s2+dir", ""),
        ("docker-v2s1+dir", ""),
        ("aci", ".aci"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("out{i}{end}");
        let outcome = places.convert(&source, &places.place(scheme, &name));
        let written = places.place(scheme.rsplit('+').next().unwrap(), &name);
        // Schema 1 has a comment for each step, and none for the image.
        let expected: &[&str] = match scheme {
            "docker-v2s1+dir" => &["comment"],
            _ => &[],
        };
        let found = places.diff(&source, &written);
        assert_eq!(names(&found), expected, "{scheme}");
        let told = |field: &&str| outcome.losses.iter().any(|loss| loss.field == *field);
        assert!(expected.iter().all(told), "{scheme}: {:?}", outcome.losses);
        let back = places.place("oci", &format!("back{i}"));
        places.convert(&written, &back);
        assert_eq!(places.diff(&written, &back), [], "{scheme}");
        assert_eq!(names(&places.diff(&source, &back)), expected, "{scheme}");
    }
}

#[test]
fn fields_that_only_an_aci_has_do_not_count() {
    let places = Places::new();
    let manifest = json!({
        "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/app",
        "labels": [
            { "name": "version", "value": "1.0" }, { "name": "os", "value": "linux" },
            { "name": "arch", "value": "amd64" },
        ],
        "app": {
            "exec": ["/bin/app"], "user": "0", "group": "0", "supplementaryGIDs": [7],
            "isolators": [{ "name": "resource/memory", "value": { "limit": "5M" } }],
            "eventHandlers": [{ "name": "pre-start", "exec": ["/x"] }],
        },
        "vendor": { "x": 1 },
    });
    write_aci(&places.path("own.aci"), &manifest.to_string());
    let own = places.place("aci", "own.aci");
    for (scheme, name) in [("oci", "made"), ("docker-archive", "made.tar")] {
        let made = places.place(scheme, name);
        places.convert(&own, &made);
        let found = places.diff(&own, &made);
        // A docker archive has no annotations.
        let mut rest = names(&found);
        rest.retain(|name| !name.starts_with("annotations."));
        assert!(rest.is_empty(), "{scheme}: {rest:?}");
    }
}
