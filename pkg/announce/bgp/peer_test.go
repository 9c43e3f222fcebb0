package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/pkg/config"
)

// notebook is an engine that writes down what it is asked for.
type notebook struct {
	mu   sync.Mutex
	log  []string
	fail map[string]bool
}

func (n *notebook) note(format string, args ...any) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	n.log = append(n.log, line)
	if n.fail[line] {
		return errors.New("as the test wants")
	}
	return nil
}

func (n *notebook) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.log
	n.log = nil
	return l
}

func (n *notebook) open() (engine, error)       { return n, n.note("open") }
func (n *notebook) add(r Route) error           { return n.note("add %s", r.Prefix) }
func (n *notebook) remove(p netip.Prefix) error { return n.note("remove %s", p) }
func (n *notebook) connect(Peer, uint16) error  { return n.note("connect") }
func (n *notebook) disconnect() error           { return n.note("disconnect") }
func (n *notebook) close()                      { n.note("close") }

// rehearse is a Speaker without a library and with a dial of the test's.
func rehearse(t *testing.T, dial func(context.Context, Peer) (net.Conn, error)) (*Speaker, *notebook) {
	t.Helper()
	s, n := New(Options{Logger: slog.New(slog.DiscardHandler)}), &notebook{fail: map[string]bool{}}
	s.engines, s.dial = n, dial
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s, n
}

func never(ctx context.Context, _ Peer) (net.Conn, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func settle(t *testing.T, s *Speaker) {
	t.Helper()
	if err := s.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func r4(last int) Route {
	return Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(last)}), 32), NextHop: addr("10.0.0.1")}
}

func TestOnlyDifferencesAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := rehearse(t, never)
		apply := func(want []string, p Peer, routes ...Route) {
			t.Helper()
			s.Apply(map[string]Desired{"a": {Peer: p, Routes: routes}})
			settle(t, s)
			if diff := cmp.Diff(want, n.take()); diff != "" {
				t.Errorf("calls (-want +got): %s", diff)
			}
		}
		apply([]string{"open", "add 192.0.2.1/32", "add 192.0.2.2/32"}, node, r4(1), r4(2))
		apply(nil, node, r4(1), r4(2))
		apply(nil, node, r4(2), r4(1))
		changed := r4(1)
		changed.Communities = []config.Community{65535 << 16}
		apply([]string{"add 192.0.2.1/32"}, node, changed, r4(2))
		aggregate := Route{Prefix: prefix("192.0.2.0/24"), NextHop: addr("10.0.0.1")}
		apply([]string{"add 192.0.2.0/24", "remove 192.0.2.2/32"}, node, aggregate, changed)

		slower := node
		slower.ConnectTime = time.Minute
		apply(nil, slower, aggregate, changed)
		moved := node
		moved.SourceAddress = addr("192.0.2.200")
		apply(nil, moved, aggregate, changed)
		renumbered := moved
		renumbered.RouterID = addr("10.0.0.9")
		apply(nil, renumbered, aggregate, changed)

		s.Apply(nil)
		settle(t, s)
		if diff := cmp.Diff([]string{"close"}, n.take()); diff != "" {
			t.Error(diff)
		}
		apply([]string{"open", "add 192.0.2.1/32"}, node, r4(1))
	})
}

func TestFailedRouteIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := rehearse(t, never)
		n.fail["add 192.0.2.1/32"] = true
		s.Apply(map[string]Desired{"a": {Peer: node, Routes: []Route{r4(1), r4(2)}}})
		time.Sleep(time.Second)
		synctest.Wait()
		if st := s.Statuses()[0]; st.State != Connecting || st.Routes != 1 {
			t.Errorf("one bad route keeps the others from the router: %+v", st)
		}
		if diff := cmp.Diff([]string{"open", "add 192.0.2.1/32", "add 192.0.2.2/32"}, n.take()); diff != "" {
			t.Error(diff)
		}
		n.mu.Lock()
		n.fail = nil
		n.mu.Unlock()
		settle(t, s)
		if diff := cmp.Diff([]string{"add 192.0.2.1/32"}, n.take()); diff != "" {
			t.Error(diff)
		}
	})
}

// Attempts come less and less often, and the status says why there is none.
func TestAttemptsSlowDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts []time.Time
		s, _ := rehearse(t, func(_ context.Context, p Peer) (net.Conn, error) {
			attempts = append(attempts, time.Now())
			return nil, explainDial(unix.ECONNREFUSED, p)
		})
		s.Apply(map[string]Desired{"a": {Peer: node}})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := len(attempts); n < 20 || n > 32 {
			t.Errorf("%d attempts in ten minutes", n)
		}
		for i, limit := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second} {
			if pause := attempts[i+1].Sub(attempts[i]); pause < limit*3/4 || pause > limit*5/4 {
				t.Errorf("pause %d was %s, want about %s", i, pause, limit)
			}
		}
		st := s.Statuses()[0]
		if st.State != Waiting || st.Cause != Refused || st.Reason != "connection refused: no BGP on port 179 of the router" || st.Failures != len(attempts) || !st.Retry.After(time.Now()) {
			t.Errorf("status %+v", st)
		}
		before := len(attempts)
		s.Retry("a")
		synctest.Wait()
		if len(attempts) != before+1 {
			t.Error("Retry did nothing")
		}
	})
}

func TestBackoff(t *testing.T) {
	b := backoff{rand: rand.New(rand.NewPCG(1, 2))}
	about := func(got, want time.Duration) {
		t.Helper()
		if got < want*3/4 || got > want*5/4 {
			t.Errorf("got %s, want about %s", got, want)
		}
	}
	about(b.next(time.Second, 0), time.Second)
	about(b.next(time.Second, time.Second), 2*time.Second) // a short session is a failure, too
	if d := b.next(time.Second, time.Minute); d > quickRetry {
		t.Errorf("after a steady session: %s", d)
	}
	about(b.next(time.Second, 0), time.Second)
	for range 100 {
		b.next(time.Second, 0)
	}
	about(b.next(time.Second, 0), longest)
	about(b.next(2*time.Minute, 0), 2*time.Minute)
}

func TestBadSettingsAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := rehearse(t, never)
		bad := node
		bad.SourceAddress = addr("2001:db8::1")
		s.Apply(map[string]Desired{"a": {Peer: bad}, "b": {Peer: node}})
		settle(t, s)
		synctest.Wait()
		st := s.Statuses()
		if st[0].State != Misconfigured || st[0].Reason == "" || st[1].State != Connecting {
			t.Errorf("%+v", st)
		}
		n.take()
		s.Apply(map[string]Desired{"a": {Peer: node}, "b": {Peer: node}})
		settle(t, s)
		synctest.Wait()
		if st := s.Statuses(); st[0].State != Connecting || !slices.Equal(n.take(), []string{"open"}) {
			t.Errorf("%+v", st)
		}
	})
}

func TestValidate(t *testing.T) {
	if err := node.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Peer){
		"no ASN":             func(p *Peer) { p.LocalASN = 0 },
		"no peer ASN":        func(p *Peer) { p.PeerASN = 0 },
		"no address":         func(p *Peer) { p.Address = netip.Addr{} },
		"no port":            func(p *Peer) { p.Port = 0 },
		"no router-id":       func(p *Peer) { p.RouterID = netip.Addr{} },
		"router-id 0.0.0.0":  func(p *Peer) { p.RouterID = addr("0.0.0.0") },
		"IPv6 router-id":     func(p *Peer) { p.RouterID = addr("2001:db8::1") },
		"hold time 2s":       func(p *Peer) { p.HoldTime = 2 * time.Second },
		"keepalive too long": func(p *Peer) { p.KeepaliveTime = 91 * time.Second },
		"long password":      func(p *Peer) { p.Password = config.Secret(make([]byte, 81)) },
	} {
		p := node
		change(&p)
		if p.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDialErrorsAreExplained(t *testing.T) {
	secret, source, multihop := node, node, node
	secret.Password, source.SourceAddress, multihop.Multihop = "x", addr("192.0.2.200"), true
	timeout := &net.OpError{Op: "dial", Err: &net.DNSError{IsTimeout: true}}
	for _, c := range []struct {
		err    error
		peer   Peer
		cause  Cause
		reason string
	}{
		{unix.ECONNREFUSED, node, Refused, "connection refused: no BGP on port 179 of the router"},
		{unix.EHOSTUNREACH, node, Unreachable, "unreachable: no route to host; a router more than one hop away needs ebgp-multihop"},
		{unix.ENETUNREACH, multihop, Unreachable, "unreachable: network is unreachable"},
		{unix.EADDRNOTAVAIL, source, BadSource, "source-address 192.0.2.200 is not an address of this node"},
		{unix.EADDRNOTAVAIL, node, BadSource, "this node has no address from which to reach 192.0.2.1"},
		{timeout, node, NoAnswer, "no answer to TCP SYN: filtered, down, or the router expects a password"},
		{timeout, secret, NoAnswer, "no answer to TCP SYN: wrong password, filtered or down"},
		{&md5Error{unix.ENOPROTOOPT}, secret, NoMD5, "this node's kernel has no TCP MD5 (CONFIG_TCP_MD5SIG), which password needs"},
		{&md5Error{unix.EINVAL}, secret, NoMD5, "the kernel refuses the password: invalid argument"},
		{unix.EPERM, node, ConnectFailed, "cannot connect: operation not permitted"},
	} {
		if e := explainDial(&net.OpError{Op: "dial", Net: "tcp", Err: c.err}, c.peer); e.cause != c.cause || e.reason != c.reason {
			t.Errorf("%v: %s: %s", c.err, e.cause, e.reason)
		}
	}
}

// A router that would take the session for another one must forget the first.
func TestNewAddressesSayGoodbye(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Peer)
		goodbye bool
	}{
		"router":     {func(p *Peer) { p.Address = addr("192.0.2.77") }, true},
		"port":       {func(p *Peer) { p.Port = 1790 }, true},
		"source":     {func(p *Peer) { p.SourceAddress = addr("192.0.2.78") }, true},
		"ASN":        {func(p *Peer) { p.LocalASN = 64999 }, true},
		"router-id":  {func(p *Peer) { p.RouterID = addr("10.0.0.99") }, false},
		"hold time":  {func(p *Peer) { p.HoldTime = time.Minute }, false},
		"password":   {func(p *Peer) { p.Password = "other" }, false},
		"peer's ASN": {func(p *Peer) { p.PeerASN = 65001 }, false},
	} {
		now := node
		c.change(&now)
		var bye *farewell
		if got := errors.As(reconfigured(node, now), &bye); got != c.goodbye {
			t.Errorf("%s: goodbye %t", name, got)
		}
	}
}
