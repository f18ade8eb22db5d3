//! Layers with a table of contents, read by the table alone and as plain layers.

use std::io::{Cursor, Read};

use imgconv_chunked::{Encoded, Scheme, encode};
use imgconv_model::{Algorithm, Code, Env, Error, Limits, Notes, Platform, Result};
use imgconv_stream::{Decoder, Level, Pool, digest};
use imgconv_testkit::{build, dump::tar_lines, recipe};
use serde_json::Value;

/// Every kind of entry, a file of three chunks, a file of exactly one chunk, and an empty file.
const LAYER: &str = r#"
dir     bin 0755 0:0 @0
file    bin/big 0755 1:2 @1500000000.123456789 noise=9000000
file    bin/one 0644 0:0 @0 zeros=4194304
file    empty 0644 0:0 @7 xattr user.a="\xff\n"
file    etc/os 4644 0:0 @7 "Linux\n" pax atime="5000.5"
link    etc/os2 -> etc/os
symlink lib -> usr/lib
fifo    pipe 0600 0:0 @0
char    dev/null 0666 0:0 @0 1:3
whiteout old
"#;

fn tar(text: &str) -> Vec<u8> {
    build::tar_bytes(&recipe::parse(text.trim(), "layer").unwrap()).unwrap()
}

fn write(tar: &[u8], scheme: Scheme, jobs: usize) -> Result<(Encoded, Vec<u8>, Notes)> {
    let env = Env {
        jobs,
        ..Env::new("/nonexistent", Platform::default())
    };
    let (mut source, mut sink) = (tar, Vec::new());
    let (hash, pool) = (Algorithm::Sha256, Pool::new(jobs).unwrap());
    let level = Level::Default;
    let place = (1, "layer 0");
    let encoded = encode(
        &mut source,
        &mut sink,
        scheme,
        level,
        hash,
        &pool,
        &env,
        place,
    )?;
    assert_eq!(encoded.digest, digest(Algorithm::Sha256, &sink));
    assert_eq!(encoded.size, sink.len() as u64);
    Ok((encoded, sink, env.notes))
}

/// Writes with several numbers of threads, and compares the digest of the output.
#[track_caller]
fn pinned(scheme: Scheme, expected: &str) -> (Encoded, Vec<u8>, Vec<u8>) {
    let tar = tar(LAYER);
    let (encoded, blob, _) = write(&tar, scheme, 1).unwrap();
    for jobs in [2, 8] {
        let (other, same, _) = write(&tar, scheme, jobs).unwrap();
        assert!(same == blob, "{jobs} jobs");
        assert_eq!(other.annotations, encoded.annotations);
    }
    assert_eq!(encoded.digest.hex(), expected, "{} bytes", blob.len());
    (encoded, blob, tar)
}

fn unpack(bytes: &[u8]) -> Vec<u8> {
    let source = Box::new(Cursor::new(bytes.to_vec()));
    let notes = Notes::default();
    let mut decoder = Decoder::new(source, &Limits::default(), &notes, "blob").unwrap();
    let mut content = Vec::new();
    decoder.read_to_end(&mut content).unwrap();
    content
}

fn sha(bytes: &[u8]) -> String {
    digest(Algorithm::Sha256, bytes).to_string()
}

/// Numbers between colons.
fn numbers(text: &str) -> Vec<usize> {
    text.split(':').map(|n| n.parse().unwrap()).collect()
}

fn row<'a>(table: &'a Value, name: &str) -> Vec<&'a Value> {
    let rows = table["entries"].as_array().unwrap().iter();
    rows.filter(|row| row["name"] == name).collect()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

#[test]
fn zstd_chunked_keeps_the_tar_and_every_file_can_be_fetched_alone() {
    let (encoded, blob, tar) = pinned(
        Scheme::ZstdChunked,
        "fc9b5b7e3960cac8de7c710b5917d7be7d3f74e1a2c7d7308573b03a19525b93",
    );
    assert!(unpack(&blob) == tar);
    assert_eq!(encoded.content, digest(Algorithm::Sha256, &tar));
    let said = |name: &str| {
        let key = format!("io.github.containers.zstd-chunked.{name}");
        encoded.annotations[&key].as_str()
    };
    assert_eq!(encoded.annotations.len(), 3);

    let position = numbers(said("manifest-position"));
    let [offset, length, uncompressed, 1] = position[..] else {
        panic!("{position:?}");
    };
    let frame = &blob[offset..offset + length];
    assert_eq!(blob[offset - 8..offset - 4], [0x50, 0x2a, 0x4d, 0x18]);
    assert_eq!(said("manifest-checksum"), sha(frame));
    let json = unpack(frame);
    assert_eq!(json.len(), uncompressed);
    let table: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(table["version"], 1);

    let position = numbers(said("tarsplit-position"));
    let split = &blob[position[0]..position[0] + position[1]];
    assert_eq!(table["tarSplitDigest"], sha(split));
    assert_eq!(unpack(split).len(), position[2]);

    // The footer says the same.
    let footer: Vec<usize> = blob[blob.len() - 64..blob.len() - 8]
        .chunks(8)
        .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()) as usize)
        .collect();
    assert_eq!(footer[..4], [offset, length, uncompressed, 1]);
    assert_eq!(footer[4..], position);
    assert!(blob.ends_with(b"GNUlInUx"));

    let rows = table["entries"].as_array().unwrap();
    assert_eq!(rows.len(), 12);
    for row in rows.iter().filter(|row| row["digest"].is_string()) {
        let (start, end) = (number(&row["offset"]), number(&row["endOffset"]));
        assert_eq!(row["digest"], sha(&unpack(&blob[start..end])), "{row}");
    }
    let big = row(&table, "bin/big");
    let chunks: Vec<[&Value; 3]> = big
        .iter()
        .map(|row| [&row["type"], &row["chunkOffset"], &row["chunkSize"]])
        .collect();
    let expected = serde_json::json!([
        ["reg", null, 4194304],
        ["chunk", 4194304, 4194304],
        ["chunk", 8388608, 611392]
    ]);
    assert_eq!(serde_json::json!(chunks), expected);
    assert_eq!(big[0]["modtime"], "2017-07-14T02:40:00.123456789Z");
    assert_eq!((&big[0]["uid"], &big[0]["gid"]), (&1.into(), &2.into()));
    for (chunk, next) in big.iter().zip([1, 2, 0].map(|i| &big[i])) {
        let end = next["offset"].as_u64().filter(|_| next["type"] == "chunk");
        let end = end.unwrap_or_else(|| big[0]["endOffset"].as_u64().unwrap()) as usize;
        let content = unpack(&blob[number(&chunk["offset"])..end]);
        assert_eq!(chunk["chunkDigest"], sha(&content));
        assert_eq!(number(&chunk["chunkSize"]), content.len());
    }
    let one = row(&table, "bin/one");
    assert!(one.len() == 1 && one[0]["chunkDigest"].is_null());
    let os = row(&table, "etc/os")[0];
    assert_eq!(os["accesstime"], "1970-01-01T01:23:20.5Z");
    assert_eq!(os["mode"], 0o4644);
    assert_eq!(row(&table, "etc/os2")[0]["linkName"], "etc/os");
    assert_eq!(row(&table, "empty")[0]["xattrs"]["user.a"], "/wo=");
    assert_eq!(row(&table, "dev/null")[0]["devMinor"], 3);
    assert_eq!(row(&table, "bin/")[0]["type"], "dir");
}

#[test]
fn estargz_adds_its_files_and_every_chunk_can_be_fetched_alone() {
    let (encoded, blob, tar) = pinned(
        Scheme::Estargz,
        "a299089183be86c9500cc5a8c07d90e9250783291ae0f63ba208e5a6292478c1",
    );
    let whole = unpack(&blob);
    assert_eq!(encoded.content, digest(Algorithm::Sha256, &whole));
    let said = |key: &str| encoded.annotations[key].as_str();
    assert_eq!(encoded.annotations.len(), 2);
    let size = said("io.containers.estargz.uncompressed-size");
    assert_eq!(size, whole.len().to_string());

    // The same entries between a landmark and the table, and one end of the archive.
    let lines = tar_lines(&mut &whole[..], "blob").unwrap();
    assert_eq!(lines[0], r#"file .no.prefetch.landmark 0644 0:0 @0 "\x0f""#);
    assert_eq!(
        lines[1..lines.len() - 1],
        tar_lines(&mut &tar[..], "tar").unwrap()
    );
    assert!(lines[lines.len() - 1].starts_with("file stargz.index.json "));

    let footer = &blob[blob.len() - 51..];
    assert_eq!(
        footer[..16],
        *b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0"
    );
    assert_eq!(footer[32..38], *b"STARGZ");
    let offset = usize::from_str_radix(str::from_utf8(&footer[16..32]).unwrap(), 16).unwrap();
    let member = unpack(&blob[offset..blob.len() - 51]);
    assert!(member.starts_with(b"stargz.index.json\0"));
    let size = str::from_utf8(&member[124..135]).unwrap();
    let json = &member[512..512 + usize::from_str_radix(size, 8).unwrap()];
    assert_eq!(said("containerd.io/snapshot/stargz/toc.digest"), sha(json));
    let table: Value = serde_json::from_slice(json).unwrap();
    assert_eq!(table["version"], 1);

    let rows = table["entries"].as_array().unwrap();
    assert_eq!(rows.len(), 13);
    let mut files = 0;
    for (i, row) in rows.iter().enumerate() {
        let Some(start) = row["offset"].as_u64() else {
            continue;
        };
        let content = unpack(&blob[usize::try_from(start).unwrap()..offset]);
        // The table does not have the size of the last chunk.
        let size = match row["chunkSize"].as_u64() {
            Some(size) => size,
            None => {
                let file = rows[..=i].iter().rev().find(|row| row["type"] == "reg");
                file.unwrap()["size"].as_u64().unwrap() - row["chunkOffset"].as_u64().unwrap_or(0)
            }
        };
        let chunk = &content[..usize::try_from(size).unwrap()];
        assert_eq!(row["chunkDigest"], sha(chunk), "{row}");
        files += 1;
    }
    assert_eq!(files, 6);
    let sizes: Vec<&Value> = row(&table, "bin/big")
        .iter()
        .map(|row| &row["chunkSize"])
        .collect();
    let expected = serde_json::json!([4194304, 4194304, null]);
    assert_eq!(serde_json::json!(sizes), expected);
    assert_eq!(row(&table, "bin/big")[0]["modtime"], "2017-07-14T02:40:00Z");
    assert_eq!(row(&table, "empty")[0]["digest"], sha(b""));
}

#[test]
fn the_files_of_an_earlier_estargz_are_replaced() {
    let (_, first, _) = write(&tar("file a \"1\""), Scheme::Estargz, 1).unwrap();
    let (_, again, notes) = write(&unpack(&first), Scheme::Estargz, 1).unwrap();
    assert!(again == first);
    let warnings = notes.take().warnings;
    assert_eq!(warnings.len(), 2);
    assert!(
        warnings
            .iter()
            .all(|warning| warning.code == "stargz-entry")
    );
}

#[test]
fn no_tar_split_where_the_format_has_none() {
    let split = |text: &str| {
        let (encoded, blob, _) = write(&tar(text), Scheme::ZstdChunked, 1).unwrap();
        assert!(unpack(&blob) == tar(text));
        let key = "io.github.containers.zstd-chunked.tarsplit-position";
        encoded.annotations.contains_key(key)
    };
    assert!(split("file a \"1\"\nfile b \"2\""));
    assert!(!split("file a \"1\"\nfile ./a \"2\""));
    assert!(!split("file a \"1\"\nfile b/../a \"2\""));
}

#[test]
fn what_a_table_can_not_say_is_refused() {
    let refused = |text: &str| -> Error {
        let errors = [Scheme::ZstdChunked, Scheme::Estargz]
            .map(|scheme| write(&tar(text), scheme, 2).unwrap_err());
        assert_eq!(errors[0].to_string(), errors[1].to_string());
        let [error, _] = errors;
        error
    };
    let error = refused("file a \"1\"\nfile \\xff \"2\"");
    assert_eq!(error.code(), Code::Unsupported);
    assert!(error.to_string().contains("not UTF-8"), "{error}");
    let error = refused("file late 0644 0:0 @999999999999 \"1\"");
    assert_eq!(error.code(), Code::Unsupported);
    assert!(error.advice().unwrap().contains("--clamp-mtime"));
}

#[test]
fn a_damaged_tar_is_named_and_nothing_panics() {
    let whole = tar("file a \"1\"\nfile b \"2\"");
    for length in (0..whole.len()).step_by(100) {
        for scheme in [Scheme::ZstdChunked, Scheme::Estargz] {
            let result = write(&whole[..length], scheme, 1);
            assert!(result.is_err() || length >= 2048, "{length}");
        }
    }
}
