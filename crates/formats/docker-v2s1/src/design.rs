//! Decisions where the formats leave room, numbered so that code and tests can name them.
//!
//! 1. **Only the payload is a manifest.** The signed bytes are cut out and parsed; outside of them
//!    only the field `signatures`, a comma and white space are allowed. Several signatures must
//!    cover the same bytes.
//! 2. **A signature is verified whenever a manifest is read.** An empty field of signatures is a
//!    bad signature, no field is an unsigned manifest. Keys stand in the document: a valid
//!    signature shows only that the payload was not changed since that key signed it.
//! 3. **Certificates are not supported.** A signature with `x5c` is refused because it can't be
//!    verified; no known writer of manifests used them.
//! 4. **The digest of a signed manifest is that of its payload**, by which registries served it. A
//!    layout or directory addresses the file, signatures included: both digests exist, and
//!    `manifest_digest` returns the first.
//! 5. **The digest of the empty layer decides.** Whatever the other fields of an entry, docker's
//!    empty layer is a step without a layer. `throwaway` with any other layer is ambiguous: some
//!    readers skip the layer, others apply it. A `Size` of 0 decides nothing.
//! 6. **An entry that repeats the entry below it, word for word, is dropped**; some writers
//!    repeated entries.
//! 7. **The name is a hint**, and so is the tag. A name that is not a reference is dropped with a
//!    warning; a name without a host is docker's, since a registry's own host never stands there.
//! 8. **Missing platforms are assumed** to be `linux` and the manifest's architecture, or `amd64`:
//!    no others existed when those fields were introduced. Each assumption is a warning.
//! 9. **The top entry is the configuration; the others are steps.** The other fields of the lower
//!    entries (their own configurations, as old engines wrote them) are one extension,
//!    `v1Compatibility`, a list from the base up; they return to their entries when the chain is as
//!    long as before.
//! 10. **Ids are docker's, and deterministic**: the SHA-256 of the blob's hex digits, a space and
//!     the parent's id; for the top id also a space and the configuration as in schema 2.
//! 11. **An unchanged image keeps its manifest**, signatures included. A changed manifest is
//!     written unsigned; `sign` signs it, without a date, so that signing is deterministic as well.
//! 12. **The last step and the image share** date, author and comment in schema 1. The image's
//!     values count; different values of the last step are reported.
//! 13. **The empty layer is published with the manifest**, as a document, since its bytes are known
//!     and a source need not have them.
//! 14. **A v1 image has a layer for every entry**: its layers have no digest that would show an
//!     empty one. Its ids are names of directories, so a malformed id is a bad name.
//! 15. **A tar sum is a name that only its place can resolve** (docker 1.5 and 1.6 named layers by
//!     them). If the place has a blob for it, the layer is that blob, with its digest; the sum
//!     itself is not computed, and is not written again: it has no meaning elsewhere.
