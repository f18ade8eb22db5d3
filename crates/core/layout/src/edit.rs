//! Changes of an `index.json` that remove or move names. Descriptors that do not change keep their
//! text.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_model::{Digest, Limits, Publication, Result};

use crate::{
    index::{Index, Item, Listed, describe},
    naming::Names,
};

/// The effect of a new name on the image that had the name before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The names that the image's descriptor lost.
    pub names: Vec<String>,
    /// The image.
    pub digest: Digest,
    /// True if the image has no other descriptor and no other name; then this descriptor stays, without a name.
    pub kept: bool,
}

impl Index {
    /// Removes items by their positions.
    pub fn remove(&mut self, positions: &BTreeSet<usize>) {
        let mut position = 0;
        self.items.retain(|_| {
            position += 1;
            !positions.contains(&(position - 1))
        });
    }

    /// Gives an image a name: its descriptor replaces the descriptor that had the name, else it
    /// goes to the end. An image that had the name loses it; its descriptor stays if it has another
    /// name, and so does the image's last descriptor, without a name. An image that has the text of the
    /// new name beside a full name keeps both.
    ///
    /// # Errors
    /// [`Code::BadJson`](imgconv_model::Code::BadJson) if a descriptor's own text is malformed, and
    /// the error of an unreadable item that has the name.
    pub fn give(&mut self, new: Listed, limits: &Limits) -> Result<Vec<Moved>> {
        let mut moved = Vec::new();
        let (mut place, mut there) = (None, false);
        let mut left: BTreeMap<Digest, usize> = BTreeMap::new();
        for item in &self.items {
            if let Some(digest) = item.digest() {
                *left.entry(digest).or_default() += 1;
            }
            if item.names().same(&new.names) {
                item.read()?;
            }
        }
        for item in std::mem::take(&mut self.items) {
            let same = match &item {
                Item::Listed(one) if one.names.same(&new.names) => one,
                _ => {
                    self.items.push(item);
                    continue;
                }
            };
            let digest = same.child.digest;
            let rest = same.names.after(&new.names);
            let is_new = digest != new.child.digest;
            if !rest.is_empty() && !is_new {
                there = true;
                self.items.push(item);
                continue;
            }
            let count = left.entry(digest).or_default();
            *count -= usize::from(rest.is_empty());
            let kept = is_new && *count == 0;
            if is_new {
                let names = same.names.lost(&rest);
                moved.push(Moved {
                    names,
                    digest,
                    kept,
                });
            }
            if kept || !rest.is_empty() {
                self.items.push(Item::Listed(renamed(same, &rest, limits)?));
            } else {
                place.get_or_insert(self.items.len());
            }
        }
        if !there {
            let place = place.unwrap_or(self.items.len());
            self.items.insert(place, Item::Listed(new));
        }
        Ok(moved)
    }
}

/// The same descriptor with other names.
pub(crate) fn renamed(listed: &Listed, names: &Names, limits: &Limits) -> Result<Listed> {
    describe(&Publication::of(listed.child.clone()), names, limits)
}

#[cfg(test)]
mod tests {
    use imgconv_model::Name;

    use super::*;
    use crate::RefName;

    fn descriptor(digit: char, name: &str) -> String {
        let annotations = match name {
            "" => String::new(),
            name => format!(
                r#","annotations":{{"k":"v","org.opencontainers.image.ref.name":"{name}"}}"#
            ),
        };
        let hex = digit.to_string().repeat(64);
        format!(r#"{{ "mediaType":"a/b","digest":"sha256:{hex}", "size":1{annotations}}}"#)
    }

    fn index(list: &[String]) -> Index {
        let text = format!(
            r#"{{"schemaVersion":2,"x":[1.0],"manifests":[{}]}}"#,
            list.join(",")
        );
        Index::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    fn give(index: &mut Index, from: usize, name: &str) -> Vec<Moved> {
        let publication = Publication {
            root: index.items[from].read().unwrap().child.clone(),
            name: Some(Name::parse_reference(name).unwrap()),
            reference: None,
            file_name: None,
        };
        let names = Names::write(&publication, RefName::Full, &mut Default::default()).unwrap();
        let new = describe(&publication, &names, &Limits::default()).unwrap();
        index.give(new, &Limits::default()).unwrap()
    }

    fn shown(index: &Index) -> Vec<String> {
        let show = |one: &Item| {
            let digest = one.digest().unwrap().hex();
            format!("{} {}", &digest[..1], one.names().texts().join(" "))
        };
        index.items.iter().map(show).collect()
    }

    #[test]
    fn a_name_moves_and_no_image_gets_lost() {
        let [a, b, c] = [
            descriptor('a', "x.io/a:1"),
            descriptor('b', "x.io/b:1"),
            descriptor('b', "x.io/b:2"),
        ];
        let mut list = index(&[a.clone(), b.clone(), c.clone()]);
        // Another name of `a`: no other byte changes.
        assert_eq!(give(&mut list, 0, "x.io/a:2"), []);
        assert_eq!(
            shown(&list),
            ["a x.io/a:1", "b x.io/b:1", "b x.io/b:2", "a x.io/a:2"]
        );
        let text = String::from_utf8(list.render()).unwrap();
        assert!(text.starts_with(&format!(
            r#"{{"schemaVersion":2,"x":[1.0],"manifests":[{a},{b},{c},"#
        )));
        // One of the two names of `b`: the new descriptor takes its place.
        let moved = give(&mut list, 0, "x.io/b:1");
        assert_eq!(moved[0].names, ["x.io/b:1"]);
        assert!(!moved[0].kept);
        assert_eq!(
            shown(&list),
            ["a x.io/a:1", "a x.io/b:1", "b x.io/b:2", "a x.io/a:2"]
        );
        // The last name of `b`: the descriptor stays without a name, and keeps its other
        // properties.
        assert!(give(&mut list, 0, "x.io/b:2")[0].kept);
        assert_eq!(shown(&list)[2], "b ");
        assert_eq!(list.items[2].child().unwrap().annotations["k"], "v");
        assert_eq!(shown(&list)[4], "a x.io/b:2");
        // The image has this name already.
        let before = shown(&list);
        assert_eq!(give(&mut list, 0, "x.io/b:2"), []);
        assert_eq!(shown(&list), before);
        list.remove(&[0, 2].into());
        assert_eq!(shown(&list), ["a x.io/b:1", "a x.io/a:2", "a x.io/b:2"]);
    }

    #[test]
    fn what_is_duplicate_listings_and_otherwise_is_named() {
        let first = descriptor('a', "x.io/a:1");
        let again = first.replace(r#""k":"v""#, r#""k":"w","l":"m""#);
        let list = index(&[first, descriptor('b', ""), again.clone(), again]);
        assert_eq!(
            list.duplicate_listings()[&0],
            [
                "manifests[2].annotations.k",
                "manifests[2].annotations.l",
                "manifests[3].annotations.k",
                "manifests[3].annotations.l",
            ]
        );
        assert_eq!(list.duplicate_listings().len(), 1);
        assert_eq!(list.roots().len(), 2);
        assert_eq!(list.entries().len(), 4);
    }
}
