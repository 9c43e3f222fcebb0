package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse holds Parse to what it promises of any bytes: a Config that keeps
// the rules, or mistakes with lines.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		doc, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := Parse(doc)
		if err != nil {
			checkErrors(t, c, err)
			return
		}
		checkPools(t, c)
		checkPeers(t, c)
	})
}

func checkErrors(t *testing.T, c *Config, err error) {
	var errs Errors
	if !errors.As(err, &errs) || len(errs) == 0 || c != nil {
		t.Fatalf("got %v and %#v", c, err)
	}
	last := 0
	for _, e := range errs {
		if e.Line < max(last, 1) || e.Problem == "" {
			t.Errorf("out of order or without place or problem: %#v", e)
		}
		last = e.Line
	}
}

func checkPools(t *testing.T, c *Config) {
	names := map[string]bool{}
	for i := range c.Pools {
		p := &c.Pools[i]
		if p.Name == "" || names[p.Name] || len(p.Ranges) == 0 {
			t.Errorf("pool %q without a name of its own, or without ranges", p.Name)
		}
		names[p.Name] = true
		if (p.Protocol == BGP) != (len(p.Advertisements) > 0) || p.Protocol == BGP && len(p.Interfaces) > 0 {
			t.Errorf("pool %q: %s with %d advertisements and %d interfaces", p.Name, p.Protocol, len(p.Advertisements), len(p.Interfaces))
		}
		for _, r := range p.Ranges {
			if !r.IsValid() {
				t.Errorf("range %v is not valid", r)
			}
			for _, a := range []netip.Addr{r.From(), r.To()} {
				if of, ok := c.PoolOf(a); ok != p.Contains(a) || ok && of != p {
					t.Errorf("PoolOf(%s) = %v, %t; Contains = %t", a, of, ok, p.Contains(a))
				}
			}
		}
	}
	for i := 1; i < len(c.index); i++ {
		if c.index[i-1].Overlaps(c.index[i].IPRange) {
			t.Errorf("%v overlaps %v", c.index[i-1], c.index[i])
		}
	}
}

func checkPeers(t *testing.T, c *Config) {
	names := map[string]bool{}
	for _, p := range c.Peers {
		if p.Name == "" || names[p.Name] {
			t.Errorf("peer %q has no name of its own", p.Name)
		}
		names[p.Name] = true
		if p.MyASN == 0 || p.PeerASN == 0 || p.Port == 0 || !p.Address.IsValid() || p.Address.Is4In6() {
			t.Errorf("peer %q: %+v", p.Name, p)
		}
		if p.HoldTime != 0 && p.HoldTime < minHold || p.HoldTime > maxTimer || p.KeepaliveTime > p.HoldTime {
			t.Errorf("peer %q: hold time %s, keepalive time %s", p.Name, p.HoldTime, p.KeepaliveTime)
		}
	}
	for _, pool := range c.Pools {
		for _, ad := range pool.Advertisements {
			for _, name := range ad.Peers {
				if !names[name] {
					t.Errorf("pool %q names a peer %q that is not there", pool.Name, name)
				}
			}
		}
	}
}
