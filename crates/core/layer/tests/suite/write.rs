//! Output: the tar of a tree, the rewrite of a stream, and the stores of contents.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    sync::Arc,
};

use crate::support::{Applied, apply, apply_tars, env, item, layer, tar_of};
use imgconv_layer::{ContentStore, Discard, Fingerprints, Rewrite, Semantics, Spool, Tree};
use imgconv_model::{Code, Error, Limits, Notes};
use imgconv_tar::{Entry, EntryKind};

/// An entry of an archive as the `tar` package reads it: type, name, target, content.
fn listed(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let mut rows = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let link = entry
            .link_name_bytes()
            .map(|link| String::from_utf8_lossy(&link).into_owned());
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let kind = char::from(entry.header().entry_type().as_byte());
        rows.push(format!(
            "{kind} {name} {}{content}",
            link.unwrap_or_default()
        ));
    }
    rows
}

fn aci(layers: &[&[&str]]) -> Applied {
    apply(layers, Semantics::Aci, &env()).unwrap()
}

#[test]
fn f9_the_first_name_has_the_content_and_parents_come_first() {
    let applied = aci(&[&[
        "t2=123", "t1=>t2", "d/", "d/t0=>t2", "d/s->/t2", "a/b/c=x", "d-/e=",
    ]]);
    let expected = [
        "5 a/ ",
        "5 a/b/ ",
        "0 a/b/c x",
        "5 d-/ ",
        "0 d-/e ",
        "5 d/ ",
        "2 d/s /t2",
        "0 d/t0 123",
        "1 t1 d/t0",
        "1 t2 d/t0",
    ];
    assert_eq!(listed(&applied.tar(b"")), expected);
    let tar = applied.tar(b"rootfs/");
    let expected = [
        "5 rootfs/ ",
        "5 rootfs/a/ ",
        "5 rootfs/a/b/ ",
        "0 rootfs/a/b/c x",
        "5 rootfs/d-/ ",
        "0 rootfs/d-/e ",
        "5 rootfs/d/ ",
        "2 rootfs/d/s /t2",
        "0 rootfs/d/t0 123",
        "1 rootfs/t1 rootfs/d/t0",
        "1 rootfs/t2 rootfs/d/t0",
    ];
    assert_eq!(listed(&tar), expected);
    assert!(tar.ends_with(&[0; 1024]) && tar.len().is_multiple_of(512));
}

#[test]
fn the_root_is_written_in_its_place() {
    let named = aci(&[&["./!700", "a=1"]]);
    assert_eq!(listed(&named.tar(b"")), ["5 ./ ", "0 a 1"]);
    assert_eq!(
        listed(&named.tar(b"rootfs/")),
        ["5 rootfs/ ", "0 rootfs/a 1"]
    );
    let back = apply_tars(&[named.tar(b"rootfs/")], Semantics::Aci, &env()).unwrap();
    assert_eq!(back.tree.get(b"rootfs").unwrap().mode, 0o700);
    let empty = aci(&[]);
    assert_eq!((empty.tree.len(), empty.tree.is_empty()), (0, true));
    assert_eq!(empty.tar(b""), [0; 1024]);
    assert_eq!(listed(&empty.tar(b"rootfs/")), ["5 rootfs/ "]);
}

#[test]
fn wh_not_a_directory_that_looks_like_a_whiteout_is_not_written() {
    let layers: &[&[&str]] = &[&["etc/a=1"], &[".wh.etc/somefile=2", "x.wh.y/z=3"]];
    let applied = apply(layers, Semantics::Layer, &env()).unwrap();
    let expected = [
        "0 .wh.etc/somefile 2",
        "5 etc/ ",
        "0 etc/a 1",
        "5 x.wh.y/ ",
        "0 x.wh.y/z 3",
    ];
    assert_eq!(listed(&applied.tar(b"")), expected);
    // As an upper layer, the tar hides nothing either.
    let over = [layer(&["etc/b=4"]), applied.tar(b"")];
    let over = apply_tars(&over, Semantics::Layer, &env()).unwrap();
    assert_eq!(over.content(b"etc/b"), "4");
}

#[test]
fn r23_metadata_and_records_survive() {
    let capability = b"\x01\0\0\x02\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let mut file = item(b"bin/x=1!4755");
    (file.uid, file.mtime) = (2_000_000, 77);
    file.pax = vec![
        (
            b"SCHILY.xattr.security.capability".to_vec(),
            capability.clone(),
        ),
        (b"LIBARCHIVE.xattr.user.k".to_vec(), b"dg".to_vec()),
    ];
    let mut link = item(b"bin/y=>bin/x!4755");
    (link.uid, link.mtime) = (file.uid, file.mtime);
    let tars = [tar_of(&[file, link, item(b"c%1,3!600"), item(b"p|")])];
    let applied = apply_tars(&tars, Semantics::Layer, &env()).unwrap();
    let back = apply_tars(&[applied.tar(b"")], Semantics::Layer, &env()).unwrap();
    for (path, node) in applied.tree.iter() {
        let found = back.tree.get(&path).unwrap();
        assert_eq!(
            (found.mode, found.uid, found.mtime),
            (node.mode, node.uid, node.mtime)
        );
        assert_eq!(
            (found.kind, found.device, found.links),
            (node.kind, node.device, node.links)
        );
        let sorted =
            |records: &[(Vec<u8>, Vec<u8>)]| -> BTreeSet<_> { records.iter().cloned().collect() };
        assert_eq!(sorted(found.pax), sorted(node.pax));
    }
    let x = back.tree.get(b"bin/x").unwrap();
    assert!(x.pax.iter().any(|(_, value)| *value == capability));
    assert_eq!((x.uid, x.links, x.pax.len()), (2_000_000, 2, 2));
    // Readers that chown through the link clear capabilities, so the link repeats them.
    let tar = applied.tar(b"");
    let hits = tar
        .windows(capability.len())
        .filter(|bytes| *bytes == capability)
        .count();
    assert_eq!(hits, 2);
}

#[test]
fn h5a_retain_keeps_parents_and_contents() {
    let keep = |layers: &[&[&str]], paths: &[&str]| {
        let mut applied = aci(layers);
        let tree = Arc::get_mut(&mut applied.tree).unwrap();
        tree.retain(&paths.iter().map(|path| path.as_bytes().to_vec()).collect());
        let text = applied.text();
        assert_eq!(
            apply_tars(&[applied.tar(b"")], Semantics::Aci, &env())
                .unwrap()
                .text(),
            text
        );
        text
    };
    let image: &[&[&str]] = &[&[
        "./", "a/!700", "a/b/!710", "a/b/c=1", "a/b/d=2", "h/x=3", "i=>h/x", "j=>h/x", "l->a",
        "e/", "e/f/g=4",
    ]];
    // The root stays; a parent keeps its metadata.
    assert_eq!(keep(image, &["a/b/c"]), "/ a/!700 a/b/!710 a/b/c=1");
    // The first listed path of a hard link gets the content.
    assert_eq!(keep(image, &["i", "j"]), "/ i=3 j=>i");
    assert_eq!(keep(image, &["j"]), "/ j=3");
    // A listed directory comes without what is below; links are not followed; what is absent does
    // nothing.
    assert_eq!(keep(image, &["e", "l", "l/b/c", "no", "a/no"]), "/ e/ l->a");
    assert_eq!(keep(image, &[]), "/");
    assert_eq!(keep(&[&["a=1"]], &[]), "");
}

#[test]
fn h5a_retain_names_no_directory_that_the_aci_did_not_name() {
    let keep = |layer: &[&str], paths: &[&str]| {
        let mut applied = aci(&[layer]);
        let tree = Arc::get_mut(&mut applied.tree).unwrap();
        tree.retain(&paths.iter().map(|path| path.as_bytes().to_vec()).collect());
        applied.tar(b"")
    };
    let base = aci(&[&["a/!700", "b/!710"]]).tar(b"");
    let tars = [
        base,
        keep(&["a/x=1", "b/y=2", "c/z=3"], &["a/x", "b", "c/z"]),
    ];
    let applied = apply_tars(&tars, Semantics::Aci, &env()).unwrap();
    // A directory of a dependency keeps its attributes below a file; a listed directory without
    // anything below it needs an entry, or nobody would make it.
    assert_eq!(applied.text(), "a/!700 a/x=1 b/ c/ c/z=3");
}

#[test]
fn a_changed_directory_is_written_although_no_layer_named_it() {
    let layers: &[&[&str]] = &[
        &["d/!700", "d/o=1", "p/y=1"],
        &[".wh.d", "d/e/x=2", "p/x=2", ".wh.a/b=3"],
    ];
    let mut applied = apply(layers, Semantics::Layer, &env()).unwrap();
    let tree = Arc::get_mut(&mut applied.tree).unwrap();
    let changed = [
        "d", "d/e", "d/e/x", "p/x", ".wh.a", ".wh.a/b", "absent", "absent/x",
    ];
    tree.retain_changes(
        &changed
            .iter()
            .map(|path| path.as_bytes().to_vec())
            .collect(),
    );
    // A parent that did not change has no entry, nor has a name that would be read as a whiteout.
    let expected = ["0 .wh.a/b 3", "5 d/ ", "5 d/e/ ", "0 d/e/x 2", "0 p/x 2"];
    assert_eq!(listed(&applied.tar(b"")), expected);
    let lower = apply(&layers[..1], Semantics::Layer, &env()).unwrap();
    let tars = [lower.tar(b""), applied.tar(b"")];
    let rendered = apply_tars(&tars, Semantics::Aci, &env()).unwrap();
    assert_eq!(
        rendered.text(),
        ".wh.a/ .wh.a/b=3 d/ d/e/ d/e/x=2 d/o=1 p/ p/x=2 p/y=1"
    );
}

#[test]
fn h5a_directories_that_no_layer_named_are_left_to_the_lower_tree() {
    let mut upper = aci(&[&["a/b/x=1", "c/x=1", "e/x=1", "f/", "g/h/x=1", "g/i=1"]]);
    let kept = ["a", "a/b", "c", "e", "f", "g", "g/h", "g/i"];
    let tree = Arc::get_mut(&mut upper.tree).unwrap();
    tree.retain(&kept.iter().map(|path| path.as_bytes().to_vec()).collect());
    assert!(tree.has_made());
    let lower = aci(&[&[
        "a/b/!710", "c/!700", "e=file", "f/!700", "g/!711", "g/h/!711",
    ]]);
    tree.leave_to(&lower.tree);
    // A file of the lower tree is no directory, and a directory with a name is written.
    assert_eq!(upper.text(), "e/ f/ g/ g/i=1");
    let tars = [lower.tar(b""), upper.tar(b"")];
    let applied = apply_tars(&tars, Semantics::Aci, &env()).unwrap();
    assert_eq!(
        applied.text(),
        "a/ a/b/!710 c/!700 e/ f/ g/!711 g/h/!711 g/i=1"
    );
}

#[test]
fn an_unreadable_spool_is_an_error_of_the_stream() {
    let applied = aci(&[&["a=1"]]);
    let empty = Spool::new(&env()).unwrap().freeze().unwrap();
    let mut out = Vec::new();
    let mut reader = applied.tree.clone().into_tar(b"", empty);
    let error = Error::from_io(reader.read_to_end(&mut out).unwrap_err());
    assert_eq!(error.code(), Code::Io);
    assert!(error.to_string().contains("temporary file in"), "{error}");
    assert!(error.advice().unwrap().contains("--tmpdir"));
    // The error stays: an archive that is cut never looks complete.
    assert!(reader.read(&mut [0; 512]).is_err());
}

fn rewrite(
    tar: impl Read,
    map: impl FnMut(Entry) -> imgconv_model::Result<Option<Entry>>,
) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    Rewrite::new(tar, &Limits::default(), &Notes::default(), "layer 0", map)
        .read_to_end(&mut out)
        .map_err(Error::from_io)?;
    Ok(out)
}

fn under_rootfs(mut entry: Entry) -> imgconv_model::Result<Option<Entry>> {
    if entry.path.starts_with(b"drop") {
        return Ok(None);
    }
    entry.path.splice(0..0, *b"rootfs/");
    if entry.kind == EntryKind::HardLink {
        entry.link.splice(0..0, *b"rootfs/");
    }
    Ok(Some(entry))
}

/// Gives one byte at a time.
struct Slow<R>(R);

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(1);
        self.0.read(&mut buf[..most])
    }
}

#[test]
fn rewrite_changes_names_and_drops() {
    let source = layer(&["a=body", "drop=this", "b=>a", "s->a", "d/", "e="]);
    let out = rewrite(&source[..], under_rootfs).unwrap();
    let expected = [
        "0 rootfs/a body",
        "1 rootfs/b rootfs/a",
        "2 rootfs/s a",
        "5 rootfs/d/ ",
        "0 rootfs/e ",
    ];
    assert_eq!(listed(&out), expected);
    assert!(out.ends_with(&[0; 1024]));
    // E12
    assert_eq!(rewrite(Slow(&source[..]), under_rootfs).unwrap(), out);
    let mut pieces = Vec::new();
    let mut reader = Rewrite::new(
        &source[..],
        &Limits::default(),
        &Notes::default(),
        "x",
        under_rootfs,
    );
    assert_eq!(reader.read(&mut []).unwrap(), 0);
    Slow(&mut reader).read_to_end(&mut pieces).unwrap();
    assert_eq!(pieces, out);
    assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0);
}

#[test]
fn rewrite_of_its_own_output_changes_nothing() {
    let source = layer(&["a=body", "b=>a", "d/"]);
    let once = rewrite(&source[..], |entry| Ok(Some(entry))).unwrap();
    assert_eq!(rewrite(&once[..], |entry| Ok(Some(entry))).unwrap(), once);
}

#[test]
fn rewrite_drops_the_body_of_an_entry_that_is_no_file_any_more() {
    let source = layer(&["a=body", "b=1"]);
    let to_fifo = |mut entry: Entry| {
        if entry.path == b"a" {
            entry.kind = EntryKind::Fifo;
        }
        Ok(Some(entry))
    };
    assert_eq!(
        listed(&rewrite(&source[..], to_fifo).unwrap()),
        ["6 a ", "0 b 1"]
    );
    let grown = |mut entry: Entry| {
        entry.size += 1;
        Ok(Some(entry))
    };
    let error = rewrite(&source[..], grown).unwrap_err();
    assert_eq!(error.code(), Code::Usage);
    assert!(error.to_string().contains("entry \"a\""), "{error}");
}

#[test]
fn rewrite_refusals_come_out_as_they_are() {
    let source = layer(&["a=body", "b=1"]);
    let refuse = |entry: Entry| match &entry.path[..] {
        b"b" => Err(Error::new(Code::Unsupported, "not this one").at("entry b")),
        _ => Ok(Some(entry)),
    };
    let error = rewrite(&source[..], refuse).unwrap_err();
    assert_eq!(error.to_string(), "entry b: not this one");
    assert_eq!(error.code(), Code::Unsupported);
}

#[test]
fn rewrite_reads_the_last_byte_before_the_end() {
    /// Fails at the end of the data, as a reader that verifies does.
    struct Wrong<'a>(&'a [u8]);
    impl Read for Wrong<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buf)? {
                0 if !buf.is_empty() => Err(Error::mismatch("digest", "x", "y").into()),
                n => Ok(n),
            }
        }
    }
    let mut source = layer(&["a=body"]);
    source.extend_from_slice(&[0; 5000]);
    let mut out = Vec::new();
    let limits = Limits::default();
    let mut reader = Rewrite::new(Wrong(&source), &limits, &Notes::default(), "x", |entry| {
        Ok(Some(entry))
    });
    let error = Error::from_io(reader.read_to_end(&mut out).unwrap_err());
    assert_eq!(error.code(), Code::Mismatch);
    // The header and the body, but no zero blocks.
    assert_eq!(out.len(), 1024);
    assert!(reader.read(&mut [0; 9]).is_err());
}

#[test]
fn stores_take_exactly_the_body() {
    let bodies: [&[u8]; 4] = [b"first", b"", &[7; 3 << 20], b"first"];
    let mut spool = Spool::new(&env()).unwrap();
    let mut prints = Fingerprints::default();
    let mut keys = Vec::new();
    for body in bodies {
        let mut longer = body.chain(&b"more"[..]);
        keys.push(spool.put(&mut longer, body.len() as u64).unwrap());
        let mut rest = Vec::new();
        longer.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"more");
        let key = prints.put(&mut Slow(body), body.len() as u64).unwrap();
        assert_eq!(key, keys.len() as u64 - 1);
        assert_eq!(Discard.put(&mut &body[..], body.len() as u64).unwrap(), 0);
    }
    assert_eq!(prints.digests[0], prints.digests[3]);
    assert_ne!(prints.digests[0], prints.digests[1]);
    assert_eq!(prints.digests[1][..4], [0xe3, 0xb0, 0xc4, 0x42]);
    let frozen = spool.freeze().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for (key, body) in keys.iter().zip(bodies).rev() {
                    let mut found = Vec::new();
                    let mut reader = frozen.open(*key, body.len() as u64);
                    reader.read_to_end(&mut found).unwrap();
                    assert!(found == body);
                }
            });
        }
    });
    let mut piece = [0; 3];
    frozen.read_exact_at(&mut piece, keys[0] + 1).unwrap();
    assert_eq!(&piece, b"irs");
    let stores: [&mut dyn ContentStore; 3] = [
        &mut Spool::new(&env()).unwrap(),
        &mut Fingerprints::default(),
        &mut Discard,
    ];
    for store in stores {
        let error = store.put(&mut &b"short"[..], 9).unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::BadTar, "the content ends 4 bytes early")
        );
    }
}

#[test]
fn m7_a_missing_temporary_directory_is_named() {
    let mut env = env();
    env.tmpdir = "/nowhere/at all".into();
    let error = Spool::new(&env).unwrap_err();
    assert_eq!(error.code(), Code::Io);
    assert!(
        error
            .to_string()
            .contains("temporary file in \"/nowhere/at all\""),
        "{error}"
    );
    assert!(error.advice().unwrap().contains("--tmpdir"));
}

#[test]
fn a_cancelled_run_ends() {
    let env = env();
    let mut tree = Tree::new(&env);
    env.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let tar = layer(&["a=1"]);
    let error = tree
        .apply(&mut &tar[..], Semantics::Layer, &mut Discard, "x")
        .unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
}
