//! Rows F5 and F9 for layers over others: what a partial squash writes, entry by entry.

use std::sync::Arc;

use crate::support::{changes, env, item, layer, tar_of};
use imgconv_layer::{Discard, Semantics, Spool, Tree};
use imgconv_model::{Limits, Notes};
use imgconv_tar::{EntryKind, Reader};

/// The entries of a tar in the notation, in their order; content is left out.
fn listed(tar: &[u8]) -> Vec<String> {
    let (limits, notes) = (Limits::default(), Notes::default());
    let mut reader = Reader::new(tar, &limits, &notes, "layer");
    let mut out = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        out.push(match entry.kind {
            EntryKind::HardLink => format!("{}=>{}", text(&entry.path), text(&entry.link)),
            EntryKind::Symlink => format!("{}->{}", text(&entry.path), text(&entry.link)),
            _ => text(&entry.path),
        });
    }
    out
}

/// The tar that the layers from `from` on become over the layers below.
fn upper(layers: &[&[&str]], from: usize) -> Vec<String> {
    let tars: Vec<Vec<u8>> = layers.iter().map(|entries| layer(entries)).collect();
    listed(&changes(&tars, from, Semantics::Layer, &env()))
}

#[test]
fn f5a_a_marker_is_kept_for_paths_of_a_kept_layer() {
    let layers: &[&[&str]] = &[&["etc/", "etc/a=1"], &["etc/b=2"], &["etc/.wh.a"]];
    assert_eq!(upper(layers, 1), ["etc/", "etc/.wh.a", "etc/b"]);
}

#[test]
fn f5a_a_marker_for_squashed_layers_alone_is_dropped() {
    let layers: &[&[&str]] = &[
        &["etc/", "etc/a=1"],
        &["etc/b=2", "var/c=3"],
        &["etc/.wh.b", ".wh.var", "d=4"],
    ];
    assert_eq!(upper(layers, 1), ["d"]);
    // A kept layer hides the path already, so no whiteout is needed.
    let layers: &[&[&str]] = &[&["a=1"], &[".wh.a"], &[".wh.a", "b=2"]];
    assert_eq!(upper(layers, 2), ["b"]);
}

#[test]
fn f5b_a_directory_that_was_removed_and_made_again() {
    let base: &[&str] = &[
        "d/", "d/a=1", "d/b=1", "d/s/", "d/s/x=1", "d/s/y=1", "d/t/z=1",
    ];
    let layers: &[&[&str]] = &[base, &[".wh.d"], &["d/", "d/b=2", "d/s/", "d/s/y=2"]];
    let expected = [
        "d/",
        "d/.wh.a",
        "d/.wh.t",
        "d/b",
        "d/s/",
        "d/s/.wh.x",
        "d/s/y",
    ];
    assert_eq!(upper(layers, 1), expected);
    // The same by an opaque whiteout, which becomes explicit whiteouts.
    let layers: &[&[&str]] = &[base, &["d/.wh..wh..opq", "d/b=2", "d/s/", "d/s/y=2"]];
    assert_eq!(upper(layers, 1), expected);
}

#[test]
fn f5b_an_opaque_whiteout_hides_a_name_that_no_whiteout_can_spell() {
    let layers: &[&[&str]] = &[
        &[
            "d/",
            "d/.wh.x/old=1",
            "d/kept=1",
            "linked=>d/kept",
            "other=1",
        ],
        &["d/.wh..wh..opq", "d/kept=>linked"],
    ];
    assert_eq!(
        upper(layers, 1),
        ["d/", "d/.wh..wh..opq", "d/kept", "linked=>d/kept"]
    );
}

#[test]
fn f5c_a_hard_link_to_a_kept_file_brings_the_file_along() {
    let layers: &[&[&str]] = &[&["bin/", "bin/a=A", "bin/z=A"], &["b=>bin/a"]];
    let tars: Vec<Vec<u8>> = layers.iter().map(|entries| layer(entries)).collect();
    let tar = changes(&tars, 1, Semantics::Layer, &env());
    assert_eq!(listed(&tar), ["b", "bin/", "bin/a=>b"]);
    let alone = crate::support::apply_tars(&[tar], Semantics::Layer, &env()).unwrap();
    assert_eq!(alone.content(b"b"), "A");
}

#[test]
fn f5c_a_link_within_the_kept_layers_stays_theirs() {
    let layers: &[&[&str]] = &[&["a=A", "b=>a", "c=>a"], &[".wh.b", "d=4"]];
    assert_eq!(upper(layers, 1), [".wh.b", "d"]);
}

#[test]
fn f9_parents_before_children_and_whiteouts_before_siblings() {
    let layers: &[&[&str]] = &[
        &["a/", "a/#x=1", "a/b=1", "a/z/", "a/z/q=1", "old=1"],
        &[
            ".wh.old",
            "a/.wh.#x",
            "a/z/.wh.q",
            "a/z/n=1",
            "a/##=1",
            "a/c=>a/b",
        ],
    ];
    assert_eq!(
        upper(layers, 1),
        [
            ".wh.old",
            "a/",
            "a/.wh.#x",
            "a/##",
            "a/b",
            "a/c=>a/b",
            "a/z/",
            "a/z/.wh.q",
            "a/z/n",
        ]
    );
}

#[test]
fn a_change_of_kind_needs_no_whiteout() {
    let layers: &[&[&str]] = &[
        &["d/", "d/a=1", "f=1", "lib->usr", "usr/x=1"],
        &["d=now", "f/", "f/a=1", "lib/", "lib/y=1"],
    ];
    assert_eq!(upper(layers, 1), ["d", "f/", "f/a", "lib/", "lib/y"]);
}

#[test]
fn layers_that_change_nothing_are_an_empty_layer() {
    let layers: &[&[&str]] = &[&["a=1"], &["b=1"], &[".wh.b"]];
    assert_eq!(upper(layers, 1), Vec::<String>::new());
    assert_eq!(upper(&[&[], &["a=1", ".wh.nope"]], 1), ["a"]);
}

#[test]
fn what_is_merged_again_is_the_same() {
    let layers: &[&[&str]] = &[
        &["d/", "d/a=1", "x=1"],
        &["d/.wh.a", "b=>x"],
        &[".wh.d", "d/c=1"],
    ];
    let tars: Vec<Vec<u8>> = layers.iter().map(|entries| layer(entries)).collect();
    let once = changes(&tars, 1, Semantics::Layer, &env());
    let twice = changes(
        &[tars[0].clone(), once.clone()],
        1,
        Semantics::Layer,
        &env(),
    );
    assert_eq!(once, twice);
}

#[test]
fn f11_200_000_whiteouts_over_a_kept_layer() {
    let n = 200_000;
    let items = |texts: Vec<String>| -> Vec<u8> {
        let items: Vec<_> = texts.iter().map(|text| item(text.as_bytes())).collect();
        tar_of(&items)
    };
    let files = items((0..n).map(|i| format!("d/f{i:06}=")).collect());
    let whiteouts = items((1..n).map(|i| format!("d/.wh.f{i:06}")).collect());
    let mut tree = Tree::new(&env());
    tree.apply(&mut &files[..], Semantics::Layer, &mut Discard, "files")
        .unwrap();
    let base = tree.base();
    tree.apply(
        &mut &whiteouts[..],
        Semantics::Layer,
        &mut Discard,
        "whiteouts",
    )
    .unwrap();
    tree.only_changes(base);
    assert_eq!(tree.contents().count(), 0);
    let contents = Spool::new(&env()).unwrap().freeze().unwrap();
    let mut tar = Vec::new();
    let mut reader = Arc::new(tree).into_tar(b"", contents);
    std::io::Read::read_to_end(&mut reader, &mut tar).unwrap();
    let names = listed(&tar);
    assert_eq!(names.len(), n);
    assert_eq!(names[..3], ["d/", "d/.wh.f000001", "d/.wh.f000002"]);
}

// robustness K34
#[test]
fn k34_a_link_that_changes_a_lower_file_brings_the_file_along() {
    let layers: &[&[&str]] = &[&["a=1", "c=>a"], &["b=>a!600"]];
    assert_eq!(upper(layers, 1), ["a", "b=>a", "c=>a"]);
    // A link that changes nothing is handled in the same way.
    let layers: &[&[&str]] = &[&["a=1", "z=2"], &["b=>a"]];
    assert_eq!(upper(layers, 1), ["a", "b=>a"]);
}
