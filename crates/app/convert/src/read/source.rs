//! Opening a locator, and choosing the images that it means.

use std::sync::Arc;

use imgconv_locate::{
    catalog, fetched,
    locator::{Locator, Reference},
    select::{by_name, select},
};
use imgconv_manifest::find_document;
use imgconv_model::{
    Addressing, Bundle, Code, Digest, Env, Error, FormatId, Name, Notes, Report, Result, Root,
    RootEntry,
};
use imgconv_transport_oci_layout::open_damaged;

use super::{
    decode::{Decoder, Memo, root_of},
    node::{Node, below},
};

/// The position of an entry that only an index lists: the facts that the place has about an entry do not apply to
/// such a document.
const NESTED: usize = usize::MAX;

/// An open place and the images that the locator means.
#[derive(Debug)]
pub struct Source {
    /// The place as the user named it.
    pub text: String,
    /// The location, without a scheme.
    pub location: String,
    /// The way in which entries are addressed there.
    addressing: Addressing,
    /// The opened place.
    pub bundle: Box<dyn Bundle>,
    /// The chosen entries, in the order of the place.
    pub entries: Vec<RootEntry>,
    /// The irregularities found when the place was opened, which are reported with each of its
    /// images.
    opened: Report,
    /// Takes irregularities that the place finds later.
    notes: Notes,
    /// The format that everything there must be in, if the user named one.
    format: Option<FormatId>,
    /// The entry that leads to the chosen one, if the chosen one stands only in an index below it.
    pub(crate) via: Option<RootEntry>,
}

impl Source {
    /// Opens a place and picks the entries that the locator's reference means.
    ///
    /// # Errors
    /// If the place can't be read, or the reference fits nothing or several images.
    pub fn open(locator: &Locator, env: &Env) -> Result<Self> {
        Self::open_with(locator, env, |bundle| bundle.roots(), false)
    }

    /// Opens a layout for `verify`, whatever is wrong with its list of entry points, and returns
    /// the errors; `None` if the place is no layout, or can't be opened at all.
    pub fn open_damaged(locator: &Locator, env: &Env) -> Option<(Self, Vec<Error>)> {
        let is_layout = locator.transport.place().layout;
        if !is_layout || locator.reference.is_some() || locator.location == "-" {
            return None;
        }
        let notes = Notes::default();
        let env = &env.with_notes(&notes);
        let (bundle, errors) = open_damaged(locator.transport, &locator.location, env).ok()?;
        let entries = bundle.roots().ok()?;
        Some((Self::new(locator, bundle, entries, notes), errors))
    }

    /// Opens a place without images, for `verify`; `None` if it has images, or can't be opened.
    pub fn open_empty(locator: &Locator, env: &Env) -> Option<Self> {
        if locator.reference.is_some() || locator.location == "-" {
            return None;
        }
        let notes = Notes::default();
        let env = &env.with_notes(&notes);
        let bundle = fetched::open(locator, env).ok()?;
        let entries = bundle.listing().ok().filter(Vec::is_empty)?;
        Some(Self::new(locator, bundle, entries, notes))
    }

    /// Opens a place as [`Source::open`] does, with all of its entries: every tag of a repository,
    /// where the locator names none.
    ///
    /// # Errors
    /// As [`Source::open`]; [`Code::BadName`] if the locator is a whole registry.
    pub fn open_all(locator: &Locator, env: &Env) -> Result<Self> {
        locator.refuse_whole_registry()?;
        Self::open_store(locator, env)
    }

    /// Opens a place as [`Source::open_all`] does, where it may also be a whole registry: every tag
    /// of every repository.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open_store(locator: &Locator, env: &Env) -> Result<Self> {
        Self::open_with(locator, env, |bundle| bundle.listing(), false)
    }

    /// Opens a place as [`Source::open_store`] does; a place that lists nothing has no entries. Neither
    /// has a place that describes its images itself ([`Summaries`](imgconv_model::Summaries)), where
    /// the entries would cost as much as the images.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open_listing(locator: &Locator, env: &Env) -> Result<Self> {
        Self::open_with(locator, env, |bundle| bundle.listing(), true)
    }

    /// Returns the irregularities found when the place was opened.
    pub fn opened(&self) -> &Report {
        &self.opened
    }

    /// Describes an opened place. `notes` has the irregularities that were found so far.
    fn new(
        locator: &Locator,
        bundle: Box<dyn Bundle>,
        entries: Vec<RootEntry>,
        notes: Notes,
    ) -> Self {
        Self {
            text: bundle.locator(),
            location: locator.location.clone(),
            addressing: locator.addressing(),
            bundle,
            entries,
            opened: notes.take(),
            notes,
            format: locator.format,
            via: None,
        }
    }

    fn open_with(
        locator: &Locator,
        env: &Env,
        list: impl FnOnce(&dyn Bundle) -> Result<Vec<RootEntry>>,
        may_be_empty: bool,
    ) -> Result<Self> {
        let notes = Notes::default();
        let env = &env.with_notes(&notes);
        let bundle = fetched::open(locator, env)?;
        let entries = match may_be_empty && bundle.extras().summaries.is_some() {
            true => Vec::new(),
            false => list(&*bundle).map_err(|error| error.at(bundle.locator()))?,
        };
        // A file with a name of appc is an ACI.
        let named = bundle
            .fetched()
            .is_some_and(|fetched| fetched.name.is_some());
        let mut source = Self::new(locator, bundle, entries, notes);
        source.format = source.format.or(named.then_some(FormatId::ACI));
        source.format = (source.format).or(catalog::said_by(locator.transport.place()));
        if matches!(locator.reference, Some(Reference::Name(_))) {
            source.name_streams(env)?;
        }
        if let Some((repository, digest)) = unlisted(&source.entries, locator)
            && let Some(entry) = source.nested(repository, &digest, env)?
        {
            source.entries = vec![entry];
            return Ok(source);
        }
        let entries = std::mem::take(&mut source.entries);
        if entries.is_empty() && may_be_empty && locator.reference.is_none() {
            return Ok(source);
        }
        source.entries = select(entries, locator.reference.as_ref())
            .map_err(|error| error.at(source.text.clone()))?;
        Ok(source)
    }

    /// Names the unnamed entries by the names that the images hold, so that a reference can choose
    /// one. An entry that can't be read stays without a name.
    fn name_streams(&mut self, env: &Env) -> Result<()> {
        for i in 0..self.entries.len() {
            let entry = &self.entries[i];
            if entry.child.is_some() || entry.name.is_some() {
                continue;
            }
            env.check_cancelled()?;
            let node = self.decode_entry(entry, env, &mut self.memo());
            if let Ok(Node::Image(node)) = node.as_deref() {
                self.entries[i].name.clone_from(&node.image.name);
            }
        }
        Ok(())
    }

    /// Says whether the place is a repository or a whole registry, whose entries have full names.
    pub fn is_registry(&self) -> bool {
        self.addressing == Addressing::Registry
    }

    /// Names an entry for messages and reports: as a locator that leads to it.
    pub fn entry_text(&self, entry: &RootEntry) -> String {
        // A name leads to the index that lists it.
        let name = entry.name.as_ref().filter(|_| !self.is_nested(entry));
        let reference = match (name, &entry.child) {
            (Some(name), _) => Some(name.to_string()),
            (None, Some(_)) if self.addressing == Addressing::Name => entry.texts.first().cloned(),
            (None, Some(child)) => Some(format!("@{}", child.digest)),
            (None, None) => match entry.texts.first() {
                None if entry.error.is_some() => Some(format!("#{}", entry.position)),
                text => text.cloned(),
            },
        };
        let Some(reference) = reference else {
            return self.text.clone();
        };
        match self.addressing {
            Addressing::Reference => format!("{}:{reference}", self.text),
            Addressing::Fragment => format!("{}#{reference}", self.text),
            // A name there holds the host and the repository.
            Addressing::Registry => match reference.strip_prefix('@') {
                None => {
                    let scheme = self.text.split("://").next().unwrap_or_default();
                    format!("{scheme}://{reference}")
                }
                Some(digest) => {
                    let part = self.bundle.part(entry).ok().flatten();
                    let text = part.map_or_else(|| self.text.clone(), |(part, _)| part.locator());
                    let whole = text.split_once('@').map_or(&*text, |(it, _)| it);
                    let end = whole.rfind('/').map_or(0, |slash| slash + 1);
                    let tag = whole[end..].find(':').map_or(whole.len(), |at| end + at);
                    format!("{}@{digest}", &whole[..tag])
                }
            },
            // The text of the place is the image, unless the place is all of them.
            Addressing::Name if self.location.is_empty() => format!("{}{reference}", self.text),
            Addressing::Name | Addressing::Alone => self.text.clone(),
        }
    }

    /// Decodes everything below the entries; each document once.
    ///
    /// # Errors
    /// The first error of a malformed or missing document (a missing child of an index is kept as a
    /// gap).
    pub fn decode(&self, env: &Env) -> Result<Vec<(RootEntry, Arc<Node>)>> {
        self.decode_each(env)
            .map(|(entry, node)| node.map(|node| (entry.clone(), node)))
            .collect()
    }

    /// Decodes entry by entry; a failed entry does not stop the rest.
    pub fn decode_each<'s>(
        &'s self,
        env: &'s Env,
    ) -> impl Iterator<Item = (&'s RootEntry, Result<Arc<Node>>)> + 's {
        let mut memo = self.memo();
        self.entries.iter().map(move |entry| {
            let node = env
                .check_cancelled()
                .and_then(|()| self.decode_entry(entry, env, &mut memo))
                .map_err(|error| error.at(self.entry_text(entry)));
            (entry, node)
        })
    }

    /// Returns the locator of the place inside this place that holds an entry; `None` if this place
    /// holds the entry itself.
    ///
    /// # Errors
    /// If that place can't be opened.
    pub fn held_by(&self, entry: &RootEntry) -> Result<Option<String>> {
        let part = self.bundle.part(self.listed(entry))?;
        Ok(part.map(|(part, _)| part.locator()))
    }

    /// Says whether an entry is a document that only an index lists.
    fn is_nested(&self, entry: &RootEntry) -> bool {
        self.via.is_some() && entry.position == NESTED
    }

    /// The entry of the place that leads to an entry: the entry itself, or that of the index.
    pub(super) fn listed<'e>(&'e self, entry: &'e RootEntry) -> &'e RootEntry {
        let via = self.via.as_ref().filter(|_| self.is_nested(entry));
        via.unwrap_or(entry)
    }

    /// Creates the memo for the decoded documents of this place.
    pub fn memo(&self) -> Memo {
        Memo::new(self.format, self.opened.clone(), self.notes.clone())
    }

    /// Decodes one entry, and remembers nodes that other entries may lead to.
    ///
    /// # Errors
    /// As [`Source::decode`].
    pub fn decode_entry(&self, entry: &RootEntry, env: &Env, memo: &mut Memo) -> Result<Arc<Node>> {
        let via = self.listed(entry);
        let part = self.part(via)?;
        match &part {
            None => memo.leave(),
            Some((part, _)) => memo.enter(part, &self.opened),
        }
        let (bundle, entry_there) = self.within(part.as_ref(), via);
        let node = Decoder { bundle, env, memo }.entry(entry_there)?;
        let Some(child) = entry.child.as_ref().filter(|_| self.is_nested(entry)) else {
            return Ok(node);
        };
        let found = below(&node, &child.digest).and_then(|(_, node)| node);
        found.ok_or_else(|| {
            let message = format!("{} is no longer in its index", child.digest);
            Error::new(Code::Missing, message)
        })
    }

    /// The innermost place that holds an entry, and the entry there; `None` if the place itself does.
    pub(super) fn part(&self, entry: &RootEntry) -> Result<Option<(Arc<dyn Bundle>, RootEntry)>> {
        let mut found = self.bundle.part(entry)?;
        while let Some((part, inner)) = &found {
            match part.part(inner)? {
                Some(deeper) => found = Some(deeper),
                None => break,
            }
        }
        Ok(found)
    }

    /// Says whether two entries stand in one place inside this place, and in one repository there, so that one document
    /// can be about the other.
    ///
    /// # Errors
    /// If the place of an entry can't be opened.
    pub(super) fn are_beside(&self, one: &RootEntry, other: &RootEntry) -> Result<bool> {
        let (one, other) = (self.listed(one), self.listed(other));
        let [first, second] = [self.part(one)?, self.part(other)?];
        let (place, one) = self.within(first.as_ref(), one);
        let (beside, other) = self.within(second.as_ref(), other);
        // The view of a storage has the locator of the storage.
        Ok(place.locator() == beside.locator() && place.share(one, other))
    }

    /// Returns the place that holds an entry and the entry there, by the part that holds the entry.
    fn within<'e>(
        &'e self,
        part: Option<&'e (Arc<dyn Bundle>, RootEntry)>,
        entry: &'e RootEntry,
    ) -> (&'e dyn Bundle, &'e RootEntry) {
        part.map_or((&*self.bundle, entry), |(part, inner)| (&**part, inner))
    }

    /// Looks for a document that only an index lists, at any depth, in a repository or everywhere. Its name is the name
    /// of the entries that lead to it, if they all have one name. An entry that can't be read is passed
    /// over, unless it is the only one.
    ///
    /// # Errors
    /// [`Code::Missing`] if the document is listed and not stored; an interruption.
    pub(crate) fn nested(
        &mut self,
        repository: Option<&str>,
        digest: &Digest,
        env: &Env,
    ) -> Result<Option<RootEntry>> {
        let mut memo = self.memo();
        let mut found: Option<(RootEntry, RootEntry)> = None;
        let mut gone = false;
        let is_there = |via: &&RootEntry| repository.is_none_or(|it| is_of(via, it));
        for via in self.entries.iter().filter(is_there) {
            env.check_cancelled()?;
            let Ok(node) = self.decode_entry(via, env, &mut memo) else {
                continue;
            };
            let Some((listed, node)) = below(&node, digest) else {
                continue;
            };
            if node.is_none() {
                gone = true;
                continue;
            }
            match &mut found {
                Some((entry, _)) if entry.name != via.name => entry.name = None,
                Some(_) => {}
                None => {
                    let entry = RootEntry {
                        position: NESTED,
                        name: via.name.clone(),
                        ..RootEntry::only(Some(listed))
                    };
                    found = Some((entry, via.clone()));
                }
            }
        }
        let Some((entry, via)) = found else {
            if gone {
                let message = format!("an index lists {digest}, but the place does not store it");
                return Err(Error::new(Code::Missing, message).at(self.text.clone()));
            }
            return Ok(None);
        };
        self.via = Some(via);
        Ok(Some(entry))
    }

    /// Reads the stored root of an entry.
    ///
    /// # Errors
    /// If the root is missing, or does not match its descriptor.
    pub fn root(&self, entry: &RootEntry, env: &Env) -> Result<Root> {
        let Some(child) = entry.child.as_ref().filter(|_| self.is_nested(entry)) else {
            return root_of(&*self.bundle, entry, env);
        };
        let via = self.listed(entry);
        let part = self.bundle.part(via)?;
        let bundle = part.as_ref().map_or(&*self.bundle, |(part, _)| &**part);
        find_document(bundle, child, &env.limits).map(Root::Document)
    }
}

/// The digest by which a locator names an image, and its repository if that is named too, if no entry has them.
fn unlisted<'l>(entries: &[RootEntry], locator: &'l Locator) -> Option<(Option<&'l str>, Digest)> {
    match locator.reference.as_ref()? {
        Reference::Digest(digest) => {
            let is_it = |entry: &RootEntry| entry.digest() == Some(*digest);
            (!entries.iter().any(is_it)).then_some((None, *digest))
        }
        Reference::Name(text) => {
            let (repository, digest) = text.rsplit_once('@')?;
            let digest = Digest::parse(digest).ok()?;
            by_name(entries, text)
                .is_empty()
                .then_some((Some(repository), digest))
        }
        Reference::Position(_) => None,
    }
}

/// Says whether an entry is one of a repository: by its own text, or by its full name.
fn is_of(entry: &RootEntry, repository: &str) -> bool {
    let rest = |text: &String| text.strip_prefix(repository)?.chars().next();
    if entry
        .texts
        .iter()
        .filter_map(rest)
        .any(|next| matches!(next, ':' | '@'))
    {
        return true;
    }
    let (Ok(wanted), Some(name)) = (Name::parse_reference(repository), &entry.name) else {
        return false;
    };
    let is_tag = wanted.tag.is_none() || wanted.tag == name.tag;
    is_tag && wanted.qualified().repository == name.qualified().repository
}
