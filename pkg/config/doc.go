// Package config reads the one document that configures Herald: the text under
// the key config of its ConfigMap. It is MetalLB's document as of v0.9.3, with
// what later versions up to v0.12.1, the last to have it, and Herald itself
// added. REFERENCE.md lists every key.
//
//	text ─► load ─► YAML nodes ─► decoder (keys.go) ─► values ─► checks across them ─► *Config
//	          │                      │                   │               │
//	          └──────────────────────┴─────── Errors ────┴───────────────┘
//
// The package is a pure core: Parse takes bytes and returns values or mistakes.
// A Config holds only valid values and never changes, so everything that works
// with one needs no checks and no locks of its own.
//
// # Mistakes
//
// Parse finds all mistakes at once and says for each where it is, what is
// wrong and what would be right. Decoding walks the tree of YAML nodes rather
// than unmarshalling into structs, as only the nodes have lines, the text as
// written (12:34 is a community, not a number of minutes) and all of a broken
// document. The tables in keys.go are the only place that knows a key, its
// default and its bounds; the reference is made from them.
//
// It is as strict as MetalLB: unknown keys, keys written twice or in another
// case, numbers and booleans in quotes are mistakes. Booleans are those of
// YAML 1.1 (yes, off). A null is an absent key; a null list item has all
// defaults. Anchors, aliases and merge keys (<<) work.
//
// Passwords are in no message. Neither is text that may be one because of a
// slip: the YAML library's messages are stripped of what they quote, and text
// with "password" in it is not repeated.
//
// # Differences from MetalLB
//
// Refused here, though MetalLB took it, because it could not work or meant
// something other than it seemed:
//
//   - a second YAML document after ---, which MetalLB ignored;
//   - a range that ends before it starts, or has an IPv4 and an IPv6 end,
//     which v0.9.3 took for an empty pool;
//   - hold-time over 65535s, which BGP can't express, and a password over 80
//     bytes, which the kernel refuses;
//   - keepalive-time of less than a second beside a hold-time;
//   - a router-id that is not IPv4; a source-address of another family than
//     peer-address; a peer-address that is no single router's (unspecified,
//     multicast, broadcast) or that is link-local;
//   - two advertisements that give one prefix two local preferences at the
//     same peers, also from two pools whose aggregates meet. Those with
//     different node-selectors are taken to be meant for different nodes;
//   - two peers, advertisements or bfd-profiles alike, and a community twice
//     in a list (as since v0.10 and v0.12). Peers that differ in their name
//     only are alike. A community named in two ways counts once;
//   - numbers with a fraction (my-asn: 1.10), and names with spaces around
//     them or unprintable characters;
//   - echo-mode: true, as BFD is asynchronous only; echo-interval is checked
//     and has no effect;
//   - YAML tags (!x) other than YAML's own, and documents over 1 MiB, which no
//     ConfigMap can hold, or of over a million values through aliases.
//
// Taken here, though v0.9.3 refused it: a range aggregated to the length of
// its widest block (3.3.3.2-3.3.3.254 to 26), as since v0.12. And where a
// merged key (<<) meets one of the mapping's own, its own wins in any order,
// as YAML says.
//
// # Names of peers
//
// MetalLB's peers have no names; ours may, and need one to be named by an
// advertisement. Without one a peer is called by its address, with the port if
// that is not 179 (10.0.0.1, [2001:db8::1]:1179). When that name is taken, by
// a peer that is called so or by one further up, # and a hash of the peer's
// settings, password apart, follow. So a new peer at the end of the list never
// renames another; but to change a setting of a peer named by its hash renames
// it, and so resets its session: give peers that share an address names.
//
// # Names of communities
//
// A name is looked up under bgp-communities first, then among the well-known
// names: graceful-shutdown, accept-own, llgr-stale, no-llgr, blackhole,
// no-export, no-advertise, no-export-subconfed, no-peer. The document's own
// name wins, so that MetalLB documents, which had to define no-export, mean
// what they say.
package config
