//! Users, ports and volumes: conversion between the forms of ACI and of Docker and OCI.
//!
//! The names that an ACI needs for ports and mount points are those that docker2aci makes.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_model::{Code, Error, Port, Result, quote};

use crate::identifier::{clean_path, sanitise_name};

/// The longest name of a user or group in bytes.
const LONGEST_USER: usize = 256;

/// Returns the `user` and `group` of a user in the form of Docker and OCI: an empty part counts as
/// absent, an absent user is root, and `None` is an absent group.
///
/// # Errors
/// [`Code::BadManifest`] for a text that an ACI would read differently: more than two parts, a
/// number out of range, a path, a NUL (robustness C12b, C12g).
pub(crate) fn user_pair(text: &str) -> Result<(String, Option<String>)> {
    let bad = |why: &str| {
        Error::new(Code::BadManifest, format!("user {} {why}", quote(text))).at("config.User")
    };
    let parts: Vec<&str> = text.splitn(3, ':').collect();
    if parts.len() > 2 {
        return Err(bad("has more than two parts"));
    }
    for part in &parts {
        if part.contains('\0') {
            return Err(bad("holds a NUL"));
        }
        if part.len() > LONGEST_USER {
            return Err(bad("is too long"));
        }
        if part.starts_with('/') {
            return Err(bad("would be the path of a file in an ACI"));
        }
        let digits = part.strip_prefix(['+', '-']).unwrap_or(part);
        let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if number && (digits != *part || part.parse::<u32>().is_err()) {
            return Err(bad("has a number that is not from 0 to 4294967295"));
        }
    }
    let part = |i: usize| parts.get(i).copied().filter(|part| !part.is_empty());
    let user = part(0).unwrap_or("0");
    Ok((user.to_owned(), part(1).map(str::to_owned)))
}

/// Returns the name or number of a user without a group, whose group must be looked up: Docker uses
/// the group in `/etc/passwd`, and `0` for a user that is not in that file.
pub fn user_without_group(text: &str) -> Option<String> {
    if text.split(':').next().unwrap_or_default().is_empty() {
        return None;
    }
    let (user, group) = user_pair(text).ok()?;
    group.is_none().then_some(user)
}

/// Returns the user in the form of Docker and OCI, `None` for root. `verbatim` is the original
/// text; it counts if it still has the same meaning. Without a group in that text, the group may be
/// the one that was looked up, 0, or equal to the user, as docker2aci writes it.
pub(crate) fn user_text(
    user: &str,
    group: &str,
    verbatim: Option<&str>,
    looked_up: Option<&str>,
) -> Option<String> {
    let same = |text: &&str| {
        user_pair(text).is_ok_and(|(own, own_group)| {
            let without = || match looked_up {
                Some(looked_up) => group == looked_up,
                None => group == "0" || group == user,
            };
            own == user && own_group.map_or_else(without, |own_group| own_group == group)
        })
    };
    match verbatim.filter(same) {
        Some(text) => Some(text.to_owned()).filter(|text| !text.is_empty()),
        None if (user, group) == ("0", "0") => None,
        None => Some(format!("{user}:{group}")),
    }
}

/// Returns the name in an ACI of a port from Docker or OCI.
pub(crate) fn port_name(port: &Port) -> String {
    let last = u32::from(port.number) + u32::from(port.count.max(1)) - 1;
    let numbers = if port.count > 1 {
        format!("{}-{last}", port.number)
    } else {
        port.number.to_string()
    };
    let text = format!("{numbers}-{}", port.protocol);
    sanitise_name(&text).expect("a number is a word of an AC Name")
}

/// Returns the ports as ranges that neither overlap nor touch, in order: equal ports give equal
/// ranges.
pub(crate) fn ranges(ports: &[Port]) -> BTreeMap<String, Vec<(u32, u32)>> {
    let mut sorted: Vec<(&str, u32, u32)> = ports
        .iter()
        .map(|port| {
            let first = u32::from(port.number);
            (&*port.protocol, first, first + u32::from(port.count))
        })
        .collect();
    sorted.sort_unstable();
    let mut ranges = BTreeMap::<String, Vec<(u32, u32)>>::new();
    for (protocol, first, end) in sorted {
        let list = ranges.entry(protocol.to_owned()).or_default();
        match list.last_mut() {
            Some(last) if first <= last.1 => last.1 = last.1.max(end),
            _ => list.push((first, end)),
        }
    }
    ranges
}

/// Returns true if all of a port's numbers are in the ranges.
pub(crate) fn covers(ranges: &BTreeMap<String, Vec<(u32, u32)>>, port: &Port) -> bool {
    let (first, end) = (
        u32::from(port.number),
        u32::from(port.number) + u32::from(port.count),
    );
    ranges.get(&port.protocol).is_some_and(|list| {
        let before = list.partition_point(|(from, _)| *from <= first);
        before > 0 && end <= list[before - 1].1
    })
}

/// Returns the cleaned paths of volumes: equal volumes give equal paths.
pub(crate) fn volume_paths(volumes: &[String]) -> BTreeSet<String> {
    let cleaned = |path: &String| clean_path(path).unwrap_or_else(|| path.clone());
    volumes.iter().map(cleaned).collect()
}

/// A source of unique names. A name that is taken gets a number, in time that does not grow with
/// the number.
#[derive(Debug, Default)]
pub(crate) struct FreeNames {
    taken: BTreeSet<String>,
    /// The next number for each name that was taken.
    next: BTreeMap<String, u64>,
}

impl FreeNames {
    /// Takes a name without a change; false if it is taken already.
    pub(crate) fn take(&mut self, name: String) -> bool {
        self.taken.insert(name)
    }

    /// Returns a free name, with a number if `base` is taken.
    pub(crate) fn give(&mut self, base: String) -> String {
        if self.taken.insert(base.clone()) {
            return base;
        }
        let next = self.next.entry(base.clone()).or_insert(1);
        loop {
            let name = format!("{base}-{next}");
            *next += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// Returns the names of volumes in an ACI: (name, path), in path order. Of equal paths one stays,
/// without slashes at its end; a name that is taken gets a number.
///
/// # Errors
/// [`Code::BadName`] for a path that is empty, relative, or leaves the root (robustness C12c).
pub(crate) fn mount_points(volumes: &[String]) -> Result<Vec<(String, String)>> {
    let mut paths = BTreeMap::<String, Vec<&str>>::new();
    for volume in volumes {
        let cleaned = clean_path(volume).filter(|_| volume.starts_with('/'));
        let cleaned = cleaned.ok_or_else(|| {
            let message = format!(
                "volume {} is no absolute path below the root",
                quote(volume)
            );
            Error::new(Code::BadName, message).at("config.Volumes")
        })?;
        paths.entry(cleaned).or_default().push(volume);
    }
    let mut names = FreeNames::default();
    let mut points = Vec::new();
    for (cleaned, spellings) in paths {
        let base = sanitise_name(&format!("volume/{cleaned}")).expect("`volume` is an AC Name");
        let name = names.give(base);
        let path = match spellings[..] {
            [only] => only.to_owned(),
            _ => format!("/{cleaned}"),
        };
        points.push((name, path));
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(text: &str) -> Option<(String, Option<String>)> {
        user_pair(text).ok()
    }

    // robustness K40: the next number of a name is stored, and not searched for.
    #[test]
    fn volumes_whose_names_are_alike_get_numbers() {
        let volumes: Vec<String> = (0..3).map(|i| format!("/A{}", ".".repeat(i))).collect();
        let named = mount_points(&volumes).unwrap();
        let names: Vec<&str> = named.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["volume-a", "volume-a-1", "volume-a-2"]);
        let mut names = FreeNames::default();
        assert!(names.take("x-1".to_owned()) && !names.take("x-1".to_owned()));
        let given = ["x", "x", "x"].map(|base| names.give(base.to_owned()));
        assert_eq!(given, ["x", "x-2", "x-3"]);
    }

    #[test]
    fn c12b_users() {
        let good = [
            ("", "0", None),
            (":", "0", None),
            ("1000", "1000", None),
            ("1000:", "1000", None),
            (":5", "0", Some("5")),
            ("www-data:users", "www-data", Some("users")),
            ("2147483648", "2147483648", None),
        ];
        for (text, user, group) in good {
            let group = group.map(str::to_owned);
            assert_eq!(pair(text), Some((user.into(), group)), "{text}");
        }
        let long = "u".repeat(1 << 20);
        for text in [
            "4294967296",
            "-1",
            "0:99999999999",
            "a:b:c",
            "a\0",
            "/x",
            "+1",
            &long,
        ] {
            let error = user_pair(text).unwrap_err();
            assert_eq!(error.code(), Code::BadManifest, "{text:.20}");
            assert!(
                error.to_string().starts_with("config.User: user \""),
                "{error:.80}"
            );
        }
    }

    #[test]
    fn a_user_comes_back_as_it_was() {
        let text = |user, group, verbatim| user_text(user, group, verbatim, None);
        assert_eq!(text("0", "0", None), None);
        assert_eq!(text("100", "300", None).as_deref(), Some("100:300"));
        assert_eq!(text("100", "100", Some("100")).as_deref(), Some("100"));
        assert_eq!(text("100", "0", Some("100")).as_deref(), Some("100"));
        assert_eq!(text("0", "0", Some("root")), None);
        assert_eq!(text("0", "0", Some("0:0")).as_deref(), Some("0:0"));
        // The fields were edited since: the verbatim text no longer counts.
        assert_eq!(text("5", "5", Some("100")).as_deref(), Some("5:5"));
        assert_eq!(text("100", "5", Some("100")).as_deref(), Some("100:5"));
    }

    #[test]
    fn k32_a_group_that_was_looked_up_is_no_part_of_the_user() {
        let text = |group| user_text("nobody", group, Some("nobody"), Some("99"));
        assert_eq!(text("99").as_deref(), Some("nobody"));
        // The fields were edited since.
        assert_eq!(text("0").as_deref(), Some("nobody:0"));
        for (text, user) in [
            ("nobody", Some("nobody")),
            ("1000:", Some("1000")),
            ("nobody:99", None),
            ("", None),
            (":", None),
            (":5", None),
            ("a:b:c", None),
        ] {
            assert_eq!(user_without_group(text).as_deref(), user, "{text}");
        }
    }

    #[test]
    fn c12c_c12d_volumes() {
        let points = |volumes: &[&str]| {
            let volumes: Vec<String> = volumes.iter().map(|path| (*path).to_owned()).collect();
            mount_points(&volumes)
        };
        for bad in ["/../../etc", "", "rel", "/a\0"] {
            let error = points(&[bad]).unwrap_err();
            assert_eq!(error.code(), Code::BadName, "{bad}");
            assert!(error.to_string().contains("config.Volumes"), "{error}");
        }
        let pairs = |found: Vec<(String, String)>| -> Vec<String> {
            found
                .iter()
                .map(|(name, path)| format!("{name}={path}"))
                .collect()
        };
        assert_eq!(pairs(points(&["/a/", "/a"]).unwrap()), ["volume-a=/a"]);
        assert_eq!(pairs(points(&["/a/"]).unwrap()), ["volume-a=/a/"]);
        assert_eq!(
            pairs(points(&["/a/b", "/a-b", "/a-b-1"]).unwrap()),
            [
                "volume-a-b=/a-b",
                "volume-a-b-1=/a-b-1",
                "volume-a-b-2=/a/b"
            ]
        );
        assert_eq!(pairs(points(&["/"]).unwrap()), ["volume=/"]);
    }

    #[test]
    fn c12e_ports() {
        let port = |number, count| Port {
            number,
            count,
            protocol: "tcp".into(),
        };
        assert_eq!(port_name(&port(8080, 1)), "8080-tcp");
        assert_eq!(port_name(&port(80, 11)), "80-90-tcp");
        let split = ranges(&[port(80, 1), port(82, 1), port(81, 1)]);
        assert_eq!(split, ranges(&[port(80, 3)]));
        assert!(covers(&split, &port(81, 2)) && !covers(&split, &port(82, 2)));
    }
}
