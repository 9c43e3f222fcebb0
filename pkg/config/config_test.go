package config

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with the file, or writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run go test with -update to make it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestGolden parses each document of testdata and compares what comes out with
// the file beside it: the values of good ones, the messages of bad ones.
func TestGolden(t *testing.T) {
	for _, kind := range []string{"good", "bad"} {
		files, err := filepath.Glob(filepath.Join("testdata", kind, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no documents: %v", err)
		}
		for _, file := range files {
			t.Run(kind+"/"+filepath.Base(file), func(t *testing.T) {
				doc, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				c, err := Parse(doc)
				if (err == nil) != (kind == "good") {
					t.Errorf("Parse: %v", err)
				}
				if err != nil {
					golden(t, strings.TrimSuffix(file, ".yaml")+".errors", err.Error()+"\n")
					return
				}
				golden(t, strings.TrimSuffix(file, ".yaml")+".values", dump(c))
			})
		}
	}
}

// dump writes a Config line by line, passwords in the clear.
func dump(c *Config) string {
	var b bytes.Buffer
	for _, p := range c.Pools {
		fmt.Fprintf(&b, "pool %q %s %v avoidBuggyIPs=%t autoAssign=%t interfaces=%q\n",
			p.Name, p.Protocol, p.Ranges, p.AvoidBuggyIPs, p.AutoAssign, p.Interfaces)
		for _, a := range p.Advertisements {
			fmt.Fprintf(&b, "  advertisement /%d /%d localpref=%d communities=%v large=%v peers=%q nodes=%s\n",
				a.AggregationLength, a.AggregationLengthV6, a.LocalPref, a.Communities, a.LargeCommunities, a.Peers,
				selectorsText(a.NodeSelectors))
		}
	}
	for _, p := range c.Peers {
		fmt.Fprintf(&b, "peer %q %s port %d AS %d to %d source=%v id=%v hold=%s keepalive=%s connect=%s\n",
			p.Name, p.Address, p.Port, p.MyASN, p.PeerASN, p.SourceAddress, p.RouterID, p.HoldTime, p.KeepaliveTime, p.ConnectTime)
		fmt.Fprintf(&b, "  password=%q secret=%q multihop=%t bfd=%q nodes=%s\n",
			p.Password.Reveal(), p.PasswordSecret, p.EBGPMultihop, p.BFDProfile, selectorsText(p.NodeSelectors))
	}
	for _, p := range c.BFDProfiles {
		fmt.Fprintf(&b, "bfd %q rx=%s tx=%s echo=%s mult=%d echoMode=%t passive=%t ttl=%d\n",
			p.Name, p.ReceiveInterval, p.TransmitInterval, p.EchoInterval, p.DetectMultiplier, p.EchoMode, p.PassiveMode, p.MinimumTTL)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

// parseErrors parses a document that must be refused.
func parseErrors(t *testing.T, doc string) Errors {
	t.Helper()
	c, err := Parse([]byte(doc))
	var errs Errors
	if !errors.As(err, &errs) || c != nil {
		t.Fatalf("Parse gave %v, %v; want Errors\n%s", c, err, doc)
	}
	return errs
}

// mustParse parses a document that must be accepted.
func mustParse(t *testing.T, doc string) *Config {
	t.Helper()
	c, err := Parse([]byte(doc))
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, doc)
	}
	return c
}

func TestPoolOf(t *testing.T) {
	c := mustParse(t, `
address-pools:
- {name: a, protocol: layer2, addresses: [10.0.1.0/24, 2001:db8::10-2001:db8::20], avoid-buggy-ips: true}
- {name: b, protocol: layer2, addresses: [10.0.0.0/24, 10.0.2.5-10.0.2.5]}
`)
	byHand := &Config{Pools: c.Pools}
	for _, row := range []struct{ address, pool string }{
		{"10.0.0.0", "b"},
		{"10.0.0.255", "b"},
		{"10.0.1.0", ""},
		{"10.0.1.1", "a"},
		{"10.0.1.254", "a"},
		{"10.0.1.255", ""},
		{"10.0.2.4", ""},
		{"10.0.2.5", "b"},
		{"10.0.2.6", ""},
		{"9.255.255.255", ""},
		{"2001:db8::f", ""},
		{"2001:db8::10", "a"},
		{"2001:db8::20", "a"},
		{"2001:db8::21", ""},
		{"2001:db8::10%eth0", ""},
		{"::ffff:10.0.0.1", ""},
	} {
		a := netip.MustParseAddr(row.address)
		for _, c := range []*Config{c, byHand} {
			p, ok := c.PoolOf(a)
			if ok != (row.pool != "") || ok && p.Name != row.pool {
				t.Errorf("PoolOf(%s) = %v, %t; want %q", row.address, p, ok, row.pool)
			}
		}
		for i := range c.Pools {
			if got, want := c.Pools[i].Contains(a), c.Pools[i].Name == row.pool; got != want {
				t.Errorf("%s contains %s: %t", c.Pools[i].Name, row.address, got)
			}
		}
	}
	if p, ok := c.PoolOf(netip.Addr{}); ok {
		t.Errorf("PoolOf of no address = %v", p)
	}
	var none *Config
	if _, ok := none.PoolOf(netip.MustParseAddr("10.0.0.1")); ok {
		t.Error("no Config has a pool for an address")
	}
	if _, ok := none.Pool("a"); ok {
		t.Error("no Config has a pool")
	}
	if p, ok := c.Pool("b"); !ok || p != &c.Pools[1] {
		t.Errorf("Pool(b) = %v, %t", p, ok)
	}
	if _, ok := c.Pool("c"); ok {
		t.Error("there is a pool c")
	}
}
