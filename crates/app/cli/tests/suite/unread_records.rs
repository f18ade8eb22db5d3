//! Records of reversal that a place lists and does not give: the image comes without them, and the loss is told.

use std::fs;

use imgconv_testkit::{registry::Registry, server::Reply};
use serde_json::{Value, json};

use crate::{
    records::{blob, index, losses, warnings},
    reversal::{TREE, TYPE, app, artifact, document, image_id, record},
    sandbox::{LABELS, Sandbox},
};

/// H10b.
#[test]
fn a_record_that_is_not_whole_is_left_out_of_a_copy() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    let (manifest, digest) = artifact(&sandbox, "out");
    let field = format!("artifact {TYPE} {digest}");
    let registry = Registry::start();
    for (i, part) in ["/layers/0/digest", "/layers/1/digest", "/config/digest"]
        .iter()
        .enumerate()
    {
        let part = manifest.pointer(part).unwrap();
        let path = blob(&sandbox, "out", part);
        let good = fs::read(&path).unwrap();
        for (j, bytes) in [None, Some("junk")].iter().enumerate() {
            fs::remove_file(&path).unwrap();
            if let Some(text) = bytes {
                fs::write(&path, text).unwrap();
            }
            let layout = format!("oci:copy-{i}-{j}");
            let places = [
                layout.clone(),
                format!("oci-archive:copy-{i}-{j}.tar"),
                registry.locator(&format!("team/copy-{i}-{j}:1.0")),
            ];
            for to in &places {
                for more in [&["--dry-run"][..], &[]] {
                    let told = document(&sandbox, &[&["convert", "out", to][..], more].concat());
                    assert_eq!(
                        losses(&told).iter().filter(|it| **it == field).count(),
                        1,
                        "{told}"
                    );
                    let why = told["images"][0]["losses"].to_string();
                    assert!(why.contains(part.as_str().unwrap()), "{why}");
                }
                sandbox.ok(&["verify", to]);
            }
            for more in [&["--dry-run"][..], &[]] {
                let args = ["convert", "out", "oci:strict", "--strict"];
                sandbox.fails(&[&args[..], more].concat(), 3, &[&field]);
                assert!(!sandbox.path("strict").exists());
            }
            let listed = index(&sandbox, &layout["oci:".len()..]);
            assert_eq!(listed["manifests"].as_array().unwrap().len(), 1, "{listed}");
            // A migration copies the record as soon as the record can be read.
            let to = format!("oci:moved-{i}-{j}");
            let moved = sandbox.ok(&["migrate", "out", &to, "--json"]);
            assert!(moved.contains(&field), "{moved}");
            fs::write(&path, &good).unwrap();
            sandbox.ok(&["migrate", "out", &to]);
            sandbox.ok(&["convert", &to, "aci:back.aci", "--exact", "--overwrite"]);
            assert!(sandbox.ok(&["migrate", "out", &to]).contains(" kept"));
        }
    }
    // An artifact of another type is part of what is copied.
    let path = record(&sandbox, "out");
    let subject = &manifest["subject"];
    let mut other = manifest.clone();
    other["artifactType"] = json!("application/vnd.example.other");
    other["subject"] = subject.clone();
    let text = other.to_string();
    let new = imgconv_testkit::registry::digest_of(text.as_bytes());
    fs::write(blob(&sandbox, "out", &json!(new)), &text).unwrap();
    let mut listed = index(&sandbox, "out");
    for entry in listed["manifests"].as_array_mut().unwrap() {
        if entry["digest"] == json!(digest) {
            entry["artifactType"] = other["artifactType"].clone();
            entry["digest"] = json!(new);
            entry["size"] = json!(text.len());
        }
    }
    crate::records::set_index(&sandbox, "out", &listed);
    fs::remove_file(&path).unwrap();
    sandbox.fails(&["convert", "out", "oci:other"], 1, &["error[missing]"]);
}

/// H10c.
#[test]
fn a_missing_record_beside_those_of_other_images_is_damage() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.aci("b.aci", "example.com/b", LABELS, TREE);
    sandbox.aci("c.aci", "example.com/c", LABELS, TREE);
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "one"]);
    let (_, digest) = artifact(&sandbox, "one");
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "b.aci", "all"]);
    sandbox.ok(&["aci-to-oci", "c.aci", "all"]);
    let exact = |place: &str| {
        let _ = fs::remove_dir_all(sandbox.path("back"));
        let output = sandbox.run(&["convert", place, "aci:back/", "--exact"]);
        output.status.code().unwrap()
    };
    let [a, b, c] = ["app", "b", "c"].map(|name| format!("oci:all:example.com/{name}:1.0"));
    assert_eq!([exact(&a), exact(&b), exact(&c)], [0, 0, 1]);
    fs::remove_file(blob(&sandbox, "all", &json!(digest))).unwrap();
    assert_eq!([exact(&a), exact(&b)], [4, 0]);
    assert_eq!(exact("oci:all"), 4);
    // The image may have an older record: what is lost was the newest.
    sandbox.ok(&["convert", "app.aci", "aci:plain.aci", "--compression=none"]);
    let plain = fs::read(sandbox.path("plain.aci")).unwrap();
    fs::write(sandbox.path("plain.aci"), [&plain[..], &[0; 512]].concat()).unwrap();
    sandbox.ok(&["aci-to-oci", "--reversible", "plain.aci", "one"]);
    fs::remove_file(blob(&sandbox, "one", &json!(digest))).unwrap();
    assert_eq!([exact("one"), exact("oci:one:1.0")], [4, 4]);
    // The image that has its record comes back, and the loss is told.
    let told = document(&sandbox, &["convert", &b, "aci:told/"]);
    assert_eq!(told["images"][0]["exact"], json!(true));
    assert!(
        losses(&told).contains(&format!("artifact {TYPE} {digest}")),
        "{told}"
    );
}

/// H10d.
#[test]
fn a_list_of_referrers_that_a_registry_does_not_give_is_told() {
    for (api, status) in [
        (true, 500),
        (true, 503),
        (false, 500),
        (false, 401),
        (false, 403),
        (false, 200),
    ] {
        let sandbox = Sandbox::new();
        app(&sandbox);
        let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let hook = std::sync::Arc::clone(&broken);
        let registry = Registry::start_with(None, move |request, _| {
            let path = request.path();
            let is_list =
                path.contains("/referrers/") && api || path.contains("/manifests/sha256-");
            let refused = is_list && hook.load(std::sync::atomic::Ordering::Relaxed);
            refused.then(|| match status {
                200 => Reply::ok("{\"manifests\": "),
                other => Reply::status(other),
            })
        });
        registry.stored().referrers = api;
        let place = registry.locator("team/app:1.0");
        let made = document(&sandbox, &["convert", "app.aci", &place, "--reversible"]);
        let image = made["images"][0]["digest"].as_str().unwrap().to_owned();
        broken.store(true, std::sync::atomic::Ordering::Relaxed);
        let field = format!("list of referrers {}", image.replace(':', "-"));
        let quick = ["--limit", "retries=1", "--retry-delay", "0"];
        let convert = |from: &str, to: &str, more: &[&str]| -> Vec<String> {
            let args = [&["convert", from, to, "--overwrite"][..], &quick, more].concat();
            args.into_iter().map(str::to_owned).collect()
        };
        let by_digest = registry.locator(&format!("team/app@{image}"));
        let copy = registry.locator("copy/app:1.0");
        for from in [&place, &by_digest] {
            for to in [
                "aci:x.aci",
                "oci:x",
                "dir:x-dir",
                "docker-archive:x.tar",
                &copy,
            ] {
                let args = convert(from, to, &[]);
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let _ = fs::remove_dir_all(sandbox.path("x-dir"));
                // An image without its list can be stored by a registry that answers, and by no other.
                let told: Value = document(&sandbox, &args);
                let count = losses(&told).iter().filter(|it| **it == field).count();
                assert_eq!(count, 1, "{api} {status} {to}: {told}");
            }
            let args = convert(from, "aci:y.aci", &["--strict"]);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            sandbox.fails(&args, 3, &[&field]);
            let args = convert(from, "aci:y.aci", &["--exact"]);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            sandbox.fails(&args, 4, &[&field]);
            assert!(!sandbox.path("y.aci").exists());
            let verify = [&["verify", from.as_str()][..], &quick].concat();
            let output = sandbox.run(&verify);
            let code = if status == 200 { 4 } else { 1 };
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("1 wrong"), "{said}");
        }
        // A push would replace the list, and is refused.
        if !api {
            let args = convert("app.aci", &place, &["--reversible"]);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            assert!(!sandbox.run(&args).status.success());
        }
        // A migration copies the image with the loss, asks again, and replaces no original by such a copy. The original
        // has the name of the record.
        let migrated = |status: &str| {
            let args = [
                &["migrate", place.as_str(), "aci:moved/", "--json"][..],
                &quick,
            ]
            .concat();
            let told: Value = serde_json::from_str(&sandbox.ok(&args)).unwrap();
            assert_eq!(told["images"][0]["status"], json!(status), "{told}");
            let outcomes = json!({ "images": told["images"][0]["outcomes"] });
            let file = sandbox.path("moved/example.com-app-1.0-linux-amd64.aci");
            let id = file.exists().then(|| image_id(&file));
            (losses(&outcomes).contains(&field), id)
        };
        let exact = [&["migrate", &place, "aci:exact/", "--exact"][..], &quick].concat();
        assert_eq!(sandbox.run(&exact).status.code(), Some(1));
        let id = image_id(&sandbox.path("app.aci"));
        assert_eq!(migrated("done"), (true, None), "{api} {status}");
        assert_eq!(migrated("kept"), (true, None), "{api} {status}");
        broken.store(false, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(migrated("done"), (false, Some(id.clone())));
        broken.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(migrated("kept"), (false, Some(id)));
        // A whole repository is migrated the same way, with a tag that is the list itself.
        let whole = registry.locator("team/app");
        let args = [&["migrate", &whole, "oci:whole", "--json"][..], &quick].concat();
        let told: Value = serde_json::from_str(&sandbox.ok(&args)).unwrap();
        let outcomes = json!({ "images": told["images"][0]["outcomes"] });
        assert!(losses(&outcomes).contains(&field), "{api} {status}: {told}");
        broken.store(false, std::sync::atomic::Ordering::Relaxed);
        sandbox.ok(&["convert", &place, "aci:back.aci", "--exact"]);
        let ids = ["app.aci", "back.aci"].map(|file| image_id(&sandbox.path(file)));
        assert_eq!(ids[0], ids[1]);
    }
}

/// H10d.
#[test]
fn a_registry_that_forbids_to_ask_for_referrers_may_have_their_list() {
    for has_list in [true, false] {
        let sandbox = Sandbox::new();
        app(&sandbox);
        let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let hook = std::sync::Arc::clone(&broken);
        let registry = Registry::start_with(None, move |request, _| {
            let is_asked = request.path().contains("/referrers/");
            let is_broken = hook.load(std::sync::atomic::Ordering::Relaxed);
            (is_asked && is_broken).then(|| Reply::status(403))
        });
        registry.stored().referrers = !has_list;
        let place = registry.locator("team/app:1.0");
        sandbox.ok(&["convert", "app.aci", &place, "--reversible"]);
        broken.store(true, std::sync::atomic::Ordering::Relaxed);
        let told = document(&sandbox, &["convert", &place, "aci:x.aci"]);
        assert_eq!(
            told["images"][0]["exact"] == json!(true),
            has_list,
            "{told}"
        );
        let lost = losses(&told).into_iter();
        let lists = lost.filter(|field| field.starts_with("list of referrers"));
        assert_eq!(lists.count(), usize::from(!has_list), "{told}");
    }
}

/// H10h.
#[test]
fn an_item_of_a_list_that_can_not_be_used_may_be_a_record() {
    for (field, value) in [("size", json!(-5)), ("digest", json!("sha256:zz"))] {
        let sandbox = Sandbox::new();
        app(&sandbox);
        sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "one"]);
        let path = sandbox.path("one/index.json");
        let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(index["manifests"][1]["artifactType"], TYPE);
        index["manifests"][1][field] = value;
        fs::write(&path, index.to_string()).unwrap();
        let one = "oci:one:example.com/app:1.0";
        for to in ["aci:x.aci", "oci:x"] {
            let told = document(&sandbox, &["convert", one, to]);
            let lost = losses(&told);
            assert!(lost.contains(&"index.manifests[1]".to_owned()), "{told}");
        }
        let args = ["convert", one, "aci:y.aci"];
        sandbox.fails(&[&args[..], &["--strict"]].concat(), 3, &["manifests[1]"]);
        sandbox.fails(&[&args[..], &["--exact"]].concat(), 4, &["manifests[1]"]);
    }
}

/// H10i.
#[test]
fn a_record_is_about_the_images_of_its_repository() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["convert", "app.aci", "aci:plain.aci", "--compression=none"]);
    let plain = fs::read(sandbox.path("plain.aci")).unwrap();
    fs::write(sandbox.path("plain.aci"), [&plain[..], &[0; 512]].concat()).unwrap();
    for (file, name, options) in [
        ("app.aci", "a/own", &["--reversible"][..]),
        ("plain.aci", "z/other", &["--reversible"]),
        ("app.aci", "b/none", &[]),
    ] {
        let (layout, name) = (name.replace('/', "-"), format!("x.com/{name}:1.0"));
        let to = format!("oci:{layout}:{name}");
        sandbox.ok(&[&["convert", file, &to], options].concat());
        imgconv_testkit::stores::registry_v2(&sandbox.path(&layout), &sandbox.path("store"))
            .unwrap();
    }
    let back = |name: &str, options: &[&str]| {
        let place = format!("registry-storage:store:x.com/{name}:1.0");
        sandbox.run(&[&["convert", &place, "aci:back.aci", "--overwrite"], options].concat())
    };
    for (file, name) in [("app.aci", "a/own"), ("plain.aci", "z/other")] {
        let output = back(name, &["--exact"]);
        assert!(output.status.success(), "{output:?}");
        let ids = [file, "back.aci"].map(|file| image_id(&sandbox.path(file)));
        assert_eq!(ids[0], ids[1], "{name}");
    }
    assert_eq!(back("b/none", &["--exact"]).status.code(), Some(1));
    assert!(back("b/none", &[]).status.success());
}

/// H9j.
#[test]
fn a_migration_and_a_site_tell_a_removed_signature() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "app.aci", "plain"]);
    let asc = sandbox.path("back/example.com-app-1.0-linux-amd64.aci.asc");
    sandbox.ok(&["oci-to-aci", "plain", "back"]);
    fs::write(asc.with_extension(""), "other bytes").unwrap();
    fs::write(&asc, "stale").unwrap();
    let args = ["migrate", "plain", "aci:back/", "--overwrite", "--json"];
    let told: Value = serde_json::from_str(&sandbox.ok(&args)).unwrap();
    let outcomes = json!({ "images": told["images"][0]["outcomes"] });
    assert!(
        warnings(&outcomes).contains(&"signature-removed".to_owned()),
        "{told}"
    );
    assert!(!asc.exists());

    let asc = sandbox.path("site/aci/example.com/app/1.0-linux-amd64.aci.asc");
    sandbox.ok(&["publish", "app.aci", "site", "--host", "example.com"]);
    assert!(asc.exists());
    let args = [
        "publish",
        "plain",
        "site",
        "--host",
        "example.com",
        "--json",
    ];
    let told: Value = serde_json::from_str(&sandbox.ok(&args)).unwrap();
    assert!(
        warnings(&told).contains(&"signature-removed".to_owned()),
        "{told}"
    );
    assert!(!asc.exists());
}
