//! Checks of `imgconv serve`: clients of registries pull from one server every image that they can hold,
//! and run one. The digests are those that a conversion to a registry gives.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use imgconv_testkit::{build, dozen};
use serde_json::Value;

use super::appc;
use super::checks::{Oracle, contains};
use super::daemon::Running;
use super::docker::{LAYERS_PRINT, equal, layers};
use super::engines;
use super::inputs;
use super::registry::{HTPASSWD, USER};
use super::registry_server::{Registry, certificates};
use crate::process::{Result, end, installed};

/// The image that is run, as a layout has it.
const RUNNABLE: &str = "oci:docker-base:example.com/layers/second:1";
const ARCHIVE: &str = "serve/saved.tar";
const PLATFORMS: &str = "serve/platforms";
/// The options for TLS.
const TLS: [&str; 4] = [
    "--tls-cert",
    "tls/server.crt",
    "--tls-key",
    "tls/server.key",
];

/// A served image: the repository and tag, the locator of the source, and whether it is an index.
struct Image {
    served: &'static str,
    source: String,
    /// True if newer clients refuse the stored format.
    schema1: bool,
}

/// A running server.
struct Server {
    child: Child,
    port: String,
}

impl Server {
    /// Starts the server for places.
    fn start(oracle: &Oracle, places: &[String]) -> Result<Self> {
        Self::start_with(oracle, places, &[])
    }

    /// Starts the server for places, with options.
    fn start_with(oracle: &Oracle, places: &[String], options: &[&str]) -> Result<Self> {
        let log = File::create(oracle.path("serve/log")).map_err(|e| e.to_string())?;
        let mut child = Command::new(&oracle.program)
            .arg("serve")
            .args(places)
            .args(["--listen", "127.0.0.1:0"])
            .args(options)
            .current_dir(&oracle.work)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output)
                .read_line(&mut line)
                .map_err(|e| e.to_string())?;
        }
        let port = line
            .split("127.0.0.1:")
            .nth(1)
            .and_then(|text| text.split(':').next());
        let port = port.unwrap_or_default().to_owned();
        let mut server = Self { child, port };
        if server.port.is_empty() {
            end(&mut server.child, Duration::from_secs(5));
            let log = fs::read_to_string(oracle.path("serve/log")).unwrap_or_default();
            return Err(format!("the server does not listen: {line}{log}"));
        }
        Ok(server)
    }

    /// The name of an image here.
    fn name(&self, served: &str) -> String {
        format!("127.0.0.1:{}/{served}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child, Duration::from_secs(10));
    }
}

/// Runs every check of the server.
pub(super) fn run(oracle: &mut Oracle) {
    if !oracle.wants("serve") {
        return;
    }
    let needs = [
        "skopeo",
        "umoci",
        "busybox",
        "setcap",
        "setfattr",
        "actool",
        "docker-registry",
        "jq",
        "root",
    ];
    let mut made = None;
    oracle.check(
        "serve: one server for five kinds of places",
        &needs,
        |oracle| {
            let images = images(oracle)?;
            let mut places: Vec<String> = images.iter().map(|image| place(&image.source)).collect();
            places.dedup();
            let server = Server::start(oracle, &places)?;
            made = Some((server, images));
            Ok(())
        },
    );
    let Some((server, images)) = made else {
        return;
    };
    oracle.check("serve: skopeo lists the tags", &["skopeo"], |oracle| {
        let remote = format!("docker://{}", server.name("layers/second"));
        let listed = oracle.peer("skopeo", &["list-tags", "--tls-verify=false", &remote])?;
        contains(&listed, "\"1\"")
    });
    oracle.check(
        "serve: the digests are those of a conversion",
        &["skopeo"],
        |oracle| {
            let registry = Registry::start(oracle, "serve/registry")?;
            // A conversion keeps a manifest of schema 1, which a registry takes only under the name in it.
            let images = images.iter().filter(|image| !image.schema1);
            for (i, image) in images.enumerate() {
                let to = format!("127.0.0.1:{}/converted-{i}:t", registry.port);
                let remote = format!("docker://{to}");
                oracle.imgconv(&["convert", &image.source, &remote])?;
                let (ours, theirs) = (
                    digest(oracle, &server.name(image.served))?,
                    digest(oracle, &to)?,
                );
                equal(image.served, &ours, &theirs)?;
            }
            Ok(())
        },
    );
    for image in &images {
        let title = format!("serve: skopeo copies {}", image.served);
        oracle.check(&title, &["skopeo"], |oracle| {
            copies(oracle, &server, image, &[])
        });
    }
    let title = "serve: skopeo of the newer root copies all images";
    oracle.check(title, &["newer"], |oracle| {
        for image in &images {
            let name = server.name(image.served);
            let all = format!("docker://{name}");
            oracle.newer_shell(&format!(
                "skopeo --insecure-policy copy -q --all --src-tls-verify=false '{all}' \
                 'dir:serve/newer-{}'",
                image.served.replace(['/', ':'], "-")
            ))?;
        }
        Ok(())
    });
    engines(oracle, &server, &images);
    oracle.check(
        "serve: docker pulls and runs an image",
        &["dockerd", "docker", "root"],
        |oracle| runs(oracle, &server, &Running::older(oracle, "serve-docker")?),
    );
    oracle.check(
        "serve: a newer docker pulls and runs an image",
        &["newer", "docker", "root"],
        |oracle| {
            runs(
                oracle,
                &server,
                &Running::newer(oracle, "serve-newer-docker")?,
            )
        },
    );
    oracle.check(
        "serve: docker-registry is a mirror of it",
        &["docker-registry", "skopeo"],
        |oracle| {
            let proxy = format!("proxy:\n  remoteurl: http://127.0.0.1:{}\n", server.port);
            let registry = Registry::start_with(oracle, "serve/mirror", "", &proxy)?;
            for image in images.iter().filter(|image| !image.schema1) {
                let mirrored = format!("127.0.0.1:{}/{}", registry.port, image.served);
                equal(
                    image.served,
                    &digest(oracle, &mirrored)?,
                    &digest(oracle, &server.name(image.served))?,
                )?;
                let to = format!(
                    "dir:serve/mirrored-{}",
                    image.served.replace(['/', ':'], "-")
                );
                let from = format!("docker://{mirrored}");
                let words = [
                    "--insecure-policy",
                    "copy",
                    "-q",
                    "--src-tls-verify=false",
                    &from,
                    &to,
                ];
                oracle.peer("skopeo", &words)?;
            }
            Ok(())
        },
    );
    oracle.check(
        "serve: the page is valid HTML",
        &["python3", "tidy"],
        |oracle| page(oracle, &server, VALIDATE),
    );
    // A browser takes longer to install than all other peers: the check is for those who have one.
    let pictures = "serve: a browser shows the page at 400 and 1400 pixels";
    if installed("chromium") {
        oracle.check(pictures, &[], |oracle| page(oracle, &server, PICTURES));
    } else {
        oracle.skipped += 1;
        println!("skip  {pictures} (chromium is not installed)");
    }
    oracle.check(
        "serve: nothing failed, and SIGTERM ends the server",
        &[],
        |oracle| {
            let mut server = server;
            end(&mut server.child, Duration::from_secs(5));
            let status = server.child.wait().map_err(|e| e.to_string())?;
            equal(
                "the exit status",
                &status.code().unwrap_or(-1).to_string(),
                &"0".to_owned(),
            )?;
            let log = fs::read_to_string(oracle.path("serve/log")).map_err(|e| e.to_string())?;
            let others = log.lines().filter(|line| !line.starts_with("making "));
            equal("the log", &others.collect::<String>(), &String::new())
        },
    );
    appc(oracle);
    guarded(oracle);
}

/// appc discovery over TLS: the ACIs are those that `publish` makes, and carry good signatures.
fn appc(oracle: &mut Oracle) {
    let needs = ["actool", "gpg", "openssl", "python3", "skopeo", "root"];
    let mut started = None;
    oracle.check("serve: appc over TLS of a test CA", &needs, |oracle| {
        certificates(oracle)?;
        appc::gpg(oracle, appc::KEY)?;
        let places = ["oci:docker-base", "docker-archive:serve/saved.tar"].map(str::to_owned);
        let options = [
            &TLS[..],
            &["--host", "localhost", "--pubkeys", "key.pub"],
            &["--pgp-key", "key.sec", "--pgp-passphrase", "passphrase"],
        ];
        started = Some(Server::start_with(oracle, &places, &options.concat())?);
        Ok(())
    });
    let Some(server) = started else {
        return;
    };
    let trust = "SSL_CERT_FILE=trusted/ca.crt";
    let title = "serve: actool discover finds every ACI, equal to those of publish, and gpg their signatures";
    oracle.check(title, &[], |oracle| {
        let published = [
            "publish",
            "oci:docker-base",
            ARCHIVE,
            "serve/site",
            "--host",
            "localhost",
        ];
        oracle.imgconv(&published)?;
        for name in ["layers/first", "layers/second", "archive/x"] {
            let app = format!("localhost/{name}:1,os=linux,arch=amd64");
            let port = format!("--port={}", server.port);
            let said = oracle.peer("env", &[trust, "actool", "discover", &port, "--json", &app])?;
            let start = said.find('{').ok_or_else(|| said.clone())?;
            let found: Value =
                serde_json::from_str(&said[start..]).map_err(|e| format!("{e}: {said}"))?;
            let site = format!("https://localhost:{}", server.port);
            let keys = found["PublicKeys"][0].as_str().unwrap_or_default();
            equal("public keys", keys, &*format!("{site}/pubkeys.gpg"))?;
            let aci = found["ACIEndpoints"][0]["ACI"].as_str().unwrap_or_default();
            appc::gpg(
                oracle,
                &format!(
                    "fetch() {{ {trust} python3 -c '{}' \"$1\"; }}\n\
                     fetch '{aci}' > served.aci; fetch '{aci}.asc' > served.aci.asc\n\
                     fetch '{keys}' | cmp - key.pub\nactool validate served.aci\n\
                     cmp served.aci 'serve/site/aci/localhost/{name}/1-linux-amd64.aci'\n\
                     gpg --batch --quiet --verify served.aci.asc served.aci 2>/dev/null",
                    appc::FETCH
                ),
            )
            .map_err(|e| format!("{name}: {e}"))?;
        }
        Ok(())
    });
    oracle.check(
        "serve: imgconv finds ACIs and tags, and who signed them",
        &[],
        |oracle| {
            let mirror = format!("localhost=localhost:{}", server.port);
            let options = [
                "--keyring",
                "key.pub",
                "--mirror",
                &mirror,
                "--cert-dir",
                "trusted",
            ];
            let app = "appc:localhost/layers/second:1";
            let said = oracle.imgconv(&[&["verify", app], &options[..]].concat())?;
            contains(&said, "Oracle <oracle@localhost>")
        },
    );
    // GnuPG started an agent, which would outlive the checks.
    let _ = appc::gpg(oracle, "gpgconf --kill all");
}

/// TLS and a password.
fn guarded(oracle: &mut Oracle) {
    let needs = ["openssl", "skopeo", "root"];
    let mut started = None;
    oracle.check(
        "serve: TLS of a test CA, and a password",
        &needs,
        |oracle| {
            certificates(oracle)?;
            fs::write(oracle.path("htpasswd"), HTPASSWD).map_err(|e| e.to_string())?;
            let options = [&TLS[..], &["--htpasswd", "htpasswd"]].concat();
            started = Some(Server::start_with(
                oracle,
                &["oci:docker-base".to_owned()],
                &options,
            )?);
            Ok(())
        },
    );
    let Some(server) = started else {
        return;
    };
    let name = server.name("layers/second:1");
    let (user, password) = USER;
    oracle.check(
        "serve: skopeo logs in over TLS and copies",
        &["skopeo"],
        |oracle| {
            let login = "--password-stdin --authfile serve/auth.json --cert-dir trusted";
            let at = format!("127.0.0.1:{}", server.port);
            oracle
                .shell(&format!(
                    "printf %s '{password}' | skopeo login --username {user} {login} {at}\n\
             skopeo --insecure-policy copy -q --authfile serve/auth.json --src-cert-dir trusted \
             docker://{name} dir:serve/guarded\n\
             ! printf x | skopeo login --username {user} {login} {at}\n\
             ! skopeo --insecure-policy copy -q --authfile none.json --src-cert-dir trusted \
             docker://{name} dir:serve/refused"
                ))
                .map(drop)
        },
    );
    oracle.check(
        "serve: imgconv reads over TLS with the credentials of skopeo",
        &[],
        |oracle| {
            let remote = format!("docker://{name}");
            let options = ["--cert-dir", "trusted", "--authfile", "serve/auth.json"];
            oracle
                .imgconv(&[&["verify", &remote][..], &options].concat())
                .map(drop)
        },
    );
    let needs = ["dockerd", "docker", "root"];
    oracle.check(
        "serve: docker logs in over TLS and pulls",
        &needs,
        |oracle| {
            let engine = Running::older(oracle, "serve-login")?;
            let config = oracle.path("serve/docker-config").display().to_string();
            let at = format!("127.0.0.1:{}", server.port);
            let login = [
                "--config", &config, "login", "-u", user, "-p", password, &at,
            ];
            if engine.docker(oracle, &["pull", "-q", &name]).is_ok() {
                return Err("an image was pulled without a password".into());
            }
            engine.docker(oracle, &login)?;
            engine
                .docker(oracle, &["--config", &config, "pull", "-q", &name])
                .map(drop)
        },
    );
}

/// Fetches the page `$1`, and demands that the validator has no warning.
const VALIDATE: &str = "no_proxy='*' python3 -c 'import sys, urllib.request as http; \
    sys.stdout.buffer.write(http.urlopen(sys.argv[1]).read())' \"$1\" > serve/page.html; \
    tidy -errors -q serve/page.html";

/// Draws the page `$1` to `serve/page-400.png` and `serve/page-1400.png`, which `--keep` keeps to be looked at.
const PICTURES: &str = "for width in 400 1400; do \
    chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --no-proxy-server \
        --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars \
        --user-data-dir=\"$PWD/serve/browser\" --window-size=$width,900 \
        --screenshot=\"$PWD/serve/page-$width.png\" \"$1\" 2>>serve/browser.log; \
    test -s serve/page-$width.png; done";

/// Runs a script over the page of the server.
fn page(oracle: &Oracle, server: &Server, script: &str) -> Result {
    let url = format!("http://127.0.0.1:{}/", server.port);
    oracle.peer("sh", &["-euc", script, "sh", &url]).map(drop)
}

/// Makes the places.
fn images(oracle: &Oracle) -> Result<Vec<Image>> {
    layers(oracle)?;
    let copy = |words: &[&str]| {
        let all = [&["--insecure-policy", "copy", "-q"], words].concat();
        oracle.peer("skopeo", &all).map(drop)
    };
    let archive = oracle.path(ARCHIVE);
    copy(&[
        RUNNABLE,
        &format!(
            "docker-archive:{}:example.com/archive/x:1",
            archive.display()
        ),
    ])?;
    build::layout_of_tars(&dozen::platforms(), &oracle.path(PLATFORMS))
        .map_err(|e| e.to_string())?;
    let aci = inputs::busybox(oracle)?;
    {
        let registry = Registry::start(oracle, "serve/old")?;
        let remote = format!("docker://{}", registry.image("schema1"));
        copy(&[
            "--dest-tls-verify=false",
            "--format",
            "v2s1",
            RUNNABLE,
            &remote,
        ])?;
    }
    let image = |served, source: String| Image {
        served,
        source,
        schema1: false,
    };
    Ok(vec![
        image("layers/second:1", RUNNABLE.to_owned()),
        image(
            "layers/first:1",
            "oci:docker-base:example.com/layers/first:1".to_owned(),
        ),
        image("archive/x:1", format!("docker-archive:{ARCHIVE}")),
        image("platforms:1", format!("oci:{PLATFORMS}")),
        image("oracle/busybox:1.0", format!("aci:{}", aci.aci.display())),
        Image {
            schema1: true,
            ..image(
                "library/schema1:t",
                "registry-storage:serve/old/data".to_owned(),
            )
        },
    ])
}

/// The place of a source, without the name of the image.
fn place(source: &str) -> String {
    let mut parts = source.splitn(3, ':');
    let both = [parts.next(), parts.next()];
    both.map(Option::unwrap_or_default).join(":")
}

fn digest(oracle: &Oracle, name: &str) -> Result<String> {
    let remote = format!("docker://{name}");
    let words = [
        "inspect",
        "--tls-verify=false",
        "--format",
        "{{.Digest}}",
        &remote,
    ];
    oracle
        .peer("skopeo", &words)
        .map(|text| text.trim().to_owned())
}

/// Demands that skopeo copies an image, with everything that an index lists.
fn copies(oracle: &Oracle, server: &Server, image: &Image, more: &[&str]) -> Result {
    let to = format!("dir:serve/copy-{}", image.served.replace(['/', ':'], "-"));
    let from = format!("docker://{}", server.name(image.served));
    let words = [
        "--insecure-policy",
        "copy",
        "-q",
        "--all",
        "--src-tls-verify=false",
        &from,
        &to,
    ];
    oracle
        .peer("skopeo", &[&words[..], more].concat())
        .map(drop)
}

/// Fills the stores of engines by pulling every image that they can hold.
fn engines(oracle: &mut Oracle, server: &Server, images: &[Image]) {
    for store in engines::STORES {
        let needs = [store.needs, &["root"]].concat();
        let title = format!("serve: {} pulls", store.name);
        oracle.check(&title, &needs, |oracle| {
            let held = |image: &&Image| !image.schema1 || store.held.schema1;
            let names = images
                .iter()
                .filter(held)
                .map(|image| server.name(image.served));
            let names: Vec<String> = names.collect();
            // Podman takes no long name of a run root.
            let words = [
                ("LOADED", String::new()),
                ("PULLED", names.join(" ")),
                ("REFUSED", String::new()),
            ];
            let printed = engines::fill_with(oracle, store, &format!("{}-p", store.name), &words)?;
            for name in names {
                contains(&printed, &format!("{name} "))?;
            }
            Ok(())
        });
    }
}

/// Demands that an engine pulls an image and runs it.
fn runs(oracle: &Oracle, server: &Server, engine: &Running) -> Result {
    for (served, prints) in [
        ("layers/second:1", LAYERS_PRINT),
        ("archive/x:1", LAYERS_PRINT),
        ("oracle/busybox:1.0", "busybox speaks\n"),
    ] {
        let name = server.name(served);
        engine.docker(oracle, &["pull", "-q", &name])?;
        let printed = engine.docker(oracle, &["run", "--rm", "--network", "none", &name])?;
        equal(served, printed.as_str(), prints)?;
    }
    Ok(())
}
