//! Images as tools write them, and that copying them changes no byte.

use imgconv_format_oci::OCI;
use imgconv_model::{Artifact, DocumentFormat};

use crate::bundle::{CONFIG, DOCUMENTS, ID_A, ID_B, INDEX, MANIFEST, Memory, TAR_GZIP, decode};

/// The least there is.
pub(crate) fn minimal(memory: &mut Memory) -> String {
    DOCUMENTS.minimal(memory)
}

/// The minimal image with one edit of its manifest.
pub(crate) fn edited(from: &str, to: &str) -> (Memory, String) {
    DOCUMENTS.edited(from, to)
}

/// Two layers, Docker's fields, unknown keys everywhere, white space, odd order and escapes.
pub(crate) fn dockerish(memory: &mut Memory) -> String {
    let config = memory.put(
        format!(
            r#"{{
  "id": "x", "docker_version": "1.12.0", "created": "2016-01-02T03:04:05.678901234Z",
  "author": "A \u003ca@b\u003e", "architecture": "arm64", "variant": "v8", "os": "linux",
  "os.version": "", "container_config": {{"Cmd": ["x"], "Memory": 0}},
  "config": {{
    "Hostname": "0a1b", "User": "www-data", "ExposedPorts": {{"80": {{}}, "8443/TCP": {{}}, "no/port": {{}}}},
    "Env": ["PATH=/bin"], "Entrypoint": "/init", "Cmd": null, "Volumes": {{"/data": {{}}}},
    "WorkingDir": "/w", "Labels": {{"z": "1", "a": "2"}}, "StopSignal": "SIGTERM",
    "Healthcheck": {{"Test": ["CMD-SHELL", "true"], "Interval": 30000000000}},
    "Shell": ["/bin/bash", "-c"], "OnBuild": [], "Unknown": {{"x": 1.50}}
  }},
  "rootfs": {{"type": "layers", "diff_ids": ["{ID_A}", "{ID_B}"], "base_layer": "z"}},
  "history": [
    {{"created": "2016-01-02T03:04:05Z", "created_by": "ADD <x>"}},
    {{"created": "0001-01-01T00:00:00Z", "created_by": "ENV", "empty_layer": true, "more": 1}},
    {{"comment": "c"}}
  ],
  "moby.buildkit.buildinfo.v1": "e30="
}}
"#
        )
        .as_bytes(),
    );
    let (a, b) = (memory.put(b"layer a"), memory.put(b"layer b"));
    format!(
        r#"{{
   "schemaVersion": 2, "layers": [
      {{"size": 7, "mediaType": "{TAR_GZIP}", {a_digest}, "x": [1]}},
      {{"mediaType": "{TAR_GZIP}", {b}, "annotations": {{"k": "v"}}, "data": "bGF5ZXIgYg=="}}
   ],
   "mediaType": "{MANIFEST}",
   "config": {{"mediaType": "{CONFIG}", {config}, "annotations": {{"c": "d"}}}},
   "annotations": {{"org.opencontainers.image.url": "u", "b": "\u003c", "a": "/"}},
   "vendor": {{"deep": [1, {{"er": null}}]}}
}}
"#,
        a_digest = a.split(",\"size\"").next().unwrap(),
    )
}

/// A manifest that is about another document, and has a type, but is still an image.
pub(crate) fn with_subject(memory: &mut Memory) -> String {
    let text = minimal(memory);
    let more = format!(
        r#""artifactType":"application/x","subject":{{"mediaType":"{MANIFEST}","digest":"{ID_B}","size":5}},"annotations":{{}},"layers""#
    );
    text.replace("\"layers\"", &more)
}

#[test]
fn a_copy_of_an_image_keeps_every_byte() {
    DOCUMENTS.a_copy_keeps_every_byte(&[minimal, dockerish, with_subject]);
}

#[test]
fn a_copy_of_a_nested_index_keeps_every_byte() {
    let mut memory = Memory::default();
    let manifest = minimal(&mut memory);
    let child = memory.put(manifest.as_bytes());
    let mut text = format!(
        r#"{{ "manifests":[{{"mediaType":"{MANIFEST}",{child},"platform":{{"os":"linux","architecture":"arm","variant":"v7","os.features":["x"]}},"new":1}}],"schemaVersion":2 }}"#
    );
    for _ in 0..3 {
        let (artifact, _) = decode(&memory, INDEX, &text).unwrap();
        let Artifact::Index(index) = artifact else {
            panic!("{artifact:?}")
        };
        let again = OCI.encode_index(&index.children, Some(&index)).unwrap();
        assert_eq!(&*again.bytes, text.as_bytes());
        assert_eq!(again.kind, INDEX);
        let child = memory.put(text.as_bytes());
        text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{INDEX}",{child},"annotations":{{"org.opencontainers.image.ref.name":"ignored"}}}}],"annotations":{{"a":"b"}}}}"#
        );
    }
}
