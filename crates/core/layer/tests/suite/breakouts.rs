//! Row I1 of robustness.md: attempts to write outside of the root, as layers over a lower layer.
//!
//! Each row has the name that the scenario has in containerd's `TestBreakouts`. In a virtual tree
//! there is no outside, so a row asserts the whole tree that comes out. Three rows are refused here
//! that containerd takes: names and targets that leave the root, and the empty name.

use crate::support::{apply, env};
use imgconv_layer::Semantics;
use imgconv_model::Code;

const ETC: &[&str] = &["etc/", "etc/passwd=inside"];
const USERS: &[&str] = &[
    "etc/",
    "etc/passwd=users",
    "etc/whitedout=old",
    "localetc->/etc",
];
const DEAD: &[&str] = &["etc/", "etc/passwd=users", "localetc->/dne"];

type Row = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    Result<&'static str, (Code, &'static str)>,
);

const ROWS: &[Row] = &[
    (
        "SymlinkAbsolute",
        &[],
        &["etc/", "localetc->/etc", "/localetc/unbroken=unbroken"],
        Ok("etc/ etc/unbroken=unbroken localetc->/etc"),
    ),
    (
        "SymlinkUpAndOut",
        &[],
        &[
            "etc/",
            "dummy/",
            "localetc->/dummy/../etc",
            "/localetc/unbroken=unbroken",
        ],
        Ok("dummy/ etc/ etc/unbroken=unbroken localetc->/dummy/../etc"),
    ),
    (
        "SymlinkMultipleAbsolute",
        &[],
        &[
            "etc/",
            "dummy/",
            "/dummy/etc->/etc",
            "localetc->/dummy/etc",
            "/dummy/etc/unbroken=un",
        ],
        Ok("dummy/ dummy/etc->/etc etc/ etc/unbroken=un localetc->/dummy/etc"),
    ),
    (
        "SymlinkMultipleRelative",
        &[],
        &[
            "etc/",
            "dummy/",
            "/dummy/etc->/etc",
            "localetc->./dummy/etc",
            "/dummy/etc/unbroken=un",
        ],
        Ok("dummy/ dummy/etc->/etc etc/ etc/unbroken=un localetc->./dummy/etc"),
    ),
    (
        "SymlinkEmptyFile",
        &[],
        &[
            "etc/",
            "etc/emptied=notempty",
            "localetc->/etc",
            "/localetc/emptied=",
        ],
        Ok("etc/ etc/emptied= localetc->/etc"),
    ),
    (
        "HardlinkRelative",
        &[],
        &[
            "etc/!770",
            "/etc/passwd=inside",
            "breakouts/",
            "breakouts/d1->../../etc",
            "breakouts/mypasswd=>/breakouts/d1/passwd",
        ],
        Ok(
            "breakouts/ breakouts/d1->../../etc breakouts/mypasswd=inside etc/!770 \
            etc/passwd=>breakouts/mypasswd",
        ),
    ),
    (
        "HardlinkDownAndOut",
        &[],
        &[
            "etc/!770",
            "/etc/passwd=inside",
            "breakouts/",
            "downandout/",
            "breakouts/d1->../downandout/../../etc",
            "breakouts/mypasswd=>/breakouts/d1/passwd",
        ],
        Ok(
            "breakouts/ breakouts/d1->../downandout/../../etc breakouts/mypasswd=inside \
            downandout/ etc/!770 etc/passwd=>breakouts/mypasswd",
        ),
    ),
    (
        "HardlinkAbsolute",
        &[],
        &[
            "etc/!770",
            "/etc/passwd=inside",
            "localetc->/etc",
            "localpasswd=>/localetc/passwd",
        ],
        Ok("etc/!770 etc/passwd=inside localetc->/etc localpasswd=>etc/passwd"),
    ),
    (
        "HardlinkRelativeLong",
        &[],
        &[
            "etc/!770",
            "/etc/passwd=inside",
            "localetc->../../../../../../../etc",
            "localpasswd=>/localetc/passwd",
        ],
        Ok("etc/!770 etc/passwd=inside localetc->../../../../../../../etc localpasswd=>etc/passwd"),
    ),
    (
        "HardlinkRelativeUpAndOut",
        &[],
        &[
            "etc/!770",
            "/etc/passwd=inside",
            "localetc->upandout/../../../etc",
            "localpasswd=>/localetc/passwd",
        ],
        Ok("etc/!770 etc/passwd=inside localetc->upandout/../../../etc localpasswd=>etc/passwd"),
    ),
    (
        "HardlinkDirectRelative",
        &[],
        &[
            "etc/!770",
            "/etc/passwd=inside",
            "localpasswd=>../../../../../etc/passwd",
        ],
        Err((Code::Escape, "../../../../../etc/passwd")),
    ),
    (
        "HardlinkDirectAbsolute",
        &[],
        &["etc/!770", "/etc/passwd=inside", "localpasswd=>/etc/passwd"],
        Ok("etc/!770 etc/passwd=inside localpasswd=>etc/passwd"),
    ),
    (
        "SymlinkParentDirectory",
        &[],
        &[
            "etc/!770",
            "/etc/passwd=inside",
            "..->/etc/",
            "localpasswd=>/etc/passwd",
        ],
        Err((Code::Escape, "\"..\"")),
    ),
    (
        "SymlinkEmptyFilename",
        &[],
        &[
            "etc/!770",
            "/etc/passwd=inside",
            "->/etc/",
            "localpasswd=>/etc/passwd",
        ],
        Err((Code::BadTar, "empty")),
    ),
    (
        "SymlinkParentRelative",
        &[],
        &[
            "etc/!770",
            "/etc/passwd=inside",
            "localetc/sub/..->/etc/",
            "/localetc/localpasswd=>/etc/passwd",
        ],
        Ok("etc/!770 etc/localpasswd=inside etc/passwd=>etc/localpasswd localetc->/etc/"),
    ),
    (
        "SymlinkSlashEnded",
        &[],
        &[
            "etc/!770",
            "/etc/passwd=inside",
            "localetc/!770",
            "/localetc/localpasswd=>/etc/passwd",
        ],
        Ok("etc/!770 etc/passwd=inside localetc/!770 localetc/localpasswd=>etc/passwd"),
    ),
    (
        "SymlinkOverrideDirectory",
        &["etc/", "etc/passwd=inside", "localetc/"],
        &["localetc->/etc", "/localetc/localpasswd=>/etc/passwd"],
        Ok("etc/ etc/localpasswd=inside etc/passwd=>etc/localpasswd localetc->/etc"),
    ),
    (
        "SymlinkOverrideDirectoryRelative",
        &["etc/", "etc/passwd=inside", "localetc/"],
        &["localetc->../../etc", "/localetc/localpasswd=>/etc/passwd"],
        Ok("etc/ etc/localpasswd=inside etc/passwd=>etc/localpasswd localetc->../../etc"),
    ),
    (
        "DirectoryOverrideSymlink",
        &["etc/", "etc/passwd=inside", "localetc->/etc"],
        &["/localetc/", "/localetc/localpasswd=>/etc/passwd"],
        Ok("etc/ etc/passwd=inside localetc/ localetc/localpasswd=>etc/passwd"),
    ),
    (
        "DirectoryOverrideSymlinkAndHardlink",
        &[
            "etc/",
            "etc/passwd=inside",
            "localetc->etc",
            "/localetc/localpasswd=>/etc/passwd",
        ],
        &["/localetc/", "/localetc/localpasswd=different"],
        Ok(
            "etc/ etc/localpasswd=inside etc/passwd=>etc/localpasswd localetc/ \
            localetc/localpasswd=different",
        ),
    ),
    (
        "WhiteoutRootParent",
        ETC,
        &[".wh..."],
        Err((Code::BadTar, "\".wh...\"")),
    ),
    (
        "WhiteoutParent",
        ETC,
        &["etc/.wh..."],
        Err((Code::BadTar, "\"etc/.wh...\"")),
    ),
    (
        "WhiteoutRoot",
        ETC,
        &[".wh.."],
        Err((Code::BadTar, "\".wh..\"")),
    ),
    (
        "WhiteoutCurrentDirectory",
        ETC,
        &["etc/.wh.."],
        Err((Code::BadTar, "\"etc/.wh..\"")),
    ),
    (
        "WhiteoutSymlink",
        &["etc/", "etc/passwd=users", "localetc->/etc"],
        &[".wh.localetc"],
        Ok("etc/ etc/passwd=users"),
    ),
    (
        "WhiteoutSymlinkPath",
        USERS,
        &["localetc/.wh.whitedout"],
        Ok("etc/ etc/passwd=users localetc->/etc"),
    ),
    (
        "WhiteoutDirectoryName",
        USERS,
        &[".wh.etc/somefile=non-empty"],
        Ok(
            ".wh.etc/ .wh.etc/somefile=non-empty etc/ etc/passwd=users etc/whitedout=old \
            localetc->/etc",
        ),
    ),
    (
        "WhiteoutDeadSymlinkParent",
        DEAD,
        &["localetc/.wh.etc"],
        Ok("etc/ etc/passwd=users localetc->/dne"),
    ),
    (
        "WhiteoutRelativePath",
        DEAD,
        &["dne/../.wh.etc"],
        Ok("localetc->/dne"),
    ),
    (
        "SymlinkOverridePath",
        &[],
        &[
            "foo/",
            "foo/tmp/",
            "foo/tmp/breakout=012",
            "foo->/",
            "foo/tmp/breakout=345",
            "foo/",
            "foo/tmp/",
            "foo/tmp/breakout=678",
        ],
        Ok("foo/ foo/tmp/ foo/tmp/breakout=678 tmp/ tmp/breakout=345"),
    ),
    (
        "HardlinkSymlinkBeforeCreateTarget",
        &[],
        &[
            "etc/!770",
            "localpasswd->/etc/passwd",
            "localpasswd-dup=>localpasswd",
            "/etc/passwd=after",
        ],
        Ok("etc/!770 etc/passwd=after localpasswd->/etc/passwd localpasswd-dup=>localpasswd"),
    ),
    (
        "HardlinkSymlinkRelative",
        &[],
        &[
            "etc/!770",
            "/etc/passwd=inside",
            "passwdlink->../../../../../etc/passwd",
            "localpasswd=>/passwdlink",
        ],
        Ok(
            "etc/!770 etc/passwd=inside localpasswd->../../../../../etc/passwd \
            passwdlink=>localpasswd",
        ),
    ),
    (
        "HardlinkSymlinkAbsolute",
        &[],
        &[
            "etc/!770",
            "/etc/passwd=inside",
            "passwdlink->/etc/passwd",
            "localpasswd=>/passwdlink",
        ],
        Ok("etc/!770 etc/passwd=inside localpasswd->/etc/passwd passwdlink=>localpasswd"),
    ),
    (
        "HardlinkSymlinkChmod",
        &[],
        &[
            "/outside/exists->/outside/perm400",
            "sketchylink=>/outside/exists",
        ],
        Ok("outside/ outside/exists->/outside/perm400 sketchylink=>outside/exists"),
    ),
];

#[test]
fn i1_breakouts_stay_inside() {
    assert_eq!(ROWS.len(), 34);
    for (name, lower, upper, expected) in ROWS {
        // Without a lower layer, entries are applied while they are read; with a lower layer they
        // are applied at its end. Both give the same tree.
        for layers in [&[*lower, *upper][..], &[&["zz"], *lower, *upper]] {
            match (apply(layers, Semantics::Layer, &env()), expected) {
                (Ok(applied), Ok(expected)) => {
                    let text = applied.text();
                    assert_eq!(text.trim_end_matches(" zz="), *expected, "{name}");
                }
                (Err(error), Err((code, says))) => {
                    assert_eq!(error.code(), *code, "{name}: {error}");
                    assert!(error.to_string().contains(says), "{name}: {error}");
                }
                (found, _) => panic!("{name}: {:?}", found.map(|applied| applied.text())),
            }
        }
    }
}
