//! Checks of OCI -> ACI: other tools make the images, and `actool` and GNU tar read the ACIs.

use super::checks::{Oracle, same_tree};
use super::from_aci::extracted;

/// A layout of five layers by umoci: files, a whiteout, an opaque directory, then deletions, changes
/// and a replaced kind by unpacking and repacking.
///
/// The inserted files end with a link or a directory on purpose: `umoci insert` 0.4.7 does not pad
/// the last body and does not end the archive; the first is an error for GNU tar and for us, the
/// second is a short end and is read.
const UMOCI: &str = r#"
mkdir -p made/dir made/hidden opaque/sub
printf base > made/base && printf old > made/old && printf a > made/dir/a && printf h > made/hidden/h
ln -s base made/soft && chmod 4711 made/base && ln made/base made/z-hard && ln -s gone made/zz-end
setfattr -n user.key -v value made/base
umoci init --layout umoci
umoci new --image umoci:v1
umoci config --image umoci:v1 --os linux --architecture amd64 --author 'The imgconv authors' \
    --config.entrypoint /bin/x --config.cmd -y --config.env A=b --config.workingdir /w \
    --config.user 1000:1000 --config.exposedports 8080/tcp --config.volume /data \
    --config.label com.example.a=b
umoci insert --image umoci:v1 made /made
umoci insert --image umoci:v1 --whiteout /made/soft
umoci insert --image umoci:v1 --opaque opaque /made/hidden
umoci unpack --image umoci:v1 repacked
cd repacked/rootfs/made
printf new > old && rm z-hard && rm -r dir && printf 'now a file' > dir && mkdir -m 0700 more && printf m > more/m
cd ../../..
umoci repack --image umoci:v1 repacked
"#;

/// Runs every check that starts from an OCI image.
pub(super) fn run(oracle: &mut Oracle) {
    if !oracle.wants("umoci") {
        return;
    }
    let needs = ["root", "umoci", "setfattr"];
    let made = oracle.check("umoci: the layout is made", &needs, |oracle| {
        oracle.shell(UMOCI)?;
        oracle
            .peer("umoci", &["unpack", "--image", "umoci:v1", "umoci-bundle"])
            .map(drop)
    });
    if !made {
        return;
    }
    squashed(oracle, "umoci", "umoci");
    oracle.check("skopeo: the archive is made", &["skopeo"], |oracle| {
        let copy = [
            "--insecure-policy",
            "copy",
            "oci:umoci:v1",
            "oci-archive:skopeo.tar:example.com/s:1",
        ];
        oracle.peer("skopeo", &copy).map(drop)
    });
    squashed(oracle, "skopeo", "skopeo.tar");
    not_squashed(oracle);
    round_trip(oracle);
}

fn squashed(oracle: &mut Oracle, name: &str, source: &str) {
    let title = |what: &str| format!("{name}: {what}");
    let folder = format!("{name}-acis");
    let done = oracle.check(&title("imgconv oci-to-aci"), &[], |oracle| {
        oracle.imgconv(&[
            "oci-to-aci",
            "--name",
            "example.com/oracle/made:v1",
            source,
            &folder,
        ])?;
        oracle
            .shell(&format!("mv {folder}/*.aci {name}.aci"))
            .map(drop)
    });
    if !done {
        return;
    }
    oracle.check(&title("actool validate"), &["actool"], |oracle| {
        oracle
            .peer("actool", &["validate", &format!("{name}.aci")])
            .map(drop)
    });
    oracle.check(
        &title("the ACI's rootfs equals umoci unpack"),
        &["root", "tar"],
        |oracle| {
            let found = extracted(
                oracle,
                &oracle.path(&format!("{name}.aci")),
                &format!("{name}-plain"),
            )?;
            same_tree(&oracle.path("umoci-bundle/rootfs"), &found)
        },
    );
}

/// One ACI for each layer; the tree of all dependencies together must be the same.
fn not_squashed(oracle: &mut Oracle) {
    let needs = ["root", "umoci", "actool"];
    oracle.check("umoci: --no-squash gives valid ACIs that render the same tree", &needs, |oracle| {
        let name = "example.com/oracle/made:v1";
        oracle.imgconv(&["oci-to-aci", "--no-squash", "--name", name, "umoci", "layers"])?;
        oracle.shell("test $(ls layers/*.aci | wc -l) -gt 1")?;
        oracle.shell("for aci in layers/*.aci; do actool validate \"$aci\"; done")?;
        oracle.shell(
            "for aci in layers/*.aci; do actool cat-manifest \"$aci\" | grep -q '\"exec\"' && cp \"$aci\" top.aci; done\n\
             test -f top.aci",
        )?;
        oracle.imgconv(&["aci-to-oci", "--deps", "layers", "top.aci", "rendered"])?;
        let listed = oracle.peer("umoci", &["ls", "--layout", "rendered"])?;
        let reference = listed.lines().next().unwrap_or("nothing");
        let image = format!("rendered:{reference}");
        oracle.peer("umoci", &["unpack", "--image", &image, "rendered-bundle"])?;
        same_tree(&oracle.path("umoci-bundle/rootfs"), &oracle.path("rendered-bundle/rootfs"))
    });
}

fn round_trip(oracle: &mut Oracle) {
    oracle.check(
        "umoci: oci -> aci -> oci shows no difference",
        &["umoci"],
        |oracle| {
            oracle.imgconv(&["aci-to-oci", "umoci.aci", "umoci-back"])?;
            match oracle
                .imgconv(&["diff", "oci:umoci:v1", "umoci-back"])?
                .as_str()
            {
                "" => Ok(()),
                text => Err(text.to_owned()),
            }
        },
    );
}
