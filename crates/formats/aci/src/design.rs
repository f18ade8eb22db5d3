//! Decisions of this crate that its code alone does not show. Only documentation.
//!
//! **The rootfs.** The layer of an ACI is its archive without `manifest`; the entry `rootfs` becomes
//! the root entry `./`, so that its mode and owner are kept. `rootfs/` goes off names and off hard
//! link targets. A hard link target without `rootfs/` is read from the root file system, with a
//! warning: a reader that resolves it from the archive's root finds nothing there, so no reader sees
//! another image. Whiteout names are ordinary names in an ACI and can't be in a layer: refused.
//!
//! **Duplicates.** Two entries of a path are refused, except directories: tools that append to an
//! archive write those again, and the last one counts for every reader.
//!
//! **`size` of a dependency** is the size of the file as it is fetched: aci.md gives "endless data"
//! as its reason. The size of the uncompressed tar is taken too, because builders wrote that.
//!
//! **Users.** `0:0` is written as no user, as Docker has it. A user without a group gets the one that
//! Docker would run it with: that of the image's `/etc/passwd`, which the caller looks up in the merged
//! root file system, else 0. Where a user would not come back as it was, the annotation
//! `appc.io/docker/user` keeps the text, as `appc.io/docker/entrypoint` and `…/cmd` keep the parts of
//! `exec`, and `imgconv.docker.group` the group that was looked up. Those annotations count only as long
//! as they agree with the fields.
//!
//! **Old manifests** are put into the words of today before they are checked (`manifest/old.rs`). So one
//! place knows what they meant, and what is written anew is of today; a file that is copied stays.
//!
//! **Labels** other than `version`, `os` and `arch` are annotations `appc.io/label/NAME`, both ways.
//!
//! **Annotations.** `homepage` and `documentation` have the names of OCI. `version`, `created` and
//! `authors` are repeated under theirs, unless the image came from Docker or OCI: then it had the
//! annotations that it wanted. What is no AC Identifier, or means something of its own in an ACI, is
//! a user annotation.
//!
//! **The way back.** An ACI's manifest is kept verbatim, and only what the image no longer agrees
//! with is changed in it; if nothing is, its bytes are written. `dependencies` and `pathWhitelist`
//! belong to the rootfs that they were written for, so they come back only if the image still has
//! them as extensions. The documents of an OCI or Docker image are kept in the annotations
//! `imgconv.FORMAT.manifest` and `imgconv.FORMAT.config` of an ACI that has no original manifest;
//! `appc.io/docker/imageid` and its like follow from them.
//!
//! **Losses** are found by decoding what was written and comparing, never by prediction.
//!
//! **Order of dependencies.** An occurrence of an image is dropped if it comes again later with the
//! same whitelists: the later one writes the same paths again.
