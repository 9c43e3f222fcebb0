package config

// The tables below are all the keys of the document. The decoder knows no key,
// default or bound from elsewhere, and REFERENCE.md is made from them.

// section is the keys of one kind of mapping.
type section struct {
	title string // where it stands in the document
	about string
	keys  []key
}

// key is what may be written under one name.
type key struct {
	name     string
	kind     string // what its value is, in words
	required bool
	example  string // a value, for keys that are required
	def      string // the value that an absent key has; empty: see absent
	absent   string // what an absent key means, where def can't say it
	min, max uint64 // bounds of a number; both 0 for other kinds
	rule     string // what else the value must keep to
	doc      string // what it is for
	since    string // MetalLB's first version that has it, or Herald
}

// key returns the section's key of that name.
func (s *section) key(name string) (key, bool) {
	for _, k := range s.keys {
		if k.name == name {
			return k, true
		}
	}
	return key{}, false
}

// Kinds of values.
const (
	textKind     = "text"
	numberKind   = "number"
	flagKind     = "true or false"
	durationKind = "duration"
	addressKind  = "IP address"
	textListKind = "list of text"
)

// Versions of MetalLB in which keys appeared; ours is what MetalLB's
// document never had.
const (
	v09  = "0.9"
	v011 = "0.11"
	v012 = "0.12"
	ours = "Herald"
)

const maxUint32 = 1<<32 - 1

// sections are all of them, in the order of the reference.
var sections = []*section{
	&documentKeys, &poolKeys, &advertisementKeys, &peerKeys, &selectorKeys, &expressionKeys, &profileKeys,
}

var documentKeys = section{
	title: "the document",
	about: "The top level. An empty document is valid: nothing is configured.",
	keys: []key{
		{name: "address-pools", kind: "list of pools", absent: "none", since: v09,
			doc: "the addresses that Services may get"},
		{name: "peers", kind: "list of peers", absent: "none", since: v09,
			doc: "the BGP routers that nodes connect to"},
		{name: "bgp-communities", kind: "mapping of text to text", absent: "none", since: v09,
			rule: "each value is a:b (0 to 65535 each) or large:a:b:c (0 to 4294967295 each), used or not",
			doc:  "names for BGP communities; they win over the well-known names"},
		{name: "bfd-profiles", kind: "list of profiles", absent: "none", since: v012,
			doc: "parameters of BFD sessions, for peers to name"},
	},
}

var poolKeys = section{
	title: "address-pools[]",
	about: "A named set of address ranges and what may be done with them.",
	keys: []key{
		{name: "name", kind: textKind, required: true, example: "default", since: v09,
			rule: "unique", doc: "the name by which Services ask for the pool"},
		{name: "protocol", kind: textKind, required: true, example: "layer2", since: v09,
			rule: "layer2 or bgp", doc: "how the addresses are announced"},
		{name: "addresses", kind: textListKind, required: true, example: "[192.168.1.240/28]", since: v09,
			rule: "at least one; each a prefix (192.168.1.0/24, host bits are dropped) or a range " +
				"(192.168.1.10-192.168.1.20, both ends included), IPv4 or IPv6; none overlaps another, in whatever pool",
			doc: "the addresses, in the order in which they are handed out"},
		{name: "avoid-buggy-ips", kind: flagKind, def: "false", since: v09,
			doc: "leave out IPv4 addresses that end in .0 or .255"},
		{name: "auto-assign", kind: flagKind, def: "true", since: v09,
			doc: "whether Services that name neither a pool nor an address may get one from here"},
		{name: "interfaces", kind: textListKind, absent: "every one that fits the address", since: ours,
			rule: "layer2 pools only; each a Linux interface name (at most 15 bytes); no name twice",
			doc:  "the network interfaces on which nodes answer for the addresses"},
		{name: "bgp-advertisements", kind: "list of advertisements", absent: "one with all defaults", since: v09,
			rule: "bgp pools only; no two alike; no two that advertise one prefix to the same peer from the same nodes " +
				"with different localpref",
			doc: "the BGP routes made from each address"},
	},
}

var advertisementKeys = section{
	title: "address-pools[].bgp-advertisements[]",
	about: "One way of making an address into a BGP route.",
	keys: []key{
		{name: "aggregation-length", kind: numberKind, def: "32", max: 32, since: v09,
			rule: "not shorter than the largest block of any IPv4 range of the pool",
			doc:  "the prefix length to which IPv4 addresses are aggregated"},
		{name: "aggregation-length-v6", kind: numberKind, def: "128", max: 128, since: v012,
			rule: "not shorter than the largest block of any IPv6 range of the pool",
			doc:  "the prefix length to which IPv6 addresses are aggregated"},
		{name: "localpref", kind: numberKind, def: "0", max: maxUint32, since: v09,
			doc: "the local preference, sent to iBGP peers only"},
		{name: "communities", kind: textListKind, absent: "none", since: v09,
			rule: "each a name of bgp-communities, a well-known name, a:b, or large:a:b:c; no text twice",
			doc:  "the BGP communities attached to the route"},
		{name: "peers", kind: textListKind, absent: "all", since: ours,
			rule: "each the name of a peer; no name twice", doc: "the peers that get the route"},
		{name: "node-selectors", kind: "list of selectors", absent: "all nodes", since: ours,
			doc: "the nodes that advertise the route: those that any of the selectors matches"},
	},
}

var peerKeys = section{
	title: "peers[]",
	about: "A BGP router to which nodes connect. No two peers may be alike.",
	keys: []key{
		{name: "name", kind: textKind, absent: "the address, see the package documentation", since: ours,
			rule: "unique", doc: "the name by which advertisements, metrics and messages call the peer"},
		{name: "my-asn", kind: numberKind, required: true, example: "64512", min: 1, max: maxUint32, since: v09,
			doc: "the AS number that nodes speak as"},
		{name: "peer-asn", kind: numberKind, required: true, example: "64512", min: 1, max: maxUint32, since: v09,
			doc: "the AS number of the router"},
		{name: "peer-address", kind: addressKind, required: true, example: "10.0.0.1", since: v09,
			rule: "a unicast address", doc: "the address of the router"},
		{name: "peer-port", kind: numberKind, def: "179", max: 65535, since: v09,
			rule: "0 means 179", doc: "the TCP port of the router"},
		{name: "source-address", kind: addressKind, absent: "chosen by the node's routes", since: v011,
			rule: "of peer-address's family", doc: "the node's own address to connect from"},
		{name: "router-id", kind: addressKind, absent: "derived from the node", since: v09,
			rule: "IPv4, not 0.0.0.0", doc: "the BGP identifier that nodes use with this peer"},
		{name: "hold-time", kind: durationKind, def: "90s", since: v09,
			rule: "0, or 3s to 65535s; cut to whole seconds",
			doc:  "the hold time proposed: the router is given up after this long without a word; 0: never"},
		{name: "keepalive-time", kind: durationKind, absent: "a third of hold-time", since: v012,
			rule: "1s to hold-time; 0 where hold-time is 0; cut to whole seconds",
			doc:  "the pause between two KEEPALIVE messages"},
		{name: "connect-time", kind: durationKind, def: "1s", since: ours,
			rule: "1s to 65535s; cut to whole seconds",
			doc:  "the pause before the second attempt to connect; it grows from there"},
		{name: "password", kind: textKind, absent: "none", since: v09,
			rule: "at most 80 bytes; not beside password-secret", doc: "the key of TCP MD5 signatures (RFC 2385)"},
		{name: "password-secret", kind: textKind, absent: "none", since: ours,
			rule: "a Secret's name; not beside password",
			doc:  "the Secret in Herald's namespace whose entry password is the key of TCP MD5 signatures"},
		{name: "ebgp-multihop", kind: flagKind, def: "false", since: v012,
			rule: "not with my-asn equal to peer-asn", doc: "whether the router may be more than one hop away"},
		{name: "bfd-profile", kind: textKind, absent: "no BFD", since: v012,
			rule: "the name of one of bfd-profiles", doc: "watch the router with BFD, with these parameters"},
		{name: "node-selectors", kind: "list of selectors", absent: "all nodes", since: v09,
			doc: "the nodes that connect: those that any of the selectors matches"},
	},
}

var selectorKeys = section{
	title: "node-selectors[]",
	about: "A node matches when all the conditions hold. A selector without conditions matches every node.",
	keys: []key{
		{name: "match-labels", kind: "mapping of text to text", absent: "no condition", since: v09,
			rule: "label keys and values as in Kubernetes", doc: "labels that the node has, with these values"},
		{name: "match-expressions", kind: "list of expressions", absent: "no condition", since: v09,
			doc: "further conditions on the node's labels"},
	},
}

var expressionKeys = section{
	title: "node-selectors[].match-expressions[]",
	about: "A condition on one label.",
	keys: []key{
		{name: "key", kind: textKind, required: true, example: "kubernetes.io/hostname", since: v09,
			rule: "a label key as in Kubernetes", doc: "the label"},
		{name: "operator", kind: textKind, required: true, example: "In", since: v09,
			rule: "In, NotIn, Exists or DoesNotExist", doc: "how the label is compared with the values"},
		{name: "values", kind: textListKind, absent: "none", since: v09,
			rule: "at least one for In and NotIn, none for the others", doc: "the values to compare with"},
	},
}

var profileKeys = section{
	title: "bfd-profiles[]",
	about: "Parameters of BFD sessions (RFC 5880), asynchronous mode.",
	keys: []key{
		{name: "name", kind: textKind, required: true, example: "fast", since: v012,
			rule: "unique", doc: "the name by which peers ask for the profile"},
		{name: "receive-interval", kind: numberKind, def: "300", min: 10, max: 60000, since: v012,
			doc: "milliseconds: the fastest that the router may send to us"},
		{name: "transmit-interval", kind: numberKind, def: "300", min: 10, max: 60000, since: v012,
			doc: "milliseconds: the fastest that we send to the router"},
		{name: "detect-multiplier", kind: numberKind, def: "3", min: 2, max: 255, since: v012,
			doc: "how many packets in a row must be missing before the session is down"},
		{name: "echo-interval", kind: numberKind, def: "50", min: 10, max: 60000, since: v012,
			doc: "milliseconds; it is checked and has no effect, as there is no echo mode"},
		{name: "echo-mode", kind: flagKind, def: "false", since: v012,
			rule: "false: echo mode is not supported", doc: "refused when true, so that nobody relies on it"},
		{name: "passive-mode", kind: flagKind, def: "false", since: v012,
			doc: "whether we wait for the router to send first"},
		{name: "minimum-ttl", kind: numberKind, def: "254", min: 1, max: 254, since: v012,
			doc: "for multihop sessions: packets that arrive with a lower TTL are dropped"},
	},
}
