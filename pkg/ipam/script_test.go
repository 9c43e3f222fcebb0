package ipam_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go4.org/netipx"

	"github.com/herald-lb/herald/pkg/config"
	"github.com/herald-lb/herald/pkg/ipam"
)

// run runs a script on a new allocator, one call a line:
//
//	pools a 1.2.3.0/30 2001:db8::/126; b,avoid,manual 1.2.4.0-1.2.4.9
//	allocate s1 =1.2.3.1 pool=a key=k backend=b 80/TCP -> 1.2.3.1
//	adopt s2 v6 shows 2001:db8::1
//	adopt-all s1 day=2 shows 1.2.3.1; s2 deleting shows 1.2.3.1
//	release s1
//	observe s1 1.2.3.1 -> nothing
//	held s1 -> nothing
//	usage -> a/IPv4=0+1/4 a/IPv6=0+0/4
//	stranded b 1.2.4.0/24 -> s1:1.2.3.1:NotInPool
//
// A Service wants IPv4 alone unless it says v6, require, prefer, or, with IPv6
// first, require64 or prefer64. After the arrow comes what the call must tell:
// addresses held, -ADDRESS:Reason for each cleared, +ADDRESS for each opened,
// !Reason for the refusal.
func run(t *testing.T, script string) *ipam.Allocator {
	t.Helper()
	a := ipam.New()
	for i, line := range strings.Split(strings.TrimSpace(script), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		call, want, checked := strings.Cut(line, " -> ")
		if got := step(t, a, call); checked && got != want {
			t.Errorf("line %d: %s\n got %s\nwant %s", i+1, call, got, want)
		}
	}
	return a
}

// step makes one call and returns what it tells.
func step(t *testing.T, a *ipam.Allocator, call string) string {
	t.Helper()
	verb, rest, _ := strings.Cut(call, " ")
	words := strings.Fields(rest)
	switch verb {
	case "pools":
		a.Reconfigure(pools(t, rest))
		return ""
	case "allocate":
		return tell(a.Allocate(adoption(t, rest).Request))
	case "adopt":
		ad := adoption(t, rest)
		a.Adopt(ad.Request, ad.Held)
		return ""
	case "adopt-all":
		var all []ipam.Adoption
		for _, s := range strings.Split(rest, ";") {
			all = append(all, adoption(t, s))
		}
		a.AdoptAll(all)
		return ""
	case "release":
		a.Release(words[0])
		return ""
	case "observe":
		return list(a.Observe(words[0], addresses(t, words[1:])))
	case "held":
		held, _ := a.Held(words[0])
		return list(held.Addresses)
	case "usage":
		var out []string
		for _, u := range a.Usage() {
			out = append(out, fmt.Sprintf("%s/%v=%d+%d/%d", u.Pool, u.Family, u.InUse, u.Draining, u.Size))
		}
		return strings.Join(out, " ")
	case "stranded":
		var out []string
		for _, s := range a.Stranded(pools(t, rest)) {
			out = append(out, fmt.Sprintf("%s:%v:%v", s.Service, s.Address, reason(s.Reason)))
		}
		return strings.Join(append(out, "nothing")[:max(1, len(out))], " ")
	}
	t.Fatalf("no such call: %s", call)
	return ""
}

// tell puts what Allocate returns into words.
func tell(got ipam.Assignment, err error) string {
	words := []string{list(got.Addresses)}
	for _, c := range got.Cleared {
		words = append(words, fmt.Sprintf("-%v:%v", c.Address, reason(c.Reason)))
	}
	for _, o := range got.Opened {
		words = append(words, fmt.Sprintf("+%v", o))
	}
	if err != nil {
		words = append(words, "!"+reason(err).String())
	}
	return strings.Join(words, " ")
}

func list(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "nothing"
	}
	return strings.Trim(fmt.Sprint(addrs), "[]")
}

func reason(err error) ipam.Reason {
	var refusal *ipam.Refusal
	if !errors.As(err, &refusal) {
		return 0
	}
	return refusal.Reason
}

// adoption reads "s1 v6 =2001:db8::1 key=k 80/TCP deleting day=3 shows 2001:db8::1".
func adoption(t *testing.T, s string) ipam.Adoption {
	t.Helper()
	wants, shows, _ := strings.Cut(s, " shows ")
	words := strings.Fields(wants)
	ad := ipam.Adoption{Held: addresses(t, strings.Fields(shows))}
	r := &ad.Request
	r.UID, r.Service, r.Families = words[0], words[0], []ipam.Family{ipam.IPv4}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch {
		case key == "":
			r.Addresses = append(r.Addresses, addresses(t, []string{value})...)
		case key == "pool":
			r.Pool = value
		case key == "key":
			r.SharingKey = value
		case key == "backend":
			r.BackendKey = value
		case key == "day":
			day, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			ad.Created = time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)
		case w == "deleting":
			ad.Deleting = true
		case w == "v6":
			r.Families = []ipam.Family{ipam.IPv6}
		case strings.HasPrefix(w, "require"), strings.HasPrefix(w, "prefer"):
			r.Families, r.Policy = []ipam.Family{ipam.IPv4, ipam.IPv6}, ipam.PreferDualStack
			if strings.HasPrefix(w, "require") {
				r.Policy = ipam.RequireDualStack
			}
			if strings.HasSuffix(w, "64") {
				slices.Reverse(r.Families)
			}
		case strings.Contains(w, "/"):
			number, protocol, _ := strings.Cut(w, "/")
			port, err := strconv.ParseUint(number, 10, 16)
			if err != nil {
				t.Fatal(err)
			}
			r.Ports = append(r.Ports, ipam.Port{Protocol: protocol, Port: uint16(port)})
		default:
			t.Fatalf("no such word: %s", w)
		}
	}
	return ad
}

// pools reads "a 1.2.3.0/30 2001:db8::/126; b,avoid,manual 1.2.4.0-1.2.4.9".
func pools(t testing.TB, s string) []config.Pool {
	t.Helper()
	var out []config.Pool
	for _, one := range strings.Split(s, ";") {
		words := strings.Fields(one)
		if len(words) == 0 {
			continue
		}
		flags := strings.Split(words[0], ",")
		p := config.Pool{
			Name: flags[0], Protocol: config.Layer2,
			AutoAssign:    !slices.Contains(flags, "manual"),
			AvoidBuggyIPs: slices.Contains(flags, "avoid"),
		}
		for _, w := range words[1:] {
			r, err := netipx.ParseIPRange(w)
			if prefix, notPrefix := netip.ParsePrefix(w); notPrefix == nil {
				r, err = netipx.RangeOfPrefix(prefix), nil
			}
			if err != nil {
				t.Fatal(err)
			}
			p.Ranges = append(p.Ranges, r)
		}
		out = append(out, p)
	}
	return out
}

func addresses(t *testing.T, words []string) []netip.Addr {
	t.Helper()
	var out []netip.Addr
	for _, w := range words {
		a, err := netip.ParseAddr(w)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}
