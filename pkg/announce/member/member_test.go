package member

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/herald-lb/herald/pkg/announce"
)

const testPort = 17946

// local is an address of the loopback network; each test uses its own third
// byte.
func local(test, n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 94, byte(test), byte(n)}) }

// keyDir makes a mounted Secret.
func keyDir(t testing.TB, entries map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, value := range entries {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func oneKey(t testing.TB) string {
	return keyDir(t, map[string]string{PrimaryKey: "a secret of some length"})
}

// running is a member in this process.
type running struct {
	*Member
	stop context.CancelFunc
	done chan struct{}

	mu   sync.Mutex // guards the fields below
	view View
	news chan struct{} // closed at the next view
}

func startMember(t testing.TB, o Options) *running {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.Port == 0 {
		o.Port = testPort
	}
	if o.Cluster == "" {
		o.Cluster = "test"
	}
	o.Secret = "herald-system/memberlist"
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Member: m, stop: cancel, done: make(chan struct{}), news: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
		close(r.done)
	})
	wg.Go(func() {
		for {
			select {
			case v := <-m.Views():
				r.mu.Lock()
				r.view = v
				close(r.news)
				r.news = make(chan struct{})
				r.mu.Unlock()
			case <-r.done:
				return
			}
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return r
}

// await waits until the view is as wanted and returns it.
func (r *running) await(t testing.TB, what string, wanted func(View) bool) View {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		r.mu.Lock()
		v, news := r.view, r.news
		r.mu.Unlock()
		if wanted(v) {
			return v
		}
		select {
		case <-news:
		case <-timeout:
			t.Fatalf("%s doesn't come to see: %s; it sees %+v", r.options.Name, what, v)
		}
	}
}

func aliveIn(v View) int {
	n := 0
	for _, s := range v.Members {
		if s.Alive {
			n++
		}
	}
	return n
}

func startCluster(t testing.TB, test, n int) []*running {
	t.Helper()
	dir := oneKey(t)
	var peers []netip.Addr
	for i := range n {
		peers = append(peers, local(test, i+1))
	}
	var members []*running
	for i := range n {
		members = append(members, startMember(t, Options{Name: fmt.Sprintf("node-%d", i+1), Address: peers[i], KeyDir: dir, Peers: peers}))
	}
	for _, m := range members {
		m.await(t, "all members", func(v View) bool { return aliveIn(v) == n })
	}
	return members
}

func TestMembersJoinAndLeave(t *testing.T) {
	m := startCluster(t, 1, 3)
	link := announce.Link{Name: "eth0", MAC: announce.MAC{2, 0, 0, 0, 0, 1}, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.31.0/24")}, Default4: true}
	m[0].Publish(Local{Ready: true, Links: []announce.Link{link}, ConfigHash: [8]byte{1, 2, 3}})
	v := m[2].await(t, "node-1 ready", func(v View) bool { return v.Members["node-1"].Ready })
	s := v.Members["node-1"]
	if len(s.Links) != 1 || s.Links[0].MAC != link.MAC || s.ConfigHash != [8]byte{1, 2, 3} || s.Addr != local(1, 1) {
		t.Errorf("node-1 as seen by node-3: %+v", s)
	}
	if v.Isolated || v.Known != 2 {
		t.Errorf("isolated %v, known %d", v.Isolated, v.Known)
	}
	m[0].stop()
	for _, other := range m[1:] {
		v := other.await(t, "node-1 gone", func(v View) bool { return !v.Members["node-1"].Alive })
		if down := v.Members["node-1"].Down; down != Left {
			t.Errorf("node-1 went down as %q, want %q", down, Left)
		}
	}
	<-m[0].done
}

func TestOnlyTheLastOfManyChangesIsTold(t *testing.T) {
	m := startCluster(t, 2, 2)
	seen := 0
	for i := range 200 {
		m[0].Publish(Local{Ready: true, ConfigHash: [8]byte{byte(i)}})
	}
	last := map[[8]byte]bool{}
	m[1].await(t, "the last change", func(v View) bool {
		if h := v.Members["node-1"].ConfigHash; !last[h] {
			last[h] = true
			seen++
		}
		return v.Members["node-1"].ConfigHash == [8]byte{199}
	})
	if seen > 5 {
		t.Errorf("%d of 200 changes were told", seen)
	}
}

func TestWrongKeyStaysOut(t *testing.T) {
	m := startCluster(t, 3, 2)
	peers := []netip.Addr{local(3, 1), local(3, 2), local(3, 9)}
	for _, r := range m {
		r.SetPeers(peers)
	}
	stranger := startMember(t, Options{Name: "stranger", Address: local(3, 9), Peers: peers,
		KeyDir: keyDir(t, map[string]string{PrimaryKey: "another secret of some length"})})
	stranger.await(t, "that it is alone", func(v View) bool { return v.Isolated && v.Known == 2 })
	refused := func(r *running, why refusal) func() bool {
		return func() bool { return testutil.ToFloat64(r.options.Metrics.refused.WithLabelValues(string(why))) > 0 }
	}
	eventually(t, "the stranger is refused", refused(m[0], refusedHandshake))
	for _, r := range m {
		if n := len(r.latest().Members); n != 2 {
			t.Errorf("%s sees %d members", r.options.Name, n)
		}
	}
	m[0].SetPeers(peers[:2])
	m[1].SetPeers(peers[:2])
	eventually(t, "its address is refused", refused(m[0], refusedSource))
}

// eventually waits for something that no view shows.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(15 * time.Second)
	for !is() {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatalf("it doesn't come about: %s", what)
		}
	}
}

// TestRotationLosesNoMember changes the Secret on each node at a time of its
// own, in the order that a careless operator would: the old key is gone from
// the Secret the moment that the new one is there.
func TestRotationLosesNoMember(t *testing.T) {
	m := startCluster(t, 4, 3)
	for round := range 3 {
		fresh, err := NewKey(fmt.Appendf(nil, "the secret of round %d", round))
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range m {
			timer := time.AfterFunc(time.Duration(i)*300*time.Millisecond, func() { r.SetKeys(Keys{Primary: fresh}) })
			defer timer.Stop()
		}
		for _, r := range m {
			eventually(t, "only the new key is left", func() bool {
				ring := r.transport.ring.Load()
				return ring.primary.id == fresh.id && len(ring.held) == 1
			})
		}
	}
	for _, r := range m {
		metrics := r.options.Metrics
		for _, why := range []refusal{refusedKey, refusedForged} {
			if n := testutil.ToFloat64(metrics.refused.WithLabelValues(string(why))); n != 0 {
				t.Errorf("%s refused %v packets: %s", r.options.Name, n, why)
			}
		}
		if n := testutil.CollectAndCount(metrics.verdicts); n != 0 || aliveIn(r.latest()) != 3 {
			t.Errorf("%s lost a member", r.options.Name)
		}
	}
}

func TestChangedSecretIsRead(t *testing.T) {
	dir := oneKey(t)
	m := startMember(t, Options{Name: "node-1", Address: local(5, 1), KeyDir: dir})
	m.await(t, "itself", func(v View) bool { return aliveIn(v) == 1 })
	before := m.transport.ring.Load().primary
	if err := os.WriteFile(filepath.Join(dir, PrimaryKey), []byte("a later secret of some length"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new key is used", func() bool { return m.transport.ring.Load().primary.id != before.id })
}

func TestPortTakenIsSaid(t *testing.T) {
	m := startCluster(t, 6, 1)
	second, err := New(m[0].options)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "stop it, or choose another port") {
		t.Errorf("%v", err)
	}
	o := m[0].options
	o.Address = netip.MustParseAddr("192.0.2.1")
	second, err = New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no address 192.0.2.1") {
		t.Errorf("%v", err)
	}
}

// TestReplayedPacketsAreCounted sends a member a packet of its own twice.
func TestReplayedPacketsAreCounted(t *testing.T) {
	m := startCluster(t, 7, 1)
	at := m[0].transport.local
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var counter atomic.Uint64
	packet := newSealer(m[0].transport.ring.Load().primary, 5, "test", &counter).seal(nil, kindPing, []byte("12345678"))
	for range 3 {
		c.Write(packet)
	}
	c.Write(packet[:10])
	eventually(t, "the replays are counted", func() bool {
		refused := m[0].options.Metrics.refused
		return testutil.ToFloat64(refused.WithLabelValues(string(refusedReplay))) == 2 && testutil.ToFloat64(refused.WithLabelValues(string(refusedMalformed))) == 1
	})
}

func (r *running) latest() View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view
}
