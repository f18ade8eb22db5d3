//! Decisions where the formats leave room, numbered so that code and tests can name them.
//!
//! 1. **Only the payload is a manifest.** The bytes that the signatures cover are cut out and
//!    parsed; what stands outside of them must be the field `signatures`, a comma and white space.
//!    Several signatures must be about the same bytes.
//! 2. **A signature is verified whenever a manifest is read.** Zero signatures in a field for them
//!    are a bad signature, no field is an unsigned manifest. Keys stand in the document: a valid
//!    signature says that the payload was not changed since that key signed it, and no more.
//! 3. **Certificates are not supported.** A signature with `x5c` is refused as one that can't be
//!    verified; no known writer of manifests used them.
//! 4. **The digest of a signed manifest is that of its payload**, by which registries served it. A
//!    layout or directory addresses the file, signatures included: both digests exist, and
//!    `manifest_digest` gives the first.
//! 5. **The digest of the empty layer decides.** Whatever an entry says besides, docker's empty
//!    layer is a step without a layer. `throwaway` with any other layer is ambiguous: some readers
//!    skip what others apply. A `Size` of 0 decides nothing.
//! 6. **An entry that repeats the one below it, word for word, is dropped**; writers once did that.
//! 7. **The name is a hint**, as is the tag. One that is no reference is not used, with a warning;
//!    one without a host is docker's, since a registry's own host never stands there.
//! 8. **Missing platforms are assumed** to be `linux` and the manifest's architecture, or `amd64`:
//!    when those fields were invented there was no other. It is a warning.
//! 9. **The top entry is the configuration; the others are steps.** What the others say besides
//!    (their own configurations, as old engines wrote them) is one extension, `v1Compatibility`, a
//!    list from the base up, and returns to its entry when the chain is as long as before.
//! 10. **Ids are docker's, and deterministic**: the SHA-256 of the blob's hex digits, a space and
//!     the parent's id; for the top one also a space and the configuration as schema 2 has it.
//! 11. **An unchanged image keeps its manifest**, signatures included. A changed one is written
//!     unsigned; `sign` signs it, without a date, so that signing is deterministic as well.
//! 12. **The last step and the image share** date, author and comment in schema 1. The image's count;
//!     a last step that says others is reported.
//! 13. **The empty layer is published with the manifest**, as a document, since its bytes are known
//!     and no source needs to have them.
//! 14. **A v1 image has a layer for every entry**: its layers have no digest that could tell an empty
//!     one. Its ids are names of directories, so a malformed one is a bad name.
//! 15. **A tar sum is a name that a place must know** (docker 1.5 and 1.6 named layers by them). Where it
//!     does, the layer is that blob, known by its digest; the sum itself is not computed, and is not
//!     written again: it means nothing elsewhere.
