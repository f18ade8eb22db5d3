//! Mistakes and surroundings of new users: options of other programs, malformed locators, stray folders,
//! exit codes, man pages, and environment variables of the network.

use std::fs;

use imgconv_testkit::{
    ImageRecipe, build,
    server::{Authority, Reply, Server},
    stores,
};
use serde_json::Value;

use crate::sandbox::{LABELS, Sandbox, state};

/// Runs, and returns the exit code and both streams.
fn run(sandbox: &Sandbox, args: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = sandbox.command(args);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    let output = sandbox.output(command.envs(env.iter().copied()), args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Makes the storage `store` of a registry with one image.
fn storage(sandbox: &Sandbox) {
    sandbox.layout("layout", "example.com/one", &["file a \"1\""]);
    stores::registry_v2(&sandbox.path("layout"), &sandbox.path("store")).unwrap();
}

// robustness K48
#[test]
fn k48_habits_of_other_programs_get_an_answer() {
    let sandbox = Sandbox::new();
    sandbox.layout("layout", "example.com/one", &["file a \"1\""]);
    for (args, expected) in [
        (
            &["inspect", "--format", "{{.Os}}", "oci:layout"][..],
            "`--json` prints one document",
        ),
        (
            &["inspect", "-f", "{{.Os}}", "oci:layout"],
            "`--json` prints one document",
        ),
        (
            &["inspect", "--format={{.Os}}", "oci:layout"],
            "`--json` prints one document",
        ),
        (
            &["inspect", "--config", "oci:layout"],
            "`--raw` the stored document",
        ),
        (
            &["convert", "--format", "v2s2", "oci:layout", "dir:out"],
            "docker-v2s2+docker://",
        ),
        (
            &["convert", "--all", "oci:layout", "dir:out"],
            "unless a REF, a tag or `--platform`",
        ),
        (
            &["convert", "--override-os", "linux", "oci:layout", "dir:out"],
            "`--platform OS/ARCH[/VARIANT]`",
        ),
        (
            &["convert", "--dest-creds", "u:p", "oci:layout", "dir:out"],
            "`--creds HOST=USER:PASSWORD`",
        ),
        (
            &["convert", "--src-tls-verify=false", "oci:layout", "dir:out"],
            "`--tls-verify=false`",
        ),
        (
            &["convert", "--dest-cert-dir", "x", "oci:layout", "dir:out"],
            "`--cert-dir DIR`",
        ),
        (
            &["convert", "--insecure", "oci:layout", "dir:out"],
            "`--plain-http HOST`",
        ),
        (
            &["convert", "-o", "x", "oci:layout"],
            "the destination is the last argument",
        ),
        (
            &["cp", "oci:layout", "dir:out"],
            "`imgconv convert SRC DST`",
        ),
        (&["images"], "`imgconv ls LOCATOR`"),
        (&["sync", "a", "b"], "`imgconv migrate SRC DST`"),
    ] {
        let (code, _, stderr) = run(&sandbox, args, &[]);
        assert_eq!(code, 2, "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
        assert!(!stderr.contains("--src-format"), "{args:?}: {stderr}");
        assert_eq!(stderr.matches("tip:").count(), 1, "{args:?}: {stderr}");
    }
    // A typing error gets the most similar option.
    let (code, _, stderr) = run(
        &sandbox,
        &["inspect", "--plattform", "x", "oci:layout"],
        &[],
    );
    assert_eq!(code, 2);
    assert!(stderr.contains("'--platform'"), "{stderr}");
    assert_eq!(run(&sandbox, &["--help"], &[]).0, 0);
    assert_eq!(run(&sandbox, &["--version"], &[]).0, 0);
}

// robustness K47
#[test]
fn k47_the_hint_for_a_reference_without_a_scheme_is_a_registry_locator() {
    let sandbox = Sandbox::new();
    for (args, exit) in [
        // The first argument is also a valid appc name.
        (
            &[
                "docker-to-oci",
                "registry.example.invalid/library/busybox:latest",
                "o",
            ],
            1,
        ),
        (
            &["docker-to-oci", "registry.example.invalid:5000/x:1", "o"],
            // A word before a colon that is no scheme is a mistake in the call.
            2,
        ),
        (&["docker-to-aci", "busybox", "o"], 1),
        (&["convert", "library/busybox:1.35", "oci:o"], 1),
    ] {
        let hint = format!("an image in a registry is written `docker://{}`", args[1]);
        sandbox.fails(args, exit, &[&hint]);
    }
    for path in ["./busybox", "/nowhere/busybox", "saved.tar", "Busy Box"] {
        let (code, _, stderr) = run(&sandbox, &["inspect", path], &[]);
        assert_eq!(code, 1, "{stderr}");
        assert!(!stderr.contains("docker://"), "{path}: {stderr}");
    }
}

// robustness K48
#[test]
fn k48_a_part_of_a_place_leads_to_the_place() {
    let sandbox = Sandbox::new();
    storage(&sandbox);
    let root = sandbox.folder.path().canonicalize().unwrap();
    let root = root.to_str().unwrap();
    for (path, place) in [
        ("store/docker", "registry-storage:ROOT/store"),
        ("store/docker/registry", "registry-storage:ROOT/store"),
        ("store/docker/registry/v2", "registry-storage:ROOT/store"),
        (
            "store/docker/registry/v2/blobs",
            "registry-storage:ROOT/store",
        ),
        (
            "store/docker/registry/v2/repositories",
            "registry-storage:ROOT/store",
        ),
        ("layout/blobs", "oci:ROOT/layout"),
        ("layout/blobs/sha256", "oci:ROOT/layout"),
    ] {
        let place = format!("`{}`: use that locator", place.replace("ROOT", root));
        sandbox.fails(&["ls", path], 1, &["error[unsupported]", &place]);
    }
    for (folder, files, hint) in [
        ("rk/cas/blob/sha512/aa", &["x"][..], None),
        (
            "saved",
            &["manifest.json", "x/layer.tar"],
            Some("tar -C DIR -cf FILE.tar ."),
        ),
        (
            "old",
            &["aa/json", "aa/layer.tar"],
            Some("tar -C DIR -cf FILE.tar ."),
        ),
        (
            "aci",
            &["manifest", "rootfs/x"],
            Some("tar -cf app.aci -C aci manifest rootfs"),
        ),
    ] {
        for file in files {
            let path = sandbox.path(folder).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        if let Some(hint) = hint {
            sandbox.fails(&["ls", folder], 1, &[hint]);
        }
    }
    let place = format!("`rkt:{root}/rk`: use that locator");
    sandbox.fails(&["ls", "rk/cas"], 1, &[&place]);
}

// robustness K48
#[test]
fn k48_stray_folders_are_no_images() {
    let sandbox = Sandbox::new();
    storage(&sandbox);
    fs::create_dir(sandbox.path("tree")).unwrap();
    sandbox.aci("tree/a.aci", "example.com/a", LABELS, "file x");
    let v2 = "store/docker/registry/v2";
    for folder in [
        format!("{v2}/repositories"),
        format!("{v2}/repositories/example.com/one"),
        format!("{v2}/repositories/example.com/one/_manifests"),
        format!("{v2}/repositories/example.com/one/_manifests/tags"),
        format!("{v2}/repositories/example.com/one/_manifests/revisions/sha256"),
        format!("{v2}/blobs"),
        format!("{v2}/blobs/sha256"),
        "layout".into(),
        "layout/blobs".into(),
        "layout/blobs/sha256".into(),
        "tree".into(),
    ] {
        let folder = sandbox.path(&folder);
        for stray in ["@eaDir/x", "lost+found/y", ".snapshot/z"] {
            fs::create_dir_all(folder.join(stray)).unwrap();
        }
        fs::write(folder.join("@eaDir/t@SynoEAStream"), "x").unwrap();
        fs::write(folder.join(".DS_Store"), "x").unwrap();
    }
    for place in [
        "registry-storage:store",
        "oci:layout",
        "tree:tree",
        "aci-tree:tree",
    ] {
        assert_eq!(sandbox.ok(&["ls", place]).lines().count(), 1, "{place}");
        assert_eq!(
            sandbox.ok(&["verify", place]),
            "1 checked, nothing wrong\n",
            "{place}"
        );
        let out = format!("oci:out-{}", place.split(':').next().unwrap());
        sandbox.ok(&["migrate", place, &out, "--strict"]);
        assert_eq!(sandbox.ok(&["ls", &out]).lines().count(), 1, "{place}");
    }
    // A folder that is no valid tag, but leads to an image, is listed.
    let tags = sandbox.path(&format!(
        "{v2}/repositories/example.com/one/_manifests/tags"
    ));
    let tag = fs::read_dir(&tags).unwrap().flatten();
    let tag = tag
        .map(|it| it.path())
        .find(|it| it.join("current/link").is_file());
    fs::create_dir_all(tags.join("@odd/current")).unwrap();
    fs::copy(
        tag.unwrap().join("current/link"),
        tags.join("@odd/current/link"),
    )
    .unwrap();
    let stdout = sandbox.ok(&["ls", "registry-storage:store"]);
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
    assert!(stdout.contains("example.com/one:@odd"), "{stdout}");
}

// robustness K48
#[test]
fn k48_an_empty_place_is_fine_for_ls_and_verify() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("store/docker/registry/v2/repositories")).unwrap();
    fs::create_dir_all(sandbox.path("blobs/docker/registry/v2/blobs")).unwrap();
    fs::create_dir_all(sandbox.path("rk/cas/blob/sha512")).unwrap();
    fs::create_dir_all(sandbox.path("folder")).unwrap();
    for place in [
        "registry-storage:store",
        "registry-storage:blobs",
        "rkt:rk",
        "tree:folder",
    ] {
        assert_eq!(sandbox.ok(&["ls", place]), "", "{place}");
        assert_eq!(
            sandbox.ok(&["verify", place]),
            "0 checked, nothing wrong\n",
            "{place}"
        );
    }
    // Blobs in an empty store are read too.
    let hex = "a".repeat(64);
    let blob = sandbox.path(&format!("blobs/docker/registry/v2/blobs/sha256/aa/{hex}"));
    fs::create_dir_all(&blob).unwrap();
    fs::write(blob.join("data"), "x").unwrap();
    let (code, stdout, _) = run(&sandbox, &["verify", "registry-storage:blobs"], &[]);
    assert_eq!(code, 4, "{stdout}");
    assert!(stdout.contains(&hex), "{stdout}");
}

// robustness K48: each thing that is wrong is one problem.
#[test]
fn k48_a_wrong_size_is_counted_once() {
    let sandbox = Sandbox::new();
    sandbox.layout("good", "example.com/one", &["file a \"1\""]);
    let read = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(sandbox.path(path)).unwrap()).unwrap()
    };
    let index = read("good/index.json");
    let digest = |value: &Value| value["digest"].as_str().unwrap()[7..].to_owned();
    let manifest = read(&format!(
        "good/blobs/sha256/{}",
        digest(&index["manifests"][0])
    ));
    for what in ["layer", "config", "manifest"] {
        let mut manifest = manifest.clone();
        let mut index = index.clone();
        let hex = match what {
            "layer" => &mut manifest["layers"][0],
            "config" => &mut manifest["config"],
            _ => &mut index["manifests"][0],
        };
        hex["size"] = (hex["size"].as_u64().unwrap() + 1).into();
        let wrong = digest(hex);
        let _ = fs::remove_dir_all(sandbox.path("bad"));
        fs::create_dir_all(sandbox.path("bad/blobs/sha256")).unwrap();
        for entry in fs::read_dir(sandbox.path("good/blobs/sha256")).unwrap() {
            let entry = entry.unwrap();
            let to = sandbox.path("bad/blobs/sha256").join(entry.file_name());
            fs::copy(entry.path(), to).unwrap();
        }
        fs::copy(
            sandbox.path("good/oci-layout"),
            sandbox.path("bad/oci-layout"),
        )
        .unwrap();
        if what != "manifest" {
            let old = digest(&index["manifests"][0]);
            fs::remove_file(sandbox.path(&format!("bad/blobs/sha256/{old}"))).unwrap();
            let bytes = serde_json::to_vec(&manifest).unwrap();
            let new = imgconv_testkit::sha256_hex(&bytes);
            fs::write(sandbox.path(&format!("bad/blobs/sha256/{new}")), &bytes).unwrap();
            index["manifests"][0]["digest"] = format!("sha256:{new}").into();
            index["manifests"][0]["size"] = bytes.len().into();
        }
        fs::write(sandbox.path("bad/index.json"), index.to_string()).unwrap();
        let (code, stdout, _) = run(&sandbox, &["verify", "oci:bad", "--json"], &[]);
        let verdict: Value = serde_json::from_str(&stdout).unwrap();
        let problems = verdict["problems"].as_array().unwrap();
        assert_eq!((code, problems.len()), (4, 1), "{what}: {problems:#?}");
        let message = problems[0]["message"].as_str().unwrap();
        assert!(
            message.contains(&wrong) && message.contains("size"),
            "{what}: {message}"
        );
    }
}

// robustness N8: exit code 4 means damage; 1 means that a part could not be read at all.
#[test]
fn n8_verify_distinguishes_damage_from_unreadable_parts() {
    let sandbox = Sandbox::new();
    sandbox.layout("layout", "example.com/one", &["file a \"1\""]);
    sandbox.aci("a.aci", "example.com/a", LABELS, "file x");
    let missing = Server::start(|_| Reply::status(404));
    let denied = Server::start(|_| Reply::status(403));
    let untrusted = Server::start_tls(&Authority::new().server(), |_| Reply::ok("x"));
    // No server listens on a port that was closed a moment ago.
    let closed = Server::start(|_| Reply::ok("")).authority();
    let place = |authority: String| format!("docker://{authority}/r:1");
    for locator in [
        "oci:layout:absent".to_owned(),
        "oci:nowhere".into(),
        "nowhere".into(),
        "docker-archive:nowhere.tar".into(),
        "registry-storage:nowhere".into(),
        "oci:.".into(),
        place(missing.authority()),
        place(denied.authority()),
        place(untrusted.authority()),
        place(closed),
        format!("https://{}/a.aci", untrusted.authority()),
        format!("http://{}/a.aci", missing.authority()),
    ] {
        let args = ["verify", &locator, "--limit", "retries=1"];
        let (code, stdout, stderr) = run(&sandbox, &args, &[]);
        assert_eq!(code, 1, "{locator}: {stdout}{stderr}");
        assert!(
            !format!("{stdout}{stderr}").contains("nothing wrong"),
            "{locator}"
        );
    }
    // The manifest is stored, but its config is not.
    let manifest = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":2},"layers":[]}"#;
    let half = Server::start(move |request| match request.path() {
        path if path.contains("/manifests/") => {
            Reply::ok(manifest).header("content-type", "application/vnd.oci.image.manifest.v1+json")
        }
        "/v2/" | "/" => Reply::ok("{}"),
        _ => Reply::status(404),
    });
    let args = ["verify", &place(half.authority())];
    let (code, stdout, _) = run(&sandbox, &args, &[]);
    assert_eq!(code, 4, "{stdout}");
    // The exit code of every kind of damage is 4.
    let aci = fs::read(sandbox.path("a.aci")).unwrap();
    fs::write(sandbox.path("cut.aci"), &aci[..700]).unwrap();
    assert_eq!(run(&sandbox, &["verify", "cut.aci"], &[]).0, 4);
    fs::remove_file(sandbox.path("layout/index.json")).unwrap();
    assert_eq!(run(&sandbox, &["verify", "oci:layout"], &[]).0, 4);
}

// robustness N10
#[test]
fn n10_man_pages_describe_every_option_and_have_the_usual_sections() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["man", "man"]);
    let mut pages = 0;
    for entry in fs::read_dir(sandbox.path("man")).unwrap() {
        let path = entry.unwrap().path();
        let page = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let lines: Vec<&str> = page.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let option = line.starts_with("\\fB\\-") && i > 0 && lines[i - 1] == ".TP";
            let text = lines.get(i + 1).copied().unwrap_or_default();
            assert!(
                !option || text.starts_with(char::is_alphabetic),
                "{name}: {line}: {text:?}"
            );
        }
        for section in ["EXIT STATUS", "ENVIRONMENT", "FILES"] {
            assert_eq!(
                page.matches(&format!(".SH \"{section}\"")).count(),
                1,
                "{name} {section}"
            );
        }
        assert!(!page.contains("EXTRA"), "{name}");
        for word in [
            "HTTPS_PROXY",
            "NO_PROXY",
            "SSL_CERT_FILE",
            "SOURCE_DATE_EPOCH",
        ] {
            assert!(page.contains(word), "{name} {word}");
        }
        pages += 1;
    }
    assert!(pages > 20, "{pages}");
    let page = fs::read_to_string(sandbox.path("man/imgconv-squash.1")).unwrap();
    assert!(
        page.contains(".SH \"EXAMPLES\"\n.nf\n  imgconv squash oci:in oci:out"),
        "{page}"
    );
    assert!(page.contains(".SH \"LOCATORS\""), "{page}");
}

// robustness K46
#[test]
fn k46_proxies_are_taken_from_the_environment() {
    let sandbox = Sandbox::new();
    let (one, two) = (
        Server::start(|_| Reply::status(404)),
        Server::start(|_| Reply::status(404)),
    );
    let (first, second) = (one.url(""), two.url(""));
    let asked = |server: &Server| {
        let all = server.requests();
        all.iter()
            .any(|it| it.target.starts_with("http://registry.example/v2/"))
    };
    let mut expected = [false, false];
    for (env, asks) in [
        (&[("NO_PROXY", "*"), ("HTTP_PROXY", &*first)][..], None),
        (
            &[
                ("no_proxy", "registry.example"),
                ("NO_PROXY", "x"),
                ("HTTP_PROXY", &first),
            ],
            None,
        ),
        (&[("REQUEST_METHOD", "GET"), ("HTTP_PROXY", &first)], None),
        (&[("HTTPS_PROXY", &first)], None),
        (&[("HTTP_PROXY", ""), ("all_proxy", &first)], Some(0)),
        (
            &[
                ("HTTP_PROXY", &first),
                ("http_proxy", &second),
                ("ALL_PROXY", &first),
            ],
            Some(1),
        ),
    ] {
        let args = [
            "ls",
            "docker://registry.example/r",
            "--plain-http",
            "registry.example",
        ];
        let (code, _, stderr) = run(&sandbox, &args, env);
        assert_eq!(code, 1, "{stderr}");
        if let Some(server) = asks {
            expected[server] = true;
        }
        assert_eq!([asked(&one), asked(&two)], expected, "{env:?}");
    }
    // A proxy of an unsupported kind is an error, and the error does not show the password.
    let env = [("HTTPS_PROXY", "socks5://me:hunter2@127.0.0.1:1")];
    let (code, _, stderr) = run(&sandbox, &["ls", "docker://registry.example/r"], &env);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("`HTTPS_PROXY` names a proxy of socks5"),
        "{stderr}"
    );
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

// robustness K46, K46b: a block of a file that can't be decoded takes no other with it.
#[test]
fn k46_authorities_are_taken_from_the_environment() {
    let sandbox = Sandbox::new();
    let authority = Authority::new();
    let image = ImageRecipe {
        manifest: Some(format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/a"{LABELS}}}"#
        )),
        ..ImageRecipe::default()
    };
    let aci = build::aci_bytes(&image).unwrap();
    let server = Server::start_tls(&authority.server(), move |request| match request.path() {
        "/a.aci" => Reply::ok(aci.clone()),
        _ => Reply::status(404),
    });
    fs::create_dir(sandbox.path("certs")).unwrap();
    let bad = "-----BEGIN CERTIFICATE-----\n@@@@\n-----END CERTIFICATE-----\n";
    let pem = format!("{bad}{}", authority.pem());
    fs::write(sandbox.path("certs/ca.pem"), pem).unwrap();
    let url = server.url("/a.aci");
    let args = ["ls", &*url, "--insecure-image"];
    let before = state(sandbox.folder.path());
    for (env, code) in [
        (&[][..], 1),
        (&[("SSL_CERT_FILE", "certs/ca.pem")][..], 0),
        (&[("SSL_CERT_DIR", "nowhere:certs")], 0),
        (&[("SSL_CERT_FILE", ""), ("SSL_CERT_DIR", "certs")], 0),
        (&[("SSL_CERT_FILE", "missing.pem")], 1),
    ] {
        let (found, _, stderr) = run(&sandbox, &args, env);
        assert_eq!(found, code, "{env:?}: {stderr}");
        let named = env.contains(&("SSL_CERT_FILE", "missing.pem"));
        assert!(!named || stderr.contains("missing.pem"), "{stderr}");
    }
    assert_eq!(state(sandbox.folder.path()), before);
}
