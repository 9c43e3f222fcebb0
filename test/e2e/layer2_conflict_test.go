package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/herald-lb/herald/test/herald"
	"github.com/herald-lb/herald/test/lab"
)

const stranger = "stranger"

// stranger adds a host to the LAN that is no node, and returns its MAC.
func (c *cluster) stranger(t *testing.T) string {
	t.Helper()
	if _, err := c.Address(stranger, clientAddress); err != nil {
		c.must(t, c.AddHost(stranger))
	}
	conn, mac, err := c.wire(stranger)
	c.must(t, err)
	conn.Close()
	return mac.String()
}

// takes has the stranger take an address, until it drops it.
func (c *cluster) takes(t *testing.T, a netip.Addr) (drops func()) {
	t.Helper()
	p := netip.PrefixFrom(a, a.BitLen()).String()
	args := []string{"ip", "addr", "add", p, "dev", "eth0"}
	if a.Is6() {
		args = append(args, "nodad")
	}
	_, err := c.Exec(context.Background(), stranger, args...)
	c.must(t, err)
	dropped := false
	drops = func() {
		if !dropped {
			dropped = true
			_, err := c.Exec(context.Background(), stranger, "ip", "addr", "del", p, "dev", "eth0")
			c.must(t, err)
		}
	}
	t.Cleanup(drops)
	return drops
}

// saysEvent waits for an event on a Service whose message has a text.
func (c *cluster) saysEvent(t *testing.T, ns, service, reason, text string) {
	t.Helper()
	eventually(t, soon, fmt.Sprintf("%s/%s has an event %s that names %s", ns, service, reason, text), func() error {
		events, err := c.Client().CoreV1().Events(ns).List(context.Background(), metav1.ListOptions{
			FieldSelector: "involvedObject.name=" + service + ",reason=" + reason,
		})
		if err != nil {
			return err
		}
		for _, e := range events.Items {
			if strings.Contains(e.Message, text) {
				t.Logf("event on %s: %s: %s", service, e.Reason, e.Message)
				return nil
			}
		}
		return fmt.Errorf("%d events", len(events.Items))
	})
}

// sum is the sum of a metric of all announcers.
func (c *cluster) sum(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	var sum float64
	for _, node := range c.Nodes() {
		text, err := c.Metrics(context.Background(), node)
		c.must(t, err)
		sum += herald.Metric(text, name, labels...)
	}
	return sum
}

// An address that a stranger has is not announced, and its Service's users are
// told whose it is; it is announced when it is free.
func TestAddressInUseIsNotAnnounced(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "in-use")
	mac := c.stranger(t)
	c.workload(t, ns, "web", 1, "")
	for _, a := range []string{"192.168.31.248", "fd31::24c"} {
		a := netip.MustParseAddr(a)
		name := map[bool]string{true: "four", false: "six"}[a.Is4()]
		drops := c.takes(t, a)
		c.expose(t, ns, name, selecting("web"), annotated("loadBalancerIPs", a.String()), ofFamily(a))
		c.saysEvent(t, ns, name, "AddressInUse", mac)
		if owner := c.owner(t, a); owner != stranger {
			t.Errorf("%s answers for %v", owner, a)
		}
		if held := c.sum(t, "herald_layer2_events_total", `event="held"`); held == 0 {
			t.Error("no metric says that an address is held")
		}
		drops()
		dropped := time.Now()
		eventually(t, soon, "a node answers", func() error {
			if owner, err := c.who(t, a); err != nil || owner == "" || owner == stranger {
				return errors.Join(err, fmt.Errorf("%q answers", owner))
			}
			return nil
		})
		t.Logf("%v was announced %v after the stranger dropped it", a, time.Since(dropped).Round(time.Millisecond))
		c.flushNeighbours(t)
		c.answers(t, a, 80)
	}
}

// flushNeighbours makes the client ask anew.
func (c *cluster) flushNeighbours(t *testing.T) {
	t.Helper()
	_, err := c.Exec(context.Background(), lab.Client, "ip", "neigh", "flush", "dev", "eth0")
	c.must(t, err)
}

// A stranger that takes an address in use is reported, and resisted at most once
// in ten seconds.
func TestAddressTakenInUseIsDefended(t *testing.T) {
	c := onCluster(t)
	mac := c.stranger(t)
	s := c.site(t, "taken", 1)
	time.Sleep(5 * time.Second) // new owners take an unknown MAC for a node's that they don't know yet
	for _, a := range s.both() {
		family := map[bool]string{true: `family="ipv4"`, false: `family="ipv6"`}[a.Is4()]
		before := c.sum(t, "herald_layer2_announcements_total", family)
		drops := c.takes(t, a)
		// The stranger says so, five times as often as it would have to.
		for range 5 {
			c.claim(t, a)
			time.Sleep(300 * time.Millisecond)
		}
		c.saysEvent(t, s.ns, "s0", "AddressConflict", mac)
		if n := c.sum(t, "herald_layer2_announcements_total", family) - before; n < 1 || n > 4 {
			t.Errorf("%v was announced %v times against five claims within two seconds, want it once", a, n)
		} else {
			t.Logf("%v: %v announcements against five claims", a, n)
		}
		drops()
		c.flushNeighbours(t)
		c.answers(t, a, 80)
	}
	eventually(t, 20*time.Second, "a metric counts the conflicts", func() error {
		if n := c.sum(t, "herald_layer2_conflicts"); n < 2 {
			return fmt.Errorf("it says %v", n)
		}
		return nil
	})
}

// claim has the stranger announce an address.
func (c *cluster) claim(t *testing.T, a netip.Addr) {
	t.Helper()
	conn, mac, err := c.wire(stranger)
	c.must(t, err)
	conn.Close()
	frame, err := announcement(mac, a)
	c.must(t, err)
	c.must(t, c.sendFrames(stranger, frame))
}
