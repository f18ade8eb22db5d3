//! The strictness laws: documents that are malformed, ambiguous or too large are refused, by one code
//! for each fault, and a copy keeps every byte.
//!
//! The names begin with the rules of `docs/robustness.md`.

use imgconv_model::{Artifact, Code, Document, DocumentFormat, Image, Report, Result};
use serde_json::{Value, json};

use super::json::StrictJson;
use super::memory::{ID_A, ID_B, Memory, decode, encode, env, fails, kept, root, text};

/// A family of documents: manifests that name a config and layers, and indexes.
#[derive(Clone, Copy, Debug)]
pub struct Documents {
    /// The format that reads and writes them.
    pub format: &'static dyn DocumentFormat,
    /// The media type of a manifest.
    pub manifest: &'static str,
    /// The media type of an index.
    pub index: &'static str,
    /// The media type of a config.
    pub config: &'static str,
    /// The media type of a gzip layer.
    pub layer: &'static str,
    /// The media type of a manifest of another family.
    pub foreign: &'static str,
    /// True if only a document's own `mediaType` shows that it is one of the family.
    pub typed: bool,
}

/// Texts that are no digests, some of them paths.
pub fn bad_digests() -> Vec<String> {
    let a = "a".repeat(64);
    vec![
        String::new(),
        "sha256".into(),
        "sha256:".into(),
        format!(":{a}"),
        format!("sha256:{}", &a[1..]),
        format!("sha256:{a}a"),
        format!("sha256:{}", a.to_uppercase()),
        format!("SHA256:{a}"),
        "sha256:../../../../x".into(),
        format!("sha256:{a}/../.."),
        format!("sha256:{a}?x=1"),
        format!("sha256:{a}%2f"),
        format!("sha256:{a}\\n"),
        format!("sha512:{a}"),
        "a".repeat(1 << 20),
    ]
}

/// Shows what a document means, without its bytes, for [`StrictJson`].
///
/// # Errors
/// The error of the document.
pub fn shown(artifact: Result<(Artifact, Report)>) -> Result<String> {
    Ok(match artifact? {
        (Artifact::Image(mut image), report) => {
            image.originals.clear();
            format!("{image:?} {report:?}")
        }
        (Artifact::Index(index), report) => {
            let mut children = index.children;
            for child in &mut children {
                let mut raw: Value = serde_json::from_str(&child.raw).unwrap();
                without_null(&mut raw);
                child.raw = raw.to_string();
            }
            format!("{children:?} {:?} {report:?}", index.subject)
        }
        // An artifact is carried as it is, with all members.
        (Artifact::Opaque(opaque), report) => {
            format!("{} zz-unknown 714.5 {report:?}", opaque.what)
        }
    })
}

fn without_null(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_null);
        }
        Value::Array(list) => list.iter_mut().for_each(without_null),
        _ => {}
    }
}

impl Documents {
    /// Returns the member `mediaType` with a comma, where documents need that member.
    fn head(&self, kind: &str) -> String {
        match self.typed {
            true => format!("\"mediaType\":\"{kind}\","),
            false => String::new(),
        }
    }

    /// Returns the smallest manifest, with one layer.
    pub fn minimal(&self, memory: &mut Memory) -> String {
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{ID_A}"]}}}}"#
        );
        let config = memory.put(config.as_bytes());
        let descriptor = memory.put(b"layer a");
        let (head, kind, layer) = (self.head(self.manifest), self.config, self.layer);
        format!(
            r#"{{"schemaVersion":2,{head}"config":{{"mediaType":"{kind}",{config}}},"layers":[{{"mediaType":"{layer}",{descriptor}}}]}}"#
        )
    }

    /// Returns the smallest manifest with one edit.
    ///
    /// # Panics
    /// If the text to edit is not there.
    pub fn edited(&self, from: &str, to: &str) -> (Memory, String) {
        let mut memory = Memory::default();
        let text = self.minimal(&mut memory);
        assert!(text.contains(from), "{text} lacks {from}");
        let text = text.replacen(from, to, 1);
        (memory, text)
    }

    /// Returns a manifest without layers, with the given config.
    pub fn of_config(&self, config: &[u8]) -> (Memory, String) {
        let mut memory = Memory::default();
        let config = memory.put(config);
        let (head, kind) = (self.head(self.manifest), self.config);
        let text = format!(
            r#"{{"schemaVersion":2,{head}"config":{{"mediaType":"{kind}",{config}}},"layers":[]}}"#
        );
        (memory, text)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// The errors of the format.
    pub fn decode(&self, memory: &Memory, kind: &str, text: &str) -> Result<(Artifact, Report)> {
        decode(self.format, memory, &root(kind, text), &env())
    }

    /// Reads a manifest of an image.
    ///
    /// # Panics
    /// If the document is no image.
    pub fn image(&self, memory: &Memory, text: &str) -> (Image, Report) {
        match self.decode(memory, self.manifest, text).unwrap() {
            (Artifact::Image(image), report) => (*image, report),
            (other, _) => panic!("expected an image, found {other:?}"),
        }
    }

    /// Writes an image whose layers are kept: the config, the manifest and the report.
    ///
    /// # Panics
    /// If the format can't write the image.
    pub fn copy(&self, image: &Image) -> (Document, Document, Report) {
        let (documents, root, report) = encode(self.format, image, &kept(image), &env()).unwrap();
        let [config] = documents.try_into().unwrap();
        (config, root, report)
    }

    /// Checks that a document is refused.
    ///
    /// # Panics
    /// If the document is not refused, or with another error.
    pub fn refuse(&self, memory: &Memory, kind: &str, text: &str, code: Code, part: &str) {
        fails(self.decode(memory, kind, text), code, part);
    }

    /// Checks that an edit of the smallest manifest is refused.
    fn refuse_edit(&self, from: &str, to: &str, code: Code, part: &str) {
        let (memory, text) = self.edited(from, to);
        self.refuse(&memory, self.manifest, &text, code, part);
    }

    /// C1: no member that belongs to another kind of document, in any case.
    pub fn c1_fields_of_another_kind(&self) {
        let typed = format!("\"mediaType\":\"{}\",", self.manifest);
        let heads: &[&str] = match self.typed {
            true => &[""],
            false => &["", &typed],
        };
        for field in [
            "manifests",
            "Manifests",
            "manife\u{17f}t\u{17f}",
            "fsLayers",
            "FSLAYERS",
            "history",
        ] {
            for (kind, head) in [self.manifest, ""]
                .iter()
                .flat_map(|kind| heads.iter().map(move |head| (kind, head)))
            {
                let (memory, text) = self.edited("{", &format!("{{{head}\"{field}\":[],"));
                // Without a type of its own a document with members of both kinds is of neither
                // kind.
                let part = match self.typed {
                    true => "belongs to another kind",
                    false => "",
                };
                self.refuse(&memory, kind, &text, Code::Ambiguous, part);
            }
        }
        let memory = Memory::default();
        let head = self.head(self.index);
        for field in ["layers", "config", "Config", "fsLayers", "hi\u{17f}tory"] {
            let text = format!(r#"{{"schemaVersion":2,{head}"manifests":[],"{field}":[]}}"#);
            for kind in [self.index, ""] {
                let part = "belongs to another kind";
                self.refuse(&memory, kind, &text, Code::Ambiguous, part);
            }
        }
    }

    /// C2a: the media type of the reference and that of the document are the same.
    pub fn c2a_media_types_that_differ(&self) {
        let with = |kind: &str| match self.typed {
            true => self.edited(self.manifest, kind),
            false => self.edited("{", &format!("{{\"mediaType\":\"{kind}\",")),
        };
        for other in [self.index, self.foreign, "x"] {
            let (memory, text) = with(other);
            self.refuse(
                &memory,
                self.manifest,
                &text,
                Code::Ambiguous,
                "the document has the mediaType",
            );
        }
        let (memory, text) = with(self.manifest);
        self.decode(&memory, self.manifest, &text).unwrap();
        self.decode(&memory, "application/json", &text).unwrap();
        let silent = text.replacen(&format!("\"mediaType\":\"{}\",", self.manifest), "", 1);
        self.decode(&memory, self.manifest, &silent).unwrap();
    }

    /// C3a, C3c: digests are checked in every position; an unknown algorithm is not supported.
    pub fn c3_digests_everywhere(&self) {
        let config =
            r#"{"os":"linux","architecture":"x","rootfs":{"type":"layers","diff_ids":["DIGEST"]}}"#;
        let (memory, plain) = self.edited("{", "{");
        let parsed: serde_json::Value = serde_json::from_str(&plain).unwrap();
        for digest in bad_digests() {
            for (field, value) in [
                ("config", &parsed["config"]),
                ("layers", &parsed["layers"][0]),
            ] {
                let text = plain.replacen(value["digest"].as_str().unwrap(), &digest, 1);
                let part = format!("field {field}");
                self.refuse(&memory, self.manifest, &text, Code::BadDigest, &part);
            }
            let text = format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","digest":"{digest}","size":1}}]}}"#
            );
            let part = "field manifests[0].digest";
            self.refuse(&memory, self.index, &text, Code::BadDigest, part);
            let (memory, text) = self.of_config(config.replace("DIGEST", &digest).as_bytes());
            let part = "rootfs.diff_ids[0]";
            self.refuse(&memory, self.manifest, &text, Code::BadDigest, part);
        }
        for digest in ["sha256+b64u:abc", "blake3:ab", "md5:00", "sha1:00"] {
            let layer = format!(
                r#""layers":[{{"mediaType":"{}","digest":"{digest}","size":1}},"#,
                self.layer
            );
            let part = "field layers[0].digest";
            self.refuse_edit("\"layers\":[", &layer, Code::Unsupported, part);
        }
    }

    /// C4a, C4b: sizes are whole numbers within bounds, and equal those of the blobs.
    pub fn c4_sizes(&self) {
        let size = |size: &str, code, part| {
            self.refuse_edit("\"size\":7", &format!("\"size\":{size}"), code, part);
        };
        for bad in [
            "-1",
            "9223372036854775808",
            "18446744073709551616",
            "1.0",
            "1e3",
            "\"1\"",
            "null",
            "true",
        ] {
            size(bad, Code::BadManifest, "field layers[0].size");
        }
        self.refuse_edit(",\"size\":7", "", Code::BadManifest, "field layers[0].size");
        for large in ["9007199254740993", "9223372036854775807"] {
            size(large, Code::Limit, "layers[0].size");
        }
        size("8", Code::Mismatch, "layer 0");
    }

    /// C9a, C9b, C9d: no member may occur twice, nothing may follow the document, and its depth is
    /// bounded.
    pub fn c9_strict_json(&self) {
        let part = "\"layers\" occurs twice";
        self.refuse_edit("{", "{\"layers\":[],", Code::BadJson, part);
        let (memory, text) = self.edited("{", "{");
        let part = format!("line 1, column {}", text.len() + 1);
        let twice = format!("{text}{{}}");
        self.refuse(&memory, self.manifest, &twice, Code::BadJson, &part);
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(64), "]".repeat(64));
        self.refuse(&memory, self.manifest, &deep, Code::Limit, "json_depth");
        let (memory, text) = self.of_config(br#"{"config":{"Labels":{"a":"","a":""}}}"#);
        let part = "config › line 1, column 29";
        self.refuse(&memory, self.manifest, &text, Code::BadJson, part);
    }

    /// C10: a member whose name differs from a known one only in case is refused.
    pub fn c10_misspelt_fields(&self) {
        self.refuse_edit("\"layers\"", "\"LAYERS\"", Code::BadJson, "\"LAYERS\"");
        let part = "non-canonical field name";
        self.refuse_edit("schemaVersion", "\u{17f}chemaVersion", Code::BadJson, part);
        self.refuse_edit("\"size\":7", "\"Size\":7", Code::BadJson, "field layers[0]");
    }

    /// C12k, C13a: layers that do not fit the config, and more or larger documents than the limits.
    pub fn c12k_c13a_layers_that_do_not_fit(&self) {
        let layer = format!(
            r#"{{"mediaType":"{}","size":1,"digest":"{ID_B}"}}"#,
            self.layer
        );
        let more = |n: usize| format!("\"layers\":[{},", vec![layer.clone(); n].join(","));
        let part = "the config has 1 diff IDs, but the manifest has 2 layers";
        self.refuse_edit("\"layers\":[", &more(1), Code::BadManifest, part);
        let part = "the list of 1025 layers exceeds the limit `layers` of 1024";
        self.refuse_edit("\"layers\":[", &more(1024), Code::Limit, part);
        let spaces = format!("{{{}", " ".repeat(4 << 20));
        self.refuse_edit("{", &spaces, Code::Limit, "`manifest`");
        let (memory, text) = self.of_config(&vec![b' '; (4 << 20) + 1]);
        let part = "the config of 4194305 bytes exceeds the limit `config`";
        self.refuse(&memory, self.manifest, &text, Code::Limit, part);
        let (memory, text) = self.of_config(br#"{"rootfs":{"type":"x","diff_ids":[]}}"#);
        let part = "expected \"layers\"";
        self.refuse(&memory, self.manifest, &text, Code::BadManifest, part);
    }

    /// A manifest has a version, a config, and layers with types.
    pub fn the_head_is_checked(&self) {
        for version in ["1", "3", "\"2\"", "2.0", "null"] {
            let version = format!("\"schemaVersion\":{version}");
            let part = "schemaVersion";
            self.refuse_edit("\"schemaVersion\":2", &version, Code::BadManifest, part);
        }
        let layer = format!("\"mediaType\":\"{}\",", self.layer);
        let part = "field layers[0]: the descriptor has no mediaType";
        self.refuse_edit(&layer, "", Code::BadManifest, part);
        let memory = Memory::default();
        for (text, part) in [
            (r#"{"schemaVersion":2}"#, "field config: is required"),
            ("[]", "expected an object"),
        ] {
            self.refuse(&memory, self.manifest, text, Code::BadManifest, part);
        }
    }

    /// A reference to a missing blob or config is an error with the place of the reference.
    pub fn documents_that_are_missing(&self) {
        let (mut memory, text) = self.edited("{", "{");
        memory.forget(b"layer a");
        self.refuse(&memory, self.manifest, &text, Code::Missing, "layer 0");
        let memory = Memory::default();
        let part = "config, which the manifest refers to";
        self.refuse(&memory, self.manifest, &text, Code::Missing, part);
    }

    /// A copy of an image keeps every byte of its manifest and its config, and loses nothing.
    pub fn a_copy_keeps_every_byte(&self, fixtures: &[fn(&mut Memory) -> String]) {
        for fixture in fixtures {
            let mut memory = Memory::default();
            let manifest = fixture(&mut memory);
            let (image, report) = self.image(&memory, &manifest);
            assert_eq!(report, Report::default());
            let (config, root, report) = self.copy(&image);
            assert_eq!((text(&root), &*root.kind), (&*manifest, self.manifest));
            assert_eq!(config.kind, self.config);
            assert_eq!(config.bytes, image.originals[1].document.bytes);
            assert_eq!(report, Report::default());
        }
    }

    /// Every member of a manifest is strict.
    pub fn manifest_is_strict(&self) {
        let mut memory = Memory::default();
        let minimal = self.minimal(&mut memory);
        let mut manifest: Value = serde_json::from_str(&minimal).unwrap();
        manifest["mediaType"] = json!(self.manifest);
        let read = |text: &str| shown(self.decode(&memory, self.manifest, text));
        let document = StrictJson {
            text: &manifest.to_string(),
            read: &read,
            free: &[],
            dropped: &[],
        };
        document.is_strict();
    }

    /// Every member of an index is strict. Version and features of a system are kept as they are,
    /// and so is the index itself.
    pub fn index_is_strict(&self) {
        let index = json!({
            "schemaVersion": 2, "mediaType": self.index,
            "manifests": [{
                "mediaType": self.manifest, "digest": ID_A, "size": 1,
                "platform": {
                    "architecture": "arm", "os": "linux", "variant": "v7", "os.version": "1",
                    "os.features": ["a"],
                },
            }],
        });
        let memory = Memory::default();
        let document = StrictJson {
            text: &index.to_string(),
            read: &|text| shown(self.decode(&memory, self.index, text)),
            free: &[],
            dropped: &[""],
        };
        document.is_strict();
    }

    /// Every member of a config is strict.
    pub fn config_is_strict(&self) {
        let config = json!({
            "created": "2020-01-01T00:00:00Z", "author": "a", "architecture": "arm", "variant": "v7",
            "os": "linux", "os.version": "1", "os.features": ["a"],
            "config": {
                "User": "u", "ExposedPorts": { "80/tcp": {} }, "Env": ["A=1"], "Entrypoint": ["/a"],
                "Cmd": ["b"], "Volumes": { "/v": {} }, "WorkingDir": "/w", "Labels": { "l": "1" },
                "StopSignal": "SIGTERM",
            },
            "rootfs": { "type": "layers", "diff_ids": [] },
            "history": [{
                "created": "2020-01-01T00:00:00Z", "created_by": "c", "author": "a", "comment": "d",
                "empty_layer": true,
            }],
        });
        let read = |text: &str| {
            let (memory, manifest) = self.of_config(text.as_bytes());
            shown(self.decode(&memory, self.manifest, &manifest))
        };
        let document = StrictJson {
            text: &config.to_string(),
            read: &read,
            free: &["config.ExposedPorts", "config.Volumes", "config.Labels"],
            dropped: &[],
        };
        document.is_strict();
    }

    /// No damage of a manifest ends in a panic.
    pub fn no_damage_is_fatal(&self) {
        let (memory, text) = self.edited("{", "{");
        super::hostile(text.as_bytes(), |bytes| {
            decode(self.format, &memory, &root(self.manifest, bytes), &env())
        });
    }
}
