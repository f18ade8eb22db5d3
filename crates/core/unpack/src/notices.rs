//! Collects entries and attributes that could not be written, and reports each kind once.

use imgconv_model::{Notes, quote};

use crate::options::LeftOut;

/// The number of names that one warning shows.
const SHOWN: usize = 5;

/// The number of entries of a kind, and the first of them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    count: u64,
    names: Vec<String>,
}

impl Tally {
    /// Counts one entry.
    pub(crate) fn add(&mut self, path: &[u8]) {
        self.add_with(|| quote(if path.is_empty() { b"/" } else { path }));
    }

    /// Counts one attribute of an entry.
    pub(crate) fn add_attribute(&mut self, path: &[u8], attribute: &[u8]) {
        self.add_with(|| {
            let path = quote(if path.is_empty() { b"/" } else { path });
            format!("{} of {path}", quote(attribute))
        });
    }

    fn add_with(&mut self, name: impl FnOnce() -> String) {
        if self.names.len() < SHOWN {
            self.names.push(name());
        }
        self.count += 1;
    }

    /// Counts one entry without naming it.
    pub(crate) fn count(&mut self) {
        self.count += 1;
    }

    fn list(&self) -> String {
        let mut list = self.names.join(", ");
        let more = self.count - self.names.len() as u64;
        if more > 0 {
            list.push_str(&format!(" and {more} more"));
        }
        list
    }
}

/// All counters, which are reported at the end.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// Devices that the user did not request.
    pub(crate) device_unwanted: Tally,
    /// Devices and FIFOs that can't be created here.
    pub(crate) device_impossible: Tally,
    /// Entries that lost setuid, setgid or capabilities.
    pub(crate) privileges: Tally,
    /// Entries that lost these although the user requested them.
    pub(crate) privileges_impossible: Tally,
    /// Attributes that are never set, or not by this user.
    pub(crate) attribute_unwanted: Tally,
    /// Attributes that the file system refused.
    pub(crate) attribute_refused: Tally,
    /// Entries with owner 0:0 that belong to another user now.
    pub(crate) owner_default: Tally,
    /// Entries whose owner is in an attribute.
    pub(crate) owner_recorded: Tally,
    /// Entries whose user or group is a number that no file can have.
    pub(crate) owner_impossible: Tally,
    /// True if the owner of an entry was set.
    pub(crate) owner_set: bool,
    /// Entries whose owner is neither set nor recorded.
    pub(crate) owner_lost: Tally,
    /// Special files whose mode could not be set.
    pub(crate) mode_lost: Tally,
    /// Entries whose time the file system replaced by one that it can hold.
    pub(crate) time_changed: Tally,
}

impl Notices {
    /// Returns the numbers of all kinds.
    pub(crate) fn left_out(&self) -> LeftOut {
        let sum = |tallies: &[&Tally]| tallies.iter().map(|tally| tally.count).sum();
        LeftOut {
            special_files: sum(&[&self.device_unwanted, &self.device_impossible]),
            privileges: sum(&[&self.privileges, &self.privileges_impossible]),
            attributes: sum(&[&self.attribute_unwanted, &self.attribute_refused]),
            owners: sum(&[
                &self.owner_default,
                &self.owner_recorded,
                &self.owner_impossible,
                &self.owner_lost,
            ]),
            recorded_owners: sum(&[&self.owner_recorded]),
            modes: sum(&[&self.mode_lost]),
            times: sum(&[&self.time_changed]),
        }
    }

    /// Adds one warning for each kind that occurred.
    pub(crate) fn report(&self, notes: &Notes, target: &str) {
        let warn = |code: &'static str, tally: &Tally, what: &str| {
            if tally.count > 0 {
                let text = format!("{what} ({}): {}", tally.count, tally.list());
                notes.warn(code, target, text);
            }
        };
        warn(
            "device-skipped",
            &self.device_unwanted,
            "devices were not created, `--allow-devices` as root creates them",
        );
        warn(
            "device-skipped",
            &self.device_impossible,
            "special files were not created, this user or file system can't",
        );
        warn(
            "privileges-cleared",
            &self.privileges,
            "setuid and setgid bits and capabilities were cleared, `--preserve-privileges` keeps them",
        );
        warn(
            "privileges-cleared",
            &self.privileges_impossible,
            "setuid and setgid bits and capabilities were cleared, the owner or group they belong \
             to could not be set",
        );
        warn(
            "xattr-skipped",
            &self.attribute_unwanted,
            "extended attributes were not set, only `user.*` (and as root with \
             `--preserve-privileges` `security.capability`) are",
        );
        warn(
            "xattr-skipped",
            &self.attribute_refused,
            "extended attributes were not set, the file system refused them",
        );
        if self.owner_default.count + self.owner_recorded.count > 0 {
            let which = match self.owner_set {
                false => {
                    "owners can't be set by this user on this file system, everything belongs to \
                     the user"
                }
                true => {
                    "some owners can't be set by this user on this file system, those entries \
                     belong to the user"
                }
            };
            let text = format!(
                "{which}; noted in the attribute `user.rootlesscontainers`: {}; of 0:0, without a \
                 note: {}",
                self.owner_recorded.count, self.owner_default.count,
            );
            notes.warn("ownership-recorded", target, text);
        }
        warn(
            "ownership-skipped",
            &self.owner_impossible,
            "no file can have the user or group 4294967295, root has it instead",
        );
        warn(
            "ownership-skipped",
            &self.owner_lost,
            "owners could be neither set nor noted",
        );
        warn(
            "mode-skipped",
            &self.mode_lost,
            "permissions of special files could not be set, `/proc` is needed for that",
        );
        warn(
            "time-changed",
            &self.time_changed,
            "the file system can't hold the times and set the nearest ones",
        );
    }
}
