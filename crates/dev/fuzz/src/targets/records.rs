//! Records and databases of engines and of imgconv itself.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Write as _};
use std::sync::Arc;

use imgconv_bolt::{Bucket, Database, Item};
use imgconv_fs::Directory;
use imgconv_layer::Rewrite;
use imgconv_model::{
    Algorithm, Code, Compression, Error, Notes, Open as _, ReadAt, Reader, Result,
};
use imgconv_reversal::{ArchiveRecord, Member, Part, Record, Recorder, record_archive};
use imgconv_stream::{Level, PieceEncoder, digest};
use imgconv_tar::Tracing as _;
use imgconv_tar_split::Layer;
use imgconv_testkit::{bolt as databases, engines, random};

use crate::cage::{self, caged};
use crate::{repair, tree};

/// A tree of files whose part `record` is a record, before compression. A layer that is read to its end is as long as
/// the record says, and a second pass gives the same bytes.
pub(super) fn tar_split(bytes: &[u8]) {
    caged(|cage| {
        tree::write(bytes, &cage.input());
        let Ok(record) = fs::read(cage.input().join("record")) else {
            return;
        };
        let record: Arc<[u8]> = repair::gzip(&record).into();
        let layer = Layer {
            record: Arc::new(record),
            files: Arc::new(Directory::open(&cage.input()).unwrap()),
            limits: cage::limits(),
            what: "record".to_owned(),
        };
        let read = || -> Result<Vec<u8>> {
            let mut out = Vec::new();
            let most = cage::limits().layer_bytes;
            let mut layer = layer.open()?.take(most);
            layer.read_to_end(&mut out).map_err(Error::from_io)?;
            Ok(out)
        };
        match (read(), read()) {
            (Ok(first), Ok(second)) => assert!(first == second),
            (Err(first), Err(second)) => assert_eq!(first.to_string(), second.to_string()),
            (first, second) => panic!("{:?} {:?}", first.is_ok(), second.is_ok()),
        }
    });
}

pub(super) fn tar_split_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let dozen = imgconv_testkit::dozen::images().into_iter();
    for tar in dozen.take(5).flat_map(|(_, layers)| layers) {
        let Ok(Some((record, files))) = engines::split(&tar) else {
            continue;
        };
        let mut plain = Vec::new();
        let mut reader = flate2::read::MultiGzDecoder::new(&record[..]);
        reader.read_to_end(&mut plain).unwrap();
        let mut all = vec![(b"record".to_vec(), plain)];
        all.extend(files.into_iter().filter(|(path, _)| path != b"record"));
        let text = tree::from_files(all);
        if text.len() < 40_000 {
            seeds.push(text);
        }
    }
    seeds
}

/// Bytes of the header of a record of an ACI.
const HEADER: usize = 160;

fn reader(bytes: &[u8]) -> Reader {
    Box::new(Cursor::new(bytes.to_vec()))
}

fn zstd_of(plain: &[u8]) -> Vec<u8> {
    let encoder = PieceEncoder::new(Compression::Zstd, Level::Number(1)).unwrap();
    encoder.compress(plain).unwrap()
}

/// A record that passes the check can be read to its end; with the wrong layer it gives no bytes that count.
pub(super) fn reversal(bytes: &[u8]) {
    record(bytes);
    // The same, with instructions that are not compressed yet.
    if let Some((header, plain)) = bytes.split_at_checked(HEADER) {
        record(&[header, &zstd_of(plain)].concat());
    }
}

fn record(bytes: &[u8]) {
    let limits = cage::limits();
    let open = || Record::open(reader(bytes), &limits, "record");
    let Ok(opened) = open() else { return };
    let _ = opened.check();
    let layer = b"layer".repeat(2000);
    let rebuilt = open().and_then(|record| record.rebuild(reader(&layer)));
    let Ok(mut rebuilt) = rebuilt else { return };
    let mut tar = Vec::new();
    if rebuilt.read_to_end(&mut tar).is_ok() {
        let header = open().unwrap().header().clone();
        assert_eq!(digest(Algorithm::Sha512, &tar), header.image_id);
        assert_eq!(tar.len() as u64, header.length);
    }
}

pub(super) fn reversal_seeds() -> Vec<Vec<u8>> {
    let env = cage::env();
    let mut seeds = Vec::new();
    for seed in 0..6 {
        let tar = random::image(seed)[0].tar();
        for recorder in [Recorder::new(&env), Recorder::alone(&env)] {
            let map = |entry| Ok(Some(entry));
            let notes = Notes::default();
            let rewrite = Rewrite::new(Cursor::new(&tar), &env.limits, &notes, "tar", map);
            let mut layer = Vec::new();
            let mut rewrite = rewrite.traced(recorder.begin().unwrap());
            if rewrite.read_to_end(&mut layer).is_err() {
                continue;
            }
            let Some(content) = recorder.take() else {
                continue;
            };
            let id = digest(Algorithm::Sha512, &tar);
            let diff_id = digest(Algorithm::Sha256, &layer);
            let (_, mut made, _) = content.into_record(id, Compression::Gzip, diff_id).unwrap();
            let mut record = Vec::new();
            made.read_to_end(&mut record).unwrap();
            let plain = zstd::decode_all(&record[HEADER..]).unwrap();
            if plain.len() < 40_000 {
                seeds.push([&record[..HEADER], &plain].concat());
                seeds.push(record);
            }
        }
    }
    seeds
}

/// A record of an archive gives layers with their diff IDs in an archive of the length that the record names, or an error. A
/// record of version 1 gives the archive of the digest that it names.
pub(super) fn reversal_archive(bytes: &[u8]) {
    archive(bytes);
    // The number of layers is at offset 12, and 40 bytes each follow 64 bytes.
    let count = bytes.get(12..16).map(|count| count.try_into().unwrap());
    let count = count.map_or(0, u32::from_le_bytes).min(64) as usize;
    if let Some((header, plain)) = bytes.split_at_checked(64 + 40 * count) {
        archive(&[header, &zstd_of(plain)].concat());
    }
}

fn archive(bytes: &[u8]) {
    let limits = cage::limits();
    let Ok(record) = ArchiveRecord::open(reader(bytes), &limits, "record") else {
        return;
    };
    let header = record.header().clone();
    let sizes: Vec<u64> = header.layers.iter().map(|part| part.size).collect();
    let open = move |place: usize| -> Result<Reader> {
        match sizes[place] {
            size if size > 1 << 20 => Err(Error::new(Code::Missing, "too large")),
            size => Ok(Box::new(std::io::repeat(7).take(size))),
        }
    };
    let Ok(mut rebuilt) = record.rebuild(Box::new(open)) else {
        return;
    };
    let mut tar = Vec::new();
    if rebuilt.read_to_end(&mut tar).is_ok() {
        assert_eq!(tar.len() as u64, header.length);
        if header.composed {
            let record = ArchiveRecord::open(reader(bytes), &limits, "record").unwrap();
            record.check().unwrap();
            return;
        }
        assert_eq!(digest(Algorithm::Sha256, &tar), header.digest);
    }
}

/// Bytes that are read by position.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl ReadAt for Bytes {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..));
        rest.unwrap_or_default().read_exact(buf)
    }
}

pub(super) fn reversal_archive_seeds() -> Vec<Vec<u8>> {
    let layers = [vec![7; 1000], vec![7; 513], vec![7; 1]];
    let (mut tar, mut members) = (b"begin".to_vec(), Vec::new());
    for place in [0, 1, 0, 2] {
        let layer: &Vec<u8> = &layers[place];
        let part = Part {
            diff_id: digest(Algorithm::Sha256, layer),
            size: layer.len() as u64,
        };
        let offset = tar.len() as u64;
        members.push(Member { offset, part });
        tar.extend_from_slice(layer);
        tar.extend_from_slice(&[0; 300]);
    }
    let length = tar.len() as u64;
    let of_tar = digest(Algorithm::Sha256, &tar);
    let made = record_archive(&Bytes(tar), length, &members, Compression::Xz, &cage::env());
    let (_, mut made, _) = made.unwrap();
    let mut record = Vec::new();
    made.read_to_end(&mut record).unwrap();
    let header = 64 + 40 * layers.len();
    let plain = zstd::decode_all(&record[header..]).unwrap();
    // The same as version 1.
    let mut old = record.clone();
    old[8] = 1;
    old[32..64].copy_from_slice(of_tar.hash());
    let begins = [&record[..header], &old[..header]];
    let mut seeds: Vec<Vec<u8>> = begins.map(|begin| [begin, &plain].concat()).into();
    seeds.extend([record, old]);
    seeds
}

/// Every bucket is walked, and each key is found again.
pub(super) fn bolt(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), repair::bolt(bytes)] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let _ = walk_database(file);
    }
}

fn walk_database(file: File) -> Result<()> {
    let database = Database::open(file)?;
    let mut left = 2000;
    walk(&database.root(), 0, &mut left)
}

fn walk(bucket: &Bucket<'_>, depth: usize, left: &mut usize) -> Result<()> {
    if depth > 40 {
        return Ok(());
    }
    let mut keys = Vec::new();
    bucket.each(|key, item| {
        if *left == 0 {
            return Err(Error::new(Code::Limit, "enough"));
        }
        *left -= 1;
        keys.push(key.to_vec());
        match item {
            Item::Value(_) => Ok(()),
            Item::Bucket(below) => walk(&below, depth + 1, left),
        }
    })?;
    for key in keys.iter().take(8) {
        let _ = bucket.get(key)?;
        let _ = bucket.bucket(key);
    }
    Ok(())
}

pub(super) fn bolt_seeds() -> Vec<Vec<u8>> {
    let mut small = databases::Bucket::new();
    databases::put(
        &mut small,
        &["v1", "default", "images", "a", "target"],
        b"x",
    );
    let mut large = databases::Bucket::new();
    for number in 0..40 {
        let key = format!("example.com/a:{number}");
        let path = ["v1", "default", "images", &key, "target", "digest"];
        databases::put(&mut large, &path, &[b'd'; 71]);
    }
    vec![databases::file(&small), databases::file(&large)]
}
