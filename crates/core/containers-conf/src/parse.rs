//! One file of `registries.conf`, checked: every error names the file and the key.
//!
//! Keys that are not known are ignored, as by the engines: a newer engine may have written them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use imgconv_model::{Code, Error, Name, Result, quote};
use toml::{Table, Value};

use crate::file::place;

/// A `[[registry]]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registry {
    /// The start of the names that the table is for, or `*.DOMAIN`.
    pub(crate) prefix: String,
    /// The text that replaces the prefix; empty with a wildcard, which replaces nothing.
    pub(crate) location: String,
    pub(crate) insecure: bool,
    pub(crate) blocked: bool,
    pub(crate) mirrors: Vec<Mirror>,
    /// The file, for messages.
    pub(crate) file: String,
}

/// A `[[registry.mirror]]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) location: String,
    pub(crate) insecure: bool,
    /// Whether images that are named by a tag are read here.
    pub(crate) tags: bool,
    /// Whether images that are named by a digest are read here.
    pub(crate) digests: bool,
}

/// The settings of one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) registries: Vec<Registry>,
    /// The registries of names without one; `None` if the file does not say.
    pub(crate) search: Option<Vec<String>>,
    /// The repositories of short names; `None` takes the alias of an earlier file away.
    pub(crate) aliases: BTreeMap<String, Option<String>>,
}

/// Reads the settings of a file.
///
/// # Errors
/// [`Code::BadManifest`] for a key with a value that the key can't have, and for a file of version 1.
pub(crate) fn parse(table: &Table, path: &Path) -> Result<Parsed> {
    let file = place(path);
    parse_in(table, &file).map_err(|error| error.at(file))
}

fn parse_in(table: &Table, file: &str) -> Result<Parsed> {
    refuse_version_1(table)?;
    let mut found = Parsed {
        search: search(table)?,
        aliases: aliases(table)?,
        ..Parsed::default()
    };
    match text(table, "", "short-name-mode")? {
        "" | "enforcing" | "permissive" | "disabled" => {}
        other => {
            let why = format!(
                "is {}, expected `enforcing`, `permissive` or `disabled`",
                quote(other)
            );
            return Err(bad("short-name-mode", &why));
        }
    }
    for (i, registry) in tables(table, "", "registry")?.into_iter().enumerate() {
        let registry = read_registry(registry, &format!("registry[{i}]."), file)?;
        // The engines say nothing of a second table for one place, and take the first. They refuse two
        // that disagree whether the place is safe, since nobody can tell which of them is meant.
        let same = |known: &&Registry| known.place() == registry.place();
        if let Some(known) = found.registries.iter().find(same) {
            for (key, one, other) in [
                ("insecure", known.insecure, registry.insecure),
                ("blocked", known.blocked, registry.blocked),
            ] {
                if one != other {
                    let why = format!(
                        "is {other}, and another table for {} has {one}",
                        quote(registry.place())
                    );
                    return Err(bad(&format!("registry[{i}].{key}"), &why));
                }
            }
        }
        found.registries.push(registry);
    }
    let mut seen = BTreeSet::new();
    found
        .registries
        .retain(|registry| seen.insert(registry.prefix.clone()));
    Ok(found)
}

impl Registry {
    /// Returns the place that the table leads to.
    fn place(&self) -> &str {
        match &*self.location {
            "" => &self.prefix,
            location => location,
        }
    }
}

fn bad(key: &str, why: &str) -> Error {
    Error::new(Code::BadManifest, format!("`{key}` {why}"))
}

/// Refuses the tables of version 1, unless they are empty. They can't name mirrors, and a reader of
/// version 2 would overlook what they block.
fn refuse_version_1(table: &Table) -> Result<()> {
    let Some(old) = table.get("registries") else {
        return Ok(());
    };
    let old = old.as_table().into_iter().flatten();
    for (name, value) in old {
        let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        let empty = value
            .as_table()
            .is_some_and(|value| value.values().all(is_empty));
        if !empty {
            let why = "is a table of version 1 of the format, which is not read";
            return Err(bad(&format!("registries.{name}"), why).hint(
                "write `unqualified-search-registries` and `[[registry]]` tables \
                 (containers-registries.conf(5)); `--registries-conf FILE` reads another file, and \
                 `--registries-conf /dev/null` none",
            ));
        }
    }
    Ok(())
}

fn read_registry(table: &Table, at: &str, file: &str) -> Result<Registry> {
    let location = location(table, at, "location")?;
    let prefix = match &*self::location(table, at, "prefix")? {
        "" if location.is_empty() => {
            let why = "is not set, and neither is `prefix`";
            return Err(bad(&format!("{at}location"), why));
        }
        "" => location.clone(),
        prefix => prefix.to_owned(),
    };
    if let Some(domain) = prefix.strip_prefix("*.") {
        if domain.is_empty() || domain.contains(['/', '@', ':', '*']) {
            let why = format!("is {}, expected `*.DOMAIN`", quote(&prefix));
            return Err(bad(&format!("{at}prefix"), &why));
        }
    } else if prefix.contains('*') {
        let why = format!(
            "is {}, and only `*.DOMAIN` may have a wildcard",
            quote(&prefix)
        );
        return Err(bad(&format!("{at}prefix"), &why));
    } else if location.is_empty() {
        let why = "is not set, which is allowed only with a `prefix` of the form `*.DOMAIN`";
        return Err(bad(&format!("{at}location"), why));
    }
    if table.contains_key("pull-from-mirror") {
        let key = format!("{at}pull-from-mirror");
        return Err(bad(
            &key,
            "is a setting of a mirror, and not of the registry itself",
        ));
    }
    let digests_only = flag(table, at, "mirror-by-digest-only")?;
    let mut mirrors = Vec::new();
    for (i, mirror) in tables(table, at, "mirror")?.into_iter().enumerate() {
        mirrors.push(read_mirror(
            mirror,
            &format!("{at}mirror[{i}]."),
            digests_only,
        )?);
    }
    Ok(Registry {
        prefix,
        location,
        insecure: flag(table, at, "insecure")?,
        blocked: flag(table, at, "blocked")?,
        mirrors,
        file: file.to_owned(),
    })
}

fn read_mirror(table: &Table, at: &str, digests_only: bool) -> Result<Mirror> {
    let location = location(table, at, "location")?;
    if location.is_empty() {
        return Err(bad(&format!("{at}location"), "is not set"));
    }
    let key = format!("{at}pull-from-mirror");
    let when = text(table, at, "pull-from-mirror")?;
    if digests_only && !when.is_empty() {
        let why = "can't be set together with `mirror-by-digest-only` of the registry";
        return Err(bad(&key, why));
    }
    let (tags, digests) = match when {
        "" | "all" => (!digests_only, true),
        "digest-only" => (false, true),
        "tag-only" => (true, false),
        other => {
            let why = format!(
                "is {}, expected `all`, `digest-only` or `tag-only`",
                quote(other)
            );
            return Err(bad(&key, &why));
        }
    };
    Ok(Mirror {
        location,
        insecure: flag(table, at, "insecure")?,
        tags,
        digests,
    })
}

/// Reads the registries of names without one.
fn search(table: &Table) -> Result<Option<Vec<String>>> {
    const KEY: &str = "unqualified-search-registries";
    let Some(value) = table.get(KEY) else {
        return Ok(None);
    };
    let Some(list) = value.as_array() else {
        return Err(bad(KEY, "is no list"));
    };
    let read = |(i, host): (usize, &Value)| {
        let host = host.as_str().unwrap_or_default().trim_end_matches('/');
        let valid = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        match !host.is_empty() && host.chars().all(valid) {
            true => Ok(host.to_owned()),
            false => Err(bad(&format!("{KEY}[{i}]"), "is no `HOST[:PORT]`")),
        }
    };
    list.iter()
        .enumerate()
        .map(read)
        .collect::<Result<_>>()
        .map(Some)
}

/// Reads the aliases: short names without a registry, and full names.
pub(crate) fn aliases(table: &Table) -> Result<BTreeMap<String, Option<String>>> {
    let Some(value) = table.get("aliases") else {
        return Ok(BTreeMap::new());
    };
    let Some(listed) = value.as_table() else {
        return Err(bad("aliases", "is no table"));
    };
    let read = |(short, value): (&String, &Value)| {
        let key = format!("aliases.{}", quote(short));
        if is_full(short) || repository(short).is_none() {
            let why = "is no short name: a name without registry, tag and digest";
            return Err(bad(&key, why));
        }
        let full = match value.as_str() {
            Some("") => None,
            Some(full) if is_full(full) && repository(full).is_some() => repository(full),
            _ => {
                let why = "is no full name: `REGISTRY/REPOSITORY` without tag and digest";
                return Err(bad(&key, why));
            }
        };
        Ok((short.clone(), full))
    };
    listed.iter().map(read).collect()
}

/// Returns the qualified repository of a name without tag and digest.
fn repository(text: &str) -> Option<String> {
    match Name::parse_reference(text).ok()? {
        Name {
            repository,
            tag: None,
            digest: None,
        } => repository,
        _ => None,
    }
}

/// Says whether a name begins with a registry.
fn is_full(text: &str) -> bool {
    let host = text.split_once('/').map(|(host, _)| host);
    host.is_some_and(|host| host.contains(['.', ':']) || host == "localhost")
}

fn tables<'t>(table: &'t Table, at: &str, key: &str) -> Result<Vec<&'t Table>> {
    let no_list = || {
        let name = format!("{at}{key}");
        bad(&name, &format!("is no list of tables, `[[{key}]]`"))
    };
    let Some(value) = table.get(key) else {
        return Ok(Vec::new());
    };
    let list = value.as_array().ok_or_else(no_list)?;
    let tables = list
        .iter()
        .map(|table| table.as_table().ok_or_else(no_list));
    tables.collect()
}

fn text<'t>(table: &'t Table, at: &str, key: &str) -> Result<&'t str> {
    let Some(value) = table.get(key) else {
        return Ok("");
    };
    value
        .as_str()
        .ok_or_else(|| bad(&format!("{at}{key}"), "is no text"))
}

fn flag(table: &Table, at: &str, key: &str) -> Result<bool> {
    let Some(value) = table.get(key) else {
        return Ok(false);
    };
    value
        .as_bool()
        .ok_or_else(|| bad(&format!("{at}{key}"), "is neither `true` nor `false`"))
}

/// Reads a prefix or a location: a part of a name, without a scheme and without slashes at its end.
fn location(table: &Table, at: &str, key: &str) -> Result<String> {
    let found = text(table, at, key)?.trim_end_matches('/');
    if found.contains("://") {
        let why = format!(
            "is {}, expected `HOST[:PORT][/PATH]` without a scheme",
            quote(found)
        );
        return Err(bad(&format!("{at}{key}"), &why).hint("`insecure = true` allows plain http"));
    }
    Ok(found.to_owned())
}
