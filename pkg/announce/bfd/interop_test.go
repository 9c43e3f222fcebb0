package bfd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/herald-lb/herald/pkg/announce/bgp/bgptest"
)

// running is a Manager with real sockets.
func running(t *testing.T) (*Manager, context.CancelFunc) {
	m := New(Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return m, stop
}

func (m *Manager) status(key string) Status {
	for _, s := range m.States() {
		if s.Key == key {
			return s
		}
	}
	return Status{}
}

func await(t *testing.T, m *Manager, key string, want State, within time.Duration) time.Duration {
	t.Helper()
	return bgptest.Eventually(t, within, key+" becomes "+want.String(), func() error {
		if s := m.status(key); s.State != want {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// halfASecond is slower than one would use: tests share their CPUs with
// others, and a process that can't run for 150 ms is not heard for as long.
func halfASecond(peer string) SessionConfig {
	return SessionConfig{Peer: netip.MustParseAddr(peer), TransmitInterval: 100 * time.Millisecond, ReceiveInterval: 100 * time.Millisecond, DetectMultiplier: 5}
}

func TestSockets(t *testing.T) { bgptest.Run(t, testSockets) }

func testSockets(t *testing.T) {
	a, stopA := running(t)
	b, _ := running(t)
	left, right := halfASecond("127.0.0.2"), halfASecond("127.0.0.1")
	left.Local, right.Local = netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	far, near := left, right
	far.Multihop, near.Multihop = true, true
	a.Apply(map[string]SessionConfig{"one hop": left, "many": far})
	b.Apply(map[string]SessionConfig{"one hop": right, "many": near})
	for _, key := range []string{"one hop", "many"} {
		await(t, a, key, Up, 5*time.Second)
		await(t, b, key, Up, 5*time.Second)
	}
	// An unprivileged program of the node can send, but not with TTL 255 from
	// the right address and with the right discriminator.
	c, err := net.Dial("udp", "127.0.0.1:3784")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 10_000 {
		c.Write(Packet{State: Down, Multiplier: 3, My: 1}.Append(nil))
	}
	if s := a.status("one hop"); s.State != Up || s.Flaps != 0 {
		t.Errorf("%+v", s)
	}
	taken, _ := running(t)
	taken.Apply(map[string]SessionConfig{"x": left})
	bgptest.Eventually(t, 5*time.Second, "the port is taken", func() error {
		if s := taken.status("x"); !strings.Contains(s.Reason, "another BFD daemon") {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	stopA()
	await(t, b, "one hop", Down, time.Second)
	if s := b.status("one hop"); s.RemoteState != AdminDown {
		t.Errorf("%+v", s)
	}
}

const frrBFD = `
hostname %[1]s
bfd
 peer 10.1.0.1 local-address 10.1.0.2
  detect-multiplier 5
  receive-interval 100
  transmit-interval 100
 exit
 peer 2001:db8:1::1 local-address 2001:db8:1::2
  passive-mode
  detect-multiplier 5
  receive-interval 100
  transmit-interval 100
 exit
 peer 10.1.0.1 multihop local-address 10.255.0.1
  minimum-ttl 254
  detect-multiplier 5
  receive-interval 100
  transmit-interval 100
 exit
exit
`

func TestFRR(t *testing.T) { bgptest.Run(t, testFRR, bgptest.FRR...) }

func testFRR(t *testing.T) {
	r := bgptest.NewRouter(t, "rt1", bgptest.Link{Node: []string{"10.1.0.1/24", "2001:db8:1::1/64"}, Router: []string{"10.1.0.2/24", "2001:db8:1::2/64"}})
	r.IP("address", "add", "10.255.0.1/32", "dev", "lo")
	bgptest.Command(t, "ip", "route", "add", "10.255.0.1/32", "via", "10.1.0.2")
	r.StartFRR(fmt.Sprintf(frrBFD, "rt1"))
	m, stop := running(t)
	multihop := halfASecond("10.255.0.1")
	multihop.Multihop, multihop.MinimumTTL = true, 254
	passive := halfASecond("2001:db8:1::2")
	passive.Passive = true // FRR is to wait, too, at first
	want := map[string]SessionConfig{"v4": halfASecond("10.1.0.2"), "v6": passive, "multihop": multihop}
	m.Apply(want)
	for _, key := range []string{"v4", "multihop"} {
		t.Logf("%s up after %s", key, await(t, m, key, Up, 10*time.Second))
	}
	time.Sleep(time.Second) // nothing is to happen
	if s := m.status("v6"); s.State != Down {
		t.Errorf("both sides are passive, and the session is %+v", s)
	}
	r.Configure("bfd", "peer 2001:db8:1::1 local-address 2001:db8:1::2", "no passive-mode")
	t.Logf("v6, passive, up after %s", await(t, m, "v6", Up, 10*time.Second))
	time.Sleep(3 * time.Second) // it must stay up
	for _, s := range m.States() {
		if s.State != Up || s.Flaps != 0 || s.Interval != 100*time.Millisecond || s.Detection != 500*time.Millisecond {
			t.Errorf("%+v", s)
		}
	}

	// The router's BFD is frozen: silence.
	r.KillFRR("bfdd", "STOP")
	frozen := time.Now()
	for key := range want {
		await(t, m, key, Down, 2*time.Second)
		s := m.status(key)
		if took := s.Since.Sub(frozen); took > 700*time.Millisecond || s.Diagnostic != TimeExpired {
			t.Errorf("%s down after %s: %+v", key, took, s)
		} else {
			t.Logf("%s down after %s: %s", key, took, s.Reason)
		}
	}
	r.KillFRR("bfdd", "CONT")
	for key := range want {
		await(t, m, key, Up, 10*time.Second)
	}

	// The router's side is shut down, and comes back.
	r.Configure("bfd", "peer 10.1.0.1 local-address 10.1.0.2", "shutdown")
	await(t, m, "v4", Down, time.Second)
	if s := m.status("v4"); s.RemoteState != AdminDown || !strings.Contains(s.Reason, "has shut the session down") {
		t.Errorf("%+v", s)
	}
	r.Configure("bfd", "peer 10.1.0.1 local-address 10.1.0.2", "no shutdown")
	await(t, m, "v4", Up, 10*time.Second)

	// New intervals, by a Poll.
	slower := want["v4"]
	slower.TransmitInterval, slower.DetectMultiplier = 200*time.Millisecond, 4
	want["v4"] = slower
	m.Apply(want)
	bgptest.Eventually(t, 5*time.Second, "the router follows", func() error {
		if out := r.Vtysh("show bfd peers"); !strings.Contains(out, "Transmission interval: 200ms") || !strings.Contains(out, "Detect-multiplier: 4") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if s := m.status("v4"); s.State != Up || s.Interval != 200*time.Millisecond {
		t.Errorf("%+v", s)
	}
	stop()
	bgptest.Eventually(t, time.Second, "the router is told", func() error {
		if out := r.Vtysh("show bfd peers brief"); strings.Contains(out, " up ") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	t.Log(r.Vtysh("show bfd peers counters"))
}

const birdBFD = `
router id 10.255.0.2;
protocol device {}
protocol bfd {
	interface "node" { min rx interval 100 ms; min tx interval 100 ms; idle tx interval 300 ms; multiplier 5; };
	multihop { min rx interval 100 ms; min tx interval 100 ms; multiplier 5; };
	neighbor 10.1.0.1 dev "node";
	neighbor 2001:db8:1::1 dev "node";
	neighbor 10.1.0.1 local 10.255.0.2 multihop yes;
}
`

func TestBIRD(t *testing.T) { bgptest.Run(t, testBIRD, bgptest.BIRD...) }

func testBIRD(t *testing.T) {
	r := bgptest.NewRouter(t, "rt2", bgptest.Link{Node: []string{"10.1.0.1/24", "2001:db8:1::1/64"}, Router: []string{"10.1.0.2/24", "2001:db8:1::2/64"}})
	r.IP("address", "add", "10.255.0.2/32", "dev", "lo")
	bgptest.Command(t, "ip", "route", "add", "10.255.0.2/32", "via", "10.1.0.2")
	r.StartBIRD(birdBFD)
	m, stop := running(t)
	multihop := halfASecond("10.255.0.2")
	multihop.Multihop, multihop.MinimumTTL = true, 64
	passive := halfASecond("2001:db8:1::2")
	passive.Passive = true
	want := map[string]SessionConfig{"v4": halfASecond("10.1.0.2"), "v6": passive, "multihop": multihop}
	m.Apply(want)
	for key := range want {
		t.Logf("%s up after %s", key, await(t, m, key, Up, 10*time.Second))
	}
	time.Sleep(3 * time.Second) // it must stay up
	t.Log(r.Birdc("show", "bfd", "sessions"))
	for _, s := range m.States() {
		if s.State != Up || s.Flaps != 0 || s.Detection != 500*time.Millisecond {
			t.Errorf("%+v", s)
		}
	}
	r.IP("link", "set", "dev", "node", "down")
	for key := range want {
		await(t, m, key, Down, 2*time.Second)
	}
	r.IP("link", "set", "dev", "node", "up")
	r.IP("address", "replace", "2001:db8:1::2/64", "dev", "node", "nodad") // it went with the link
	for key := range want {
		await(t, m, key, Up, 10*time.Second)
	}
	stop()
	bgptest.Eventually(t, time.Second, "the router is told", func() error {
		if out := r.Birdc("show", "bfd", "sessions"); strings.Contains(out, " Up ") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}
