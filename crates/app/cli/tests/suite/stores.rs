//! Stores and folders of images, through the command: every command works on each kind, a store never
//! changes, and a damaged image does not affect the others.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::sandbox::{LABELS, Sandbox, labels};
use imgconv_testkit::{Head, ImageRecipe, build, docker, recipe, snapshot, stores};

fn image(name: &str, version: &str, arch: &str, layers: &[&str]) -> ImageRecipe {
    let head = Head {
        name: name.into(),
        version: version.into(),
        os: "linux".into(),
        arch: arch.into(),
        created: "2015-01-02T03:04:05Z".into(),
        ..Head::default()
    };
    let layers = layers
        .iter()
        .map(|text| recipe::parse(text, "test").unwrap());
    ImageRecipe {
        head,
        layers: layers.collect(),
        manifest: None,
    }
}

const ONE: &[&str] = &["dir etc\nfile etc/a 0644 1:2 @7 \"one\"\nfile etc/b \"b\""];
const TWO: &[&str] = &[
    "dir etc\nfile etc/a \"one\"",
    "file etc/a \"two\"\nwhiteout etc/b",
];

/// Makes a folder `store` of each kind, with the images `example.com/one:1` and `example.com/two:2`;
/// returns the locator and the two references.
fn each_kind(mut check: impl FnMut(&Sandbox, &str, [&str; 2])) {
    let two_in_one = ["file etc/a \"two\""];
    let small = |two: &[&str]| {
        [
            image("example.com/one", "1", "amd64", ONE),
            image("example.com/two", "2", "amd64", two),
        ]
    };
    let sandbox = Sandbox::new();
    stores::rkt(&small(&two_in_one), &sandbox.path("store")).unwrap();
    check(
        &sandbox,
        "rkt:store",
        ["example.com/one:1", "example.com/two:2"],
    );

    let sandbox = Sandbox::new();
    build::layout(&small(TWO), &sandbox.path("layout")).unwrap();
    stores::registry_v2(&sandbox.path("layout"), &sandbox.path("store")).unwrap();
    fs::remove_dir_all(sandbox.path("layout")).unwrap();
    check(
        &sandbox,
        "registry-storage:store",
        ["example.com/one:1", "2"],
    );

    let sandbox = Sandbox::new();
    stores::registry_v1(&small(TWO), &sandbox.path("store")).unwrap();
    check(
        &sandbox,
        "registry-storage:store",
        ["example.com/one:1", "2"],
    );

    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("store/deep/er")).unwrap();
    for (file, image) in ["one", "deep/er/two.bin"].iter().zip(small(&two_in_one)) {
        let path = sandbox.path("store").join(file);
        fs::write(path, build::aci_bytes(&image).unwrap()).unwrap();
    }
    fs::write(sandbox.path("store/README"), "not an image").unwrap();
    check(
        &sandbox,
        "aci-tree:store",
        ["deep/er/two.bin", "example.com/one:1"],
    );

    let sandbox = Sandbox::new();
    sandbox.layout("store/layout", "example.com/one", ONE);
    let [_, two] = small(TWO);
    fs::write(
        sandbox.path("store/saved.tar"),
        docker::archive(&[two]).unwrap(),
    )
    .unwrap();
    check(&sandbox, "tree:store", ["example.com/one:1.0", "saved.tar"]);
}

fn modes(path: &Path, directory: u32, file: u32) {
    for entry in walk(path) {
        let mode = if entry.is_dir() { directory } else { file };
        fs::set_permissions(&entry, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Everything below a folder, the content of a folder before the folder.
fn walk(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    let mut next = 0;
    while next < found.len() {
        if found[next].is_dir() {
            let below: Vec<PathBuf> = fs::read_dir(&found[next])
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            found.extend(below);
        }
        next += 1;
    }
    found.reverse();
    found
}

#[test]
fn d9_every_command_reads_every_kind_of_store_and_changes_none() {
    each_kind(|sandbox, store, references| {
        let folder = sandbox.path("store");
        modes(&folder, 0o555, 0o444);
        // Times and modes are compared too: nothing may change.
        let before = snapshot(&folder).unwrap();
        let list = sandbox.ok(&["ls", store]);
        assert_eq!(list.lines().count(), 2, "{store}: {list}");
        let bare = sandbox.ok(&["ls", "store"]);
        assert_eq!(bare, list, "{store} as a bare path");
        let said = sandbox.ok(&["verify", store]);
        assert!(said.contains("2 checked, nothing wrong"), "{store}: {said}");
        sandbox.ok(&["convert", store, "oci:all"]);
        let copies = sandbox.ok(&["ls", "oci:all"]);
        assert_eq!(copies.lines().count(), 2, "{store}: {copies}");
        for (i, reference) in references.iter().enumerate() {
            let one = &*format!("{store}:{reference}");
            let said = sandbox.ok(&["inspect", one]);
            assert!(said.contains("platform: linux/amd64"), "{one}: {said}");
            let layout = &*format!("oci:one{i}");
            sandbox.ok(&["convert", one, layout]);
            sandbox.ok(&["diff", one, layout]);
            let root = &*format!("root{i}");
            sandbox.ok(&["unpack", one, root]);
            let text = fs::read_to_string(sandbox.path(root).join("etc/a")).unwrap();
            assert!(["one", "two"].contains(&&*text), "{one}: {text}");
        }
        assert_eq!(snapshot(&folder).unwrap(), before, "{store}");
        modes(&folder, 0o755, 0o644);
        for target in [
            store,
            &*format!("{store}/new"),
            &*store.replace(":store", ":new"),
        ] {
            let texts: &[&str] = match target.ends_with("store") || target.ends_with("/new") {
                true => &["error["],
                false => &["error[unsupported]", "but not write to it"],
            };
            sandbox.fails(&["convert", "oci:one0", target], 1, texts);
        }
    });
}

#[test]
fn m9_one_damaged_image_of_a_store_is_named_and_the_rest_is_whole() {
    let sandbox = Sandbox::new();
    let images = [
        image("example.com/good", "1", "amd64", ONE),
        image("example.com/bad", "1", "amd64", ONE),
    ];
    let keys = stores::rkt(&images, &sandbox.path("store")).unwrap();
    let blob = format!("store/cas/blob/sha512/{}/{}", &keys[1][7..9], keys[1]);
    let blob = sandbox.path(&blob);
    let good = fs::read(&blob).unwrap();
    // In a header, in the manifest, in a file, and cut short.
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damage = [
        flipped(0),
        flipped(520),
        flipped(good.len() - 1),
        good[..good.len() - 1024].to_vec(),
        good[..700].to_vec(),
    ];
    for bytes in damage {
        fs::write(&blob, bytes).unwrap();
        let output = sandbox.run(&["verify", "rkt:store"]);
        assert_eq!(output.status.code(), Some(4));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("example.com/bad:1"), "{said}");
        assert!(said.contains("mismatch"), "{said}");
        assert!(!said.contains("example.com/good"), "{said}");
        let list = String::from_utf8(sandbox.run(&["ls", "rkt:store"]).stdout).unwrap();
        assert_eq!(list.lines().count(), 2, "{list}");
        let bad = &["convert", "rkt:store:example.com/bad:1", "oci:out"];
        sandbox.fails(bad, 4, &["error[mismatch]"]);
        sandbox.ok(&["unpack", "rkt:store:example.com/good:1", "root"]);
        fs::remove_dir_all(sandbox.path("root")).unwrap();
    }
}

#[test]
fn the_name_in_rkts_index_must_be_the_images_own() {
    let sandbox = Sandbox::new();
    let images = [image("example.com/app", "1", "amd64", ONE)];
    let keys = stores::rkt(&images, &sandbox.path("store")).unwrap();
    let path = format!(
        "store/cas/imageManifest/sha512/{}/{}",
        &keys[0][7..9],
        keys[0]
    );
    let text = fs::read_to_string(sandbox.path(&path)).unwrap();
    fs::write(
        sandbox.path(&path),
        text.replace("example.com/app", "example.com/other"),
    )
    .unwrap();
    let args = &["convert", "rkt:store", "oci:out"];
    sandbox.fails(
        args,
        4,
        &["error[mismatch]", "example.com/other", "example.com/app"],
    );
}

#[test]
fn an_image_id_names_an_image_of_rkts_store_however_short() {
    let sandbox = Sandbox::new();
    let images = [
        image("example.com/app", "1", "amd64", ONE),
        image("example.com/app", "2", "amd64", ONE),
    ];
    let keys = stores::rkt(&images, &sandbox.path("store")).unwrap();
    let blob = format!("store/cas/blob/sha512/{}/{}", &keys[1][7..9], keys[1]);
    let whole = imgconv_testkit::sha512_hex(&fs::read(sandbox.path(&blob)).unwrap());
    for text in [&keys[1][..19], &keys[1], &format!("sha512-{whole}")] {
        let said = sandbox.ok(&["inspect", &format!("rkt:store:{text}")]);
        assert!(said.contains("example.com/app:2"), "{said}");
    }
    sandbox.fails(&["inspect", "rkt:store:sha512-"], 1, &["error[ambiguous]"]);
    sandbox.fails(&["inspect", "rkt:store:sha512-zz"], 1, &["error[missing]"]);
}

#[test]
fn dependencies_are_found_in_the_store_of_the_image() {
    let with = |name: &str, fields: &str, rootfs: &str| ImageRecipe {
        manifest: Some(format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"{name}"{fields}}}"#
        )),
        layers: vec![recipe::parse(rootfs, "test").unwrap()],
        ..ImageRecipe::default()
    };
    let base = with(
        "example.com/base",
        &labels("1.0", "amd64"),
        "file base \"b\"",
    );
    let wants = r#","dependencies":[{"imageName":"example.com/base"}]"#;
    let fields = format!("{}{wants}", labels("1.0", "amd64"));
    let top = with("example.com/top", &fields, "file top \"t\"");
    let sandbox = Sandbox::new();
    stores::rkt(&[base.clone(), top.clone()], &sandbox.path("store")).unwrap();
    fs::create_dir(sandbox.path("acis")).unwrap();
    fs::write(sandbox.path("acis/base"), build::aci_bytes(&base).unwrap()).unwrap();
    fs::write(sandbox.path("acis/top"), build::aci_bytes(&top).unwrap()).unwrap();
    fs::write(sandbox.path("top.aci"), build::aci_bytes(&top).unwrap()).unwrap();
    let wanted = ["base", "top"];
    let runs: [&[&str]; 5] = [
        &["unpack", "rkt:store:example.com/top:1.0", "root"],
        &["unpack", "aci-tree:acis:example.com/top:1.0", "root"],
        &["unpack", "top.aci", "root", "--deps", "rkt:store"],
        &["unpack", "top.aci", "root", "--deps", "store"],
        &["unpack", "top.aci", "root", "--deps", "aci-tree:acis"],
    ];
    for args in runs {
        sandbox.ok(args);
        for file in wanted {
            assert!(sandbox.path("root").join(file).exists(), "{args:?}: {file}");
        }
        fs::remove_dir_all(sandbox.path("root")).unwrap();
    }
    sandbox.ok(&["convert", "rkt:store", "oci:all"]);
    assert_eq!(sandbox.ok(&["ls", "oci:all"]).lines().count(), 2);
    sandbox.fails(&["unpack", "top.aci", "root"], 1, &["example.com/base"]);
}

#[test]
fn platforms_of_one_name_in_a_folder_become_an_index() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("acis")).unwrap();
    for arch in ["amd64", "arm64"] {
        let fields = labels("1.0", &arch.replace("arm64", "aarch64"));
        sandbox.aci(&format!("acis/{arch}"), "example.com/both", &fields, ONE[0]);
    }
    sandbox.aci("acis/other", "example.com/other", LABELS, ONE[0]);
    sandbox.ok(&["aci-to-oci", "acis", "all"]);
    let list = sandbox.ok(&["ls", "all"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    // The name selects all of its platforms, and nothing else.
    sandbox.ok(&["convert", "aci-tree:acis:example.com/both:1.0", "oci:both"]);
    let list = sandbox.ok(&["ls", "oci:both"]);
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(
        list.contains("linux/arm64") && list.contains("linux/amd64"),
        "{list}"
    );
    let index = fs::read_to_string(sandbox.path("both/index.json")).unwrap();
    assert_eq!(index.matches("\"digest\"").count(), 1, "{index}");
}

#[test]
fn a_signature_beside_an_aci_is_noted() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("acis")).unwrap();
    let image = image("example.com/app", "1.0", "amd64", ONE);
    fs::write(
        sandbox.path("acis/app.aci"),
        build::aci_bytes(&image).unwrap(),
    )
    .unwrap();
    fs::write(
        sandbox.path("acis/app.aci.asc"),
        "-----BEGIN PGP SIGNATURE-----\n",
    )
    .unwrap();
    let output = sandbox.run(&["convert", "aci-tree:acis", "oci:out"]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("app.aci.asc") && said.contains("not verified"),
        "{said}"
    );
    let strict = &["convert", "--strict", "aci-tree:acis", "oci:strict"];
    sandbox.fails(strict, 3, &["signature-not-checked"]);
}

#[test]
fn what_can_not_be_read_in_a_folder_is_named_and_the_rest_is_listed() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("tree/broken")).unwrap();
    let image = image("example.com/app", "1.0", "amd64", ONE);
    let aci = build::aci_bytes(&image).unwrap();
    fs::write(sandbox.path("tree/good.aci"), &aci).unwrap();
    fs::write(sandbox.path("tree/cut.aci"), &aci[..700]).unwrap();
    fs::write(sandbox.path("tree/broken/oci-layout"), "{}").unwrap();
    fs::write(sandbox.path("tree/broken/index.json"), "{").unwrap();
    let deep = format!("tree/{}", "d/".repeat(20));
    fs::create_dir_all(sandbox.path(&deep)).unwrap();
    std::os::unix::fs::symlink("good.aci", sandbox.path("tree/link.aci")).unwrap();
    let output = sandbox.run(&["verify", "tree:tree"]);
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8(output.stdout).unwrap();
    for part in ["tree/broken", "cut.aci", "to a depth of 16"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        !said.contains("good.aci") && !said.contains("link.aci"),
        "{said}"
    );
    sandbox.ok(&["inspect", "tree:tree:good.aci"]);
    sandbox.fails(
        &["ls", "tree:none"],
        1,
        &["error[missing]", "no such directory"],
    );
    sandbox.fails(
        &["inspect", "tree:tree:nope"],
        1,
        &["error[missing]", "example.com/app:1.0", "\"broken\""],
    );
}

/// Archives that name their members alike have the same list of images and hold different ones.
#[test]
fn archives_that_look_alike_stay_apart() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("tree")).unwrap();
    for text in ["one", "two"] {
        let layer =
            build::tar_bytes(&recipe::parse(&format!("file {text}"), "test").unwrap()).unwrap();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
            imgconv_testkit::sha256_hex(&layer)
        );
        let list = r#"[{"Config":"config.json","RepoTags":null,"Layers":["layer.tar"]}]"#;
        let mut items = recipe::parse(
            "file manifest.json\nfile config.json\nfile layer.tar",
            "test",
        )
        .unwrap();
        for (item, bytes) in items
            .iter_mut()
            .zip([list.as_bytes(), config.as_bytes(), &layer])
        {
            item.entry.size = bytes.len() as u64;
            item.body = bytes.to_vec();
        }
        let path = sandbox.path(&format!("tree/{text}.tar"));
        fs::write(path, build::tar_bytes(&items).unwrap()).unwrap();
    }
    for text in ["one", "two"] {
        sandbox.ok(&["unpack", &format!("tree:tree:{text}.tar"), text]);
        assert!(sandbox.path(text).join(text).exists(), "{text}");
    }
    sandbox.ok(&["convert", "tree", "oci:out"]);
    let list = sandbox.ok(&["ls", "oci:out"]);
    assert_eq!(list.lines().count(), 2, "{list}");
}

#[test]
fn the_host_of_a_storage_is_what_the_user_says() {
    let sandbox = Sandbox::new();
    let images = [image("team/app", "1.0", "amd64", ONE)];
    stores::registry_v1(&images, &sandbox.path("store")).unwrap();
    let list = |args: &[&str]| sandbox.ok(&[&["ls", "store"], args].concat());
    assert!(list(&[]).contains("docker.io/team/app:1.0"));
    let host = &["--registry-host", "reg.example.com:5000"];
    assert!(list(host).contains("reg.example.com:5000/team/app:1.0"));
    let wrong = &["ls", "store", "--registry-host", "https://x"];
    sandbox.fails(wrong, 2, &["not the host of a registry"]);
}
