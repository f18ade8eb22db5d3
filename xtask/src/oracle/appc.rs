//! Checks of appc discovery: a real client finds the sites that `imgconv publish` makes, behind a
//! real web server.

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

use super::checks::{Oracle, contains};
use super::docker::equal;
use super::registry_server::{Registry, certificates};
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
const ARCHITECTURES: [&str; 2] = ["amd64", "aarch64"];

/// A web server of files with TLS: folder, port, certificate, key.
const SERVER: &str = r#"
import functools, http.server, ssl, sys
folder, port, certificate, key = sys.argv[1:]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

/// Fetches a URL by a client that trusts `SSL_CERT_FILE`.
pub(super) const FETCH: &str =
    "import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1]).read())";

/// A key with a passphrase, as `key.pub` and `key.sec`, and a guard that ends the agent with the
/// key.
pub(super) const KEY: &str = r#"
test ! -e other.pub || exit 0
mkdir -p -m 700 gnupg
printf 'correct horse\n' > passphrase
say="gpg --batch --quiet --pinentry-mode loopback --passphrase-file passphrase"
$say --quick-generate-key 'Oracle <oracle@localhost>' ed25519 sign never
$say --armor --export > key.pub
$say --armor --export-secret-keys > key.sec
gpg --batch --quiet --passphrase '' --quick-generate-key 'Other <other@localhost>' ed25519 sign never
gpg --armor --export other@localhost > other.pub
"#;

/// A web server with TLS on the loopback device.
#[derive(Debug)]
struct Web {
    child: Child,
    port: u16,
}

impl Web {
    /// Serves a folder of the work folder, which may not be there yet.
    fn start(oracle: &Oracle, folder: &str) -> Result<Self> {
        certificates(oracle)?;
        // The port is free now, and no other check takes ports.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(|e| e.to_string())?
            .port();
        let child = Command::new("python3")
            .args(["-c", SERVER])
            .arg(oracle.path(folder))
            .arg(port.to_string())
            .args(["tls/server.crt", "tls/server.key"].map(|name| oracle.path(name)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("python3: {e}"))?;
        let web = Self { child, port };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(web);
            }
            sleep(Duration::from_millis(50));
        }
        Err("the web server does not answer".into())
    }

    /// The URL of the site.
    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The arguments with which our program finds the site of `localhost`, and trusts its server.
    fn found(&self) -> [String; 4] {
        let mirror = format!("localhost=localhost:{}", self.port);
        ["--mirror", &mirror, "--cert-dir", "trusted"].map(str::to_owned)
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
    let mut servers = None;
    let needs = [
        "docker-registry",
        "skopeo",
        "actool",
        "gpg",
        "openssl",
        "python3",
        "root",
    ];
    let made = oracle.check("appc: a repository of ten tags", &needs, |oracle| {
        let registry = Registry::start(oracle, "appc-registry")?;
        repository(oracle, &registry)?;
        gpg(oracle, KEY)?;
        servers = Some((registry, Web::start(oracle, "site")?));
        Ok(())
    });
    let Some((registry, web)) = servers.filter(|_| made) else {
        return;
    };
    let source = format!("docker://127.0.0.1:{}/team/app", registry.port);
    let published = oracle.check("appc: imgconv publish --image-tags", &[], |oracle| {
        publish(oracle, &source, &web, "site", &[])?;
        let acis = oracle.shell("find site -name '*.aci' | wc -l")?;
        equal("ACIs of four images and two platforms", acis.trim(), "8")
    });
    if published {
        discovered(oracle, &web);
        moved(oracle, &registry, &source, &web);
        signed(oracle, &source);
    }
    // GnuPG started an agent, which would outlive the checks.
    let _ = gpg(oracle, "gpgconf --kill all");
}

/// Runs a script with its own GnuPG home.
pub(super) fn gpg(oracle: &Oracle, script: &str) -> Result<String> {
    oracle.shell(&format!("export GNUPGHOME=\"$PWD/gnupg\"\n{script}"))
}

/// Pushes four images of two platforms, under ten tags.
fn repository(oracle: &Oracle, registry: &Registry) -> Result {
    for image in 1..=4 {
        let mut acis = Vec::new();
        for arch in ARCHITECTURES {
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

/// Publishes to a folder that a server serves.
fn publish(oracle: &Oracle, source: &str, web: &Web, to: &str, more: &[&str]) -> Result<String> {
    let url = web.url();
    let options = ["--host", "localhost", "--url", &url, "--pubkeys", "key.pub"];
    oracle.imgconv(&[&["publish", source, to, "--image-tags"], &options[..], more].concat())
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

/// How a client that knows no tags asks for an image.
fn app(oracle: &Oracle, tag: &str, arch: &str) -> Result<String> {
    let labels = resolved(oracle, tag, arch)?;
    let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    Ok(format!("{NAME},{}", pairs.join(",")))
}

/// Follows every tag on both platforms as a client would: labels, discovery, the ACI; all of it over
/// https.
fn discovered(oracle: &mut Oracle, web: &Web) {
    let title = "appc: actool discover finds every image, over https";
    oracle.check(title, &[], |oracle| {
        let port = format!("--port={}", web.port);
        let site = web.url();
        for (tag, image) in TAGS {
            for arch in ARCHITECTURES {
                let app = app(oracle, tag, arch)?;
                let trust = "SSL_CERT_FILE=trusted/ca.crt";
                let said =
                    oracle.peer("env", &[trust, "actool", "discover", &port, "--json", &app])?;
                let start = said.find('{').ok_or_else(|| said.clone())?;
                let found: Value =
                    serde_json::from_str(&said[start..]).map_err(|e| format!("{e}: {said}"))?;
                let url = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let keys = url(&found["PublicKeys"][0]);
                equal("public keys", &*keys, &*format!("{site}/pubkeys.gpg"))?;
                let aci = url(&found["ACIEndpoints"][0]["ACI"]);
                let get = format!(
                    "{trust} python3 -c '{FETCH}' '{aci}' > got.aci\n\
                     actool validate got.aci\ntar -xOzf got.aci rootfs/etc/image"
                );
                contains(&oracle.shell(&get)?, &format!("{image} {arch}"))
                    .map_err(|e| format!("{tag}: {e}"))?;
            }
        }
        Ok(())
    });
    let title = "appc: actool discover trusts no other certificate";
    oracle.check(title, &[], |oracle| {
        let app = app(oracle, "1", "amd64")?;
        let said = oracle.shell(&format!("! actool discover --port={} {app} 2>&1", web.port))?;
        contains(&said, "discovery failed")
    });
}

/// Signs a site, and lets GnuPG judge; and the other way round.
fn signed(oracle: &mut Oracle, source: &str) {
    let mut web = None;
    let published = oracle.check("appc: imgconv publish --pgp-key", &[], |oracle| {
        let started = Web::start(oracle, "signed")?;
        let key = ["--pgp-key", "key.sec", "--pgp-passphrase", "passphrase"];
        publish(oracle, source, &started, "signed", &key)?;
        web = Some(started);
        Ok(())
    });
    let Some(web) = web.filter(|_| published) else {
        return;
    };
    oracle.check("appc: gpg verifies what we signed", &[], |oracle| {
        let each = "find signed -name '*.asc' | while read -r asc; do \
                    gpg --batch --quiet --verify \"$asc\" \"${asc%.asc}\" 2>/dev/null || exit 1; \
                    echo \"$asc\"; done";
        let good = gpg(oracle, each)?;
        equal(
            "good signatures of 8 ACIs and the tags",
            &good.lines().count(),
            &9,
        )
    });
    let title = "appc: imgconv finds every image, over https, and who signed it";
    oracle.check(title, &[], |oracle| {
        let options = web.found();
        let options: Vec<&str> = options.iter().map(|option| &**option).collect();
        let run = |app: &str, key: &str| {
            let app = format!("appc:{app}");
            let arguments = [&["verify", &app, "--keyring", key], &options[..]].concat();
            oracle.imgconv(&arguments)
        };
        for (tag, _) in TAGS {
            for arch in ARCHITECTURES {
                let app = format!("{NAME}:{tag},os=linux,arch={arch}");
                contains(&run(&app, "key.pub")?, "Oracle <oracle@localhost>")?;
            }
        }
        match run(&format!("{NAME}:1,os=linux,arch=amd64"), "other.pub") {
            Ok(said) => Err(format!("another key was taken: {said}")),
            Err(said) => contains(&said, "is not trusted for"),
        }
    });
    oracle.check("appc: we accept what gpg signed", &[], |oracle| {
        let sign = "cp appc-1-amd64.aci by-gpg.aci\n\
                    gpg --batch --pinentry-mode loopback --passphrase-file passphrase \
                    --local-user oracle@localhost --armor --detach-sign by-gpg.aci";
        gpg(oracle, sign)?;
        let verify = ["verify", "by-gpg.aci", "--keyring", "key.pub"];
        contains(&oracle.imgconv(&verify)?, "Oracle <oracle@localhost>")?;
        let path = oracle.path("by-gpg.aci");
        let mut bytes = fs::read(&path).map_err(|e| e.to_string())?;
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        fs::write(&path, bytes).map_err(|e| e.to_string())?;
        match oracle.imgconv(&verify) {
            Ok(said) => Err(format!("a changed byte was taken: {said}")),
            Err(said) => contains(&said, "exit status: 4"),
        }
    });
}

/// Moves a tag and publishes again.
fn moved(oracle: &mut Oracle, registry: &Registry, source: &str, web: &Web) {
    oracle.check(
        "appc: a moved tag changes the tags file alone",
        &["skopeo"],
        |oracle| {
            let list = "find site -type f -exec sha256sum '{}' + | sort -k2; \
                        find site -type f -printf '%T@ %p\\n' | sort -k2";
            let before = oracle.shell(list)?;
            push(oracle, registry, 2, "latest")?;
            publish(oracle, source, web, "site", &[])?;
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
