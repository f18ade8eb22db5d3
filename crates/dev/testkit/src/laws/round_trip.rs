//! Images of every kind are written, read again, and are what they were.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use imgconv_model::{BundleSink, Name, Names, Publication, Result, RootEntry, Transport};
use serde_json::{Value, json};

use super::place::{Readable, contents};
use super::transport::{tree, try_put};
use crate::build::{CONFIG, INDEX, LAYER, MANIFEST};
use crate::sha256_hex;

/// The media type of the root of an image in a file of `docker save`, as the model names it.
const ARCHIVE_IMAGE: &str = "application/vnd.imgconv.docker-archive.image.v1+json";

/// Images that are written together: their blobs, and the roots that are published.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// What the images are, for messages and for [`Writes::refused`].
    pub what: &'static str,
    /// All blobs and documents.
    pub blobs: Vec<Vec<u8>>,
    /// The roots, with their names.
    pub roots: Vec<(Publication, Vec<u8>)>,
}

/// What happens to a place that exists when images are written there again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The place keeps its images beside the new ones.
    Added,
    /// The new images take the place of the old ones.
    Replaced,
    /// The second write is refused, and nothing changes.
    Refused,
}

/// A kind of place that is written, under the law of the round trip.
#[derive(Clone, Copy, Debug)]
pub struct Writes {
    /// The images that are written, each in a place of its own.
    pub images: fn() -> Vec<Images>,
    /// The images that such a place can't hold.
    pub refused: &'static [&'static str],
    /// The treatment of a second write.
    pub again: Again,
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    let digest = format!("sha256:{}", sha256_hex(bytes));
    json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
}

impl Images {
    fn of(what: &'static str) -> Self {
        Self {
            what,
            ..Self::default()
        }
    }

    fn blob(&mut self, kind: &str, bytes: Vec<u8>) -> Value {
        let descriptor = descriptor(kind, &bytes);
        self.blobs.push(bytes);
        descriptor
    }

    /// Adds an image of layers, with more members of its manifest; returns its descriptor.
    fn image(&mut self, layers: &[&str], more: &Value) -> Value {
        let ids = layers
            .iter()
            .map(|text| descriptor("", text.as_bytes())["digest"].clone());
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": ids.collect::<Vec<_>>() },
        });
        let config = self.blob(CONFIG, config.to_string().into_bytes());
        let layers: Vec<Value> = layers
            .iter()
            .map(|text| self.blob(LAYER, (*text).into()))
            .collect();
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        if let (Some(manifest), Some(more)) = (manifest.as_object_mut(), more.as_object()) {
            manifest.extend(more.clone());
        }
        self.blob(MANIFEST, manifest.to_string().into_bytes())
    }

    /// Publishes a document, the last blob, under names.
    fn publish(mut self, kind: &str, names: &[&str]) -> Self {
        let bytes = self.blobs.last().unwrap().clone();
        for name in names {
            let mut publication = super::transport::publication(kind, &bytes);
            if !name.is_empty() {
                publication.name = Some(Name::parse_reference(name).unwrap());
            }
            self.roots.push((publication, bytes.clone()));
        }
        self
    }

    /// Returns images of OCI documents of every kind.
    pub fn documents() -> Vec<Self> {
        let none = json!({});
        let mut all = Vec::new();
        for (what, layers) in [
            ("one layer", &["a"][..]),
            ("many layers", &["a", "b", "c", "d"]),
            ("no layer", &[]),
            ("a layer twice", &["a", "a"]),
        ] {
            let mut images = Self::of(what);
            images.image(layers, &none);
            all.push(images.publish(MANIFEST, &["example.com/x:t"]));
        }
        let mut shared = Self::of("shared layers");
        shared.image(&["base", "a"], &none);
        shared = shared.publish(MANIFEST, &["example.com/x:a"]);
        shared.image(&["base", "b"], &none);
        all.push(shared.publish(MANIFEST, &["example.com/x:b"]));
        let mut index = Self::of("an index");
        let children: Vec<Value> = ["amd64", "arm64"]
            .iter()
            .map(|arch| {
                let mut child = index.image(&[arch], &none);
                child["platform"] = json!({ "architecture": arch, "os": "linux" });
                child["annotations"] = json!({ "of": arch });
                child
            })
            .collect();
        let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children });
        index.blob(INDEX, list.to_string().into_bytes());
        all.push(index.publish(INDEX, &["example.com/x:t"]));
        let mut artifact = Self::of("an artifact");
        artifact.image(
            &[],
            &json!({ "artifactType": "application/x", "annotations": { "a": "é" } }),
        );
        all.push(artifact.publish(MANIFEST, &["example.com/x:t"]));
        let mut referrer = Self::of("a referrer");
        let subject = referrer.image(&["a"], &none);
        referrer = referrer.publish(MANIFEST, &["example.com/x:t"]);
        referrer.image(
            &[],
            &json!({ "artifactType": "application/x", "subject": subject }),
        );
        all.push(referrer.publish(MANIFEST, &[""]));
        let mut names = Self::of("many names");
        names.image(&["a"], &none);
        all.push(names.publish(
            MANIFEST,
            &["example.com/x:a", "example.com/x:b", "example.com/x:c"],
        ));
        let mut unnamed = Self::of("no name");
        unnamed.image(&["a"], &none);
        all.push(unnamed.publish(MANIFEST, &[""]));
        let mut noted = Self::of("annotations of an entry");
        noted.image(&["a"], &none);
        noted = noted.publish(MANIFEST, &["example.com/x:t"]);
        let annotations = &mut noted.roots[0].0.root.annotations;
        annotations.insert("org.example.note".into(), "é \u{1f600} \"".into());
        all.push(noted);
        all
    }

    /// Returns images as the roots of a file of `docker save`.
    pub fn archived() -> Vec<Self> {
        let archived = |images: &mut Self, layers: &[&str], names: &[&str]| {
            images.image(layers, &json!({}));
            images.blobs.pop();
            let at = images.blobs.len() - layers.len() - 1;
            let path = |bytes: &[u8]| format!("blobs/sha256/{}", sha256_hex(bytes));
            let paths: Vec<String> = layers.iter().map(|text| path(text.as_bytes())).collect();
            let document = json!({
                "Config": path(&images.blobs[at]), "RepoTags": null, "Layers": paths,
            });
            images.blob(ARCHIVE_IMAGE, document.to_string().into_bytes());
            *images = std::mem::take(images).publish(ARCHIVE_IMAGE, names);
        };
        let mut all = Vec::new();
        for (what, layers, names) in [
            ("one layer", &["a"][..], &["example.com/x:t"][..]),
            ("many layers", &["a", "b", "c", "d"], &["example.com/x:t"]),
            ("no layer", &[], &["example.com/x:t"]),
            ("a layer twice", &["a", "a"], &["example.com/x:t"]),
            (
                "many names",
                &["a"],
                &["example.com/x:a", "example.com/x:b"],
            ),
            ("no name", &["a"], &[""]),
        ] {
            let mut images = Self::of(what);
            archived(&mut images, layers, names);
            all.push(images);
        }
        let mut shared = Self::of("shared layers");
        archived(&mut shared, &["base", "a"], &["example.com/x:a"]);
        archived(&mut shared, &["base", "b"], &["example.com/x:b"]);
        all.push(shared);
        all
    }

    /// Returns images that are single streams.
    pub fn streams() -> Vec<Self> {
        let stream = |what, bytes: Vec<u8>| {
            let mut images = Self::of(what);
            images.blobs.push(bytes);
            images.publish("application/x", &[""])
        };
        let mut two = stream("two images", b"a".to_vec());
        two.blobs.push(b"b".to_vec());
        vec![
            stream("a small stream", b"image".to_vec()),
            stream("a stream of a mebibyte", vec![7; 1 << 20]),
            two.publish("application/x", &[""]),
        ]
    }

    fn write(&self, sink: Box<dyn BundleSink>) -> Result<Vec<Publication>> {
        for bytes in &self.blobs {
            try_put(&*sink, bytes)?;
        }
        let roots = self
            .roots
            .iter()
            .map(|(publication, _)| publication.clone());
        let mut publications: Vec<Publication> = roots.collect();
        let places = sink.finish(&mut publications)?;
        assert_eq!(
            places.len(),
            publications.len(),
            "a place for each publication"
        );
        Ok(publications)
    }
}

impl Writes {
    /// Checks the law for a kind of local place, in a folder of its own for each write.
    ///
    /// # Panics
    /// If the law is broken.
    pub fn hold_at(&self, transport: &'static dyn Transport, name: &str) {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..=(self.images)().len())
            .map(|i| folder.path().join(format!("{i}/{name}")))
            .collect();
        for path in &paths {
            fs::create_dir(path.parent().unwrap()).unwrap();
        }
        Readable::holds_every_kind(self, |i| Readable::at(transport, &paths[i]));
    }
}

impl Readable<'_> {
    /// Writes images of every kind, reads them again, writes others into the same place, and
    /// writes some that are not complete. `place` returns the law of a place that is not there yet.
    ///
    /// # Panics
    /// If the law is broken.
    pub fn holds_every_kind<'a>(writes: &Writes, place: impl Fn(usize) -> Readable<'a>) {
        let all = (writes.images)();
        for (i, images) in all.iter().enumerate() {
            let place = place(i);
            let (what, sink) = (images.what, place.transport.create(&place.rest, &place.env));
            let written = sink.and_then(|sink| images.write(sink));
            if writes.refused.contains(&what) {
                let error = written.expect_err(what);
                assert!(!error.message().is_empty());
                place.is_absent(what);
                continue;
            }
            let publications = written.unwrap_or_else(|error| panic!("{what}: {error}"));
            place.has(&[(images, &publications)]);
            if i == 0 {
                place.is_written_again(writes.again, images, &publications, &all[1]);
            }
        }
        place(all.len()).is_refused_without_its_root(&all[0]);
    }

    fn is_absent(&self, what: &str) {
        match self.path {
            Some(path) => {
                let folder = path.parent().unwrap();
                let left = fs::read_dir(folder).unwrap().count();
                assert_eq!(left, 0, "{what}: a refused write has left something");
            }
            None => {
                let found = self.transport.open(&self.rest, &self.env);
                let found = found.and_then(|bundle| bundle.listing());
                let found = found.unwrap_or_default();
                assert!(found.is_empty(), "{what}: a refused write is visible");
            }
        }
    }

    /// Checks that the place has these images, with every byte and every name, and no others.
    fn has(&self, all: &[(&Images, &[Publication])]) {
        let bundle = self.transport.open(&self.rest, &self.env).unwrap();
        let mut entries = bundle.listing().unwrap();
        for entry in &mut entries {
            *entry = bundle.resolve(entry).unwrap();
        }
        let publications = || all.iter().flat_map(|(_, publications)| publications.iter());
        let what: Vec<_> = all.iter().map(|(images, _)| images.what).collect();
        let mut wanted = BTreeSet::new();
        let mut found = BTreeSet::new();
        for publication in publications() {
            let root = &publication.root;
            let of_root = |entry: &&RootEntry| match &entry.child {
                Some(child) => child.digest == root.digest,
                None => true,
            };
            let Some(entry) = entries.iter().find(of_root) else {
                // A server lists tags only, and finds the others by digest.
                let named = self.transport.place().names() == Some(Names::Location);
                assert!(named, "{what:?}: {} is gone", root.digest);
                let rest = format!("{}@{}", self.rest, root.digest);
                let bundle = self.transport.open(&rest, &self.env).unwrap();
                let entry = &bundle.roots().unwrap()[0];
                found.extend(contents(&*bundle, entry).unwrap());
                continue;
            };
            if self.transport.place().has_descriptors() {
                let child = entry.child.as_ref().unwrap();
                for (key, value) in &root.annotations {
                    assert_eq!(child.annotations.get(key), Some(value), "{what:?}");
                }
            }
            found.extend(contents(&*bundle, entry).unwrap());
        }
        for (images, _) in all {
            wanted.extend(images.blobs.iter().cloned());
        }
        // The place may write the roots itself.
        let roots = || all.iter().flat_map(|(images, _)| &images.roots);
        for (_, bytes) in roots() {
            if !found.contains(bytes) && bundle.extras().members.is_some() {
                wanted.remove(bytes);
            }
        }
        assert_eq!(found, wanted, "{what:?}");
        let named = self.transport.place().names();
        if matches!(named, Some(Names::Tags | Names::Repositories)) {
            let full = |name: &Name| name.qualified().to_string();
            let wanted: BTreeSet<_> = publications()
                .filter_map(|p| p.name.as_ref().map(full))
                .collect();
            let found: BTreeSet<_> = entries
                .iter()
                .filter_map(|e| e.name.as_ref().map(full))
                .collect();
            assert_eq!(found, wanted, "{what:?}");
        }
    }

    fn is_written_again(
        &self,
        again: Again,
        first: &Images,
        published: &[Publication],
        second: &Images,
    ) {
        let before = self.path.map(tree);
        let mut second = second.clone();
        for (publication, _) in &mut second.roots {
            if let Some(name) = &mut publication.name {
                name.tag = Some("second".to_owned());
            }
        }
        let sink = self.transport.create(&self.rest, &self.env);
        let written = sink.and_then(|sink| second.write(sink));
        match (again, written) {
            (Again::Refused, Err(_)) => assert_eq!(self.path.map(tree), before),
            (Again::Added, Ok(more)) => self.has(&[(first, published), (&second, &more)]),
            (Again::Replaced, Ok(more)) => self.has(&[(&second, &more)]),
            (_, found) => panic!("a second write: expected {again:?}, found {found:?}"),
        }
    }

    /// An image whose root was never written is refused, and nothing is there.
    fn is_refused_without_its_root(&self, images: &Images) {
        let mut images = images.clone();
        let (_, root) = &images.roots[0];
        images.blobs.retain(|bytes| bytes != root);
        let sink = self.transport.create(&self.rest, &self.env).unwrap();
        let error = images.write(sink).expect_err("the root was never written");
        assert!(!error.message().is_empty());
        self.is_absent("an image without its root");
    }
}
