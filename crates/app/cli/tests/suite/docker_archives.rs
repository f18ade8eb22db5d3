//! The exact way back of docker archives with several images, and the choice among several archives of one image.

use std::fs;

use imgconv_testkit::{
    ImageRecipe,
    docker::archive_v1,
    registry::{Registry, digest_of},
};
use serde_json::{Value, json};

use crate::{
    docker_reversal::{ARCHIVE, archive, document, id, layers, old, read},
    records::{blob, index, set_index, store as store_registry},
    sandbox::Sandbox,
};

/// An archive `all.tar` of three images that share layers, as docker 1.9 saved them. Two of the recipes differ in their
/// names alone: they are one image with two names.
fn several(sandbox: &Sandbox) -> Vec<u8> {
    let base = "dir etc\nfile etc/passwd \"root:x:0:0\"\nfile lib/big noise=40000\n";
    let tools = "file usr/bin/tool noise=9000\n";
    let image = |name: &str, version: &str, layers: &[&str]| {
        let mut image = ImageRecipe::of(name, version, layers);
        image.head.created = "2015-06-01T01:02:03.5Z".to_owned();
        image
    };
    let images = [
        image("team/app", "1.0", &[base, tools, "file srv/app \"1\"\n"]),
        image("team/app", "2.0", &[base, tools, "file srv/app \"2\"\n"]),
        image("team/app", "latest", &[base, tools, "file srv/app \"2\"\n"]),
        image("other/db", "1", &[base, "file srv/db \"db\"\n"]),
    ];
    let tar = archive_v1(&images).unwrap();
    fs::write(sandbox.path("all.tar"), &tar).unwrap();
    tar
}

/// Converts `all.tar` to the layout `out`.
fn kept(sandbox: &Sandbox) -> Vec<u8> {
    let tar = several(sandbox);
    sandbox.ok(&[
        "docker-to-oci",
        "--reversible",
        "all.tar",
        "out",
        "--strict",
    ]);
    tar
}

const NAMES: [&str; 3] = ["team/app:1.0", "team/app:2.0", "other/db:1"];

/// The manifests of the artifacts in a layout.
fn artifacts(sandbox: &Sandbox, layout: &str) -> Vec<Value> {
    let list: Value =
        serde_json::from_slice(&read(sandbox, &format!("{layout}/index.json"))).unwrap();
    let listed = list["manifests"].as_array().unwrap().iter();
    let listed = listed.filter(|entry| entry["artifactType"] == ARCHIVE);
    let blob = |entry: &Value| entry["digest"].as_str().unwrap().replace(':', "/");
    let read = |entry| read(sandbox, &format!("{layout}/blobs/{}", blob(entry)));
    listed
        .map(|entry| serde_json::from_slice(&read(entry)).unwrap())
        .collect()
}

/// Stores bytes as a blob of a layout; returns digest and size.
fn store(sandbox: &Sandbox, layout: &str, bytes: &[u8]) -> (Value, Value) {
    let digest = digest_of(bytes);
    let blob = format!("{layout}/blobs/{}", digest.replace(':', "/"));
    fs::write(sandbox.path(&blob), bytes).unwrap();
    (json!(digest), json!(bytes.len()))
}

/// Changes every artifact of a layout.
fn change(sandbox: &Sandbox, layout: &str, change: &dyn Fn(&mut Value)) {
    let path = format!("{layout}/index.json");
    let mut list: Value = serde_json::from_slice(&read(sandbox, &path)).unwrap();
    for entry in list["manifests"].as_array_mut().unwrap() {
        if entry["artifactType"] == ARCHIVE {
            let digest = entry["digest"].as_str().unwrap().replace(':', "/");
            let text = read(sandbox, &format!("{layout}/blobs/{digest}"));
            let mut manifest: Value = serde_json::from_slice(&text).unwrap();
            change(&mut manifest);
            (entry["digest"], entry["size"]) =
                store(sandbox, layout, manifest.to_string().as_bytes());
        }
    }
    fs::write(sandbox.path(&path), list.to_string()).unwrap();
}

/// The codes of the warnings of `verify`, which finds no error.
fn verified(sandbox: &Sandbox, place: &str) -> Vec<String> {
    let told = document(sandbox, &["verify", place]);
    let warnings = told["warnings"].as_array().into_iter().flatten();
    warnings
        .map(|one| one["code"].as_str().unwrap().to_owned())
        .collect()
}

/// The codes of the warnings about all images.
fn codes(told: &Value) -> Vec<String> {
    let images = told["images"].as_array().unwrap().iter();
    let warnings = images.filter_map(|image| image["warnings"].as_array());
    let all = warnings.flatten();
    all.map(|one| one["code"].as_str().unwrap().to_owned())
        .collect()
}

/// H10f.
#[test]
fn an_archive_of_several_images_comes_back() {
    let sandbox = Sandbox::new();
    let tar = kept(&sandbox);
    let artifacts = artifacts(&sandbox, "out");
    assert_eq!(artifacts.len(), 3, "{artifacts:?}");
    let listed = artifacts[0]["annotations"]["imgconv.reversal.images"].as_str();
    let listed: Vec<&str> = listed.unwrap().split(' ').collect();
    assert_eq!(listed.len(), 3);
    for artifact in &artifacts {
        assert_eq!(artifact["layers"], artifacts[0]["layers"]);
        let said = &artifact["annotations"];
        assert_eq!(said["imgconv.reversal.images"], listed.join(" "));
        assert!(listed.contains(&artifact["subject"]["digest"].as_str().unwrap()));
    }
    // No layer is in the record.
    assert!(artifacts[0]["layers"][0]["size"].as_u64().unwrap() < 3000);
    assert_eq!(verified(&sandbox, "out"), Vec::<String>::new());
    for name in NAMES {
        let from = format!("oci:out:docker.io/{name}");
        let told = document(&sandbox, &["inspect", &from]);
        assert_eq!(
            told["images"][0]["reversal"]["kind"], "docker-save",
            "{told}"
        );
    }
    let removed = sandbox.ok(&["layout", "gc", "out", "--min-age", "0s"]);
    assert!(removed.starts_with("0 blobs"), "{removed}");

    let told = document(&sandbox, &["oci-to-docker", "out", "back.tar", "--exact"]);
    assert!(read(&sandbox, "back.tar") == tar);
    let images = told["images"].as_array().unwrap();
    assert_eq!(images.len(), 4, "{told}");
    for image in images {
        assert_eq!(image["exact"], json!(true), "{image}");
        assert_eq!(image["digest"], json!(digest_of(&tar)));
        assert_eq!(image["losses"], json!([]), "{image}");
        assert_eq!(image["warnings"], json!([]), "{image}");
    }
    // Without `--exact`, through an archive, all images by their names, and in other compressions.
    sandbox.ok(&["convert", "out", "oci-archive:all.oci.tar", "--strict"]);
    sandbox.ok(&[
        "convert",
        "oci-archive:all.oci.tar",
        "docker-archive:two.tar",
    ]);
    assert!(read(&sandbox, "two.tar") == tar);
    let names = NAMES.map(|name| format!("oci-archive:all.oci.tar:docker.io/{name}"));
    let names = names.each_ref().map(|name| &**name);
    let to = "docker-archive:three.tar";
    sandbox.ok(&[&["oci-to-docker"], &names[..], &[to, "--exact"]].concat());
    assert!(read(&sandbox, "three.tar") == tar);
    let args = ["docker-to-oci", "--reversible", "all.tar", "zstd"];
    sandbox.ok(&[&args[..], &["--compression=zstd"]].concat());
    let told = sandbox.ok(&["oci-to-docker", "zstd", "dry.tar", "--exact", "--dry-run"]);
    assert!(told.contains("restore the archive exactly"), "{told}");
    sandbox.ok(&["oci-to-docker", "zstd", "four.tar", "--exact"]);
    assert!(read(&sandbox, "four.tar") == tar);
}

/// H10f: images of one chain, and images with no layer in common.
#[test]
fn odd_archives_of_several_images_come_back() {
    let sandbox = Sandbox::new();
    let (all, other) = (layers(), [layers()[0].clone()]);
    let chain = json!({"a": {"1": id("app", 1)}, "b/c": {"x": id("app", 3), "y": id("app", 3)}});
    let two = json!({"a": {"1": id("app", 3)}, "b": {"1": id("other", 0)}});
    for (i, tar) in [
        archive(&[("app", &all)], &chain),
        archive(&[("app", &all), ("other", &other)], &two),
        archive(&[("app", &all), ("other", &other)], &Value::Null),
    ]
    .iter()
    .enumerate()
    {
        let (file, out, back) = (format!("{i}.tar"), format!("o{i}"), format!("b{i}.tar"));
        fs::write(sandbox.path(&file), tar).unwrap();
        sandbox.ok(&["docker-to-oci", "--reversible", &file, &out]);
        assert_eq!(verified(&sandbox, &out), Vec::<String>::new());
        sandbox.ok(&["oci-to-docker", &out, &back, "--exact"]);
        assert!(read(&sandbox, &back) == *tar, "archive {i}");
    }
}

/// H10f: every image goes to a repository of its own.
#[test]
fn an_archive_of_several_images_goes_through_registries() {
    let sandbox = Sandbox::new();
    let tar = kept(&sandbox);
    for api in [true, false] {
        let registry = Registry::start();
        registry.stored().referrers = api;
        let places = NAMES.map(|name| registry.locator(name));
        for (name, place) in NAMES.iter().zip(&places) {
            let from = format!("oci:out:docker.io/{name}");
            let told = document(&sandbox, &["convert", &from, &format!("oci+{place}")]);
            assert_eq!(codes(&told), ["incomplete-archive"], "{told}");
        }
        let back = format!("back-{api}.tar");
        let to = format!("docker-archive:{back}");
        let places = places.each_ref().map(|place| &**place);
        sandbox.ok(&[&["oci-to-docker"], &places[..], &[&to, "--exact"]].concat());
        assert!(read(&sandbox, &back) == tar, "API: {api}");
    }
}

/// H10g: some of the images alone.
#[test]
fn images_of_an_archive_that_are_missing_are_told() {
    let sandbox = Sandbox::new();
    kept(&sandbox);
    let one = format!("oci:out:docker.io/{}", NAMES[2]);
    let listed = artifacts(&sandbox, "out")[0]["annotations"]["imgconv.reversal.images"].clone();
    let own = document(&sandbox, &["inspect", &one])["images"][0]["digest"].clone();
    let (own, listed) = (own.as_str().unwrap(), listed.as_str().unwrap());
    let others: Vec<&str> = listed.split(' ').filter(|digest| *digest != own).collect();
    assert_eq!(others.len(), 2);
    let args = ["convert", &one, "docker-archive:one.tar"];
    let exact = [&args[..], &["--exact"]].concat();
    sandbox.fails(
        &exact,
        1,
        &["--exact", "not selected", others[0], others[1]],
    );
    sandbox.fails(
        &[&args[..], &["--strict"]].concat(),
        3,
        &["incomplete-archive"],
    );
    let told = document(&sandbox, &args);
    assert_eq!(codes(&told), ["incomplete-archive"], "{told}");
    assert_eq!(told["images"][0]["losses"], json!([]), "{told}");
    sandbox.ok(&["docker-to-oci", "all.tar", "plain"]);
    let plain = format!("oci:plain:docker.io/{}", NAMES[2]);
    sandbox.ok(&["convert", &plain, "docker-archive:plain.tar"]);
    assert!(read(&sandbox, "one.tar") == read(&sandbox, "plain.tar"));
    // A copy of one image says that its record is of no use alone, and so does `verify` of the copy.
    let told = document(&sandbox, &["convert", &one, "oci:copy"]);
    assert_eq!(codes(&told), ["incomplete-archive"], "{told}");
    assert_eq!(verified(&sandbox, "copy"), ["record-without-image"]);
    // The copy is of use again beside the others.
    for name in &NAMES[..2] {
        sandbox.ok(&["convert", &format!("oci:out:docker.io/{name}"), "oci:copy"]);
    }
    sandbox.ok(&["oci-to-docker", "copy", "again.tar", "--exact"]);
    assert!(read(&sandbox, "again.tar") == read(&sandbox, "all.tar"));
    assert_eq!(verified(&sandbox, "copy"), Vec::<String>::new());
    // Another image beside: no archive has all.
    let other = archive(&[("app", &layers())], &json!({"more": {"1": id("app", 3)}}));
    fs::write(sandbox.path("more.tar"), other).unwrap();
    sandbox.ok(&["docker-to-oci", "--reversible", "more.tar", "copy"]);
    let args = ["oci-to-docker", "copy", "x.tar", "--exact"];
    sandbox.fails(&args, 2, &["--exact", "images that it does not have"]);
    // A record is made of all images or not at all.
    let part = format!("docker-archive:all.tar:{}", NAMES[2]);
    let args = ["convert", &part, "oci:part", "--reversible"];
    sandbox.fails(&args, 1, &["not converted", NAMES[0], NAMES[1]]);
    assert!(!sandbox.path("part").exists());
}

/// H10g: an image that was changed has lost its record, and the archive its way back.
#[test]
fn a_changed_image_of_an_archive_is_told() {
    let sandbox = Sandbox::new();
    kept(&sandbox);
    let [one, two, three] = NAMES.map(|name| format!("oci:out:docker.io/{name}"));
    let told = document(
        &sandbox,
        &["recompress", &one, "oci:new", "--compression", "zstd"],
    );
    assert!(
        told["images"][0]["losses"].to_string().contains(ARCHIVE),
        "{told}"
    );
    assert_eq!(codes(&told), Vec::<String>::new(), "{told}");
    sandbox.ok(&["convert", &two, "oci:new"]);
    sandbox.ok(&["convert", &three, "oci:new"]);
    assert_eq!(verified(&sandbox, "new"), ["record-without-image"]);
    let told = document(&sandbox, &["oci-to-docker", "new", "x.tar"]);
    assert!(
        codes(&told).contains(&"incomplete-archive".to_owned()),
        "{told}"
    );
    assert_eq!(told["images"][0].get("exact"), None, "{told}");
    let args = ["oci-to-docker", "new", "y.tar", "--exact"];
    assert!(!sandbox.run(&args).status.success());
    assert!(!sandbox.path("y.tar").exists());
}

/// H10g: lists of images that no conversion makes.
#[test]
fn hostile_lists_of_images_are_refused() {
    let sandbox = Sandbox::new();
    kept(&sandbox);
    let good = artifacts(&sandbox, "out")[0]["annotations"]["imgconv.reversal.images"].clone();
    let good = good.as_str().unwrap().to_owned();
    let all: Vec<&str> = good.split(' ').collect();
    let absent = format!("sha256:{}", "ab".repeat(32));
    let many: Vec<String> = (0..50_000).map(|i| format!("sha256:{i:064x}")).collect();
    let lists = [
        (format!("{good} {}", all[0]), 4),
        (String::new(), 4),
        (format!("{good} {absent}"), 1),
        (format!("{good} {}", many.join(" ")), 1),
        (format!("{} {} {}", all[1], all[0], all[2]), 4),
        (format!("{good} sha256:ab"), 4),
        ("junk".to_owned(), 4),
    ];
    for (list, code) in &lists {
        change(&sandbox, "out", &|artifact| {
            artifact["annotations"]["imgconv.reversal.images"] = json!(list);
        });
        let what = list.get(..300).unwrap_or(list);
        let exact = ["oci-to-docker", "out", "x.tar", "--exact"];
        let output = sandbox.run(&exact);
        assert_eq!(output.status.code(), Some(*code), "{what}: {output:?}");
        assert!(!sandbox.path("x.tar").exists(), "{what}");
        let told = document(&sandbox, &["oci-to-docker", "out", "x.tar"]);
        assert!(told["images"][0].get("exact").is_none(), "{what}");
        let codes = codes(&told);
        let known = ["bad-record", "incomplete-archive"];
        assert!(
            codes.iter().any(|code| known.contains(&&**code)),
            "{what}: {codes:?}"
        );
        fs::remove_file(sandbox.path("x.tar")).unwrap();
        let output = sandbox.run(&["verify", "out", "--json"]);
        let said = String::from_utf8(output.stdout).unwrap();
        let told = said.contains("record-without-image");
        assert!(!output.status.success() || told, "{what}: {said}");
    }
    // The names of images are compared too.
    change(&sandbox, "out", &|artifact| {
        artifact["annotations"]["imgconv.reversal.images"] = json!(good);
        artifact["annotations"]["imgconv.reversal.names"] = json!("a:1");
    });
    let exact = ["oci-to-docker", "out", "x.tar", "--exact"];
    assert!(!sandbox.run(&exact).status.success());
    assert_eq!(sandbox.run(&["verify", "out"]).status.code(), Some(4));
}

/// H9h: archives of one image and name, which differ in their ends.
#[test]
fn an_archive_is_chosen_by_its_file_or_its_digest() {
    let sandbox = Sandbox::new();
    let mut tar = old(&sandbox);
    let mut ids = Vec::new();
    for name in ["one.tar", "two.tar", "three.tar"] {
        tar.extend_from_slice(&[0; 512]);
        fs::write(sandbox.path(name), &tar).unwrap();
        sandbox.ok(&["docker-to-oci", "--reversible", name, "out"]);
        let found = artifacts(&sandbox, "out");
        let own = found
            .iter()
            .find(|it| it["annotations"]["imgconv.reversal.file"] == name);
        let id = own.unwrap()["annotations"]["imgconv.reversal.identity"].as_str();
        ids.push(id.unwrap().to_owned());
    }
    let to = "docker-archive:again";
    let told = document(&sandbox, &["convert", "out", to, "--exact"]);
    assert!(
        codes(&told).contains(&"several-records".to_owned()),
        "{told}"
    );
    assert!(told.to_string().contains("--record") && told.to_string().contains("one.tar"));
    assert!(read(&sandbox, "again") == read(&sandbox, "three.tar"));
    for (wanted, name) in [
        ("one.tar", "one.tar"),
        ("two.tar", "two.tar"),
        (&ids[0], "one.tar"),
        (&ids[1][..20], "two.tar"),
        (&ids[2], "three.tar"),
    ] {
        let args = [
            "convert",
            "out",
            to,
            "--exact",
            "--overwrite",
            "--record",
            wanted,
        ];
        let told = document(&sandbox, &args);
        assert!(read(&sandbox, "again") == read(&sandbox, name), "{wanted}");
        assert_eq!(codes(&told), Vec::<String>::new(), "{told}");
        assert_eq!(told["images"][0]["losses"], json!([]), "{told}");
    }
    let args = ["convert", "out", "docker-archive:x", "--record"];
    sandbox.fails(
        &[&args[..], &["four.tar"]].concat(),
        1,
        &["four.tar", "one.tar"],
    );
    sandbox.fails(&[&args[..], &["sha256:"]].concat(), 1, &["sha256:"]);
    sandbox.ok(&["docker-to-oci", "old.tar", "plain"]);
    let args = [
        "convert",
        "plain",
        "docker-archive:x",
        "--record",
        "old.tar",
    ];
    sandbox.fails(&args, 1, &["old.tar", "no record"]);
    let args = ["convert", "out", "dir:x", "--record", "one.tar"];
    sandbox.fails(&args, 2, &["--record", "docker archives"]);
    assert!(!sandbox.path("x").exists());
}

/// H10e: the bytes of a layer that are not those of its diff ID never become an archive, also if the archive has the
/// layer twice.
#[test]
fn layers_are_compared_with_their_diff_ids_before_an_archive_is_visible() {
    for places in [&[0][..], &[2], &[1, 3]] {
        let sandbox = Sandbox::new();
        old(&sandbox);
        let args = ["docker-to-oci", "--reversible", "old.tar", "out"];
        let told = document(&sandbox, &[&args[..], &["--compression=none"]].concat());
        let image = told["images"][0]["digest"].as_str().unwrap().to_owned();
        let text = read(&sandbox, &format!("out/blobs/{}", image.replace(':', "/")));
        let mut manifest: Value = serde_json::from_slice(&text).unwrap();
        for place in places {
            let layer = &mut manifest["layers"][*place];
            let digest = layer["digest"].as_str().unwrap().replace(':', "/");
            let mut tar = read(&sandbox, &format!("out/blobs/{digest}"));
            let last = tar.len() - 1;
            tar[last] ^= 1;
            (layer["digest"], layer["size"]) = store(&sandbox, "out", &tar);
        }
        let (digest, size) = store(&sandbox, "out", manifest.to_string().as_bytes());
        change(&sandbox, "out", &|artifact| {
            artifact["subject"]["digest"] = digest.clone();
            artifact["subject"]["size"] = size.clone();
        });
        let mut list: Value = serde_json::from_slice(&read(&sandbox, "out/index.json")).unwrap();
        for entry in list["manifests"].as_array_mut().unwrap() {
            if entry["digest"] == image.as_str() {
                entry["digest"] = digest.clone();
                entry["size"] = size.clone();
            }
        }
        fs::write(sandbox.path("out/index.json"), list.to_string()).unwrap();
        let args = ["oci-to-docker", "out", "x.tar", "--exact"];
        sandbox.fails(&args, 4, &["record", "digest of a layer"]);
        assert!(!sandbox.path("x.tar").exists(), "{places:?}");
        assert_eq!(sandbox.run(&["verify", "out"]).status.code(), Some(4));
    }
}

/// The reasons of the losses of records.
fn reasons(told: &Value) -> Vec<String> {
    let images = told["images"].as_array().unwrap().iter();
    let losses = images.filter_map(|image| image["losses"].as_array());
    let of_records = losses
        .flatten()
        .filter(|loss| loss["field"].as_str().unwrap().contains(ARCHIVE));
    of_records
        .map(|loss| loss["why"].as_str().unwrap().to_owned())
        .collect()
}

/// H9z: an archive that was named is restored or refused; without a named archive the loss has the reason.
#[test]
fn a_named_archive_is_restored_or_refused() {
    let sandbox = Sandbox::new();
    let all = kept(&sandbox);
    let tar = old(&sandbox);
    sandbox.ok(&["docker-to-oci", "--reversible", "old.tar", "one"]);
    let one = "oci:one:docker.io/team/app:1.0";
    let named = ["oci-to-docker", one, "x.tar", "--record", "old.tar"];
    sandbox.ok(&named);
    assert!(read(&sandbox, "x.tar") == tar);
    fs::remove_file(sandbox.path("x.tar")).unwrap();
    for (option, said) in [
        (&["--clamp-mtime", "5"][..], "`--clamp-mtime`"),
        (
            &["--name", "other/app:1"],
            "the name `docker.io/other/app:1`",
        ),
    ] {
        let args = [&named[..], option].concat();
        sandbox.fails(&args, 2, &["`--record` restores", said]);
        let told = document(&sandbox, &[&named[..2], &["anew.tar"], option].concat());
        let [why] = &reasons(&told)[..] else {
            panic!("{told}");
        };
        assert!(why.contains("not restored, because"), "{why}");
        assert!(why.contains(said), "{why}");
        fs::remove_file(sandbox.path("anew.tar")).unwrap();
    }
    // An image of another archive is among the sources.
    let other = archive(&[("app", &layers())], &json!({"more": {"1": id("app", 3)}}));
    fs::write(sandbox.path("more.tar"), other).unwrap();
    sandbox.ok(&["docker-to-oci", "--reversible", "more.tar", "more"]);
    let more = ["oci-to-docker", "out", "more", "x.tar"];
    let said = ["`--record` restores", "images that it does not have"];
    sandbox.fails(&[&more[..], &["--record", "all.tar"]].concat(), 2, &said);
    let told = document(&sandbox, &more);
    let whys = reasons(&told);
    assert!(!whys.is_empty(), "{told}");
    for why in whys {
        assert!(why.contains("images that it does not have"), "{why}");
    }
    fs::remove_file(sandbox.path("x.tar")).unwrap();
    // An image of the archive is not among the sources.
    let one = format!("oci:out:docker.io/{}", NAMES[0]);
    let less = ["oci-to-docker", &one, "x.tar", "--record", "all.tar"];
    sandbox.fails(&less, 1, &["`--record` restores", "not selected"]);
    sandbox.ok(&["oci-to-docker", "out", "x.tar", "--record", "all.tar"]);
    assert!(read(&sandbox, "x.tar") == all);
}

/// H9h: the name of a file may have a colon.
#[test]
fn an_archive_with_a_colon_in_its_name_is_chosen() {
    let sandbox = Sandbox::new();
    let tar = old(&sandbox);
    fs::write(sandbox.path("my:app.tar"), &tar).unwrap();
    sandbox.ok(&["docker-to-oci", "--reversible", "./my:app.tar", "out"]);
    let said = &artifacts(&sandbox, "out")[0]["annotations"];
    assert_eq!(said["imgconv.reversal.file"], "my:app.tar");
    sandbox.ok(&["oci-to-docker", "out", "x.tar", "--record", "my:app.tar"]);
    assert!(read(&sandbox, "x.tar") == tar);
}

/// H9e: the list of the records, or a record itself, under the tag that names the image is no loss.
#[test]
fn a_whole_storage_of_a_registry_gives_back_its_archive() {
    let sandbox = Sandbox::new();
    let tar = old(&sandbox);
    let registry = Registry::start();
    registry.stored().referrers = false;
    let place = registry.locator("team/app:1.0");
    let from = "docker-archive:old.tar:team/app:1.0";
    sandbox.ok(&["convert", from, &format!("oci+{place}"), "--reversible"]);
    let back = [
        "oci-to-docker",
        "registry-storage:storage",
        "x.tar",
        "--exact",
        "--strict",
    ];
    for list in [true, false] {
        if !list {
            let mut stored = registry.stored();
            let manifests = &mut stored.manifests;
            let is_list = |name: &str| name.starts_with("sha256-");
            let tagged = manifests.keys().find(|(_, name)| is_list(name)).cloned();
            let record = manifests
                .iter()
                .filter(|((_, name), _)| !is_list(name))
                .find(|(_, (_, bytes))| {
                    let text = String::from_utf8_lossy(bytes);
                    text.contains("\"subject\"") && text.contains(ARCHIVE)
                });
            let record = record.unwrap().1.clone();
            manifests.insert(tagged.unwrap(), record);
        }
        store_registry(&registry.stored(), &sandbox.path("storage"));
        sandbox.ok(&[&back[..], &["--overwrite"]].concat());
        assert!(read(&sandbox, "x.tar") == tar, "list: {list}");
        fs::remove_dir_all(sandbox.path("storage")).unwrap();
    }
}

/// H10g: an index lists a record before the layout lists another image of the archive.
#[test]
fn all_images_are_copied_though_an_index_has_a_record_of_them() {
    let sandbox = Sandbox::new();
    let tar = kept(&sandbox);
    let mut list = index(&sandbox, "out");
    let mut entries = list["manifests"].as_array().unwrap().clone();
    let record = entries
        .iter()
        .position(|entry| entry["artifactType"] == ARCHIVE);
    let record = entries.remove(record.unwrap());
    let bytes = fs::read(blob(&sandbox, "out", &record["digest"])).unwrap();
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    let subject = &manifest["subject"]["digest"];
    let (own, others): (Vec<Value>, Vec<Value>) =
        (entries.into_iter()).partition(|entry| entry["digest"] == *subject);
    let kind = "application/vnd.oci.image.index.v1+json";
    let inner = json!({"schemaVersion": 2, "mediaType": kind, "manifests": [own[0], record]});
    let (digest, size) = store(&sandbox, "out", inner.to_string().as_bytes());
    let name = json!({"org.opencontainers.image.ref.name": "docker.io/team/both:1"});
    let top = json!({"mediaType": kind, "digest": digest, "size": size, "annotations": name});
    list["manifests"] = [&[top], &others[..]].concat().into();
    set_index(&sandbox, "out", &list);
    sandbox.ok(&["convert", "out", "oci:copy", "--strict"]);
    sandbox.ok(&["oci-to-docker", "copy", "x.tar", "--record", "all.tar"]);
    assert!(read(&sandbox, "x.tar") == tar);
    // Without the other images the record is of no use there.
    list["manifests"].as_array_mut().unwrap().truncate(1);
    set_index(&sandbox, "out", &list);
    let told = document(&sandbox, &["convert", "out", "oci:part"]);
    assert_eq!(codes(&told), ["incomplete-archive"], "{told}");
}

/// H9w: every place that has the record of an archive is tried.
#[test]
fn a_good_copy_of_a_record_serves_in_place_of_a_damaged_one() {
    let sandbox = Sandbox::new();
    let tar = kept(&sandbox);
    for place in ["oci:a", "oci:b"] {
        sandbox.ok(&["convert", "out", place]);
    }
    let record = &artifacts(&sandbox, "a")[0]["layers"][0]["digest"];
    let record = blob(&sandbox, "a", record);
    let good = fs::read(&record).unwrap();
    let mut header = good.clone();
    header[20] = 9;
    let mut flipped = good.clone();
    let last = flipped.len() - 3;
    flipped[last] ^= 1;
    let bad = [&[&good[..], b"more"].concat(), &header, &flipped];
    let names = |first: &str, second: &str| {
        let of = |place: &str, name: &str| format!("oci:{place}:docker.io/{name}");
        [
            of(first, NAMES[0]),
            of(first, NAMES[1]),
            of(second, NAMES[2]),
        ]
    };
    for damaged in bad.map(Some).into_iter().chain([None]) {
        // The layouts may share the file.
        fs::remove_file(&record).unwrap();
        if let Some(bytes) = damaged {
            fs::write(&record, bytes).unwrap();
        }
        for (first, second) in [("a", "b"), ("b", "a")] {
            let from = names(first, second);
            let from = from.each_ref().map(|from| &**from);
            let args = [&["oci-to-docker"], &from[..], &["x.tar", "--exact"]].concat();
            sandbox.ok(&[&args[..], &["--dry-run"]].concat());
            sandbox.ok(&args);
            assert!(read(&sandbox, "x.tar") == tar, "{first} {second}");
            fs::remove_file(sandbox.path("x.tar")).unwrap();
        }
        let args = ["oci-to-docker", "a", "x.tar", "--exact"];
        assert!(!sandbox.run(&args).status.success());
    }
}
