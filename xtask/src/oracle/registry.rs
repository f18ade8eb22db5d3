//! Checks against a real registry: skopeo and docker confirm pulls and pushes, with TLS and
//! passwords, and over connections that break.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::checks::{Oracle, contains};
use super::docker::{LAYERS_PRINT, equal, layers};
use super::engine::Engine;
use super::mirrors;
use super::registry_server::{Registry, certificates};
use crate::process::Result;

/// The groups of this file; all use the engine.
pub(super) const GROUPS: [&str; 1] = ["registry"];

/// The image that is pushed; umoci gave it a history, without which skopeo writes no schema 1.
const IMAGE: &str = "example.com/layers/second:1";

/// Two images of one layout as one index, and a layout with 40 MB that can't be compressed.
const INPUTS: &str = r#"
index() {
  jq -c '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [.manifests[:2] | to_entries[] | .value | {mediaType, digest, size}]}
    | .manifests[0].platform = {os: "linux", architecture: "amd64"}
    | .manifests[1].platform = {os: "linux", architecture: "arm64", variant: "v8"}' "$1"
}
entry() {
  jq -nc --arg kind "$2" --arg digest "sha256:$(sha256sum < "$1" | cut -c-64)" \
    --argjson size "$(stat -c %s "$1")" '{mediaType: $kind, digest: $digest, size: $size}'
}
store() { cp "$1" "$2/blobs/sha256/$(sha256sum < "$1" | cut -c-64)"; }
layout() {
  jq -nc --argjson entry "$(entry "$1" "$2")" '{schemaVersion: 2, manifests: [$entry |
    .annotations = {"org.opencontainers.image.ref.name": "x"}]}' > "$3/index.json"
  printf '{"imageLayoutVersion":"1.0.0"}' > "$3/oci-layout"
}
cp -a docker-base multi
index docker-base/index.json > multi.json
test "$(jq '.manifests | length' multi.json)" = 2
store multi.json multi
layout multi.json application/vnd.oci.image.index.v1+json multi
mkdir -p big/blobs/sha256 big-root
head -c 40000000 /dev/urandom > big-root/random
tar -C big-root -cf big.tar random
store big.tar big
jq -nc --arg id "sha256:$(sha256sum < big.tar | cut -c-64)" '{architecture: "amd64", os: "linux",
  rootfs: {type: "layers", diff_ids: [$id]}}' > big-config.json
store big-config.json big
v1=application/vnd.oci.image
jq -nc --arg kind $v1.manifest.v1+json --argjson config "$(entry big-config.json $v1.config.v1+json)" \
  --argjson layer "$(entry big.tar $v1.layer.v1.tar)" \
  '{schemaVersion: 2, mediaType: $kind, config: $config, layers: [$layer]}' > big.json
store big.json big
layout big.json $v1.manifest.v1+json big
"#;

/// User and password, and their line for the registry: a published test vector of bcrypt.
pub(super) const USER: (&str, &str) = ("oracle", "U*U");
pub(super) const HTPASSWD: &str =
    "oracle:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";

/// The key of RFC 7515, appendix A.3: registries take schema 1 only signed.
const KEY: &str = r#"{"kty":"EC","crv":"P-256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;

/// Runs every check of the group.
pub(super) fn run(oracle: &mut Oracle, engine: Option<&Engine>) {
    let Some(engine) = engine.filter(|_| oracle.wants("registry")) else {
        return;
    };
    let mut registry = None;
    let needs = [
        "docker-registry",
        "root",
        "actool",
        "busybox",
        "setcap",
        "setfattr",
        "umoci",
        "jq",
    ];
    oracle.check("registry: it starts", &needs, |oracle| {
        layers(oracle)?;
        oracle.shell(INPUTS)?;
        registry = Some(Registry::start(oracle, "open-registry")?);
        Ok(())
    });
    if let Some(registry) = registry {
        pull(oracle, registry.port);
        mirrors::run(oracle, registry.port);
        push(oracle, registry.port, engine);
        broken(oracle, registry.port);
    }
    guarded(oracle);
}

/// Runs skopeo, which takes every image from anywhere.
fn skopeo(oracle: &Oracle, arguments: &[&str]) -> Result<String> {
    let all = [&["--insecure-policy", "copy"][..], arguments].concat();
    oracle.peer("skopeo", &all)
}

/// Asks skopeo for the digest of a tag.
fn digest_of(oracle: &Oracle, remote: &str) -> Result<String> {
    let raw = format!("skopeo inspect --tls-verify=false --raw {remote}");
    oracle.shell(&format!("printf 'sha256:'; {raw} | sha256sum | cut -c-64"))
}

/// imgconv pulls images that skopeo pushed, with the same result as skopeo.
fn pull(oracle: &mut Oracle, port: u16) {
    let from = format!("oci:docker-base:{IMAGE}");
    for (name, source, format) in [
        ("oci", &*from, "oci"),
        ("v2s2", &from, "v2s2"),
        ("v2s1", &from, "v2s1"),
        ("multi", "oci:multi:x", "oci"),
        ("list", "oci:multi:x", "v2s2"),
    ] {
        let remote = format!("docker://127.0.0.1:{port}/theirs/{name}:t");
        let title = format!("registry: we pull {name} as skopeo does");
        oracle.check(&title, &["skopeo", "jq"], |oracle| {
            let to = ["--dest-tls-verify=false", source, &*remote];
            let kept = ["--all", "--preserve-digests"];
            let formatted = ["--format", format];
            let how = match name {
                "multi" => &kept[..],
                "list" => &["--all", "--format", format],
                _ => &formatted,
            };
            skopeo(oracle, &[how, &to[..]].concat())?;
            let tls = "--src-tls-verify=false";
            if name == "list" {
                let listed = oracle.imgconv(&["ls", &remote])?;
                let raw = format!("skopeo inspect {} --raw {remote}", "--tls-verify=false");
                let children = oracle.shell(&format!("{raw} | jq -r '.manifests[].digest'"))?;
                for child in children.lines() {
                    contains(&listed, &format!("docker-v2s2  {child}"))?;
                }
                return equal("lines", &listed.lines().count(), &2);
            }
            if name == "oci" || name == "multi" {
                oracle.imgconv(&["convert", &remote, &format!("oci:our-{name}:x")])?;
                skopeo(oracle, &["--all", tls, &remote, &format!("oci:their-{name}:x")])?;
                let (ours, theirs) = (format!("our-{name}"), format!("their-{name}"));
                return equal("digest", &oracle.root_of(&ours)?, &oracle.root_of(&theirs)?);
            }
            oracle.imgconv(&["convert", &remote, &format!("dir:our-{name}")])?;
            skopeo(oracle, &[tls, &remote, &format!("dir:their-{name}")])?;
            // Debian's registry signs schema 1 anew each time.
            oracle
                .shell(&format!(
                    "for side in our their; do\n  jq -S 'del(.signatures)' $side-{name}/manifest.json \
                     > $side-{name}.json\n  ls $side-{name} > $side-{name}.list\ndone\n\
                     cmp our-{name}.json their-{name}.json && cmp our-{name}.list their-{name}.list"
                ))
                .map(drop)
        });
    }
    oracle.check(
        "registry: imgconv ls lists every tag",
        &["skopeo"],
        |oracle| {
            let remote = format!("docker://127.0.0.1:{port}/theirs/oci");
            let tags: Vec<String> = (0..12).map(|i| format!("{remote}:tag-{i}")).collect();
            for tag in &tags {
                let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
                skopeo(oracle, &[tls[0], tls[1], &format!("{remote}:t"), tag])?;
            }
            let listed = oracle.imgconv(&["ls", &remote])?;
            equal("lines", &listed.lines().count(), &13)?;
            contains(&listed, "theirs/oci:tag-11")
        },
    );
    oracle.check("registry: imgconv verify and inspect", &[], |oracle| {
        let remote = format!("docker://127.0.0.1:{port}/theirs/oci:t");
        contains(
            &oracle.imgconv(&["inspect", &remote])?,
            "platform: linux/amd64",
        )?;
        contains(&oracle.imgconv(&["verify", &remote])?, "nothing wrong")
    });
}

/// skopeo and docker read pushed images unchanged.
fn push(oracle: &mut Oracle, port: u16, engine: &Engine) {
    let from = format!("oci:docker-base:{IMAGE}");
    let list = format!("docker://127.0.0.1:{port}/theirs/list:t");
    for (name, source, format) in [
        ("oci", &*from, ""),
        ("v2s2", &from, "docker-v2s2+"),
        ("v2s1", &from, "docker-v2s1+"),
        ("multi", "oci:multi:x", ""),
        ("list", &list, "docker-v2s2+"),
    ] {
        let image = format!("127.0.0.1:{port}/ours/{name}:t");
        let remote = format!("docker://{image}");
        let title = format!("registry: skopeo agrees with our {name}");
        let pushed = oracle.check(&title, &["skopeo", "jq"], |oracle| {
            let to = format!("{format}{remote}");
            fs::write(oracle.path("key.json"), KEY).map_err(|e| e.to_string())?;
            let signed: &[&str] = match name {
                "v2s1" => &["--sign-key", "key.json"],
                _ => &[],
            };
            oracle.imgconv(&[&["convert", source, &to], signed].concat())?;
            let tls = "--src-tls-verify=false";
            skopeo(oracle, &["--all", tls, &remote, &format!("dir:pushed-{name}")])?;
            let again = [tls, "--dest-tls-verify=false", "--all", &remote];
            skopeo(oracle, &[&again[..], &[&format!("{remote}-again")]].concat())?;
            match name {
                "v2s1" => Ok(()),
                "list" => equal("digest", &digest_of(oracle, &remote)?, &digest_of(oracle, &list)?),
                "v2s2" => {
                    oracle.imgconv(&["convert", source, "docker-v2s2+dir:local-v2s2"])?;
                    let same = "cmp local-v2s2/manifest.json pushed-v2s2/manifest.json";
                    oracle.shell(same).map(drop)
                }
                _ => {
                    // The bytes of the manifest are those of the layout.
                    let digest = oracle.shell(&format!(
                        "printf 'sha256:'; sha256sum < pushed-{name}/manifest.json | cut -c-64"
                    ))?;
                    let layout = source.split(':').nth(1).unwrap_or_default();
                    let wanted = format!(
                        "jq -r '.manifests[] | select(.annotations[\"org.opencontainers.image.ref.name\"] \
                         == \"{}\").digest' {layout}/index.json",
                        source.splitn(3, ':').nth(2).unwrap_or_default()
                    );
                    equal("digest", &digest, &oracle.shell(&wanted)?)
                }
            }
        });
        if pushed {
            let runs = ["oci", "v2s2", "v2s1"].contains(&name);
            let how = if runs { "pulls and runs" } else { "pulls" };
            let title = format!("registry: docker {how} our {name}");
            oracle.check(&title, &[], |oracle| {
                let said = engine.docker(oracle, &["pull", &image])?;
                // Debian's registry signs schema 1 anew each time.
                if name != "v2s1" {
                    contains(&said, digest_of(oracle, &remote)?.trim())?;
                }
                if !runs {
                    return Ok(());
                }
                let run = ["run", "--rm", "--network", "none", &image];
                equal(
                    "what it printed",
                    engine.docker(oracle, &run)?.as_str(),
                    LAYERS_PRINT,
                )
            });
        }
    }
    oracle.check(
        "registry: a copy inside it mounts its blobs",
        &["skopeo"],
        |oracle| {
            let image = |name: &str| format!("docker://127.0.0.1:{port}/{name}:t");
            oracle.imgconv(&["convert", &image("ours/oci"), &image("ours/mounted")])?;
            let digest = |name: &str| {
                let arguments = [
                    "inspect",
                    "--tls-verify=false",
                    "--format",
                    "{{.Digest}}",
                    name,
                ];
                oracle.peer("skopeo", &arguments)
            };
            equal(
                "digest",
                &digest(&image("ours/mounted"))?,
                &digest(&image("ours/oci"))?,
            )
        },
    );
}

/// Connections that break in the middle: up- and download go on and end right.
fn broken(oracle: &mut Oracle, port: u16) {
    oracle.check(
        "registry: a push and a pull survive cut connections",
        &["skopeo"],
        |oracle| {
            let proxy = Proxy::start(port, 3).map_err(|e| e.to_string())?;
            let remote = format!("docker://127.0.0.1:{}/ours/big:t", proxy.port);
            oracle.imgconv(&["convert", "oci:big:x", &remote])?;
            let cut = proxy.cut.load(Ordering::Relaxed);
            drop(proxy);
            let proxy = Proxy::start(port, 3).map_err(|e| e.to_string())?;
            let remote = format!("docker://127.0.0.1:{}/ours/big:t", proxy.port);
            oracle.imgconv(&["convert", &remote, "oci:pulled-big:x"])?;
            let cut = cut + proxy.cut.load(Ordering::Relaxed);
            equal("connections that were cut", &cut, &6)?;
            equal(
                "digest",
                &oracle.root_of("pulled-big")?,
                &oracle.root_of("big")?,
            )?;
            let direct = format!("docker://127.0.0.1:{port}/ours/big:t");
            skopeo(
                oracle,
                &[
                    "--preserve-digests",
                    "--src-tls-verify=false",
                    &direct,
                    "oci:skopeo-big:x",
                ],
            )?;
            equal(
                "digest",
                &oracle.root_of("skopeo-big")?,
                &oracle.root_of("big")?,
            )
        },
    );
}

/// TLS and a password.
fn guarded(oracle: &mut Oracle) {
    let needs = ["docker-registry", "openssl", "skopeo", "jq", "root"];
    oracle.check("registry: TLS of a test CA, and a password", &needs, |oracle| {
        certificates(oracle)?;
        let at = |name: &str| oracle.path(name).display().to_string();
        fs::write(oracle.path("htpasswd"), HTPASSWD).map_err(|e| e.to_string())?;
        fs::write(oracle.path("none.json"), "{}").map_err(|e| e.to_string())?;
        let http = format!(
            "  tls:\n    certificate: '{}'\n    key: '{}'\n",
            at("tls/server.crt"),
            at("tls/server.key")
        );
        let auth = format!("auth:\n  htpasswd:\n    realm: oracle\n    path: '{}'\n", at("htpasswd"));
        let registry = Registry::start_with(oracle, "guarded", &http, &auth)?;
        let remote = format!("docker://127.0.0.1:{}/x/y:t", registry.port);
        let source = format!("oci:docker-base:{IMAGE}");
        let (user, password) = USER;
        let login = format!("--password-stdin --username {user} --authfile auth.json --cert-dir trusted");
        oracle.shell(&format!(
            "printf %s '{password}' | skopeo login {login} 127.0.0.1:{}",
            registry.port
        ))?;
        let trust = ["--cert-dir", "trusted"];
        let known = ["--authfile", "auth.json"];
        oracle.imgconv(&[&["convert", &source, &remote][..], &trust, &known].concat())?;
        oracle.imgconv(&[&["convert", &remote, "oci:guarded-oci:x"][..], &trust, &known].concat())?;
        oracle.shell(&format!(
            "skopeo --insecure-policy copy --authfile auth.json --src-cert-dir trusted {remote} oci:guarded-skopeo:x"
        ))?;
        equal("digest", &oracle.root_of("guarded-oci")?, &oracle.root_of("guarded-skopeo")?)?;
        for (missing, said) in [
            (format!("--authfile none.json {} {}", trust[0], trust[1]), "denied"),
            ("--authfile auth.json".to_owned(), "TLS"),
        ] {
            let refused = oracle.shell(&format!(
                "code=0; '{}' inspect {remote} {missing} > refused 2>&1 || code=$?; cat refused; test $code = 1",
                oracle.program.display()
            ))?;
            contains(&refused, said)?;
            if refused.contains(password) {
                return Err(format!("the password is in:\n{refused}"));
            }
        }
        Ok(())
    });
}

/// Forwards connections, and cuts the first connections that carry more than a few bytes.
struct Proxy {
    port: u16,
    cut: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

/// Bytes in one direction after which a connection is cut.
const CUT_AFTER: usize = 3 << 20;

impl Proxy {
    fn start(to: u16, cuts: usize) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let proxy = Self {
            port,
            cut: Arc::default(),
            stop: Arc::default(),
        };
        let (cut, stop) = (Arc::clone(&proxy.cut), Arc::clone(&proxy.stop));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                        continue;
                    };
                    let cut = Arc::clone(&cut);
                    thread::spawn(move || pass(&from, &to, &cut, cuts));
                }
            }
        });
        Ok(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts; connections end with their ends.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, cut: &AtomicUsize, cuts: usize) {
    let mut buffer = [0; 1 << 16];
    let mut passed = 0;
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 || to.write_all(&buffer[..n]).is_err() {
            break;
        }
        passed += n;
        let once_more = |done: usize| (done < cuts).then_some(done + 1);
        let order = Ordering::Relaxed;
        if passed > CUT_AFTER && cut.fetch_update(order, order, once_more).is_ok() {
            let _ = from.shutdown(Shutdown::Both);
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
