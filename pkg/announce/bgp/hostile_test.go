package bgp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/herald-lb/herald/pkg/announce/bgp/bgptest"
)

// listen opens a router's port on loopback.
func listen(t *testing.T) (net.Listener, uint16) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, uint16(l.Addr().(*net.TCPAddr).Port)
}

// TestMutatedMessages lets many routers send what no decoder expects. That the
// test's process is alive at the end is the point: GoBGP alone does not survive
// a few dozen of these. HERALD_FUZZ_OPENS sets how many sessions it takes.
func TestMutatedMessages(t *testing.T) {
	opens := uint64(300)
	if v, err := strconv.ParseUint(os.Getenv("HERALD_FUZZ_OPENS"), 10, 64); err == nil {
		opens = v
	}
	if testing.Short() {
		opens = 40
	}
	const routers = 30
	s := New(Options{Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { s.Run(ctx) })

	want := map[string]Desired{}
	var all [routers]*bgptest.Hostile
	for i := range all {
		l, port := listen(t)
		all[i] = &bgptest.Hostile{ASN: 65000, Seed: uint64(i)}
		running.Go(func() { all[i].Serve(ctx, l) })
		want[fmt.Sprint(i)] = Desired{
			Peer:   Peer{LocalASN: 64512, PeerASN: 65000, Address: addr("127.0.0.1"), Port: port, RouterID: addr("10.0.0.1"), HoldTime: 9 * time.Second, RestartTime: time.Minute, KeepOnNotification: true},
			Routes: []Route{r4(i)},
		}
	}
	good := newLoopRouter(t, 65000, 64512)
	well := Desired{Peer: good.peer(0, 64512, 65000), Routes: []Route{r4(200)}}
	s.Apply(map[string]Desired{"good": well})
	good.expect("192.0.2.200/32")
	want["good"] = well
	s.Apply(want)

	sum := func() (o, m uint64) {
		for _, h := range all {
			o, m = o+h.Opens.Load(), m+h.Messages.Load()
		}
		return o, m
	}
	deadline := time.Now().Add(30*time.Second + time.Duration(opens)*200*time.Millisecond)
	for o, _ := sum(); o < opens; o, _ = sum() {
		if time.Now().After(deadline) {
			t.Fatalf("only %d OPENs", o)
		}
		for i := range all {
			s.Retry(fmt.Sprint(i)) // no back-off here
		}
		time.Sleep(10 * time.Millisecond)
	}
	o, m := sum()
	var established uint64
	for _, p := range s.all() {
		p.mu.Lock()
		established += p.counts.sessions
		if p.name == "good" && (p.counts.sessions != 1 || len(p.counts.resets) > 0) {
			t.Errorf("the good router's session was disturbed: %+v", p.counts)
		}
		p.mu.Unlock()
	}
	t.Logf("%d OPENs, %d messages, %d sessions were established", o, m, established)
	if established < opens/10 {
		t.Error("sessions should come up")
	}
}

// misbehave runs routers that do one wrong thing in each connection, beside one
// that behaves.
func misbehave(t *testing.T, bad map[string]func(net.Conn)) (*running, *loopRouter) {
	t.Helper()
	var sessions sync.WaitGroup
	var listeners []net.Listener
	want := map[string]Desired{}
	for name, do := range bad {
		l, port := listen(t)
		sessions.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				sessions.Go(func() {
					defer c.Close()
					do(c)
				})
			}
		})
		want[name] = Desired{Peer: Peer{LocalASN: 64512, PeerASN: 65000, Address: addr("127.0.0.1"), Port: port, RouterID: addr("10.0.0.1"), HoldTime: 3 * time.Second}, Routes: []Route{r4(1)}}
		listeners = append(listeners, l)
	}
	good := newLoopRouter(t, 65000, 64512)
	want["good"] = Desired{Peer: good.peer(0, 64512, 65000), Routes: []Route{r4(2)}}
	s := start(t)
	t.Cleanup(func() {
		s.stop()
		for _, l := range listeners {
			l.Close()
		}
		sessions.Wait()
	})
	s.Apply(want)
	return s, good
}

// greeting is what a router says until the session is up.
func greeting() []byte {
	o := open{version: 4, asn: 65000, holdTime: 9, routerID: [4]byte{10, 255, 0, 7}, multiprotocol: true, ipv4: true, ipv6: true, refresh: true, asn4: 65000, hasASN4: true}
	return append(o.encode(), message(typeKeepalive)...)
}

// greet brings a session up, and returns when the other side knows.
func greet(c net.Conn) {
	g := greeting()
	c.Write(g[:len(g)-headerLen])
	for r := bufio.NewReaderSize(c, maxMessage); ; {
		msg, err := readMessage(r)
		if err != nil || messageType(msg) == typeKeepalive {
			break
		}
	}
	c.Write(message(typeKeepalive))
}

func TestBadRouters(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for timeouts: not with -short")
	}
	flood := func(msg []byte) func(net.Conn) {
		return func(c net.Conn) {
			greet(c)
			go io.Copy(io.Discard, c)
			many := []byte{}
			for len(many) < 1<<16 {
				many = append(many, msg...)
			}
			for {
				if _, err := c.Write(many); err != nil {
					return
				}
			}
		}
	}
	untilClosed := func(c net.Conn) { io.Copy(io.Discard, c) }
	cases := map[string]struct {
		do     func(net.Conn)
		cause  Cause
		reason string
		resets bool // the session was up before
	}{
		"silent":   {untilClosed, OpenTimeout, "sent no OPEN for 10s", false},
		"hangs up": {func(c net.Conn) {}, ConnectionLost, "before its OPEN", false},
		"resets":   {func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }, ConnectionLost, "before its OPEN", false},
		"OPEN and NOTIFICATION": {func(c net.Conn) {
			c.Write(greeting()[:len(greeting())-headerLen])
			c.Write(message(typeNotification, 6, 5))
			untilClosed(c)
		}, Notified, "not configured to accept this node", false},
		"session and NOTIFICATION": {func(c net.Conn) {
			greet(c)
			c.Write(message(typeNotification, 6, 4))
			untilClosed(c)
		}, Notified, "administrative reset (6/4)", true},
		"silent after its OPEN": {func(c net.Conn) {
			c.Write(greeting()[:len(greeting())-headerLen])
			untilClosed(c)
		}, HoldTimerExpired, "hold timer expired", false},
		"silent in the session": {func(c net.Conn) {
			c.Write(greeting())
			untilClosed(c)
		}, HoldTimerExpired, "hold timer expired", true},
		"other ASN": {func(c net.Conn) {
			o := open{version: 4, asn: 65001, holdTime: 9, routerID: [4]byte{10, 255, 0, 7}}
			c.Write(o.encode())
			untilClosed(c)
		}, OpenRefused, "its ASN is 65001, peer-asn says 65000", false},
		"not BGP": {func(c net.Conn) {
			io.WriteString(c, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
			untilClosed(c)
		}, Malformed, "marker", false},
		"floods with requests": {flood(message(typeRouteRefresh, 0, 1, 0, 1)), Malformed, "more than 10 ROUTE-REFRESHes", true},
	}
	bad := map[string]func(net.Conn){}
	for name, c := range cases {
		bad[name] = c.do
	}
	s, good := misbehave(t, bad)
	good.expect("192.0.2.2/32")
	for name := range cases {
		bgptest.Eventually(t, 60*time.Second, "three failures of "+name, func() error {
			if st := s.status(name); st.Failures < 3 {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
	}
	for name, c := range cases {
		p := s.peer(name)
		p.mu.Lock()
		resets, failures := p.counts.resets[c.cause], p.counts.failures[c.cause]
		p.mu.Unlock()
		if n := resets + failures; n < 2 || (resets > 0) != c.resets {
			t.Errorf("%s: %d resets, %d failures for %q", name, resets, failures, c.cause)
		}
		if s.endings(name, c.cause) == 0 || !s.wasTold(name, c.reason) {
			t.Errorf("%s: nobody was told %q: %+v", name, c.reason, s.status(name))
		}
	}
	if s.sessions("good") != 1 || s.status("good").State != Established {
		t.Errorf("the good router: %+v", s.status("good"))
	}
}

// A router may send a full table, and more: it costs neither memory nor the
// session, nor other sessions.
func TestFloodOfUpdates(t *testing.T) {
	msg := message(typeUpdate, make([]byte, 100)...)
	s, good := misbehave(t, map[string]func(net.Conn){"bad": func(c net.Conn) {
		greet(c)
		go io.Copy(io.Discard, c)
		many := []byte{}
		for len(many) < 1<<16 {
			many = append(many, msg...)
		}
		for {
			if _, err := c.Write(many); err != nil {
				return
			}
		}
	}})
	s.waitFor("bad", Established, 10*time.Second)
	good.expect("192.0.2.2/32")
	before := heap()
	time.Sleep(5 * time.Second)
	if grown := int64(heap()) - int64(before); grown > 8<<20 {
		t.Errorf("the heap has grown by %d KiB", grown>>10)
	}
	for _, name := range []string{"bad", "good"} {
		if st := s.status(name); st.State != Established || s.sessions(name) != 1 {
			t.Errorf("%s: %+v", name, st)
		}
	}
	discarded := s.peer("bad").traffic.discarded.Load()
	t.Logf("%d messages were discarded in 5 s", discarded)
	if discarded < 10_000 {
		t.Errorf("only %d messages were discarded", discarded)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A router that does not read gets its session closed after the hold time.
func TestRouterStopsReading(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	s, good := misbehave(t, map[string]func(net.Conn){"bad": func(c net.Conn) {
		c.(*net.TCPConn).SetReadBuffer(4096)
		c.Write(greeting())
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
				if _, err := c.Write(message(typeKeepalive)); err != nil {
					return
				}
			}
		}
	}})
	s.waitFor("bad", Established, 10*time.Second)
	good.expect("192.0.2.2/32")
	p := s.peer("bad")
	p.mu.Lock()
	settings := p.desired.Peer
	p.mu.Unlock()
	var many []Route
	for i := range 60_000 {
		r := r4(1)
		r.Prefix = prefix(fmt.Sprintf("100.%d.%d.%d/32", 64+i>>16, i>>8&0xff, i&0xff))
		many = append(many, r)
	}
	s.Apply(map[string]Desired{"bad": {Peer: settings, Routes: many}, "good": {Peer: good.peer(0, 64512, 65000), Routes: []Route{r4(2), r4(3)}}})
	good.expect("192.0.2.2/32", "192.0.2.3/32")
	bgptest.Eventually(t, 40*time.Second, "the session is closed", func() error {
		if s.endings("bad", Stalled) == 0 {
			return fmt.Errorf("%+v", s.status("bad"))
		}
		return nil
	})
	if s.sessions("good") != 1 {
		t.Error("the good router's session was disturbed")
	}
}
