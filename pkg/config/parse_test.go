package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Documents with a hole, for tables of rules.
const (
	poolWith    = "address-pools: [{name: a, protocol: layer2, addresses: [10.0.0.0/24], %s}]"
	bgpPoolWith = "address-pools: [{name: a, protocol: bgp, addresses: [10.0.0.0/24, 2001:db8::/64], bgp-advertisements: [{%s}]}]"
	peerWith    = "peers: [{my-asn: 64512, peer-asn: 64513, peer-address: 10.0.0.1, %s}]"
	rangeOf     = "address-pools: [{name: a, protocol: layer2, addresses: [%s]}]"
)

// TestBounds shows each rule at its edge: problem is part of the only mistake,
// or empty for a document that is accepted.
func TestBounds(t *testing.T) {
	for _, row := range []struct{ frame, text, problem string }{
		{peerWith, "peer-port: 65535", ""},
		{peerWith, "peer-port: 65536", "out of range"},
		{peerWith, "hold-time: 3s", ""},
		{peerWith, "hold-time: 2999ms", "too short"},
		{peerWith, "hold-time: 500ms", ""},
		{peerWith, "hold-time: 0", ""},
		{peerWith, "hold-time: 65535.9s", ""},
		{peerWith, "hold-time: 65536s", "too long"},
		{peerWith, "hold-time: ''", "not a duration"},
		{peerWith, "hold-time: null", ""},
		{peerWith, "hold-time: 30s, keepalive-time: 30s", ""},
		{peerWith, "hold-time: 30s, keepalive-time: 31s", "longer than hold-time"},
		{peerWith, "hold-time: 0s, keepalive-time: 0s", ""},
		{peerWith, "hold-time: nonsense, keepalive-time: 90s", "not a duration"},
		{peerWith, "keepalive-time: -1s", "negative"},
		{peerWith, "connect-time: 65535s", ""},
		{peerWith, "connect-time: 65536s", "out of range"},
		{peerWith, "password: " + strings.Repeat("p", 80), ""},
		{peerWith, "password: " + strings.Repeat("p", 81), "has 81 bytes"},
		{peerWith, "password: '', password-secret: s", ""},
		{peerWith, "password-secret: " + strings.Repeat("s", 253), ""},
		{peerWith, "password-secret: " + strings.Repeat("s", 254), "not the name of a Secret"},
		{peerWith, "router-id: '::ffff:1.2.3.4'", ""},
		{peerWith, "source-address: '::ffff:1.2.3.4'", ""},
		{peerWith, "ebgp-multihop: y", ""},
		{peerWith, "ebgp-multihop: 'y'", "in quotes"},
		{peerWith, "ebgp-multihop: !!str true", "in quotes"},
		{peerWith, "peer-port: !!int '179'", ""},
		{peerWith, "peer-port: 0b11", ""},
		{peerWith, "peer-port: 1_000", ""},
		{peerWith, "peer-port: 1e3", "not a whole number"},
		{peerWith, "peer-port: 1.5", "not a whole number"},
		{peerWith, "name: ~", ""},
		{peerWith, "node-selectors: [{}]", ""},
		{peerWith, "node-selectors: {}", "should be a list"},

		{poolWith, "auto-assign: null", ""},
		{poolWith, "auto-assign: Off", ""},
		{poolWith, "auto-assign: oFF", "neither true nor false"},
		{poolWith, "auto-assign: 'false'", "in quotes"},
		{poolWith, "interfaces: [exactly15bytes_]", ""},
		{poolWith, "interfaces: [exactly16bytes__]", "longer than 15 bytes"},
		{poolWith, "interfaces: ['a:1']", "contains / or :"},
		{poolWith, "interfaces: [eth0, eth0]", "there twice"},

		{rangeOf, "10.0.0.0/32", ""},
		{rangeOf, "0.0.0.0/0", ""},
		{rangeOf, "10.0.0.5-10.0.0.5", ""},
		{rangeOf, "10.0.0.0/25, 10.0.0.128/25", ""},
		{rangeOf, "10.0.0.0/25, 10.0.0.127-10.0.0.128", "overlaps"},
		{rangeOf, "10.0.0.5", "not a range"},
		{rangeOf, "'10.0.0.1-10.0.0.2-10.0.0.3'", "is not an IP address"},
		{rangeOf, "'::ffff:10.0.0.0/95'", "mixes IPv4 and IPv6"},
		{rangeOf, "'::ffff:10.0.0.1-10.0.0.2'", ""},
		{rangeOf, "'2001:db8::1'", "not a range"},
		{rangeOf, "host-name", "is not an IP address"},
		{rangeOf, "'2001:db8::1-5'", "the end \"5\" is not an IP address"},
		{rangeOf, strings.Repeat("x", 99), `"` + strings.Repeat("x", 64) + `…"`},
		{rangeOf, "'a\u2028b'", `"a b" is not a range`},

		{bgpPoolWith, "aggregation-length: 24", ""},
		{bgpPoolWith, "aggregation-length: 23", "larger than the range"},
		{bgpPoolWith, "aggregation-length: -24", "out of range"},
		{bgpPoolWith, "aggregation-length-v6: 64", ""},
		{bgpPoolWith, "aggregation-length-v6: 63", "larger than the range"},
		{bgpPoolWith, "peers: [tor]", "define the peer under peers"},
		{bgpPoolWith, "localpref: 4294967295", ""},
		{bgpPoolWith, "localpref: 4294967296", "out of range"},
		{bgpPoolWith, "communities: [0:0, 65535:65535, large:0:0:0]", ""},
		{bgpPoolWith, "communities: [65536:0]", "not a community"},
		{bgpPoolWith, "communities: ['']", "not a community"},
		{bgpPoolWith, "communities: [graceful-shutdown, accept-own, llgr-stale, no-llgr, blackhole]", ""},
		{bgpPoolWith, "communities: [no-export, no-advertise, no-export-subconfed, no-peer]", ""},
	} {
		doc := fmt.Sprintf(row.frame, row.text)
		_, err := Parse([]byte(doc))
		switch errs, _ := err.(Errors); {
		case row.problem == "" && err != nil:
			t.Errorf("%s: %v", row.text, err)
		case row.problem != "" && (len(errs) != 1 || !strings.Contains(err.Error(), row.problem)):
			t.Errorf("%s: got %v, want one mistake with %q", row.text, err, row.problem)
		}
	}
}

// TestOneAggregatePerEntry shows that a range that is no single prefix may be
// aggregated to its widest block, and no further.
func TestOneAggregatePerEntry(t *testing.T) {
	const frame = "address-pools: [{name: a, protocol: bgp, addresses: [3.3.3.2-3.3.3.254], bgp-advertisements: [{aggregation-length: %d}]}]"
	mustParse(t, fmt.Sprintf(frame, 26))
	parseErrors(t, fmt.Sprintf(frame, 25))
}

func TestPlaces(t *testing.T) {
	errs := parseErrors(t, "peers:\n- my-asn: 64512\n  peer-asn: 0\n  peer-address: 10.0.0.1\n")
	want := Error{Path: "peers[0].peer-asn", Line: 3, Column: 13, Problem: "0 is out of range", Hint: "1 to 4294967295"}
	if len(errs) != 1 || *errs[0] != want {
		t.Errorf("got %+v, want %+v", errs, want)
	}
	var one *Error
	if !errors.As(error(errs), &one) || *one != want {
		t.Errorf("errors.As finds %v", one)
	}
}

// TestNoText shows that what is not text is refused where it stands.
func TestNoText(t *testing.T) {
	for doc, want := range map[string]Error{
		"peers:\n- \xff":               {Line: 2, Column: 3, Problem: "this is not UTF-8 text"},
		"peers: []\r\n\t# a\x07":       {Line: 2, Column: 5, Problem: "there is a control character here"},
		"\xff\xfep\x00e\x00e\x00r\x00": {Line: 1, Column: 1, Problem: "this is not UTF-8 text"},
	} {
		if errs := parseErrors(t, doc); len(errs) != 1 || *errs[0] != want {
			t.Errorf("%q: got %+v, want %+v", doc, errs, want)
		}
	}
	mustParse(t, "\ufeffpeers: [] # with a byte order mark")
}

// TestSecretsStayOut shows that no slip in writing a password brings it into a
// message.
func TestSecretsStayOut(t *testing.T) {
	const secret = "hunter2"
	for _, text := range []string{
		"password: *hunter2", "password: !hunter2", "password: &hunter2", "password: [hunter2]", "password: {hunter2: x}",
		"password: hunter2: x", "password: 'hunter2", "password: \"hunter2\\q\"", "password: @hunter2", "password: `hunter2",
		"password: %hunter2", "password: | hunter2", "password: hunter2\n  password: hunter2",
		"passwrd: hunter2", "Password: hunter2", "password:hunter2: x", "password:hunter2", "my-asn: 1\n    password:hunter2",
		"password: hunter2\n  password-secret: r", "password: hunter2" + strings.Repeat("x", 80), "password-secret: hunter2 ",
		"password-secret: hunter2!", "password: hunter2\n  peer-asn: x", "? password\n  : hunter2: x",
	} {
		doc := "peers:\n- peer-asn: 1\n  " + text + "\n"
		if msg := parseErrors(t, doc).Error(); strings.Contains(msg, secret) {
			t.Errorf("%s\n%s", doc, msg)
		}
	}
}

// TestExplosions shows that documents made to blow up are refused, or read at
// a bounded cost.
func TestExplosions(t *testing.T) {
	laughs := "address-pools: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 12; i++ {
		laughs += fmt.Sprintf("k%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	merges := "bgp-communities:\n  a: 1:2\n"
	for i := range 40 {
		merges += fmt.Sprintf("k%d: &m%d {<<: [*m%d, *m%d]}\n", i+1, i+1, i, i)
	}
	merges = "bgp-communities: &m0 {a: 1:2}\n" + strings.TrimPrefix(merges, "bgp-communities:\n  a: 1:2\n")
	for _, row := range []struct{ name, doc, problem string }{
		{"billion laughs", laughs, "too large"},
		{"merge keys", merges, "too large"},
		{"self", "peers: &a {<<: *a}", "contains its own alias"},
		{"size", strings.Repeat("#", maxBytes+1), "larger than 1 MiB"},
		{"depth", strings.Repeat("[", 20000), "exceeded max depth"},
	} {
		if errs := parseErrors(t, row.doc); len(errs) != 1 || !strings.Contains(errs[0].Problem, row.problem) {
			t.Errorf("%s: got %v, want %q", row.name, errs, row.problem)
		}
	}
	mustParse(t, strings.Repeat("#", maxBytes))

	errs := parseErrors(t, "address-pools: ["+strings.Repeat("3,", 1000)+"]")
	if len(errs) != maxErrors+1 || errs[maxErrors].Problem != "800 more mistakes from here on" {
		t.Errorf("1000 mistakes give %d, the last %v", len(errs), errs[len(errs)-1])
	}
}
