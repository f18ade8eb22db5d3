//! appc: sites that `imgconv publish` makes, behind a real web server, found by a real client.

use std::{
    collections::BTreeMap,
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

use super::docker::equal;
use super::registry_server::Registry;
use super::{Oracle, contains, inputs};
use crate::process::Result;

/// The group of this file.
const GROUP: &str = "appc";
/// The image name; `localhost`, so that a client on this machine finds the server.
const NAME: &str = "localhost/team/app";
/// Where its site has its image tags.
const TAGS_FILE: &str = "site/aci/localhost/team/app/imagetags.json";
/// Ten tags over four images.
const TAGS: [(&str, u32); 10] = [
    ("1", 1),
    ("1.0", 1),
    ("1.0.0", 1),
    ("1.1.0", 2),
    ("stable", 2),
    ("2.0.0-rc1", 3),
    ("next", 3),
    ("latest", 4),
    ("2", 4),
    ("2.0.0", 4),
];

/// A web server of files on the loopback device: busybox.
#[derive(Debug)]
struct Web {
    child: Child,
    port: u16,
}

impl Web {
    fn start(folder: &Path) -> Result<Self> {
        // Free now; nothing else here asks for ports.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(|e| e.to_string())?
            .port();
        let child = Command::new("busybox")
            .args(["httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-h"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("busybox httpd: {e}"))?;
        let web = Self { child, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(web);
            }
            sleep(Duration::from_millis(50));
        }
        Err("busybox httpd does not answer".into())
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // Nothing more can be done if these fail: the process is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs every check of appc.
pub(super) fn run(oracle: &mut Oracle) {
    if !oracle.wants(GROUP) {
        return;
    }
    let mut registry = None;
    let needs = [
        "docker-registry",
        "skopeo",
        "actool",
        "busybox",
        "root",
        "setcap",
        "setfattr",
    ];
    let made = oracle.check("appc: a repository of ten tags", &needs, |oracle| {
        let started = Registry::start(oracle, "appc-registry")?;
        repository(oracle, &started)?;
        registry = Some(started);
        Ok(())
    });
    let Some(registry) = registry.filter(|_| made) else {
        return;
    };
    let source = format!("docker://127.0.0.1:{}/team/app", registry.port);
    let published = oracle.check("appc: imgconv publish --image-tags", &[], |oracle| {
        fs::write(oracle.path("key.pub"), "a public key").map_err(|e| e.to_string())?;
        publish(oracle, &source)?;
        let acis = oracle.shell("find site -name '*.aci' | wc -l")?;
        equal("ACIs of four images and two platforms", acis.trim(), "8")
    });
    if published {
        discovered(oracle);
        moved(oracle, &registry, &source);
    }
}

/// Pushes four images of two platforms, under ten tags.
fn repository(oracle: &Oracle, registry: &Registry) -> Result {
    inputs::busybox(oracle)?;
    for image in 1..=4 {
        let mut acis = Vec::new();
        for arch in ["amd64", "aarch64"] {
            let aci = format!("appc-{image}-{arch}");
            let labels = [("version", "0"), ("os", "linux"), ("arch", arch)]
                .map(|(name, value)| format!(r#"{{"name":"{name}","value":"{value}"}}"#));
            let manifest = format!(
                r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app","labels":[{}]}}"#,
                labels.join(",")
            );
            let folder = oracle.path(&aci).join("rootfs/etc");
            fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
            let put = |path: &Path, text: &str| fs::write(path, text).map_err(|e| e.to_string());
            put(&folder.join("image"), &format!("{image} {arch}"))?;
            put(&oracle.path(&aci).join("manifest"), &manifest)?;
            oracle.peer(
                "actool",
                &["build", "--overwrite", &aci, &format!("{aci}.aci")],
            )?;
            acis.push(format!("{aci}.aci"));
        }
        let layout = format!("appc-{image}");
        oracle.imgconv(&["aci-to-oci", &acis[0], &acis[1], &layout])?;
    }
    for (tag, image) in TAGS {
        push(oracle, registry, image, tag)?;
    }
    Ok(())
}

fn push(oracle: &Oracle, registry: &Registry, image: u32, tag: &str) -> Result {
    let place = format!("docker://127.0.0.1:{}/team/app:{tag}", registry.port);
    let from = format!("oci:appc-{image}:example.com/app:0");
    let arguments = [
        "--insecure-policy",
        "copy",
        "--all",
        "--dest-tls-verify=false",
        &from,
        &place,
    ];
    oracle.peer("skopeo", &arguments).map(drop)
}

fn publish(oracle: &Oracle, source: &str) -> Result<String> {
    oracle.imgconv(&[
        "publish",
        source,
        "site",
        "--image-tags",
        "--host",
        "localhost",
        "--pubkeys",
        "key.pub",
    ])
}

/// The labels that a tag means, on a platform.
fn resolved(oracle: &Oracle, tag: &str, arch: &str) -> Result<BTreeMap<String, String>> {
    let arch = format!("arch={arch}");
    let asked = ["--label", "os=linux", "--label", &arch, "--json"];
    let arguments = [&["tags", "resolve", TAGS_FILE, tag], &asked[..]].concat();
    let value: Value =
        serde_json::from_str(&oracle.imgconv(&arguments)?).map_err(|e| e.to_string())?;
    serde_json::from_value(value["labels"].clone()).map_err(|e| e.to_string())
}

/// Follows every tag on both platforms as a client would: labels, discovery, the ACI.
fn discovered(oracle: &mut Oracle) {
    let needs = ["actool", "busybox"];
    oracle.check(
        "appc: actool discover finds every image",
        &needs,
        |oracle| {
            let web = Web::start(&oracle.path("site"))?;
            for (tag, image) in TAGS {
                for arch in ["amd64", "aarch64"] {
                    let labels = resolved(oracle, tag, arch)?;
                    let pairs: Vec<String> =
                        labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                    let app = format!("{NAME},{}", pairs.join(","));
                    let port = format!("--port={}", web.port);
                    let said = oracle
                        .peer("actool", &["discover", "--insecure", &port, "--json", &app])?;
                    let start = said.find('{').ok_or_else(|| said.clone())?;
                    let found: Value =
                        serde_json::from_str(&said[start..]).map_err(|e| format!("{e}: {said}"))?;
                    let url = found["ACIEndpoints"][0]["ACI"]
                        .as_str()
                        .ok_or_else(|| said.clone())?;
                    let path = url
                        .strip_prefix("https://localhost/")
                        .ok_or_else(|| url.to_owned())?;
                    equal(
                        "public keys",
                        found["PublicKeys"][0].as_str().unwrap_or_default(),
                        "https://localhost/pubkeys.gpg",
                    )?;
                    // Over http, as the client would go on.
                    let get = format!(
                        "busybox wget -q -O got.aci http://127.0.0.1:{}/{path}\n\
                     actool validate got.aci\ntar -xOzf got.aci rootfs/etc/image",
                        web.port
                    );
                    let text = oracle.shell(&get)?;
                    contains(&text, &format!("{image} {arch}"))
                        .map_err(|e| format!("{tag}: {e}"))?;
                }
            }
            Ok(())
        },
    );
}

/// Moves a tag and publishes again.
fn moved(oracle: &mut Oracle, registry: &Registry, source: &str) {
    oracle.check(
        "appc: a moved tag changes the tags file alone",
        &["skopeo"],
        |oracle| {
            let list = "find site -type f -exec sha256sum '{}' + | sort -k2; \
                        find site -type f -printf '%T@ %p\\n' | sort -k2";
            let before = oracle.shell(list)?;
            push(oracle, registry, 2, "latest")?;
            publish(oracle, source)?;
            let after = oracle.shell(list)?;
            let changed: Vec<&str> = after
                .lines()
                .filter(|line| !before.lines().any(|old| old == *line))
                .filter_map(|line| line.split(' ').next_back())
                .collect();
            equal(
                "what changed",
                &changed.join(" "),
                &format!("{TAGS_FILE} {TAGS_FILE}"),
            )?;
            let (old, new) = (
                resolved(oracle, "1.1.0", "amd64")?,
                resolved(oracle, "latest", "amd64")?,
            );
            match old == new {
                true => Ok(()),
                false => Err(format!("latest is {new:?}, expected {old:?}")),
            }
        },
    );
}
