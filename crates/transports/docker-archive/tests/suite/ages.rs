//! Archives that tools of several ages had a hand in: directories of other names, lists that differ,
//! links with a `..` too many, other spellings (robustness K.5).

use std::fs;

use imgconv_model::{Code, Transport};
use imgconv_transport_docker_archive::{DOCKER_ARCHIVE, unpacked};

use crate::fixture::{Saved, Tar, env, hex, id, member, names, roots, sha256};

/// A directory of a v1 image, under a name of its own.
fn v1(tar: Tar, directory: &str, id: &str, parent: &str, more: &str) -> Tar {
    let parent = match parent {
        "" => String::new(),
        parent => format!(r#","parent":"{parent}""#),
    };
    tar.file(&format!("{directory}/VERSION"), "1.0")
        .file(
            &format!("{directory}/json"),
            format!(r#"{{"id":"{id}"{parent}{more}}}"#),
        )
        .file(
            &format!("{directory}/layer.tar"),
            format!("layer of {}{}", &id[..1], more),
        )
}

fn list(tags: &str, layers: &[&str]) -> String {
    let layers: Vec<String> = layers
        .iter()
        .map(|l| format!("\"{l}/layer.tar\""))
        .collect();
    format!(
        r#"[{{"Config":"c.json","RepoTags":{tags},"Layers":[{}]}}]"#,
        layers.join(",")
    )
}

/// The names with whether each comes from a chain of v1 images, and the warnings.
type Listed = (Vec<(String, bool)>, Vec<(&'static str, String)>);

/// What is listed: the name or nothing, and whether it comes from a chain of v1 images; and the
/// warnings of opening the archive.
fn listed(tar: &Tar) -> Listed {
    let env = env();
    let saved = tar.save();
    let bundle = saved.open_with(&env).unwrap();
    let entries = bundle.roots().unwrap();
    let found = entries.iter().map(|entry| {
        let name = entry.name.as_ref().map(ToString::to_string);
        let kind = entry
            .child
            .as_ref()
            .map(|child| child.kind.contains("docker-v1"));
        (name.unwrap_or_default(), kind.unwrap_or_default())
    });
    let warnings = env.notes.take().warnings.into_iter();
    (found.collect(), warnings.map(|w| (w.code, w.at)).collect())
}

#[test]
fn k24_an_image_is_known_by_its_id_whatever_its_directory_is_called() {
    let (a, b) = (id('a'), id('b'));
    for directory in ["busybox:latest", "bbbbbbbbbbbb", &*b] {
        let tar = v1(Tar::default(), &a, &a, "", "");
        let tar = v1(tar, directory, &b, &a, "");
        let bundle = tar.open();
        let found = roots(&*bundle);
        assert_eq!(found.len(), 1, "{directory}");
        let name = match directory.contains(':') {
            true => "docker.io/library/busybox:latest",
            false => "",
        };
        assert_eq!(found[0].0, name);
        let layer = format!("{directory}/layer.tar");
        assert!(
            found[0].2.contains(&format!(r#""layer":"{layer}""#)),
            "{}",
            found[0].2
        );
        assert!(found[0].2.contains(&format!(r#""layer":"{a}/layer.tar""#)));
        assert_eq!(member(&*bundle, &layer).unwrap(), b"layer of b");
        let texts = &bundle.roots().unwrap()[0].texts;
        assert!(
            texts.contains(&b) && texts.contains(&directory.to_owned()),
            "{texts:?}"
        );
    }
    // One image alone, in a directory that nothing else tells of.
    let alone = v1(Tar::default(), "busybox:latest", &b, "", "");
    assert!(alone.save().recognised());
    assert_eq!(
        roots(&*alone.open())[0].0,
        "docker.io/library/busybox:latest"
    );
    let aci = Tar::default()
        .file("rootfs/layer.tar", "x")
        .file("manifest", "{}");
    assert!(!aci.save().recognised());
}

#[test]
fn k24_two_directories_of_one_image_have_to_be_the_same() {
    let b = id('b');
    let both = v1(Tar::default(), &b, &b, "", "");
    let same = v1(both.clone(), "busybox:1", &b, "", "");
    let found = roots(&*same.open());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "docker.io/library/busybox:1");
    let other = v1(both, "busybox:1", &b, "", r#","os":"linux""#);
    other.refused(Code::Ambiguous, &[&b, "busybox:1"]);
}

#[test]
fn k24_a_directory_that_no_image_takes_is_named() {
    let (a, b) = (id('a'), id('b'));
    let at = |directory: &str| ("unused-directory", format!("entry \"{directory}\""));
    let image = v1(Tar::default(), &a, &a, "", "");
    let tar = image
        .clone()
        .file("left-over/layer.tar", "x")
        .file("odd/json", "{}");
    let (found, warnings) = listed(&tar);
    assert_eq!(found, [(String::new(), true)]);
    assert_eq!(warnings, [at("left-over"), at("odd")]);
    // Beside `manifest.json` too; a directory whose layer is used or empty is no loss.
    let tar = v1(image.file("c.json", "{}"), &b, &b, &a, "")
        .file("empty/layer.tar", [0; 1024])
        .file("c/json", r#"{"id":"x"}"#)
        .symlink("d/layer.tar", &format!("../{a}/layer.tar"))
        .file("manifest.json", list(r#"["x:1"]"#, &[&a]));
    let (found, warnings) = listed(&tar);
    assert_eq!(found, [("docker.io/library/x:1".to_owned(), false)]);
    assert_eq!(warnings, [at(&b), at("c")]);
}

#[test]
fn k25_an_image_that_only_repositories_names_is_an_image_too() {
    let (a, b) = (id('a'), id('b'));
    let tar = v1(
        v1(Tar::default().file("c.json", "{}"), &a, &a, "", ""),
        &b,
        &b,
        &a,
        "",
    );
    let tar = tar.file("manifest.json", list(r#"["x:1"]"#, &[&a]));
    let place = |name: &str| format!("file repositories › \"{name}\"");
    let with = |text: String| listed(&tar.clone().file("repositories", text));
    let own = ("docker.io/library/x:1".to_owned(), false);

    let (found, warnings) = with(format!(r#"{{"y":{{"2":"{b}"}}}}"#));
    assert_eq!(
        found,
        [own.clone(), ("docker.io/library/y:2".to_owned(), true)]
    );
    assert_eq!(warnings, [("repositories-image", place("y:2"))]);
    // `manifest.json` has the name that both give away.
    let (found, warnings) = with(format!(r#"{{"x":{{"1":"{b}"}}}}"#));
    assert_eq!(found, [own.clone(), (String::new(), true)]);
    assert_eq!(warnings, [("repositories-differs", place("x:1"))]);
    let bundle = tar
        .clone()
        .file("repositories", format!(r#"{{"x":{{"1":"{b}"}}}}"#))
        .open();
    assert_eq!(bundle.roots().unwrap()[1].texts, std::slice::from_ref(&b));
    // Another name of an image that both have.
    let unused = ("unused-directory", format!("entry \"{b}\""));
    let (found, warnings) = with(format!(r#"{{"x":{{"1":"{a}","2":"{a}"}}}}"#));
    assert_eq!(
        found,
        [own.clone(), ("docker.io/library/x:2".to_owned(), false)]
    );
    assert_eq!(warnings, std::slice::from_ref(&unused));
    // An image that is not there, under a name that is known and one that is not.
    let absent = id('f');
    let (found, warnings) = with(format!(
        r#"{{"x":{{"1":"{absent}"}},"z":{{"1":"{absent}"}}}}"#
    ));
    assert_eq!(found, std::slice::from_ref(&own));
    assert_eq!(
        warnings,
        [("repositories-image-missing", place("z:1")), unused.clone()]
    );
    let (found, warnings) = with("{".to_owned());
    assert_eq!(found, [own]);
    assert_eq!(
        warnings,
        [
            ("repositories-unreadable", "file repositories".to_owned()),
            unused
        ]
    );
}

/// Docker 1.10 to 24 and builders wrote both, of the same images.
#[test]
fn k25_lists_that_say_the_same_are_one() {
    let (a, b) = (id('a'), id('b'));
    let config = r#","config":{"Cmd":["x"],"User":""}"#;
    let tar = v1(Tar::default(), &a, &a, "", "")
        .file("c.json", r#"{"config":{"Cmd":["x"],"Env":null}}"#)
        .file(&format!("{b}/VERSION"), "1.0")
        .file(
            &format!("{b}/json"),
            format!(r#"{{"id":"{b}","parent":"{a}"{config}}}"#),
        )
        .file(&format!("{b}/layer.tar"), [0; 1024])
        .file("manifest.json", list(r#"["x:1"]"#, &[&a]));
    let own = ("docker.io/library/x:1".to_owned(), false);
    for top in [&a, &b] {
        // On top a step without a layer, as bazel writes them.
        let text = format!(r#"{{"x":{{"1":"{top}"}}}}"#);
        let (found, warnings) = listed(&tar.clone().file("repositories", text));
        assert_eq!((found, warnings), (vec![own.clone()], vec![]), "{top}");
    }
    // Such a step is another image if it runs something else.
    let other = tar
        .clone()
        .file("repositories", format!(r#"{{"x":{{"1":"{b}"}}}}"#));
    let bytes = String::from_utf8(other.0)
        .unwrap()
        .replace(r#"["x"],"User""#, r#"["y"],"User""#);
    let (found, _) = listed(&Tar(bytes.into_bytes()));
    assert_eq!(found, [own, (String::new(), true)]);
}

#[test]
fn k28_an_image_that_is_whole_stands_in_for_one_that_is_not() {
    let (a, b) = (id('a'), id('b'));
    let tar = v1(
        v1(Tar::default().file("c.json", "{}"), &a, &a, "", ""),
        &b,
        &b,
        &a,
        "",
    );
    let tar = tar
        .file("manifest.json", list(r#"["x:1","y:1"]"#, &[&a, &id('e')]))
        .file("repositories", format!(r#"{{"x":{{"1":"{b}"}}}}"#));
    let (found, warnings) = listed(&tar);
    assert_eq!(
        found,
        [
            ("docker.io/library/y:1".to_owned(), false),
            ("docker.io/library/x:1".to_owned(), true)
        ]
    );
    let place = "file repositories › \"x:1\"".to_owned();
    assert_eq!(warnings, [("docker-archive-fallback", place)]);
    let error = member(&*tar.open(), &format!("{}/layer.tar", id('e'))).unwrap_err();
    names(&error, Code::Missing, &[&id('e')]);
    let advice = error.advice().unwrap();
    assert!(
        advice.contains("`repositories`") && advice.contains(":x:1`"),
        "{advice}"
    );
}

#[test]
fn k28_an_unpacked_archive_is_told_from_other_folders() {
    let folder = tempfile::TempDir::new().unwrap();
    assert_eq!(unpacked(folder.path()), None);
    let layer = folder.path().join(id('a'));
    fs::create_dir(&layer).unwrap();
    assert_eq!(unpacked(folder.path()), None);
    fs::write(layer.join("layer.tar"), "").unwrap();
    assert!(unpacked(folder.path()).unwrap().contains("docker save"));
    fs::remove_dir_all(&layer).unwrap();
    fs::write(folder.path().join("manifest.json"), "[]").unwrap();
    assert!(unpacked(folder.path()).unwrap().contains("tar -C DIR"));
    assert_eq!(unpacked(&folder.path().join("manifest.json")), None);
}

#[test]
fn k26_links_stay_inside_the_archive() {
    let tar = Tar::default()
        .file("manifest.json", list("null", &["a"]))
        .file("x/layer.tar", "x")
        .symlink("a/layer.tar", "../../x/layer.tar")
        .symlink("b/layer.tar", "/x/layer.tar")
        .symlink("c/d/e/layer.tar", "../../../../../../x/./layer.tar")
        .hard_link("f/layer.tar", "/../x/layer.tar")
        .symlink("g", "../x")
        .symlink("h/layer.tar", "../g/layer.tar");
    let bundle = tar.open();
    for name in ["a", "b", "c/d/e", "f", "g", "h", "../a", "/a"] {
        let found = member(&*bundle, &format!("{name}/layer.tar")).unwrap();
        assert_eq!(found, b"x", "{name}");
    }
}

#[test]
fn k26_a_layer_is_found_by_what_it_holds() {
    let tar = Tar::default()
        .file("manifest.json", list("null", &["a"]))
        .symlink("a/layer.tar", "../../nowhere/layer.tar")
        .file("x/layer.tar", "x");
    let bundle = tar.open();
    let (name, blob) = bundle.layer_of(&sha256("x")).unwrap().unwrap();
    assert_eq!(name, "x/layer.tar");
    assert_eq!(crate::fixture::read(&blob).unwrap(), b"x");
    assert!(bundle.layer_of(&sha256("y")).unwrap().is_none());
}

#[test]
fn k27_keys_and_names_in_other_spellings() {
    for keys in [
        ["config", "repoTags", "layers"],
        ["CONFIG", "REPOTAGS", "LAYERS"],
    ] {
        let [config, tags, layers] = keys;
        let text = format!(r#"[{{"{config}":"/c.json","{tags}":["t:1"],"{layers}":["/l.tar"]}}]"#);
        let tar = Tar::default()
            .file("/l.tar", "l")
            .file("/c.json", "{}")
            .file("/manifest.json", text);
        assert!(tar.save().recognised());
        let bundle = tar.open();
        let found = roots(&*bundle);
        assert_eq!(found[0].0, "docker.io/library/t:1");
        // The format sees the one spelling that it knows.
        let usual = r#"{"Config":"/c.json","RepoTags":["t:1"],"Layers":["/l.tar"]}"#;
        assert_eq!(found[0].2, usual);
        assert_eq!(member(&*bundle, "/l.tar").unwrap(), b"l");
        assert_eq!(member(&*bundle, "./l.tar").unwrap(), b"l");
    }
    // Readers differ in which of two counts.
    let two = r#"[{"Config":"c.json","config":"d.json","Layers":[]}]"#;
    Tar::default()
        .file("manifest.json", two)
        .refused(Code::BadJson, &["config"]);
    let two = r#"[{"config":"c.json","CONFIG":"d.json","Layers":[]}]"#;
    Tar::default()
        .file("manifest.json", two)
        .refused(Code::BadJson, &["config"]);
    let blob = format!("/blobs/sha256/{}", hex("right"));
    let wrong = Tar::default()
        .file("manifest.json", "[]")
        .file(&blob, "wrong")
        .open();
    assert_eq!(member(&*wrong, &blob).unwrap_err().code(), Code::Mismatch);
}

#[test]
fn k24_many_names_of_many_images_are_compared_by_order() {
    let a = id('a');
    let tags: Vec<String> = (0..100_000).map(|i| format!(r#""{i}":"{a}""#)).collect();
    let tar = v1(Tar::default().file("c.json", "{}"), &a, &a, "", "")
        .file("manifest.json", list("null", &[&a]))
        .file("repositories", format!(r#"{{"x":{{{}}}}}"#, tags.join(",")));
    let saved = Saved::new(&tar.bytes());
    let bundle = DOCKER_ARCHIVE
        .open(saved.path.to_str().unwrap(), &env())
        .unwrap();
    assert_eq!(bundle.roots().unwrap().len(), 100_001);
}
