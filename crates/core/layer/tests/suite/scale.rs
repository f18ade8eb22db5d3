//! Rows F11 and E11: large, deep and long inputs. Times are not asserted; each would be minutes if
//! it were not linear, or an overflow of the stack if it were recursive.

use crate::support::{Item, env, item, tar_of};
use imgconv_layer::{Discard, Semantics, Tree};
use imgconv_model::{Code, Env};

fn items(texts: impl IntoIterator<Item = String>) -> Vec<Item> {
    texts
        .into_iter()
        .map(|text| item(text.as_bytes()))
        .collect()
}

fn apply(layers: &[Vec<Item>], env: &Env) -> imgconv_model::Result<Tree> {
    let mut tree = Tree::new(env);
    for layer in layers {
        let tar = tar_of(layer);
        tree.apply(&mut &tar[..], Semantics::Layer, &mut Discard, "layer")?;
    }
    Ok(tree)
}

#[test]
fn f11_files_and_whiteouts() {
    let n = 200_000;
    let files = items((0..n).map(|i| format!("d/f{i}=")));
    let whiteouts = items((1..n).map(|i| format!("d/.wh.f{i}")));
    let tree = apply(&[files, whiteouts], &env()).unwrap();
    let left: Vec<Vec<u8>> = tree.iter().map(|(path, _)| path).collect();
    assert_eq!(left, [b"d".to_vec(), b"d/f0".to_vec()]);
}

#[test]
fn f11_nested_opaque_directories() {
    let path = |depth: usize| vec!["d"; depth].join("/");
    let lower =
        items((1..=1000).flat_map(|i| [format!("{}/", path(i)), format!("{}/f=", path(i))]));
    let upper = items((1..=1000).map(|i| format!("{}/.wh..wh..opq", path(i))));
    let tree = apply(&[lower, upper], &env()).unwrap();
    assert_eq!((tree.len(), tree.get(b"d").unwrap().named), (1, true));
}

#[test]
fn f11_repeated_opaque_markers() {
    let lower = items((0..50_000).map(|i| format!("d/{i}=")));
    let upper = items((0..50_000).map(|_| "d/.wh..wh..opq".to_owned()));
    assert_eq!(apply(&[lower, upper], &env()).unwrap().len(), 1);
}

#[test]
fn f11_entries_under_a_chain_of_links() {
    let far = "x/../".repeat(18);
    let mut chain: Vec<String> = (1..40).map(|i| format!("l{i}->{far}l{}", i + 1)).collect();
    chain.push(format!("l40->{far}d"));
    chain.insert(0, "d/".into());
    chain.insert(1, "x/".into());
    // The links in turn, so that no two entries in a row have the same parent.
    let entries = (0..100_000).map(|i| format!("l{}/f{i}=", 1 + i % 40));
    let tree = apply(&[items(chain.into_iter().chain(entries))], &env()).unwrap();
    assert_eq!(tree.len(), 42 + 100_000);
    assert!(tree.get(b"d/f99999").is_some());
}

#[test]
fn e11_long_targets_in_a_chain() {
    let far = "x/../".repeat(500);
    let entries = |more: &[&str]| {
        let mut entries = vec!["d/", "x/"]
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        entries.extend([format!("a->{far}d"), format!("b->{far}a")]);
        entries.extend(more.iter().map(|&text| text.to_owned()));
        items(entries)
    };
    assert_eq!(apply(&[entries(&["a/f="])], &env()).unwrap().len(), 5);
    for more in [&["b/f="][..], &["a/f=", "b/f="]] {
        let error = apply(&[entries(more)], &env()).unwrap_err();
        assert_eq!(error.code(), Code::Limit);
        let says = error.to_string();
        assert!(
            says.contains("path \"b\" with") && says.contains("`path` of 4095"),
            "{says}"
        );
    }
}

#[test]
fn e11_depth() {
    let deep = vec!["d"; 2047].join("/");
    let tree = apply(&[items([format!("{deep}/f=")])], &env()).unwrap();
    assert_eq!(tree.len(), 2048);
    assert_eq!(
        tree.iter().last().unwrap().0,
        format!("{deep}/f").as_bytes()
    );
    let tree = apply(
        &[items([format!("{deep}/f=")]), items([".wh.d".into()])],
        &env(),
    )
    .unwrap();
    assert_eq!(tree.len(), 0);
}

#[test]
fn e11_limits() {
    let mut env = env();
    let deep = vec!["d"; 100_000].join("/");
    let error = apply(&[items([deep])], &env).unwrap_err();
    assert_eq!(error.code(), Code::Limit);
    env.limits.entries = 10;
    let ten = items((0..10).map(|i| i.to_string()));
    assert_eq!(apply(std::slice::from_ref(&ten), &env).unwrap().len(), 10);
    // All layers count, markers and duplicates too.
    for more in ["1=", ".wh.1"] {
        let error = apply(&[ten.clone(), items([more.into()])], &env).unwrap_err();
        assert_eq!(error.code(), Code::Limit);
        assert!(
            error
                .to_string()
                .contains("tar entries exceeds the limit `entries` of 10")
        );
    }
    // Parents without an entry count, too.
    let error = apply(&[items(["1/2/3/4/5/6/7/8/9/10/11=".into()])], &env).unwrap_err();
    assert_eq!(error.code(), Code::Limit);
    assert!(
        error
            .to_string()
            .contains("paths exceeds the limit `entries` of 10"),
        "{error}"
    );
}
