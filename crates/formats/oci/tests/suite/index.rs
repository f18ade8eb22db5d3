//! Indexes over documents that were published.

use imgconv_format_oci::OCI;
use imgconv_model::{Artifact, Child, Digest, DocumentFormat, Index, Platform};

use crate::bundle::{ID_A, ID_B, INDEX, MANIFEST, Memory, decode};

fn child(digest: &str, platform: &str) -> Child {
    Child {
        kind: MANIFEST.into(),
        digest: Digest::parse(digest).unwrap(),
        size: 5,
        platform: Some(Platform::parse(platform).unwrap()),
        annotations: Default::default(),
        raw: String::new(),
    }
}

fn written(children: &[Child], original: Option<&Index>) -> String {
    let document = OCI.encode_index(children, original).unwrap();
    assert_eq!(document.kind, INDEX);
    String::from_utf8(document.bytes.to_vec()).unwrap()
}

#[test]
fn a_new_index() {
    let mut second = child(ID_B, "linux/arm/v7");
    second.annotations.insert("a".into(), "b".into());
    assert_eq!(
        written(&[child(ID_A, "linux/amd64"), second], None),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{MANIFEST}","digest":"{ID_A}","size":5,"platform":{{"architecture":"amd64","os":"linux"}}}},{{"mediaType":"{MANIFEST}","digest":"{ID_B}","size":5,"platform":{{"architecture":"arm","os":"linux","variant":"v7"}},"annotations":{{"a":"b"}}}}]}}"#
        )
    );
}

#[test]
fn a_changed_index_keeps_what_did_not_change() {
    let text = format!(
        r#"{{"annotations":{{"z":"1"}},"schemaVersion":2,"manifests":[{{"mediaType":"{MANIFEST}","digest":"{ID_A}","size":2,"data":"e30=","new":{{"x":1}},"platform":{{"os":"windows","architecture":"amd64","os.version":"10"}}}}],"vendor":[1]}}"#
    )
    .replace(ID_A, "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    let (artifact, _) = decode(&Memory::default(), INDEX, &text).unwrap();
    let Artifact::Index(index) = artifact else {
        panic!("{artifact:?}")
    };
    let mut children = index.children.clone();
    children[0].digest = Digest::parse(ID_B).unwrap();
    assert_eq!(
        written(&children, Some(&index)),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{MANIFEST}","digest":"{ID_B}","size":2,"new":{{"x":1}},"platform":{{"architecture":"amd64","os":"windows","os.version":"10"}}}}],"annotations":{{"z":"1"}},"vendor":[1]}}"#
        )
    );
    // One child less is another index too; the one that stays keeps its data.
    children[0] = index.children[0].clone();
    children.push(child(ID_B, "linux/amd64"));
    assert!(written(&children, Some(&index)).contains("\"data\":\"e30=\""));
}
