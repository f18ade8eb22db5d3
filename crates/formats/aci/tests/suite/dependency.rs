//! Rows H3 and H5c: which image a dependency means, and the order.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use imgconv_format_aci::{
    Manifest,
    dependency::{Candidate, Rendered, choose, order},
    manifest,
};
use imgconv_model::{Algorithm, Code, Digest, Error, Limits, Notes, Result};

fn parse(text: &str) -> Manifest {
    manifest::parse(text.as_bytes(), &Limits::default(), &Notes::default()).unwrap()
}

/// A manifest from `NAME: DEPENDENCY DEPENDENCY / PATH PATH`.
fn image(text: &str) -> Manifest {
    let (name, rest) = text.split_once(':').unwrap();
    let (dependencies, paths) = rest.split_once('/').unwrap_or((rest, ""));
    let quoted = |text: &str, before: &str, after: &str| {
        let items: Vec<String> = text
            .split_whitespace()
            .map(|item| format!("{before}\"{item}\"{after}"))
            .collect();
        items.join(",")
    };
    let dependencies = quoted(dependencies, "{\"imageName\":", "}");
    let paths = quoted(paths, "", "");
    parse(&format!(
        r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"{name}","dependencies":[{dependencies}],"pathWhitelist":[{paths}]}}"#
    ))
}

fn run(images: &[String], limits: &Limits) -> Result<(Vec<Rendered<String>>, usize)> {
    let images: BTreeMap<String, Arc<Manifest>> = images
        .iter()
        .map(|text| image(text))
        .map(|manifest| (manifest.name.clone(), Arc::new(manifest)))
        .collect();
    let asked = RefCell::new(0);
    let rendered = order(
        "a".to_owned(),
        &mut |key| {
            *asked.borrow_mut() += 1;
            images
                .get(key)
                .cloned()
                .ok_or_else(|| Error::new(Code::Missing, key.clone()))
        },
        &mut |dependency| Ok(dependency.image_name.clone()),
        limits,
    )?;
    Ok((rendered, asked.into_inner()))
}

fn texts(images: &[&str]) -> Vec<String> {
    images.iter().map(|text| (*text).to_owned()).collect()
}

/// The order as `IMAGE[PATH PATH]`.
fn shown(images: &[&str]) -> Vec<String> {
    let (rendered, _) = run(&texts(images), &Limits::default()).unwrap();
    let one = |image: &Rendered<String>| match image.paths() {
        None => image.key.clone(),
        Some(paths) => {
            let paths: Vec<String> = paths
                .iter()
                .map(|path| String::from_utf8_lossy(path).into_owned())
                .collect();
            format!("{}[{}]", image.key, paths.join(" ").trim())
        }
    };
    rendered.iter().map(one).collect()
}

#[test]
fn h5c_the_order_of_the_specification() {
    assert_eq!(shown(&["a: b c", "b:", "c: d", "d:"]), ["b", "d", "c", "a"]);
    // D, B, D, C, A: without whitelists the second D writes all that the first one would.
    assert_eq!(
        shown(&["a: b c", "b: d", "c: d", "d:"]),
        ["b", "d", "c", "a"]
    );
    // With them the two are different.
    assert_eq!(
        shown(&["a: b c / w x y z", "b: d / x y", "c: d / y z q", "d:"]),
        ["d[x y]", "b[x y]", "d[y z]", "c[y z]", "a[w x y z]"]
    );
    assert_eq!(shown(&["a:"]), ["a"]);
}

#[test]
fn h5a_parents_of_listed_paths_exist() {
    assert_eq!(
        shown(&["a: / etc/ssl/cert bin/"]),
        ["a[bin etc etc/ssl etc/ssl/cert]"]
    );
    let (rendered, _) = run(&texts(&["a: b / x", "b: / y"]), &Limits::default()).unwrap();
    assert_eq!(
        rendered[0].paths().unwrap(),
        [Vec::new()].into(),
        "the root itself always exists"
    );
}

#[test]
fn h5a_a_large_whitelist() {
    let paths: Vec<String> = (0..100_000)
        .map(|i| format!("d{}/f{i}", i % 1000))
        .collect();
    let (rendered, _) = run(&[format!("a: / {}", paths.join(" "))], &Limits::default()).unwrap();
    assert_eq!(rendered[0].paths().unwrap().len(), 1 + 1000 + 100_000);
}

#[test]
fn h3a_circles_and_depth() {
    let fails = |images: &[String]| run(images, &Limits::default()).unwrap_err();
    let error = fails(&texts(&["a: b", "b: a"]));
    assert_eq!(error.code(), Code::Cycle);
    assert!(error.to_string().contains("a → b → a"), "{error}");
    let error = fails(&texts(&["a: a"]));
    assert_eq!(
        (error.code(), error.message().ends_with("a → a")),
        (Code::Cycle, true)
    );
    let error = fails(&texts(&["a: b", "b: c", "c: d b", "d:"]));
    assert!(error.message().ends_with("b → c → b"), "{error}");
    let chain = |length: usize| -> Vec<String> {
        let image = |i: usize| {
            if i == 0 {
                "a: x1".to_owned()
            } else {
                format!("x{i}: x{}", i + 1)
            }
        };
        let mut images: Vec<String> = (0..length).map(image).collect();
        images.push(format!("x{length}:"));
        images
    };
    assert_eq!(run(&chain(64), &Limits::default()).unwrap().0.len(), 65);
    let error = fails(&chain(65));
    assert_eq!(error.code(), Code::Limit);
    assert!(error.message().contains("aci_deps_depth"), "{error}");
    let error = fails(&chain(70_000));
    assert_eq!(error.code(), Code::Limit);
    let names: Vec<String> = (0..1024).map(|i| format!("x{i}")).collect();
    let mut wide: Vec<String> = names.iter().map(|name| format!("{name}:")).collect();
    wide.push(format!("a: {}", names.join(" ")));
    assert!(fails(&wide).message().contains("aci_deps_nodes"));
}

#[test]
fn h3b_a_ladder_is_linear() {
    let mut images: Vec<String> = (1..30)
        .map(|i| format!("x{i}: x{} x{}", i + 1, i + 1))
        .collect();
    images.extend(["a: x1 x1".to_owned(), "x30:".to_owned()]);
    let (rendered, asked) = run(&images, &Limits::default()).unwrap();
    assert_eq!((rendered.len(), asked), (31, 31));
    assert_eq!((&*rendered[0].key, &*rendered[30].key), ("x30", "a"));
    // Two different images on each rung, each with a whitelist: the combinations are bounded.
    let mut images = texts(&["a: l1 r1 / p"]);
    for i in 1..30 {
        for side in ["l", "r"] {
            images.push(format!("{side}{i}: l{} r{} / p", i + 1, i + 1));
        }
    }
    images.extend(texts(&["l30:", "r30:"]));
    assert_eq!(
        run(&images, &Limits::default()).unwrap_err().code(),
        Code::Limit
    );
}

#[test]
fn matching() {
    let labelled = |labels: &[(&str, &str)]| {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!(r#"{{"name":"{name}","value":"{value}"}}"#))
            .collect();
        labels.join(",")
    };
    let manifest = |name: &str, labels: &[(&str, &str)]| {
        parse(&format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"{name}","labels":[{}]}}"#,
            labelled(labels)
        ))
    };
    let id = |byte: u8| Digest::new(Algorithm::Sha512, &[byte; 64]);
    let dependency = |labels: &[(&str, &str)], wanted: Option<u8>| {
        let pin = wanted.map_or(String::new(), |byte| {
            format!(r#","imageID":"{}""#, id(byte).image_id())
        });
        let text = format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"x","dependencies":[{{"imageName":"base","labels":[{}]{pin}}}]}}"#,
            labelled(labels)
        );
        parse(&text).dependencies[0].clone()
    };
    let one = manifest("base", &[("version", "1"), ("os", "linux")]);
    let two = manifest("base", &[("version", "2"), ("os", "linux")]);
    let other = manifest("other", &[]);
    let candidate = |key, manifest, id| Candidate {
        key,
        manifest,
        image_id: id,
    };
    let all = [
        candidate(1, &one, Some(id(1))),
        candidate(2, &two, Some(id(2))),
        candidate(3, &other, None),
    ];
    assert_eq!(
        choose(&dependency(&[("version", "2")], None), &all).unwrap(),
        2
    );
    assert_eq!(choose(&dependency(&[], Some(1)), &all).unwrap(), 1);
    // Not read yet: its layer will verify the image ID.
    assert_eq!(
        choose(&dependency(&[], Some(9)), &[candidate(7, &one, None)]).unwrap(),
        7
    );
    let same = [
        candidate(1, &one, Some(id(1))),
        candidate(4, &one, Some(id(1))),
    ];
    assert_eq!(choose(&dependency(&[], None), &same).unwrap(), 1);

    let error = choose(&dependency(&[("version", "3")], None), &all).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(
        error.message().contains(r#""base" with version="3""#),
        "{error}"
    );
    assert!(error.advice().unwrap().contains("--deps"));
    let error = choose(&dependency(&[("env", "x")], None), &all).unwrap_err();
    assert_eq!(
        error.code(),
        Code::Missing,
        "a label that the image lacks does not fit"
    );
    let error = choose(&dependency(&[], None), &all).unwrap_err();
    assert_eq!(error.code(), Code::Ambiguous);
    for named in [r#"version="1""#, r#"version="2""#, &id(2).image_id()] {
        assert!(error.message().contains(named), "{error}");
    }
    let error = choose(&dependency(&[("version", "1")], Some(5)), &all).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    assert!(
        error.message().contains("expected sha512-0505")
            && error.message().contains("found sha512-0101")
    );
}
