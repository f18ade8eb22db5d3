//! The entry points that an `index.json` lists, and what is odd about the list.

use std::collections::BTreeMap;

use imgconv_model::{Code, Error, Result, RootEntry};
use serde_json::{Map, Value};

use super::index::{INDEX_FILE, Index, Listed};

impl Index {
    /// Lists the entry points at their positions in the index. The same image under the same name
    /// is listed once (robustness C8c).
    ///
    /// # Errors
    /// [`Code::Ambiguous`] if two different images have exactly the same name texts, and nothing
    /// else (such as two different platforms) tells them apart (robustness C8a).
    pub fn roots(&self) -> Result<Vec<RootEntry>> {
        let (roots, errors) = self.all_roots();
        errors.into_iter().next().map_or(Ok(roots), Err)
    }

    /// Lists the entry points in the same way, with every error that [`Index::roots`] could be.
    pub fn all_roots(&self) -> (Vec<RootEntry>, Vec<Error>) {
        let mut seen: BTreeMap<(Option<&str>, Option<&str>), Vec<usize>> = BTreeMap::new();
        let (mut roots, mut errors) = (Vec::with_capacity(self.listed.len()), Vec::new());
        for (position, Listed { child, names }) in self.listed.iter().enumerate() {
            let key = (names.reference.as_deref(), names.containerd.as_deref());
            let same = seen.entry(key).or_default();
            let mut repeated = false;
            for &other in same.iter() {
                let found = &self.listed[other].child;
                if found.digest == child.digest {
                    repeated = true;
                } else if key != (None, None)
                    && (found.platform.is_none()
                        || child.platform.is_none()
                        || found.platform == child.platform)
                {
                    let message = format!(
                        "two images have the name {}: #{other} {} and #{position} {}",
                        names.show(),
                        found.digest,
                        child.digest
                    );
                    let error = Error::new(Code::Ambiguous, message);
                    errors.push(error.at(format!("file {INDEX_FILE}")));
                }
            }
            if !repeated {
                same.push(position);
                roots.push(self.entry(position));
            }
        }
        (roots, errors)
    }

    /// Lists every descriptor, also of images that are listed again under the same name.
    pub fn entries(&self) -> Vec<RootEntry> {
        (0..self.listed.len()).map(|at| self.entry(at)).collect()
    }

    fn entry(&self, position: usize) -> RootEntry {
        let Listed { child, names } = &self.listed[position];
        RootEntry {
            position,
            name: names.name.clone(),
            texts: names.texts(),
            child: Some(child.clone()),
        }
    }

    /// Names what the index says of an image otherwise where it lists it again under the same name,
    /// such as `manifests[3].annotations.KEY`: the entry at `position` counts.
    pub fn said_again(&self, position: usize) -> Vec<String> {
        let mut found = Vec::new();
        let Some(first) = self.listed.get(position) else {
            return found;
        };
        for (i, other) in self.listed.iter().enumerate().skip(position + 1) {
            let texts = |one: &Listed| (one.names.reference.clone(), one.names.containerd.clone());
            if other.child.digest == first.child.digest && texts(other) == texts(first) {
                let (first, other) = (members(&first.child.raw), members(&other.child.raw));
                let differs = other
                    .iter()
                    .filter(|(key, value)| first.get(*key) != Some(value));
                found.extend(differs.map(|(key, _)| format!("manifests[{i}].{key}")));
            }
        }
        found
    }
}

/// The properties of a descriptor, those of its annotations apart.
fn members(raw: &str) -> Map<String, Value> {
    let mut all = Map::new();
    // It was read, or made, as an object.
    if let Ok(Value::Object(object)) = serde_json::from_str(raw) {
        for (key, value) in object {
            match value {
                Value::Object(annotations) if key == "annotations" => {
                    let own = annotations.into_iter();
                    all.extend(own.map(|(name, text)| (format!("annotations.{name}"), text)));
                }
                value => drop(all.insert(key, value)),
            }
        }
    }
    all
}
