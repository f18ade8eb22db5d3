//! Section F of robustness.md and section 3 of users.md as a table: layers, and the tree that must
//! come out.

use crate::support::{Applied, Item, apply, apply_tars, changes, env, item, layer, tar_of};
use imgconv_layer::Semantics;
use imgconv_model::{Code, Env};

/// A row that works: its name, the layers, the tree.
type Row = (
    &'static str,
    &'static [&'static [&'static str]],
    &'static str,
);

const ROWS: &[Row] = &[
    // users.md, section 3
    (
        "fixture_opaque",
        &[B, &["etc/", "etc/.wh..wh..opq", "etc/new=n"]],
        "etc/ etc/new=n",
    ),
    (
        "fixture_samelayer",
        &[B, &[".wh.etc", "etc/", "etc/new=n"]],
        "etc/ etc/new=n",
    ),
    (
        "fixture_hardover",
        &[H, &["t1=456"]],
        "t1=456 t2=123 t3=>t2",
    ),
    ("fixture_harddel", &[H, &[".wh.t2"]], "t1=123 t3=>t1"),
    (
        "fixture_hardboth",
        &[H, &[".wh.t2"], &["t1=456"]],
        "t1=456 t3=123",
    ),
    (
        "fixture_hardboth, one layer",
        &[H, &[".wh.t2", "t1=456"]],
        "t1=456 t3=123",
    ),
    ("fixture_dir2sym", &[B, &["etc->usr"]], "etc->usr"),
    // robustness.md, section F
    ("wh_and_entry", &[&["f=old"], &[".wh.f", "f=new"]], "f=new"),
    (
        "wh_and_entry, other order",
        &[&["f=old"], &["f=new", ".wh.f"]],
        "f=new",
    ),
    (
        "wh_and_entry, nothing below",
        &[&["f=new", ".wh.f"]],
        "f=new",
    ),
    (
        "opq_order",
        &[D, &["d/", "d/.wh..wh..opq", "d/a=2"]],
        "d/ d/a=2",
    ),
    (
        "opq_order, other order",
        &[D, &["d/", "d/a=2", "d/.wh..wh..opq"]],
        "d/ d/a=2",
    ),
    (
        "opq_order, first of all",
        &[D, &["d/.wh..wh..opq", "d/a=2", "d/"]],
        "d/ d/a=2",
    ),
    (
        "opq_noparent",
        &[&["d/", "d/b=1"], &["d/s/x=2", "d/.wh..wh..opq"]],
        "d/ d/s/ d/s/x=2",
    ),
    (
        "opq_noparent, metadata of what was hidden is gone",
        &[
            &["d/!700", "d/s/!700", "d/s/o=1"],
            &["d/s/x=2", "d/.wh..wh..opq"],
        ],
        "d/!700 d/s/ d/s/x=2",
    ),
    ("opq_root", &[D, &["x=1", ".wh..wh..opq"]], "x=1"),
    (
        "opq_spec, opaque",
        &[S, &["bin/", "bin/.wh..wh..opq"]],
        "bin/ etc/ etc/my-app-config=",
    ),
    (
        "opq_spec, explicit",
        &[
            S,
            &[
                "bin/",
                "bin/.wh.my-app-binary",
                "bin/.wh.my-app-tools",
                "bin/.wh.tools",
            ],
        ],
        "bin/ etc/ etc/my-app-config=",
    ),
    (
        "opq_spec, recreated",
        &[
            ABC,
            &["a/", "a/.wh..wh..opq", "a/b/", "a/b/c/", "a/b/c/foo"],
        ],
        "a/ a/b/ a/b/c/ a/b/c/foo=",
    ),
    (
        "opq_spec, recreated, other order",
        &[
            ABC,
            &["a/", "a/b/", "a/b/c/", "a/b/c/foo", "a/.wh..wh..opq"],
        ],
        "a/ a/b/ a/b/c/ a/b/c/foo=",
    ),
    (
        "wh_dir_then_child",
        &[&["d/", "d/a"], &["d/new", ".wh.d"]],
        "d/ d/new=",
    ),
    (
        "wh_odd, nothing of that name",
        &[&["a"], &[".wh.nope"]],
        "a=",
    ),
    (
        "wh_odd, no such parent",
        &[&["a"], &["no/.wh.a", "a/.wh.b", "a/.wh..wh..opq"]],
        "a=",
    ),
    (
        "wh_via_symlink",
        &[L, &["lib/.wh.a"]],
        "lib->usr/lib usr/ usr/lib/",
    ),
    (
        "opq_via_symlink",
        &[L, &["lib/.wh..wh..opq"]],
        "lib->usr/lib usr/ usr/lib/",
    ),
    (
        "wh_via_symlink, covered by a directory of the layer",
        &[L, &["lib/", "lib/.wh..wh..opq", "lib/x=1"]],
        "lib/ lib/x=1 usr/ usr/lib/ usr/lib/a=1",
    ),
    (
        "wh_via_symlink, covered, other order",
        &[L, &["lib/.wh.a", "lib/x=1", "lib/"]],
        "lib/ usr/ usr/lib/ usr/lib/a=1 usr/lib/x=1",
    ),
    (
        "wh_via_symlink, removed by the layer",
        &[L, &["lib/.wh.a", "lib/x=1", ".wh.lib"]],
        "lib/ lib/x=1 usr/ usr/lib/ usr/lib/a=1",
    ),
    (
        "wh_of_symlink",
        &[L, &[".wh.lib"]],
        "usr/ usr/lib/ usr/lib/a=1",
    ),
    (
        "wh_via_dead_symlink",
        &[&["a=1", "l->dne"], &["l/.wh.a"]],
        "a=1 l->dne",
    ),
    ("wh_spelling", &[&["a=1", "b=1"], &["./.wh.a"]], "b=1"),
    (
        "wh_spelling, absolute",
        &[&["a=1", "b=1"], &["/.wh.a"]],
        "b=1",
    ),
    (
        "wh_spelling, dots",
        &[&["a/b/", "a/c=1"], &["a/b/../.wh.c"]],
        "a/ a/b/",
    ),
    (
        "wh_type, hard link",
        &[&["a", "b"], &[".wh.a", ".wh.b=>.wh.a"]],
        "",
    ),
    (
        "wh_type, hard link to nothing",
        &[&["a", "b"], &[".wh.b=>../../no"]],
        "a=",
    ),
    (
        "wh_type, symbolic link",
        &[&["a", "b"], &[".wh.a->b"]],
        "b=",
    ),
    ("wh_type, directory", &[&["a/x", "b"], &[".wh.a/"]], "b="),
    (
        "wh_type, device and FIFO",
        &[&["a", "b", "c"], &[".wh.a%0,0", ".wh.b|"]],
        "c=",
    ),
    ("wh_type, content", &[&["a", "b"], &[".wh.a=content"]], "b="),
    (
        "wh_not",
        &[&["etc/a"], &["x.wh.y=1", ".wh.etc/somefile=2"]],
        ".wh.etc/ .wh.etc/somefile=2 etc/ etc/a= x.wh.y=1",
    ),
    ("hl_lower", &[&["a=A"], &["b=>a"]], "a=A b=>a"),
    ("hl_src_wh", &[&["a=A", "b=>a"], &[".wh.a"]], "b=A"),
    (
        "hl_src_replaced",
        &[&["a=A", "b=>a"], &["a=NEW"]],
        "a=NEW b=A",
    ),
    (
        "hl_chain",
        &[&["a=A", "b=>a", "c=>b"], &[".wh.a", ".wh.b"]],
        "c=A",
    ),
    (
        "hl_to_other",
        &[&["s->x", "p|", "c%1,3", "t=>s", "q=>p", "d=>c"]],
        "c%1,3 d=>c p| q=>p s->x t=>s",
    ),
    (
        "hl_to_other, absolute target",
        &[&["a=A", "b=>/a"]],
        "a=A b=>a",
    ),
    ("hl_relinked", &[&["a=A", "b=>a"], &["b=>a"]], "a=A b=>a"),
    (
        "hl_via_symlink",
        &[&["d/a=A", "l->d", "b=>l/a"]],
        "b=A d/ d/a=>b l->d",
    ),
    (
        "hl_over_the_targets_directory",
        &[&["d/a=A"], &["d=>d/a"]],
        "d=A",
    ),
    ("file_dir", &[&["x=f"], &["x/", "x/y=1"]], "x/ x/y=1"),
    ("file_dir, back", &[&["x/", "x/y=1"], &["x=f"]], "x=f"),
    (
        "file_dir, and back",
        &[&["x/", "x/y=1"], &["x=f"], &["x/"]],
        "x/",
    ),
    (
        "symlink_parent",
        &[&["usr/lib/", "lib->usr/lib"], &["lib/x=1"]],
        "lib->usr/lib usr/ usr/lib/ usr/lib/x=1",
    ),
    (
        "symlink_dir_replaced",
        &[L, &["lib/", "lib/x=1"]],
        "lib/ lib/x=1 usr/ usr/lib/ usr/lib/a=1",
    ),
    ("dir2sym", &[&["etc/", "etc/a"], &["etc->usr"]], "etc->usr"),
    ("nondir_parent", &[&["x=file"], &["x/y=1"]], "x/ x/y=1"),
    (
        "nondir_parent, through a link",
        &[&["x=file", "l->x"], &["l/y=1"]],
        "l->x x/ x/y=1",
    ),
    ("dir_meta", &[&["d/", "d/a=1"], &["d/!700"]], "d/!700 d/a=1"),
    (
        "no_parents",
        &[&["a/!700"], &["a/b/c=1"]],
        "a/!700 a/b/ a/b/c=1",
    ),
    (
        "F2",
        &[&[
            ".wh..wh.aufs",
            ".wh..wh.orph/",
            ".wh..wh.plnk/",
            ".wh..wh.plnk/98.1234=P",
            "x=>.wh..wh.plnk/98.1234",
            "y=>.wh..wh.plnk/98.1234",
        ]],
        "x=P y=>x",
    ),
    (
        "F2, over another layer",
        &[
            &["aufs", "plnk/a", ".wh..wh.plnk/1=old", "z=>.wh..wh.plnk/1"],
            &[
                ".wh..wh.aufs",
                ".wh..wh.plnk/1=P",
                "x=>.wh..wh.plnk/1",
                ".wh..wh.plnk/2=>x",
            ],
        ],
        "aufs= plnk/ plnk/a= x=P z=old",
    ),
    (
        "F2, whiteouts are links",
        &[&["d/x"], &["d/.wh.x", ".wh..wh.aufs=>d/.wh.x", "new"]],
        "d/ new=",
    ),
    ("F3", &[&["c%0,0", "d/"], &["c%0,0"]], "c%0,0 d/"),
    (
        "F4",
        &[&["test/", "test/t"], &[".wh.test", "test/.wh.test"]],
        "",
    ),
    (
        "F4, other order",
        &[&["test/", "test/t"], &["test/.wh.t", ".wh.test"]],
        "",
    ),
    (
        "F7a, absent",
        &[&["lib->usr/lib"], &["lib/x=1"]],
        "lib->usr/lib usr/ usr/lib/ usr/lib/x=1",
    ),
    (
        "F7a, above the root",
        &[&["lib->../../../etc", "lib/x=1"]],
        "etc/ etc/x=1 lib->../../../etc",
    ),
    (
        "F7a, absolute",
        &[&["lib->/etc", "lib/x=1"]],
        "etc/ etc/x=1 lib->/etc",
    ),
    (
        "F7a, absent and back",
        &[&["l->no/../d//./e", "l/x=1"]],
        "d/ d/e/ d/e/x=1 l->no/../d//./e",
    ),
    ("F7a, to the root", &[&["l->/", "l/x=1"]], "l->/ x=1"),
    (
        "F7a, a link that changes",
        &[&["a/", "b/", "l->a", "l/x=1", "l->b", "l/y=2"]],
        "a/ a/x=1 b/ b/y=2 l->b",
    ),
    (
        "F7a, a link that changes, for hard links",
        &[&["a/x=1", "b/x=2", "l->a", "h=>l/x", "l->b", "i=>l/x"]],
        "a/ a/x=1 b/ b/x=2 h=>a/x i=>b/x l->b",
    ),
    (
        "F7a, a name on the way becomes a link",
        &[&["d/", "l->no/../d", "l/x=1", "no->e/f", "l/y=2"]],
        "d/ d/x=1 e/ e/d/ e/d/y=2 l->no/../d no->e/f",
    ),
    (
        "F7a, link in a link",
        &[&["a/b/", "k->a", "l->k/b/..", "l/b/x=1"]],
        "a/ a/b/ a/b/x=1 k->a l->k/b/..",
    ),
    (
        "F8",
        &[&["f=1!4755", "g=1!2755", "t/!1777"]],
        "f=1!4755 g=1!2755 t/!1777",
    ),
    (
        "I3",
        &[&[
            "etc/",
            "etc/mtab->/proc/mounts",
            "node_modules/.bin/x->../x/bin",
            "lib64->usr/lib64",
        ]],
        "etc/ etc/mtab->/proc/mounts lib64->usr/lib64 node_modules/ node_modules/.bin/ \
         node_modules/.bin/x->../x/bin",
    ),
    (
        "order",
        &[&["a/b=1", "a0=1", "a.d/x=1", "b=1", "a-b/x=1"]],
        "a-b/ a-b/x=1 a.d/ a.d/x=1 a/ a/b=1 a0=1 b=1",
    ),
];

const B: &[&str] = &["etc/", "etc/a=1", "etc/sub/", "etc/sub/b=1"];
const H: &[&str] = &["t2=123", "t1=>t2", "t3=>t2"];
const D: &[&str] = &["d/", "d/a=1", "d/b=1"];
const L: &[&str] = &["usr/lib/a=1", "lib->usr/lib"];
const S: &[&str] = &[
    "etc/",
    "etc/my-app-config",
    "bin/",
    "bin/my-app-binary",
    "bin/my-app-tools",
    "bin/tools/",
    "bin/tools/my-app-tool-one",
];
const ABC: &[&str] = &["a/", "a/b/", "a/b/c/", "a/b/c/bar"];

#[test]
fn f_every_row_gives_its_tree() {
    for (name, layers, expected) in ROWS {
        let applied = apply(layers, Semantics::Layer, &env()).unwrap_or_else(|error| {
            panic!("{name}: {error}");
        });
        assert_eq!(applied.text(), *expected, "{name}");
        again(name, &applied);
        partly(name, layers, &applied);
    }
}

/// The same row as a partial squash, wherever the kept layers end: over them the upper layer gives
/// the same tree, and its bytes are the same every time (F9, F10).
fn partly(name: &str, layers: &[&[&str]], applied: &Applied) {
    let tars: Vec<Vec<u8>> = layers.iter().map(|entries| layer(entries)).collect();
    for from in 1..tars.len() {
        let upper = changes(&tars, from, Semantics::Layer, &env());
        assert_eq!(
            upper,
            changes(&tars, from, Semantics::Layer, &env()),
            "{name} from {from}"
        );
        let both = [&tars[..from], &[upper]].concat();
        let partial = apply_tars(&both, Semantics::Layer, &env()).unwrap();
        assert_eq!(partial.text(), applied.text(), "{name} from {from}");
        assert_eq!(partial.attributes(), applied.attributes(), "{name}");
    }
}

/// F9, F4: the written tar has parents before children and targets before links, and reads back as
/// the same tree; the bytes are the same every time (F10).
fn again(name: &str, applied: &Applied) {
    let tar = applied.tar(b"");
    assert_eq!(tar, applied.tar(b""), "{name}");
    let back = apply_tars(std::slice::from_ref(&tar), Semantics::Layer, &env()).unwrap();
    assert_eq!(back.text(), applied.text(), "{name}");
    let as_aci = apply_tars(&[tar], Semantics::Aci, &env()).unwrap();
    assert_eq!(as_aci.text(), applied.text(), "{name}");
}

/// A row that fails: its name, the layers, the code, and what the message must hold.
type Refusal = (
    &'static str,
    &'static [&'static [&'static str]],
    Code,
    &'static [&'static str],
);

const REFUSALS: &[Refusal] = &[
    (
        "wh_odd",
        &[&["a"], &[".wh."]],
        Code::BadTar,
        &[r#"entry ".wh.""#],
    ),
    (
        "wh_odd, only layer",
        &[&[".wh."]],
        Code::BadTar,
        &[r#"entry ".wh.""#],
    ),
    (
        "wh_odd, itself",
        &[D, &["d/.wh.."]],
        Code::BadTar,
        &[r#"entry "d/.wh..""#],
    ),
    (
        "wh_odd, parent",
        &[D, &["d/.wh..."]],
        Code::BadTar,
        &[r#"entry "d/.wh...""#],
    ),
    (
        "hl_bad, before its target",
        &[&["b=>a", "a=1"]],
        Code::BadTar,
        &[
            r#"entry "b""#,
            r#"hard link to "a""#,
            "the path exists neither",
        ],
    ),
    (
        "hl_bad, itself",
        &[&["a=>a"]],
        Code::BadTar,
        &[r#"entry "a""#, r#"hard link to "a""#],
    ),
    (
        "hl_bad, itself, there",
        &[&["a=1"], &["a=>a"]],
        Code::BadTar,
        &[r#"entry "a""#, r#"hard link to "a""#, "leads to itself"],
    ),
    (
        "hl_bad, never there",
        &[&["a=1"], &["b=>c"]],
        Code::BadTar,
        &[r#"entry "b""#, r#"hard link to "c""#],
    ),
    (
        "hl_bad, hidden by a whiteout",
        &[&["a=1"], &["b=>a", ".wh.a"]],
        Code::BadTar,
        &[r#"entry "b""#, r#"hard link to "a""#],
    ),
    (
        "hl_bad, directory",
        &[&["d/", "b=>d"]],
        Code::BadTar,
        &[r#"entry "b""#, r#"hard link to "d""#, "directory"],
    ),
    (
        "hl_bad, root",
        &[&["b=>/"]],
        Code::BadTar,
        &[r#"entry "b""#, "directory"],
    ),
    (
        "hl_bad, AUFS member of a lower layer",
        &[&[".wh..wh.plnk/1=P"], &["x=>.wh..wh.plnk/1"]],
        Code::BadTar,
        &[r#"entry "x""#, r#"".wh..wh.plnk/1""#],
    ),
    (
        "hl_escape",
        &[&["b=>../../x"]],
        Code::Escape,
        &[r#"entry "b""#, r#""../../x""#],
    ),
    ("E5b", &[&["../x=1"]], Code::Escape, &[r#"entry "../x""#]),
    (
        "E5b, deeper",
        &[&["a/../../x=1"]],
        Code::Escape,
        &[r#"entry "a/../../x""#],
    ),
    (
        "root_not_dir, symbolic link",
        &[&[".->x"]],
        Code::BadTar,
        &["type of root", "symbolic link"],
    ),
    (
        "root_not_dir, file",
        &[&["a"], &["a/..=x"]],
        Code::BadTar,
        &["type of root", "regular file"],
    ),
    (
        "root_not_dir, hard link",
        &[&["a", ".=>a"]],
        Code::BadTar,
        &["type of root", "hard link"],
    ),
    (
        "F7b",
        &[&["a->b", "b->a"], &["a/x=1"]],
        Code::Cycle,
        &[r#"entry "a/x""#, r#""a" to "b""#, r#""b" to "a""#],
    ),
    (
        "F7b, itself",
        &[&["a->a/b", "a/x=1"]],
        Code::Cycle,
        &[r#"entry "a/x""#, r#""a" to "a/b""#],
    ),
    (
        "F7b, whiteout",
        &[&["a->b", "b->a"], &["a/.wh.x"]],
        Code::Cycle,
        &[r#"whiteout of "a/x""#],
    ),
    (
        "F7b, hard link",
        &[&["a->b", "b->a", "c=>a/x"]],
        Code::Cycle,
        &[r#"entry "c""#, r#"hard link to "a/x""#],
    ),
];

#[test]
fn f_every_refusal_names_its_place() {
    for (name, layers, code, says) in REFUSALS {
        let error = apply(layers, Semantics::Layer, &env()).unwrap_err();
        assert_eq!(error.code(), *code, "{name}: {error}");
        for part in *says {
            assert!(
                error.to_string().contains(part),
                "{name}: {part} is not in {error}"
            );
        }
    }
}

#[test]
fn f7b_link_hops() {
    let chain = |n: usize| {
        let mut entries: Vec<String> = (1..n).map(|i| format!("l{i}->l{}", i + 1)).collect();
        entries.push(format!("l{n}->d"));
        entries
    };
    let apply_chain = |n: usize, more: &[&str]| {
        let mut entries = chain(n);
        entries.extend(more.iter().map(|&text| text.to_owned()));
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        apply(&[&entries], Semantics::Layer, &env())
    };
    let applied = apply_chain(40, &["l1/x=1"]).unwrap();
    assert_eq!(applied.content(b"d/x"), "1");
    // The same with the end of the chain known already.
    for more in [&["l1/x=1"][..], &["d/", "l20/y=1", "l20/z=1", "l1/x=1"]] {
        let error = apply_chain(41, more).unwrap_err();
        assert_eq!(error.code(), Code::Limit);
        let says = error.to_string();
        assert!(
            says.contains("entry \"l1/x\"") && says.contains("`link_hops` of 40"),
            "{says}"
        );
    }
}

fn warnings(layers: &[&[&str]]) -> Vec<(&'static str, String)> {
    let env = env();
    apply(layers, Semantics::Layer, &env).unwrap();
    taken(&env)
}

fn taken(env: &Env) -> Vec<(&'static str, String)> {
    let warnings = env.notes.take().warnings;
    warnings
        .into_iter()
        .map(|warning| (warning.code, warning.at))
        .collect()
}

#[test]
fn e8_duplicates_warn_and_the_last_wins() {
    let rows: [(&[&str], &str, &[&str]); 6] = [
        (&["a=1", "a=2"], "a=2", &["a"]),
        (&["a=1", "./a=2", "b/../a=3"], "a=3", &["a"]),
        (&["a=1", "a/"], "a/", &["a"]),
        (&["a/", "a/b=1", "a/!700"], "a/!700 a/b=1", &["a"]),
        (&["a=1", "a->x", "a=2"], "a=2", &["a"]),
        (&["./", "./"], "/", &[""]),
    ];
    for (entries, tree, at) in rows {
        for below in [&[][..], &["a=0", "z=0"]] {
            let applied = apply(&[below, entries], Semantics::Layer, &env()).unwrap();
            let text = applied.text();
            let text = text.trim_end_matches("z=0").trim_end();
            if tree != "/" {
                assert_eq!(text, tree);
            }
            let expected: Vec<_> = at
                .iter()
                .map(|path| ("duplicate-entry", format!("layer 1 › entry \"{path}\"")))
                .collect();
            assert_eq!(warnings(&[below, entries]), expected, "{entries:?}");
        }
    }
    // Not duplicates: a path of a lower layer, and a parent that was made before its own entry.
    assert_eq!(warnings(&[&["a/", "a/b=1"], &["a/b=2", "a/"]]), []);
    assert_eq!(warnings(&[&["a/b=2", "a/"]]), []);
}

#[test]
fn f2_aufs_metadata_warns_once() {
    let layers: &[&[&str]] = &[
        &["a"],
        &[".wh..wh.aufs", ".wh..wh.plnk/1=P", "x=>.wh..wh.plnk/1"],
    ];
    let at = "layer 1 › entry \".wh..wh.aufs\"".to_owned();
    assert_eq!(warnings(layers), [("aufs-metadata", at)]);
}

#[test]
fn f3_overlay_markers_warn_and_stay() {
    let overlay = |key: &str| {
        let mut directory = item(b"d/");
        directory.pax = vec![(format!("SCHILY.xattr.{key}").into(), b"y".to_vec())];
        tar_of(&[directory, item(b"d/new=1")])
    };
    for key in ["trusted.overlay.opaque", "user.overlay.whiteout"] {
        let env = env();
        let tars = [layer(&["d/", "d/a=1"]), overlay(key)];
        let applied = apply_tars(&tars, Semantics::Layer, &env).unwrap();
        assert_eq!(applied.text(), "d/ d/a=1 d/new=1");
        assert_eq!(applied.tree.get(b"d").unwrap().pax[0].1, b"y");
        let at = "layer 1 › entry \"d/\"".to_owned();
        assert_eq!(taken(&env), [("overlay-marker", at)]);
    }
    let at = "layer 1 › entry \"a\"".to_owned();
    assert_eq!(warnings(&[&["a=1"], &["a%0,0"]]), [("overlay-marker", at)]);
    assert_eq!(warnings(&[&["a=1"], &["a%1,3"]]), []);
}

#[test]
fn f8_metadata_is_of_the_inode() {
    let mut a = item(b"a=A!4755");
    (a.uid, a.mtime) = (7, 100);
    a.pax = vec![(b"SCHILY.xattr.user.k".to_vec(), b"v".to_vec())];
    let mut b = item(b"b=>a!600");
    (b.uid, b.mtime) = (9, 200);
    let mut l = item(b"l->a!604");
    l.uid = 3;
    let mut d = item(b"d/!1777");
    d.mtime = 5;
    let lower = tar_of(&[a, b, l, d]);
    let applied = apply_tars(&[lower.clone(), layer(&["d/x"])], Semantics::Layer, &env()).unwrap();
    let tree = &applied.tree;
    let (a, b) = (tree.get(b"a").unwrap(), tree.get(b"b").unwrap());
    // The header of the link counts (K34).
    assert_eq!(
        (a.mode, a.uid, a.mtime.seconds, a.links),
        (0o600, 9, 200, 2)
    );
    assert_eq!(a, b);
    assert_eq!((a.pax.len(), tree.get(b"l").unwrap().mode), (1, 0o777));
    assert_eq!(tree.get(b"l").unwrap().uid, 3);
    let d = tree.get(b"d").unwrap();
    assert_eq!((d.mode, d.mtime.seconds), (0o1777, 5));
    // A file that is replaced takes its xattrs along.
    let applied = apply_tars(&[lower, layer(&["a=N"])], Semantics::Layer, &env()).unwrap();
    let a = applied.tree.get(b"a").unwrap();
    assert_eq!((a.pax.len(), a.uid, a.mode, a.links), (0, 0, 0o644, 1));
    assert_eq!(applied.tree.get(b"b").unwrap().uid, 9);
}

#[test]
fn no_parents_gets_plain_metadata() {
    let applied = apply(&[&["a/!700"], &["a/b/c=1"]], Semantics::Layer, &env()).unwrap();
    let (a, b) = (
        applied.tree.get(b"a").unwrap(),
        applied.tree.get(b"a/b").unwrap(),
    );
    assert_eq!((a.mode, a.named), (0o700, true));
    assert_eq!(
        (b.mode, b.uid, b.gid, b.mtime.seconds, b.named),
        (0o755, 0, 0, 0, false)
    );
}

#[test]
fn e5a_the_root_has_metadata_once_named() {
    for name in [".", "./", "/"] {
        let mut root = item(b"./!700");
        root.name = name.into();
        let applied = apply_tars(&[tar_of(&[root, item(b"a")])], Semantics::Layer, &env()).unwrap();
        assert_eq!(applied.text(), "/!700 a=", "{name}");
        assert_eq!(
            (applied.tree.len(), applied.tree.get(b"").unwrap().mode),
            (2, 0o700)
        );
    }
    let applied = apply(&[&["a"]], Semantics::Layer, &env()).unwrap();
    assert_eq!((applied.tree.len(), applied.tree.get(b"")), (1, None));
}

#[test]
fn aci_has_no_markers_and_follows_no_links() {
    let rows: &[Row] = &[
        (
            "markers",
            &[&["a=1", "d/x=1"], &[".wh.a=2", "d/.wh..wh..opq", ".wh."]],
            ".wh.= .wh.a=2 a=1 d/ d/.wh..wh..opq= d/x=1",
        ),
        (
            "AUFS",
            &[&[".wh..wh.plnk/1=P", "x=>.wh..wh.plnk/1"]],
            ".wh..wh.plnk/ .wh..wh.plnk/1=P x=>.wh..wh.plnk/1",
        ),
        (
            "symbolic link as a parent",
            &[L, &["lib/x=1"]],
            "lib/ lib/x=1 usr/ usr/lib/ usr/lib/a=1",
        ),
        (
            "a later path replaces",
            &[&["a=1", "d/x"], &["a/", "d=2"]],
            "a/ d=2",
        ),
        (
            "hard link over a lower image",
            &[&["a=1"], &["b=>a"]],
            "a=1 b=>a",
        ),
        (
            "after a hard link through a link",
            &[L, &["b=>lib/a", "lib/y=1"]],
            "b=1 lib/ lib/y=1 usr/ usr/lib/ usr/lib/a=>b",
        ),
    ];
    for (name, layers, expected) in rows {
        let applied = apply(layers, Semantics::Aci, &env()).unwrap();
        assert_eq!(applied.text(), *expected, "{name}");
        let back = apply_tars(&[applied.tar(b"")], Semantics::Aci, &env()).unwrap();
        // A directory `.wh.*` without an entry is not written, and is made again for its children.
        assert_eq!(back.text(), *expected, "{name}");
    }
}

// robustness K34
#[test]
fn k34_the_header_of_a_hard_link_counts_for_the_file() {
    let tree = |layers: &[&[&str]]| apply(layers, Semantics::Layer, &env()).unwrap().text();
    assert_eq!(tree(&[&["a=x", "b=>a!755"]]), "a=x!755 b=>a");
    assert_eq!(tree(&[&["a=x"], &["b=>a!600"]]), "a=x!600 b=>a");
    assert_eq!(
        tree(&[&["a=x", "b=>a!600", "c=>b!640"]]),
        "a=x!640 b=>a c=>a"
    );
    // A symbolic link has no mode of its own.
    assert_eq!(tree(&[&["a->x", "b=>a!600"]]), "a->x b=>a");

    let item = |text: &str, uid: u64, mtime: u64, pax: &[(&str, &str)]| Item {
        uid,
        mtime,
        pax: pax
            .iter()
            .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect(),
        ..item(text.as_bytes())
    };
    let (x, y) = ("SCHILY.xattr.user.x", "SCHILY.xattr.user.y");
    let merged = |items: &[Item]| {
        let env = env();
        let applied = apply_tars(&[tar_of(items)], Semantics::Layer, &env).unwrap();
        let node = applied.tree.get(b"a").unwrap();
        let pax: Vec<String> = node
            .pax
            .iter()
            .map(|(_, value)| String::from_utf8(value.clone()).unwrap())
            .collect();
        let warnings = env.notes.take().warnings;
        (node.uid, node.mtime.seconds, pax.join(" "), warnings)
    };
    let (uid, time, pax, warnings) = merged(&[
        item("a=x", 1, 10, &[(x, "1")]),
        item("b=>a", 2, 20, &[(x, "2"), (y, "3")]),
    ]);
    assert_eq!((uid, time, &*pax), (2, 20, "2 3"));
    assert_eq!((warnings.len(), warnings[0].code), (1, "link-header"));
    for says in [
        "owner 2:2 for 1:1",
        "time 20.000000000 for 10",
        "other extended attributes",
    ] {
        assert!(
            warnings[0].message.contains(says),
            "{}",
            warnings[0].message
        );
    }
    // Attributes that the header does not repeat stay.
    let (_, _, pax, warnings) = merged(&[
        item("a=x", 1, 10, &[(x, "1"), (y, "2")]),
        item("b=>a", 1, 10, &[(x, "9")]),
    ]);
    assert_eq!(pax, "1 2");
    assert!(warnings[0].message.contains("those of the file stay"));
    let (_, _, pax, warnings) =
        merged(&[item("a=x", 1, 10, &[(x, "1")]), item("b=>a", 1, 10, &[])]);
    assert_eq!((&*pax, warnings.len()), ("1", 0));
    // Many such links give one warning.
    let mut items = vec![item("a=x", 0, 0, &[])];
    items.extend((1..=20).map(|i| item(&format!("b{i}=>a"), 0, i, &[])));
    let (_, time, _, warnings) = merged(&items);
    assert_eq!((time, warnings.len()), (20, 9));
    assert!(warnings[8].message.contains("20 hard links in all"));
}

// robustness K39
#[test]
fn k39_links_lead_no_deeper_than_a_path_is_long() {
    let long = vec!["d"; 1500].join("/");
    let (link, below) = (format!("l->{long}"), format!("l/{long}/f=x"));
    let error = apply(
        &[&[&format!("{long}/"), &link, &below]],
        Semantics::Layer,
        &env(),
    );
    let error = error.err().unwrap();
    assert_eq!(error.code(), Code::Limit, "{error}");
    assert!(
        error.to_string().contains("of 6001 bytes behind its links"),
        "{error}"
    );
    assert!(
        error.to_string().contains("the limit `path` of 4095"),
        "{error}"
    );
    // From a directory that is known to be behind a link, too.
    let names = [
        format!("{long}/"),
        link,
        format!("l/{}/", vec!["e"; 500].join("/")),
    ];
    let deeper = format!("l/{}/f=x", vec!["e"; 700].join("/"));
    let entries: Vec<&str> = names.iter().map(|name| &**name).chain([&*deeper]).collect();
    let error = apply(&[&entries], Semantics::Layer, &env()).err().unwrap();
    assert_eq!(error.code(), Code::Limit, "{error}");
}
