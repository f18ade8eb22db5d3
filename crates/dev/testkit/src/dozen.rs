//! The images that the store of every engine has to keep: one for each feature that an engine or a
//! reader of its store can lose.
//!
//! The same images are loaded into real engines (`cargo xtask oracle engines`) and written into the
//! stores that [`crate::engines`] makes. Two kinds of images need a registry and are made there: an
//! image of schema 1, and an image for several platforms.

use imgconv_tar::{Entry, EntryKind};

use crate::build::{layer, tar_bytes};
use crate::engines::EngineImage;
use crate::image::ImageRecipe;
use crate::recipe::Item;

/// Layers of the image with many of them; docker 20.10 takes at most 125.
const MANY: usize = 100;
/// A capability set of version 2 (linux/capability.h): `cap_net_raw+ep`.
const CAPABILITY: &str =
    r"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
/// The base layer of several images.
const BASE: &str = "dir ./\ndir etc\nfile etc/a \"1\"\ndir etc/sub\nfile etc/sub/b \"2\"";

/// An image of a name, with the tars of its layers.
pub type Image = (ImageRecipe, Vec<Vec<u8>>);

/// Makes the images, each named `example.com/NAME:1`.
///
/// # Panics
/// If a layer is no recipe.
pub fn images() -> Vec<Image> {
    let fixed: [(&str, &[&str]); 6] = [
        (
            "whiteouts",
            &[
                BASE,
                "dir etc\nwhiteout etc/a\nwhiteout etc/sub\nfile etc/c \"3\"",
                "dir etc\ndir etc/sub\nfile etc/sub/new \"n\"\nwhiteout etc/c",
            ],
        ),
        (
            "opaque",
            &[
                BASE,
                "dir etc\nopaque etc\nfile etc/new \"n\"",
                "dir etc\ndir etc/sub\nopaque etc/sub\nfile etc/sub/b \"again\"",
            ],
        ),
        (
            "links",
            &[
                "dir ./\nfile t2 \"123\"\nlink t1 -> t2\nlink t3 -> t2\nfile u \"u\"\nlink v -> u",
                "file t1 \"456\"\nwhiteout u",
                "whiteout t2\nfile w \"w\"\nlink x -> w",
            ],
        ),
        (
            "replaced",
            &[
                "dir ./\ndir d\nfile d/x \"x\"\nfile f \"f\"\nsymlink s -> d",
                "symlink d -> f\ndir f\nfile f/y \"y\"\nfile s \"s\"",
                "dir d\nfile d/z \"z\"",
            ],
        ),
        (
            "kinds",
            &[
                "dir ./\ndir dev\nchar dev/null 0666 0:0 @0 1:3\nblock dev/disk 0660 0:6 @0 8:17\n\
                 fifo dev/pipe 0620 7:8 @5\ndir tmp 1777 0:0 @0\nfile su 6755 0:12 @1000 \"su\"\n\
                 symlink dangling -> /does/not/exist\nsymlink climbing -> ../../etc/passwd\n\
                 file old 0600 70000:3000000 @-10 \"old\"\nfile parts 0644 0:0 @1000.123456789 \"x\"",
                "dir dev\nwhiteout dev/pipe\nfile empty 0644 1:2 @7 \"\"\nfile zeros zeros=300000",
            ],
        ),
        // A layer without any entry, as `docker build` made for a step that changes nothing.
        ("empty", &[BASE, "", "file top \"t\""]),
    ];
    let mut all: Vec<Image> = fixed
        .iter()
        .map(|(name, layers)| (head(name), layers.iter().map(|text| layer(text)).collect()))
        .collect();
    all.push((head("many"), (0..MANY).map(many).collect()));
    all.push((head("xattrs"), xattrs()));
    all.push((head("capabilities"), capabilities()));
    all.push((head("names"), names()));
    all
}

/// Makes an image with a file in a sparse form. Engines that keep the extracted files of a layer don't
/// keep that form, so neither they nor a reader of their store can make the tar again.
///
/// # Panics
/// See [`images`].
pub fn sparse() -> Image {
    (head("sparse"), vec![sparse_layer()])
}

/// Makes the images of [`images`] for the stores of [`crate::engines`].
///
/// # Panics
/// See [`images`].
pub fn engine_images() -> Vec<EngineImage> {
    let image = |(recipe, layers): Image| EngineImage {
        names: vec![format!("{}:{}", recipe.head.name, recipe.head.version)],
        command: format!("/{}", recipe.head.name),
        layers,
    };
    images().into_iter().map(image).collect()
}

/// Makes an image of one name for two platforms.
///
/// # Panics
/// If a layer is no recipe.
pub fn platforms() -> Vec<Image> {
    let image = |arch: &str| {
        let mut image = head("platforms");
        image.head.arch = arch.to_owned();
        let own = format!("dir ./\nfile arch \"{arch}\"");
        // Layers of its own: containerd does not fetch the blob of a layer that it has extracted.
        (image, vec![layer("dir ./\nfile common \"c\""), layer(&own)])
    };
    ["amd64", "arm64"].map(image).into()
}

fn head(name: &str) -> ImageRecipe {
    ImageRecipe::of(&format!("example.com/{name}"), "1", &[])
}

/// A layer that adds a file, and sometimes deletes one of a layer below.
fn many(i: usize) -> Vec<u8> {
    let gone = match i {
        2.. if i.is_multiple_of(3) => format!("\nwhiteout n/{}", i - 2),
        _ => String::new(),
    };
    layer(&format!("dir ./\ndir n\nfile n/{i} \"{i}\"{gone}"))
}

fn xattrs() -> Vec<Vec<u8>> {
    [
        r#"dir ./
dir d xattr user.dir="d"
file a "a" xattr user.plain="text" xattr user.bytes="\x00\xff\n="
link b -> a xattr user.plain="text" xattr user.bytes="\x00\xff\n=""#,
        r#"file a "changed" xattr user.other="o"
dir d"#,
    ]
    .map(layer)
    .into()
}

fn capabilities() -> Vec<Vec<u8>> {
    vec![
        layer(&format!(
            "dir ./\ndir bin\nfile bin/ping 0755 0:0 @0 \"ping\" xattr security.capability=\"{CAPABILITY}\""
        )),
        layer("dir bin\nfile bin/plain 0755 0:0 @0 \"plain\""),
    ]
}

fn names() -> Vec<Vec<u8>> {
    let long = "long".repeat(40);
    vec![
        layer(&format!(
            "dir ./\nfile latin1-\\xe9 \"1\"\ndir \\xff\nfile \\xff/\\xfe \"2\"\nsymlink to -> \\xff/\\xfe\n\
             link \\xfd -> \\xff/\\xfe\nfile utf8-\u{e9}\\x20with\\x20spaces \"3\"\nfile a\\x5cb \"4\"\n\
             file new\\x0aline \"5\"\ndir {long}\ndir {long}/{long}\nfile {long}/{long}/{long} \"6\"\n\
             link hard -> {long}/{long}/{long}\nsymlink soft -> {long}/{long}/{long}"
        )),
        layer(&format!(
            "whiteout latin1-\\xe9\ndir {long}\nfile {long}/\\xe9\\xe9 \"7\"\ndir \\xff"
        )),
    ]
}

/// A layer with a file stored in the sparse form 1.0 of GNU tar: a map, then the pieces.
#[allow(clippy::unwrap_used, reason = "a panic is how a fixture reports")]
fn sparse_layer() -> Vec<u8> {
    let mut items =
        crate::recipe::parse("dir ./\nfile plain \"p\"\nfile x\nfile y", "sparse").unwrap();
    let mut stored = b"2\n1500000\n4\n3000000\n0\n".to_vec();
    stored.resize(512, 0);
    stored.extend_from_slice(b"data");
    let fields = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "holes"),
        ("GNU.sparse.realsize", "3000000"),
    ];
    let records: String = fields
        .iter()
        .map(|(key, value)| record(key, value))
        .collect();
    let last = items.len() - 2;
    set(&mut items[last], b"PaxHeaders/holes", records.into_bytes());
    set(&mut items[last + 1], b"GNUSparseFile.0/holes", stored);
    let mut tar = tar_bytes(&items).unwrap();
    // The records are a member of the type `x` in the place of a file.
    let at = tar.windows(16).position(|name| name == b"PaxHeaders/holes");
    let header = &mut tar[at.unwrap()..][..512];
    header[156] = b'x';
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar
}

fn set(item: &mut Item, path: &[u8], body: Vec<u8>) {
    item.entry = Entry {
        size: body.len() as u64,
        mode: 0o644,
        ..Entry::new(path.to_vec(), EntryKind::Regular)
    };
    item.body = body;
}

/// A record of PAX, which starts with its own length.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let length = rest + (rest + 2).to_string().len();
    format!("{length} {key}={value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sparse_file_is_read_with_its_holes() {
        let lines = crate::dump::tar_lines(&mut &*sparse_layer(), "sparse").unwrap();
        assert_eq!(lines.len(), 3, "{lines:?}");
        let mut content = vec![0; 3_000_000];
        content[1_500_000..1_500_004].copy_from_slice(b"data");
        let digest = crate::sha256_hex(&content);
        assert!(lines[2].contains(&digest), "{lines:?}");
    }

    #[test]
    fn images_have_names_and_layers_of_their_own() {
        let images = images();
        let names: std::collections::BTreeSet<&String> =
            images.iter().map(|(image, _)| &image.head.name).collect();
        assert_eq!(names.len(), 10);
        assert_eq!(platforms()[1].0.head.arch, "arm64");
    }
}
