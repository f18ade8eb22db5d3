//! A published site behind a server with TLS: discovery by name, signatures, and refusals.

use std::{fs, path::Path};

use crate::sandbox::{LABELS, Sandbox, labels};
use imgconv_testkit::{
    server::{Authority, Reply, Server},
    snapshot,
};

/// The keys of the tests of signatures; their README says more.
fn key(name: &str) -> String {
    format!(
        "{}/../../core/openpgp/tests/data/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

/// A folder with a site `site`, and a server that stands for `example.com`.
struct Site {
    sandbox: Sandbox,
    server: Server,
}

impl Site {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let authority = Authority::new();
        fs::create_dir(sandbox.path("trusted")).unwrap();
        fs::write(sandbox.path("trusted/ca.crt"), authority.pem()).unwrap();
        let root = sandbox.path("site");
        let server = Server::start_tls(&authority.server(), move |request| {
            let mut path = root.join(request.path().trim_start_matches('/'));
            if path.is_dir() {
                path.push("index.html");
            }
            fs::read(path).map_or_else(|_| Reply::status(404), Reply::ok)
        });
        Self { sandbox, server }
    }

    /// Publishes to the site, signed.
    fn publish(&self, sources: &[&str]) {
        let (url, public, secret) = (
            self.server.url(""),
            key("bob.pub.asc"),
            key("bob.secret.asc"),
        );
        let options = [
            "--image-tags",
            "--host",
            "example.com",
            "--url",
            &url,
            "--pubkeys",
            &public,
            "--pgp-key",
            &secret,
        ];
        self.sandbox
            .ok(&[&["publish"], sources, &["site"], &options[..]].concat());
    }

    /// Publishes one image, tagged `1.0`, as `example.com/team/app`.
    fn publish_app(&self) {
        let rootfs = ["dir etc\nfile etc/image \"app\""];
        self.sandbox
            .layout("oci", "registry.example/team/app", &rootfs);
        self.publish(&["oci"]);
    }

    /// The arguments with which the server is found, and the keys of `ring` trusted.
    fn with(&self, args: &[&str], ring: &str) -> Vec<String> {
        let mirror = format!("example.com={}", self.server.authority());
        let more = ["--mirror", &mirror, "--cert-dir", "trusted"];
        let mut all: Vec<String> = [args, &more].concat().iter().map(|&it| it.into()).collect();
        if !ring.is_empty() {
            all.extend(["--keyring".to_owned(), key(ring)]);
        }
        all
    }

    fn ok(&self, args: &[&str], ring: &str) -> String {
        let args = self.with(args, ring);
        let args: Vec<&str> = args.iter().map(|it| &**it).collect();
        self.sandbox.ok(&args)
    }

    fn fails(&self, args: &[&str], ring: &str, exit: i32, text: &str) {
        let args = self.with(args, ring);
        let args: Vec<&str> = args.iter().map(|it| &**it).collect();
        self.sandbox.fails(&args, exit, &[text]);
    }

    /// Changes the last byte of a file below the site.
    fn damage(&self, file: &Path) {
        let mut bytes = fs::read(file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(file, bytes).unwrap();
    }

    /// The one ACI of a name.
    fn aci(&self, name: &str) -> std::path::PathBuf {
        let folder = self.sandbox.path(&format!("site/aci/{name}"));
        let files = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path());
        let mut acis = files.filter(|path| path.extension().is_some_and(|end| end == "aci"));
        let aci = acis.next().unwrap();
        assert_eq!(acis.next(), None);
        aci
    }
}

const APP: &str = "appc:example.com/team/app:1.0,os=linux,arch=amd64";

#[test]
fn a_signed_site_is_read_back_by_those_who_trust_its_key() {
    let site = Site::new();
    site.publish_app();
    let folder = site.sandbox.path("site/aci/example.com/team/app");
    let signed = |file: &Path| {
        file.with_extension(format!(
            "{}.asc",
            file.extension().unwrap().to_str().unwrap()
        ))
        .is_file()
    };
    assert!(signed(&site.aci("example.com/team/app")));
    assert!(signed(&folder.join("imagetags.json")));

    let said = site.ok(&["convert", APP, "oci:out"], "bob.pub.asc");
    // N1: by the tag that was asked for, for its labels have no version.
    assert!(said.starts_with("example.com/team/app:1.0 "), "{said}");
    site.sandbox
        .ok(&["inspect", "oci:out:example.com/team/app:1.0"]);
    // The file alone knows no tag.
    let file = site.aci("example.com/team/app");
    let said = site
        .sandbox
        .ok(&["convert", file.to_str().unwrap(), "oci:file"]);
    let tag = said.split([':', ' ']).nth(1).unwrap();
    assert_eq!(tag.len(), 12, "{said}");
    assert!(file.to_str().unwrap().contains(tag), "{said}");
    site.sandbox.ok(&["unpack", "oci:out", "root"]);
    let image = fs::read_to_string(site.sandbox.path("root/etc/image")).unwrap();
    assert_eq!(image, "app");
    let said = site.ok(&["verify", APP], "bob.pub.asc");
    assert!(said.contains("Bob <bob@example.com>"), "{said}");
    assert_eq!(
        site.ok(&["tags", "fetch", "example.com/team/app"], "bob.pub.asc"),
        fs::read_to_string(folder.join("imagetags.json")).unwrap()
    );
    // N16: as `convert` wants a name.
    assert_eq!(
        site.ok(
            &["tags", "fetch", "appc:example.com/team/app"],
            "bob.pub.asc"
        ),
        fs::read_to_string(folder.join("imagetags.json")).unwrap()
    );
    // The site offers its keys; `--fetch-pubkeys` accepts them.
    site.ok(&["verify", APP, "--fetch-pubkeys"], "");
    site.fails(&["verify", APP], "", 4, "");
}

#[test]
fn l14_certificates_of_a_host_are_found_where_other_programs_keep_them() {
    let site = Site::new();
    site.publish_app();
    let url = site.server.url("/aci/example.com/team/app/imagetags.json");
    let run = |home: &str| {
        let mut command = site.sandbox.command(&["tags", "fetch", &url]);
        let command = command.env("HOME", site.sandbox.path(home));
        command.env_remove("XDG_CONFIG_HOME").output().unwrap()
    };
    let kept = format!(
        "home/.config/containers/certs.d/{}",
        site.server.authority()
    );
    let kept = site.sandbox.path(&kept);
    fs::create_dir_all(&kept).unwrap();
    fs::copy(site.sandbox.path("trusted/ca.crt"), kept.join("ca.crt")).unwrap();
    assert!(run("home").status.success());
    let output = run("elsewhere");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("TLS"));
}

#[test]
fn another_key_and_a_changed_byte_of_a_site_are_refused() {
    let site = Site::new();
    site.publish_app();
    let convert = ["convert", APP, "oci:out"];
    let fetch = ["tags", "fetch", "example.com/team/app"];
    for args in [&convert[..], &fetch] {
        site.fails(args, "alice.pub.asc", 1, "error[denied]");
    }
    let said = site.with(&["verify", APP], "alice.pub.asc");
    let said: Vec<&str> = said.iter().map(|it| &**it).collect();
    let output = site.sandbox.run(&said);
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("is not trusted for"), "{said}");

    let aci = site.aci("example.com/team/app");
    let good = fs::read(&aci).unwrap();
    site.damage(&aci);
    site.fails(&convert, "bob.pub.asc", 4, "error[bad-signature]");
    site.fails(&["verify", APP], "bob.pub.asc", 4, "");
    fs::write(&aci, good).unwrap();
    site.ok(&convert, "bob.pub.asc");

    let tags = site
        .sandbox
        .path("site/aci/example.com/team/app/imagetags.json");
    site.damage(&tags);
    fs::remove_dir_all(site.sandbox.path("out")).unwrap();
    for args in [&convert[..], &fetch] {
        site.fails(args, "bob.pub.asc", 4, "error[bad-signature]");
    }
    fs::remove_file(tags.with_extension("json.asc")).unwrap();
    site.fails(
        &convert,
        "bob.pub.asc",
        1,
        "the image tags have no signature",
    );
}

#[test]
fn publishing_again_signs_only_what_changed() {
    let site = Site::new();
    let publish = |source: &str| {
        site.publish(&[source]);
        let mut lines = snapshot(&site.sandbox.path("site")).unwrap();
        lines.retain(|line| line.starts_with("file "));
        lines
    };
    site.sandbox
        .layout("one", "registry.example/app", &["dir etc"]);
    site.sandbox
        .layout("two", "registry.example/app", &["dir var"]);
    let first = publish("one");
    // Times of files included, and the signatures say when they were made.
    assert_eq!(publish("one"), first);
    let second = publish("two");
    let new: Vec<&str> = second
        .iter()
        .filter(|line| !first.contains(line))
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    assert_eq!(
        new.len(),
        4,
        "an ACI, the tags, and a signature of each: {new:?}"
    );
}

/// Writes an ACI `app.aci` that depends on `dependency` (JSON members).
fn app(sandbox: &Sandbox, dependency: &str) {
    let fields = format!(r#"{LABELS},"dependencies":[{{{dependency}}}]"#);
    sandbox.aci("app.aci", "example.com/app", &fields, "file app \"1\"");
}

#[test]
fn dependencies_are_discovered_if_the_user_says_so() {
    let site = Site::new();
    let sandbox = &site.sandbox;
    sandbox.aci("root.aci", "example.com/root", LABELS, "file root \"1\"");
    let on_root = r#","dependencies":[{"imageName":"example.com/root","labels":[{"name":"version","value":"1.0"}]}]"#;
    for version in ["1.0", "2.0"] {
        let fields = format!("{}{on_root}", labels(version, "amd64"));
        let rootfs = format!("file base \"{version}\"");
        sandbox.aci(
            &format!("base-{version}.aci"),
            "example.com/base",
            &fields,
            &rootfs,
        );
    }
    site.publish(&["root.aci", "base-1.0.aci", "base-2.0.aci"]);
    app(
        sandbox,
        r#""imageName":"example.com/base","labels":[{"name":"version","value":"1.0"}]"#,
    );
    // Without `appc:` nothing is fetched.
    let unpack = ["unpack", "app.aci", "out"];
    site.fails(&unpack, "bob.pub.asc", 1, "`--deps appc:` discovers them");
    assert!(site.server.requests().is_empty());

    let discover = [&unpack[..], &["--deps", "appc:"]].concat();
    site.ok(&discover, "bob.pub.asc");
    for (file, content) in [("app", "1"), ("base", "1.0"), ("root", "1")] {
        let found = fs::read_to_string(sandbox.path("out").join(file)).unwrap();
        assert_eq!(found, content, "{file}");
    }
    let convert = ["aci-to-oci", "app.aci", "oci", "--deps", "appc:"];
    site.ok(&convert, "bob.pub.asc");
    let layers = sandbox.ok(&["inspect", "oci", "--json"]);
    assert_eq!(layers.matches("diff_id").count(), 3, "{layers}");

    // A dependency that is given locally is not fetched; its own dependency is.
    let before = site.server.requests().len();
    let here = ["--deps", "base-1.0.aci", "--deps", "root.aci"];
    let args = [&["diff", "app.aci", "oci", "--deps", "appc:"][..], &here].concat();
    site.ok(&args, "bob.pub.asc");
    assert_eq!(site.server.requests().len(), before);
    let args = [
        &["diff", "app.aci", "oci", "--deps", "appc:"][..],
        &here[..2],
    ]
    .concat();
    site.ok(&args, "bob.pub.asc");
    assert!(site.server.requests().len() > before);

    fs::remove_dir_all(sandbox.path("out")).unwrap();
    fs::remove_dir_all(sandbox.path("oci")).unwrap();
    for args in [&discover[..], &convert] {
        site.fails(args, "alice.pub.asc", 1, "is not trusted for");
        let limited = [args, &["--limit", "aci_deps_nodes=2"]].concat();
        site.fails(&limited, "bob.pub.asc", 1, "aci_deps_nodes");
        let limited = [args, &["--limit", "discovery_requests=1"]].concat();
        site.fails(&limited, "bob.pub.asc", 1, "discovery_requests");
    }
    site.damage(&sandbox.path("site/aci/example.com/root/1.0-linux-amd64.aci"));
    site.fails(&discover, "bob.pub.asc", 4, "error[bad-signature]");
    site.fails(&["ls", "app.aci", "--deps", "appc:"], "", 2, "--deps");
}

#[test]
fn the_tag_of_a_dependency_leads_through_the_image_tags_of_the_site() {
    let site = Site::new();
    site.publish_app();
    let unpack = ["unpack", "app.aci", "out", "--deps", "appc:"];
    app(
        &site.sandbox,
        r#""imageName":"example.com/team/app","tag":"1.0""#,
    );
    site.ok(&unpack, "bob.pub.asc");
    let image = fs::read_to_string(site.sandbox.path("out/etc/image")).unwrap();
    assert_eq!(image, "app");
    fs::remove_dir_all(site.sandbox.path("out")).unwrap();

    app(
        &site.sandbox,
        r#""imageName":"example.com/team/app","tag":"2.0""#,
    );
    site.fails(&unpack, "bob.pub.asc", 1, "no such tag");
    let id = format!("sha512-{}", "0".repeat(128));
    app(
        &site.sandbox,
        &format!(r#""imageName":"example.com/team/app","tag":"1.0","imageID":"{id}""#),
    );
    site.fails(&unpack, "bob.pub.asc", 4, "error[mismatch]");
    let args = ["unpack", "app.aci", "out", "--deps", "appc:example.com/x"];
    site.fails(&args, "bob.pub.asc", 1, "`--deps appc:` fetches");
}
