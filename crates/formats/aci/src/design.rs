//! Decisions of this crate that its code alone does not show. Only documentation.
//!
//! **The rootfs.** The layer of an ACI is its archive without `manifest`; the entry `rootfs`
//! becomes the root entry `./`, so that its mode and owner are kept. `rootfs/` is removed from
//! names and hard link targets. A hard link target without `rootfs/` is read from the root file
//! system, with a warning: a reader that resolves the target from the archive's root finds no file
//! there, so no reader gets another image. Whiteout names are ordinary names in an ACI and can't be
//! in a layer: they are refused.
//!
//! **Duplicates.** Two entries of a path are refused, except directories: tools that append to an
//! archive write directories again, and the last entry counts for every reader.
//!
//! **`size` of a dependency** is the size of the file as it is fetched: aci.md gives "endless data"
//! as its reason. The size of the uncompressed tar is accepted too, because builders wrote that
//! size.
//!
//! **Users.** `0:0` is written as no user, as in Docker. A user without a group gets the group that
//! Docker would use: that of the image's `/etc/passwd`, which the caller looks up in the merged
//! root file system, else 0. If a user would differ when it is read back, the annotation
//! `appc.io/docker/user` keeps the text, as `appc.io/docker/entrypoint` and `…/cmd` keep the parts
//! of `exec`, and `imgconv.docker.group` the group that was looked up. Those annotations count only
//! as long as they agree with the fields.
//!
//! **Old manifests** are converted to the current schema before they are checked
//! (`manifest/old.rs`). So one module has the old meanings, and a manifest that is written anew is
//! current; a file that is copied stays.
//!
//! **Labels** other than `version`, `os` and `arch` are annotations `appc.io/label/NAME`, both
//! ways.
//!
//! **Annotations.** `homepage` and `documentation` have the names of OCI. `version`, `created` and
//! `authors` are repeated under their OCI names, unless the image came from Docker or OCI: such an
//! image has its own annotations already. A name that is not an AC Identifier, or has a meaning of
//! its own in an ACI, is a user annotation.
//!
//! **The conversion back.** An ACI's manifest is kept verbatim, and only fields that differ from
//! the image are changed; if no field differs, its bytes are written. `dependencies` and
//! `pathWhitelist` belong to the rootfs that they were written for, so they are restored only if
//! the image still has them as extensions. The documents of an OCI or Docker image are kept in the
//! annotations `imgconv.FORMAT.manifest` and `imgconv.FORMAT.config` of an ACI that has no original
//! manifest; `appc.io/docker/imageid` and similar annotations follow from them.
//!
//! **Losses** are found by decoding the written manifest and comparing it, never by prediction.
//!
//! **Order of dependencies.** An occurrence of an image is dropped if the image occurs again later
//! with the same whitelists: the later one writes the same paths again.
